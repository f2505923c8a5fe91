"""The configuration of `genopred train`: sections and keys of a TOML file, checked, with their defaults filled in."""

from __future__ import annotations

import difflib
import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from genopred.errors import FormatError, GenopredError, examples, shortened
from genopred.io.text import PathLike, regular
from genopred.sequence.models.config import LIMITS
from genopred.training.dataset import Track
from genopred.training.loop import MOST_SEED, TrainingSettings
from genopred.training.networks.enformer_small import SmallEnformer
from genopred.training.networks.registry import NETWORKS, check_window
from genopred.training.splits import SPLITS, WindowShape
from genopred.types import plain_chrom

_TEXT, _WHOLE, _NUMBER, _SWITCH = "text", "a whole number", "a number", "true or false"
_TEXTS, _NUMBERS = "a list of text", "a list of numbers"
_DATA = {
    "fasta": _TEXT,
    "chromosomes": _TEXTS,
    "window": _WHOLE,
    "bin": _WHOLE,
    "crop": _WHOLE,
    "step": _WHOLE,
    "max_n": _NUMBER,
}
_TRACK = {
    "name": _TEXT,
    "file": _TEXT,
    "assay": _TEXT,
    "cell": _TEXT,
    "strand": _TEXT,
    "aggregate": _TEXT,
    "clip": _NUMBER,
}
#: `assay` of a track that names none; `cell` is then the track's own name, and of a track with a strand this, because
#: its partner has the same.
SIGNAL, UNKNOWN = "signal", "unknown"
#: Keys of [split] by what it is split by, and their defaults.
SPLIT_KEYS: dict[str, dict[str, Any]] = {
    "block": {"block": 500_000, "fractions": [0.7, 0.15, 0.15], "margin": None, "seed": 1},
    "chromosome": {name: [] for name in SPLITS} | {"block": 500_000},
    "random": {"block": 500_000, "fractions": [0.7, 0.15, 0.15], "seed": 1, "compare": True},
}
_SPLIT_TYPES = {"block": _WHOLE, "margin": _WHOLE, "seed": _WHOLE, "fractions": _NUMBERS, "compare": _SWITCH} | {
    name: _TEXTS for name in SPLITS
}
#: Whole numbers beyond this are slips, and too large to compute with; a configuration file is shorter than that.
_MOST, _MOST_BYTES = 10**12, 4_000_000
_TRAINING_TYPES = {"int": _WHOLE, "int | None": _WHOLE, "float": _NUMBER, "bool": _SWITCH, "str": _TEXT}


@dataclass(frozen=True)
class TrackFile:
    """A track and where its signal is."""

    track: Track
    file: Path


@dataclass(frozen=True)
class TrainConfig:
    """A configuration file of `genopred train`, read and checked.

    Attributes
    ----------
    source : str
        The file.
    fasta : Path
    chromosomes : tuple of str
        Empty for all of the FASTA.
    shape : WindowShape
    step : int
        Resolution in bp at which signal is kept in memory; tilings start at multiples of it.
    max_n : float
    tracks : tuple of TrackFile
    split : dict
        `by` and what belongs to it, defaults filled in.
    kind : str
        Of the network.
    sizes : dict
        Of the network, defaults filled in.
    settings : TrainingSettings
    written : dict
        The same as sections and keys, paths as they were written.
    """

    source: str
    fasta: Path
    chromosomes: tuple[str, ...]
    shape: WindowShape
    step: int
    max_n: float
    tracks: tuple[TrackFile, ...]
    split: dict[str, Any]
    kind: str
    sizes: dict[str, Any]
    settings: TrainingSettings
    written: dict[str, Any]

    def resolved(self) -> dict[str, Any]:
        """As `written`, with absolute paths: `parse_config` reads it from any folder."""
        out: dict[str, Any] = json.loads(json.dumps(self.written))
        out["data"]["fasta"] = str(self.fasta.absolute())
        for row, track in zip(out["tracks"], self.tracks):
            row["file"] = str(track.file.absolute())
        return out


def read_config(file: PathLike, **changes: Any) -> TrainConfig:
    """Read a configuration file (TOML; or a run's config.json).

    Parameters
    ----------
    file : path
    **changes
        Values of [training] to replace; None leaves the file's.

    Returns
    -------
    TrainConfig

    Raises
    ------
    GenopredError
        If the file is missing or not TOML; a key is unknown, missing, of another type or out of range; a track is
        listed twice, its file is missing, or its other strand is.
    """
    path = regular(file, "a configuration in TOML")
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise FormatError(f"{path} has {size:,} bytes; needed a configuration in TOML, of at most {_MOST_BYTES:,}.")
    try:
        # editors on Windows put a byte-order mark first
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as bad:
        raise FormatError(f"{path} cannot be read as text ({bad}); needed a configuration in TOML.") from None
    saved = path.suffix == ".json"
    try:
        raw = json.loads(text)["config"] if saved else _toml(text)
    except (ValueError, KeyError, TypeError, RecursionError) as bad:
        what = "a config.json of a run" if saved else "TOML"
        raise FormatError(f"{path} is not {what} ({shortened(bad, 200)}).") from None
    return parse_config(raw, path.parent, str(path), **changes)


def parse_config(raw: Mapping[str, Any], folder: PathLike, source: str, **changes: Any) -> TrainConfig:
    """Check sections and keys, and fill in the defaults; relative paths start at `folder`. See `read_config`."""
    if not isinstance(raw, Mapping):
        raise GenopredError(f"{source}: {shortened(repr(raw))}; needed sections with keys.")
    reader = _Reader(source, Path(folder))
    reader.names(raw, ("data", "tracks", "split", "network", "training"), "")
    for name in ("data", "tracks"):
        if name not in raw:
            kind = "[[tracks]]" if name == "tracks" else f"[{name}]"
            raise GenopredError(f"{source}: section {kind} is missing; needed at least [data] and one [[tracks]].")
    data = reader.section(raw, "data", _DATA)
    split = reader.split(raw)
    kind, sizes = reader.network(raw)
    types = {f.name: _TRAINING_TYPES[str(f.type)] for f in fields(TrainingSettings)}
    training = reader.section(raw, "training", types)
    training |= {key: value for key, value in changes.items() if value is not None}
    tracks, rows = reader.tracks(raw)
    if "fasta" not in data:
        raise GenopredError(f"{source}: data.fasta is missing; needed the reference of the tracks' build.")
    with naming(source):
        settings = TrainingSettings(**training)
        shape = WindowShape(data.get("window", 8192), data.get("bin", 128), data.get("crop", 4))
        step, max_n = data.get("step", math.gcd(16, shape.bin)), float(data.get("max_n", 0.2))
        if step < 1 or shape.bin % step:
            raise GenopredError(f"data.step = {step}: needed a divisor of data.bin, {shape.bin}.")
        if not 0 <= max_n <= 1:
            raise GenopredError(f"data.max_n = {max_n}: needed a share from 0 to 1.")
        check_window(shape)
        if split["block"] < shape.window:
            raise GenopredError(
                f"split.block = {split['block']:,}: needed at least data.window, {shape.window:,} bp: a smaller block "
                "holds no window."
            )
        if settings.shift >= shape.window:
            raise GenopredError(
                f"training.shift = {settings.shift:,}: needed less than data.window, {shape.window:,} bp: a window "
                "shifted so far has nothing of what is predicted."
            )
    if split.get("margin", 0) is None:
        split["margin"] = shape.window
    chromosomes = tuple(data.get("chromosomes", ()))
    if not chromosomes and split["by"] == "chromosome":
        chromosomes = tuple(chrom for name in SPLITS for chrom in split[name])
    twice = [name for name, n in Counter(plain_chrom(c) for c in chromosomes).items() if n > 1]
    if twice:
        raise GenopredError(f"{source}: chromosomes are listed twice: {examples(twice)}; name each once.")
    written = {
        "data": {"fasta": data["fasta"], "chromosomes": list(chromosomes), **asdict(shape)}
        | {"step": step, "max_n": max_n},
        "tracks": rows,
        "split": split,
        "network": {"kind": kind} | sizes,
        "training": {key: value for key, value in asdict(settings).items() if value is not None},
    }
    fasta = reader.path("data.fasta", data["fasta"])
    return TrainConfig(source, fasta, chromosomes, shape, step, max_n, tracks, split, kind, sizes, settings, written)


class _Reader:
    """Checks of one configuration; its messages name the file, the key and what was needed."""

    def __init__(self, source: str, folder: Path) -> None:
        self.source, self.folder = source, folder

    def names(self, table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
        unknown = [key for key in table if key not in known]
        if unknown:
            inside = f" in {where}" if where else ""
            more = f" ({len(unknown)} such keys)" if len(unknown) > 1 else ""
            raise GenopredError(
                f"{self.source}: unknown key {unknown[0]!r}{inside}{_near(unknown[0], known)}{more}; known: "
                f"{', '.join(known)}."
            )

    def table(self, raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        value = raw.get(name, {})
        if not isinstance(value, Mapping):
            raise GenopredError(f"{self.source}: {name} = {value!r}; needed a section [{name}].")
        return value

    def section(self, raw: Mapping[str, Any], name: str, types: Mapping[str, str]) -> dict[str, Any]:
        table = self.table(raw, name)
        self.names(table, tuple(types), name)
        return {key: self.typed(f"{name}.{key}", value, types[key]) for key, value in table.items()}

    def typed(self, key: str, value: Any, kind: str) -> Any:
        """The value, if it is of the kind; whole numbers serve as numbers."""
        whole = isinstance(value, int) and not isinstance(value, bool)
        number = whole or (isinstance(value, float) and math.isfinite(value))
        most = MOST_SEED if key.endswith("seed") else _MOST
        if whole and abs(value) > most:
            raise GenopredError(f"{self.source}: {key} = {shortened(value)}; needed a number up to {most:,}.")
        fits = {
            _TEXT: isinstance(value, str) and bool(value),
            _WHOLE: whole,
            _NUMBER: number,
            _SWITCH: isinstance(value, bool),
            _TEXTS: isinstance(value, list) and all(isinstance(x, str) and x for x in value),
            _NUMBERS: isinstance(value, list)
            and all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in value),
        }
        if not fits[kind]:
            raise GenopredError(f"{self.source}: {key} = {shortened(repr(value))}; needed {kind}.")
        return float(value) if kind == _NUMBER else value

    def split(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """[split], with the defaults of what it is split by."""
        table, by = dict(self.table(raw, "split")), "block"
        if "by" in table:
            by = self.typed("split.by", table.pop("by"), _TEXT)
            if by not in SPLIT_KEYS:
                raise GenopredError(
                    f"{self.source}: split.by = {by!r}: unknown{_near(by, tuple(SPLIT_KEYS))}; needed one of "
                    f"{', '.join(SPLIT_KEYS)}."
                )
        self.names(table, tuple(SPLIT_KEYS[by]), f"split (by = {by!r})")
        given = {key: self.typed(f"split.{key}", value, _SPLIT_TYPES[key]) for key, value in table.items()}
        if given.get("seed", 0) < 0:
            raise GenopredError(f"{self.source}: split.seed = {given['seed']}; needed 0 or more.")
        return {"by": by} | SPLIT_KEYS[by] | given

    def network(self, raw: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Kind and sizes of [network], with the defaults of that kind."""
        table = dict(self.table(raw, "network"))
        kind = self.typed("network.kind", table.pop("kind", SmallEnformer.kind), _TEXT)
        if kind not in NETWORKS:
            raise GenopredError(
                f"{self.source}: network.kind = {kind!r}: unknown{_near(kind, tuple(NETWORKS))}; needed one of "
                f"{', '.join(NETWORKS)}."
            )
        known = NETWORKS[kind].SIZES
        self.names(table, tuple(known), f"network (kind = {kind!r})")
        for key, value in table.items():
            whole = isinstance(known[key], int)
            value = table[key] = self.typed(f"network.{key}", value, _WHOLE if whole else _NUMBER)
            most = LIMITS.get(key, _MOST)
            if not 1 <= value <= most if whole else not 0 <= value < 1:
                wanted = "0 or more and less than 1"
                if whole:
                    wanted = "1 or more" if value < 1 else f"1 to {most:,}"
                raise GenopredError(f"{self.source}: network.{key} = {value}; needed {wanted}.")
        return kind, known | table

    def path(self, key: str, text: str) -> Path:
        """An existing file; `${NAME}` is the environment's, and relative paths start at the configuration's folder."""

        def of_environment(match: re.Match[str]) -> str:
            if match[1] not in os.environ:
                raise GenopredError(
                    f"{self.source}: {key} = {text!r}: the environment has no {match[1]}; set it (export "
                    f"{match[1]}=FOLDER) or write the path out."
                )
            return os.environ[match[1]]

        path = self.folder / Path(re.sub(r"\$\{(\w+)\}", of_environment, text)).expanduser()
        if not path.exists():
            raise GenopredError(f"{self.source}: {key} = {text!r}: there is no file {path}; check the path.")
        with naming(f"{self.source}: {key}"):
            return regular(path, "a reference" if key == "data.fasta" else "a bigWig")

    def tracks(self, raw: Mapping[str, Any]) -> tuple[tuple[TrackFile, ...], list[dict[str, Any]]]:
        """The tracks with their partners, and their rows with the defaults."""
        rows = raw["tracks"]
        if not isinstance(rows, list) or not rows or not all(isinstance(row, Mapping) for row in rows):
            raise GenopredError(f"{self.source}: tracks: needed at least one section [[tracks]].")
        full: list[dict[str, Any]] = []
        for i, row in enumerate(rows, 1):
            where = f"tracks {i} ({row['name']})" if isinstance(row.get("name"), str) else f"tracks {i}"
            self.names(row, tuple(_TRACK), where)
            missing = [key for key in ("name", "file") if key not in row]
            if missing:
                raise GenopredError(f"{self.source}: {where}: {' and '.join(missing)} is missing.")
            # files of earlier versions have these two empty
            said = {key: value for key, value in row.items() if value != "" or key not in ("assay", "cell")}
            typed = {key: self.typed(f"{where}: {key}", value, _TRACK[key]) for key, value in said.items()}
            whose = UNKNOWN if typed.get("strand", ".") in ("+", "-") else typed["name"]
            full.append({"assay": SIGNAL, "cell": whose, "strand": ".", "aggregate": "mean", **typed})
        files = [self.path(f"track {row['name']}: file", row["file"]) for row in full]
        for what, values in (("name", [row["name"] for row in full]), ("file", [str(f.resolve()) for f in files])):
            twice = [value for value, n in Counter(values).items() if n > 1]
            if twice:
                raise GenopredError(
                    f"{self.source}: {len(twice)} track {what}s are listed twice ({examples(twice)}); list each once."
                )
        partners = self._partners(full)
        with naming(self.source):
            tracks = [
                TrackFile(Track(**{k: v for k, v in row.items() if k != "file"}, partner=partner), file)
                for row, partner, file in zip(full, partners, files)
            ]
        return tuple(tracks), full

    def _partners(self, rows: list[dict[str, Any]]) -> list[str]:
        stranded: dict[tuple[str, str], dict[str, list[str]]] = {}
        for row in rows:
            if row["strand"] in ("+", "-"):
                of = stranded.setdefault((row["assay"], row["cell"]), {"+": [], "-": []})
                of[row["strand"]].append(row["name"])
        for (assay, cell), of in stranded.items():
            if len(of["+"]) != 1 or len(of["-"]) != 1:
                what = f"assay {assay!r}, cell {cell!r}"
                raise GenopredError(
                    f"{self.source}: tracks of {what}: strand '+' is {examples(of['+']) or 'absent'} and strand '-' is "
                    f"{examples(of['-']) or 'absent'}; needed one track of each strand (they are swapped when a window "
                    "is turned to the other strand), or strand = '.'."
                )
        other = {"+": "-", "-": "+"}
        return [
            row["name"] if row["strand"] not in other else stranded[row["assay"], row["cell"]][other[row["strand"]]][0]
            for row in rows
        ]


def _toml(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        from tomllib import loads
    else:
        from tomli import loads
    return loads(text)


def _near(word: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Put the configuration's name before what is wrong with a value of it."""
    try:
        yield
    except GenopredError as bad:
        raise type(bad)(f"{source}: {bad}") from None
