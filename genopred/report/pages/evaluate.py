"""What `genopred evaluate` shows: figures, and a page that says in words how well tracks are predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.report.locus import GeneTrack
from genopred.report.tables import Cell, Grid, metric_cells

if TYPE_CHECKING:
    from genopred.report.page import Section

#: What the metrics of the tables are called.
METRIC_NAMES = {
    "pearson": "Pearson r",
    "pearson_log": "Pearson r of log(1 + value)",
    "spearman": "Spearman ρ",
    "r2": "R²",
    "mse": "MSE",
    "mae": "MAE",
}


class Stretch(NamedTuple):
    """Neighbouring windows whose bins are shown side by side."""

    #: `genes` or `median`.
    name: str
    #: How it was chosen, for the caption.
    rule: str
    #: Windows: the first, and after the last.
    first: int
    last: int
    chrom: str
    #: Of its bins, 0-based half-open.
    start: int
    end: int


@dataclass(frozen=True)
class Shown:
    """What the page is made of."""

    title: str
    #: Paragraphs: what was evaluated on what.
    reading: tuple[str, ...]
    #: Warnings, set off at the top.
    notes: tuple[str, ...]
    #: The model evaluated.
    model: str
    split: str
    #: track, assay, cell, strand: a row for each of the arrays' T tracks.
    tracks: pl.DataFrame
    #: Where the bins of the arrays' rows begin, 0-based; shape (B,).
    chroms: NDArray[np.str_]
    starts: NDArray[np.int64]
    #: In bp.
    bin: int
    #: Shape (B, n_bins, T).
    measured: NDArray[np.float32]
    predicted: NDArray[np.float32]
    #: As written by `genopred.pipelines.evaluate`.
    scores: pl.DataFrame
    differences: pl.DataFrame
    #: Of a GTF.
    genes: pl.DataFrame | None
    exons: pl.DataFrame | None
    #: For `genopred.report.page.render_page`.
    info: dict[str, Any]


def choose_stretches(
    chroms: NDArray[np.str_],
    starts: NDArray[np.int64],
    bin: int,
    measured: NDArray[np.float32],
    genes: pl.DataFrame | None,
    length: int = 150_000,
) -> list[Stretch]:
    """Which stretches are drawn: by a rule that looks at genes and measurements, never at predictions.

    Runs of windows whose bins adjoin are cut into pieces of about `length` bp. Shown are the piece with most genes
    (protein-coding ones where the GTF says; the first of several), and of the others the one whose signal is the
    median: of the mean over tracks of the piece's signal relative to all windows'. Without genes only the latter.

    The bins, of `bin` bp, of the windows begin at `starts` (0-based); `measured` has shape (B, n_bins, T). `genes` have
    columns `chrom`, `start`, `end` (1-based), perhaps `gene_type`. A run shorter than `length` (bp) is taken whole, so
    that there is something to see.
    """
    width = measured.shape[1] * bin
    pieces = _pieces(chroms, starts, width, length)
    relative = (measured.mean(axis=1) / np.maximum(measured.mean(axis=(0, 1)), 1e-9)).mean(axis=1)
    signal = [relative[first:last].mean() for first, last in pieces]
    places = ((first, last, str(chroms[first]), int(starts[first])) for first, last in pieces)
    stretches = [(first, last, chrom, start, start + (last - first) * width) for first, last, chrom, start in places]
    kilobases = length // 1000
    out: list[Stretch] = []
    left = list(range(len(pieces)))
    if genes is not None and genes.height:
        kind = "genes"
        if "gene_type" in genes.columns and (genes["gene_type"] == "protein_coding").any():
            kind, genes = "protein-coding genes", genes.filter(pl.col("gene_type") == "protein_coding")
        counts = [GeneTrack(genes).within(*place).genes.height for _, _, *place in stretches]
        best = int(np.argmax(counts))
        if counts[best]:
            rule = f"The stretch of about {kilobases} kb with most {kind} ({counts[best]}) of {len(pieces)}"
            out.append(Stretch("genes", rule, *stretches[best]))
            left.remove(best)
    if left:
        middle = sorted(left, key=lambda i: (signal[i], i))[(len(left) - 1) // 2]
        others = "other " if out else ""
        rule = f"The stretch with the median measured signal of the {others}{len(left)} of about {kilobases} kb"
        out.append(Stretch("median", rule, *stretches[middle]))
    return out


def _pieces(chroms: NDArray[np.str_], starts: NDArray[np.int64], width: int, length: int) -> list[tuple[int, int]]:
    """Windows (first, after the last) whose bins adjoin, of about `length` bp; shorter rests only from short runs."""
    apart = (chroms[1:] != chroms[:-1]) | (np.diff(starts) != width)
    edges = [0, *(np.flatnonzero(apart) + 1).tolist(), len(starts)]
    most = max(1, round(length / width))
    out = []
    for first, last in zip(edges[:-1], edges[1:]):
        n = max(1, (last - first) // most)
        cuts = np.linspace(first, last, n + 1).round().astype(int).tolist()
        out += list(zip(cuts[:-1], cuts[1:]))
    longest = max(last - first for first, last in out)
    return [(first, last) for first, last in out if 2 * (last - first) >= min(longest, most)]


def write(folder: Path, shown: Shown, figures: str = "svg") -> list[Path]:
    """Write the figures (`svg`, `png`, or `none` outside the page) and `evaluate.html` into a folder."""
    from genopred.report.figures import save_figures
    from genopred.report.page import Section

    drawn = _figures(shown)
    files = save_figures(drawn, folder, figures)
    table = _score_table(shown, shown.model)
    sections = [Section("How well the tracks are predicted", shown.reading, (drawn["scores"],), (table,))]
    if shown.differences.height:
        sections.append(Section(f"{shown.model} against the others", tables=(_difference_table(shown),)))
    sections.append(Section("Predicted and measured", figures=(drawn["density"],)))
    browsers = tuple(figure for name, figure in drawn.items() if name.startswith("browser"))
    if browsers:
        sections.append(Section("Along the chromosome", figures=browsers))
    others = [name for name in shown.scores["model"].unique(maintain_order=True) if name != shown.model]
    if others:
        sections.append(Section("Scores of the others", tables=tuple(_score_table(shown, name) for name in others)))
    return [*files, write_evaluation(folder, shown, sections)]


def write_evaluation(folder: Path, shown: Any, sections: Sequence[Section]) -> Path:
    """Write `evaluate.html` of sections, with the title, info and notes of what is shown."""
    from genopred.report.page import render_page, write_page

    info = shown.info | {"notes": list(shown.notes)}
    return write_page(folder / "evaluate.html", render_page(title=shown.title, info=info, sections=sections))


def _figures(shown: Shown) -> dict[str, tuple[Any, ...]]:
    """By name the figure drawn for wide to narrow screens, and its caption."""
    from genopred.report import figures_tracks as draw
    from genopred.report.figures import in_widths

    tracks, label = shown.tracks, METRIC_NAMES["pearson_log"]
    held, n = f"the {shown.split} windows", shown.tracks.height
    y, x = shown.measured.reshape(-1, n), shown.predicted.reshape(-1, n)
    text = f"{label} of each track over {held}; lines: 95 % intervals over blocks."
    out = {"scores": (*in_widths(draw.score_intervals, shown.scores, label=label), text)}
    text = (
        f"Bins of {shown.bin} bp of {held}, on axes of log(1 + value): the darker, the more bins. Dashed: both "
        "equal. r: Pearson correlation of log(1 + value) of the bins in the panel, both strands together."
    )
    out["density"] = (*in_widths(draw.predicted_density, y, x, tracks), text)
    genes, under = None, ""
    mirrored = " + strand up, \N{MINUS SIGN} strand down." if (tracks["strand"] != ".").any() else ""
    for stretch in choose_stretches(shown.chroms, shown.starts, shown.bin, shown.measured, shown.genes):
        if shown.genes is not None:
            genes = GeneTrack(shown.genes, shown.exons).within(stretch.chrom, stretch.start, stretch.end)
            under = " Under them the genes: exons are thick, arrows give the strand."
        part = slice(stretch.first, stretch.last)
        y, x = (values[part].reshape(-1, n) for values in (shown.measured, shown.predicted))
        place: dict[str, Any] = {"chrom": stretch.chrom, "start": stretch.start, "bin_size": shown.bin}
        text = (
            f"{stretch.chrom}:{stretch.start + 1:,}-{stretch.end:,}, measured and predicted by {shown.model} with one "
            f"scale, log(1 + value).{mirrored}{under} {stretch.rule} among {held}: it was chosen without looking at "
            "predictions."
        )
        out[f"browser-{stretch.name}"] = (*in_widths(draw.track_browser, y, x, tracks, genes=genes, **place), text)
    return out


def _score_table(shown: Shown, model: str) -> tuple[Grid, str]:
    rows = shown.scores.filter(pl.col("model") == model)
    caption = (
        f"{model}: each metric with its 95 % interval over blocks. R² is 1 \N{MINUS SIGN} SSE/SST of the values "
        "themselves: negative where their mean would have been nearer. MSE and MAE are in the tracks' own units."
    )
    return Grid(["Track", *METRIC_NAMES.values()], list(metric_cells(rows, "track", METRIC_NAMES).values())), caption


def _difference_table(shown: Shown) -> tuple[Grid, str]:
    rows = []
    for (other,), of in shown.differences.group_by("against", maintain_order=True):
        each = metric_cells(of, "track", METRIC_NAMES, sign=True).values()
        rows += [[track, Cell(str(other)), *cells] for track, *cells in each]
    caption = (
        f"{shown.model} minus the other on the same bins, with 95 % intervals from drawing the same blocks for both. "
        "Where an interval includes 0, these blocks do not tell the two apart. Above 0 it is better, for MSE and MAE "
        "below 0."
    )
    return Grid(["Track", "Against", *METRIC_NAMES.values()], rows), caption
