"""The words that sum up a comparison."""

from __future__ import annotations

import polars as pl

from genopred.genetics.overlap.comparison import RESULT_SCHEMA
from genopred.report.pages.overlap import _shown, reading


def row(**values):
    blank = dict.fromkeys(RESULT_SCHEMA)
    common = {"a": "model", "b": "eqtl", "measure": "overlap at k", "k": 50, "circular": False, "note": ""}
    return {**blank, **common, **values}


def words(*rows):
    return reading(pl.DataFrame(rows, schema=RESULT_SCHEMA, orient="row"), (50,))


def test_the_strictest_null_is_the_one_quoted():
    plain = row(null="hypergeometric", value=9.0, expected=2.0, null_low=0.0, null_high=5.0, p=0.001)
    strict = row(null="phenotype", value=9.0, expected=3.1, null_low=0.0, null_high=12.0, p=0.2)
    (said,) = words(plain, strict)
    assert "9 are shared; 3.1 are expected under the null “phenotype” (95 %: 0 to 12, p = 0.2)" in said
    assert said.endswith("no more than that null gives.")
    (said,) = words(plain)
    assert said.endswith(": more than that null gives.")


def test_circular_numbers_are_called_so():
    measure = "overlap at k, founding study's recipe"
    numbers = {"value": 41.0, "expected": 38.0, "null_low": 35.0, "null_high": 41.0, "p": 0.05}
    (said,) = words(row(measure=measure, circular=True, **numbers))
    assert said.startswith("CIRCULAR") and "38.0 on average (35 to 41)" in said and "nothing about the model" in said


def table(*rows):
    return _shown(pl.DataFrame(rows, schema=RESULT_SCHEMA, orient="row"))


def test_the_table_has_readable_heads_and_numbers_with_their_intervals():
    first = row(null="shift", value=-0.0582, low=-0.1612, high=0.0436, expected=0.00852, p=0.478, n=170, k=None)
    second = row(
        null="phenotype", value=13.0, low=5.4, high=24.9, expected=14.723, null_low=10.0, null_high=20.0, p=0.8
    )
    grid, caption = table(first, second)
    assert list(grid.headings) == ["Measure", "k", "Found", "Null", "Expected", "p", "SNPs"]  # one pair, no notes
    assert caption.startswith("model against eqtl. ")
    assert [cell.whole for cell in grid.rows[0]] == [
        "overlap at k", "–", "−0.0582 [−0.161, 0.0436]", "shift", "0.00852", "0.48", "170",
    ]  # fmt: skip
    assert grid.rows[1][2].whole == "13 [5.40, 24.9]" and grid.rows[1][4].whole == "14.7 [10, 20]"
    assert grid.rows[1][2].value == 13 and grid.rows[1][3].value is None
    several, caption = table(first, second | {"a": "other", "note": "two-sided", "circular": True})
    assert list(several.headings) == ["Measure", "Rankings", "k", "Found", "Null", "Expected", "p", "SNPs", "Note"]
    assert several.rows[1][0].text == "CIRCULAR overlap at k" and several.rows[1][1].text == "other and eqtl"
