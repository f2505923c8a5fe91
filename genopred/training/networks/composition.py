"""What is counted of a sequence and put beside what a network finds: GC content, k-mers, hits of motifs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from genopred.errors import ModelError

#: A place is a hit of a motif where chance alone (bases alike) scores as high with this probability.
HIT_P = 1e-4
#: The most positions of all motifs together.
MOST_POSITIONS = 20_000
#: Log-odds are rounded to this for the distribution of chance scores.
_STEP = 0.01
#: Over how many nats of log-odds a hit goes from none to one.
_SOFT = 0.5


@dataclass(frozen=True)
class Composition:
    """What is counted of a window.

    Parameters
    ----------
    gc : bool
        Share of G and C among the bases that are known.
    kmers : int
        Length of the words whose frequencies are taken, 1 to 5; 0 for none.
    motifs : tuple
        Position weight matrices, each a tuple of rows of four log-odds (A, C, G, T).
    names : tuple of str
        Of the motifs.
    """

    gc: bool = False
    kmers: int = 0
    motifs: tuple[tuple[tuple[float, ...], ...], ...] = ()
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.kmers <= 5:
            raise ModelError(f"kmers = {self.kmers}: needed words of 1 to 5 bases, or 0 for none.")
        if any(len(row) != 4 for motif in self.motifs for row in motif) or len(self.names) != len(self.motifs):
            raise ModelError("motifs: needed four log-odds a position (A, C, G, T), and a name for each motif.")
        # config.json, which holds them, is read up to a size
        if (positions := sum(map(len, self.motifs))) > MOST_POSITIONS:
            raise ModelError(
                f"motifs: {len(self.motifs):,} of {positions:,} positions together; needed at most {MOST_POSITIONS:,}: "
                "give those that matter."
            )
        odds = [value for motif in self.motifs for row in motif for value in row]
        if not all(self.motifs) or not np.isfinite(odds).all():
            raise ModelError("motifs: needed at least one position each, and log-odds that are finite.")

    @property
    def reach(self) -> int:
        """Bases of the longest word or motif."""
        return max(self.kmers, *(len(motif) for motif in self.motifs), 0)

    @property
    def width(self) -> int:
        """How many numbers it is."""
        return int(self.gc) + (4**self.kmers if self.kmers else 0) + len(self.motifs)


class CompositionLayer(nn.Module):
    """One-hot windows (B, L, 4) -> (B, width); of the sequence alone, so that it can be differentiated.

    In this order: ten times the share of G and C less a half; the frequency of each k-mer among the words without N,
    times their number, less 1 (0 where all words are alike); log(1 + hits) of each motif on either strand. A hit is
    counted softly, over half a nat of log-odds around the score that chance reaches with probability `HIT_P`.
    """

    words: torch.Tensor

    def __init__(self, what: Composition) -> None:
        super().__init__()
        self.what, self.width = what, what.width
        if what.kmers:
            words = torch.cartesian_prod(*[torch.arange(4)] * what.kmers).reshape(-1, what.kmers)
            self.register_buffer("words", nn.functional.one_hot(words, 4).transpose(1, 2).float(), persistent=False)
        for i, motif in enumerate(what.motifs):
            odds = torch.tensor(motif, dtype=torch.float32).T
            both = torch.stack([odds, odds.flip(0, 1)])
            self.register_buffer(f"motif_{i}", both, persistent=False)
        self.thresholds = [threshold(np.array(motif)) for motif in what.motifs]

    def forward(self, onehot: torch.Tensor) -> torch.Tensor:
        x, found = onehot.transpose(1, 2), []
        if self.what.gc:
            share = onehot[..., 1:3].sum((1, 2)) / onehot.sum((1, 2)).clamp(min=1)
            found.append(10 * (share - 0.5)[:, None])
        if self.what.kmers:
            counts = (nn.functional.conv1d(x, self.words) - (self.what.kmers - 1)).relu().sum(2)
            found.append(counts / counts.sum(1, keepdim=True).clamp(min=1) * counts.shape[1] - 1)
        for i, least in enumerate(self.thresholds):
            score = nn.functional.conv1d(x, getattr(self, f"motif_{i}"))
            found.append(torch.log1p(torch.sigmoid(8 * (score - least) / _SOFT).sum((1, 2)))[:, None])
        return torch.cat(found, dim=1) if found else onehot.new_zeros(len(onehot), 0)


def threshold(motif: NDArray[np.float64], p: float = HIT_P) -> float:
    """The score above which random words of equally frequent bases are with a probability of at most `p`.

    Parameters
    ----------
    motif : array, shape (W, 4)
        Log-odds.

    Returns
    -------
    float
        Just below the motif's best score where even that is reached more often.

    Examples
    --------
    >>> one = np.log(np.array([[0.97, 0.01, 0.01, 0.01]]) / 0.25)
    >>> round(threshold(one, p=0.3), 2), round(threshold(np.repeat(one, 8, axis=0), p=4**-8), 2)
    (-0.93, 8.59)
    """
    steps = np.rint(np.asarray(motif, dtype=np.float64) / _STEP).astype(np.int64)
    low = steps.min(axis=1)
    chance = np.ones(1)
    for row, least in zip(steps, low):
        new = np.zeros(len(chance) + int(row.max() - least))
        for value in row - least:
            new[value : value + len(chance)] += chance / 4
        chance = new
    above = np.cumsum(chance[::-1])[::-1]
    scores = np.flatnonzero(chance)
    at = min(int((above[scores] > p * (1 + 1e-9)).sum()), len(scores) - 1)
    # between that score and the one below it, so that the rounding does not matter
    return float((scores[max(at - 1, 0) : at + 1].mean() + low.sum()) * _STEP)
