"""genopred features, from the command line."""

import sys
from importlib.metadata import EntryPoint

import pytest

pytest.importorskip("torch")

import test_pipelines_features as shared

from genopred.cli import main
from genopred.io.features import read_features, read_manifest
from genopred.sequence.features import FeatureSettings
from genopred.sequence.models import registry
from genopred.settings import Features

files, embedded = shared.files, shared.embedded


@pytest.fixture(autouse=True)
def packages(monkeypatch):
    points = [EntryPoint("toy", "test_pipelines_features:Toy", registry.GROUP)]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)


def words(files, *more, **changes):
    options = {
        "--vcf": files / "people.vcf",
        "--fasta": files / "ref.fa",
        "--expression": files / "expression.bed",
        "--model": "toy:1",
        "--out": files / "out",
        "--device": "cpu",
    } | {f"--{name}": value for name, value in changes.items()}
    pairs = [str(word) for pair in options.items() if pair[1] is not None for word in pair]
    named = {"--gene", "--genes", "--all"} & {*pairs, *more}
    return ["features", *pairs, *([] if named else ["--all"]), *more]


def test_a_run_prints_what_it_did(files, capsys):
    assert main(words(files, "--tracks", "CAGE", "--tracks", "DNASE", "--bins", "1", "--self-check", "--quiet")) == 0
    said = capsys.readouterr().out
    assert "4 genes (4 computed" in said and "self-check" in said
    manifest = read_manifest(files / "out")
    assert manifest["settings"]["bins"] == [2] and len(manifest["tracks"]) == 3
    assert read_features(files / "out", "ENSG00000000002").values.shape == (9, 3)
    log = (files / "out.log").read_text()
    assert "REF against FASTA" in log


def test_genes_are_named_as_in_the_other_commands(files, capsys):
    without = [word for word in words(files, "--quiet") if word != "--all"]
    assert main(without) == 2
    assert "Genes: none given; give --gene ID (as often as you like), --genes FILE or --all." in capsys.readouterr().err
    assert main(words(files, "--quiet")) == 0 and "4 genes" in capsys.readouterr().out


def test_dry_run(files, capsys):
    assert main(words(files, "--dry-run", "--quiet")) == 0
    said = capsys.readouterr().out
    assert "estimated: less than 1 s, " in said and "would take less than 1 s" in said and "e-0" not in said
    assert not (files / "out").exists()


@pytest.mark.parametrize(
    "more, changes, message",
    [
        ([], {"model": "nonsense:1"}, "no model 'nonsense'"),
        (["--tracks", "ATACC"], {}, "matches none"),
        (["--mode", "fast"], {}, "--mode fast"),
        (["--mode", "linear"], {}, "--mode linear"),
        (["--bins", "9"], {}, "--bins 9"),
        (["--unphased", "maybe"], {}, "--unphased maybe"),
        ([], {"vcf": None}, "exactly one of --bfile"),
        ([], {"fasta": "absent.fa"}, "absent.fa"),
        ([], {"model": "xpresso:absent.h5"}, "absent.h5: no such file"),
        (["--gene", "ENSG00000000077"], {}, "1 of 1 genes are not in"),
        (["--gene", "ENSG00000000002", "--all"], {}, "Genes: --gene and --all given; give --gene ID"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(files, capsys, more, changes, message):
    assert main(words(files, *more, "--quiet", **changes)) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said


def test_every_setting_has_its_option(capsys):
    assert main(["features", "--help"]) == 0
    said = capsys.readouterr().out
    missing = [name for name in FeatureSettings.__dataclass_fields__ if f"--{name.replace('_', '-')}" not in said]
    assert not missing


def test_the_default_model_is_the_one_of_the_package(files, embedded, capsys):
    assert main(words(files, "--bins", "1", "--quiet", model=None)) == 0
    assert "5 tracks of enformer-small" in capsys.readouterr().out
    assert Features.model == registry.DEFAULT_MODEL


def test_without_torch_it_says_what_to_install(files, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(words(files, "--quiet", model=None)) == 2
    said = capsys.readouterr().err
    assert "needs the package torch" in said and "genopred[sequence]" in said and said.count("\n") == 1
