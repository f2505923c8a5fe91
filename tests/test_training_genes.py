"""genopred.training.genes: rows of the parts of a split."""

from __future__ import annotations

import numpy as np

from genopred.training.genes import GeneSplit


def test_rows_of_a_part():
    part = np.array(["train", "", "test", "train"])
    split = GeneSplit("block", part, np.zeros(4, dtype=np.int64), np.array(["", "much N", "", ""]))
    assert split.rows("train").tolist() == [0, 3]
    assert split.rows("validation").tolist() == []
