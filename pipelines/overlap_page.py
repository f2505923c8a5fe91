"""What `genopred overlap` writes: tables, figures, and a page that says in words what was found."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.files import write_files, write_table
from genopred.genetics.overlap.enrichment import precision_recall
from genopred.genetics.overlap.nulls import NULLS
from genopred.genetics.overlap.rankings import Rankings
from genopred.io.annotation import read_exons, read_gtf
from genopred.report.tables import Cell, GeneNames, Grid, count, estimate, p_value
from genopred.types import MatchReport

if TYPE_CHECKING:
    from genopred.pipelines.overlap import Comparison, OverlapConfig

#: Every file that a run may write, after `OUT.`.
OUTPUTS = (
    *(f"{table}.{kind}" for table in ("overlap", "snps", "curves") for kind in ("tsv", "parquet")),
    *(
        f"*.{figure}.{kind}"
        for figure in ("curve", "locus", "locus-ld", "effect", "founding", "precision-recall")
        for kind in ("png", "svg")
    ),
    "matched.tsv",
    "html",
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: Name, the figure drawn for wide to narrow screens, caption.
Drawn = tuple[str, tuple[Any, ...], str]


def write(
    config: OverlapConfig, results: pl.DataFrame, comparisons: Sequence[Comparison], report: MatchReport
) -> list[Path]:
    """Tables, figures and the page."""
    from genopred.report.figures import save_figure
    from genopred.report.page import Section, write_page

    files = list(write_table(results, f"{config.out}.overlap"))
    snps = [c.snps.drop("column", strict=False).select(a=pl.lit(c.a), b=pl.lit(c.b), **_same(c)) for c in comparisons]
    files += write_table(pl.concat(snps, how="diagonal"), f"{config.out}.snps")
    files += write_table(pl.concat([_curve_table(c) for c in comparisons]), f"{config.out}.curves")
    matched = Path(f"{config.out}.matched.tsv")
    write_files({matched: lambda path: report.table.write_csv(path, separator="\t")})
    files.append(matched)
    sections = [Section("What was found", text=tuple(reading(results, config.k)), tables=(_shown(results),))]
    for c in comparisons:
        drawn = _figures(config, c)
        sections.append(Section(f"{c.a} against {c.b}", figures=tuple((*figures, text) for _, figures, text in drawn)))
        if config.figures != "none":
            for name, (wide, *_), _ in drawn:
                path = Path(f"{config.out}.{_plain(c.a)}.{name}.{config.figures}")
                files.append(save_figure(wide, path))
    sections.append(Section("The nulls", text=tuple(f"{name}: {text}." for name, text in NULLS.items())))
    info = {"command": config.command, "seed": config.seed, "draws": config.draws, "resamples": config.resamples}
    if not config.command:
        del info["command"]
    files.append(
        write_page(Path(f"{config.out}.html"), title=config.title, report=report, info=info, sections=sections)
    )
    return files


def _same(c: Comparison) -> dict[str, pl.Expr]:
    return {name: pl.col(name) for name in c.snps.columns if name not in ("column", "a", "b")}


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)


def _curve_table(c: Comparison) -> pl.DataFrame:
    tables = []
    for curve in c.curves:
        tables.append(
            pl.DataFrame(
                {
                    "a": [c.a] * len(curve.k),
                    "b": [c.b] * len(curve.k),
                    "null": [curve.null] * len(curve.k),
                    "k": curve.k,
                    "observed": curve.observed,
                    "mean": curve.mean,
                    "low": curve.low,
                    "high": curve.high,
                    "p": curve.p,
                }
            )
        )
    return pl.concat(tables)


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
    """What the numbers say, in plain sentences.

    Parameters
    ----------
    results : polars.DataFrame
        Columns of `RESULT_SCHEMA`.
    ks : sequence of int

    Returns
    -------
    list of str
    """
    out = []
    plain = results.filter((pl.col("measure") == "overlap at k") & pl.col("k").is_in(list(ks)))
    order = ["phenotype", "blocks", "shift", "permutation", "hypergeometric"]
    for (a, b, k), rows in plain.group_by("a", "b", "k", maintain_order=True):
        nulls = rows["null"].to_list()
        best = rows.row(nulls.index(min(nulls, key=order.index)), named=True)
        verdict = (
            "more than that null gives"
            if best["p"] <= 0.05 and best["value"] > best["expected"]
            else "no more than that null gives"
        )
        out.append(
            f"{a} and {b}: of the top {k:,} SNPs of each{' gene' if 'of each of' in best['note'] else ''} "
            f"{best['value']:.0f} are shared; {best['expected']:.1f} are expected under the null “{best['null']}” "
            f"(95 %: {best['null_low']:.0f} to {best['null_high']:.0f}, p = {p_value(best['p'])}): {verdict}."
        )
    circular = results.filter(pl.col("circular"))
    for row in circular.iter_rows(named=True):
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


MINUS_LOG = "\N{MINUS SIGN}log10"
#: Pixels of a figure that is about square, on a wide and on a narrow screen.
_SQUARE = (640, 340)


def _figures(config: OverlapConfig, c: Comparison) -> list[Drawn]:
    """Name, wide figure, narrow figure and caption of what can be drawn for a comparison."""
    from genopred.report import locus as draw
    from genopred.report.figures import in_widths

    k = config.k[0] if config.k[0] <= int(c.rankings.sizes.max()) else int(c.rankings.sizes.max())
    r, snps = c.rankings, c.snps
    ids = snps["id"].to_list()
    out: list[Drawn] = []
    curves = list(c.curves)
    bands = {
        curve.null: (curve.mean, curve.low, curve.high)
        for curve in curves
        if curve.null in (curves[0].null, curves[-1].null)
    }
    drawn = in_widths(partial(draw.overlap_figure, curves[0].k, curves[0].observed, bands, marks=config.k, total=r.n))
    groups = f", summed over {len(r.sizes)} genes" if len(r.sizes) > 1 else ""
    out.append(
        (
            "curve",
            drawn,
            f"SNPs shared by the top k of {c.a} and of {c.b}{groups}, against the nulls' 95 %.",
        )
    )
    top_a, top_b = r.top(k)
    names = (f"top {k} of {c.a}", f"top {k} of {c.b}")
    known_p = snps["p_b"].null_count() == 0
    height = -np.log10(snps["p_b"].to_numpy()) if known_p else snps["score_b"].to_numpy()
    ylabel = f"{MINUS_LOG} p" if known_p else f"score in {c.b}"
    row = _locus_rows(r)
    if snps["pos"].null_count() == 0 and row is not None:
        out += _locus(config, c, row, height, ylabel, (top_a, top_b), names)
    effect = partial(
        draw.effect_against_p,
        snps["score_a"].to_numpy(),
        height,
        ids=ids,
        sets=(top_a, top_b),
        set_names=names,
        xlabel=f"score in {c.a}",
        ylabel=ylabel,
    )
    out.append(("effect", in_widths(effect, _SQUARE), f"Score in {c.a} against {ylabel} in {c.b}, one point a SNP."))
    if "founding_score" in snps.columns and snps["pos"].null_count() == 0:
        panels = partial(
            draw.founding_panels,
            snps["pos"].to_numpy(),
            height,
            snps["score_a"].to_numpy(),
            snps["founding_score"].to_numpy(),
            ids=ids,
            k=k,
            chrom=_chrom(snps),
        )
        text = (
            f"The founding study's recipe with {c.a}. Red: in both top {k}. The sum (C) finds again what went into it "
            "(A); the model alone (D) hardly does."
        )
        out.append(("founding", in_widths(panels), text))
    if "member" in snps.columns and snps["member"].any():
        member = snps["member"].to_numpy()
        # Scores of different genes are compared as percentiles within their gene.
        score = 1 - r.rank_a / r.sizes[r.group] if len(r.sizes) > 1 else r.a
        precision, recall, _ = precision_recall(score, member)
        name = config.sets.name if config.sets is not None else "set"
        curve = partial(draw.precision_recall_figure, recall, precision, float(member.mean()), name=name)
        text = f"Score in {c.a} as a search for the members of {name}."
        out.append(("precision-recall", in_widths(curve, (480, 340)), text))
    return out


def _locus_rows(r: Rankings) -> Ints | None:
    """Rows of the gene with the strongest signal in b."""
    best = int(r.group[int(np.argmax(r.b))])
    return np.flatnonzero(r.group == best)


def _chrom(snps: pl.DataFrame) -> str:
    names = snps["chrom"].drop_nulls().unique().to_list()
    return str(names[0]) if len(names) == 1 else ""


def _locus(
    config: OverlapConfig,
    c: Comparison,
    rows: Ints,
    height: Floats,
    ylabel: str,
    tops: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    names: tuple[str, str],
) -> list[Drawn]:
    from genopred.report import locus as draw
    from genopred.report.figures import in_widths

    snps, r = c.snps[rows], c.rankings
    if snps["chrom"].n_unique() > 1:
        return []
    chrom, pos, ids = _chrom(snps), snps["pos"].to_numpy(), snps["id"].to_list()
    genes = exons = None
    called = GeneNames()
    if config.gtf is not None and chrom:
        low, high = int(pos.min()), int(pos.max())
        here = (pl.col("end") >= low) & (pl.col("start") <= high)
        same = pl.col("chrom").is_in([chrom, f"chr{chrom}"])
        known = read_gtf(config.gtf)
        genes = known.filter(same & here)
        exons = read_exons(config.gtf).filter(same & here)
        called = GeneNames(dict(known.select("gene", "gene_name").iter_rows()))
    label = snps["gene"].drop_nulls().unique().to_list()
    of = f" of {called.full(label[0])}" if len(label) == 1 else ""
    common: dict[str, Any] = {"ids": ids, "genes": genes, "exons": exons, "chrom": chrom, "ylabel": ylabel}
    sets = (tops[0][rows], tops[1][rows])
    drawn = in_widths(partial(draw.locus_plot, pos, height[rows], sets=sets, set_names=names, **common))
    text = f"{ylabel} in {c.b}{of} by position; colour: which top SNPs. Diamond: the lead SNP."
    out: list[Drawn] = [("locus", drawn, text)]
    if r.dosage is not None:
        x = r.dosage[:, rows].astype(np.float64)
        ld = (x.T @ x[:, int(np.argmax(height[rows]))]) ** 2
        drawn = in_widths(partial(draw.locus_plot, pos, height[rows], ld=ld, **common))
        text = f"{ylabel} in {c.b}{of} by position; colour: r² with the lead SNP (diamond)."
        out.append(("locus-ld", drawn, text))
    return out
