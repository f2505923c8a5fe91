"""Models that leave a run: base learners fitted to everybody, how they are combined, and their predictions.

A stack whose learners are linear in dosage is itself one weight per variant (`collapse`); its predictions of any
number of people and genes are sums over one pass of the genotypes (`linear_predictions`). Trees and polynomials keep a
state in their library's own text, or in arrays: nothing here is a pickle.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import ModelError
from genopred.genetics.regression import marginal_association
from genopred.genetics.transform import known_means
from genopred.learning.evaluate import Outcome
from genopred.learning.kernel import PolynomialRegression
from genopred.learning.learners import GeneContext, Learner
from genopred.learning.stack import Meta, NNLSMeta, XGBoostMeta, boosted, load_booster
from genopred.learning.trees import LightGBMTrees, RandomForest, XGBoostTrees
from genopred.types import VARIANT, Genotypes

Array = NDArray[np.float64]

#: The method that is linear in dosage.
LINEAR = "stack-linear"

#: Variants whose dosages are in memory at once.
BLOCK = 512

#: People whose dosages are summed at once.
PART = 4096


@dataclass(frozen=True)
class Combination:
    """How base predictions become the stack's, learned from people held out of the outer folds.

    Attributes
    ----------
    names : tuple of str
        The B base learners that the stack was given.
    linear : dict of str to float
        Weights, above 0, of the learners of `LINEAR`.
    method : str or None
        The other stack that is kept, such as `stack-xgboost`; None where there is none.
    weights : array, shape (B,), optional
        Its weights.
    booster : str, optional
        The trees that correct their sum, as XGBoost writes them.
    """

    names: tuple[str, ...]
    linear: dict[str, float]
    method: str | None = None
    weights: Array | None = None
    booster: str | None = None

    @property
    def needed(self) -> tuple[str, ...]:
        """The base learners that have a part in any of it."""
        used = set(self.linear)
        if self.method is not None and self.weights is not None:
            used |= {name for name, weight in zip(self.names, self.weights) if weight}
            if self.booster is not None:
                columns = {int(key[1:]) for key in load_booster(self.booster).get_score()}
                used |= {name for i, name in enumerate(self.names) if i in columns}
        return tuple(name for name in self.names if name in used)


def combination(names: Sequence[str], last: Callable[[str], Meta], meta: str | None) -> Combination:
    """What is kept of a stack.

    Parameters
    ----------
    names : sequence of str
        Its base learners.
    last : callable
        The fitted meta-learner of a name, as `genopred.learning.pooled.Pooled.last`.
    meta : str, optional
        The meta-learner that is kept beside the linear one; those that are fitted gene by gene are not.
    """
    fitted = last("linear")
    linear = {name: float(w) for name, w in zip(names, fitted.weights_) if w > 0}  # type: ignore[attr-defined]
    if meta in (None, "linear", "nnls-per-gene", "xgboost-per-gene"):
        return Combination(tuple(names), linear)
    other, booster = last(meta), None
    if isinstance(other, XGBoostMeta):
        weights = other.nnls.weights_
        booster = None if other.booster_ is None else bytes(other.booster_.save_raw("json")).decode()
    elif isinstance(other, NNLSMeta):
        weights = other.weights_
    else:
        weights = np.full(len(names), 1 / len(names))
    return Combination(tuple(names), linear, f"stack-{meta}", np.asarray(weights), booster)


# --- fitting one gene --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fitted:
    """One base learner of one gene, fitted to everybody.

    Attributes
    ----------
    name : str
    intercept : float
    coef : array, shape (M,), optional
        Weights of one ALT copy, of a linear learner.
    kind : str
        `linear`, `xgboost`, `lightgbm` or `polynomial`.
    columns : array of int, optional
        Which of the M variants the state reads.
    payload : bytes
        Its state: JSON, text, or arrays as NumPy writes them.
    """

    name: str
    intercept: float
    coef: Array | None = None
    kind: str = "linear"
    columns: NDArray[np.int64] | None = None
    payload: bytes = b""

    def predict(self, dosage: NDArray[np.float32]) -> Array:
        """Predictions, shape (N,), of dosages without gaps: all M variants, or those of `columns`."""
        if self.coef is not None:
            return dosage.astype(np.float64) @ self.coef + self.intercept
        return self.intercept + _READ[self.kind](self.payload, dosage)


@dataclass(frozen=True)
class Everybody:
    """Base learners of one gene, fitted to everybody.

    Attributes
    ----------
    fitted : list of Fitted
        Without those that have no state to be kept.
    freq : array, shape (M,)
        Frequency of ALT.
    z : array, shape (M,)
        Of each variant's own association with the outcome.
    spread : callable
        Standard deviation among these people of the score of weights (M,).
    """

    fitted: list[Fitted]
    freq: Array
    z: Array
    spread: Callable[[Array], float]


def fit_everybody(
    x: NDArray[np.float32],
    raw: Array,
    covariates: Array | None,
    gene: GeneContext,
    learners: Sequence[Learner],
    outcome: Outcome,
) -> Everybody:
    """Fit base learners of one gene to everybody.

    Parameters
    ----------
    x : array, shape (N, M)
        Dosages, NaN where missing.
    raw : array, shape (N,)
        Expression.
    covariates : array, shape (N, K), optional
    gene : GeneContext
    learners : sequence of Learner
    outcome : Outcome
    """
    means = known_means(x)
    filled = np.where(np.isnan(x), means, x).astype(np.float32)
    y, _ = outcome.split(raw, covariates, np.ones(len(x), dtype=bool))
    fitted = [keep(learner, learner.make(gene).fit(filled, y)) for learner in learners if keepable(learner, gene)]
    alone = marginal_association(filled, y)

    def spread(coef: Array) -> float:
        return float((np.nan_to_num(x, nan=0.0).astype(np.float64) @ coef).std())

    return Everybody(fitted, np.asarray(means, dtype=np.float64) / 2, alone.tstat, spread)


def keepable(learner: Learner, gene: GeneContext) -> bool:
    """Whether what the learner learns can be written down here."""
    return learner.linear or isinstance(learner.make(gene), (PolynomialRegression, *_TREES))


def keep(learner: Learner, model: Any) -> Fitted:
    """The state of a fitted estimator."""
    if learner.linear:
        return Fitted(learner.name, float(model.intercept_), np.asarray(model.coef_, dtype=np.float64))
    if isinstance(model, (RandomForest, XGBoostTrees)):
        return Fitted(learner.name, model.mean_, None, "xgboost", model.columns_, bytes(model.model_.save_raw("json")))
    if isinstance(model, LightGBMTrees):
        return Fitted(
            learner.name, model.mean_, None, "lightgbm", model.columns_, model.model_.model_to_string().encode()
        )
    if isinstance(model, PolynomialRegression):
        held = io.BytesIO()
        np.savez_compressed(held, allow_pickle=False, **model.arrays())
        return Fitted(learner.name, 0.0, None, "polynomial", np.arange(model.n_features_in_), held.getvalue())
    raise ModelError(f"learner '{learner.name}' has no state that can be kept; leave it out, or use --no-models.")


_TREES = (RandomForest, XGBoostTrees, LightGBMTrees)


def _xgboost(payload: bytes, x: NDArray[np.float32]) -> Array:
    import xgboost

    return load_booster(payload).predict(xgboost.DMatrix(np.ascontiguousarray(x), nthread=1)).astype(np.float64)


def _lightgbm(payload: bytes, x: NDArray[np.float32]) -> Array:
    import lightgbm

    return np.asarray(lightgbm.Booster(model_str=payload.decode()).predict(x, num_threads=1), dtype=np.float64)


def _polynomial(payload: bytes, x: NDArray[np.float32]) -> Array:
    with np.load(io.BytesIO(payload), allow_pickle=False) as state:
        return PolynomialRegression.from_arrays(dict(state)).predict(x)


_READ: Mapping[str, Callable[[bytes, NDArray[np.float32]], Array]] = {
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "polynomial": _polynomial,
}


def collapse(fitted: Sequence[Fitted], weights: Mapping[str, float]) -> tuple[Array, float]:
    """One weight per variant, and the intercept, of a weighted sum of linear learners.

    Parameters
    ----------
    fitted : sequence of Fitted
    weights : mapping of str to float
        By the learners' names.

    Returns
    -------
    coef : array, shape (M,)
    intercept : float
    """
    used = [one for one in fitted if one.name in weights and one.coef is not None]
    if not used:
        raise ModelError("no linear learner has a weight in the stack.")
    coef = np.sum([weights[one.name] * np.asarray(one.coef) for one in used], axis=0)
    return coef, float(sum(weights[one.name] * one.intercept for one in used))


def score_variance(freq: str = "freq") -> pl.Expr:
    """Variance of each variant's part in a score, variants taken as independent: 2 f (1 - f) w².

    `freq` is the column of f, taken as 0.5 where it is not known; `weight` that of w.

    >>> pl.DataFrame({"freq": [0.5, None], "weight": [1.0, 2.0]}).select(score_variance()).to_series().to_list()
    [0.5, 2.0]
    """
    f = pl.col(freq).fill_null(0.5)
    return 2 * f * (1 - f) * pl.col("weight") ** 2


def coverage(about: pl.DataFrame, matched: pl.DataFrame) -> pl.DataFrame:
    """What was found of each gene's model, and what that leaves of its accuracy.

    Parameters
    ----------
    about : polars.DataFrame
        A row a gene (`genopred.types.MODEL_GENE_SCHEMA`).
    matched : polars.DataFrame
        The weights with `variance` (2 f (1 - f) w²), `column` (null where a variant is not among the genotypes) and
        `fate` (a word of `genopred.align.FATES`).

    Returns
    -------
    polars.DataFrame
        gene_id ... method, variants, found, matched, swapped, strand_flipped, ambiguous, alleles_differ, absent,
        variance_found, r2, r2_low, r2_high, r2_left, n, intercept.
    """
    fate, there = pl.col("fate"), pl.col("column").is_not_null()
    distinct = matched.unique(["gene_id", *VARIANT], maintain_order=True)
    counts = distinct.group_by("gene_id", maintain_order=True).agg(
        pl.len().alias("variants"),
        there.sum().alias("found"),
        (fate == "matched").sum().alias("matched"),
        fate.str.ends_with("swapped").sum().alias("swapped"),
        fate.str.starts_with("strand-flipped").sum().alias("strand_flipped"),
        fate.str.starts_with("ambiguous").sum().alias("ambiguous"),
        (fate == "alleles differ").sum().alias("alleles_differ"),
        (~there & ~fate.str.starts_with("ambiguous") & (fate != "alleles differ")).sum().alias("absent"),
    )
    share = matched.group_by("gene_id").agg(
        (pl.col("variance").filter(there).sum() / pl.col("variance").sum()).alias("variance_found")
    )
    out = about.drop("variants").join(counts, on="gene_id", how="inner", maintain_order="left")
    out = out.join(share, on="gene_id", how="left", maintain_order="left")
    plain = pl.when(pl.col("variance_found").is_nan()).then(pl.col("found") / pl.col("variants"))
    out = out.with_columns(variance_found=plain.otherwise(pl.col("variance_found")))
    out = out.with_columns(r2_left=pl.col("r2") * pl.col("variance_found"))
    first = ["gene_id", "gene_name", "chrom", "tss", "strand", "method", *counts.columns[1:], "variance_found"]
    return out.select(first + ["r2", "r2_low", "r2_high", "r2_left", "n", "intercept"] + [
        name for name in ("scale", "summary") if name in out.columns
    ])  # fmt: skip


def lost_between(matched: pl.DataFrame, promised: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Of each gene's R² what other people's missing variants and other frequencies take, by the variance of its score.

    Parameters
    ----------
    matched : polars.DataFrame
        gene_id, weight, freq (of ALT in training), here (among the others; NaN where a variant is not there).
    promised : mapping of str to float
        R² where the models were trained.

    Returns
    -------
    missing, frequency : dict of str to float
        Variants are taken as independent: of variance 2 f (1 - f) w².

    Examples
    --------
    >>> table = pl.DataFrame({"gene_id": "g", "weight": [1.0, 1.0], "freq": [0.5, 0.5], "here": [0.0, 0.1]})
    >>> [round(part["g"], 3) for part in lost_between(table, {"g": 0.2})]
    [0.1, 0.064]
    """
    there = (pl.col("here") > 0) & (pl.col("here") < 1)
    table = matched.with_columns(pl.col("here").fill_nan(0.0).fill_null(0.0)).group_by("gene_id").agg(
        score_variance().sum().alias("all"),
        score_variance().filter(there).sum().alias("there"),
        score_variance("here").filter(there).sum().alias("now"),
    )  # fmt: skip
    missing, frequency = {}, {}
    for gene, whole, left, now in table.iter_rows():
        r2 = promised.get(gene, 0.0)
        missing[gene] = r2 * (1 - left / whole) if whole else 0.0
        frequency[gene] = r2 * (left - now) / whole if whole else 0.0
    return missing, frequency


# --- predictions -----------------------------------------------------------------------------------------------------


def linear_predictions(
    genotypes: Genotypes,
    entries: pl.DataFrame,
    intercepts: Array,
    *,
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Array:
    """Predictions of many genes by their weights, in one pass over the genotypes.

    Parameters
    ----------
    genotypes : Genotypes
    entries : polars.DataFrame
        gene (index below G), column (among the variants of `genotypes`), weight (of ALT or, where `flipped`, of REF),
        flipped, and freq: the frequency of the counted allele, which stands in for a missing dosage; null for that of
        the people at hand.
    intercepts : array, shape (G,)
    threads : int
        Each sums for other people.
    progress : callable of (variants done, variants in all)

    Returns
    -------
    array, shape (G, N)
        A row a gene: memory is that of the result and one block of dosages.
    """
    n = genotypes.n_samples
    entries = entries.sort("column", maintain_order=True)
    sign = np.where(entries["flipped"].to_numpy(), -1.0, 1.0)
    column, gene, weight = (entries[name].to_numpy() for name in ("column", "gene", "weight"))
    freq = entries["freq"].to_numpy()
    # 2 - x copies of REF: the weight changes its sign, and twice of it goes to everyone
    start_at = np.array(intercepts, dtype=np.float64)
    np.add.at(start_at, gene[sign < 0], 2 * weight[sign < 0])
    total = np.repeat(start_at[:, None], n, 1)
    signed = weight * sign
    alt = np.where(sign < 0, 1 - freq, freq)
    distinct = np.unique(column)
    step = max(1, min(BLOCK, int(4e7 // max(n, 1))))
    firsts = range(0, n, PART)
    threads = max(1, min(threads, len(firsts)))
    held = np.empty((threads, step, min(n, PART)))
    for start in range(0, len(distinct), step):
        block = distinct[start : start + step]
        low, high = np.searchsorted(column, [block[0], block[-1] + 1])
        x = genotypes.compact(block).T
        at = np.searchsorted(block, column[low:high])
        lacking, means = _means(x, at, alt[low:high])
        genes, place = np.unique(gene[low:high], return_inverse=True)
        weights = np.zeros((len(genes), len(block)))
        np.add.at(weights, (place, at), signed[low:high])

        # as float64 only some people at a time: fresh memory costs more than the sums
        def sum_up(
            k: int, x: NDArray[Any] = x, weights: Array = weights, genes: NDArray[np.int64] = genes,
            lacking: NDArray[np.int64] = lacking, means: Array = means,
        ) -> None:  # fmt: skip
            for first in firsts[k::threads]:
                people = slice(first, min(first + PART, n))
                part = held[k, : len(x), : people.stop - first]
                part[:] = x[:, people]
                if len(lacking):
                    part[lacking] = np.where(_holes(x[lacking, people]), means[lacking, None], part[lacking])
                total[genes, people] += weights @ part

        _in_threads(sum_up, threads)
        progress(min(start + step, len(distinct)), len(distinct))
    return total


def dosage_moments(genotypes: Genotypes, columns: pl.Series) -> pl.DataFrame:
    """Mean and standard deviation of dosages: column, mean, sd; of each distinct variant of `columns` that is known."""
    distinct = columns.drop_nulls().unique().sort()
    mean, sd = np.empty(len(distinct)), np.empty(len(distinct))
    step = max(1, min(BLOCK, int(4e7 // max(genotypes.n_samples, 1))))
    for start in range(0, len(distinct), step):
        x = genotypes.dosage(distinct[start : start + step].to_numpy()).astype(np.float64)
        mean[start : start + step] = known_means(x)
        sd[start : start + step] = np.nanstd(x, axis=0)
    return pl.DataFrame({"column": distinct, "mean": mean, "sd": sd})


def per_allele(genotypes: Genotypes, entries: pl.DataFrame) -> pl.DataFrame:
    """Weights per standard deviation of a genotype as weights of one allele copy, in these people.

    Parameters
    ----------
    genotypes : Genotypes
    entries : polars.DataFrame
        As of `linear_predictions`; variants that do not vary here get weight 0.

    Returns
    -------
    polars.DataFrame
        The same with `weight` divided by the standard deviation, and `freq` that of these people.
    """
    out = entries.join(dosage_moments(genotypes, entries["column"]), on="column", how="left", maintain_order="left")
    freq = pl.when("flipped").then(1 - pl.col("mean") / 2).otherwise(pl.col("mean") / 2)
    weight = pl.when(pl.col("sd") > 0).then(pl.col("weight") / pl.col("sd")).otherwise(0.0)
    return out.with_columns(freq=freq, weight=weight).drop("mean", "sd")


def _in_threads(function: Callable[[int], None], threads: int) -> None:
    """Call a function with 0, 1, ... in a thread each."""
    if threads == 1:
        function(0)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(function, range(threads)))


def _holes(x: NDArray[Any]) -> NDArray[np.bool_]:
    """Where genotypes, as `Genotypes.compact` gives them, are missing."""
    return x < 0 if x.dtype == np.int8 else np.isnan(x)


def _means(x: NDArray[Any], at: NDArray[np.int64], freq: Array) -> tuple[NDArray[np.int64], Array]:
    """Which variants (rows) have gaps, and what fills them: twice the frequency in training, or else the mean of the
    people at hand."""
    gaps = x.min(axis=1) < 0 if x.dtype == np.int8 else np.isnan(x).any(axis=1)
    lacking = np.flatnonzero(gaps)
    means = np.full(len(x), np.nan)
    means[at] = 2 * freq
    for row in lacking[np.isnan(means[lacking])]:
        means[row] = known_means(np.where(_holes(x[row]), np.nan, x[row].astype(np.float64))[:, None])[0]
    return lacking, means


@dataclass(frozen=True)
class Base:
    """What one gene's base predictions need: its variants among the genotypes, and the learners.

    Attributes
    ----------
    column : array of int, shape (M,)
        Where each variant is among the genotypes; -1 where it is not: it then counts as its mean in training.
    flipped : array of bool, shape (M,)
        Whether the genotypes count the other allele.
    freq : array, shape (M,)
        Of ALT, in training.
    states : tuple of (learner, kind, intercept, payload)
    parts : mapping of learner to (indices into the M variants, weights)
        Weights are not read where the kind is not `linear`.
    summary, scale
        What the trees of the stack read besides; see `boosted`.
    """

    column: NDArray[np.int64]
    flipped: NDArray[np.bool_]
    freq: Array
    states: tuple[tuple[str, str, float, bytes], ...]
    parts: Mapping[str, tuple[NDArray[np.int64], Array]]
    summary: Array | None = None
    scale: float = 1.0

    def dosage(self, genotypes: Genotypes) -> NDArray[np.float32]:
        """Copies of the models' ALT, shape (N, M), without gaps."""
        x = np.empty((genotypes.n_samples, len(self.column)), dtype=np.float32)
        x[:] = 2 * self.freq
        there = np.flatnonzero(self.column >= 0)
        if len(there):
            read = genotypes.dosage(self.column[there])
            read = np.where(self.flipped[there], 2 - read, read)
            x[:, there] = np.where(np.isnan(read), x[:, there], read)
        return x


#: People whose predictions by trees are made at a time.
PEOPLE = 20_000


def stacked_predictions(
    genotypes: Genotypes,
    genes: Sequence[Base],
    kept: Combination,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Array:
    """Predictions of a stack that is more than weights, gene by gene, shape (G, N).

    Parameters
    ----------
    genotypes : Genotypes
    genes : sequence of Base
    kept : Combination
    progress : callable of (done, total)
    """
    if kept.weights is None:
        raise ModelError("only the linear stack was kept.")
    booster = None if kept.booster is None else load_booster(kept.booster)
    total = np.empty((len(genes), genotypes.n_samples))
    for g, gene in enumerate(genes):
        for start in range(0, genotypes.n_samples, PEOPLE):
            names = genotypes.samples[start : start + PEOPLE]
            x = gene.dosage(genotypes.select(names))
            p = np.zeros((len(names), len(kept.names)))
            for name, kind, intercept, payload in gene.states:
                at, weight = gene.parts[name]
                coef = weight if kind == "linear" else None
                p[:, kept.names.index(name)] = Fitted(name, intercept, coef, kind, at, payload).predict(x[:, at])
            if booster is None or gene.summary is None:
                total[g, start : start + PEOPLE] = p @ kept.weights
            else:
                total[g, start : start + PEOPLE] = boosted(booster, kept.weights, p, gene.summary, gene.scale)
        progress(g + 1, len(genes))
    return total
