"""The words that sum up a comparison."""

from __future__ import annotations

import polars as pl

from genopred.pipelines.overlap import RESULT_SCHEMA
from genopred.pipelines.overlap_page import reading


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
