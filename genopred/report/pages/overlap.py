"""The page of `genopred overlap`: figures, and in words what was found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.report.locus import GeneTrack, TwoSets
from genopred.report.tables import Cell, GeneNames, Grid, count, estimate, p_value
from genopred.types import MatchReport

Floats = NDArray[np.float64]
#: Name, the figure drawn for wide to narrow screens, caption.
Drawn = tuple[str, tuple[Any, ...], str]

#: What may be drawn of a pair of rankings.
FIGURES = ("curve", "locus", "locus-ld", "effect", "founding", "precision-recall")

MINUS_LOG = "\N{MINUS SIGN}log10"
#: Pixels of a figure that is about square, on a wide and on a narrow screen.
_SQUARE = (640, 340)


@dataclass(frozen=True)
class Pair:
    """Two rankings, as they are drawn."""

    a: str
    b: str
    #: One row per SNP (and gene), each gene's rows together: gene, id, chrom, pos, score_a, score_b, p_b, rank_a and
    #: rank_b (from 1), and where known member and founding_score.
    snps: pl.DataFrame
    #: null, k, observed, mean, low, high.
    curves: pl.DataFrame = field(repr=False)
    #: Standardised, shape (N, M).
    dosage: NDArray[np.float32] | None = field(default=None, repr=False)
    #: Recall and precision for the members of a set.
    recall: tuple[Floats, Floats] | None = field(default=None, repr=False)
    set_name: str = "set"

    @property
    def sizes(self) -> list[int]:
        """SNPs of each gene."""
        return self.snps.group_by("gene", maintain_order=True).len()["len"].to_list()

    @property
    def strength(self) -> tuple[Floats, str]:
        """How strong each SNP is in b, and what to call that."""
        if self.snps["p_b"].null_count():
            return self.snps["score_b"].to_numpy(), f"score in {self.b}"
        return -np.log10(self.snps["p_b"].to_numpy()), f"{MINUS_LOG} p"

    def top(self, k: int) -> TwoSets:
        """Which SNPs are among the first k of their gene in each ranking, and what to call them."""
        a, b = ((self.snps[rank] <= k).to_numpy() for rank in ("rank_a", "rank_b"))
        return (f"top {k} of {self.a}", a), (f"top {k} of {self.b}", b)


@dataclass(frozen=True)
class Drawing:
    """What all figures of a run share: values of k, png or svg or none, genes to draw under SNPs."""

    k: tuple[int, ...]
    kind: str = "png"
    genes: GeneTrack | None = field(default=None, repr=False)


def write(
    out: Path,
    results: pl.DataFrame,
    pairs: Sequence[Pair],
    drawing: Drawing,
    *,
    report: MatchReport,
    nulls: Mapping[str, str],
    title: str,
    info: Mapping[str, Any],
) -> list[Path]:
    """Draw the figures, and write the page: files that begin with the prefix `out`.

    `results` has the columns of `genopred.genetics.overlap.comparison.RESULT_SCHEMA`, `nulls` what each null keeps and
    what it breaks, `info` command, seed and the like.
    """
    from genopred.report.figures import save_figure
    from genopred.report.page import Section, render_page, write_page

    files: list[Path] = []
    sections = [Section("What was found", text=tuple(reading(results, drawing.k)), tables=(_shown(results),))]
    for pair in pairs:
        drawn = _figures(pair, drawing)
        shown = tuple((*figures, text) for _, figures, text in drawn)
        sections.append(Section(f"{pair.a} against {pair.b}", figures=shown))
        if drawing.kind != "none":
            stem = re.sub(r"[^\w-]", "_", pair.a)
            files += [save_figure(wide, f"{out}.{stem}.{name}.{drawing.kind}") for name, (wide, *_), _ in drawn]
    sections.append(Section("The nulls", text=tuple(f"{name}: {text}." for name, text in nulls.items())))
    html = render_page(title=title, report=report, info=dict(info), sections=sections)
    return [*files, write_page(f"{out}.html", html)]


def _shown(results: pl.DataFrame) -> tuple[Grid, str]:
    """The table of the page; which rankings are compared is a column only where there are several pairs."""
    pairs = results.select("a", "b").unique(maintain_order=True).rows()
    several, noted = len(pairs) > 1, any(results["note"].to_list())
    headings = ["Measure", "Rankings", "k", "Found", "Null", "Expected", "p", "SNPs", "Note"]
    kept = [i for i, name in enumerate(headings) if (several or name != "Rankings") and (noted or name != "Note")]
    rows = []
    for row in results.iter_rows(named=True):
        p, n, k = row["p"], row["n"], row["k"]
        cells = [
            Cell(f"CIRCULAR {row['measure']}" if row["circular"] else row["measure"]),
            Cell(f"{row['a']} and {row['b']}"),
            Cell(count(k), value=k),
            estimate(row["value"], row["low"], row["high"], digits=None),
            Cell(row["null"] or "\N{EN DASH}"),
            estimate(row["expected"], row["null_low"], row["null_high"], digits=None),
            Cell(p_value(p), value=p),
            Cell(count(n), value=n),
            Cell(row["note"] or ""),
        ]
        rows.append([cells[i] for i in kept])
    of = "" if several else f"{pairs[0][0]} against {pairs[0][1]}. "
    return Grid([headings[i] for i in kept], rows), (
        f"{of}Found: with its 95 % interval, by drawing groups, LD blocks or stretches of SNPs anew. Expected: mean of "
        "the null and [what holds 95 % of it]. p: at least what was found under the null, unless the note says "
        "two-sided."
    )


def reading(results: pl.DataFrame, ks: Sequence[int]) -> list[str]:
    """What the numbers say of these values of k, in plain sentences."""
    out = []
    plain = results.filter((pl.col("measure") == "overlap at k") & pl.col("k").is_in(list(ks)))
    order = ["phenotype", "blocks", "shift", "permutation", "hypergeometric"]
    for (a, b, k), rows in plain.group_by("a", "b", "k", maintain_order=True):
        nulls = rows["null"].to_list()
        best = rows.row(nulls.index(min(nulls, key=order.index)), named=True)
        verdict = "more" if best["p"] <= 0.05 and best["value"] > best["expected"] else "no more"
        out.append(
            f"{a} and {b}: of the top {k:,} SNPs of each{' gene' if 'of each of' in best['note'] else ''} "
            f"{best['value']:.0f} are shared; {best['expected']:.1f} are expected under the null “{best['null']}” "
            f"(95 %: {best['null_low']:.0f} to {best['null_high']:.0f}, p = {p_value(best['p'])}): {verdict} than that "
            "null gives."
        )
    for row in results.filter(pl.col("circular")).iter_rows(named=True):
        against = (
            f"with the effects shuffled over the SNPs at random the same recipe gives {row['expected']:.1f} on average "
            f"({row['null_low']:.0f} to {row['null_high']:.0f})"
            if row["expected"] is not None
            else "both rankings contain the same p-values"
        )
        out.append(
            f"CIRCULAR, {row['a']} and {row['b']}: the founding study's recipe gives {row['value']:.0f} of {row['k']}. "
            f"It ranks by the sum of |effect| and {MINUS_LOG} of the very p-value it is compared with: {against}. This "
            "number says nothing about the model."
        )
    return out


def _figures(pair: Pair, drawing: Drawing) -> list[Drawn]:
    """Name, figures for wide and narrow screens and caption of what can be drawn of a pair."""
    from genopred.report import locus as draw
    from genopred.report.figures import in_widths

    snps, sizes = pair.snps, pair.sizes
    k, ids, score = min(drawing.k[0], max(sizes)), snps["id"].to_list(), snps["score_a"].to_numpy()
    placed = snps["pos"].null_count() == 0
    curves = pair.curves.partition_by("null", maintain_order=True)
    bands = {
        curve["null"][0]: tuple(curve[name].to_numpy() for name in ("mean", "low", "high"))
        for curve in (curves[0], curves[-1])
    }
    first = (curves[0]["k"].to_numpy(), curves[0]["observed"].to_numpy())
    drawn = in_widths(draw.overlap_figure, *first, bands, marks=drawing.k, total=snps.height)
    groups = f", summed over {len(sizes)} genes" if len(sizes) > 1 else ""
    caption = f"SNPs shared by the top k of {pair.a} and of {pair.b}{groups}, against the nulls' 95 %."
    out: list[Drawn] = [("curve", drawn, caption)]
    height, ylabel = pair.strength
    if placed:
        out += _locus(pair, drawing, k)
    about: dict[str, Any] = {"ids": ids, "sets": pair.top(k), "xlabel": f"score in {pair.a}", "ylabel": ylabel}
    drawn = in_widths(draw.effect_against_p, score, height, widths=_SQUARE, **about)
    out.append(("effect", drawn, f"Score in {pair.a} against {ylabel} in {pair.b}, one point a SNP."))
    if placed and "founding_score" in snps.columns:
        views = (snps["pos"].to_numpy(), height, score, snps["founding_score"].to_numpy())
        drawn = in_widths(draw.founding_panels, *views, ids=ids, k=k, chrom=_chrom(snps))
        caption = (
            f"The founding study's recipe with {pair.a}. Red: in both top {k}. The sum (C) finds again what went into "
            "it (A); the model alone (D) hardly does."
        )
        out.append(("founding", drawn, caption))
    if pair.recall is not None:
        share = float(snps["member"].to_numpy().mean())
        drawn = in_widths(draw.precision_recall_figure, *pair.recall, share, widths=(480, 340), name=pair.set_name)
        caption = f"Score in {pair.a} as a search for the members of {pair.set_name}."
        out.append(("precision-recall", drawn, caption))
    return out


def _chrom(snps: pl.DataFrame) -> str:
    names = snps["chrom"].drop_nulls().unique().to_list()
    return str(names[0]) if len(names) == 1 else ""


def _locus(pair: Pair, drawing: Drawing, k: int) -> list[Drawn]:
    """The gene with the strongest signal in b."""
    from genopred.report import locus as draw
    from genopred.report.figures import in_widths

    best = pair.snps["gene"][int(np.argmax(pair.snps["score_b"].to_numpy()))]
    same = pl.col("gene").eq_missing(pl.lit(best, pl.String))
    rows = pair.snps.select(same.arg_true()).to_series().to_numpy()
    snps = pair.snps[rows]
    if snps["chrom"].n_unique() > 1:
        return []
    strength, ylabel = pair.strength
    height, chrom, pos = strength[rows], _chrom(snps), snps["pos"].to_numpy()
    genes, called = None, GeneNames()
    if drawing.genes is not None and chrom:
        genes = drawing.genes.within(chrom, int(pos.min()) - 1, int(pos.max()))
        called = GeneNames(dict(drawing.genes.genes.select("gene", "gene_name").iter_rows()))
    of = f" of {called.full(best)}" if best is not None else ""
    common: dict[str, Any] = {"ids": snps["id"].to_list(), "genes": genes, "chrom": chrom, "ylabel": ylabel}
    (a, in_a), (b, in_b) = pair.top(k)
    picked = ((a, np.asarray(in_a)[rows]), (b, np.asarray(in_b)[rows]))
    drawn = in_widths(draw.locus_plot, pos, height, sets=picked, **common)
    text = f"{ylabel} in {pair.b}{of} by position; colour: which top SNPs. Diamond: the lead SNP."
    out: list[Drawn] = [("locus", drawn, text)]
    if pair.dosage is not None:
        x = pair.dosage[:, rows].astype(np.float64)
        ld = (x.T @ x[:, int(np.argmax(height))]) ** 2
        drawn = in_widths(draw.locus_plot, pos, height, ld=ld, **common)
        text = f"{ylabel} in {pair.b}{of} by position; colour: r² with the lead SNP (diamond)."
        out.append(("locus-ld", drawn, text))
    return out
