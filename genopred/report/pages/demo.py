"""What the demonstration says: one page for a newcomer, and the short words of it for the screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from genopred.report.tables import (
    Cell,
    GeneNames,
    Grid,
    against_reference,
    estimate,
    interval,
    number,
    p_value,
    significant,
)
from genopred.types import plain_chrom

if TYPE_CHECKING:
    from genopred.report.page import Section

#: The model's track that is closest to what was measured in these people: accessibility in one such cell line.
TRACK = "GM12878 accessibility"
#: False discovery rate at which a gene counts as having an eQTL.
FDR = 0.05
#: SNPs of each gene that the two rankings are compared by.
TOP = 3
#: How far around its TSS the SNPs of the gene in the picture are scored.
REACH = 50_000
#: What to subtract from a GRCh37 position of the slice for its place in GRCh38, to within 15 bp.
SHIFT = 396_004
SCORES = ("baseline-prs", "pt-prs")
#: The parts of a model's split, and how they are called.
_PARTS = {"train": "training", "validation": "validation", "test": "test"}
#: With fewer genes an interval over genes says little.
_FEW_GENES = 6


@dataclass(frozen=True)
class Locus:
    """What the model says of the SNPs near one gene with an eQTL."""

    #: Row of the expression file's genes: gene_id, chrom, tss, strand.
    gene: dict[str, Any]
    #: Of the gene's SNPs that are in the model's window, the one with the smallest p-value: a row of `snps`.
    lead: dict[str, Any]
    #: variant_id, pos, pval_nominal, slope, r2 (with the lead), effect (of ALT on the accessibility around the SNP
    #: itself; null beyond `REACH`).
    snps: pl.DataFrame = field(repr=False)
    #: Every change of the bases around the lead (`genopred.sequence.effects.EFFECT_SCHEMA`).
    mutations: pl.DataFrame = field(repr=False)


@dataclass(frozen=True)
class Found:
    """What the sequence model adds to the demonstration."""

    #: What the model says of itself (`genopred.sequence.checkpoint.CheckpointInfo`).
    card: Mapping[str, Any]
    #: name, window, bin_size, tracks.
    model: Mapping[str, Any]
    #: gene_id, chrom, tss, strand, snvs, haplotypes, distinct (windows), spread (standard deviation over people of
    #: `TRACK`'s feature over its mean).
    features: pl.DataFrame = field(repr=False)
    #: For each gene `TRACK`'s feature of each person, in percent of the mean over people less 100.
    values: Mapping[str, Any] = field(repr=False)
    #: Stacks from sequence features alone, and beside genotypes; None where no learner chosen can take them.
    alone: Any
    both: Any
    #: The stack on both against the one on genotypes, paired over genes: a row of `compared`'s kind.
    contrast: Mapping[str, Any] | None
    #: `genopred.learning.evaluate.summarise` of all three, genotypes the reference.
    compared: pl.DataFrame | None = field(repr=False)
    #: Permutation pass of the genes (`genopred.genetics.eqtl.beta.PERMUTATION_SCHEMA`, qval).
    eqtl: pl.DataFrame = field(repr=False)
    #: Of the SNPs in the windows of genes with an eQTL; None where there is no such gene.
    effects: pl.DataFrame | None = field(repr=False)
    #: An `OverlapResult`; None where too few SNPs are left to rank.
    overlap: Any = field(repr=False)
    locus: Locus | None


def sections(
    result: Any,
    predictions: pl.LazyFrame,
    found: Found | None,
    lines: Mapping[str, Sequence[str]],
    nulls: Mapping[str, str],
) -> tuple[list[Section], list[Section]]:
    """What the page shows before and after the sections of the stack.

    `result` is the stack on genotypes alone, `predictions` are of the same run. Without torch `found` is None, and
    `lines` say what is left out. `nulls` say what each null of the overlap keeps and what it breaks.
    """
    from genopred.report.page import Section

    scores = scores_section(result, predictions)
    if found is None:
        return [scores], [Section(heading, tuple(text)) for heading, text in lines.items()]
    names = GeneNames(result.symbols)
    first = [model_section(found), features_section(found, names), scores]
    return first, [added_section(result, found), effects_section(found, names), overlap_section(found, nulls)]


# --- words -----------------------------------------------------------------------------------------------------


def lead(result: Any, found: Found | None) -> list[str]:
    """What data and model are, for someone who has never seen genopred."""
    people = int(result.scores["n"].to_numpy().max())
    genes = result.scores["gene_id"].n_unique()
    out = [
        f"The data: {people:,} people of the GEUVADIS study, their genotypes at 2,951 SNPs in 2 million bases of "
        f"chromosome 22, and how strongly {_count(genes, 'gene')} there {'is' if genes == 1 else 'are'} expressed in a "
        "line of blood cells of each. The question: how much of the differences between people can be predicted from "
        "their DNA near a gene? Every number below that says held-out is from people whom the method had not seen.",
    ]
    if found is not None:
        out.append(
            f"The sequence model: {found.model['name']}, a small network that comes with genopred. It reads "
            f"{found.model['window']:,} bases of DNA and predicts what was measured along them in three cell lines. It "
            "was trained on the reference sequence of chromosome 22 (GRCh38), never on these people or their "
            f"expression. {_where(found)}"
        )
        out.append(_in_short(result, found))
    return out


def _in_short(result: Any, found: Found) -> str:
    mean = _mean_r2(result)
    out = f"In short: genotypes explain {100 * mean:.1f} % of the differences between held-out people on average"
    if found.contrast is not None:
        row = found.contrast
        out += (
            f"; with the sequence model's features added it is {100 * row['mean_r2']:.1f} %, a difference that these "
            f"genes {'show to be more than chance' if _sure(row) else 'cannot tell from none'}"
        )
    if found.overlap is not None:
        out += (
            f"; the SNPs that matter most to the model are {'' if _agree(_best_null(found)) else 'not '}more often "
            "those with an eQTL than chance would make them"
        )
    return out + "."


def _mean_r2(result: Any) -> float:
    """Of the stack."""
    return float(result.summary.filter(pl.col("method") == result.stack)["mean_r2"][0])


def lines(found: Found) -> dict[str, tuple[str, ...]]:
    """The short answers, the same on the screen and on the page."""
    return {
        "Sequence features": (_features_line(found),),
        "What they add": (added(found),),
        "SNP effects and eQTLs": (_eqtl_line(found), overlapped(found)),
    }


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def split_of(card: Mapping[str, Any], genes: pl.DataFrame, window: int) -> list[str]:
    """For each gene, in which part of the model's split its window lies: train, validation, test, or `none`.

    `card` has `split.regions`: chrom, start, end (GRCh38, 0-based half-open), split; without them the list is empty.
    `genes` have chrom and tss (GRCh37, in the embedded slice). A window (bp) that touches training regions counts as
    `train`, whatever else it touches.
    """
    regions = (card.get("split") or {}).get("regions") or ()
    out = []
    for gene in genes.iter_rows(named=True) if regions else ():
        start = gene["tss"] - 1 - SHIFT - window // 2
        touched = {
            row["split"]
            for row in regions
            if plain_chrom(row["chrom"]) == plain_chrom(gene["chrom"])
            and row["start"] < start + window
            and row["end"] > start
        }
        out.append(next((name for name in _PARTS if name in touched), "none"))
    return out


def _where(found: Found) -> str:
    parts = split_of(found.card, found.features, found.model["window"])
    if not parts:
        return "Its file does not say which stretches it was trained on."
    n = len(parts)
    trained = parts.count("train")
    if trained == n:
        text = "All" if n > 1 else "The one"
        return f"{text} of these genes {'lie' if n > 1 else 'lies'} in stretches it was trained on."
    if not trained:
        return "None of these genes lies in a stretch it was trained on."
    return f"{trained} of these {n} genes lie in stretches it was trained on."


def _features_line(found: Found) -> str:
    t = found.features
    haplotypes, distinct = int(t["haplotypes"].sum()), int(t["distinct"].sum())
    flat = int((t["distinct"] == 1).sum())
    same = f" In {_count(flat, 'gene')} all people have the same sequence there." if flat else ""
    return (
        f"Around the start of each of {_count(t.height, 'gene')} everyone has two sequences of "
        f"{found.model['window']:,} bases: {haplotypes:,} in all, but only {distinct:,} different "
        f"ones, and the model predicts each of those once. Between people its {TRACK} differs by "
        f"{100 * float(np.median(t['spread'])):.1f} % of its mean in the median gene (standard deviation).{same}"
    )


def added(found: Found) -> str:
    """What sequence features add to genotypes, with its interval, whatever its sign."""
    if found.contrast is None:
        return "None of the chosen learners can take sequence features, so they were not tried as inputs."
    row = found.contrast
    start = (
        f"From the {len(found.model['tracks'])} sequence features of a gene alone the stack reaches a mean R² of "
        f"{number(_mean_r2(found.alone))} in held-out people; from genotypes "
        f"{number(row['mean_r2'] - row['delta_r2'])}; from both {number(row['mean_r2'])}. "
    )
    if row["n_genes"] < _FEW_GENES:
        few = f"{_count(row['n_genes'], 'gene')}, too few to tell"
        return start + f"The difference is {number(row['delta_r2'], sign=True)} in {few}."
    between = interval(row["delta_low"], row["delta_high"], sign=True)
    if not _sure(row):
        verdict = "these genes do not show that the features add anything to what genotypes say"
    elif row["delta_r2"] > 0:
        verdict = "the features add to what genotypes say"
    else:
        verdict = "the features make the predictions worse"
    return start + (
        f"The difference is {number(row['delta_r2'], sign=True)}, 95 % interval over genes {between}, Wilcoxon p = "
        f"{p_value(row['p_wilcoxon'])}: {verdict}."
    )


def _sure(row: Mapping[str, Any]) -> bool:
    """Whether interval and ranks agree that there is a difference; with a few genes neither can tell."""
    apart = row["delta_low"] > 0 or row["delta_high"] < 0
    return bool(row["n_genes"] >= _FEW_GENES and apart and row["p_wilcoxon"] <= 0.05)


def side_by_side(results: Mapping[str, Any]) -> pl.DataFrame:
    """Scores of the stack of several runs, under their names, of the genes that all of them have."""
    tables = [of.scores.filter(pl.col("method") == of.stack) for of in results.values()]
    common = set.intersection(*(set(table["gene_id"].to_list()) for table in tables))
    return pl.concat(
        table.filter(pl.col("gene_id").is_in(list(common))).with_columns(method=pl.lit(name))
        for name, table in zip(results, tables)
    )


def _eqtl_line(found: Found) -> str:
    hits = int((found.eqtl["qval"] <= FDR).sum())
    return (
        f"{hits} of {_count(found.eqtl.height, 'gene')} have an eQTL, a SNP within 500,000 bases that goes with their "
        f"expression (FDR {100 * FDR:.0f} %)."
    )


def overlapped(found: Found) -> str:
    """Whether the model puts the same SNPs first as the eQTLs do."""
    if found.overlap is None:
        return "Too few SNPs lie in the model's windows of such genes to ask whether it puts the same ones first."
    row = _best_null(found)
    c = found.overlap.comparisons[0]
    return (
        f"In the windows of {_count(len(c.rankings.sizes), 'such gene')} lie {c.rankings.n:,} SNPs. Of each gene's "
        f"{TOP} SNPs with the largest predicted effect and its {TOP} with the smallest p-value, {row['value']:.0f} "
        f"are the same in all; {row['expected']:.1f} are expected (95 %: {row['null_low']:.0f} to "
        f"{row['null_high']:.0f}), p = {p_value(row['p'])}: {'' if _agree(row) else 'no '}more than chance and "
        "linkage give."
    )


def _agree(row: Mapping[str, Any]) -> bool:
    """Whether a row of overlaps found more than its null gives."""
    return bool(row["p"] <= 0.05 and row["value"] > row["expected"])


def _best_null(found: Found) -> dict[str, Any]:
    """The overlap under the null that keeps most of LD."""
    table = found.overlap.results.filter(pl.col("measure") == "overlap at k")
    nulls = table["null"].to_list()
    best = next(name for name in ("phenotype", "blocks", "shift", "permutation") if name in nulls)
    return table.row(by_predicate=pl.col("null") == best, named=True)


# --- sections --------------------------------------------------------------------------------------------------


def model_section(found: Found) -> Section:
    """What the model was trained on, and how well it does where it was not."""
    from genopred.report.page import Section

    card, model = found.card, found.model
    split = card.get("split") or {}
    bases: Counter[str] = Counter()
    for region in split.get("regions") or ():
        bases[region["split"]] += region["end"] - region["start"]
    text = [
        f"{model['name']} has the shape of Enformer (Avsec et al. 2021), much smaller: {model['window']:,} bases in, "
        f"and for every {model['bin_size']} of them a prediction of {len(model['tracks'])} tracks. Accessibility says "
        "how open the DNA is for proteins to bind; initiation how much transcription starts there, on the strand of "
        "the gene (+) or on the other (−). GM12878 is a line of blood cells of the same kind as those of the people "
        "here; K562 comes from a leukaemia, MCF7 from a breast cancer."
    ]
    if bases:
        text.append(
            "Chromosome 22 was cut into stretches: "
            + ", ".join(f"{bases[part] / 1e6:.1f} million bases for {_PARTS[part]}" for part in _PARTS if part in bases)
            + f". {_where(found)} That gives nothing away: what these people express was never in it. But its "
            "predictions there may be better than elsewhere in the genome."
        )
    scores = ((card.get("scores") or {}).get("pearson_log") or {}).get("model") or {}
    more, unknown = (card.get("differences") or {}).get("ridge") or {}, (None, None, None)
    rows = [
        [Cell(name), estimate(*scores[name], digits=3), estimate(*more.get(name, unknown), digits=3, sign=True)]
        for name in model["tracks"]
        if name in scores
    ]
    headings = ["Track", "Correlation", "More than from base counts"]
    most = 3 if any(row[2].value is not None for row in rows) else 2
    table = Grid(headings[:most], [row[:most] for row in rows])
    caption = (
        "Predicted and measured signal along the test stretches, which it was not trained on: Pearson correlation "
        "of log(1 + signal), with its 95 % interval over stretches. Base counts: a ridge regression on how often "
        "each short word of DNA occurs, the simplest rival."
    )
    return Section("The sequence model", tuple(text), tables=((table, caption),) if rows else ())


def features_section(found: Found, names: GeneNames) -> Section:
    """What the model says of each person, gene by gene."""
    from genopred.report.figures import WIDTHS, in_widths, spreads
    from genopred.report.page import Section

    table = found.features
    order = table.sort("spread", descending=True)["gene_id"].to_list()
    values = {gene: found.values[gene] for gene in order}
    label = f"{TRACK} at the gene's start, percent from the mean"
    columns: dict[str, Any] = {"Gene": "gene_id", "SNPs": "snvs", "Different sequences": "distinct"}
    columns["Spread, %"] = 100 * pl.col("spread")
    parts = split_of(found.card, table, found.model["window"])
    if parts:
        columns["Model's split"] = pl.Series([_PARTS.get(part, "none") for part in parts])
    people = len(next(iter(found.values.values())))
    return Section(
        "Sequence features: each person through the model",
        (
            "A sequence feature is what the model predicts from a person's own two sequences around the start of a "
            "gene: the mean over both of one track, in the 384 bases around the start. People differ in it only where "
            "they carry different SNPs.",
            _features_line(found),
        ),
        figures=(
            (
                *in_widths(spreads, values, label, widths=WIDTHS[:2], names=names),
                spreads(values, "percent from the mean", width=WIDTHS[2], names=names),
                f"One row a gene, one point for each of {people:,} people; most variable gene first. Few columns of "
                "points: few different sequences.",
            ),
        ),
        tables=(
            (
                table.select(**columns),
                f"SNPs in the model's window; how many different sequences {2 * people:,} of them are; standard "
                "deviation over people in percent of the mean.",
            ),
        ),
    )


def scores_section(result: Any, predictions: pl.LazyFrame) -> Section:
    """The polygenic scores beside the stack."""
    from genopred.report.figures import best_genes, predicted_scatter, r2_against_r2
    from genopred.report.page import Section

    methods = [name for name in SCORES if name in result.summary["method"]]
    if not methods:
        return Section("Polygenic scores", ("Neither baseline-prs nor pt-prs is among the chosen learners.",))
    rows = {row["method"]: row for row in result.summary.iter_rows(named=True)}
    said = ", ".join(
        f"{name} {number(rows[name]['mean_r2'])} ({rows[name]['n_significant']} genes predicted)"
        for name in (*methods, result.stack)
    )
    main, names = methods[-1], GeneNames(result.symbols)
    gene, r2 = best_genes(result.scores, main, 1)[0]
    shown = predictions.filter((pl.col("gene_id") == gene) & (pl.col("method") == main)).collect()
    figures: list[tuple[Any, ...]] = [
        (
            predicted_scatter(shown, gene, main, r2, names=names),
            f"{names.full(gene)}: its {main} in each held-out person (predicted) against expression (measured). Along "
            "the dashed line both are equal.",
        )
    ]
    if result.scores["gene_id"].n_unique() > 1:
        for x, y in zip(methods, [*methods[1:], result.stack]):
            caption = f"{y} against {x}: one point a gene, above the line where {y} is better."
            figures.append((r2_against_r2(result.scores, x, y, names=names), caption))
    return Section(
        "Polygenic scores",
        (
            "A polygenic score adds up a person's alleles, each times its estimated effect. baseline-prs takes every "
            "SNP near the gene; pt-prs (pruning and thresholding) only SNPs with small p-values, one of each group "
            "that is inherited together. genopred prs computes the same scores and writes their weights, to be used on "
            "other people.",
            f"Mean R², the share of the differences between held-out people that is explained: {said}. The next "
            "sections compare them with other ways to learn from genotypes, and with stacks, which learn from the "
            "training people how far to trust each of those.",
        ),
        figures=tuple(figures),
        wide=False,
    )


def added_section(result: Any, found: Found) -> Section:
    """Sequence features as further inputs of the stack."""
    from genopred.report.figures import r2_against_r2
    from genopred.report.page import Section

    title = "Do sequence features add to genotypes?"
    if found.compared is None:
        return Section(title, (added(found),))
    scores = side_by_side({"genotypes": result, "sequence": found.alone, "both": found.both})
    rows = []
    for row in found.compared.iter_rows(named=True):
        mean = Cell(number(row["mean_r2"]), value=row["mean_r2"])
        hits = Cell(str(row["n_significant"]), value=row["n_significant"])
        rows.append([Cell(row["method"]), mean, hits, *against_reference(row)])
    table = Grid(["Inputs of the stack", "Mean R²", "Genes predicted", "Against genotypes", "p"], rows)
    names = GeneNames(result.symbols)
    figures = tuple(
        (r2_against_r2(scores, "genotypes", name, names=names), caption)
        for name, caption in (
            ("both", "Both against genotypes alone: one point a gene, above the line where both are better."),
            ("sequence", "Sequence features alone against genotypes alone."),
        )
    )
    note = (
        "The features say only what the model reads from SNPs within a few thousand bases of a gene's start, while "
        "genotypes reach 500,000 bases to each side. So features can help only by telling which of the near SNPs "
        "matter and how they work together. Folds, people and learners are the same in all three."
    )
    caption = "Held-out people; difference from genotypes alone with its 95 % interval, paired over genes."
    return Section(title, (added(found), note), figures=figures, tables=((table, caption),), wide=False)


def effects_section(found: Found, names: GeneNames) -> Section:
    """One locus: eQTL p-values, the model's effects of the same SNPs, and every change around one of them."""
    from genopred.report.figures import in_widths
    from genopred.report.locus import locus_plot
    from genopred.report.page import Section

    title = "SNP effects: one locus"
    if found.locus is None:
        return Section(title, (_eqtl_line(found), "No SNP lies in the model's window of a gene with an eQTL."))
    here: Locus = found.locus
    gene, lead, chrom = names.full(here.gene["gene_id"]), here.lead, plain_chrom(here.gene["chrom"])
    near = here.snps.filter(pl.col("effect").is_not_null())
    minus = "\N{MINUS SIGN}log10 p"
    height = -np.log10(np.maximum(here.snps["pval_nominal"].to_numpy(), 1e-300))
    caption = (
        f"eQTL p-values of all SNPs within 500,000 bases of {gene}. Diamond: the SNP with the smallest p-value of "
        "those that the model sees from the gene's start. Colour: how closely a SNP is inherited with it (r²)."
    )
    below = (
        f"The model's view of the SNPs within {REACH:,} bases: how much the other allele changes the predicted {TRACK} "
        "around the SNP itself (absolute value, summed over the window). The model knows nothing of the p-values above."
    )
    drawn = (here.snps, height, minus, caption), (near, near["effect"].abs().to_numpy(), "|effect|", below)
    figures: list[tuple[Any, ...]] = []
    for table, y, ylabel, caption in drawn:
        ids = table["variant_id"].to_list()
        common: dict[str, Any] = {"ids": ids, "ld": table["r2"].to_numpy(), "lead": ids.index(lead["variant_id"])}
        common |= {"chrom": chrom, "ylabel": ylabel}
        figures.append((*in_widths(locus_plot, table["pos"].to_numpy(), y, **common), caption))
    figures.append(_mutation_figures(here))
    rank = 1 + int((near["effect"].abs() > abs(lead["effect"])).sum())
    text = (
        "A SNP's effect is the model's prediction with one allele minus that with the other, all else the reference "
        "sequence.",
        f"{gene} is the gene with the smallest p-value at a SNP that the model sees from its start: "
        f"{lead['variant_id']}, {_distance(here)}, p = {p_value(lead['pval_nominal'])}. Among the {near.height:,} SNPs "
        f"within {REACH:,} bases of the start the model ranks its effect number {rank}. The SNP with the smallest "
        "p-value need not be the one that acts: its neighbours are inherited with it.",
    )
    return Section(title, text, figures=tuple(figures))


def _distance(here: Locus) -> str:
    away = here.lead["pos"] - here.gene["tss"]
    if here.gene["strand"] == "-":
        away = -away
    return f"{abs(away):,} bases {'after' if away > 0 else 'before'} it" if away else "at the start itself"


def _mutation_figures(here: Locus) -> tuple[Any, ...]:
    from genopred.report.figures import in_widths
    from genopred.report.figures_ism import mutagenesis

    table = here.mutations
    start = int(table["pos"].min())  # type: ignore[arg-type]
    n = int(table["pos"].max()) - start + 1  # type: ignore[arg-type]
    effects, bases = np.full((n, 4), np.nan), ["N"] * n
    for row in table.iter_rows(named=True):
        at = row["pos"] - start
        bases[at] = row["ref"]
        effects[at, "ACGT".index(row["alt"])] = row["effect"]
        effects[at, "ACGT".index(row["ref"])] = 0.0
    marks = [(here.lead["pos"], here.lead["variant_id"])]
    common: dict[str, Any] = {"chrom": plain_chrom(here.gene["chrom"]), "start": start, "marks": marks}
    return (
        *in_widths(mutagenesis, effects, "".join(bases), label="change", **common),
        f"Every possible change of the {n} bases around that SNP, as the gene's window shows it to the model: "
        f"below, how much each changes the predicted {TRACK}; above, how much a base is worth on average. Single-base "
        "effects are the least certain of what such a model says.",
    )


def overlap_section(found: Found, nulls: Mapping[str, str]) -> Section:
    """The two rankings of SNPs over all genes with an eQTL."""
    from genopred.report.figures import in_widths
    from genopred.report.locus import overlap_figure
    from genopred.report.page import Section

    title = "Do the model's SNPs agree with the eQTLs?"
    if found.overlap is None:
        return Section(title, (_eqtl_line(found), overlapped(found)))
    c = found.overlap.comparisons[0]
    strictest = _best_null(found)["null"]
    bands = {f"null “{x.null}”": (x.mean, x.low, x.high) for x in c.curves if x.null == strictest}
    curve = c.curves[0]
    drawn = in_widths(overlap_figure, curve.k, curve.observed, bands, marks=(TOP,), total=c.rankings.n)
    plain = found.overlap.results.filter(pl.col("measure").is_in(["overlap at k", "Spearman rho"]))
    measures = {"overlap at k": f"SNPs in both top {TOP}", "Spearman rho": "rank correlation"}
    rows = []
    for row in plain.iter_rows(named=True):
        seen, p = Cell(significant(row["value"]), value=row["value"]), Cell(p_value(row["p"]), value=row["p"])
        expected = estimate(row["expected"], row["null_low"], row["null_high"], digits=None)
        rows.append([Cell(measures[row["measure"]]), seen, Cell(row["null"]), expected, p])
    table = Grid(["Measure", "Found", "Null", "Expected", "p"], rows)
    known = [f"{name}: {nulls[name]}" for name in plain["null"].unique(maintain_order=True).to_list() if name in nulls]
    caption = (
        "Expected: mean under the null and [what holds 95 % of it]; p: at least as much under the null (two-sided for "
        f"the correlation). The nulls: {'; '.join(known)}; hypergeometric: SNPs as independent."
    )
    return Section(
        title,
        (
            _eqtl_line(found),
            f"For each of these genes its SNPs in the model's window are put in order twice: by the size of the "
            f"predicted change of {TRACK}, and by their eQTL p-value. {overlapped(found)}",
            "Neighbouring SNPs are inherited together and resemble each other in both orders, so SNPs cannot be taken "
            "as independent: what counts is the null that keeps this linkage best, “phenotype”. The window is "
            "small, and many eQTLs lie outside it.",
        ),
        figures=(
            (*drawn, "SNPs shared by the first k of both orders, summed over genes, against what the null gives."),
        ),
        tables=((table, caption),),
    )
