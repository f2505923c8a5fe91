"""Base learners' out-of-fold predictions, and the meta-learners that combine them.

A meta-learner sees each training person only through predictions of base models that were fitted without that
person. It is fitted once over all genes and the training people of one outer fold, because the people of one gene
are too few for it; a person held out is held out for every gene.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from sklearn.base import clone

from genopred.errors import ModelError, no_choice

Array = NDArray[np.float64]

#: Pseudo-rows by which the weights shipped with the package count beside the rows at hand.
PRIOR_ROWS = 10_000
#: Fewer genes than this, and the pooled XGBoost is the one shipped with the package.
MIN_GENES_POOLED = 20
#: Genes that the pooled XGBoost learns from at most; more only cost memory.
MAX_GENES_POOLED = 2_000
#: People, summed over these genes, that it learns from at most.
MAX_ROWS_POOLED = 2_000_000


class BaseFit(NamedTuple):
    """Out-of-fold predictions of the training people, and the held-out people's by the model of all training people."""

    oof: Array
    test: Array


def fit_base(
    estimator: Any, x: NDArray[np.float32], y: Array, x_test: NDArray[np.float32], folds: NDArray[np.int64]
) -> BaseFit:
    """Fit one base learner to the training people of an outer fold, and inside it out of its inner folds.

    The estimator is an unfitted regressor of scikit-learn's kind, whose ``fit_oof(X, y, folds)`` is used where it has
    one.
    """
    if hasattr(estimator, "fit_oof"):
        oof = np.asarray(estimator.fit_oof(x, y, folds), dtype=np.float64)
        fitted = estimator
    else:
        oof = np.empty(len(y))
        for name in np.unique(folds):
            out = folds == name
            oof[out] = clone(estimator).fit(x[~out], y[~out]).predict(x[out])
        fitted = clone(estimator).fit(x, y)
    return BaseFit(oof, np.asarray(fitted.predict(x_test), dtype=np.float64))


def centre_within(values: Array, folds: NDArray[np.int64]) -> Array:
    """Values minus the mean of their fold, column by column."""
    out = np.array(values, dtype=np.float64)
    for name in np.unique(folds):
        out[folds == name] -= out[folds == name].mean(axis=0)
    return out


@dataclass(frozen=True)
class GeneFold:
    """One gene in one outer fold, as the meta-learner gets it.

    Attributes
    ----------
    names : tuple of str
        The B base learners.
    oof : array, shape (n_train, B)
        Out-of-fold base predictions, centred within each inner fold: the mean that a fold was predicted with leans
        away from the fold's own, which alone would make them go against the phenotype.
    y : array, shape (n_train,)
        Phenotype of the training people, centred within each inner fold.
    test : array, shape (n_test, B)
        Base predictions of the held-out people minus the training mean.
    mean : float
        The training mean.
    """

    names: tuple[str, ...]
    oof: Array
    y: Array
    test: Array
    mean: float

    def calibrated(self, learner: int) -> Array:
        """Held-out predictions of one base learner, scaled by the slope of its out-of-fold predictions.

        The meta-learner gets them unscaled: the slope has seen every training person, so scaled out-of-fold
        predictions would no longer be out of fold.
        """
        p = self.oof[:, learner]
        square = float(p @ p)
        slope = float(np.clip((p @ self.y) / square, 0.0, 2.0)) if square > 1e-12 else 0.0
        return self.mean + slope * self.test[:, learner]

    def summary(self) -> Array:
        """Inner r, slope and spread of each base learner, and their consensus, shape (3 B,)."""
        p = self.oof - self.oof.mean(axis=0)
        sd = p.std(axis=0)
        sy = self.y.std()
        with np.errstate(invalid="ignore", divide="ignore"):
            cov = (p * self.y[:, None]).mean(axis=0)
            r = np.where((sd > 1e-9) & (sy > 0), cov / (sd * sy), 0.0)
            slope = np.where(sd > 1e-9, cov / sd**2, 0.0)
        return np.concatenate([r, np.clip(slope, -2.0, 3.0), sd])


Folds = Callable[[], Iterable[GeneFold]]


class Meta:
    """A meta-learner: learns from the `GeneFold`s of one outer fold, then predicts each gene's held-out people."""

    name = "meta"

    def fit(self, genes: Folds) -> Meta:
        """Learn from all genes; `genes()` can be walked through more than once, one gene in memory at a time."""
        return self

    def predict(self, gene: GeneFold) -> Array:
        """Predictions of the held-out people, shape (n_test,), the training mean included."""
        raise NotImplementedError


class MeanMeta(Meta):
    """The plain mean of the base predictions."""

    name = "mean"

    def predict(self, gene: GeneFold) -> Array:
        return gene.mean + gene.test.mean(axis=1)


@dataclass
class Moments:
    """Sums of products of base predictions with each other and with the phenotype, over rows."""

    names: tuple[str, ...]
    gram: Array
    cross: Array
    rows: float

    @classmethod
    def of(cls, genes: Iterable[GeneFold]) -> Moments:
        """Accumulate over genes, each scaled to a phenotype variance of 1; refused where there is none."""
        total: Moments | None = None
        for gene in genes:
            scale = gene.y.std() or 1.0
            p, y = gene.oof / scale, gene.y / scale
            if total is None:
                b = len(gene.names)
                total = cls(gene.names, np.zeros((b, b)), np.zeros(b), 0.0)
            total.gram += p.T @ p
            total.cross += p.T @ y
            total.rows += len(y)
        if total is None:
            raise ModelError("the stack has no gene to learn from.")
        return total

    def plus_prior(self, prior: Moments | None, rows: float) -> Moments:
        """These moments with `rows` pseudo-rows of `prior` added.

        A learner that the prior does not know is given the mean spread of the others and no relation to
        anything, so that it starts from weight 0.
        """
        if prior is None or prior.rows <= 0:
            return self
        mine = [i for i, name in enumerate(self.names) if name in prior.names]
        its = [prior.names.index(self.names[i]) for i in mine]
        gram, cross = np.eye(len(self.names)) * np.diag(prior.gram).mean(), np.zeros(len(self.names))
        gram[np.ix_(mine, mine)], cross[mine] = prior.gram[np.ix_(its, its)], prior.cross[its]
        factor = rows / prior.rows
        return Moments(self.names, self.gram + factor * gram, self.cross + factor * cross, self.rows + rows)

    def of_learners(self, which: NDArray[np.bool_]) -> Moments:
        """The same of some of the learners."""
        names = tuple(name for name, used in zip(self.names, which) if used)
        return Moments(names, self.gram[np.ix_(which, which)], self.cross[which], self.rows)

    def nnls(self) -> Array:
        """Non-negative least squares weights, shape (B,)."""
        b = len(self.names)
        # a hair of ridge keeps learners that say the same thing from splitting their weight at random
        gram = self.gram + np.eye(b) * 1e-6 * max(float(np.trace(self.gram)) / b, 1e-12)
        factor = np.linalg.cholesky(gram)
        return nnls(factor.T, np.linalg.solve(factor, self.cross))[0]


class NNLSMeta(Meta):
    """Non-negative least squares weights, pooled over genes, with the shipped weights as prior pseudo-rows."""

    name = "nnls"

    def __init__(self, prior: Moments | None = None, prior_rows: float = PRIOR_ROWS) -> None:
        self.prior = prior
        self.prior_rows = prior_rows

    def fit(self, genes: Folds) -> NNLSMeta:
        self.weights_ = self._weights(Moments.of(genes()).plus_prior(self.prior, self.prior_rows))
        return self

    def _weights(self, moments: Moments) -> Array:
        return moments.nnls()

    def margin(self, p: Array) -> Array:
        """Weighted sum of centred base predictions."""
        return p @ self.weights_

    def predict(self, gene: GeneFold) -> Array:
        return gene.mean + self.margin(gene.test)


class LinearMeta(NNLSMeta):
    """The pooled weights, of learners that are linear in dosage alone: a gene's model is then one weight per variant.

    Parameters
    ----------
    linear : sequence of bool, B entries
        Which base learners are.
    """

    name = "linear"

    def __init__(self, linear: Sequence[bool], prior: Moments | None = None, prior_rows: float = PRIOR_ROWS) -> None:
        super().__init__(prior, prior_rows)
        self.linear = np.asarray(linear, dtype=bool)

    def _weights(self, moments: Moments) -> Array:
        out = np.zeros(len(moments.names))
        out[self.linear] = moments.of_learners(self.linear).nnls()
        return out


class RidgeMeta(NNLSMeta):
    """Ridge weights of any sign, pooled over genes; the penalty is one hundredth of the mean spread."""

    name = "ridge"

    def _weights(self, moments: Moments) -> Array:
        b = len(moments.names)
        penalty = 0.01 * float(np.trace(moments.gram)) / b
        return np.asarray(np.linalg.solve(moments.gram + max(penalty, 1e-12) * np.eye(b), moments.cross))


class NNLSPerGene(Meta):
    """Non-negative least squares weights of each gene by itself."""

    name = "nnls-per-gene"

    def predict(self, gene: GeneFold) -> Array:
        return gene.mean + gene.test @ Moments.of([gene]).nnls()


class XGBoostPerGene(Meta):
    """XGBoost at its defaults on each gene alone, as the founding study stacked. Known to overfit; for comparison."""

    name = "xgboost-per-gene"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def predict(self, gene: GeneFold) -> Array:
        import xgboost

        settings = {"nthread": 1, "seed": self.seed, "verbosity": 0}
        booster = xgboost.train(settings, xgboost.DMatrix(gene.oof, gene.y, nthread=1), 100)
        return gene.mean + booster.predict(xgboost.DMatrix(gene.test, nthread=1)).astype(np.float64)


class XGBoostMeta(Meta):
    """XGBoost pooled over genes, started from the pooled NNLS prediction and monotone in the base predictions.

    Its inputs are the base predictions and each gene's inner r, slope and spread of every base learner; its base
    margin is the NNLS prediction, so that what it learns is a correction.
    """

    name = "xgboost"

    def __init__(self, prior: Moments | None = None, booster: Any = None, seed: int = 0, threads: int = 1) -> None:
        self.nnls = NNLSMeta(prior)
        self.booster = booster
        self.seed = seed
        self.threads = threads

    def fit(self, genes: Folds) -> XGBoostMeta:
        self.nnls.fit(genes)
        people = [len(gene.y) for gene in genes()]
        count = len(people)
        if count < MIN_GENES_POOLED:
            self.booster_ = self.booster
            return self
        import xgboost

        # every step-th gene and of it every stride-th person, so that memory has a ceiling
        step = max(1, -(-count // MAX_GENES_POOLED))
        stride = max(1, -(-sum(people[::step]) // MAX_ROWS_POOLED))
        rows, targets, margins = [], [], []
        for i, gene in enumerate(genes()):
            if i % step == 0:
                scale = gene.y.std() or 1.0
                seen = gene.oof[::stride]
                rows.append(self._inputs(gene, seen))
                targets.append(gene.y[::stride] / scale)
                margins.append(self.nnls.margin(seen) / scale)
        b = len(gene.names)
        inputs, target, margin = np.vstack(rows), np.concatenate(targets), np.concatenate(margins)
        data = xgboost.DMatrix(inputs, target, base_margin=margin, nthread=self.threads)
        signs = ["1"] * b + ["0"] * (data.num_col() - b)
        settings = XGBOOST_SETTINGS | {"seed": self.seed, "nthread": self.threads}
        settings["monotone_constraints"] = f"({','.join(signs)})"
        self.booster_ = xgboost.train(settings, data, XGBOOST_ROUNDS)
        return self

    def predict(self, gene: GeneFold) -> Array:
        if self.booster_ is None:
            return gene.mean + self.nnls.margin(gene.test)
        return gene.mean + boosted(
            self.booster_, self.nnls.weights_, gene.test, gene.summary(), gene.y.std() or 1.0, self.threads
        )

    @staticmethod
    def _inputs(gene: GeneFold, p: Array) -> NDArray[np.float32]:
        return _meta_inputs(p, gene.summary(), gene.y.std() or 1.0)


def _meta_inputs(p: Array, summary: Array, scale: float) -> NDArray[np.float32]:
    return np.hstack([p / scale, np.broadcast_to(summary, (len(p), len(summary)))]).astype(np.float32)


def load_booster(text: str | bytes) -> Any:
    """An XGBoost model from its JSON."""
    import xgboost

    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(text.encode() if isinstance(text, str) else text))
    return booster


def boosted(booster: Any, weights: Array, p: Array, summary: Array, scale: float, threads: int = 1) -> Array:
    """What `XGBoostMeta` predicts of a gene, the training mean left out.

    Parameters
    ----------
    booster : xgboost.Booster
    weights : array, shape (B,)
        Of the sum that the trees correct.
    p : array, shape (N, B)
        Base predictions minus the training mean.
    summary : array, shape (3 B,)
        `GeneFold.summary`.
    scale : float
        Spread of the gene's training phenotype.
    """
    import xgboost

    data = xgboost.DMatrix(_meta_inputs(p, summary, scale), base_margin=p @ weights / scale, nthread=threads)
    return scale * booster.predict(data).astype(np.float64)


XGBOOST_SETTINGS = {
    "objective": "reg:squarederror",
    "eta": 0.03,
    "max_depth": 2,
    "min_child_weight": 300,
    "subsample": 0.5,
    "colsample_bytree": 0.3,
    "reg_lambda": 100.0,
    "base_score": 0.0,
    "tree_method": "hist",
    "verbosity": 0,
}
XGBOOST_ROUNDS = 60


@dataclass(frozen=True)
class Shipped:
    """What the package knows of how base learners should be weighted, and where that was learned."""

    moments: Moments
    booster: Any
    origin: dict[str, Any] = field(default_factory=dict)


def shipped() -> Shipped:
    """The weights shipped with the package; refused where it was installed without them."""
    path = files("genopred") / "data" / "stack_weights.json"
    if not path.is_file():
        raise ModelError("the stack weights of the package are missing; install it again or use --stack-weights none.")
    return load_weights(path.read_text(encoding="utf-8"), "genopred/data/stack_weights.json")


def load_weights(text: str, source: str) -> Shipped:
    """Weights from the content of a run's `weights.json`; refused where the text is not what `fit_weights` made."""
    try:
        content = json.loads(text)
        names = tuple(content["learners"])
        gram, cross = (np.array(content[key], dtype=np.float64) for key in ("gram", "cross"))
        if gram.shape != (len(names), len(names)) or cross.shape != (len(names),):
            raise ValueError(f"gram has shape {gram.shape} for {len(names)} learners")
        if not (np.isfinite(cross).all() and np.linalg.eigvalsh(gram).min() > -1e-6):
            raise ValueError("gram is no matrix of sums of products")
        booster = None if content["booster"] is None else load_booster(json.dumps(content["booster"]))
        return Shipped(Moments(names, gram, cross, float(content["rows"])), booster, content["origin"])
    except (ValueError, KeyError, TypeError) as problem:
        raise ModelError(
            f"{source} holds no stack weights ({type(problem).__name__}: {problem}); give the weights.json of a run."
        ) from None


def fit_weights(folds: Sequence[Folds], origin: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """Weights learned from the training rows of all outer folds, each a walk through all genes; for other people.

    `origin`, where the data came from, is kept with them. JSON-ready: learners, gram, cross, rows, booster, origin,
    nnls (the weights these moments give).
    """

    def everything() -> Iterable[GeneFold]:
        return chain.from_iterable(fold() for fold in folds)

    moments = Moments.of(everything())
    booster = None
    if sum(1 for _ in folds[0]()) >= MIN_GENES_POOLED:
        fitted = XGBoostMeta(None, None, seed).fit(everything)
        booster = json.loads(fitted.booster_.save_raw("json"))
    return {
        "learners": list(moments.names),
        "gram": (moments.gram / moments.rows).round(8).tolist(),
        "cross": (moments.cross / moments.rows).round(8).tolist(),
        "rows": 1,
        "nnls": dict(zip(moments.names, moments.nnls().round(4).tolist())),
        "booster": booster,
        "origin": origin,
    }


METAS = ("xgboost", "nnls", "linear", "ridge", "mean", "nnls-per-gene", "xgboost-per-gene")


def make_meta(
    name: str,
    names: Sequence[str],
    *,
    seed: int = 0,
    threads: int = 1,
    prior: Shipped | None = None,
    linear: Sequence[bool] | None = None,
) -> Meta:
    """One of `METAS`, for base learners of these names; `prior` counts as pseudo-rows beside the genes at hand.

    `linear` says which base learners are linear in dosage; all by default.
    """
    if prior is not None and not set(names) & set(prior.moments.names):
        prior = None  # it knows none of these learners, and would only shrink them all
    moments = prior.moments if prior is not None else None
    # the shipped trees read base predictions by place, so they serve only the learners that they were grown on
    booster = prior.booster if prior is not None and tuple(names) == prior.moments.names else None
    makers: dict[str, Callable[[], Meta]] = {
        "xgboost": lambda: XGBoostMeta(moments, booster, seed, threads),
        "nnls": lambda: NNLSMeta(moments),
        "linear": lambda: LinearMeta([True] * len(names) if linear is None else linear, moments),
        "ridge": lambda: RidgeMeta(moments),
        "mean": MeanMeta,
        "nnls-per-gene": NNLSPerGene,
        "xgboost-per-gene": lambda: XGBoostPerGene(seed),
    }
    if name not in makers:
        raise ModelError(no_choice(f"--meta {name}", name, makers))
    return makers[name]()
