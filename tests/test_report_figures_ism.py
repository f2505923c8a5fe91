"""genopred.report.figures_ism."""

import numpy as np
import pytest

from genopred.errors import GenopredError
from genopred.report.figures import save_figure
from genopred.report.figures_ism import BASES, _levels, mutagenesis, picture_names


def effects(sequence, seed=0):
    out = np.random.default_rng(seed).normal(size=(len(sequence), 4))
    for i, base in enumerate(sequence):
        if base in BASES:
            out[i, BASES.index(base)] = 0
        else:
            out[i] = np.nan
    return out


def test_letters_are_as_high_as_what_a_change_costs():
    sequence = "ACGTNACG"
    matrix = effects(sequence)
    figure = mutagenesis(matrix, sequence, chrom="22", start=101, marks=[(103, "rs1"), (500, "far")], title="T")
    top, bottom = figure.axes[:2]
    assert len(top.patches) == 7  # N has no letter
    boxes = [patch.get_path().get_extents() for patch in top.patches]
    lost = -matrix[[0, 1, 2, 3, 5, 6, 7]].sum(axis=1) / 3
    np.testing.assert_allclose([box.y1 if y > 0 else box.y0 for box, y in zip(boxes, lost)], lost, atol=1e-9)
    np.testing.assert_allclose([(box.x0 + box.x1) / 2 for box in boxes], [101, 102, 103, 104, 106, 107, 108], atol=1e-6)
    assert [text.get_text() for text in top.texts] == ["rs1"]
    shown = bottom.images[0].get_array()
    np.testing.assert_array_equal(np.ma.filled(shown, np.nan), matrix.T)
    limit = np.nanmax(np.abs(matrix))
    assert bottom.images[0].get_clim() == (-limit, limit)


def test_a_long_stretch_has_bars():
    sequence = "ACGT" * 300
    figure = mutagenesis(effects(sequence), sequence, chrom="22", start=1)
    assert len(figure.axes[0].patches) == 1200


def test_it_can_be_saved_twice_the_same(tmp_path):
    sequence = "ACGTTGCA" * 3
    files = []
    for name in ("a.svg", "b.svg", "c.png"):
        figure = mutagenesis(effects(sequence), sequence, chrom="chr22", start=29_190_000, marks=[(29_190_003, "rs1")])
        files.append(save_figure(figure, tmp_path / name).read_bytes())
    assert files[0] == files[1] and b"rs1" in files[0] and files[2][:4] == b"\x89PNG"


def test_names_do_not_cover_each_other():
    marks = [(pos, "rs1234567") for pos in (10, 11, 12, 13, 90)]
    placed = _levels(marks, 1, 100, 1100)
    assert [(pos, level) for pos, _, level in placed] == [(10, 0), (11, 1), (12, 2), (90, 0)]


def test_bad_shapes():
    with pytest.raises(GenopredError, match=r"needed \(3, 4\)"):
        mutagenesis(np.zeros((2, 4)), "ACG", chrom="1", start=1)
    with pytest.raises(GenopredError, match="no effect to draw"):
        mutagenesis(np.full((2, 4), np.nan), "NN", chrom="1", start=1)


def test_names_of_pictures_differ_where_those_of_groups_do():
    names = picture_names(["CAGE:y", "cage[y", "DNASE:x", "DNASE:" + "x" * 300])
    assert names[2] == "DNASE_x" and len({name.lower() for name in names}) == 4 and max(map(len, names)) < 200
