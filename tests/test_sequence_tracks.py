"""genopred.sequence.tracks."""

import os
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from genopred.errors import ModelError
from genopred.sequence.tracks import GROUPS, enformer_tracks, select_tracks

SHARED = Path(os.environ.get("GENOPRED_SHARED", Path(__file__).parents[2] / "shared"))


def test_the_embedded_table_is_the_published_one():
    path = SHARED / "data" / "tracks" / "enformer_targets_human_5313.txt"
    if not path.is_file():
        pytest.skip(f"no {path}; set GENOPRED_SHARED")
    published = pl.read_csv(path, separator="\t", quote_char=None, infer_schema_length=0)
    ours = enformer_tracks()
    assert ours["index"].to_list() == list(range(5313))
    for column in ("identifier", "description"):
        assert ours[column].to_list() == published[column].to_list()


def test_names_are_unique_and_begin_with_the_description():
    table = enformer_tracks()
    assert table["name"].n_unique() == 5313
    assert all(name.startswith(text) for name, text in table.select("name", "description").iter_rows())
    assert table.filter(pl.col("name") != pl.col("description")).height == table["description"].is_duplicated().sum()


def test_groups():
    names = enformer_tracks()["name"].to_list()
    sizes = {group: len(select_tracks(names, group)) for group in GROUPS}
    assert sizes["all"] == 5313 and sizes["CAGE"] == 638 and sizes["DNase"] == 674 and sizes["ATAC"] == 10
    assert sizes["DNase/ATAC"] == 684
    # every track is of exactly one of these
    parts = [select_tracks(names, group) for group in ("CAGE", "DNase/ATAC", "histone", "TF")]
    assert sorted(np.concatenate(parts).tolist()) == list(range(5313))
    assert all(re.search("H3K27me3|H3K9me3|DNASE|CAGE", names[i]) for i in select_tracks(names, "founding"))
    # the three tracks that the literature uses for lymphoblastoid expression and its neighbours
    assert select_tracks(names, "CAGE:.*lymphoblastoid").tolist() == [5110]


def test_several_patterns_are_a_union_in_the_models_order():
    names = ["DNASE:K562", "CAGE:GM12878 (a)", "CHIP:CTCF:K562", "CAGE:K562"]
    assert select_tracks(names).tolist() == [0, 1, 2, 3]
    assert select_tracks(names, ["cage", "2", "DNASE:K562"]).tolist() == [0, 1, 2, 3]
    assert select_tracks(names, "K562$").tolist() == [0, 2, 3]
    # a whole name is taken as it is, though as an expression its brackets would not match
    assert select_tracks(names, "CAGE:GM12878 (a)").tolist() == [1]


@pytest.mark.parametrize(
    "pattern, message",
    [
        ("H3K27me4", "matches none.*H3K27me3"),
        ("CAGE:(", "no regular expression"),
        ("5313", "tracks 0 to 5312"),
    ],
)
def test_what_matches_nothing_names_the_nearest(pattern, message):
    with pytest.raises(ModelError, match=message):
        select_tracks(enformer_tracks()["name"].to_list(), ["CAGE", pattern])
