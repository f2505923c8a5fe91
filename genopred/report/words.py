"""What a workflow says of its results in words, on the screen and on its page: from tables and counts to lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from genopred.errors import examples
from genopred.report.tables import duration, interval, number, p_value
from genopred.types import MatchReport

#: With fewer blocks an interval over blocks is hardly one.
_FEW_BLOCKS = 5


def features(genes: pl.DataFrame, manifest: Mapping[str, Any], in_fp32: int, exactly: int) -> list[str]:
    """Of `genopred features`: what was computed, what varies, and how well cheaper ways agree with others.

    Another precision was compared on `in_fp32` haplotypes of a gene, linear mode on `exactly` so many.
    """
    counts, samples = manifest["counts"], manifest["samples"]
    computed = int((genes["status"] == "computed").sum())
    out = [
        f"{genes.height:,} genes ({computed:,} computed, {genes.height - computed:,} there already), "
        f"{len(samples):,} people, {len(manifest['tracks']):,} tracks of {manifest['model']}",
        f"{counts['distinct_haplotypes']:,} distinct windows of {counts['haplotypes']:,} haplotypes; "
        f"{counts['windows_used']:,} variants in them, {counts['windows_indels_skipped']:,} indels and "
        f"{counts['windows_symbolic_skipped']:,} symbolic alleles left out, "
        f"{counts['windows_missing_alleles']:,} missing alleles read as REF",
    ]
    if counts["features_constant"] and manifest["settings"]["mode"] != "reference":
        none = genes.filter(pl.col("constant") == pl.col("features"))["gene_id"].to_list()
        out.append(
            f"{counts['features_constant']:,} of {counts['features']:,} features are the same in everybody (column "
            "constant of genes.tsv)"
            + (f"; nothing varies in {len(none):,} of {genes.height:,} genes ({examples(none)})" if none else "")
        )
    if counts["windows_other"] + counts["windows_swapped"] + counts["windows_strand"]:
        out.append(
            f"REF unlike the FASTA: {counts['windows_other']:,} variants left out, "
            f"{counts['windows_swapped']:,} swapped and {counts['windows_strand']:,} on the other strand put right"
        )

    def finite(name: str) -> Any:
        values = genes[name].to_numpy().astype(float) if name in genes.columns else np.empty(0)
        return values[np.isfinite(values)]

    if "self_check_error" in genes.columns:
        worst = np.nanmax(genes["self_check_error"].to_numpy().astype(float))
        out.append(f"self-check against plain passes: largest relative error {worst:.1e}")
    if "dtype_median_r" in genes.columns:
        r, worst = finite("dtype_median_r"), genes["dtype_error"].to_numpy().astype(float).max()
        out.append(
            f"{manifest['settings']['dtype']} against fp32 on {in_fp32} haplotypes a gene: largest relative "
            f"error {worst:.1e}"
            + (f", r over haplotypes median {np.median(r):.4f}, lowest gene {r.min():.4f}" if len(r) else "")
        )
    if len(r := finite("linear_median_r")):
        out.append(
            f"linear against exact on {exactly} haplotypes a gene: median r {np.median(r):.3f} over "
            f"genes, lowest {r.min():.3f} (per gene in genes.tsv)"
        )
    return out


def cost(found: Any) -> list[str]:
    """Of `genopred features --dry-run`, from a `genopred.sequence.cost.Cost`."""
    t = found.genes
    h, d = int(t["haplotypes"].sum()), int(t["distinct"].sum())
    out = [f"genes: {t.height:,}", f"haplotypes: {h:,}, of which distinct windows: {d:,} ({d / max(h, 1):.1%})"]
    if t["naive_tokens"].sum():
        tokens, naive = int(t["tokens"].sum()), int(t["naive_tokens"].sum())
        out.append(f"distinct tokens in the tower: {tokens:,} of {naive:,} ({tokens / naive:.2%})")
    return [
        *out,
        f"work: about {float(t['passes'].sum()):,.0f} passes, where one a haplotype would be {h:,}",
        f"one pass: {1000 * found.seconds_per_pass:,.2f} ms on {found.device}; one a haplotype would take "
        f"{_hours(found.naive_hours)}",
        f"estimated: {_hours(found.hours)}, {_size(found.memory_gb)} of memory, {_size(found.output_gb)} on disk",
    ]


def _hours(hours: float) -> str:
    return duration(3600 * hours) if 3600 * hours >= 1 else "less than 1 s"


def _size(gb: float) -> str:
    for factor, unit in ((1, "GB"), (1e3, "MB")):
        if gb * factor >= 1:
            return f"{gb * factor:,.1f} {unit}"
    return f"{gb * 1e6:,.1f} kB"


def effects(table: pl.DataFrame, groups: int, model: str, report: MatchReport, reused: bool) -> list[str]:
    """Of `genopred effects`: how many SNPs of what, and what was left out."""
    genes = table["gene"].drop_nulls().n_unique()
    of = f" of {genes:,} gene{'s' if genes != 1 else ''}" if genes else ""
    first = (
        f"{table.select('chrom', 'pos', 'ref', 'alt').n_unique():,} SNPs{of}, {groups:,} track "
        f"group{'s' if groups != 1 else ''} of {model}{' (there already)' if reused else ''}"
    )
    return [first, *(line for line in report.lines() if ": 0 " not in line)]


def gene_scores(accuracy: pl.DataFrame) -> tuple[str, ...]:
    """Of `genopred prs` on expression: mean accuracy over genes, of each set of people and method."""
    means = accuracy.group_by("set", "method", maintain_order=True).agg(
        pl.len().alias("genes"), pl.col("r2", "signed_r2").mean()
    )
    return (
        "set              method        genes  mean R2  mean signed r2",
        *(f"{of:<16} {method:<12} {n:>6,}  {r2:>7.4f}  {signed:>14.4f}" for of, method, n, r2, signed in means.rows()),
    )


def training(run: Any, windows: Mapping[str, int]) -> list[str]:
    """Of `genopred train`, from a `genopred.training.loop.TrainingRun` and the task's counts of windows."""
    return [
        f"{windows['train']:,} training and {windows['validation']:,} validation windows; "
        f"{windows['train_n'] + windows['validation_n']:,} left out for their N",
        *_best_epoch(run, "Pearson of log(1 + value)", "on validation windows"),
    ]


def training_of_genes(run: Any, genes: Mapping[str, int]) -> list[str]:
    """The same with task = "expression", from the numbers of genes by part; those left out have an empty name."""
    return [
        f"{genes['train']:,} training, {genes['validation']:,} validation and {genes['test']:,} test genes; "
        f"{genes['']:,} left out by the split",
        *_best_epoch(run, "Pearson", "over validation genes"),
    ]


def _best_epoch(run: Any, score: str, over: str) -> list[str]:
    """The epoch that is kept, and the correlation of each track or cell type in it."""
    best = run.history.row(run.best_epoch - 1, named=True)
    return [
        f"best epoch {run.best_epoch} of {run.history.height}{', stopped early' if run.stopped_early else ''}: "
        f"validation loss {best['validation_loss']:.4f}",
        *(f"  {name[8:]}: {score} {value:.3f} {over}" for name, value in best.items() if name.startswith("pearson_")),
    ]


def folds_of_genes(runs: Sequence[Any]) -> list[str]:
    """Of a cross-validation: each cell type's correlation over validation genes, and how it differs between folds."""
    best = [run.history.row(run.best_epoch - 1, named=True) for run in runs]
    out = [f"{len(runs)} folds; over the validation genes of each (the test genes are for `genopred evaluate`):"]
    for name in best[0]:
        if name.startswith("pearson_"):
            values = [row[name] for row in best]
            out.append(
                f"  {name[8:]}: Pearson {sum(values) / len(values):.3f} ({min(values):.3f} to {max(values):.3f})"
            )
    return out


def track_scores(scores: pl.DataFrame, differences: pl.DataFrame) -> list[str]:
    """Of `genopred evaluate`: the log-scale correlation of each track, and by how much others have less."""
    rows = scores.filter((pl.col("metric") == "pearson_log") & (pl.col("model") == pl.col("model").first()))
    width = max(len(name) for name in rows["track"])
    more = ", and differences from the others" if differences.height else ""
    out = [f"Pearson r of log(1 + value) with its 95 % interval over blocks{more}:"]
    for row in rows.iter_rows(named=True):
        text = f"  {row['track']:<{width}} {number(row['estimate'], 3)} {interval(row['low'], row['high'], 3)}"
        of = differences.filter((pl.col("track") == row["track"]) & (pl.col("metric") == "pearson_log"))
        for other in of.iter_rows(named=True):
            text += f"; {number(other['estimate'], 3, True)} {interval(other['low'], other['high'], 3, True)}"
            text += f" over {other['against']}"
        out.append(text)
    return out


def held_out(held: Any, model: str, strands: str) -> list[str]:
    """What `genopred evaluate` scored: a model on a `genopred.training.heldout.Held`."""
    n, shape = len(held.windows.starts), held.shape
    blocks = len(np.unique(held.windows.blocks))
    text = (
        f"{model} on the {held.name} split: {n * shape.n_bins:,} bins of {shape.bin} bp in {n:,} windows of "
        f"{blocks:,} block{'s' if blocks != 1 else ''}"
    )
    if held.dropped:
        text += f"; {held.dropped:,} more windows have over {held.max_n:.0%} N and are left out"
    out = [text + "."]
    if strands == "both":
        out.append("Predictions are the mean of those from both strands.")
    clipped = sum(track.clip is not None for track in held.data.tracks)
    if clipped:
        out.append(
            f"High values of {clipped} of {len(held.data.tracks)} tracks are clipped softly, as in training: all "
            "metrics are of the clipped values."
        )
    return out


def held_out_cautions(held: Any, looks: pl.DataFrame, file: Path) -> list[str]:
    """What to beware of in the scores of a `genopred.training.heldout.Held`; `file` lists the `looks` before."""
    return _cautions("windows", held.name, held.split.by, held.windows.blocks, looks, file)


def held_out_gene_cautions(held: Any, looks: pl.DataFrame, file: Path) -> list[str]:
    """The same of a `genopred.training.gene_heldout.HeldGenes`."""
    return _cautions("genes", held.name, held.folds[0].split.by, held.blocks, looks, file)


def _cautions(unit: str, split: str, by: str, blocks: Any, looks: pl.DataFrame, file: Path) -> list[str]:
    out = []
    if split == "train":
        out.append(f"These are training {unit}: the scores say how well they were learned, not how well others are.")
    if split == "validation":
        out.append("The best epoch was chosen on the validation split: its scores are a little too high.")
    if split == "test" and looks.height:
        times = "once" if looks.height == 1 else f"{looks.height} times"
        out.append(
            f"The test split of this run had been evaluated {times} before, first on {looks['date'][0]} (see "
            f"{file}). Whatever was chosen after a look at it makes these scores too high."
        )
    elif split == "test":
        out.append("This is the first evaluation of this run's test split.")
    if by == "random":
        out.append("The split is random: test windows overlap training windows, and the scores are too high.")
    n = len(np.unique(blocks))
    if n < _FEW_BLOCKS:
        out.append(f"{n} block{'s are' if n != 1 else ' is'} few: intervals over them mean little.")
    return out


def held_out_genes(held: Any, model: str, strands: str) -> list[str]:
    """What `genopred evaluate` scored: networks on a `genopred.training.gene_heldout.HeldGenes`."""
    n, blocks, cells = len(held.measured), len(np.unique(held.blocks)), len(held.cells)
    text = (
        f"{model} on the {held.name} split: {n:,} genes in {blocks:,} block{'s' if blocks != 1 else ''}, "
        f"{cells:,} cell type{'s' if cells != 1 else ''}"
    )
    if len(held.folds) > 1:
        text += f"; the held-out genes of {len(held.folds)} folds, each predicted by the network that had not seen it"
    out = [text + "."]
    if strands == "both":
        out.append("Predictions are the mean of those from both strands.")
    return out


def expression_scores(scores: pl.DataFrame, differences: pl.DataFrame, tests: pl.DataFrame) -> list[str]:
    """Of `genopred evaluate` on genes: r of each cell type and of what lies between them, and how others compare."""
    pick = (pl.col("metric") == "pearson") & (pl.col("model") == pl.col("model").first())
    rows = scores.filter(pick)
    width = max(len(name) for name in rows["cell"])
    said = {"level": "Pearson r over genes", "between": "Pearson r of deviations from each gene's mean over cell types"}
    out = []
    for what, label in said.items():
        of = rows.filter(pl.col("what") == what)
        if of.height:
            out.append(f"{label}, with its 95 % interval over blocks of genes:")
        for row in of.iter_rows(named=True):
            out.append(f"  {row['cell']:<{width}} {number(row['estimate'], 3)} {interval(row['low'], row['high'], 3)}")
    last = rows.filter(pl.col("what") == "level")["cell"][-1]
    pick = (pl.col("cell") == last) & (pl.col("what") == "level") & (pl.col("metric") == "pearson")
    p = dict(tests.filter(pick & (pl.col("test") == "blocks-r")).select("against", "p_holm").iter_rows())
    for row in differences.filter(pick).iter_rows(named=True):
        text = f"{number(row['estimate'], 3, True)} {interval(row['low'], row['high'], 3, True)}"
        out.append(f"  r {text} over {row['against']}, p {p_value(p.get(row['against']))} (blocks flipped, Holm)")
    return out


def expression_scale(steps: Sequence[str], unit: str) -> str:
    """The scale on which expression was learned, in words.

    >>> expression_scale(("log", "z"), "tpm"), expression_scale((), "signal")
    ('z of log(1 + tpm)', 'signal')
    """
    out = unit
    for step in steps:
        out = {"log": f"log(1 + {out})", "z": f"z of {out}", "quantile": f"quantile-normalised {out}"}.get(step, out)
    return out


def stack_notes(
    genes: int, needed: int, origin: Mapping[str, Any] | None, shipped_trees: bool, residualize: str
) -> tuple[str, ...]:
    """Of `genopred stack`: where its weights start from, whether trees grew, and whether held-out people were seen."""
    notes = []
    if origin is not None:
        notes.append(
            f"The stack's weights start from those learned on {origin.get('data', 'other data')} "
            f"({origin.get('genes', '?')} genes, {origin.get('people', '?')} people). If your people are "
            "among them, use --stack-weights none."
        )
    if genes < needed:
        notes.append(
            f"{genes} genes are too few to grow the pooled XGBoost meta-learner ({needed} needed); "
            f"it used {'the shipped trees' if shipped_trees else 'no trees'} on top of the NNLS weights."
        )
    if residualize == "global":
        notes.append(
            "--residualize global: transform and covariates were applied to everyone at once, held-out people "
            "included, as is usual in TWAS; --residualize fold keeps them apart."
        )
    return tuple(notes)
