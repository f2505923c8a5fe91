"""Models of gene expression applied to genotypes: variants matched, coverage counted, every gene predicted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.errors import AlignmentError, examples
from genopred.learning.fitted import (
    LINEAR,
    Base,
    Combination,
    coverage,
    linear_predictions,
    per_allele,
    stacked_predictions,
)
from genopred.pipelines.model_inputs import chosen_models, match_models, method_of, open_models, tree_variants
from genopred.types import VARIANT, GeneModels, Genotypes, MatchReport

log = logging.getLogger("genopred.predict")


@dataclass(frozen=True)
class Prediction:
    """Predicted expression.

    Attributes
    ----------
    values : array, shape (G, N)
    samples : array of str, shape (N,)
    genes : polars.DataFrame, G rows
        How much of each gene's model was found; see `genopred.pipelines.predict`.
    report : MatchReport
    """

    values: NDArray[np.float64]
    samples: NDArray[np.str_]
    genes: pl.DataFrame
    report: MatchReport

    def table(self) -> pl.DataFrame:
        """sample, then a column per gene."""
        return pl.DataFrame(
            {"sample": self.samples.tolist(), **dict(zip(self.genes["gene_id"].to_list(), self.values))}
        )

    def lines(self) -> list[str]:
        """What came out, for the screen."""
        g, n = self.values.shape
        found = self.genes["variance_found"].to_numpy()
        words = [
            f"{g:,} genes of {n:,} people predicted; of the models' variance {found.mean():.1%} on average found, "
            f"{found.min():.1%} in the poorest gene."
        ]
        known = self.genes.filter(pl.col("r2").is_not_null())
        if known.height:
            before, left = known["r2"].to_numpy().mean(), known["r2_left"].to_numpy().mean()
            words.append(f"Mean R2 in people held out of the training: {before:.4f}; with what was found: {left:.4f}.")
        return words


class Models:
    """Models of expression, ready to be applied: see `load_models`."""

    def __init__(self, models: GeneModels) -> None:
        self.models = models

    @property
    def genes(self) -> pl.DataFrame:
        """What each gene's models are and how good: `genopred.types.MODEL_GENE_SCHEMA`."""
        return self.models.genes

    @property
    def methods(self) -> list[str]:
        """The methods to choose from."""
        return self.models.methods

    def predict(
        self,
        genotypes: Genotypes,
        *,
        method: str | None = None,
        genes: Sequence[str] | None = None,
        min_match: float = 0.75,
        ambiguous: str = "keep",
    ) -> Prediction:
        """Expression of these people.

        Parameters
        ----------
        genotypes : Genotypes
        method : str, optional
            One of `methods`; the first by default.
        genes : sequence of str, optional
            Ids with or without version, or names; all by default.
        min_match : float
            Refuse where less of the models' variance is found.
        ambiguous : {"keep", "drop"}
            A/T and C/G variants.

        Raises
        ------
        AlignmentError
            If too little matches; the message says why.
        """
        tally = align.Tally()
        tally.come("samples", f"in {genotypes.source}", genotypes.n_samples)
        tally.use("samples", "scored", genotypes.n_samples)
        tally.opened("variants", genotypes.source, genotypes.n_variants, genotypes.notes)
        return predict(
            self.models, genotypes, tally, method=method, genes=genes, min_match=min_match, ambiguous=ambiguous
        )


def load_models(path: str | Path) -> Models:
    """Open models of gene expression.

    Parameters
    ----------
    path : str
        The folder of `genopred stack` or its `models`, a PredictDB database (.db) or FUSION's list (.pos).

    Raises
    ------
    FormatError
        If it is none of these.

    Examples
    --------
    >>> import tempfile
    >>> import polars as pl
    >>> from genopred.io import predictdb
    >>> weight = [("ENSG00000130203", "rs1", "chr19_100_A_G_b38", "A", "G", 0.5)]
    >>> gene = [("ENSG00000130203", "APOE", None, 1, 0.2, 1e-9, None, None)]
    >>> held = predictdb.ModelDatabase(
    ...     pl.DataFrame(weight, predictdb.WEIGHT_SCHEMA, orient="row"),
    ...     pl.DataFrame(gene, predictdb.MODEL_GENE_SCHEMA, orient="row"),
    ... )
    >>> variants = pl.DataFrame({"chrom": ["chr19"], "pos": [100], "id": ["."], "ref": ["G"], "alt": ["A"]})
    >>> people = Genotypes.from_arrays(["ann", "bob"], variants, alleles=[[[0], [0]], [[1], [0]]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     predictdb.write_models(Path(folder) / "blood.db", held)
    ...     load_models(Path(folder) / "blood.db").predict(people).values.tolist()  # copies of G: 2 and 1
    [[1.0, 0.5]]
    """
    return Models(open_models(path))


def predict(
    models: GeneModels,
    genotypes: Genotypes,
    tally: align.Tally,
    *,
    method: str | None = None,
    genes: Sequence[str] | None = None,
    min_match: float = 0.75,
    ambiguous: str = "keep",
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
    ready: Callable[[], object] = lambda: None,
) -> Prediction:
    """Match the models' variants with the genotypes, refuse where too few are there, and predict.

    Parameters
    ----------
    models : GeneModels
    genotypes : Genotypes
    tally : align.Tally
        Goes on counting.
    method, genes, min_match, ambiguous : see `Models.predict`
    threads : int
    progress : callable of (done, total)
    ready : callable
        Called once nothing more is refused, before anything is computed.
    """
    method = method_of(models, method)
    about = chosen_models(models, method, genes, tally)
    kept = _combination(models, method)
    learners = [method] if kept is None else list(kept.needed)
    weights = models.weights.filter(
        pl.col("learner").is_in(learners) & pl.col("gene_id").is_in(about["gene_id"].implode())
    )
    if kept is not None:
        weights = pl.concat([weights, tree_variants(models, about)])
    matched = match_models(models, genotypes, weights, min_match, ambiguous, tally)
    empty = about.filter(~pl.col("gene_id").is_in(matched["gene_id"].implode()))["gene_id"].to_list()
    tally.drop("genes", "no variant has a weight: everybody is predicted alike", empty)
    about = coverage(about, matched)
    empty = about.filter(pl.col("found") == 0)["gene_id"].to_list()
    tally.drop("genes", "none of their variants is in the genotypes", empty)
    about = about.filter(pl.col("found") > 0)
    poor = about.filter(pl.col("variance_found") < min_match)["gene_id"].to_list()
    if poor:
        log.warning(
            f"{len(poor)} genes have less than {min_match:.0%} of their model's variance in {genotypes.source} "
            f"({examples(poor)}); genes.tsv says what that leaves"
        )
        tally.note("genes", f"with less than {min_match:.0%} of their model's variance", poor)
    if not about.height:
        raise AlignmentError(f"none of the models' genes has a variant in {genotypes.source}.")
    ready()
    place = pl.DataFrame({"gene_id": about["gene_id"], "gene": np.arange(about.height)})
    entries = matched.join(place, on="gene_id")
    if kept is None:
        used = entries.filter(pl.col("column").is_not_null())
        fixed = np.zeros(about.height)
        if models.about.get("per_sd"):
            used = per_allele(genotypes, used)
            # such weights are of standardised genotypes: everybody's mean is 0
            np.add.at(fixed, used["gene"].to_numpy(), -2 * (used["freq"] * used["weight"]).to_numpy())
        lost = entries.filter(pl.col("column").is_null() & pl.col("freq").is_not_null())
        # what is not there counts as the mean of the training people, as a missing genotype does
        np.add.at(fixed, lost["gene"].to_numpy(), 2 * (lost["freq"] * lost["weight"]).to_numpy())
        start = about["intercept"].to_numpy() + fixed
        values = linear_predictions(genotypes, used, start, threads=threads, progress=progress)
    else:
        bases = [_base(models, gene, entries) for gene in place.iter_rows()]
        values = stacked_predictions(genotypes, bases, kept, progress=progress)
    tally.use("genes", "predicted", about.height)
    used_columns = entries["column"].drop_nulls().n_unique()
    tally.drop("variants", "not in the models", genotypes.n_variants - used_columns)
    tally.use("variants", "in the models", used_columns)
    return Prediction(
        values, genotypes.samples, about.drop("intercept", "scale", "summary", strict=False), tally.report()
    )


def _combination(models: GeneModels, method: str) -> Combination | None:
    """How base learners are combined, where the method is more than weights."""
    about = models.about
    if method != about.get("method") or method == LINEAR:
        return None
    weights = np.array(about["weights"], dtype=np.float64)
    return Combination(tuple(about["names"]), about["linear"], method, weights, about["booster"])


def _base(models: GeneModels, gene: tuple[str, int], entries: pl.DataFrame) -> Base:
    """What is needed of one gene for the stack's base predictions."""
    gene_id, number = gene
    assert models.learners is not None  # noqa: S101 - a stack with a method has them
    mine = entries.filter(pl.col("gene") == number)
    variants = mine.unique(VARIANT, maintain_order=True).with_row_index("at")
    states = models.learners.filter(pl.col("gene_id") == gene_id)
    row = models.genes.filter((pl.col("gene_id") == gene_id) & (pl.col("method") == models.about["method"]))
    with_place = mine.join(variants.select("at", *VARIANT), on=VARIANT, nulls_equal=True, maintain_order="left")
    parts = {}
    for name in states["learner"]:
        own = with_place.filter(pl.col("learner") == name)
        parts[name] = (own["at"].to_numpy().astype(np.int64), own["weight"].to_numpy())
    summary = row["summary"][0] if "summary" in row.columns else None
    return Base(
        variants["column"].fill_null(-1).to_numpy(),
        variants["flipped"].fill_null(False).to_numpy(),
        variants["freq"].to_numpy(),
        tuple(states.select("learner", "kind", "intercept", "payload").iter_rows()),
        parts,
        None if summary is None else summary.to_numpy(),
        float(row["scale"][0] or 1.0) if "scale" in row.columns else 1.0,
    )
