"""Measured expression -> what a network learns: logs, quantiles, z values and batches, fitted on training genes."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genopred.errors import GenopredError, ModelError, examples
from genopred.settings.expression import Expression
from genopred.training.genes import GeneData, GeneSplit

Floats = NDArray[np.float64]
#: Of pycombat, which says each step.
_LOUD = "inmoose"


@dataclass(frozen=True)
class Transform:
    """What is done to expression, fitted on training genes.

    Attributes
    ----------
    cells : tuple of str
    unit, make : str
        As in `genopred.settings.expression.Expression`; `make` is empty where nothing is made of the unit.
    steps : tuple of str
        `log`, `batch`, `quantile`, `z`, in their order. A batch effect is known of measured genes alone and is not
        applied to others.
    library : tuple of float
        Of counts: what each cell type's are divided by, in millions.
    quantiles : tuple
        Of each cell type (values of the training genes, what they become); between them is interpolated.
    mean, spread : tuple of float
    """

    cells: tuple[str, ...]
    unit: str
    make: str
    steps: tuple[str, ...]
    library: tuple[float, ...] = ()
    quantiles: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()
    mean: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()

    def apply(self, measured: ArrayLike, bases: ArrayLike | None = None) -> Floats:
        """Targets (G, C) of measured values (G, C), whose genes have `bases` (G,) in exons; NaN stays NaN."""
        values = self.abundance(measured, bases)
        for step in self.steps:
            values = self.step(step, values)
        return values

    def abundance(self, measured: ArrayLike, bases: ArrayLike | None = None) -> Floats:
        """Counts to what is made of them; everything else as it is."""
        values = np.asarray(measured, dtype=np.float64)
        if not self.make:
            return values
        return _rate(values, self.make, bases) / np.asarray(self.library)

    def step(self, name: str, values: Floats) -> Floats:
        """One step."""
        if name == "log":
            return np.log1p(values)
        if name == "quantile":
            columns = [np.interp(values[:, c], x, y) for c, (x, y) in enumerate(self.quantiles)]
            return np.where(np.isnan(values), np.nan, np.stack(columns, axis=1))
        if name == "z":
            return (values - np.asarray(self.mean)) / np.asarray(self.spread)
        return values

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Transform:
        """What `to_json` gave, read back."""

        def fixed(value: Any) -> Any:
            return tuple(fixed(one) for one in value) if isinstance(value, (list, tuple)) else value

        return cls(**{key: fixed(value) for key, value in values.items()})


def make_targets(
    data: GeneData, split: GeneSplit, settings: Expression, batches: Sequence[str] | None = None
) -> tuple[Transform, NDArray[np.float32]]:
    """Targets of all genes (G, C), and the transform that made them.

    All that is fitted is fitted on the split's training genes. ComBat has no fitted state to apply to others: the
    training genes are adjusted among themselves, those of another part together with the training genes, so that no
    value of a training gene depends on any other gene, nor one of a validation gene on a test gene.

    Parameters
    ----------
    data : GeneData
    split : GeneSplit
    settings : Expression
    batches : sequence of str (C,), optional
        Of each cell type.

    Raises
    ------
    GenopredError
        If a cell type has nothing, or always the same, in the training genes; or batches do not tell anything.
    ModelError
        If there are batches and inmoose is not installed.
    """
    train = split.rows("train")
    of_counts = data.unit == "counts"
    made: dict[str, Any] = {"cells": data.cells, "unit": data.unit, "make": settings.make if of_counts else ""}
    steps: list[str] = list(settings.transform)
    if batches is not None:
        steps.insert(int(steps[:1] == ["log"]), "batch")
    made["steps"] = tuple(steps)
    measured = data.measured.astype(np.float64)
    _check(measured[train], data.cells)
    if of_counts:
        total = np.nansum(
            _rate(measured[train], "tpm" if settings.make == "tpm" else "cpm", _of(data.bases, train)), axis=0
        )
        made["library"] = tuple((total / 1e6).tolist())
    values = Transform(**made).abundance(measured, data.bases)
    for name in steps:
        if name == "batch":
            values = _combat(values, split, batches or (), data.cells)
        elif name == "quantile":
            made["quantiles"] = _quantiles(values[train])
        elif name == "z":
            mean, spread = np.nanmean(values[train], axis=0), np.nanstd(values[train], axis=0)
            if (still := spread <= 1e-9 * np.maximum(1, np.abs(mean))).any():
                same = [cell for cell, bad in zip(data.cells, still) if bad]
                raise GenopredError(
                    f"{len(same)} cell types have the same value for all training genes ({examples(same)}); leave them "
                    "out (expression.cells)."
                )
            made["mean"], made["spread"] = tuple(mean.tolist()), tuple(spread.tolist())
        values = Transform(**made).step(name, values)
    return Transform(**made), values.astype(np.float32)


def _of(bases: Floats | None, rows: NDArray[np.int64]) -> Floats | None:
    return None if bases is None else bases[rows]


def _rate(values: Floats, make: str, bases: ArrayLike | None) -> Floats:
    """Counts, per kilobase where that is asked for."""
    if make == "cpm":
        return values
    if bases is None:
        raise GenopredError(
            f"expression.make = {make!r} needs the lengths of genes: a column Length in expression.file, or genes.gtf "
            "with exons; or use make = 'cpm'."
        )
    return values / np.asarray(bases, dtype=np.float64)[:, None] * 1e3


def _check(values: Floats, cells: Sequence[str]) -> None:
    """Refuse cell types without anything."""
    known = np.isfinite(values)
    silent = [cell for cell, ok, v in zip(cells, known.T, values.T) if not ok.any() or not (v[ok] != 0).any()]
    if silent:
        raise GenopredError(
            f"{len(silent)} of {len(cells)} cell types have no expression in the training genes ({examples(silent)}); "
            "leave them out (expression.cells), or change split.seed or the genes."
        )


def _quantiles(values: Floats) -> tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]:
    """Of each cell type its values and the mean over cell types at their ranks; ties share the mean of theirs."""
    columns = [np.sort(column[np.isfinite(column)]) for column in values.T]
    n = max(map(len, columns))
    grid = (np.arange(n) + 0.5) / n

    def on_grid(column: Floats) -> Floats:
        return column if len(column) == n else np.interp(grid, (np.arange(len(column)) + 0.5) / len(column), column)

    reference = np.mean([on_grid(column) for column in columns], axis=0)
    out = []
    for column in columns:
        mine = (
            reference if len(column) == n else np.interp((np.arange(len(column)) + 0.5) / len(column), grid, reference)
        )
        found, which = np.unique(column, return_inverse=True)
        means = np.bincount(which, mine) / np.bincount(which)
        out.append((tuple(found.tolist()), tuple(means.tolist())))
    return tuple(out)


def _combat(values: Floats, split: GeneSplit, batches: Sequence[str], cells: Sequence[str]) -> Floats:
    """Values without batch effects; genes of no part as they are."""
    counts = {batch: list(batches).count(batch) for batch in dict.fromkeys(batches)}
    alone = [batch for batch, n in counts.items() if n < 2]
    if len(counts) < 2 or alone:
        raise GenopredError(
            f"expression.batches: {len(counts)} batches of {len(cells)} cell types"
            + (f", of which {len(alone)} have a single one ({examples(alone)})" if alone else "")
            + "; ComBat needs two batches or more, of two cell types or more each."
        )
    if not np.isfinite(values[split.part != ""]).all():
        raise GenopredError(
            "expression.batches: there are missing values, which ComBat cannot adjust; fill them in or leave those "
            "genes out."
        )
    out, train = values.copy(), split.rows("train")
    out[train] = _pycombat(values[train], batches)
    for part in ("validation", "test"):
        rows = split.rows(part)
        if len(rows):
            out[rows] = _pycombat(np.concatenate([values[train], values[rows]]), batches)[len(train) :]
    return out


def _pycombat(values: Floats, batches: Sequence[str]) -> Floats:
    """ComBat of genes x cell types; genes that do not vary within batches are left as they are."""
    try:
        from inmoose.pycombat import pycombat_norm
    except ImportError as bad:
        raise ModelError(
            f"expression.batches needs inmoose, which could not be imported ({bad}): pip install 'genopred[networks]'."
        ) from None
    labels = np.asarray(batches)
    within = np.max([values[:, labels == batch].std(axis=1) for batch in np.unique(labels)], axis=0)
    varies = within > 1e-9 * np.maximum(1, np.abs(values).max(axis=1))
    out = values.copy()
    if varies.sum() > 1:
        logging.getLogger(_LOUD).setLevel(logging.ERROR)
        # a batch without an effect in a gene divides by zero on the way
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            adjusted = np.asarray(pycombat_norm(values[varies], list(batches)))
        if not np.isfinite(adjusted).all():
            raise GenopredError("expression.batches: ComBat came to no finite values; leave batches out, or log first.")
        out[varies] = adjusted
    return out
