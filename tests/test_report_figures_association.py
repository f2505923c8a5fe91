"""Q-Q and Manhattan pictures: that what is drawn is what was given."""

from __future__ import annotations

import numpy as np
import pytest

from genopred.report.figures import to_svg
from genopred.report.figures_association import manhattan, qq


def points(ax):
    return [np.asarray(one.get_offsets()) for one in ax.collections if len(one.get_offsets()) > 1]


def test_observed_against_expected():
    p = np.random.default_rng(0).uniform(size=200)
    (ax,) = qq(p, title="height").axes
    (drawn,) = [one for one in points(ax) if len(one) == 200]
    np.testing.assert_allclose(np.sort(drawn[:, 1]), np.sort(-np.log10(p)))
    ranks = np.array([(np.sum(p <= value) - 0.5) / 200 for value in np.sort(p)])
    np.testing.assert_allclose(drawn[:, 0], -np.log10(ranks))
    assert ax.get_title("left") == "height"


def test_the_band_holds_nineteen_of_twenty():
    """Of p-values of no association the smallest lies within it as often as it says."""
    n, inside = 50, []
    (ax,) = qq(np.linspace(0.01, 1, n)).axes
    path = ax.collections[0].get_paths()[0].vertices
    at = path[np.isclose(path[:, 0], path[:, 0].max())][:, 1]
    rng = np.random.default_rng(1)
    for _ in range(2000):
        inside.append(at.min() <= -np.log10(rng.uniform(size=n).min()) <= at.max())
    assert np.mean(inside) == pytest.approx(0.95, abs=0.025)


@pytest.mark.parametrize("p", [[0.0, 0.5], [1.0], [1e-320, 1.0, 1.0]])
def test_extremes_are_drawn(p):
    assert "<svg" in to_svg(qq(p), title="t")
    figure = manhattan(["1"] * len(p), np.arange(len(p)) * 1000, p, ["g"] * len(p), threshold=0.05)
    assert "<svg" in to_svg(figure, title="t") and np.isfinite(figure.axes[0].get_ylim()).all()


def test_genes_lie_along_their_chromosomes():
    rng = np.random.default_rng(2)
    chrom = ["1"] * 30 + ["2"] * 20 + ["X"] * 10
    pos = np.concatenate([np.sort(rng.integers(1, 10**8, k)) for k in (30, 20, 10)])
    p = rng.uniform(size=60)
    p[[3, 40]] = 1e-12, 1e-9
    names = [f"GENE{i}" for i in range(60)]
    (ax,) = manhattan(chrom, pos, p, names, threshold=1e-6).axes
    (drawn,) = [one for one in points(ax) if len(one) == 60]
    np.testing.assert_allclose(drawn[:, 1], -np.log10(p))
    assert np.all(np.diff(drawn[:, 0]) > 0)  # in order, one chromosome after the other
    for start, end in ((0, 30), (30, 50), (50, 60)):
        np.testing.assert_allclose(np.diff(drawn[start:end, 0]), np.diff(pos[start:end]))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "X"]
    assert {text.get_text() for text in ax.texts} == {"GENE3", "GENE40"}
    assert ax.lines[0].get_ydata()[0] == pytest.approx(6)
    (plain,) = manhattan(chrom, pos, p, names).axes
    assert not plain.texts and not plain.lines


def test_a_single_chromosome_has_megabases():
    (ax,) = manhattan(["22"] * 3, [20_000_000, 30_000_000, 40_000_000], [0.1, 0.2, 0.3], list("abc")).axes
    assert ax.get_xlabel() == "chromosome 22, Mb"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["20", "25", "30", "35", "40"]


def test_the_strongest_have_words_on_hover():
    svg = to_svg(manhattan(["1", "1"], [1, 2], [1e-9, 0.4], ["ONE", "TWO"]), title="t")
    assert "ONE, p" in svg and "TWO, p" in svg
