"""`genopred predict`: from words to settings, and one line for whatever is wrong with an option."""

from __future__ import annotations

from pathlib import Path

import pytest

from genopred.cli import main
from genopred.pipelines import predict
from genopred.settings import Predict


class Captured(Exception):
    pass


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """The settings that a command line turns into; nothing is run."""
    seen = []

    def run(config, progress):
        seen.append(config)
        raise Captured

    monkeypatch.setattr(predict, "run", run)
    monkeypatch.chdir(tmp_path)

    def of(words: str):
        main(["predict", *words.split()])
        return seen.pop()

    return of


def refused(capsys, words):
    """What a bad command says: one line, exit code 2, nothing written."""
    code = main(["predict", *words])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert code == 2 and len(lines) == 1, (code, lines)
    assert not Path(words[words.index("--out") + 1]).exists()
    return lines[0]


def test_every_option_reaches_the_settings(settings):
    config = settings(
        "--models m --method ridge --pfile p --keep k --remove r --extract x --exclude y --gene a --gene b --genes g "
        "--ambiguous drop --min-match 0.5 --format bed --chain c --threads 2 --no-resume --quiet "
        "--max-bytes 2MB --out o"
    )
    assert config == Predict(
        models="m", method="ridge", pfile="p", keep="k", remove="r", extract="x", exclude="y", gene=("a", "b"),
        genes="g", ambiguous="drop", min_match=0.5, format="bed", chain="c", threads=2, resume=False, quiet=True,
        max_bytes=2_000_000, out="o", command=config.command,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": "none"}, "none holds no models: models.json is missing"),
        ({"models": "none.db"}, "none.db"),
        ({"models": "none.pos"}, "none.pos"),
        ({"models": "text.db"}, "text.db is no readable SQLite database"),
        ({"models": None}, "--models"),
        ({"bfile": None}, "Genotypes: none given; give exactly one of --bfile, --pfile, --vcf and --bgen"),
        ({"vcf": "x.vcf"}, "--bfile and --vcf given"),
        ({"bfile": "none"}, "none.b"),
        ({"bfile": None, "pfile": "none"}, "none.p"),
        ({"bfile": None, "vcf": "text.db"}, "text.db"),
        ({"method": "forest"}, "--method forest: .* has stack-linear"),
        ({"gene": "ENSG9"}, "1 of 1 genes have no model in .*ENSG9"),
        ({"genes": "none"}, "none"),
        ({"genes": "strangers"}, "2 of 2 genes have no model in"),
        ({"keep": "strangers"}, "--keep strangers leaves none of 40 samples"),
        ({"remove": "everybody"}, "--remove everybody leaves none of 40 samples"),
        ({"keep": "none"}, "none"),
        ({"extract": "strangers"}, r"--extract strangers leaves none of \d+ variants"),
        ({"exclude": "none"}, "none"),
        ({"chain": "strangers"}, "strangers line 1: found"),
        ({"chain": "none"}, "none"),
        ({"min-match": "2"}, "--min-match 2: needed a number from 0 to 1"),
        ({"min-match": "much"}, "--min-match"),
        ({"ambiguous": "guess"}, "--ambiguous"),
        ({"format": "xlsx"}, "--format"),
        ({"threads": "0"}, "--threads 0"),
        ({"max-bytes": "a lot"}, "--max-bytes"),
    ],
    ids=str,
)
def test_a_bad_option_is_one_line(trained, tmp_path, monkeypatch, capsys, options, message):
    import re

    monkeypatch.chdir(tmp_path)
    Path("text.db").write_text("no database\n" * 50)
    Path("strangers").write_text("ENSG8\nENSG9\n")
    Path("everybody").write_text("\n".join(f"S{i + 1:05d}" for i in range(160)) + "\n")
    given = {"models": trained.run, "bfile": trained.folder / "new", "out": "out", "quiet": ""} | options
    words = [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value)) if word]
    line = refused(capsys, words)
    assert re.search(message, line), line


def test_a_folder_with_a_damaged_file(trained, tmp_path, capsys):
    from models_data import copy_models

    folder = copy_models(trained, tmp_path)
    (folder / "weights.parquet").write_bytes(b"PAR1")
    words = ["--models", str(folder), "--bfile", str(trained.folder / "new"), "--out", str(tmp_path / "out"), "--quiet"]
    assert "weights.parquet cannot be read" in refused(capsys, words)


def test_a_good_run_says_what_came_out(trained, tmp_path, capsys):
    words = ["--models", str(trained.run), "--bfile", str(trained.folder / "new"), "--out", str(tmp_path / "out")]
    assert main(["predict", *words]) == 0
    said = capsys.readouterr().out
    assert "3 genes of 40 people predicted" in said and "Mean R2 in people held out of the training" in said
    assert main(["predict", *words]) == 0  # again: the same files
    assert main(["predict", *words, "--method", "ridge"]) == 2
    assert "other settings (--method)" in capsys.readouterr().err
    assert main(["predict", *words, "--method", "ridge", "--no-resume"]) == 0
