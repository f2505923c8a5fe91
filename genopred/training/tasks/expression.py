"""Predicting genes' expression: the genes of an epoch, the losses, and what validation says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genopred.errors import GenopredError
from genopred.settings.expression import ExpressionTraining
from genopred.training.bases import mutated
from genopred.training.gene_scores import gene_pearson
from genopred.training.genes import GeneData, GeneSplit, gene_arrays, gene_inputs
from genopred.training.loop import Validation, digest
from genopred.training.networks.gene import GeneInputs, GeneNetwork, GeneShape
from genopred.training.networks.registry import build_gene
from genopred.training.targets import Transform
from genopred.training.tasks.tracks import TINY, autocast, flat_loss, head_reach, on_plateau, start_at

#: How much of the mse is in the correlation loss.
_SCALE = 0.1

Batch = tuple[tuple[NDArray[Any] | None, ...], NDArray[np.float32]]


class ExpressionTask:
    """Train a network on the training genes, and keep the weights that fit the validation genes best.

    Losses are in units of the training genes: squared errors in variances of a cell type, the Poisson loss in its mean.
    A network that predicts a cell type's mean has a mse of about 1. Test genes are not looked at.

    Parameters
    ----------
    data : GeneData
        After `genopred.training.segments.kept_apart`.
    split : GeneSplit
    transform : Transform
    targets : float32 array, shape (G, C)
        From `genopred.training.targets.make_targets`; NaN where nothing is known.
    shape : GeneShape
    kind : str
        As in `genopred.training.networks.registry.build_gene`, which gets `sizes`.
    settings : ExpressionTraining
    sizes : dict, optional

    Attributes
    ----------
    mean, unit : array, shape (C,)
        Of the training genes; `unit` is their standard deviation, for the Poisson loss their mean.
    """

    score = "Pearson over genes"

    def __init__(
        self, data: GeneData, split: GeneSplit, transform: Transform, targets: NDArray[np.float32], shape: GeneShape,
        kind: str, settings: ExpressionTraining, sizes: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.data, self.split, self.transform, self.targets = data, split, transform, targets
        self.shape, self.kind, self.settings, self.sizes = shape, kind, settings, sizes or {}
        self.training, self.validation = split.rows("train"), split.rows("validation")
        self.per_epoch = max(1, len(self.training) // settings.batch)
        mine = targets[self.training].astype(np.float64)
        self.mean = np.nanmean(mine, axis=0).astype(np.float32)
        spread = np.nanstd(mine, axis=0)
        if settings.loss == "poisson":
            if not (self.mean > 0).all() or np.nanmin(mine) < 0:
                raise GenopredError("training.loss = 'poisson': needed targets of 0 or more, not all 0.")
            self.unit = self.mean
        else:
            self.unit = np.where(spread > 0, spread, 1).astype(np.float32)

    def identity(self) -> dict[str, str]:
        """What the run depends on beside its settings: values as they are, data as digests."""
        data, part = self.data, self.split.part
        out = {"network.kind": self.kind} | {f"network.{key}": repr(value) for key, value in self.sizes.items()}
        out |= {f"genes.{key}": str(getattr(self.shape, key)) for key in ("before", "after")}
        out |= {"inputs": digest(repr(self.shape.composition).encode()), "inputs.step": str(data.step)}
        out |= {
            "split.by": self.split.by,
            "cells": repr(data.cells),
            "expression.transform": repr(self.transform.steps),
        }
        for name, rows in (("training", self.training), ("validation", self.validation)):
            ids = "\n".join(data.genes["gene_id"].to_numpy()[rows].tolist())
            out[f"{name} genes"] = digest(ids.encode())
            out[f"sequence of {name} genes"] = digest(data.codes[rows])
            out[f"expression of {name} genes"] = digest(self.targets[rows])
            for what in ("tracks", "segments", "segment_tracks", "weights"):
                values = getattr(data, what)
                if values is not None:
                    out[f"{what.replace('_', ' ')} of {name} genes"] = digest(values[rows])
        if data.tracks is not None:
            out["inputs.tracks"] = repr(data.track_names)
        return out | {"genes": str(int((part != "").sum()))}

    def build(self) -> GeneNetwork:
        """A fresh network that predicts about the mean of each cell type."""
        link: Any = "softplus" if self.settings.loss == "poisson" else "identity"
        network = build_gene(self.kind, len(self.data.cells), self.shape, link=link, **self.sizes)
        if self.settings.loss == "poisson":
            start_at(network, torch.from_numpy(self.mean))  # type: ignore[arg-type]
        else:
            with torch.no_grad():
                network.head.bias.copy_(torch.from_numpy(self.mean))
                network.head.weight.mul_(0.1 * torch.from_numpy(self.unit)[:, None])
        return network

    def forward(self, network: GeneNetwork) -> Callable[[Any], torch.Tensor]:
        """The pass to train with."""
        return network

    def longer_steps(self, network: GeneNetwork) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The head's rows move in units of their cell types, as the loss is."""
        reach = torch.from_numpy(self.unit).to(network.head.weight.device)
        if self.settings.loss == "poisson":
            reach = head_reach(reach)
        return [(network.head.weight, reach[:, None]), (network.head.bias, reach)]

    def batches(self, seed: Sequence[int]) -> tuple[int, Callable[[int], Batch]]:
        """How many batches an epoch has, and what makes the i-th: what is read of B genes, and targets (B, C)."""
        rng, n, size = np.random.default_rng(seed), len(self.training), self.settings.batch
        rows = self.training[rng.permutation(n)]
        shift = rng.integers(-self.settings.shift, self.settings.shift + 1, n)
        reverse = rng.random(n) < (0.5 if self.settings.reverse_complement else 0.0)

        def make(i: int) -> Batch:
            at = slice(i * size, (i + 1) * size)
            return gene_arrays(self.data, rows[at], shift[at], reverse[at]), self.targets[rows[at]]

        # the last, smaller batch is left out: its genes come in other epochs
        return max(1, n // size), make

    def loss(
        self, forward: Callable[[Any], torch.Tensor], made: Batch, device: torch.device, rate: float
    ) -> torch.Tensor:
        """The loss of a batch; its random part is drawn from torch's current state."""
        arrays, targets = made
        inputs = gene_inputs(arrays, device)
        share = self.settings.mutate * rate / self.settings.learning_rate
        if share > 0:
            bases = mutated(inputs.window[..., :4], share)
            inputs = inputs._replace(window=torch.cat([bases, inputs.window[..., 4:]], dim=-1))
        with autocast(device, self.settings.precision):
            predicted = forward(inputs).float()
        mean, unit = (torch.from_numpy(values).to(device) for values in (self.mean, self.unit))
        return expression_loss(predicted, torch.from_numpy(targets).to(device), self.settings.loss, mean, unit)

    def validate(self, network: GeneNetwork, device: torch.device) -> Validation:
        """Loss and correlations over the validation genes."""
        rows, settings = self.validation, self.settings
        predicted = self.predict(network, rows, str(device))
        targets = self.targets[rows]
        tensors = (torch.from_numpy(values) for values in (predicted, targets, self.mean, self.unit))
        p, t, mean, unit = tensors
        loss = float(expression_loss(p, t, settings.loss, mean, unit))
        found = gene_pearson(predicted, targets)
        columns = {f"pearson_{cell}": float(r) for cell, r in zip(self.data.cells, found)}
        score = float(np.nanmean(found)) if np.isfinite(found).any() else math.nan
        return Validation(loss, score, columns, on_plateau(loss, score, self._flat(targets)))

    def predict(self, network: GeneNetwork, rows: NDArray[np.int64], device: str = "cpu") -> NDArray[np.float32]:
        """Predictions for some genes (n, C) as they are validated."""
        settings = self.settings
        how: dict[str, Any] = {"batch_size": settings.batch, "both_strands": settings.both_strands, "device": device}
        return predict_genes(network, self.data, rows, precision=settings.precision, **how)

    def advice(self, row: dict[str, Any]) -> str:
        """What to do about an epoch that is on the plateau."""
        settings = self.settings
        found = [value for name, value in row.items() if name.startswith("pearson_") and math.isfinite(value)]
        flat = self._flat(self.targets[self.validation])
        return (
            f"epoch {row['epoch']}, step {row['step']:,}: still on the plateau, with a validation loss of "
            f"{row['validation_loss']:.3f} (predicting each cell type's mean has {flat:.3f}) and a Pearson of "
            f"{np.mean(found or 0):.2f} on average over {len(self.validation):,} genes. Look whether genes and FASTA "
            f"are of one build; else try, into another --out, another training.seed (now {settings.seed}), a higher "
            f"training.learning_rate (now {settings.learning_rate:g}), more steps (training.batch below "
            f"{settings.batch}, training.epochs above {settings.epochs}), or more genes."
        )

    def _flat(self, targets: NDArray[np.float32]) -> float:
        """The least loss of predictions that are one value for each cell type."""
        kind = self.settings.loss
        known = np.isfinite(targets)
        if kind == "poisson":
            columns = [
                flat_loss(t[ok][:, None], unit[None]) for t, ok, unit in zip(targets.T, known.T, self.unit) if ok.any()
            ]
            return float(np.mean(columns))
        own = float(np.nanmean(np.nanvar(np.where(known, targets, np.nan), axis=0) / self.unit**2))
        return own if kind == "mse" else 1 + _SCALE * own


def expression_loss(
    predicted: torch.Tensor, targets: torch.Tensor, kind: str, mean: torch.Tensor, unit: torch.Tensor
) -> torch.Tensor:
    """The loss of predictions (B, C), averaged over what is known of the targets (B, C).

    Parameters
    ----------
    predicted, targets : tensor, shape (B, C)
        NaN in targets where nothing is known.
    kind : {"mse", "poisson", "correlation"}
    mean, unit : tensor, shape (C,)
        Of the training genes.

    Examples
    --------
    >>> t, one = torch.tensor([[1.0], [2.0], [4.0]]), torch.ones(1)
    >>> [round(float(expression_loss(t + 1, t, kind, one, one)), 3) for kind in ("mse", "correlation")]
    [1.0, 0.1]
    >>> round(float(expression_loss(one[:, None], one[:, None], "poisson", one, one)), 3)
    1.0
    """
    known = torch.isfinite(targets)
    # filled with the mean, so that nothing is not a number in the backward pass either
    t = torch.where(known, targets, mean) / unit
    p = predicted / unit
    count = known.sum().clamp(min=1)
    if kind == "poisson":
        return ((p - t * torch.log(p + TINY)) * known).sum() / count
    mse = ((p - t) ** 2 * known).sum() / count
    if kind == "mse":
        return mse
    n = known.sum(0)
    a, b = ((x - (x * known).sum(0) / n.clamp(min=1)) * known for x in (p, t))
    xy, xx, yy = (a * b).sum(0), (a * a).sum(0), (b * b).sum(0)
    # a cell type that does not vary in a batch says nothing of a correlation
    usable = (n > 2) & (yy > 1e-8)
    r = xy / torch.sqrt(xx * yy + 1e-8)
    return ((1 - r) * usable).sum() / usable.sum().clamp(min=1) + _SCALE * mse


def predict_genes(
    network: GeneNetwork, data: GeneData, rows: NDArray[np.int64], *, batch_size: int = 32, both_strands: bool = False,
    device: str = "cpu", precision: str = "fp32",
) -> NDArray[np.float32]:  # fmt: skip
    """Predictions of a network from `build_gene` for some genes, (n, C), on the scale of the targets.

    With `both_strands` they are the mean of the predictions of a gene's window and of its reverse complement.
    """
    place, training = torch.device(device), network.training

    def predicted(part: NDArray[np.int64], reverse: bool) -> NDArray[np.float32]:
        inputs: GeneInputs = gene_inputs(gene_arrays(data, part, 0, reverse), place)
        return network(inputs).float().cpu().numpy()  # type: ignore[no-any-return]

    out = np.empty((len(rows), network.n_cells), dtype=np.float32)
    network.eval()
    with torch.inference_mode(), autocast(place, precision):
        for i in range(0, len(out), batch_size):
            part = rows[i : i + batch_size]
            out[i : i + batch_size] = predicted(part, False)
            if both_strands:
                out[i : i + batch_size] = (out[i : i + batch_size] + predicted(part, True)) / 2
    network.train(training)
    return out
