"""All genes of `genopred fit-moments` together: weights of the stack, accuracy, models that leave the run."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.files import safe_name
from genopred.io.genemodels import join_models
from genopred.learning.evaluate import benjamini_hochberg, correlation_pvalue
from genopred.learning.federated import (
    accuracy,
    of_method,
    stack_moments,
    stack_weights,
    with_stack,
    without_folds,
)
from genopred.learning.fitted import LINEAR
from genopred.learning.stack import Shipped
from genopred.pipelines.fit_moments_inputs import Sites
from genopred.pipelines.run import Run, write_tables
from genopred.pipelines.stack_models import NOTHING
from genopred.provenance import versions
from genopred.settings import FitMoments
from genopred.types import (
    MODEL_GENE_SCHEMA,
    MODEL_LEARNER_SCHEMA,
    MODEL_WEIGHT_SCHEMA,
    SCORE_SCHEMA,
    plain_gene,
)

log = logging.getLogger("genopred.fit_moments")

Array = NDArray[np.float64]

#: Columns of the accuracy in sites held out.
LOSO_SCHEMA = {"site": pl.String, "gene_id": pl.String, "method": pl.String, "n": pl.Int64} | dict.fromkeys(
    ("r2", "pearson", "slope", "mse"), pl.Float64
)


@dataclass(frozen=True)
class Kept:
    """What is kept of base learners trained without some people: their mean and number, `held` and `oof` of `Fits`."""

    held: Array
    oof: Array
    mean: float
    n: int

    @classmethod
    def of(cls, row: dict[str, Any]) -> Kept:
        """From JSON."""
        return cls(np.array(row["held"]), np.array(row["oof"]), row["mean"], row["n"])


@dataclass(frozen=True)
class Gene:
    """One gene, trained without each fold, without each site, and on everybody.

    Attributes
    ----------
    about : dict
        gene_id, chrom, tss, strand.
    folds : list of Kept
        Empty where there are too few to hold one out.
    sites : list of Kept
    n : int
        People.
    intercept : array, shape (B,)
        Of the learners trained on everybody.
    spread : array, shape (B, B)
        Sums over everybody of products of their centred predictions.
    """

    about: dict[str, Any]
    folds: list[Kept]
    sites: list[Kept]
    n: int
    intercept: Array
    spread: Array

    @property
    def gene_id(self) -> str:
        """Its id."""
        return str(self.about["gene_id"])

    @property
    def out(self) -> list[Kept]:
        """What accuracy is told by: folds held out, or sites where folds are too few."""
        return self.folds or self.sites


@dataclass(frozen=True)
class Together:
    """All genes, and the stack that they give together.

    Attributes
    ----------
    genes : list of Gene
    names : tuple of str
        B base learners.
    prior : Shipped, optional
        Weights to start from.
    """

    genes: list[Gene]
    names: tuple[str, ...]
    prior: Shipped | None = field(repr=False)

    def _learned(self, oof: Callable[[Gene], tuple[Array, int]]) -> Array:
        return stack_weights(stack_moments(self.names, [oof(gene) for gene in self.genes]), self.prior)

    def _weights(self, of: Callable[[Gene], list[Kept]]) -> list[Array]:
        """Weights of the stack for each of what is held out, from the training people's out-of-fold predictions."""

        def one(i: int) -> Array:
            return self._learned(lambda gene: (of(gene)[i].oof, of(gene)[i].n if of(gene)[i].oof.any() else 0))

        return [one(i) for i in range(len(of(self.genes[0])))]

    @cached_property
    def weights(self) -> Array:
        """Of learners trained on everybody, from each person as predicted when held out, shape (B,)."""
        return self._learned(lambda gene: (without_folds([kept.held for kept in gene.out]), gene.n))

    def _blocks(self, gene: Gene, of: Callable[[Gene], list[Kept]], weights: Sequence[Array]) -> list[Array]:
        return [with_stack(kept.held, w, kept.mean) for kept, w in zip(of(gene), weights)]

    def scores(self) -> pl.DataFrame:
        """Accuracy per gene and method in people held out: columns of `SCORE_SCHEMA`."""
        weights, rows = self._weights(lambda gene: gene.out), []
        for gene in self.genes:
            blocks = np.concatenate(self._blocks(gene, lambda one: one.out, weights))
            for column, method in enumerate((*self.names, LINEAR)):
                found = accuracy(of_method(blocks, column))
                rows.append({"gene_id": gene.gene_id, "method": method, "spearman": np.nan, "mae": np.nan, **found})
        return pl.DataFrame([{key: row[key] for key in SCORE_SCHEMA} for row in rows], schema=SCORE_SCHEMA)

    def loso(self, sites: Sequence[str]) -> pl.DataFrame:
        """Accuracy of models trained without a site, in that site."""
        weights, rows = self._weights(lambda gene: gene.sites), []
        for gene in self.genes:
            for site, block in zip(sites, self._blocks(gene, lambda one: one.sites, weights)):
                for column, method in enumerate((*self.names, LINEAR)):
                    found = accuracy(of_method(block, column))
                    rows.append({"site": site, "gene_id": gene.gene_id, "method": method, **found})
        table = pl.DataFrame([{key: row[key] for key in LOSO_SCHEMA} for row in rows], schema=LOSO_SCHEMA)
        return table.sort("site", maintain_order=True)


def keep_models(
    job: Run, settings: FitMoments, sites: Sites, together: Together, scores: pl.DataFrame, symbols: dict[str, str]
) -> None:
    """Write the models trained on everybody, of the stack and of each learner."""
    folder = job.path("models")
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    pieces, rows = [], []
    for gene in together.genes:
        table = pl.read_parquet(job.path("genes") / f"{safe_name(gene.gene_id)}.parquet")
        piece = folder / "parts" / safe_name(gene.gene_id)
        weights, made = _weights(gene, table, together)
        none = pl.DataFrame(schema=MODEL_LEARNER_SCHEMA)
        parts = {"weights": weights, "learners": none}
        write_tables({piece.with_name(f"{piece.name}.{name}.parquet"): part for name, part in parts.items()})
        pieces.append(piece)
        rows += made
    join_models(folder, pieces, _genes(together, rows, scores, symbols), _about(settings, sites, together, scores))


def _weights(gene: Gene, table: pl.DataFrame, together: Together) -> tuple[pl.DataFrame, list[tuple[Any, ...]]]:
    """Weights of a gene's methods that are not 0; number of variants and intercept of each."""
    names, w = together.names, together.weights
    coef = table.select(names).to_numpy()
    linear, start = coef @ w, float(w @ gene.intercept)
    if not float(w @ gene.spread @ w) > gene.n * NOTHING**2:
        linear, start = np.zeros(len(linear)), 0.0
    methods = [(LINEAR, linear, start), *zip(names, coef.T, gene.intercept.tolist())]
    plain = table.drop(names).with_columns(gene_id=pl.lit(gene.gene_id))
    parts = [
        plain.with_columns(pl.lit(name).alias("learner"), pl.Series("weight", values)).filter(pl.col("weight") != 0)
        for name, values, _ in methods
    ]
    rows = [(gene.gene_id, name, int(np.count_nonzero(values)), begin) for name, values, begin in methods]
    return pl.concat(parts).select(pl.col(name).cast(kind) for name, kind in MODEL_WEIGHT_SCHEMA.items()), rows


def _genes(
    together: Together, rows: Sequence[tuple[Any, ...]], scores: pl.DataFrame, symbols: dict[str, str]
) -> pl.DataFrame:
    """A row per gene and method: what it is and how well held-out people were predicted."""
    about = pl.DataFrame([gene.about for gene in together.genes])
    names = [symbols.get(plain_gene(gene)) for gene in about["gene_id"].to_list()]
    about = about.with_columns(pl.Series("gene_name", names, dtype=pl.String))
    counts = pl.DataFrame(rows, ["gene_id", "method", "variants", "intercept"], orient="row")
    parts = []
    for method in (LINEAR, *together.names):
        one = scores.filter(pl.col("method") == method)
        pval = correlation_pvalue(one["pearson"].fill_nan(0.0).to_numpy(), one["n"].to_numpy())
        one = one.with_columns(pl.Series("pval", pval), pl.Series("qval", benjamini_hochberg(pval)))
        parts.append(about.join(one, on="gene_id", maintain_order="left"))
    table = pl.concat(parts).join(counts, on=["gene_id", "method"], how="left", maintain_order="left")
    table = table.with_columns(pl.lit(None, pl.Float64).alias("phi"))
    return table.select(pl.col(name).cast(kind) for name, kind in MODEL_GENE_SCHEMA.items())


def _about(settings: FitMoments, sites: Sites, together: Together, scores: pl.DataFrame) -> dict[str, Any]:
    """What the models are, in words and numbers, as JSON; as of a stack, and the sites."""
    accuracy_of = scores.group_by("method").agg(pl.col("r2").mean())
    digests = "\n".join(site.digest for site in sites.sites).encode()
    genes = "\n".join(gene.gene_id for gene in together.genes).encode()
    linear = {name: float(w) for name, w in zip(together.names, together.weights) if w > 0}
    of_each = "each site's own people" if settings.scale == "site" else "all people"
    about = {
        "made_by": "genopred fit-moments",
        "command": settings.command,
        "versions": versions(),
        "build": sites.build,
        "genotypes": f"sums of {', '.join(sites.names)}",
        "expression": f"sums of {', '.join(sites.names)}",
        "people": sites.people,
        "people_hash": hashlib.sha256(digests).hexdigest()[:16],
        "genes_hash": hashlib.sha256(genes).hexdigest()[:16],
        "sites": {site.name: site.people for site in sites.sites},
        "scale": settings.scale,
        "each": True,
        "transform": ", ".join(dict.fromkeys(site.transform for site in sites.sites)),
        "residualize": settings.covariates,
        "covariates": list(dict.fromkeys(name for site in sites.sites for name in site.covariates)),
        "unit": f"standard deviations, over {of_each}, of the gene's transformed expression after its covariates",
        "window": min(site.window for site in sites.sites),
        "maf": settings.maf,
        "seed": settings.seed,
        "default": LINEAR,
        "mean_r2": dict(sorted((method, round(r2, 6)) for method, r2 in accuracy_of.iter_rows())),
        "names": list(together.names),
        "linear": linear,
        "method": None,
        "weights": None,
        "booster": None,
    }
    return json.loads(json.dumps(about))  # type: ignore[no-any-return]
