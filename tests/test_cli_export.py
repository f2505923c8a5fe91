"""`genopred export`: from words to settings, and one line for whatever is wrong with an option."""

from __future__ import annotations

from pathlib import Path

import pytest

from genopred.cli import main
from genopred.pipelines import export
from genopred.settings import Export


class Captured(Exception):
    pass


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """The settings that a command line turns into; nothing is run."""
    seen = []

    def run(config, progress):
        seen.append(config)
        raise Captured

    monkeypatch.setattr(export, "run", run)
    monkeypatch.chdir(tmp_path)

    def of(words: str):
        main(["export", *words.split()])
        return seen.pop()

    return of


def refused(capsys, words):
    """What a bad command says: one line, exit code 2, nothing written."""
    code = main(["export", *words])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert code == 2 and len(lines) == 1, (code, lines)
    assert not Path(words[words.index("--out") + 1]).exists()
    return lines[0]


def test_every_option_reaches_the_settings(settings):
    config = settings(
        "--models m --to pgs --method ridge --predicted --vcf v --keep k --remove r --extract x --exclude y --gene a "
        "--genes g --threads 2 --no-resume --quiet --out o"
    )
    assert config == Export(
        models="m", to="pgs", method="ridge", predicted=True, vcf="v", keep="k", remove="r", extract="x", exclude="y",
        gene=("a",), genes="g", threads=2, resume=False, quiet=True, out="o", command=config.command,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": "none"}, "none holds no models"),
        ({"models": "text.db"}, "text.db is no readable SQLite database"),
        ({"models": None}, "--models"),
        ({"bfile": "a", "vcf": "b"}, "--bfile and --vcf given"),
        ({"bfile": "none"}, "none.b"),
        ({"method": "stack-xgboost"}, "--method stack-xgboost: .* holds it as more than one weight per variant"),
        ({"method": "forest"}, "--method forest: .* has stack-linear"),
        ({"gene": "ENSG9"}, "1 of 1 genes have no model in"),
        ({"genes": "none"}, "none"),
        ({"to": "excel"}, "--to"),
        ({"threads": "0"}, "--threads 0"),
    ],
    ids=str,
)
def test_a_bad_option_is_one_line(trained, tmp_path, monkeypatch, capsys, options, message):
    import re

    monkeypatch.chdir(tmp_path)
    Path("text.db").write_text("no database\n" * 50)
    given = {"models": trained.run, "out": "out", "quiet": ""} | options
    words = [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value)) if word]
    line = refused(capsys, words)
    assert re.search(message, line), line


def test_fusion_of_a_database_that_names_no_people(trained, tmp_path, monkeypatch, capsys):
    import sqlite3

    pytest.importorskip("rdata", reason="no rdata: FUSION's files are not written")
    monkeypatch.chdir(tmp_path)
    assert main(["export", "--models", str(trained.run), "--out", "db", "--quiet"]) == 0
    with sqlite3.connect("db/models.db") as base:
        base.execute("DELETE FROM sample_info")
    base.close()
    assert main(["export", "--models", "db/models.db", "--to", "fusion", "--out", "out", "--quiet"]) == 2
    assert "does not say of how many people it was made; FUSION needs that" in capsys.readouterr().err


def test_fusion_of_a_database_without_frequencies(trained, tmp_path, monkeypatch, capsys):
    """Weights per standard deviation need standard deviations: of genotypes, or by the frequencies of the training."""
    pytest.importorskip("rdata", reason="no rdata: FUSION's files are not written")
    monkeypatch.chdir(tmp_path)
    assert main(["export", "--models", str(trained.run), "--out", "db", "--quiet"]) == 0
    assert main(["export", "--models", "db/models.db", "--to", "fusion", "--out", "out", "--quiet"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1 and "does not say how frequent its alleles are" in lines[0] and "--bfile" in lines[0], lines
    words = ["--bfile", str(trained.folder / "new"), "--to", "fusion", "--out", "again", "--quiet"]
    assert main(["export", "--models", "db/models.db", *words]) == 0


def test_a_good_run_says_what_came_out(trained, tmp_path, capsys):
    assert main(["export", "--models", str(trained.run), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "3 genes written" in said and "models.db" in said and "Written is stack-linear: mean R2" in said
