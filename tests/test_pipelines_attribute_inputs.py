"""genopred.pipelines.attribute_inputs: where windows lie, and what is looked at of them."""

from __future__ import annotations

import pytest

pytest.importorskip("captum")
pytest.importorskip("tangermeme")

import attribution_files as made
from test_pipelines_attribute import settings

from genopred.errors import AlignmentError, GenopredError
from genopred.pipelines.attribute_inputs import open_inputs
from genopred.sequence.models import registry
from genopred.types import Interval


@pytest.fixture(autouse=True)
def packages(monkeypatch):
    monkeypatch.setattr(registry, "entry_points", lambda group: made.POINTS)


@pytest.fixture
def files(tmp_path):
    return made.write(tmp_path)


def test_a_genes_window_is_the_models_and_its_stretch_what_is_kept(files):
    plus, minus = open_inputs(settings(files, flank=60, ism_width=20)).places
    assert (plus.name, plus.strand, plus.tss, plus.gene) == ("ENSG00000000001.2", "+", 1000, True)
    assert plus.window == Interval("1", 849, 1149) and minus.window == Interval("1", 1850, 2150)
    assert plus.stretch == Interval("1", 939, 1060) and plus.changed == Interval("1", 989, 1009)
    whole = open_inputs(settings(files)).places[0]
    assert whole.stretch == whole.window and whole.changed.length == 200


def test_a_window_over_the_chromosomes_end_is_cut(files):
    (place,) = open_inputs(settings(files, all_genes=False, region=("1:1-100",))).places
    assert place.window == Interval("1", -100, 200) and place.stretch == place.changed == Interval("1", 0, 100)
    assert (place.name, place.tss, place.gene) == ("1:1-100", 51, False)


def test_regions_given_twice_are_one(files):
    places = open_inputs(settings(files, all_genes=False, region=("1:1-100", "1:1-100", "1:200-300"))).places
    assert [place.name for place in places] == ["1:1-100", "1:200-300"]


def test_a_stretch_of_n_alone_is_refused(files):
    text = (files / "ref.fa").read_text()
    (files / "ref.fa").write_text(text.replace(text[3:400], "\n".join("N" * len(x) for x in text[3:400].split("\n"))))
    with pytest.raises(AlignmentError, match="1:10-60: .*nothing but N"):
        open_inputs(settings(files, all_genes=False, region=("1:10-60",)))


def test_who_is_named_is_looked_for_with_the_nearest_name(files):
    with pytest.raises(AlignmentError, match="--person anne: nobody of .* Did you mean 'ann'?"):
        open_inputs(settings(files, vcf=files / "people.vcf", person=("anne",)))
    with pytest.raises(GenopredError, match="several"):
        made_long = ("1:1000-1400",)
        open_inputs(settings(files, all_genes=False, region=made_long))


def test_without_exons_genes_are_drawn_all_the_same(files):
    lines = [line for line in (files / "genes.gtf").read_text().split("\n") if "\texon\t" not in line]
    (files / "genes.gtf").write_text("\n".join(lines))
    inputs = open_inputs(settings(files))
    assert inputs.annotation.genes.height == 2 and inputs.annotation.exons is None
