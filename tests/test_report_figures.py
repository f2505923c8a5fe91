"""Figures: what is drawn, the same bytes every time, no state left behind."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import polars as pl
import pytest
from report_data import all_figures, results

from genopred.errors import GenopredError
from genopred.report import figures

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def data():
    return results(15)


@pytest.fixture(scope="module")
def drawn(data):
    predictions, scores, summary = data
    beside = figures.beside(summary["method"].to_list(), "stack-xgboost")
    gene, r2 = figures.best_genes(scores, "stack-xgboost", 1)[0]
    return {
        "means": figures.method_means(summary),
        "means_narrow": figures.method_means(summary, width=340),
        "bars": figures.gene_bars(scores, beside),
        "bars_narrow": figures.gene_bars(scores, beside, max_genes=4, width=340, horizontal=True),
        "scatter": figures.predicted_scatter(predictions, gene, "stack-xgboost", r2),
        "against": figures.r2_against_r2(scores, "elastic-net", "stack-xgboost"),
    }


def titles(figure) -> list[str]:
    root = ET.fromstring(figures.to_svg(figure, title="t"))
    return [title.text for title in root.iter(f"{SVG}title")]


def test_main_method_and_those_beside_it(data):
    summary = data[2]
    assert figures.main_method(summary).startswith("stack-")
    assert figures.main_method(summary, "susie-tss") == "susie-tss"
    assert figures.main_method(summary, "absent").startswith("stack-")
    singles = summary.filter(~pl.col("method").str.starts_with("stack"))
    assert figures.main_method(singles) == singles.sort("mean_r2", descending=True)["method"][0]
    assert figures.beside(["x", "y"], "y") == ["x", "y"]


def test_means_show_every_method_and_the_reference_as_such(data, drawn):
    summary = data[2]
    said = titles(drawn["means"])
    for row in summary.iter_rows(named=True):
        assert any(text.startswith(f"{row['method']}: {figures.number(row['mean_r2'])}") for text in said)
    assert "elastic-net: the reference" in said
    dots = [line.get_xdata()[0] for line in drawn["means"].axes[0].lines if line.get_marker() == "o"]
    assert sorted(dots) == pytest.approx(sorted(summary["mean_r2"].to_list()))


def test_a_method_far_off_does_not_flatten_the_others(data):
    summary = data[2].with_columns(
        mean_r2=pl.when(pl.col("method") == "random-forest").then(-3.0).otherwise("mean_r2"),
        mean_r2_low=pl.when(pl.col("method") == "random-forest").then(-4.0).otherwise("mean_r2_low"),
    )
    figure = figures.method_means(summary)
    assert figure.axes[0].get_xlim()[0] > -0.5
    assert any("−3.00, off the scale" in text.get_text() for text in figure.axes[0].texts)


def test_bars_are_sorted_by_the_main_method_and_say_their_number(data, drawn):
    scores = data[1]
    own = scores.filter(pl.col("method") == "stack-xgboost").sort("r2", descending=True)
    bars = drawn["bars"].axes[0].containers[-1]
    assert [bar.get_height() for bar in bars] == pytest.approx([max(value, -0.1) for value in own["r2"]])
    first = own.row(0, named=True)
    assert f"{first['gene_id']}, stack-xgboost: R² {figures.number(first['r2'])}" in titles(drawn["bars"])
    assert len(drawn["bars_narrow"].axes[0].containers[0]) == 4


def test_scatter_shows_each_person_of_the_best_gene(data, drawn):
    predictions, scores, _ = data
    gene, r2 = figures.best_genes(scores, "stack-xgboost", 1)[0]
    assert r2 == scores.filter(pl.col("method") == "stack-xgboost")["r2"].max()
    of = predictions.filter((pl.col("gene_id") == gene) & (pl.col("method") == "stack-xgboost"))
    points = drawn["scatter"].axes[0].collections[0].get_offsets()
    assert points[:, 0].tolist() == pytest.approx(of["predicted"].to_list())
    assert points[:, 1].tolist() == pytest.approx(of["observed"].to_list())


def test_r2_against_r2_counts_who_is_better(data, drawn):
    wide = data[1].pivot(on="method", index="gene_id", values="r2")
    better = int((wide["stack-xgboost"] > wide["elastic-net"]).sum())
    title = " ".join(drawn["against"].axes[0].get_title(loc="left").split())
    assert title == f"stack-xgboost is better in {better} of 15 genes"


def test_svg_is_whole_titled_and_its_ids_its_own(drawn):
    for name, figure in drawn.items():
        text = figures.to_svg(figure, title="R² & <more>", prefix=name)
        root = ET.fromstring(text)
        assert root.get("role") == "img" and root.find(f"{SVG}title").text == "R² & <more>"
        ids = re.findall(r' id="([^"]+)"', text)
        assert len(ids) == len(set(ids)) and all(i.startswith(name) for i in ids)
        assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', text)) <= set(ids)
        assert "<style" not in text and "http://" not in re.sub(r'xmlns(:\w+)?="[^"]+"', "", text)


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_same_figure_is_the_same_file(data, tmp_path, kind):
    first = figures.save_figure(figures.method_means(data[2]), tmp_path / f"a.{kind}").read_bytes()
    second = figures.save_figure(figures.method_means(data[2]), tmp_path / f"b.{kind}").read_bytes()
    assert first == second and len(first) > 2000
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.{kind}", f"b.{kind}"]


def test_pyplot_and_settings_are_left_alone(data):
    import matplotlib

    before = dict(matplotlib.rcParams)
    figures.to_svg(figures.method_means(data[2]), title="t")
    assert dict(matplotlib.rcParams) == before


def test_a_single_gene_has_intervals_over_people():
    _, scores, summary = results(1)
    figure = figures.method_means(summary, scores)
    assert len(figure.axes) == 1
    lines = [line for line in figure.axes[0].lines if line.get_linewidth() == 2 and len(line.get_xdata()) == 2]
    drawn = sorted(tuple(line.get_xdata()) for line in lines)
    assert drawn == sorted(zip(scores["r2_low"], scores["r2_high"]))


def test_what_is_absent_is_named(data, tmp_path):
    predictions, scores, summary = data
    with pytest.raises(GenopredError, match="none of method lasso; there are baseline-prs"):
        figures.gene_bars(scores, ["lasso"])
    with pytest.raises(GenopredError, match="none of gene 'X' by method 'pt-prs'"):
        figures.predicted_scatter(predictions, "X", "pt-prs")
    with pytest.raises(GenopredError, match="saved as .png or .svg, not as .tiff"):
        figures.save_figure(figures.method_means(summary), tmp_path / "x.tiff")


def test_many_people_are_drawn_as_a_density():
    rng = np.random.default_rng(0)
    sizes = []
    for n in (figures.MOST_POINTS, figures.MOST_POINTS + 1, 40_000):
        x = rng.standard_normal(n)
        table = {"gene_id": "g", "method": "m", "predicted": x, "observed": x + rng.standard_normal(n)}
        figure = figures.predicted_scatter(pl.DataFrame(table), "g", "m")
        drawn = figure.axes[0].collections[0].get_offsets()
        sizes.append(len(drawn))
    assert sizes[0] == figures.MOST_POINTS and max(sizes[1:]) < 1_500


def test_spreads_show_every_person_in_the_row_of_the_gene():
    values = {"ENSG00000100372.10": [0.0, 1.0, float("nan"), -2.0], "B": [3.0, 3.0]}
    figure = figures.spreads(values, "percent", width=340)
    [ax] = figure.axes
    rows = [line for line in ax.lines if line.get_marker() == "o"]
    assert [line.get_xdata().tolist() for line in rows] == [[0.0, 1.0, -2.0], [3.0, 3.0]]
    assert all(abs(up - y) <= 0.3 for y, line in enumerate(rows) for up in line.get_ydata())
    assert [label.get_text() for label in ax.get_yticklabels()] == ["ENSG00000100372.10", "B"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first gene is on top
    assert {"ENSG00000100372.10: \N{MINUS SIGN}2.00 to 1.00, 3 values", "B: 3.00 to 3.00, 1 values"} <= set(
        titles(figure)
    )
    assert figures.to_svg(figure, title="t") == figures.to_svg(figures.spreads(values, "percent", width=340), title="t")
    for bad, named in (({}, "no genes"), ({"A": [1.0], "C": [float("nan")]}, "C")):
        with pytest.raises(GenopredError, match=named):
            figures.spreads(bad, "percent")


def test_no_text_is_small_cut_or_under_another(data, drawn, monkeypatch):
    """Of any figure at any width, also of those that only go into files."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    scores, summary = data[1], data[2]
    long = scores.with_columns(method=scores["method"].replace({"stack-nnls": "stack-xgboost-per-gene"}))
    every = {f"{name} {i}": figure for *several, name in all_figures() for i, figure in enumerate(several)}
    every |= drawn | {
        "against long": figures.r2_against_r2(long, "elastic-net", "stack-xgboost-per-gene"),
        "means medium": figures.method_means(summary, width=660),
    }
    shown: list[Text] = []  # ticks beyond their axes have labels that are never drawn
    draw = Text.draw
    monkeypatch.setattr(Text, "draw", lambda self, renderer: (shown.append(self), draw(self, renderer))[1])
    seen = 0
    for name, figure in every.items():
        svg = figures.to_svg(figure, title="t")
        sizes = [float(size) for size in re.findall(r"font(?:-size)?: [^;\"]*?([\d.]+)px", svg)]
        assert sizes and min(sizes) >= figures.SMALL, (name, min(sizes))
        canvas = FigureCanvasAgg(figure)
        shown.clear()
        canvas.draw()
        whole, boxes = figure.bbox.padded(3), []
        for text in dict.fromkeys(shown):
            box = text.get_window_extent(canvas.get_renderer())
            clipped = text.axes is not None and text.get_clip_on()  # a gene's name that ends with its axes
            if not text.get_text() or clipped or not text.get_visible():
                continue
            assert whole.x0 <= box.x0 and box.x1 <= whole.x1, (name, text.get_text())
            assert whole.y0 <= box.y0 and box.y1 <= whole.y1, (name, text.get_text())
            hidden = [other for other, of in boxes if box.padded(-1.5).overlaps(of)]
            assert not hidden, (name, text.get_text(), hidden)
            boxes.append((text.get_text(), box.padded(-1.5)))
            seen += 1
    assert seen > 500


def test_the_lighter_svg_is_the_same_picture():
    values = {"A": [0.0, 1.0, 2.0, 3.0], "B": [0.5, 1.5]}
    svg = figures.to_svg(figures.spreads(values, "percent"), title="t")
    places = re.sub(r"scale\([^)]*\)", "", " ".join(re.findall(r' (?:d|x|y|transform)="[^"]*"', svg)))
    assert svg.count("<use ") >= 6 and re.search(r"\d\.\d\d\b", places) and not re.search(r"\d\.\d{3}", places)
    point = '<use href="#m" x="1.23456" y="2"{}/>'
    red, blue = (point.format(f' style="fill: {colour}"') for colour in ("red", "blue"))
    start = '<g clip-path="url(#p)"'
    bare = point.format("").replace("1.23456", "1.23")
    assert figures._lighter(f"{start}>{red}{red}</g>") == f'{start} style="fill: red">{bare}{bare}</g>'
    assert figures._lighter(f"{start}>{red}{blue}</g>") == f"{start}>{red}{blue}</g>".replace("1.23456", "1.23")


def test_the_widest_drawings_are_saved_by_name(tmp_path):
    summary = results(3)[2]
    wide, narrow = (figures.method_means(summary, width=width) for width in (900, 400))
    saved = figures.save_figures({"means": (wide, narrow, "caption")}, tmp_path, "svg")
    assert [file.name for file in saved] == ["means.svg"]
    assert saved[0].read_bytes() == figures.save_figure(wide, tmp_path / "again.svg").read_bytes()
    assert figures.save_figures({"means": (wide,)}, tmp_path, "none") == []
