"""Polygenic scores of a gene in cis: learned in training people, cross-validated there, predicting everyone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.genetics.regression import marginal_association
from genopred.genetics.scores import BaselinePRS, ClumpThresholdPRS
from genopred.learning.evaluate import Outcome, scores
from genopred.types import SCORE_SCHEMA

METHODS = ("baseline-prs", "pt-prs")


@dataclass(frozen=True)
class Gene:
    """A gene's expression and the variants around it.

    Attributes
    ----------
    gene_id : str
    samples : array of str, shape (N,)
    dosage : array, shape (N, M)
        Copies of ALT, NaN where missing.
    variants : polars.DataFrame
        M rows: id, chrom, pos, ref, alt.
    expression : array, shape (N,)
        As measured.
    """

    gene_id: str
    samples: NDArray[np.str_]
    dosage: NDArray[np.float32]
    variants: pl.DataFrame
    expression: NDArray[np.float64]


@dataclass(frozen=True)
class GeneScores:
    """Both scores, and how they are learned.

    Attributes
    ----------
    train : array of bool, shape (N,)
        Whose expression makes the weights.
    folds : array of int, shape (n_train,)
        Fold of each of them in the outer cross-validation.
    covariates : array, shape (N, K), optional
    outcome : Outcome
        What is predicted of the expression.
    p_thresholds, r2_thresholds, kb, ld
        See `genopred.genetics.scores.ClumpThresholdPRS`.
    inner_folds, seed : int
    calibrate : bool
        Scale by a slope from inner cross-validation.
    """

    train: NDArray[np.bool_]
    folds: NDArray[np.int64]
    covariates: NDArray[np.float64] | None
    outcome: Outcome
    p_thresholds: tuple[float, ...]
    r2_thresholds: tuple[float, ...]
    kb: float
    ld: str
    inner_folds: int
    seed: int
    calibrate: bool

    def learn(self, gene: Gene) -> dict[str, pl.DataFrame]:
        """Weights, scores of everyone, accuracy and models of a gene: a table each, rows of both methods.

        Raises
        ------
        ModelError
            If the gene cannot be learned from.
        """
        train, raw = self.train, gene.expression
        y_train, y_rest = self.outcome.split(raw, self.covariates, train)
        observed = np.empty(len(raw))
        observed[train], observed[~train] = y_train, y_rest
        fold = np.full(len(raw), -1, dtype=np.int32)
        fold[train] = self.folds
        parts: dict[str, list[pl.DataFrame]] = {"weights": [], "scores": [], "accuracy": [], "models": []}
        for method in METHODS:
            cross, measured = self._cross_validate(method, gene)
            model = self._estimator(method, gene.variants).fit(gene.dosage[train], y_train)
            predicted = model.predict(gene.dosage)
            parts["weights"].append(_weights(gene, method, model, gene.dosage[train], y_train))
            parts["models"].append(_model(gene.gene_id, method, model))
            columns = {
                "gene_id": [gene.gene_id] * len(raw),
                "method": [method] * len(raw),
                "sample": gene.samples.tolist(),
                "set": np.where(train, "training", "held-out").tolist(),
                "fold": fold,
                "observed": observed,
                "cross_validated": pl.Series(cross).fill_nan(None),
                "predicted": predicted,
            }
            parts["scores"].append(pl.DataFrame(columns))
            accuracy = [("cross-validated", measured, cross[train])]
            if not train.all():
                accuracy.append(("held-out", observed[~train], predicted[~train]))
            for which, known, guess in accuracy:
                table = scores(gene.gene_id, known, {method: guess}, seed=self.seed)
                chosen = table.select("gene_id", "method", pl.lit(which).alias("set"), *list(SCORE_SCHEMA)[2:])
                parts["accuracy"].append(chosen)
        return {name: pl.concat(tables) for name, tables in parts.items()}

    def _estimator(self, method: str, variants: pl.DataFrame) -> BaselinePRS | ClumpThresholdPRS:
        common: dict[str, Any] = {"cv": self.inner_folds, "random_state": self.seed, "calibrate": self.calibrate}
        if method == "baseline-prs":
            return BaselinePRS(**common)
        positions = variants["pos"].to_numpy()
        return ClumpThresholdPRS(positions, self.p_thresholds, self.r2_thresholds, self.kb, self.ld, **common)

    def _cross_validate(self, method: str, gene: Gene) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Predictions (N,) of training people by models of the other folds, and what was measured (n_train,).

        Everything, transform and covariates included, is learned outside the fold.
        """
        people = np.flatnonzero(self.train)
        cross, measured = np.full(len(gene.expression), np.nan), np.empty(len(people))
        values, covariates = gene.expression[people], None if self.covariates is None else self.covariates[people]
        for fold in np.unique(self.folds):
            inside = self.folds != fold
            y_in, measured[~inside] = self.outcome.split(values, covariates, inside)
            model = self._estimator(method, gene.variants).fit(gene.dosage[people[inside]], y_in)
            cross[people[~inside]] = model.predict(gene.dosage[people[~inside]])
        return cross, measured


def _weights(
    gene: Gene, method: str, model: Any, dosage: NDArray[np.float32], expression: NDArray[np.float64]
) -> pl.DataFrame:
    marginal = marginal_association(dosage, expression)
    chosen = np.flatnonzero(model.coef_)
    return gene.variants[chosen].select(
        pl.lit(gene.gene_id).alias("gene_id"),
        pl.lit(method).alias("method"),
        pl.col("id").alias("variant_id"),
        "chrom",
        "pos",
        "ref",
        "alt",
        pl.Series("beta", marginal.slope[chosen]),
        pl.Series("pval", marginal.pval[chosen]),
        pl.Series("weight", model.coef_[chosen]),
        pl.lit(model.intercept_, pl.Float64).alias("intercept"),
    )


def _model(gene_id: str, method: str, model: Any) -> pl.DataFrame:
    row = {
        "gene_id": gene_id,
        "method": method,
        "variants": int(np.count_nonzero(model.coef_)),
        "slope": model.slope_,
        "intercept": model.intercept_,
        "p_threshold": getattr(model, "p_threshold_", None),
        "r2_threshold": getattr(model, "r2_threshold_", None),
    }
    return pl.DataFrame([row], schema_overrides={"p_threshold": pl.Float64, "r2_threshold": pl.Float64})
