"""The table that compares methods."""

from __future__ import annotations

import io

import polars as pl
import pytest
from report_data import results

from genopred.errors import GenopredError
from genopred.report.tables import (
    SUMMARY_COLUMNS,
    GeneNames,
    count,
    estimate,
    interval,
    metric_cells,
    number,
    p_value,
    significant,
    summary_cells,
    summary_table,
    summary_tsv,
)


@pytest.fixture(scope="module")
def summary() -> pl.DataFrame:
    return results(12)[2]


def shown(summary: pl.DataFrame, width: int) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width)
    console.print(summary_table(summary, width=width))
    return console.file.getvalue()


def test_numbers():
    assert number(-0.00001) == "0.0000"
    assert number(-0.00001, sign=True) == "0.0000"
    assert number(float("nan")) == "–" == interval(None, 1.0) == p_value(None)
    assert interval(-0.01, 0.0213, 3, sign=True) == "[−0.010, +0.021]"


def test_one_minus_sign_in_every_kind_of_number():
    texts = [number(-1.5), p_value(3e-9), significant(-0.0582), significant(-12345.6), count(-12_034), interval(-2, -1)]
    texts += [estimate(-1, -2, 3).whole, estimate(-0.5, -1000.4, 1.0, digits=None).whole]
    assert not any("-" in text for text in texts) and all("−" in text for text in texts)
    assert significant(None) == "–" == count(None) and significant(2.0) == "2" and significant(0.5) == "0.500"
    assert estimate(None, None, None).whole == "–" and estimate(1.0, 1.0, 1.0).note == ""


def test_genes_without_a_symbol_keep_their_whole_id():
    names = GeneNames({"ENSG00000167074": "TEF"})
    assert names.cell("ENSG00000167074.10").whole == "TEF ENSG00000167074.10"
    assert names.cell("ENSG00000172404.4").whole == "ENSG00000172404.4" == names.short("ENSG00000172404.4")


def test_rows_are_ordered_and_the_best_is_marked_as_rounded(summary):
    headings, rows = summary_cells(summary)
    column = headings.index("Mean R²")
    values = [row[column].value for row in rows]
    assert values == sorted(values, reverse=True)
    best = round(max(values), 4)
    assert [row[column].best for row in rows] == [round(value, 4) == best for value in values]
    mse = headings.index("MSE")
    lowest = round(min(row[mse].value for row in rows), 3)
    assert all(row[mse].best == (round(row[mse].value, 3) == lowest) for row in rows)


def test_the_reference_is_named_not_compared_with_itself(summary):
    headings, rows = summary_cells(summary)
    row = next(row for row in rows if row[0].text == "elastic-net")
    assert row[headings.index("R² − elastic-net")].text == "reference"
    assert row[headings.index("Wilcoxon p")].text == ""


@pytest.mark.parametrize("width", [60, 80, 100, 120, 150, 200])
def test_nothing_is_cut_and_narrow_terminals_get_the_main_columns(summary, width):
    text = shown(summary, width)
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= width
    assert all(name in text for name in summary["method"])
    assert "elastic-net" in text and "R²" in text
    if width >= 150:
        assert "MAE" in text and "Wilcoxon" in text


def test_tsv_reads_back(summary):
    back = pl.read_csv(io.StringIO(summary_tsv(summary)), separator="\t")
    assert tuple(back.columns) == SUMMARY_COLUMNS
    expected = summary.sort("mean_r2", descending=True)
    assert back["method"].to_list() == expected["method"].to_list()
    assert (back["mean_r2"] - expected["mean_r2"]).abs().max() < 1e-6
    assert (back["p_wilcoxon"] / expected["p_wilcoxon"] - 1).abs().max() < 1e-5


def test_one_gene_has_no_interval_over_genes():
    _, _, summary = results(1)
    headings, _ = summary_cells(summary)
    assert "R²" in headings and "95 % interval" not in headings and "Wilcoxon p" not in headings
    assert "1 gene," in shown(summary, 150)


def test_one_method_and_missing_numbers():
    _, _, summary = results(3)
    alone = summary.filter(pl.col("method") == "elastic-net").with_columns(mean_pearson=pl.lit(None, pl.Float64))
    headings, rows = summary_cells(alone)
    assert len(rows) == 1 and not any(cell.best for cell in rows[0])
    assert rows[0][headings.index("Pearson r")].text == "–"


def test_what_is_no_summary(summary):
    with pytest.raises(GenopredError, match="summary: no column mean_r2"):
        summary_table(summary.drop("mean_r2"))
    with pytest.raises(GenopredError, match="summary: no row"):
        summary_tsv(summary.clear())


def test_metrics_stand_beside_each_other():
    columns = ("cell", "metric", "estimate", "low", "high")
    rows = [("b", "r2", 0.5, 0.4, 0.6), ("b", "r", 0.25, None, None), ("a", "r", -0.1, -0.2, 0.1), ("a", "r2", 0, 0, 1)]
    found = metric_cells(pl.DataFrame(rows, schema=columns, orient="row", strict=False), "cell", ("r", "r2"), sign=True)
    whole = {name: [cell.whole for cell in cells] for name, cells in found.items()}
    assert whole == {
        "b": ["b", "+0.250", "+0.500 [+0.400, +0.600]"],
        "a": ["a", "−0.100 [−0.200, +0.100]", whole["a"][2]],
    }
