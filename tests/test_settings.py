"""Every option is declared once, has a range or choices, a line of help, and the defaults that the library has."""

from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from genopred import settings
from genopred.errors import GenopredError
from genopred.learning.learners import names
from genopred.settings import WORKFLOWS, declared, parts
from genopred.settings.declare import Settings, _own

OPTIONS = [(workflow, field) for workflow in WORKFLOWS for field in declared(workflow).values()]


def ids(pair):
    return f"{pair[0].__name__} {pair[1].flag}"


def test_settings_need_nothing_that_computes():
    code = "import genopred.settings, sys; print(*sorted({'numpy', 'polars', 'torch', 'cyclopts'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout.split(), done.stdout


def test_every_workflow_is_a_pipeline_and_has_its_words():
    for workflow in WORKFLOWS:
        assert getattr(settings, workflow.__name__) is workflow
        module = settings.command_name(workflow).replace("-", "_")
        assert importlib.util.find_spec(f"genopred.pipelines.{module}") is not None
        first = workflow.__doc__.split("\n")[0]
        assert first.endswith(".") and len(first) < 105, first


@pytest.mark.parametrize("pair", OPTIONS, ids=ids)
def test_each_option_says_what_it_is(pair):
    field = pair[1]
    assert field.help.endswith((".", "?")) or field.option.hidden, field.help
    assert field.option.hidden or field.panel


def test_no_option_is_declared_twice():
    """A field stands in one class; a workflow may declare one of the same name only as another option (other choices,
    or required where it is not), and an option has the same help wherever it is the same."""
    where: dict[str, list[type]] = {}
    classes = {part for workflow in WORKFLOWS for part in workflow.__mro__ if issubclass(part, Settings)}
    for part in classes:
        for name in _own(part):
            where.setdefault(name, []).append(part)
    for name, of in where.items():
        told = [(str(part.__annotations__[name]), declared(part)[name].help) for part in of]
        assert len(set(told)) == len(told), f"{name} is declared alike in {[part.__name__ for part in of]}"


def test_every_number_has_a_range():
    """And is refused outside it before anything is read."""
    numbers = [(w.__name__, f) for w, f in OPTIONS if {int, float} & set(f.kinds)]
    assert len(numbers) > 60
    ends = [(w, f.flag, {f.option.low, f.option.above}, {f.option.high, f.option.below}) for w, f in numbers]
    assert [(w, flag) for w, flag, low, high in ends if {None} in (low, high)] == []


def test_words_of_a_fixed_set_are_choices():
    """Options whose word is free, by name; every other one shows its choices in --help and refuses the rest."""
    free = {"--model", "--tracks", "--device", "--bins", "--gene", "--learners", "--covar-name", "--stack-weights"}
    free |= {
        "--method",
        "--peers",
        "--against",
        "--baseline",
        "--pheno-name",
        "--null",
        "--match",
        "--set-id",
        "--features",
        "--person",
        "--name",
    }
    free |= {f"--{side}-{what}" for side in "ab" for what in ("score", "id", "gene", "effect", "where")}
    words = {f.flag for _, f in OPTIONS if str(f.kinds[0]) in ("<class 'str'>", "tuple[str, ...]")}
    assert words - {"--command"} <= free, words - free


@pytest.mark.parametrize(
    ("workflow", "option", "where"),
    [
        ("Stack", "meta", "learning.stack:METAS"),
        ("Stack", "transform", "learning.evaluate:TRANSFORMS"),
        ("Stack", "residualize", "learning.evaluate:RESIDUALIZE"),
        ("Stack", "feature_transform", "learning.evaluate:FEATURE_TRANSFORMS"),
        ("Eqtl", "compat", "genetics.eqtl.scan:COMPAT"),
        ("Prs", "ld", "genetics.ld:METHODS"),
        ("Features", "indels", "sequence.haplotypes:INDELS"),
        ("Features", "unphased", "sequence.haplotypes:UNPHASED"),
        ("Features", "mode", "sequence.features:MODES"),
        ("Features", "dtype", "sequence.features:DTYPES"),
        ("Features", "aggregate", "sequence.features:AGGREGATES"),
        ("Features", "strands", "sequence.features:STRANDS"),
        ("Effects", "center", "sequence.effects:CENTERS"),
        ("Effects", "mode", "sequence.effects:MODES"),
        ("Attribute", "background", "attribution.backgrounds:KINDS"),
        ("Effects", "aggregate", "sequence.effects:AGGREGATES"),
        ("Effects", "over_tracks", "sequence.effects:OVER_TRACKS"),
        ("Evaluate", "split", "training.splits:SPLITS"),
    ],
)
def test_choices_are_those_of_the_library(workflow, option, where):
    module, name = where.split(":")
    if module.startswith(("sequence", "training", "attribution")):
        pytest.importorskip("torch")
    assert declared(getattr(settings, workflow))[option].choices == getattr(
        importlib.import_module(f"genopred.{module}"), name
    )


def test_lists_are_those_of_the_library():
    from genopred.genetics.overlap.nulls import NULLS
    from genopred.io.text import MAX_BYTES
    from genopred.learning.fromsumstats import METHODS
    from genopred.settings import overlap

    assert f"by default all: {', '.join(names())}." in declared(settings.Stack)["learners"].help
    assert declared(settings.Stack)["sumstats_learners"].choices == tuple(METHODS)
    assert tuple(NULLS) == overlap.NULLS
    assert declared(settings.Stack)["max_bytes"].default == MAX_BYTES


def test_exactly_one_source_of_genotypes():
    assert parts.Genotypes(pfile="x").genotypes == ("pfile", Path("x"))
    with pytest.raises(GenopredError, match="none given; give exactly one of --bfile, --pfile, --vcf and --bgen"):
        parts.Genotypes()
    with pytest.raises(GenopredError, match="--bfile and --vcf given"):
        parts.Genotypes(bfile="x", vcf="y")
    assert settings.Effects(fasta="f", snps="s").genotypes is None
    with pytest.raises(GenopredError, match="--bfile and --vcf given"):
        settings.Effects(fasta="f", snps="s", bfile="x", vcf="y")


def test_exactly_one_choice_of_genes():
    def stack(**genes):
        return settings.Stack(bfile="b", expression="e", **genes)

    assert stack(gene="a").gene == ("a",) and stack(genes="file").genes == Path("file") and stack(all_genes=True)
    with pytest.raises(GenopredError, match="Genes: none given; give --gene ID"):
        stack()
    with pytest.raises(GenopredError, match="--gene and --all given"):
        stack(gene=("a", "b"), all_genes=True)


@pytest.mark.parametrize("out", ["", ".", "/", "..", "a/.."])
def test_an_output_without_a_name_is_refused(out):
    with pytest.raises(GenopredError, match="--out .*results need a name of their own"):
        parts.Output(out=out)


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="no devices in the file system")
def test_a_device_is_no_output(tmp_path):
    for device in ("/dev/null", "/dev/full"):
        with pytest.raises(GenopredError, match=f"--out {device} is a device or pipe"):
            parts.Output(out=device)
    for fine in (tmp_path, tmp_path / "new" / "run"):
        assert parts.Output(out=fine).out == fine


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"nominal": False, "permute": 0}, "leaves nothing to do"),
        ({"permute": 5}, "at least 100"),
        ({"permute": 0, "susie": True}, "--susie works on the genes of the permutation pass"),
        ({"compat": "qtltools", "independent": True}, "has no QTLtools version"),
        ({"fdr": 0}, "--fdr 0: needed a number above 0, below 1."),
    ],
)
def test_eqtl_refuses_what_cannot_be(wrong, message):
    with pytest.raises(GenopredError, match=message):
        settings.Eqtl(bfile="b", expression="e", all_genes=True, **wrong)


def test_features_and_inputs_go_together():
    with pytest.raises(GenopredError, match="--inputs sequence and --features go together"):
        settings.Stack(bfile="b", expression="e", all_genes=True, inputs="sequence")
    with pytest.raises(GenopredError, match="--transform quantile brings everyone"):
        settings.Stack(bfile="b", expression="e", all_genes=True, transform="quantile")


def test_features_can_be_added_to_settings_and_taken_away():
    one = settings.Stack(bfile="b", expression="e", all_genes=True)
    both = dataclasses.replace(one, features="f")
    assert (one.seen, both.seen, dataclasses.replace(both, features=None).seen) == ("genotype", "both", "genotype")
    assert dataclasses.replace(both, inputs="sequence").seen == "sequence"


def test_tables_of_an_overlap_have_names_of_their_own():
    one = settings.Overlap(a="m=x.tsv", b="out/e.tsv.gz", k="5,10")
    assert one.a == (("m", Path("x.tsv")),) and one.b == ("e", Path("out/e.tsv.gz")) and one.k == (5, 10)
    with pytest.raises(GenopredError, match="two tables are called 'e'"):
        settings.Overlap(a="e.tsv", b="out/e.tsv.gz")
    for wrong in ("", 3, None, ("m", "x.tsv")):
        with pytest.raises(GenopredError, match="--b.*needed"):
            settings.Overlap(a="a", b=wrong)
    with pytest.raises(GenopredError, match="--null ld: there are permutation, shift, blocks, phenotype."):
        settings.Overlap(a="a", b="b", null="ld")


def test_regions_are_1_based_with_both_ends_inside():
    one = settings.Effects(fasta="f", snps="s", region="chr22:29,190,000-29,190,200")
    assert one.region == ("chr22", 29_189_999, 29_190_200)
    for bad in ("chr22", "chr22:5-4", "chr22:0-3", "22:1-2000000000"):
        with pytest.raises(GenopredError, match="--ism .*not a region; needed one such as chr22:20000000-20100000"):
            settings.Effects(fasta="f", snps="s", ism=bad)
