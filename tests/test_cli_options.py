"""Shared options: lengths, lists, and choices of which exactly one must be made."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.cli import options as opt
from genopred.errors import FormatError, GenopredError


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
    assert opt.parse_size(f"{number}{unit}") == number * factor


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


def test_threads():
    assert opt.cores(3) == 3
    assert opt.cores(None) >= 1
