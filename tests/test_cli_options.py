"""Shared options: lengths, lists, and choices of which exactly one must be made."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import NoneType
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.cli import commands
from genopred.cli import options as opt
from genopred.errors import FormatError, GenopredError
from genopred.learning.learners import names


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("500kb", 500_000),
        ("1Mb", 1_000_000),
        ("250000", 250_000),
        ("0.5m", 500_000),
        ("100 KB", 100_000),
        ("1,000bp", 1_000),
        ("1_000", 1_000),
        (500_000, 500_000),
    ],
)
def test_lengths(text, length):
    assert opt.parse_size(text) == length


@pytest.mark.parametrize("text", ["", "kb", "-5kb", "5q", "1.5", "0", "0kb", "1e6", "5 parsecs", "1.2.3kb", "0.0001kb"])
def test_what_is_no_length(text):
    with pytest.raises(typer.BadParameter, match="is not a length; write 500kb"):
        opt.parse_size(text)


@settings(max_examples=50)
@given(st.integers(1, 10**9), st.sampled_from(["", "b", "bp", "kb", "Mb"]))
def test_lengths_scale_with_their_unit(number, unit):
    factor = {"": 1, "b": 1, "bp": 1, "kb": 1_000, "Mb": 1_000_000}[unit]
    if number * factor <= opt.MOST_BASES:
        assert opt.parse_size(f"{number}{unit}") == number * factor
    else:
        with pytest.raises(typer.BadParameter, match="longer than any chromosome; at most 1,000,000,000 bases"):
            opt.parse_size(f"{number}{unit}")


def test_lists_keep_order_and_refuse_repeats():
    assert opt.parse_list("b, a,,c") == ["b", "a", "c"]
    assert opt.parse_list(None) is None
    with pytest.raises(GenopredError, match="susie is named twice"):
        opt.parse_list("susie,ridge,susie")


def test_exactly_one_source_of_genotypes():
    assert opt.one_genotype_source(None, Path("x"), None) == ("pfile", Path("x"))
    with pytest.raises(GenopredError, match="none given; give exactly one of --bfile, --pfile and --vcf"):
        opt.one_genotype_source(None, None, None)
    with pytest.raises(GenopredError, match="--bfile and --vcf given"):
        opt.one_genotype_source(Path("x"), None, Path("y"))


def test_exactly_one_choice_of_genes(tmp_path):
    file = tmp_path / "genes.txt"
    file.write_text("ENSG1\nENSG2\textra\n")
    assert opt.chosen_genes(["a", "b"], None, False) == ("a", "b")
    assert opt.chosen_genes(None, file, False) == ("ENSG1", "ENSG2")
    assert opt.chosen_genes(None, None, True) is None
    with pytest.raises(GenopredError, match="Genes: none given"):
        opt.chosen_genes(None, None, False)
    with pytest.raises(GenopredError, match="--gene and --all given"):
        opt.chosen_genes(["a"], None, True)


def test_an_empty_list_of_genes_is_refused(tmp_path):
    file = tmp_path / "genes.txt"
    file.write_text("\n")
    with pytest.raises(FormatError, match="genes.txt (is empty|names nothing)"):
        opt.chosen_genes(None, file, False)


@pytest.mark.parametrize("text", [",", "", " , "])
def test_a_list_that_names_nothing_is_refused(text):
    with pytest.raises(GenopredError, match="names nothing; write names between commas, or leave the option out"):
        opt.parse_list(text)


def test_threads_up_to_the_cores_that_may_be_used(monkeypatch, caplog):
    monkeypatch.setattr("joblib.cpu_count", lambda: 4)
    assert opt.cores(3) == 3 and opt.cores(None) == 4 and not caplog.records
    assert opt.cores(10_000) == 4
    assert [record.message for record in caplog.records] == ["--threads 10000: this process may use 4 cores; using 4."]


@pytest.mark.parametrize("out", ["", ".", "/", "..", "a/.."])
def test_an_output_without_a_name_is_refused(out):
    with pytest.raises(GenopredError, match="--out .*results need a name of their own"):
        opt.check({"out": Path(out)})


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="no devices in the file system")
def test_a_device_is_no_output(tmp_path):
    for device in ("/dev/null", "/dev/full"):
        with pytest.raises(GenopredError, match=f"--out {device} is a device or pipe"):
            opt.check({"out": Path(device)})
    for fine in (tmp_path, tmp_path / "new" / "run"):
        opt.check({"out": fine, "fdr": 0.05})
    with pytest.raises(GenopredError, match="--min-abs-corr nan: a number is needed"):
        opt.check({"out": None, "min_abs_corr": float("nan")})


def options():
    """Every option of every command: command, option, type without None, what typer is told of it."""
    for command in commands():
        function = importlib.import_module(f"genopred.cli.{command.replace('-', '_')}").command
        for name, hint in get_type_hints(function, include_extras=True).items():
            if name != "return":
                kind, info = get_args(hint)
                kinds = [one for one in get_args(kind) or (kind,) if one is not NoneType]
                if get_origin(kind) is Literal:
                    kinds = [kind]
                # beside Annotated the first declaration arrives where the default would
                option = info.default if isinstance(info.default, str) else name
                yield command, option.split("/")[0], kinds[0], info


def test_every_number_has_a_range():
    """And is refused outside it before anything is read."""
    numbers = [(command, option, info) for command, option, kind, info in options() if kind in (int, float)]
    assert len(numbers) > 60
    open_ended = [
        f"{command} {option}"
        for command, option, info in numbers
        if info.parser not in (opt.parse_size, opt.parse_bytes) and (info.min is None or info.max is None)
    ]
    assert not open_ended


def test_words_of_a_fixed_set_are_choices():
    """Options whose word is free, by name; every other one shows its choices in --help and refuses the rest."""
    free = {"--model", "--tracks", "--device", "--bins", "--gene", "--learners", "--covar-name", "--stack-weights"}
    free |= {"--peers", "--against", "--baseline", "--pheno-name", "--clump-p1", "--clump-r2", "--score-columns"}
    free |= {"--k", "--null", "--match", "--set", "--set-id", "--a", "--b"}
    free |= {f"--{side}-{what}" for side in "ab" for what in ("score", "id", "gene", "effect", "where")}
    words = {option for _, option, kind, info in options() if kind in (str, list[str]) and option.startswith("--")}
    assert words <= free, words - free


def choices(command, option):
    return next(get_args(kind) for name, of, kind, _ in options() if (name, of) == (command, option))


@pytest.mark.parametrize(
    ("command", "option", "where"),
    [
        ("stack", "--meta", "learning.stack:METAS"),
        ("stack", "--transform", "learning.evaluate:TRANSFORMS"),
        ("stack", "--residualize", "learning.evaluate:RESIDUALIZE"),
        ("stack", "--feature-transform", "learning.evaluate:FEATURE_TRANSFORMS"),
        ("eqtl", "--compat", "genetics.eqtl.scan:COMPAT"),
        ("eqtl", "--transform", "pipelines.eqtl:TRANSFORMS"),
        ("prs", "--ld", "genetics.ld:METHODS"),
        ("overlap", "--recipe", "pipelines.overlap:RECIPES"),
        ("features", "--indels", "sequence.haplotypes:INDELS"),
        ("features", "--unphased", "sequence.haplotypes:UNPHASED"),
        ("features", "--mode", "sequence.features:MODES"),
        ("features", "--dtype", "sequence.features:DTYPES"),
        ("features", "--aggregate", "sequence.features:AGGREGATES"),
        ("features", "--strands", "sequence.features:STRANDS"),
        ("effects", "--center", "sequence.effects:CENTERS"),
        ("effects", "--mode", "sequence.effects:MODES"),
        ("effects", "--aggregate", "sequence.effects:AGGREGATES"),
        ("effects", "--over-tracks", "sequence.effects:OVER_TRACKS"),
        ("effects", "--dtype", "sequence.features:DTYPES"),
        ("effects", "--strands", "sequence.features:STRANDS"),
        ("evaluate", "--strands", "pipelines.evaluate:STRANDS"),
        ("evaluate", "--figures", "pipelines.evaluate:FIGURES"),
        ("evaluate", "--split", "training.splits:SPLITS"),
    ],
)
def test_choices_are_those_of_the_library(command, option, where):
    module, name = where.split(":")
    if module.startswith(("sequence", "training", "pipelines.evaluate")):
        pytest.importorskip("torch")
    assert choices(command, option) == getattr(importlib.import_module(f"genopred.{module}"), name)


def test_the_help_names_every_learner():
    text = next(info.help for _, option, _, info in options() if option == "--learners")
    assert f"by default all: {', '.join(names())}." in text
