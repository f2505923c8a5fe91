"""Meta-learners over the base predictions of all genes together, one gene in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.learning import learners as registry
from genopred.learning.evaluate import GeneResult
from genopred.learning.stack import METAS, GeneFold, Meta, Shipped, make_meta

#: Genes whose base predictions are kept in memory between the passes of the meta-learners; others are read again.
CACHED_GENES = 1_000
#: Bytes that these take at most: of many people each gene is large.
CACHED_BYTES = 2**28

#: Columns of a table of base predictions before those of the base learners.
ABOUT = ("outer_fold", "inner_fold", "sample", "observed")


class BaseTables:
    """Base predictions of all genes.

    Parameters
    ----------
    genes : sequence of str
    read : callable
        The table of a gene: the columns `ABOUT` (inner_fold -1 for held-out people), and one per base learner.
    """

    def __init__(self, genes: Sequence[str], read: Callable[[str], pl.LazyFrame]) -> None:
        self.genes, self.read = genes, read
        self._cache: dict[str, GeneResult] = {}
        self._cached = 0

    def result(self, gene_id: str) -> GeneResult:
        """The base predictions of one gene."""
        if gene_id in self._cache:
            return self._cache[gene_id]
        table = self.read(gene_id).collect()
        names = tuple(table.columns[len(ABOUT) :])
        result = GeneResult(
            names,
            table["outer_fold"].to_numpy().astype(np.int64),
            table["inner_fold"].to_numpy().astype(np.int64),
            np.arange(table.height),
            table["observed"].to_numpy(),
            table.select(names).to_numpy(),
        )
        size = sum(part.nbytes for part in (result.fold, result.inner, result.person, result.observed, result.base))
        if len(self._cache) < CACHED_GENES and self._cached + size <= CACHED_BYTES:
            self._cache[gene_id] = result
            self._cached += size
        return result

    def held_out(self, gene_id: str) -> pl.DataFrame:
        """Sample, fold and observed value of the held-out people, fold by fold."""
        return self.read(gene_id).select(ABOUT).filter(pl.col("inner_fold") < 0).collect()

    def fold(self, fold: int) -> Callable[[], Iterator[GeneFold]]:
        """All genes' training rows and held-out rows of one outer fold, to be walked through repeatedly."""
        return lambda: (self.result(gene).gene_fold(fold) for gene in self.genes)

    @property
    def folds(self) -> list[int]:
        """The outer folds."""
        return np.unique(self.result(self.genes[0]).fold).tolist()  # type: ignore[no-any-return]


class Pooled:
    """Every meta-learner, fitted per outer fold over all genes' training rows.

    Parameters
    ----------
    bases : BaseTables
    seed : int
    prior : Shipped, optional
        Weights to start from.
    """

    def __init__(self, bases: BaseTables, seed: int, prior: Shipped | None) -> None:
        self.bases = bases
        self.names = bases.result(bases.genes[0]).names
        self.seed, self.prior = seed, prior
        self.metas: dict[int, list[Meta]] = {
            fold: [self._meta(name).fit(bases.fold(fold)) for name in self.known()] for fold in bases.folds
        }

    def known(self) -> tuple[str, ...]:
        """The meta-learners that these base learners can have."""
        return tuple(name for name in METAS if name != "linear" or any(map(registry.is_linear, self.names)))

    def _meta(self, name: str) -> Meta:
        linear = [registry.is_linear(learner) for learner in self.names]
        return make_meta(name, self.names, seed=self.seed, prior=self.prior, linear=linear)

    def last(self, name: str) -> Meta:
        """A meta-learner for base learners fitted to everybody: it learns from the people held out of outer folds."""
        return self._meta(name).fit(lambda: (self.bases.result(gene).everybody() for gene in self.bases.genes))

    def predict(self, gene_id: str) -> dict[str, NDArray[np.float64]]:
        """Held-out predictions of one gene by every method, outer fold by outer fold.

        Base learners that ask for it are calibrated; the meta-learners were given them as they are.
        """
        parts: dict[str, list[NDArray[np.float64]]] = {}
        result = self.bases.result(gene_id)
        for fold, fitted in self.metas.items():
            one = result.gene_fold(fold)
            for i, name in enumerate(result.names):
                calibrate = registry.calibrates(name)
                parts.setdefault(name, []).append(one.calibrated(i) if calibrate else one.mean + one.test[:, i])
            for meta in fitted:
                parts.setdefault(f"stack-{meta.name}", []).append(meta.predict(one))
        return {name: np.concatenate(part) for name, part in parts.items()}
