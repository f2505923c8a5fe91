"""Tables of outer folds and strata."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from genopred.errors import AlignmentError, FormatError
from genopred.io.folds import read_folds, read_labels

SAMPLES = ["C", "A", "B"]


def table(tmp_path, text, name="folds.tsv"):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("head", ["sample\tfold", "IID fold", "#IID\tfold", "fold_of_last_year Sample fold"])
def test_labels_follow_the_samples_whatever_the_order_and_the_layout(tmp_path, head):
    extra = "x " if head.startswith("fold_of") else ""
    rows = [f"{extra}{name} {fold}" for name, fold in (("A", "1"), ("Z", "9"), ("B", "2"), ("C", "3"))]
    path = table(tmp_path, "\n".join([head, *(row.replace(" ", "\t") if "\t" in head else row for row in rows)]))
    assert read_labels(path, SAMPLES, "fold").tolist() == ["3", "1", "2"]


def test_gzipped_and_other_columns(tmp_path):
    path = tmp_path / "groups.tsv.gz"
    path.write_bytes(gzip.compress(b"sample\tgroup\tfold\nA\tGBR\t1\nB\tFIN\t1\nC\tGBR\t2\n"))
    assert read_labels(path, SAMPLES, "group").tolist() == ["GBR", "GBR", "FIN"]


def test_folds_are_numbered_in_the_order_of_their_labels(tmp_path):
    path = table(tmp_path, "sample\tfold\nA\tsecond\nB\tfirst\nC\tsecond\nD\tzero\n")
    folds = read_folds(path, SAMPLES)
    assert folds.dtype == np.int64
    assert folds.tolist() == [1, 1, 0]  # 'zero' is of nobody that is used


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("sample\tgroup\nA\t1\n", FormatError, ("sample, group", "'fold'")),
        ("person\tfold\nA\t1\n", FormatError, ("person, fold", "'sample' (or 'IID')")),
        ("sample\tfold\nA\t1\nB\t1\nA\t2\nC\t1\n", FormatError, ("1 samples are listed more than once (A)",)),
        ("sample\tfold\nA\t1\nB\t2\n", AlignmentError, ("1 of 3 samples have no fold (C)",)),
        ("sample\tfold\nA\t1\nB\t\nC\t2\n", AlignmentError, ("1 of 3 samples have no fold (B)",)),
        ("sample\tfold\nA\t1\nB\t1\nC\t1\nD\t2\n", AlignmentError, ("all 3 samples used are in fold 1", "two")),
        ("sample\tfold\nA\t1\nB\nC\t2\n", FormatError, ("line 3",)),
        ("", FormatError, ("is empty; needed a table of sample and fold",)),
    ],
)
def test_bad_tables_are_named(tmp_path, text, kind, words):
    path = table(tmp_path, text)
    with pytest.raises(kind) as caught:
        read_folds(path, SAMPLES)
    for word in (str(path), *words):
        assert word in str(caught.value)


def test_a_missing_file_says_what_was_needed(tmp_path):
    with pytest.raises(FormatError, match="no such file; needed a table of sample and group"):
        read_labels(tmp_path / "none.tsv", SAMPLES, "group")


def test_a_group_may_hold_a_blank_where_tabs_separate(tmp_path):
    path = table(tmp_path, "sample\tgroup\na\tAfrican Caribbean\nb\tFinnish \n")
    assert read_labels(path, ["b", "a"], "group").tolist() == ["Finnish", "African Caribbean"]
