"""What `genopred evaluate` shows: figures, and a page that says in words how well tracks are predicted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.report.locus import GeneTrack
from genopred.report.tables import Cell, Grid, estimate

#: What the metrics of the tables are called.
METRIC_NAMES = {
    "pearson": "Pearson r",
    "pearson_log": "Pearson r of log(1 + value)",
    "spearman": "Spearman ρ",
    "r2": "R²",
    "mse": "MSE",
    "mae": "MAE",
}


@dataclass(frozen=True)
class Stretch:
    """Neighbouring windows whose bins are shown side by side.

    Attributes
    ----------
    name : str
        `genes` or `median`.
    rule : str
        How it was chosen, for the caption.
    first, last : int
        Windows: the first, and after the last.
    chrom : str
    start, end : int
        Of its bins, 0-based half-open.
    """

    name: str
    rule: str
    first: int
    last: int
    chrom: str
    start: int
    end: int


@dataclass(frozen=True)
class Shown:
    """What the page is made of.

    Attributes
    ----------
    title : str
    reading : tuple of str
        Paragraphs: what was evaluated on what.
    notes : tuple of str
        Warnings, set off at the top.
    model : str
        The model evaluated.
    split : str
    tracks : polars.DataFrame
        track, assay, cell, strand: a row for each of the arrays' T tracks.
    chroms, starts : array, shape (B,)
        Where the bins of the arrays' rows begin, 0-based.
    bin : int
        In bp.
    measured, predicted : array, shape (B, n_bins, T)
    scores, differences : polars.DataFrame
        As written by `genopred.pipelines.evaluate`.
    genes, exons : polars.DataFrame or None
        Of a GTF.
    info : dict
        For `genopred.report.page.render_page`.
    """

    title: str
    reading: tuple[str, ...]
    notes: tuple[str, ...]
    model: str
    split: str
    tracks: pl.DataFrame
    chroms: NDArray[np.str_]
    starts: NDArray[np.int64]
    bin: int
    measured: NDArray[np.float32]
    predicted: NDArray[np.float32]
    scores: pl.DataFrame
    differences: pl.DataFrame
    genes: pl.DataFrame | None
    exons: pl.DataFrame | None
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

    Parameters
    ----------
    chroms, starts : array, shape (B,)
        Where the bins of each window begin, 0-based.
    bin : int
        In bp.
    measured : array, shape (B, n_bins, T)
    genes : polars.DataFrame, optional
        Columns `chrom`, `start`, `end` (1-based), perhaps `gene_type`.
    length : int
        In bp. A run that is shorter is taken whole, so that there is something to see.

    Returns
    -------
    list of Stretch
    """
    width = measured.shape[1] * bin
    pieces = _pieces(chroms, starts, width, length)
    relative = (measured.mean(axis=1) / np.maximum(measured.mean(axis=(0, 1)), 1e-9)).mean(axis=1)
    signal = np.array([relative[first:last].mean() for first, last in pieces])
    where = []
    for first, last in pieces:
        start = int(starts[first])
        where.append((str(chroms[first]), start, start + (last - first) * width))
    kilobases = length // 1000
    out: list[Stretch] = []
    left = list(range(len(pieces)))
    if genes is not None and genes.height:
        counts = [_n_genes(genes, *place) for place in where]
        best = int(np.argmax(counts))
        if counts[best]:
            kind = "protein-coding genes" if _typed(genes) else "genes"
            rule = f"The stretch of about {kilobases} kb with most {kind} ({counts[best]}) of {len(pieces)}"
            out.append(_stretch("genes", rule, pieces[best], where[best]))
            left.remove(best)
    if left:
        middle = sorted(left, key=lambda i: (signal[i], i))[(len(left) - 1) // 2]
        others = "other " if out else ""
        rule = f"The stretch with the median measured signal of the {others}{len(left)} of about {kilobases} kb"
        out.append(_stretch("median", rule, pieces[middle], where[middle]))
    return out


def _stretch(name: str, rule: str, piece: tuple[int, int], where: tuple[str, int, int]) -> Stretch:
    return Stretch(name, rule, piece[0], piece[1], where[0], where[1], where[2])


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


def _typed(genes: pl.DataFrame) -> bool:
    return "gene_type" in genes.columns and bool((genes["gene_type"] == "protein_coding").any())


def _n_genes(genes: pl.DataFrame, chrom: str, start: int, end: int) -> int:
    here = GeneTrack(genes).within(chrom, start, end).genes
    return here.filter(pl.col("gene_type") == "protein_coding").height if _typed(genes) else here.height


def write(folder: Path, shown: Shown, figures: str = "svg") -> list[Path]:
    """Write the figures (`svg`, `png`, or `none` outside the page) and `evaluate.html` into a folder.

    Returns
    -------
    list of Path
    """
    from genopred.report.figures import save_figure
    from genopred.report.page import Section, render_page, write_page

    drawn = _figures(shown)
    files = []
    if figures != "none":
        for name, (wide, *_), _ in drawn:
            files.append(save_figure(wide, folder / f"{name}.{figures}"))
    by_name = {name: (*figures, caption) for name, figures, caption in drawn}
    tables = [_score_table(shown)]
    sections = [
        Section(
            "How well the tracks are predicted",
            text=shown.reading,
            figures=(by_name["scores"],),
            tables=tuple(tables),
        )
    ]
    if shown.differences.height:
        sections.append(Section(f"{shown.model} against the others", tables=(_difference_table(shown),)))
    sections.append(Section("Predicted and measured", figures=(by_name["density"],)))
    browsers = tuple(value for name, value in by_name.items() if name.startswith("browser"))
    if browsers:
        sections.append(Section("Along the chromosome", figures=browsers))
    others = [name for name in shown.scores["model"].unique(maintain_order=True) if name != shown.model]
    if others:
        sections.append(Section("Scores of the others", tables=tuple(_score_table(shown, name) for name in others)))
    info = shown.info | {"notes": list(shown.notes)}
    files.append(write_page(folder / "evaluate.html", render_page(title=shown.title, info=info, sections=sections)))
    return files


def _figures(shown: Shown) -> list[tuple[str, tuple[Any, ...], str]]:
    """Name, the figure drawn for wide to narrow screens, caption."""
    from genopred.report import figures_tracks as draw
    from genopred.report.figures import in_widths

    tracks = shown.tracks
    label = METRIC_NAMES["pearson_log"]
    held = f"the {shown.split} windows"
    out: list[tuple[str, tuple[Any, ...], str]] = []
    drawn = in_widths(partial(draw.score_intervals, shown.scores, label=label))
    out.append(("scores", drawn, f"{label} of each track over {held}; lines: 95 % intervals over blocks."))
    n = tracks.height
    y, x = shown.measured.reshape(-1, n), shown.predicted.reshape(-1, n)
    drawn = in_widths(partial(draw.predicted_density, y, x, tracks))
    text = (
        f"Bins of {shown.bin} bp of {held}, on axes of log(1 + value): the darker, the more bins. Dashed: both "
        "equal. r: Pearson correlation of log(1 + value) of the bins in the panel, both strands together."
    )
    out.append(("density", drawn, text))
    for stretch in choose_stretches(shown.chroms, shown.starts, shown.bin, shown.measured, shown.genes):
        part = slice(stretch.first, stretch.last)
        every = None if shown.genes is None else GeneTrack(shown.genes, shown.exons)
        genes = None if every is None else every.within(stretch.chrom, stretch.start, stretch.end)
        drawn = in_widths(
            partial(
                draw.track_browser,
                shown.measured[part].reshape(-1, n),
                shown.predicted[part].reshape(-1, n),
                tracks,
                chrom=stretch.chrom,
                start=stretch.start,
                bin_size=shown.bin,
                genes=genes,
            )
        )
        under = " Under them the genes: exons are thick, arrows give the strand." if genes is not None else ""
        mirrored = " + strand up, \N{MINUS SIGN} strand down." if (tracks["strand"] != ".").any() else ""
        place = f"{stretch.chrom}:{stretch.start + 1:,}-{stretch.end:,}"
        text = (
            f"{place}, measured and predicted by {shown.model} with one scale, log(1 + value).{mirrored}{under} "
            f"{stretch.rule} among {held}: it was chosen without looking at predictions."
        )
        out.append((f"browser-{stretch.name}", drawn, text))
    return out


def _score_table(shown: Shown, model: str | None = None) -> tuple[Grid, str]:
    model = model or shown.model
    rows = shown.scores.filter(pl.col("model") == model)
    caption = (
        f"{model}: each metric with its 95 % interval over blocks. R² is 1 \N{MINUS SIGN} SSE/SST of the values "
        "themselves: negative where their mean would have been nearer. MSE and MAE are in the tracks' own units."
    )
    return Grid(["Track", *METRIC_NAMES.values()], _wide(rows, sign=False)), caption


def _difference_table(shown: Shown) -> tuple[Grid, str]:
    rows = []
    for (other,), of in shown.differences.group_by("against", maintain_order=True):
        rows += [[track, Cell(str(other)), *cells] for track, *cells in _wide(of, sign=True)]
    caption = (
        f"{shown.model} minus the other on the same bins, with 95 % intervals from drawing the same blocks for both. "
        "Where an interval includes 0, these blocks do not tell the two apart. Above 0 it is better, for MSE and MAE "
        "below 0."
    )
    return Grid(["Track", "Against", *METRIC_NAMES.values()], rows), caption


def _wide(rows: pl.DataFrame, sign: bool) -> list[list[Cell]]:
    """A row a track: its name, and each metric with its interval."""
    out = {track: [Cell(track)] for track in rows["track"].unique(maintain_order=True).to_list()}
    for metric in METRIC_NAMES:
        of = rows.filter(pl.col("metric") == metric)
        for track, value, low, high in of.select("track", "estimate", "low", "high").iter_rows():
            out[track].append(estimate(value, low, high, digits=3, sign=sign))
    return list(out.values())
