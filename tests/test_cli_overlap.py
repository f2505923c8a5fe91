"""`genopred overlap` on the command line."""

from __future__ import annotations

import pytest

from genopred.cli import main


@pytest.fixture
def tables(tmp_path):
    rows = [f"rs{i}\t{i * 100}\t{(i * 37) % 41 / 10}\t{(1 + (i * 29) % 40) / 41:.4f}" for i in range(1, 41)]
    for name, columns in (("model", (0, 1, 2)), ("eqtl", (0, 1, 3))):
        head = {"model": "SNP\tpos\teffect", "eqtl": "SNP\tpos\tP-value"}[name]
        body = ["\t".join(row.split("\t")[c] for c in columns) for row in rows]
        (tmp_path / f"{name}.tsv").write_text("\n".join([head, *body]) + "\n")
    return tmp_path


def command(folder, *more):
    base = ["overlap", "--a", f"m={folder / 'model.tsv'}", "--b", str(folder / "eqtl.tsv"), "--draws", "200"]
    return [*base, "--resamples", "100", "--k", "5,10", "--out", str(folder / "run"), "--quiet", *more]


def test_it_writes_tables_figures_and_page(tables, capsys):
    assert main(command(tables, "--recipe", "founding-study", "--figures", "svg")) == 0
    said = capsys.readouterr().out
    assert "m and eqtl: of the top 5 SNPs" in said and "CIRCULAR" in said
    for name in ("run.overlap.tsv", "run.snps.parquet", "run.curves.tsv", "run.html", "run.m.curve.svg", "run.log"):
        assert (tables / name).stat().st_size > 0, name


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--a-score", "abs:efect"], "no column 'efect'. Did you mean 'effect'?"),
        (["--b-score", "p:pos"], "p-values are not above 0 and up to 1 (line 2: 100"),
        (["--k", "ten"], "--k ten: needed a whole number from 1"),
        (["--recipe", "best"], "--recipe best: there is founding-study"),
        (["--a-id", "rsid"], "no column 'rsid'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tables, capsys, more, words):
    assert main(command(tables, *more)) == 2
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error
    assert not (tables / "run.html").exists()


def test_options_that_would_do_nothing_are_none(tables, capsys):
    """It works on one core, and starts anew every time."""
    for words in (["--threads", "2"], ["--resume"]):
        assert main(command(tables, *words)) == 2
        assert f"there is no option {words[0]}." in capsys.readouterr().err
    assert main(["overlap", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--threads" not in said and "--no-resume" not in said and "--seed" in said
