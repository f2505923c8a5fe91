"""The page: complete in itself, true to its tables, plain in its words."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import polars as pl
import pytest
from report_data import INFO, match_report, results

from genopred.errors import GenopredError
from genopred.report import figures
from genopred.report.page import Section, reading, render_page, write_page
from genopred.report.tables import GeneNames

VOID = {"meta", "input", "br", "link", "img", "hr"}


class Checker(HTMLParser):
    """Counts what a page holds, and that every tag is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.table = ""
        self.cell: list[str] | None = None

    def handle_starttag(self, tag, attrs):
        facts = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in facts:
            self.ids.append(facts["id"])
        if tag == "table":
            self.table = facts["id"]
            self.rows[self.table] = []
        if tag == "tr" and self.table:
            self.rows[self.table].append([])
        if tag in ("td", "th") and self.table:
            self.cell = []

    def handle_startendtag(self, tag, attrs):
        if "id" in dict(attrs):
            self.ids.append(dict(attrs)["id"])

    def handle_data(self, data):
        if self.cell is not None:
            self.cell.append(data)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open[-3:])
        self.open.pop()
        if tag in ("td", "th") and self.cell is not None:
            self.rows[self.table][-1].append("".join(self.cell).strip())
            self.cell = None
        if tag == "table":
            self.table = ""


def parse(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    assert not checker.open
    return checker


@pytest.fixture(scope="module")
def data():
    return results(15)


@pytest.fixture(scope="module")
def html(data):
    predictions, scores, summary = data
    return render_page(
        title="A run of <genopred>",
        summary=summary,
        scores=scores,
        predictions=predictions,
        report=match_report(),
        info=INFO,
        sections=[
            Section(
                "Something more",
                ("A paragraph & its end.",),
                ((figures.r2_against_r2(scores, "pt-prs", "susie-tss"), "one caption"),),
                ((pl.DataFrame({"id": ["rs1", "rs2"], "pos": [1234567, 2], "pval": [3e-9, None]}), "two rows"),),
            )
        ],
    )


def test_it_loads_nothing(html):
    bare = re.sub(r'xmlns(:\w+)?="[^"]+"', "", html)
    assert not re.search(r"https?://|//[a-z]+\.|@import|\ssrc=|<link|<img|<iframe|fetch\(|XMLHttpRequest", bare)
    assert "default-src 'none'" in html


def test_it_is_whole_and_its_ids_differ(html):
    page = parse(html)
    assert len(page.ids) == len(set(page.ids))
    assert set(re.findall(r'<a href="#([^"]+)"', html)) <= set(page.ids)
    assert html.count("<svg") == html.count("</svg>") >= 10


def test_the_tables_hold_the_numbers(html, data):
    _, scores, summary = data
    page = parse(html)
    rows = page.rows["summary-table"]
    assert len(rows) == 1 + summary.height
    best = summary.sort("mean_r2", descending=True).row(0, named=True)
    assert rows[1][:2] == [best["method"], figures.number(best["mean_r2"])]
    genes = page.rows["all-table"]
    assert len(genes) == 1 + 15
    top = scores.filter(pl.col("method") == "stack-xgboost").sort("r2", descending=True).row(0, named=True)
    assert genes[1][0] == top["gene_id"] and genes[1][2] == figures.number(top["r2"], 3)
    matched = page.rows["matched-table"]
    assert ["samples", "dropped", "87", "no genotypes in cohort.fam", "HG00104, HG00124, <b>HG00134</b>"] in matched
    assert page.rows["more0t0-table"][1:] == [["rs1", "1234567", "3e−09"], ["rs2", "2", "–"]]


def test_genes_go_by_symbol_and_whole_id_and_by_the_id_where_there_is_none(data):
    predictions, scores, summary = data
    best = scores.filter(pl.col("method") == "stack-xgboost").sort("r2", descending=True)["gene_id"].to_list()
    names = GeneNames({best[0].partition(".")[0]: "TEF"})
    html = render_page(
        title="t",
        summary=summary,
        scores=scores,
        predictions=predictions,
        info=INFO,
        sections=[Section("More", tables=((pl.DataFrame({"Gene": best[:2]}), "genes"),))],
        names=names,
    )
    rows = parse(html).rows
    assert [row[0] for row in rows["all-table"][1:3]] == [f"TEF {best[0]}", best[1]]
    assert [row[0] for row in rows["more0t0-table"][1:]] == [f"TEF {best[0]}", best[1]]
    assert f"<figcaption>TEF ({best[0]}): predicted" in html and f"<figcaption>{best[1]}: predicted" in html
    assert f"<title>TEF ({best[0]}), stack-xgboost: R²" in html and "ENSG…" not in html
    assert ">TEF</text>" in html and f">{best[1]}</text>" in html  # of the bars
    _, scores, summary = results(1)
    one = scores["gene_id"][0]
    assert reading(summary, scores, None, GeneNames({one.partition(".")[0]: "TEF"}))[0].startswith(f"TEF ({one}), ")


def test_columns_of_numbers_are_told_from_words():
    table = pl.DataFrame(
        {
            "Track": ["a", "b"],
            "value": [-0.5, None],
            "n": [-12_034, 1],
            "rule": ["short", "words"],
            "note": ["of many words " * 5, "few"],
        }
    )
    html = render_page(title="t", sections=[Section("s", tables=((table, "A table. Of words."),))])
    rows = parse(html).rows["more0t0-table"]
    assert rows[1][:3] == ["a", "−0.5000", "−12,034"] and rows[2][1] == "–"
    assert re.findall(r'<th scope="col"(?: style="[^"]*")?(?: class="([^"]*)")?>', html) == [
        "word", "", "", "word", "word long",
    ]  # fmt: skip
    assert 'aria-label="Table: A table"' in html


def test_a_figure_is_drawn_for_each_kind_of_screen(data):
    html = render_page(title="t", summary=data[2], scores=data[1], info=INFO)
    means = html[html.index('<section id="methods"') : html.index('<section id="genes"')]
    drawn = re.findall(r'<div class="draw ([^"]*)">.*?<svg style="min-width: (\d+)px" viewBox="0 0 (\d+)', means)
    assert drawn == [("wide", "930", "1000"), ("medium", "613", "660"), ("narrow", "316", "340")]


def test_names_from_files_are_text_not_markup(html):
    assert "&lt;b&gt;HG00134" in html and "<b>HG00134" not in html
    assert "<title>A run of &lt;genopred&gt;</title>" in html


def test_it_says_how_it_was_made(html):
    assert INFO["command"] in html and "500 kb on each side of the TSS" in html and "812.3" in html
    assert re.search(r"<dt>versions</dt><dd>genopred [\d.]+, python 3", html)
    assert INFO["notes"][0] in html


def test_colours_follow_the_reader(html):
    svg = html[html.index("<svg") :]
    assert not any(colour in svg[: svg.rindex("</svg>")] for colour in figures.COLOURS.values())
    assert "prefers-color-scheme: dark" in html


def test_the_same_run_gives_the_same_page(data):
    predictions, scores, summary = data
    pages = [render_page(title="t", summary=summary, scores=scores, predictions=predictions) for _ in range(2)]
    assert pages[0] == pages[1]


def test_words_for_a_clear_result(data):
    _, scores, summary = data
    row = summary.filter(pl.col("method") == "stack-xgboost").row(0, named=True)
    assert row["delta_low"] > 0  # or this test says nothing
    first, second = reading(summary, scores, "stack-xgboost")
    assert f"In {row['n_significant']} of 15 genes" in first
    assert f"mean R² {figures.number(row['mean_r2'])}" in first
    assert second.startswith("stack-xgboost is better than elastic-net")


def test_words_when_nothing_is_predictable():
    _, scores, summary = results(8, 100, signal=False, seed=5)
    assert summary["n_significant"].max() == 0
    first, second = reading(summary, scores)
    assert first.startswith("Nothing could be predicted: in none of the 8 genes")
    # r² found with 80 % power at one-sided 5 % in 100 people: tanh(2.487 / sqrt(97))²
    assert "with 100 people a single gene is usually noticed from an R² of about 0.061" in first
    assert "not told apart" in second or "worse" in second or "better" in second


def test_words_for_one_gene():
    _, scores, summary = results(1, seed=4)
    row = scores.filter(pl.col("method") == "stack-xgboost").row(0, named=True)
    (text,) = reading(summary, scores, "stack-xgboost")
    assert row["gene_id"] in text and figures.number(row["r2"]) in text
    assert ("can be predicted" in text) == (row["r2_low"] > 0)
    _, scores, summary = results(1, 60, signal=False, seed=2)
    assert "could not be predicted" in reading(summary, scores)[0] or "do not show" in reading(summary, scores)[0]


def test_many_people_are_said_to_be_a_density(monkeypatch):
    predictions, scores, summary = results(1, 60)
    page = {"title": "x", "summary": summary, "scores": scores, "predictions": predictions, "report": match_report()}
    assert "one point a held-out person" in render_page(**page, info=INFO)
    monkeypatch.setattr(figures, "MOST_POINTS", 59)
    many = render_page(**page, info=INFO)
    assert "held-out people as their density" in many and "one point a held-out person" not in many


def test_few_genes_are_no_verdict():
    _, scores, summary = results(3)
    assert "3 genes are too few to tell methods apart" in reading(summary, scores, "stack-xgboost")[1]


def test_a_worse_method_is_called_worse(data):
    _, scores, summary = data
    assert summary.filter(pl.col("method") == "baseline-prs")["delta_high"][0] < 0
    assert "baseline-prs is worse than elastic-net" in reading(summary, scores, "baseline-prs")[1]


def test_a_page_of_sections_only():
    page = parse(render_page(title="features", sections=[Section("Tracks", ("One.",))]))
    assert "more0" in page.ids and "methods" not in page.ids


def test_one_method_or_no_predictions_still_make_a_page(data):
    _, scores, summary = data
    one = summary.filter(pl.col("method") == "elastic-net")
    page = parse(render_page(title="t", summary=one, scores=scores.filter(pl.col("method") == "elastic-net")))
    assert len(page.rows["summary-table"]) == 2 and "scatter" not in page.ids


def test_written_whole_or_refused(tmp_path, data):
    predictions, scores, summary = data
    html = render_page(title="t", summary=summary, scores=scores, predictions=predictions)
    path = write_page(tmp_path / "report.html", html)
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(GenopredError, match="cannot be written"):
        write_page(tmp_path / "no" / "report.html", html)
    with pytest.raises(GenopredError, match="scores: needed with summary"):
        render_page(title="t", summary=summary)


def test_a_workflows_own_lead_and_first_blocks_stand_before_the_comparison(data):
    predictions, scores, summary = data
    said = reading(summary, scores, "stack")
    html = render_page(
        title="run",
        summary=summary,
        scores=scores,
        predictions=predictions,
        info={"lead": ["What this is."]},
        first=[Section("Before", ("text",))],
        sections=[Section("After")],
    )
    parse(html)
    header, main = html.split("<main>")
    assert "<p>What this is.</p>" in header and said[0][:20] not in header
    titles = re.findall(r"<h2[^>]*>([^<]+)</h2>", main)
    assert titles[:2] == ["Before", "Methods compared"] and "After" in titles[2:]
    assert said[0][:20] in main and "<dt>lead</dt>" not in html
    alone = render_page(title="run", info={"lead": ["Only this."]}, sections=[Section("One")])
    assert "<p>Only this.</p>" in alone
