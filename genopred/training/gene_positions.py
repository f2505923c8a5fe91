"""Where along the sequence around a TSS a network looks, gene by gene."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from genopred.errors import ModelError
from genopred.training.genes import GeneData, gene_arrays, gene_inputs
from genopred.training.networks.gene import GeneNetwork
from genopred.training.networks.pooled import BIN
from genopred.training.networks.stem import TOKEN
from genopred.training.scores import block_draws

Array = NDArray[np.float32]

#: Columns of `position_profile`.
POSITION_SCHEMA = (
    {"kind": pl.String}
    | dict.fromkeys(("start", "end"), pl.Int64)
    | dict.fromkeys(("share", "low", "high"), pl.Float64)
)
#: Bins of a profile, at most.
BINS = 110

#: What is measured, by name.
ATTENTION, GRADIENT = "attention", "gradient × input"


def along_sequence(
    network: GeneNetwork, data: GeneData, rows: NDArray[np.int64], *, device: str = "cpu", batch_size: int = 16
) -> dict[str, Array]:
    """How much each base of some genes' windows counts, (n, L), by the ways that the network has.

    Of each gene the values add up to 1, so that genes count alike. `ATTENTION` is the last map of `attention_maps`,
    mean over heads (and queries), spread evenly over the bases of its parts. `GRADIENT` is the size of gradient times
    input of the mean over cell types, of the sequence alone.

    Parameters
    ----------
    network : GeneNetwork
    data : GeneData
    rows : int array (n,)
    device : str
    batch_size : int

    Returns
    -------
    dict
        Empty where the network has no attention and no derivative.
    """
    place, training = torch.device(device), network.training
    network.eval()
    found: dict[str, list[Array]] = {}
    for i in range(0, len(rows), batch_size):
        inputs = gene_inputs(gene_arrays(data, rows[i : i + batch_size]), place)
        try:
            with torch.no_grad():
                last = network.attention_maps(inputs)[-1][1].float().cpu().numpy()
        except ModelError:
            pass
        else:
            found.setdefault(ATTENTION, []).append(_spread(last, data.window, int(network.sizes.get("piece", 0))))
        if network.differentiable:
            window = inputs.window.detach().requires_grad_()
            # a recurrent network on a GPU has no derivative in evaluation mode
            with torch.backends.cudnn.flags(enabled=False):
                network(inputs._replace(window=window)).mean(dim=1).sum().backward()
            assert window.grad is not None  # noqa: S101 - for type checkers
            size = (window.grad * window.detach())[..., :4].sum(dim=2).abs()
            found.setdefault(GRADIENT, []).append(size.float().cpu().numpy())
    network.zero_grad(set_to_none=True)
    network.train(training)
    return {name: _shares(np.concatenate(parts)) for name, parts in found.items()}


def _spread(maps: NDArray[np.floating], length: int, piece: int = 0) -> Array:
    """Maps (B, heads, [queries,] n) over the bases (B, L) of their parts, of `piece` bases or as networks pool."""
    mean = maps.mean(axis=tuple(range(1, maps.ndim - 1)))
    n = mean.shape[1]
    # the last part reaches beyond a window that is no multiple of them
    width = next((w for w in (piece, TOKEN, BIN) if w and -(-length // w) == n), length / n)
    part = np.minimum((np.arange(length) / width).astype(np.int64), n - 1)
    return (mean[:, part] / width).astype(np.float32)


def _shares(values: Array) -> Array:
    total = values.sum(axis=1, keepdims=True)
    return np.where(total > 0, values / np.where(total > 0, total, 1.0), 1.0 / values.shape[1]).astype(np.float32)


def position_profile(
    values: Mapping[str, Array], blocks: NDArray[np.int64], before: int, *, bins: int = BINS, resamples: int = 1000,
    seed: int = 1,
) -> pl.DataFrame:  # fmt: skip
    """What `along_sequence` gives, averaged over genes that are aligned at their TSS.

    Parameters
    ----------
    values : dict of array, shape (n, L)
    blocks : int array (n,)
        Genes of one block are drawn together for the intervals.
    before : int
        Bases before the TSS.
    bins : int
        About how many.
    resamples, seed : int

    Returns
    -------
    polars.DataFrame
        Columns of `POSITION_SCHEMA`: start and end are bases from the TSS, which is 0, in the genes' direction, half
        open; `share` is how many times the bases there count as much as the window's on average, with its 95 %
        interval.
    """
    ids, home = np.unique(blocks, return_inverse=True)
    counts = np.bincount(home).astype(np.float64)
    draws = block_draws(len(ids), resamples, seed).astype(np.float64) if resamples and len(ids) > 1 else None
    rows: list[tuple[object, ...]] = []
    for kind, array in values.items():
        parts, edges = binned(array, bins)
        parts = parts * array.shape[1] / np.diff(edges)
        sums = np.zeros((len(ids), parts.shape[1]))
        np.add.at(sums, home, parts)
        low = high = [None] * parts.shape[1]
        if draws is not None:
            low, high = np.quantile((draws @ sums) / (draws @ counts)[:, None], [0.025, 0.975], axis=0).tolist()
        mean = parts.mean(axis=0).tolist()
        at = (edges - before).tolist()
        rows += [(kind, *row) for row in zip(at[:-1], at[1:], mean, low, high)]
    return pl.DataFrame(rows, schema=POSITION_SCHEMA, orient="row")


def binned(values: Array, bins: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sums (n, B) over neighbouring bases of (n, L), and where the bins begin and the last one ends, (B + 1,).

    >>> binned(np.ones((1, 5), np.float32), 2)[0].tolist(), binned(np.ones((1, 5), np.float32), 2)[1].tolist()
    ([[3.0, 2.0]], [0, 3, 5])
    """
    width = -(-values.shape[1] // bins)
    first = np.arange(0, values.shape[1], width)
    return np.add.reduceat(values.astype(np.float64), first, axis=1), np.append(first, values.shape[1])
