"""Nested cross-validation of one gene, and what is said of its held-out predictions.

Whatever sees expression is fitted inside the training people of an outer fold: the transform, the covariates'
coefficients, association, tuning, calibration, the meta-learner.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata, t, wilcoxon
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, QuantileTransformer, StandardScaler

from genopred.errors import GenopredError, ModelError, check_choice, examples
from genopred.genetics.correlation import pearson
from genopred.genetics.transform import Residualiser, inverse_normal, known_means
from genopred.learning.elasticnet import assign_folds
from genopred.learning.learners import GeneContext, Learner
from genopred.learning.stack import BaseFit, GeneFold, centre_within, fit_base
from genopred.learning.streamed import Blocks, OuterFold, fit_streamed
from genopred.types import SCORE_SCHEMA

Array = NDArray[np.float64]

TRANSFORMS = ("inverse-normal", "quantile", "zscore", "log1p", "none")
RESIDUALIZE = ("fold", "global", "none")
#: Columns of `compare`.
COMPARISON_SCHEMA = dict.fromkeys(("gene_id", "method", "reference"), pl.String) | dict.fromkeys(
    ("delta_r2", "delta_low", "delta_high", "pval"), pl.Float64
)
FEATURE_TRANSFORMS = ("none", "zscore", "quantile", "log1p")
#: Quantiles of the resamples at which a 95 % interval ends.
_ENDS = (0.025, 0.975)
#: Bytes that the bootstrap's draws take at once, however many people there are.
DRAWN_BYTES = 2**26


def outer_folds(n: int, k: int, seed: int = 0, strata: ArrayLike | None = None) -> NDArray[np.int64]:
    """Which of k outer folds, sizes as equal as possible, each of n people is in, shape (n,).

    Each fold gets equal shares of the groups (ancestry, batch) in `strata`, shape (n,). Fewer people than folds are a
    ModelError.

    >>> np.bincount(outer_folds(11, 5)).tolist()
    [3, 2, 2, 2, 2]
    """
    if n < k:
        raise ModelError(f"{n} people cannot be split into {k} outer folds; ask for at most {n} with --outer-folds.")
    if strata is None:
        return assign_folds(n, k, seed)
    groups = np.asarray(strata)
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(np.flatnonzero(groups == name)) for name in np.unique(groups)])
    out = np.empty(n, dtype=np.int64)
    out[order] = np.arange(n) % k
    return out


@dataclass(frozen=True)
class Outcome:
    """How a gene's expression becomes what is predicted.

    Attributes
    ----------
    transform : str
        One of `TRANSFORMS`. 'quantile' is done over genes beforehand and is 'none' here.
    residualize : str
        'fold': covariates' coefficients are learned from the training people. 'global': transform, covariates and
        scaling over everyone at once, the usual TWAS practice. 'none': covariates are not used.
    """

    transform: str = "inverse-normal"
    residualize: str = "fold"

    def __post_init__(self) -> None:
        check_choice("transform", self.transform, TRANSFORMS)
        check_choice("residualize", self.residualize, RESIDUALIZE)

    def split(self, raw: Array, covariates: Array | None, train: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Phenotype of the training people and of the others, in units of the training spread.

        Of one gene's expression (N,) and covariates (N, K); who is in training is True in `train` (N,).
        """
        fit = np.ones(len(raw), dtype=bool) if self.residualize == "global" else train
        y = self._transform(raw, fit)
        if covariates is not None and self.residualize != "none" and covariates.shape[1]:
            residualiser = Residualiser().fit(y[fit], covariates[fit])
            if residualiser.rank_ >= fit.sum():
                raise ModelError(
                    f"{covariates.shape[1]} covariates leave no degrees of freedom in {int(fit.sum())} training "
                    "people: they explain any expression. Use fewer (--n-covariates, --covar-name)."
                )
            y = residualiser.transform(y, covariates)
        scale = y[fit].std()
        if not scale > 1e-12:
            raise ModelError("expression does not vary among the training people.")
        y = (y - y[fit].mean()) / scale
        return y[train], y[~train]

    def _transform(self, raw: Array, fit: NDArray[np.bool_]) -> Array:
        if self.transform == "inverse-normal":
            # a held-out person's rank is looked up among the training people, who are ranked without them
            ordered, n = np.sort(raw[fit]), fit.sum()
            below, upto = (np.searchsorted(ordered, raw[~fit], side) for side in ("left", "right"))
            out = np.empty(len(raw))
            out[fit] = inverse_normal(raw[fit])
            out[~fit] = norm.ppf(np.clip((below + upto) / 2.0, 0.5, n - 0.5) / n)
            return out
        if self.transform == "log1p":
            if (raw < 0).any():
                raise GenopredError("--transform log1p: expression has negative values; choose another transform.")
            return np.log1p(raw)
        return np.asarray(raw, dtype=np.float64)


@dataclass(frozen=True)
class Preparation:
    """What is done to features before any learner sees them; all of it is learned from the training people.

    Attributes
    ----------
    transform : str
        'none'; 'zscore'; 'quantile': each feature to a normal distribution by its training quantiles;
        'log1p': log(1 + x), for negative values -log(1 - x).
    components : int, optional
        Replace the features by so many leading principal components of the standardised ones.
    """

    transform: str = "none"
    components: int | None = None

    def __post_init__(self) -> None:
        check_choice("feature-transform", self.transform, FEATURE_TRANSFORMS)
        if self.components is not None and self.components < 1:
            raise GenopredError(f"--feature-components {self.components}: at least 1 is needed.")

    def split(
        self, train: NDArray[np.float32], test: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features of the training people and of the held-out people, prepared alike."""
        steps: list[Any] = []
        if self.transform == "quantile":
            steps.append(QuantileTransformer(n_quantiles=min(len(train), 1000), output_distribution="normal"))
        elif self.transform == "log1p":
            steps.append(FunctionTransformer(lambda x: np.sign(x) * np.log1p(np.abs(x))))
        if self.transform == "zscore" or self.components is not None:
            steps.append(StandardScaler())
        if self.components is not None:
            steps.append(PCA(min(self.components, *train.shape), svd_solver="full"))
        if not steps:
            return train, test
        pipeline = make_pipeline(*steps).fit(train)
        return pipeline.transform(train).astype(np.float32), pipeline.transform(test).astype(np.float32)


@dataclass(frozen=True)
class Block:
    """Inputs of one kind: `values` (N, F), NaN where missing, the learners that work on them, and their preparation.

    In place of the values `Blocks` of genotypes, which are read in blocks of people.
    """

    name: str
    values: NDArray[np.float32] | Blocks
    learners: tuple[Learner, ...]
    preparation: Preparation | None = None

    def column(self, learner: Learner) -> str:
        """Name of a learner's predictions: plain for genotypes, `learner@block` for anything else."""
        return learner.name if self.name == "genotype" else f"{learner.name}@{self.name}"


@dataclass(frozen=True)
class GeneResult:
    """Base predictions of one gene in all outer folds.

    Attributes
    ----------
    names : tuple of str
        The B base learners.
    fold : array of int, shape (R,)
        Outer fold of each row.
    inner : array of int, shape (R,)
        Inner fold of a training row; -1 for a held-out person.
    person : array of int, shape (R,)
        Index of the person.
    observed : array, shape (R,)
        Phenotype, in units of the training spread of that outer fold.
    base : array, shape (R, B)
        Out-of-fold predictions (training rows) and predictions of held-out people.
    seconds : array, shape (B,)
        CPU time that each base learner took, all folds together; None where it was not measured.
    """

    names: tuple[str, ...]
    fold: NDArray[np.int64]
    inner: NDArray[np.int64]
    person: NDArray[np.int64]
    observed: Array
    base: Array
    seconds: Array | None = None

    def gene_fold(self, fold: int) -> GeneFold:
        """What the meta-learner of one outer fold gets."""
        rows = self.fold == fold
        train, test = rows & (self.inner >= 0), rows & (self.inner < 0)
        inner = self.inner[train]
        mean = float(self.observed[train].mean())
        oof = centre_within(self.base[train], inner)
        return GeneFold(self.names, oof, centre_within(self.observed[train], inner), self.base[test] - mean, mean)

    def everybody(self) -> GeneFold:
        """What a meta-learner for models of everybody gets: each person as predicted when held out, nobody to predict.

        The outer folds take the place of the inner ones.
        """
        rows = self.inner < 0
        fold = self.fold[rows]
        oof, y = centre_within(self.base[rows], fold), centre_within(self.observed[rows], fold)
        return GeneFold(self.names, oof, y, self.base[:0], 0.0)


def nested_base(
    blocks: Sequence[Block],
    raw: Array,
    covariates: Array | None,
    folds: NDArray[np.int64],
    gene: GeneContext,
    *,
    outcome: Outcome | None = None,
    inner_folds: int = 5,
    only: Sequence[int] | None = None,
    at_once: int = 1,
) -> GeneResult:
    """Fit every base learner of one gene in every outer fold.

    `raw` is the expression (N,), beside covariates (N, K), and `folds` has each person's outer fold (N,). `gene` has
    the positions of the genotype block's columns, the TSS and the seed. With `only` no other outer folds are computed,
    to see what they cost. Where people are read in blocks, so many outer folds are done `at_once`.
    """
    outcome = outcome or Outcome()
    names = tuple(block.column(learner) for block in blocks for learner in block.learners)
    if len(set(names)) < len(names):
        raise ModelError(f"learners are named twice: {', '.join(names)}.")
    chosen = [int(fold) for fold in (np.unique(folds) if only is None else only)]
    parts = []
    seconds = np.zeros(len(names))
    for start in range(0, len(chosen), at_once):
        outer = [
            outer_fold(fold, raw, covariates, folds, gene, outcome, inner_folds)
            for fold in chosen[start : start + at_once]
        ]
        fits: list[list[BaseFit]] = [[] for _ in outer]
        first = 0
        for block in blocks:
            found, taken = _fit_block(block, outer)
            seconds[first : first + len(taken)] += taken
            first += len(taken)
            for mine, more in zip(fits, found):
                mine += more
        for one, mine in zip(outer, fits):
            inner_of = np.concatenate([one.inner, np.full(len(one.y_test), -1)])
            person = np.concatenate([np.flatnonzero(one.train), np.flatnonzero(~one.train)])
            base = np.vstack([np.column_stack(part) for part in zip(*mine)])
            observed = np.concatenate([one.y_train, one.y_test])
            parts.append((np.full(len(folds), one.fold), inner_of, person, observed, base))
    fold_of, inner_of, person, observed, base = (np.concatenate(column) for column in zip(*parts))
    bad = [name for name, column in zip(names, base.T) if not np.isfinite(column).all()]
    if bad:
        raise ModelError(f"learners returned predictions that are not finite: {examples(bad)}.")
    return GeneResult(names, fold_of, inner_of, person, observed, base, seconds)


def outer_fold(
    fold: int,
    raw: Array,
    covariates: Array | None,
    folds: NDArray[np.int64],
    gene: GeneContext,
    outcome: Outcome,
    inner_folds: int,
) -> OuterFold:
    """Who learns from whom in one outer fold, and the outcome in it."""
    train = folds != fold
    y_train, y_test = outcome.split(raw, covariates, train)
    inner = assign_folds(len(y_train), inner_folds, _mix(gene.seed, fold))
    context = GeneContext(gene.positions, gene.tss, _mix(gene.seed, fold, 1))
    return OuterFold(fold, train, y_train, y_test, inner, context)


def _fit_block(block: Block, outer: Sequence[OuterFold]) -> tuple[list[list[BaseFit]], Array]:
    """The base learners of one block in some outer folds, and the CPU seconds of each."""
    if isinstance(block.values, Blocks):
        return fit_streamed(block.values, block.learners, outer)
    seconds, out = np.zeros(len(block.learners)), []
    for one in outer:
        fits = []
        x_train, x_test = fill_missing(block.values[one.train], block.values[~one.train])
        if block.preparation is not None:
            x_train, x_test = block.preparation.split(x_train, x_test)
        for i, learner in enumerate(block.learners):
            started = time.process_time()
            fits.append(fit_base(learner.make(one.gene), x_train, one.y_train, x_test, one.inner))
            seconds[i] += time.process_time() - started
        out.append(fits)
    return out, seconds


def _mix(*numbers: int) -> int:
    """A seed from numbers, the same on every machine."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def fill_missing(
    train: NDArray[np.float32], test: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Missing values replaced by the column's mean over the training people (0 where all of them lack it)."""
    holes, holes_test = np.isnan(train), np.isnan(test)
    if not (holes.any() or holes_test.any()):
        return train, test
    mean = known_means(train)
    return np.where(holes, mean, train).astype(np.float32), np.where(holes_test, mean, test).astype(np.float32)


# --- what is said of predictions ------------------------------------------------------------------------------


def _draws(n: int, resamples: int, seed: int) -> Iterator[Array]:
    """How often each of n is in each bootstrap resample: resamples in order, (some, n) of them at a time."""
    rng = np.random.default_rng(seed)
    # drawn as whole numbers, then floats: twice eight bytes. BLAS sums rows eight at a time, so that the last bits of
    # what is made of them do not hang on how many there are at once
    some = max(8, DRAWN_BYTES // (16 * max(n, 1)) // 8 * 8)
    for start in range(0, resamples, some):
        drawn = rng.multinomial(n, np.full(n, 1 / n), size=min(some, resamples - start))
        yield drawn.astype(np.float64)


def _resampled(values: Sequence[Array], resamples: int, seed: int) -> Array:
    """Sums of some values (n,) of n people over the same bootstrap resamples of them, shape (V, resamples)."""
    out = np.empty((len(values), resamples))
    start = 0
    for weights in _draws(len(values[0]), resamples, seed):
        for row, value in zip(out, values):
            row[start : start + len(weights)] = weights @ value
        start += len(weights)
    return out


def scores(
    gene_id: str, observed: Array, predicted: dict[str, Array], *, resamples: int = 1000, seed: int = 0
) -> pl.DataFrame:
    """Accuracy of each method's pooled held-out predictions (N,) of one gene: columns of `SCORE_SCHEMA`.

    R² is 1 − SSE/SST over all held-out people together; it is negative where the mean would have done better. Its 95 %
    interval is of bootstrap resamples over people, the same for every method. `signed_r2` is the squared correlation
    with the correlation's sign.

    >>> y = np.arange(8.0)
    >>> scores("g", y, {"perfect": y, "mean": np.full(8, 3.5)}, resamples=50)["r2"].to_list()
    [1.0, 0.0]
    """
    n = len(observed)
    centred = observed - observed.mean()
    sst = float(centred @ centred)
    errors = [observed - values for values in predicted.values()]
    squares, sums, *boots = _resampled([centred**2, centred, *(error**2 for error in errors)], resamples, seed)
    sst_boot = squares - sums**2 / n
    rows = []
    for (method, values), error, of in zip(predicted.items(), errors, boots):
        r2 = 1.0 - float(error @ error) / sst if sst > 0 else 0.0
        boot = 1.0 - of / np.maximum(sst_boot, 1e-12)
        low, high = np.quantile(boot, _ENDS) if resamples else (np.nan, np.nan)
        # what does not vary is not correlated with anything
        r, rho = (
            float(pearson(a, b, constant=0.0, least=1e-12))
            for a, b in ((observed, values), (rankdata(observed), rankdata(values)))
        )
        mse, mae = float((error**2).mean()), float(np.abs(error).mean())
        rows.append((gene_id, method, n, r2, float(low), float(high), r, rho, float(np.sign(r) * r * r), mse, mae))
    return pl.DataFrame(rows, schema=SCORE_SCHEMA, orient="row")


def compare(
    gene_id: str, observed: Array, predicted: dict[str, Array], reference: str, *, resamples: int = 1000, seed: int = 0
) -> pl.DataFrame:
    """Each method against a reference on the same held-out people of one gene, by a paired bootstrap over them.

    Columns of `COMPARISON_SCHEMA`: delta_r2 is R² minus that of the reference, which has no row itself; delta_low and
    delta_high end its 95 % interval; pval is two-sided, of no difference, and not below 2 / (resamples + 1).

    >>> y = np.arange(20.0)
    >>> table = compare("g", y, {"good": y + np.sin(y), "mean": np.full(20, 9.5)}, "mean", resamples=200)
    >>> table["method"].to_list(), bool(table["delta_low"][0] > 0)
    (['good'], True)
    """
    n = len(observed)
    centred = observed - observed.mean()
    base = (observed - predicted[reference]) ** 2
    gains = {name: base - (observed - values) ** 2 for name, values in predicted.items() if name != reference}
    squares, sums, *boots = _resampled([centred**2, centred, *gains.values()], resamples, seed)
    sst = np.maximum(squares - sums**2 / n, 1e-12)
    rows = []
    for (method, gain), of in zip(gains.items(), boots):
        boot = of / sst
        tail = 1 + min(int((boot <= 0).sum()), int((boot >= 0).sum()))
        low, high = np.quantile(boot, _ENDS)
        delta = float(gain.sum() / max(centred @ centred, 1e-12))
        pval = 1.0 if not gain.any() else min(1.0, 2 * tail / (resamples + 1))
        rows.append((gene_id, method, reference, delta, float(low), float(high), pval))
    return pl.DataFrame(rows, schema=COMPARISON_SCHEMA, orient="row")


def add_fdr(table: pl.DataFrame) -> pl.DataFrame:
    """`compare`'s tables of many genes with `qval`: Benjamini-Hochberg over the genes of each method."""
    parts = [
        part.with_columns(pl.Series("qval", benjamini_hochberg(part["pval"].to_numpy())))
        for part in table.partition_by("method", maintain_order=True)
    ]
    return pl.concat(parts) if parts else table.with_columns(pl.lit(None, pl.Float64).alias("qval"))


def correlation_pvalue(r: ArrayLike, n: ArrayLike) -> Array:
    """One-sided p-value of a positive Pearson correlation (a negative one is no success of a prediction)."""
    r = np.clip(np.asarray(r, dtype=np.float64), -1 + 1e-15, 1 - 1e-15)
    df = np.asarray(n, dtype=np.float64) - 2
    return t.sf(r * np.sqrt(df / (1 - r**2)), df)


def benjamini_hochberg(p: ArrayLike) -> Array:
    """False-discovery-rate adjusted p-values.

    >>> benjamini_hochberg([0.01, 0.02, 0.9]).round(3).tolist()
    [0.03, 0.03, 0.9]
    """
    from statsmodels.stats.multitest import multipletests

    return np.asarray(multipletests(np.asarray(p, dtype=np.float64), method="fdr_bh")[1])


def summarise(table: pl.DataFrame, reference: str, *, resamples: int = 10_000, seed: int = 0) -> pl.DataFrame:
    """Accuracy over genes of each method in a table of `scores`, and its difference from a reference on the same genes.

    The 95 % intervals are of bootstrap resamples over genes, the same for every method, so that the interval of the
    difference is paired.

    Returns
    -------
    polars.DataFrame
        One row a method, best mean R² first: method, n_genes, mean_r2, mean_r2_low, mean_r2_high,
        mean_signed_r2, mean_pearson, mean_spearman, mean_mse, mean_mae, n_significant (genes with a positive
        correlation at FDR 5 %), delta_r2, delta_low, delta_high (mean difference of R² from the reference),
        p_wilcoxon (signed ranks of the genes' differences), reference. With one gene there is no spread over
        genes: intervals and p are NaN, and `compare` has the interval over people.
    """
    wide = table.pivot(on="method", index="gene_id", values="r2")
    methods = [name for name in wide.columns if name != "gene_id"]
    if reference not in methods:
        raise GenopredError(f"reference method '{reference}' is not among {', '.join(methods)}.")
    values = wide.select(methods).to_numpy()
    if np.isnan(values).any():
        raise GenopredError("scores: every method needs a score for every gene.")
    g = len(values)
    boot = np.vstack([weights / g @ values for weights in _draws(g, resamples, seed)])
    base = methods.index(reference)
    rows = []
    for i, method in enumerate(methods):
        of = table.filter(pl.col("method") == method)
        delta = values[:, i] - values[:, base]
        q = benjamini_hochberg(correlation_pvalue(of["pearson"].to_numpy(), of["n"].to_numpy()))
        row: dict[str, Any] = {"method": method, "n_genes": g, "mean_r2": float(values[:, i].mean())}
        row["mean_r2_low"], row["mean_r2_high"] = np.quantile(boot[:, i], _ENDS).tolist()
        row |= {f"mean_{name}": of[name].mean() for name in ("signed_r2", "pearson", "spearman", "mse", "mae")}
        row |= {"n_significant": int((q < 0.05).sum()), "delta_r2": float(delta.mean())}
        row["delta_low"], row["delta_high"] = np.quantile(boot[:, i] - boot[:, base], _ENDS).tolist()
        row["p_wilcoxon"] = float(wilcoxon(delta).pvalue) if np.any(delta != 0) else 1.0
        rows.append(row | {"reference": reference})
    table = pl.DataFrame(rows).sort("mean_r2", descending=True)
    over_genes = ("mean_r2_low", "mean_r2_high", "delta_low", "delta_high", "p_wilcoxon")
    return table.with_columns(pl.lit(float("nan")).alias(name) for name in over_genes) if g == 1 else table
