"""The picture of the 2 x 2 table."""

from __future__ import annotations

import polars as pl

from genopred.report.figures import to_svg
from genopred.report.figures_personal import two_by_two


def table() -> pl.DataFrame:
    rows = []
    for i, genes in enumerate(("seen", "unseen")):
        for j, people in enumerate(("seen", "unseen")):
            for k, method in enumerate(("tuned", "untuned", "elastic net")):
                r = 0.3 - 0.1 * i - 0.05 * j - 0.1 * k
                row = {
                    "genes": genes,
                    "people": people,
                    "method": method,
                    "n_genes": 40,
                    "n_blocks": 9,
                    "n_people": 70.0,
                }
                row |= {
                    "mean_r": r,
                    "low": r - 0.04,
                    "high": r + 0.04,
                    "positive": 0.7,
                    "p_sign": 0.01,
                    "p_blocks": 0.02,
                    "mean_r2": r * r,
                }
                gap = (None, None, None) if method == "elastic net" else (r - 0.2, r - 0.24, r - 0.16)
                rows.append(row | dict(zip(("delta", "delta_low", "delta_high"), gap)))
    return pl.DataFrame(rows, infer_schema_length=None)


def test_each_method_in_each_cell():
    figure = two_by_two(table())
    assert [ax.get_title("left") for ax in figure.axes] == [
        f"{genes} genes (40), {people} people" for genes in ("seen", "unseen") for people in ("seen", "unseen")
    ]
    first = figure.axes[0]
    assert [label.get_text() for label in first.get_yticklabels()] == ["elastic net", "untuned", "tuned"]
    assert "mean Pearson r within genes" in to_svg(figure, title="x")
    assert len(two_by_two(table(), width=400).axes) == 4


def test_what_is_not_known_is_not_drawn():
    some = table().with_columns(mean_r=pl.when(pl.col("method") == "tuned").then(pl.col("mean_r")))
    assert [label.get_text() for label in two_by_two(some).axes[0].get_yticklabels()] == ["tuned"]
