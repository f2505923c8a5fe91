"""Every bad input of the suite over every command: one line and exit code 2, soon and in little memory?

    python tests/faults.py --out docs/faults.md

Each command is run once as it should be; then once for each file it takes and each thing that can be wrong with such
a file, and for each number and each output it can be given. A case holds where the run ends as it should (`refused`:
exit code 2, the last line of stderr names what is wrong; `fine`: exit code 0), without a traceback, within a minute and
within 1 GB beyond the good run. Exit code 1 where one does not hold. Full disks need root on Linux, for a small file
system.
"""

from __future__ import annotations

import argparse
import gzip
import multiprocessing
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from every_command import Options, good_runs, words

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "data")]
BAD = ROOT / "tests" / "data" / "bad"

SECONDS, EXTRA_MB, GIVE_UP_MB = 60, 1000, 4000
HEADING = "## The table\n"
#: A process that has loaded the libraries once and is copied for each case, so that a case costs what it does itself.
FORKS = multiprocessing.get_context("forkserver")
LOADED = [
    "torch", "sklearn.ensemble", "xgboost", "lightgbm", "matplotlib.pyplot", "genopred.training.loop",
    *(f"genopred.pipelines.{name}" for name in ("stack", "prs", "eqtl", "features", "effects", "overlap", "train")),
    "genopred.pipelines.attribute",
    *(f"genopred.pipelines.{name}" for name in ("predict", "export", "associate")),
    *(f"genopred.pipelines.{name}" for name in ("evaluate", "benchmark", "demo")), "genopred.cli.commands",
]  # fmt: skip
#: What a bomb expands to.
BOMB = 3 << 30

Fault = Callable[[Path, Path], Path]


@dataclass(frozen=True)
class Case:
    """One run: what is wrong, with which command, and how it must end."""

    command: str
    name: str
    options: Options
    needs: str = "refused"
    disk: int | None = None
    #: Makes the bad file, when the case is run: option, its good value, and what is wrong with it.
    bad: tuple[str, Path, Fault] | None = None


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    case: Case
    code: int | None
    message: str
    seconds: float
    mb: float
    wrong: tuple[str, ...] = field(default=())


# --- what can be wrong with a file -----------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def _plain_name(path: Path, folder: Path) -> Path:
    return folder / path.name.removesuffix(".gz")


def _edited(change: Callable[[bytes], bytes]) -> Fault:
    def fault(path: Path, folder: Path) -> Path:
        out = _plain_name(path, folder)
        out.write_bytes(change(_read(path)))
        return out

    return fault


def _absent(path: Path, folder: Path) -> Path:
    return folder / f"absent-{path.name}"


def _folder(path: Path, folder: Path) -> Path:
    out = folder / path.name
    out.mkdir()
    return out


def _random(path: Path, folder: Path) -> Path:
    out = folder / path.name
    out.write_bytes(random.Random(7).randbytes(50_000))
    return out


def _cut_gzip(path: Path, folder: Path) -> Path:
    out = folder / f"{path.name.removesuffix('.gz')}.gz"
    data = gzip.compress(_read(path))
    out.write_bytes(data[: len(data) // 2])
    return out


def _flipped_gzip(path: Path, folder: Path) -> Path:
    out = folder / f"{path.name.removesuffix('.gz')}.gz"
    data = bytearray(gzip.compress(_read(path)))
    for i in range(len(data) // 2, min(len(data) // 2 + 40, len(data) - 8)):
        data[i] ^= 0x5A
    out.write_bytes(bytes(data))
    return out


def _bomb(line: bytes) -> Fault:
    def fault(path: Path, folder: Path) -> Path:
        made = folder.parent.parent / f"bomb-{line[:1].hex()}.gz"
        if not made.is_file():
            block = line * ((1 << 20) // len(line))
            with gzip.open(made.with_suffix(".part"), "wb", 1) as file:
                for _ in range(BOMB >> 20):
                    file.write(block)
            made.with_suffix(".part").rename(made)
        out = folder / f"{path.name.removesuffix('.gz')}.gz"
        os.link(made, out)
        return out

    return fault


def _pipe(path: Path, folder: Path) -> Path:
    out = folder / path.name
    os.mkfifo(out)
    return out


def _head(data: bytes) -> bytes:
    return data.split(b"\n", 1)[0] + b"\n"


def _short_row(data: bytes) -> bytes:
    lines = data.split(b"\n")
    at = min(2, len(lines) - 2)
    lines[at] = re.split(rb"[\t ]", lines[at])[0] if re.search(rb"[\t ]", lines[at]) else lines[at] + b"\tmore\tof\tit"
    return b"\n".join(lines)


#: Of every text file.
TEXT: dict[str, tuple[Fault, str]] = {
    "absent": (_absent, "refused"),
    "a folder": (_folder, "refused"),
    "empty": (_edited(lambda data: b""), "refused"),
    "blank lines only": (_edited(lambda data: b"\n\n\n"), "refused"),
    "random bytes": (_random, "refused"),
    "NUL bytes inside": (_edited(lambda data: data[: len(data) // 2] + b"\0\0" + data[len(data) // 2 :]), "one line"),
    "gzip cut off": (_cut_gzip, "refused"),
    "gzip with flipped bits": (_flipped_gzip, "refused"),
    "gzip bomb of lines": (_bomb(b"A\t1\n"), "refused"),
    "gzip bomb of zeros": (_bomb(b"\0"), "refused"),
    "a pipe without a writer": (_pipe, "refused"),
    "a line too short or long": (_edited(_short_row), "one line"),
    "a line of 10 MB": (_edited(lambda data: b"x" * 10_000_000 + b"\n" + data), "one line"),
    "Latin-1 letters": (_edited(lambda data: data.rstrip(b"\n") + b"\xe9\xe8\n"), "one line"),
    "byte-order mark": (_edited(lambda data: b"\xef\xbb\xbf" + data), "fine"),
    "Windows line ends": (_edited(lambda data: data.replace(b"\n", b"\r\n")), "fine"),
}
#: Of tables with a header.
TABLE = {"a header and no line": (_edited(_head), "refused")}


def _of_set(suffixes: tuple[str, ...], which: str, fault: Fault) -> Fault:
    """A prefix of files of which one is bad."""

    def make(prefix: Path, folder: Path) -> Path:
        out = folder / "set"
        for suffix in suffixes:
            if suffix != which:
                os.link(f"{prefix}{suffix}", f"{out}{suffix}")
        inner = folder / "bad"
        inner.mkdir()
        bad = fault(Path(f"{prefix}{which}"), inner)
        if bad.exists():
            bad.rename(f"{out}{which}")
        return out

    return make


def _bytes(change: Callable[[bytearray], bytes | bytearray]) -> Fault:
    def fault(path: Path, folder: Path) -> Path:
        out = folder / path.name
        out.write_bytes(change(bytearray(path.read_bytes())))
        return out

    return fault


BINARY: dict[str, tuple[Fault, str]] = {
    "absent": (_absent, "refused"),
    "a folder": (_folder, "refused"),
    "empty": (_bytes(lambda data: b""), "refused"),
    "random bytes": (_random, "refused"),
    "cut off": (_bytes(lambda data: data[: len(data) // 2]), "refused"),
    "a pipe without a writer": (_pipe, "refused"),
}


def _moved(by: int) -> Fault:
    """A table whose positions (the first number of a line above a million) are of another build, or count from 0."""

    def line(row: bytes) -> bytes:
        return re.sub(rb"(?<=\t)[0-9]{7,9}(?=\t)", lambda found: b"%d" % (int(found[0]) + by), row, count=1)

    return _edited(lambda data: b"\n".join(map(line, data.split(b"\n"))))


#: Tables whose variants are those of the genotypes, and then are not.
ELSEWHERE: dict[str, tuple[Fault, str]] = {
    "positions of another build": (_moved(-396_123), "refused"),
    "positions that count from 0": (_moved(-1), "refused"),
    "alleles that are letters of no base": (_edited(lambda data: re.sub(rb"\t[ACGT](?=\t)", b"\tX", data)), "refused"),
    "another chromosome": (_edited(lambda data: re.sub(rb"(?m)(^|(?<=\t))22(?=\t)", b"7", data)), "refused"),
}


def _bim(change: Callable[[list[list[str]]], object]) -> Fault:
    def edit(data: bytes) -> bytes:
        rows = [line.split("\t") for line in data.decode().splitlines()]
        change(rows)
        return "".join("\t".join(row) + "\n" for row in rows).encode()

    return _edited(edit)


def _put(column: int, value: str, *which: int) -> Callable[[list[list[str]]], object]:
    def change(rows: list[list[str]]) -> None:
        for i in which or range(len(rows)):
            rows[i][column] = value

    return change


def _same_alleles(rows: list[list[str]]) -> None:
    rows[5][5] = rows[5][4]


def _twice(rows: list[list[str]]) -> None:
    rows[6] = list(rows[5])


BIM: dict[str, tuple[Fault, str]] = {
    "a negative position": (_bim(_put(3, "-5", 4)), "fine"),
    "a position beyond any chromosome": (_bim(_put(3, "3000000000", -1)), "refused"),
    "A1 = A2": (_bim(_same_alleles), "fine"),
    "a variant twice": (_bim(_twice), "fine"),
    "every id a dot": (_bim(_put(1, ".")), "one line"),
}


def _fasta(fault: Callable[[Path, Path], None]) -> Fault:
    """The reference and its indices, copied, then changed."""

    def make(path: Path, folder: Path) -> Path:
        for suffix in ("", ".fai", ".gzi"):
            shutil.copy(f"{path}{suffix}", folder / f"{path.name}{suffix}")
        fault(folder / path.name, folder)
        return folder / path.name

    return make


def _other_index(suffix: str) -> Callable[[Path, Path], None]:
    def fault(path: Path, folder: Path) -> None:
        data = bytearray(Path(f"{path}{suffix}").read_bytes())
        if suffix == ".fai":
            data = bytearray(b"22\t5000\t4\t50\t51\n")
        else:
            data = data[:8] + bytes(reversed(data[8:]))
        Path(f"{path}{suffix}").write_bytes(data)

    return fault


def _cut_fasta(path: Path, folder: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _flip_fasta(path: Path, folder: Path) -> None:
    data = bytearray(path.read_bytes())
    for start in range(20_000, len(data) - 2000, 20_000):
        for i in range(start, start + 60):
            data[i] ^= 0x77
    path.write_bytes(data)


FASTA: dict[str, tuple[Fault, str]] = {
    "absent": (_absent, "refused"),
    "a folder": (_folder, "refused"),
    "empty": (_bytes(lambda data: b""), "refused"),
    "random bytes": (_random, "refused"),
    "a pipe without a writer": (_pipe, "refused"),
    "cut off beside a good index": (_fasta(_cut_fasta), "refused"),
    "flipped bits inside": (_fasta(_flip_fasta), "refused"),
    "another file's .fai": (_fasta(_other_index(".fai")), "refused"),
    "another file's .gzi": (_fasta(_other_index(".gzi")), "refused"),
}


def _inside(fault: Callable[[Path], object], pattern: str) -> Fault:
    """A folder of which one file is bad."""

    def make(path: Path, folder: Path) -> Path:
        out = folder / path.name
        shutil.copytree(path, out)
        fault(sorted(out.rglob(pattern))[0])
        return out

    return make


def _scramble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for i in range(8, len(data) - 8):
        data[i] = (data[i] * 7 + i) % 256
    path.write_bytes(data)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


FEATURES: dict[str, tuple[Fault, str]] = {
    "absent": (_absent, "refused"),
    "empty folder": (_folder, "refused"),
    "a parquet with random bytes": (_inside(_scramble, "*.parquet"), "refused"),
    "a parquet cut off": (_inside(_cut, "*.parquet"), "refused"),
    "a manifest cut off": (_inside(_cut, "manifest.json"), "refused"),
}
RUN: dict[str, tuple[Fault, str]] = {
    "absent": (_absent, "refused"),
    "empty folder": (_folder, "refused"),
    "weights with random bytes": (_inside(_scramble, "*.safetensors"), "refused"),
    "weights cut off": (_inside(_cut, "*.safetensors"), "refused"),
    "a config cut off": (_inside(_cut, "config.json"), "refused"),
    "a window of 10^9 in its config": (
        _inside(lambda path: path.write_text(re.sub(r'"window": \d+', '"window": 1000000000', path.read_text())),
                "config.json"),
        "refused",
    ),
}  # fmt: skip


def _toml(old: str, new: str) -> Fault:
    def make(path: Path, folder: Path) -> Path:
        out = folder / path.name
        text = path.read_text()
        if not re.search(old, text):
            raise SystemExit(f"the training configuration has no {old}")
        out.write_text(re.sub(old, new, text, count=1))
        for file in path.parent.iterdir():
            if file != path and not (folder / file.name).exists():
                os.link(file, folder / file.name)
        return out

    return make


CONFIG_FAULTS: dict[str, tuple[Fault, str]] = {
    "block = 1": (_toml("block = 20000", "block = 1"), "refused"),
    "channels = 10^6": (_toml("channels = 8", "channels = 1000000"), "refused"),
    "window = 2^40": (_toml("window = 2048", f"window = {2**40}"), "refused"),
    "batch = 10^9": (_toml("batch = 8", "batch = 1000000000"), "refused"),
    "an unknown key": (_toml("batch = 8", "bach = 8"), "refused"),
    "seed = -1": (_toml("epochs = 1", "epochs = 1\nseed = -1"), "refused"),
    "learning rate of text": (_toml("epochs = 1", 'epochs = 1\nlearning_rate = "fast"'), "refused"),
    "a track that is absent": (_toml("open.bw", "closed.bw"), "refused"),
    "a track that is no bigWig": (_toml('"open.bw"', '"train.toml"'), "refused"),
    "no tracks": (_toml(r"(?s)\[\[tracks\]\].*?\[split\]", "[split]"), "refused"),
}

_SNPS = TEXT | TABLE


def _prefixed(suffixes: tuple[str, ...], which: str, faults: dict[str, tuple[Fault, str]]) -> dict[str, Any]:
    return {f"{which} {name}": (_of_set(suffixes, which, fault), needs) for name, (fault, needs) in faults.items()}


_BFILE, _PFILE = (".bed", ".bim", ".fam"), (".pgen", ".pvar", ".psam")

#: What can be wrong with the value of each option.
FAULTS: dict[str, dict[str, tuple[Fault, str]]] = {
    "bfile": {
        **_prefixed(_BFILE, ".bed", BINARY), **_prefixed(_BFILE, ".bim", TEXT | BIM), **_prefixed(_BFILE, ".fam", TEXT),
    },
    "pfile": _prefixed(_PFILE, ".pgen", BINARY) | _prefixed(_PFILE, ".pvar", TEXT) | _prefixed(_PFILE, ".psam", TEXT),
    "fasta": FASTA,
    "features": FEATURES,
    **dict.fromkeys(("expression", "covar", "folds", "stratify", "sumstats", "snps", "a", "b", "eqtl"), TEXT | TABLE),
    **dict.fromkeys(("gtf", "keep", "remove", "extract", "exclude", "genes", "score", "pheno", "train"), TEXT),
    **dict.fromkeys(("signal", "motifs"), TEXT),
    **dict.fromkeys(("q-score-range", "q-score-file"), TEXT),
}  # fmt: skip
#: Files of tests/data/bad by the option that takes them.
KINDS = {
    "plink": "bfile", "pgen": "pfile", "pgen-data": "pfile", "vcf": "vcf", "vcf-data": "vcf",
    "expression": "expression", "covariates": "covar", "gtf": "gtf", "fasta": "fasta", "sumstats": "sumstats",
}  # fmt: skip

#: Ends of the names of faults that every command is tried with: what one reader does is the same in all.
SHORT = (
    " absent", " empty", " random bytes", " gzip bomb of lines", " a pipe without a writer", " cut off",
    "flipped bits inside", " a header and no line", " a line too short or long", " nan", str(10**20), " 10000",
)  # fmt: skip
HUGE = ("-1", "-0.5", "nan", "inf", "1e30", str(10**20), "many", "")
#: Options that take a number, by command where they differ: every one that the command knows is tried.
NUMBERS = (
    "threads", "seed", "window", "maf", "min-overlap", "outer-folds", "inner-folds", "n-covariates",
    "feature-components", "permute", "fdr", "coverage", "min-abs-corr", "max-effects", "clump-p1", "clump-p2",
    "clump-r2", "clump-kb", "upstream", "downstream", "share", "batch-size", "max-ref-mismatch", "k", "draws",
    "resamples", "epochs", "bins", "tf-gamma", "min-pip", "pseudocount", "steps", "backgrounds", "controls", "flank",
    "ism-width", "alpha", "top-fraction", "top-snps",
)  # fmt: skip
#: Numbers that mean something there, by option.
ALLOWED = {("outer-folds", "-0.5"), ("tf-gamma", "-1"), ("min-overlap", "1e30")}
WORDS = {
    "learners": (",", "nobody", "ridge,ridge"), "meta": ("oracle",), "transform": ("cube",), "residualize": ("maybe",),
    "inputs": ("smell",), "compat": ("plink",), "gene": ("ENSG00000000000",), "device": ("tpu",), "ld": ("maybe",),
    "covar-name": ("nobody",), "stack-weights": ("absent.json",), "model": ("nobody", "enformer:absent"),
    "figures": ("ascii",), "null": ("void",), "split": ("all",), "tracks": ("nothing like it",), "method": ("magic",),
    "person": ("nobody",), "region": ("22:x",), "background": ("noise",),
}  # fmt: skip
OUTS = {"": "", "a folder that is a device": "/dev/null", "a full device": "/dev/full", "below a file": "{file}/out",
        "not to be written": "/proc/genopred/out"}  # fmt: skip


def cases(runs: dict[str, Options], folder: Path) -> list[Case]:
    """All of them: every fault of an option in the first command that takes it, those of `SHORT` in each command."""
    found: dict[tuple[str, str], Case] = {}
    seen: dict[str, str] = {}
    file = folder / "a-file"
    file.write_text("")
    # eqtl first: it takes what most others take, and is quick
    for command, options in sorted(runs.items(), key=lambda item: item[0] != "eqtl"):
        for case in (*_files(command, options), *_bad_files(command, options), *_values(command, options, file)):
            first = seen.setdefault(case.name, command.split()[0])
            if first == command.split()[0] or case.name.endswith(SHORT) or not case.name.startswith("--"):
                found.setdefault((command.split()[0], case.name), case)
    return list(found.values())


def _files(command: str, options: Options) -> Iterator[Case]:
    special = {
        ("train", ""): CONFIG_FAULTS | TEXT,
        ("evaluate", ""): RUN,
        ("prs --score PGS", "score"): ELSEWHERE,
        ("prs --sumstats", "sumstats"): ELSEWHERE,
    }
    for option, value in options.items():
        for name, (fault, needs) in (FAULTS.get(option, {}) | special.get((command, option), {})).items():
            needs = LENIENT.get((option, name), needs)
            yield Case(command, f"{_flag(option)} {name}", options, needs, bad=(option, Path(value), fault))


def _bad_files(command: str, options: Options) -> Iterator[Case]:
    import make_bad

    for name, (kind, _) in make_bad.CASES.items():
        option = KINDS.get(kind)
        if option in options or (option == "vcf" and "bfile" in options):
            changed = {k: v for k, v in options.items() if not (option == "vcf" and k == "bfile")}
            bad = BAD / name
            changed |= {option: bad.with_suffix("") if option in ("bfile", "pfile") else bad}
            yield Case(command, f"--{option} tests/data/bad/{name}", changed)


def _values(command: str, options: Options, file: Path) -> Iterator[Case]:
    known = _known(command.split()[0])
    for option in NUMBERS:
        for value in HUGE if option in known else ():
            needs = "one line" if (option, value) in ALLOWED else "refused"
            yield Case(command, f"--{option} {value or '(nothing)'}", options | {option: value}, needs)
    for option, values in WORDS.items():
        for value in values if option in known else ():
            changed = {k: v for k, v in options.items() if not (option == "gene" and k == "genes")}
            yield Case(command, f"--{option} {value}", changed | {option: value})
    if "threads" in known:
        yield Case(command, "--threads 10000", options | {"threads": 10000}, "fine")
    for name, out in OUTS.items():
        yield Case(command, f"--out {name or '(nothing)'}", options | {"out": out.format(file=file)})
    for kb, name in ((0, "no byte free"), (40, "40 kB free")):
        yield Case(command, f"a disk with {name}", options, "disk", disk=kb)


#: Faults that are none for an option: GTF and lists of plink's are read by lines of their own kind.
LENIENT: dict[tuple[str, str], str] = {
    **{(option, "a line of 10 MB"): "one line" for option in ("keep", "remove", "extract", "exclude")},
}


def _flag(option: str) -> str:
    return f"--{option}" if option else "the argument:"


def _known(command: str) -> set[str]:
    """The options of a command, from its own help."""
    line = [sys.executable, "-m", "genopred.cli", command, "--help"]
    text = subprocess.run(line, capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "200"}).stdout
    return set(re.findall(r"--([a-z][a-z0-9-]*)", text))


# --- running ---------------------------------------------------------------------------------------------------------


def run(case: Case, place: Path, baseline: float | None) -> Outcome:
    """Run a case in a process of its own; what is wrong with how it ended."""
    place.mkdir(parents=True)
    out = str(place / "out")
    mounted = None
    if case.disk is not None:
        mounted = place / "disk"
        out = _small_disk(mounted, case.disk)
        if not out:
            return Outcome(case, None, "needs root and tmpfs: not run", 0.0, 0.0)
    options = {"out": out} | case.options
    if case.bad is not None:
        option, value, fault = case.bad
        (place / "bad").mkdir()
        options |= {option: fault(value, place / "bad")}
        if option == "" and value.is_file():  # what a configuration names lies beside it
            for file in value.parent.iterdir():
                if not (place / "bad" / file.name).exists() and file != value:
                    os.link(file, place / "bad" / file.name)
    line = [case.command.split()[0], *words(options)]
    errors = place / "stderr"
    try:
        started = time.monotonic()
        process = FORKS.Process(target=_command, args=(line, str(place), str(errors)))
        process.start()
        code, mb, gave_up = _watch(process, started)
        seconds = time.monotonic() - started
        text = errors.read_text(errors="replace")
        kept = _leftovers(mounted) if mounted is not None else []
    finally:
        if mounted is not None:
            subprocess.run(["umount", str(mounted)], check=False)
        shutil.rmtree(place, ignore_errors=True)
    lines = [line for line in text.strip().splitlines() if line.strip()]
    message = lines[-1] if lines else ""
    wrong = [*gave_up, *kept, *_judge(case, code, text, message)]
    if baseline is not None and mb > baseline + EXTRA_MB:
        wrong.append(f"{mb - baseline:,.0f} MB more than a good run")
    return Outcome(case, code, message, seconds, mb, tuple(wrong))


def _command(line: list[str], place: str, errors: str) -> None:
    """What the process of a case does: the command line, in a folder and a session of its own."""
    from genopred.cli import main

    os.setsid()
    os.chdir(place)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
    sys.argv = ["genopred", *line]
    sys.exit(main(line))


def _judge(case: Case, code: int | None, text: str, message: str) -> list[str]:
    wrong = []
    allowed = {"refused": (2,), "fine": (0,), "one line": (0, 2), "disk": (0, 2)}[case.needs]
    if code not in allowed:
        wrong.append(f"exit code {code}")
    if "Traceback (most recent call last)" in text or "a fault of genopred" in text:
        wrong.append("traceback")
    if code == 2 and (not re.match(r"[A-Za-z]*Error: .{10}", message) or len(message) > 1500):
        wrong.append("no message" if len(message) < 1500 else f"message of {len(message):,} letters")
    return wrong


def _small_disk(path: Path, kb: int) -> str:
    """A file system of its own with so many kB free; its folder for outputs, or nothing where it cannot be had."""
    path.mkdir()
    if os.geteuid() or shutil.which("mount") is None:
        return ""
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(path)], capture_output=True)
    if made.returncode:
        return ""
    free = os.statvfs(path)
    fill = free.f_bavail * free.f_frsize - kb * 1024
    (path / "filler").write_bytes(b"\0" * max(fill // 4096 * 4096, 0))
    return str(path / "out")


def _leftovers(path: Path) -> list[str]:
    half = [f.name for f in path.rglob("*") if f.is_file() and (f.match(".*.part*") or f.suffix == ".tmp")]
    return [f"half a file is left ({half[0]})"] if half else []


def _watch(process: Any, started: float) -> tuple[int | None, float, list[str]]:
    """Wait for the end, and for the memory of the process and its children at its highest; stop it past the limits."""
    most = 0.0
    gave_up: list[str] = []
    while process.is_alive():
        most = max(most, _session_mb(process.pid))
        if time.monotonic() - started > SECONDS:
            gave_up.append(f"still running after {SECONDS} s")
        elif most > GIVE_UP_MB:
            gave_up.append(f"over {GIVE_UP_MB:,} MB")
        if gave_up:
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
        process.join(0.05)
    return process.exitcode, most, gave_up


def _session_mb(session: int) -> float:
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            cells = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(cells[3]) == session:
            total += int(cells[21]) * os.sysconf("SC_PAGESIZE")
    return total / 1e6


# --- the table -------------------------------------------------------------------------------------------------------


Rows = dict[tuple[str, str], str]


def rows_of(page: str) -> Rows:
    """The rows of a page's table by command and case, without what was wrong."""
    found: Rows = {}
    command = ""
    for line in page.partition(HEADING)[2].splitlines():
        if line.startswith("### "):
            command = line.removeprefix("### genopred ")
        elif line.startswith("| ") and not line.startswith("| case |"):
            found[command, line[2:].split(" | ")[0].split(" **")[0]] = line
    return found


def row(o: Outcome, place: Path) -> tuple[str, str]:
    """A case's name as the table has it, and its row."""
    said = o.message if o.code == 2 or o.wrong or o.code is None else ""
    said = re.sub(rf"{re.escape(str(place))}/([0-9]+/)?(bad/)?", "", said.replace(str(ROOT) + "/", ""))
    said = said if len(said) <= 240 else said[:239] + "…"
    said = said.replace("|", "\\|").replace("<", "&lt;")
    name = o.case.name.replace(str(ROOT) + "/", "").replace("|", "\\|")
    wrong = f" **{'; '.join(o.wrong)}**" if o.wrong else ""
    code = "" if o.code is None else o.code
    return name, f"| {name}{wrong} | {code} | {said} | {o.seconds:.1f} | {o.mb:.0f} |"


def table(rows: Rows, left: int) -> str:
    """The rows as Markdown, a section a command."""
    cells = [line.removesuffix(" |").rsplit(" | ", 2) for line in rows.values()]
    bad = sum(" **" in line.split(" | ")[0] for line in rows.values())
    lines = [
        f"{len(rows):,} runs, {bad} not as they should be{f'; {left:,} were left for want of time' if left else ''}. "
        f"Longest {max(float(c[1]) for c in cells):.0f} s, most memory {max(float(c[2]) for c in cells):,.0f} MB, with "
        f"all libraries loaded, which is most of it ({platform.machine()}, {os.cpu_count()} cores, busy otherwise)."
    ]
    for command in dict.fromkeys(command for command, _ in rows):
        lines += ["", f"### genopred {command}", "", "| case | exit code | message | seconds | MB |"]
        lines += ["|---|---|---|---|---|", *(line for (of, _), line in rows.items() if of == command)]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the cases and write their table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="a page in Markdown, whose last section becomes the table")
    parser.add_argument("--only", default="", help="only 'COMMAND: CASE' that fit this; the page keeps its other rows")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop then, and say how many cases were left")
    args = parser.parse_args()
    begun = time.monotonic()
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    FORKS.set_forkserver_preload(LOADED)
    os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".pytest_cache" / "numba"))
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        place = Path(name)
        (place / "good").mkdir()
        runs = good_runs(place / "good")
        every = [c for c in cases(runs, place) if re.search(args.only, f"{c.command}: {c.name}")]
        goods = [Case(command, "as it should be", options, "fine") for command, options in runs.items()]
        baseline: dict[str, float] = {}
        outcomes: list[Outcome] = []
        for i, case in enumerate(goods):
            if re.search(args.only, f"{case.command}: {case.name}") or any(c.command == case.command for c in every):
                done = run(case, place / f"g{i}", None)
                baseline[case.command] = done.mb
                outcomes.append(done)
                _say(done)
        with ThreadPoolExecutor(args.jobs) as pool:
            for done in pool.map(
                lambda pair: run(pair[1], place / str(pair[0]), baseline[pair[1].command]), enumerate(every)
            ):
                outcomes.append(done)
                _say(done)
                if time.monotonic() - begun > args.minutes * 60:
                    pool.shutdown(wait=False, cancel_futures=True)
                    break
        left = len(goods) + len(every) - len(outcomes)
        page = args.out.read_text() if args.out is not None and args.out.is_file() else ""
        rows = rows_of(page) if args.only else {}
        rows |= {(o.case.command, name): line for o in outcomes for name, line in [row(o, place)]}
        text = table(rows, left if args.minutes < 1e9 else 0)
    if args.out is None:
        sys.stdout.write(text)
    else:
        args.out.write_text(f"{page.partition(HEADING)[0]}{HEADING}\n{text}")
    return 1 if any(o.wrong for o in outcomes) else 0


def _say(done: Outcome) -> None:
    mark = "WRONG " + "; ".join(done.wrong) if done.wrong else "ok"
    sys.stderr.write(f"{done.case.command}: {done.case.name}: {done.code} {done.seconds:.1f}s {done.mb:.0f}MB {mark}"
                     f"{' | ' + done.message[:300] if done.wrong else ''}\n")  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
