"""Networks and simpler methods on held-out genes: what each predicts there, how well, and what it had seen.

Of a cross-validation each gene is predicted by the network of the fold that held it out, and all that is fitted beside
it is fitted on the training genes of that fold; the genes of all folds are then scored together.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import ModelError, examples
from genopred.training.gene_baselines import calibrated, fit_baseline, gene_features, mean_of_others, mean_of_training
from genopred.training.gene_scores import (
    ALL_CELLS,
    BETWEEN,
    GENE_SCORE_SCHEMA,
    detectable,
    fold_scores,
    gene_differences,
    gene_scores,
)
from genopred.training.gene_tests import GENE_TEST_SCHEMA, gene_tests
from genopred.training.genes import GeneData, GeneSplit
from genopred.training.loop import Progress
from genopred.training.networks.gene import GeneNetwork
from genopred.training.scores import Floats
from genopred.training.tasks.expression import predict_genes

log = logging.getLogger(__name__)

#: What the two of `--baseline mean` are called.
TRAINING_MEAN, OTHER_CELLS = "mean of training genes", "mean of other cell types"


@dataclass(frozen=True)
class GeneFold:
    """One trained network with its genes.

    Attributes
    ----------
    name : str
        Of the fold.
    data : GeneData
        All genes.
    split : GeneSplit
    targets : array, shape (G, C)
        On the scale that the network learned.
    network : GeneNetwork
    """

    name: str
    data: GeneData
    split: GeneSplit
    targets: NDArray[np.float32] = field(repr=False)
    network: GeneNetwork = field(repr=False)

    @cached_property
    def features(self) -> Floats:
        """What baselines read."""
        return gene_features(self.data, self.network.shape.before)[0]

    @cached_property
    def place(self) -> dict[str, int]:
        """Row of each gene by its id."""
        return {gene: row for row, gene in enumerate(self.data.genes["gene_id"].to_list())}


@dataclass(frozen=True)
class HeldGenes:
    """The genes that are predicted, fold after fold.

    Attributes
    ----------
    name : str
        Of the split.
    folds : sequence of GeneFold
    """

    name: str
    folds: Sequence[GeneFold]

    @property
    def cells(self) -> tuple[str, ...]:
        return self.folds[0].data.cells

    @cached_property
    def rows(self) -> list[NDArray[np.int64]]:
        """Of each fold the rows of its genes."""
        return [fold.split.rows(self.name) for fold in self.folds]

    @cached_property
    def genes(self) -> pl.DataFrame:
        """As `GeneData.genes`, with `block` and `fold`."""
        parts = []
        for fold, rows in zip(self.folds, self.rows):
            part = fold.data.genes[rows]
            block = pl.Series("block", fold.split.block[rows], dtype=pl.Int64)
            parts.append(part.with_columns(block, pl.lit(fold.name).alias("fold")))
        return pl.concat(parts)

    @cached_property
    def measured(self) -> Floats:
        """Targets (n, C) of each gene as its fold has them."""
        return np.concatenate([fold.targets[rows] for fold, rows in zip(self.folds, self.rows)]).astype(np.float64)

    @cached_property
    def blocks(self) -> NDArray[np.int64]:
        return self.genes["block"].to_numpy()

    @property
    def fold(self) -> NDArray[np.str_]:
        return self.genes["fold"].to_numpy().astype(str)


@dataclass(frozen=True)
class Method:
    """What a method predicts of the held-out genes.

    Attributes
    ----------
    name : str
    values : array, shape (n, C)
        NaN in cell types that it does not predict.
    about : str
        What it is and what it reads, in a sentence.
    between : bool
        Whether what it says of differences between cell types means anything.
    flat : bool
        Whether it says the same of all genes, so that no correlation means anything: over folds its numbers differ.
    caution : str
        What to beware of, after its name.
    """

    name: str
    values: Floats = field(repr=False)
    about: str = ""
    between: bool = True
    caution: str = ""
    flat: bool = False


def predict_held(
    held: HeldGenes, *, both_strands: bool = False, device: str = "cpu", step: Progress | None = None
) -> Floats:
    """Each gene by the network that held it out, (n, C); values that are not finite are a ModelError."""
    parts = []
    for i, (fold, rows) in enumerate(zip(held.folds, held.rows)):
        if step is not None:
            step(i, len(held.folds), f"network {fold.name}".strip())
        network = fold.network.to(device)
        parts.append(predict_genes(network, fold.data, rows, both_strands=both_strands, device=device))
    return _finite(np.concatenate(parts).astype(np.float64), held, "the network")


def _finite(values: Floats, held: HeldGenes, name: str) -> Floats:
    if (bad := ~np.isfinite(values).all(axis=1)).any():
        raise ModelError(
            f"{name} predicts values that are not finite for {int(bad.sum())} of {len(values)} genes "
            f"({examples(held.genes['gene_id'].to_numpy()[bad].tolist())}); its weights are damaged or its training "
            "diverged."
        )
    return values


def predict_other(
    held: HeldGenes, name: str, others: Sequence[GeneFold], *, both_strands: bool = False, device: str = "cpu"
) -> Method:
    """The same genes by the networks of another run, on the first run's scale; its caution says how many it had seen.

    A gene is predicted by the fold of the other run that held it out, in whatever part was evaluated; where none did,
    by its first network, and it counts as seen if it was among that one's training or validation genes.

    Where the runs learned expression on other scales (of other training genes or transforms) a line through the
    measurements of the training genes brings one to the other; where none does, this is a ModelError.
    """
    cells = [cell for cell in held.cells if cell in others[0].data.cells]
    if not cells:
        raise ModelError(
            f"{name} predicts none of the cell types: it has {examples(others[0].data.cells)} and the first run "
            f"{examples(held.cells)}; name them alike."
        )
    mine = [held.cells.index(cell) for cell in cells]
    theirs = [others[0].data.cells.index(cell) for cell in cells]
    ids = held.genes["gene_id"].to_list()
    absent = [gene for gene in ids if gene not in others[0].place]
    if absent:
        raise ModelError(
            f"{name} has no data for {len(absent)} of {len(ids)} held-out genes ({examples(absent)}); needed a run on "
            "the same genes."
        )
    by = np.zeros(len(ids), dtype=np.int64)
    seen = 0
    for i, gene in enumerate(ids):
        parts = [other.split.part[other.place[gene]] for other in others]
        by[i] = parts.index(held.name) if held.name in parts else 0
        seen += held.name not in parts and parts[0] in ("train", "validation")
    out = np.full(held.measured.shape, np.nan)
    for k, other in enumerate(others):
        at = np.flatnonzero(by == k)
        if not len(at):
            continue
        rows = np.array([other.place[ids[i]] for i in at])
        network = other.network.to(device)
        values = predict_genes(network, other.data, rows, both_strands=both_strands, device=device)[:, theirs]
        for fold in held.folds:
            here = np.flatnonzero(held.fold[at] == fold.name)
            for c, d, column in zip(mine, theirs, values.T):
                out[at[here], c] = _on_scale(column[here], fold, c, other, d, name)
    _finite(out[:, mine], held, name)
    caution = (
        f"had {seen:,} of these {len(ids):,} genes in its own training or validation: its scores here are too high."
        if seen
        else ""
    )
    return Method(name, out, "another run", caution=caution)


def _on_scale(values: NDArray[np.floating], fold: GeneFold, c: int, other: GeneFold, d: int, name: str) -> Floats:
    """Values of another run in units of a fold's targets, by the measurements that both have."""
    shared = [(row, other.place[gene]) for gene, row in fold.place.items() if gene in other.place]
    a, b = (np.array(rows) for rows in zip(*shared))
    x, y = other.targets[b, d].astype(np.float64), fold.targets[a, c].astype(np.float64)
    use = np.isfinite(x) & np.isfinite(y)
    x, y = x[use], y[use]
    if np.allclose(x, y, rtol=1e-5, atol=1e-5):
        return values.astype(np.float64)
    line = calibrated(x, (x, y))
    if np.abs(line - y).max() > 1e-3 * max(float(np.std(y)), 1e-12):
        raise ModelError(
            f"{name} learned {fold.data.cells[c]} after another transform, of which no line leads to the first run's; "
            "errors of the two cannot be compared. Train both with one [expression]."
        )
    return calibrated(values, (x, y))


def baseline_methods(name: str, held: HeldGenes, *, seed: int = 1, step: Progress | None = None) -> list[Method]:
    """One of `ridge`, `forest`, `svm`, `mlp`, or the two of `mean`, fitted in each fold on its training genes."""
    if name == "mean":
        return _means(held)
    parts, chosen = [], []
    for i, (fold, rows) in enumerate(zip(held.folds, held.rows)):
        if step is not None:
            step(i, len(held.folds), f"{name} {fold.name}".strip())
        training, validation = (fold.split.rows(part) for part in ("train", "validation"))
        y = fold.targets.astype(np.float64)
        sets = [(fold.features[which], y[which]) for which in (training, validation)]
        fit = fit_baseline(name, sets[0], sets[1], seed=seed)
        parts.append(fit.predict(fold.features[rows]))
        chosen.append(", ".join(f"{key} {value:g}" for key, value in fit.chosen.items()))
    data = held.folds[0].data
    reads = "k-mers and GC of the window and of 1 kb around the TSS"
    reads += ", means of the signal" if data.tracks is not None else ""
    reads += ", and of distal segments by their contacts" if data.segments is not None else ""
    about = f"{reads}; chosen on validation genes: {'; '.join(dict.fromkeys(chosen))}"
    return [Method(name, np.concatenate(parts), about)]


def _means(held: HeldGenes) -> list[Method]:
    training = [fold.targets[fold.split.rows("train")] for fold in held.folds]
    flat = [mean_of_training(y, len(rows)) for y, rows in zip(training, held.rows)]
    out = [Method(TRAINING_MEAN, np.concatenate(flat), "one number a cell type: knows nothing of a gene", flat=True)]
    if len(held.cells) > 1:
        near = [mean_of_others(fold.targets[rows], y) for fold, rows, y in zip(held.folds, held.rows, training)]
        about = (
            "reads what was measured of the same gene in the other cell types, and no sequence: not open to a network. "
            "Its differences between cell types mean nothing and are left out"
        )
        out.append(Method(OTHER_CELLS, np.concatenate(near), about, between=False))
    return out


def calibrated_method(name: str, held: HeldGenes, cells: Sequence[str], values: Sequence[Floats], about: str) -> Method:
    """A model of another scale: its values (G,) of all genes of each fold, with a line fitted on training genes."""
    out = np.full(held.measured.shape, np.nan)
    for fold, rows, of in zip(held.folds, held.rows, values):
        at = np.flatnonzero(held.fold == fold.name)
        training = fold.split.rows("train")
        for cell in cells:
            c = held.cells.index(cell)
            out[at, c] = calibrated(of[rows], (of[training], fold.targets[training, c]))
    return Method(name, out, about)


def compare_genes(
    held: HeldGenes, methods: Sequence[Method], *, resamples: int, seed: int, draws: int = 9999
) -> dict[str, pl.DataFrame]:
    """Scores, differences from the first method, tests, and scores of each fold where there are several.

    Parameters
    ----------
    held : HeldGenes
    methods : sequence of Method
    resamples, seed : int
        Of the blocks' bootstrap.
    draws : int
        Of signs in the tests.

    Returns
    -------
    dict of polars.DataFrame
        `scores`: model, split, and the columns of `GENE_SCORE_SCHEMA`. `differences`: model, against, split, the same,
        and `detectable`, the smallest true difference that such a set of genes would mostly show. `tests`: columns of
        `GENE_TEST_SCHEMA`. `folds`: model, fold, what, cell, metric, estimate, n_genes.
    """
    y, blocks, cells = held.measured, held.blocks, held.cells
    how: dict[str, int] = {"resamples": resamples, "seed": seed}

    def labelled(table: pl.DataFrame, of: Method, **labels: str) -> pl.DataFrame:
        table = table if of.between else table.filter(pl.col("what") != BETWEEN)
        if of.flat:
            numbers = [name for name, kind in table.schema.items() if kind == pl.Float64]
            table = table.with_columns(pl.when(~pl.col("metric").is_in(["pearson", "spearman"])).then(pl.col(numbers)))
        return table.select(*(pl.lit(value).alias(name) for name, value in labels.items()), pl.all())

    scores = [
        labelled(gene_scores(y, m.values, blocks, cells, **how), m, model=m.name, split=held.name) for m in methods
    ]
    first = methods[0]
    against = [
        labelled(
            gene_differences(y, first.values, m.values, blocks, cells, **how), m,
            model=first.name, against=m.name, split=held.name,
        )
        for m in methods[1:]
    ]  # fmt: skip
    extra = {"model": pl.String, "against": pl.String, "split": pl.String, **GENE_SCORE_SCHEMA}
    differences = pl.concat(against) if against else pl.DataFrame(schema=extra)
    differences = differences.with_columns(
        pl.Series("detectable", [detectable(se) for se in differences["se"]], dtype=pl.Float64)
    )
    out = {"scores": pl.concat(scores), "differences": differences}
    if against:
        values: Mapping[str, Floats] = {m.name: m.values for m in methods}
        only: dict[str, list[str]] = {"level_only": [m.name for m in methods if not m.between]}
        only["errors_only"] = [m.name for m in methods if m.flat]
        folds = held.fold if len(held.folds) > 1 else None
        out["tests"] = gene_tests(y, values, blocks, cells, folds=folds, draws=draws, seed=seed, **only)
    else:
        out["tests"] = pl.DataFrame(schema=GENE_TEST_SCHEMA)
    if len(held.folds) > 1:
        parts = [labelled(fold_scores(y, m.values, held.fold, cells), m, model=m.name) for m in methods]
        out["folds"] = pl.concat(parts)
    return out


def prediction_table(held: HeldGenes, methods: Sequence[Method]) -> pl.DataFrame:
    """A row a gene: where it is, its block and fold, and what was measured and predicted by each method."""
    columns = {"measured " + cell: held.measured[:, c] for c, cell in enumerate(held.cells)}
    for i, method in enumerate(methods):
        for c, cell in enumerate(held.cells):
            if np.isfinite(method.values[:, c]).any():
                columns[f"predicted {cell}" + (f" by {method.name}" if i else "")] = method.values[:, c]
    wanted = ("gene_id", "gene", "gene_name", "chrom", "tss", "strand", "block", "fold")
    return held.genes.select(name for name in wanted if name in held.genes.columns).with_columns(
        **{name: pl.Series(values).fill_nan(None) for name, values in columns.items()}
    )


def what_can_be_seen(held: HeldGenes, tables: Mapping[str, pl.DataFrame]) -> list[str]:
    """What so many genes can show, in sentences: how wide the interval is, and which differences stay unseen."""
    genes, blocks = len(held.measured), len(np.unique(held.blocks))
    cell = ALL_CELLS if len(held.cells) > 1 else held.cells[0]
    pick = (pl.col("cell") == cell) & (pl.col("metric") == "pearson") & (pl.col("what") != BETWEEN)
    row = tables["scores"].filter(pick).head(1)
    out = []
    of = f"{genes:,} genes in {blocks:,} block{'s' if blocks != 1 else ''}"
    if row.height and row["low"][0] is not None:
        width = row["high"][0] - row["low"][0]
        out.append(f"With {of} the 95 % interval of Pearson r is {width:.2f} wide.")
    if "folds" in tables:
        each = tables["folds"].filter(pick & (pl.col("model") == pl.col("model").first()))["estimate"].drop_nulls()
        if each.len() and row["estimate"][0] is not None:
            r = each.to_numpy()
            out.append(
                f"Over all folds together r is {row['estimate'][0]:.3f}; in single folds {r.min():.3f} to "
                f"{r.max():.3f}, mean {r.mean():.3f}. Together it is lower where the folds' networks differ in "
                "level or scale."
            )
    seen = tables["differences"].filter(pick & pl.col("detectable").is_not_null()).sort("detectable")
    if seen.height:
        least, most = (seen.select("detectable", "against").row(i) for i in (0, -1))
        said = f"{least[0]:.3f} (against {least[1]})" + (f" to {most[0]:.3f} ({most[1]})" if seen.height > 1 else "")
        out.append(f"A true difference of r below {said} would be missed in more than one of five such sets of genes.")
    return out
