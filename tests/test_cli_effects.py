"""genopred effects, from the command line."""

import sys

import polars as pl
import pytest

pytest.importorskip("torch")

import test_pipelines_effects as shared

from genopred.cli import main
from genopred.sequence.effects import EFFECT_SCHEMA, EffectSettings
from genopred.sequence.models.registry import DEFAULT_MODEL
from genopred.settings import Effects

files, packages, embedded = shared.files, shared.packages, shared.embedded


def words(files, *more, **changes):
    options = {
        "snps": files / "snps.tsv",
        "fasta": files / "ref.fa",
        "expression": files / "expression.bed",
        "model": "forward:1",
        "out": files / "out",
        "device": "cpu",
    } | changes
    pairs = [str(word) for name, value in options.items() if value is not None for word in (f"--{name}", value)]
    return ["effects", *pairs, *more, "--quiet"]


def test_a_run_prints_what_it_did(files, capsys):
    assert main(words(files, "--all", "--tracks", "CAGE", "--tracks", "open=DNASE")) == 0
    said = capsys.readouterr().out
    assert "of 4 genes, 2 track groups of toy" in said and "out.parquet" in said
    table = pl.read_parquet(files / "out.parquet")
    assert table.columns == list(EFFECT_SCHEMA) and set(table["track_group"]) == {"CAGE", "open"}
    assert "scored" in (files / "out.log").read_text() and (files / "out.matched.tsv").is_file()


def test_the_default_model_is_the_one_of_the_package(files, embedded, capsys):
    assert main(words(files, "--gene", "ENSG00000000002", "--tracks", "CAGE", model=None)) == 0
    assert "1 track group of enformer-small" in capsys.readouterr().out
    assert Effects.model == DEFAULT_MODEL


def test_without_torch_it_says_what_to_install(files, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(words(files, "--all", model=None)) == 2
    assert "needs the package torch" in capsys.readouterr().err


def test_layouts(files, capsys):
    assert main(words(files, "--gene", "ENSG00000000002", "--upstream", "0.1kb", "--center", "snp")) == 0
    assert main(words(files, "--region", "chr1:300-420", expression=None, out=files / "b")) == 0
    assert main(words(files, "--ism", "1:300-320", "--over-tracks", "each", snps=None, out=files / "c")) == 0
    assert (files / "c.CAGE_y.png").is_file() and "63 SNPs" in capsys.readouterr().out


@pytest.mark.parametrize(
    "more, changes, message",
    [
        (["--all"], {"model": "nonsense:1"}, "no model 'nonsense'"),
        (["--all"], {"snps": "absent.tsv"}, "absent.tsv: no such file"),
        (["--all"], {"snps": None}, "SNPs: none given"),
        (["--all"], {"vcf": "people.vcf"}, "--snps and --vcf given"),
        (["--all"], {"fasta": "absent.fa"}, "absent.fa"),
        (["--all", "--gene", "x"], {}, "Genes: --gene and --all given"),
        (["--all"], {"gtf": "genes.gtf"}, "--gtf and --expression given"),
        (["--region", "chr1"], {}, "not a region"),
        (["--region", "1:20-10"], {}, "not a region"),
        (["--all", "--upstream", "far"], {}, "not a length"),
        (["--all", "--center", "gene"], {}, "--center gene"),
        (["--all", "--mode", "fast"], {}, "--mode fast"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(files, capsys, more, changes, message):
    assert main(words(files, *more, **changes)) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said


def test_every_setting_has_its_option(capsys):
    assert main(["effects", "--help"]) == 0
    said = capsys.readouterr().out
    known = set(EffectSettings.__dataclass_fields__) - {"groups"}
    assert not [name for name in known if f"--{name.replace('_', '-')}" not in said]
