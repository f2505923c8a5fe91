"""What every network that predicts a gene's expression has in common."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import torch
from torch import nn

from genopred.errors import ModelError
from genopred.training.networks.base import Network
from genopred.training.networks.composition import Composition, CompositionLayer
from genopred.training.networks.stem import AttentionPool

Link = Literal["identity", "softplus"]


@dataclass(frozen=True)
class GeneShape:
    """What a network reads of a gene, in the gene's direction.

    Parameters
    ----------
    before, after : int
        Bases before the TSS, and from the TSS on, which is the first of them.
    tracks : int
        Channels of signal along the window and the segments, behind A, C, G, T.
    segments, segment : int
        The most distal segments of a gene, and their length in bp; 0 without contacts.
    composition : Composition
        What is counted of the window's sequence and put beside what the network finds.

    Examples
    --------
    >>> GeneShape(before=10_000, after=1_000).window
    11000
    """

    before: int
    after: int
    tracks: int = 0
    segments: int = 0
    segment: int = 0
    composition: Composition = field(default_factory=Composition)

    def __post_init__(self) -> None:
        numbers = (self.before, self.after, self.tracks, self.segments, self.segment)
        if not all(isinstance(value, int) and not isinstance(value, bool) for value in numbers):
            raise ModelError(f"shape of a gene: {numbers}; needed whole numbers.")
        if self.before < 0 or self.after < 1:
            raise ModelError(f"before = {self.before}, after = {self.after}: needed 0 or more, and 1 or more bp.")
        if self.tracks < 0 or self.segments < 0 or self.segments > 0 and self.segment < 1:
            raise ModelError(
                f"tracks = {self.tracks}, segments = {self.segments}, segment = {self.segment}: needed 0 or more, and "
                "segments of 1 bp or more."
            )
        if self.window < self.composition.reach:
            raise ModelError(
                f"a window of {self.window} bp is shorter than a word or motif of [inputs], "
                f"{self.composition.reach} bp."
            )

    @property
    def window(self) -> int:
        """Bases around the TSS."""
        return self.before + self.after

    @property
    def channels(self) -> int:
        """Numbers a base: its one-hot code and the tracks."""
        return 4 + self.tracks

    @property
    def sequence_alone(self) -> bool:
        """Whether the sequence around the TSS is all that is read."""
        return self.tracks == 0 and self.segments == 0


class GeneInputs(NamedTuple):
    """B genes.

    Attributes
    ----------
    window : tensor, shape (B, L, 4 + tracks)
    segments : tensor, shape (B, D, S, 4 + tracks), optional
        Distal segments, zero where a gene has fewer.
    weights : tensor, shape (B, D), optional
        Of the contacts; 0 where there is no segment.
    """

    window: torch.Tensor
    segments: torch.Tensor | None = None
    weights: torch.Tensor | None = None


class GeneNetwork(Network):
    """Genes (`GeneInputs`) -> a number for each cell type, (B, C).

    A network makes tokens of a gene (`tokens`), has a `pool` for them and a `dropout`, and calls `finish(E)` at the end
    of its `__init__` with the E numbers that `embed` makes of a gene.

    Parameters
    ----------
    n_cells : int
    shape : GeneShape
    sizes : dict
        Every key of `SIZES`.
    link : {"identity", "softplus"}
        What the head's output goes through; softplus where expression is never negative.

    Attributes
    ----------
    reads_segments : bool
        Whether it has a use for distal segments.
    differentiable : bool
        Whether its output has a derivative by the one-hot sequence.
    integrated : tuple of types
        Modules that DeepLIFT has no rule for, and goes through by integrated gradients.
    """

    reads_segments: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    integrated: tuple[type[nn.Module], ...] = (AttentionPool, nn.LayerNorm)
    shape: GeneShape
    pool: AttentionPool
    dropout: nn.Module

    def __init__(self, n_cells: int, shape: GeneShape, sizes: dict[str, Any], link: Link = "identity") -> None:
        super().__init__(shape, sizes)
        if link not in get_args(Link):
            raise ModelError(f"link {link!r}: needed {' or '.join(get_args(Link))}.")
        if shape.segments and not self.reads_segments:
            raise ModelError(
                f"network.kind {self.kind!r} reads no distal segments; leave [contacts] out, or use dual-path."
            )
        self.n_cells, self.link = n_cells, link
        self.composition = CompositionLayer(shape.composition)
        self.positive = nn.Softplus()

    def finish(self, width: int) -> None:
        """Make the head over `width` numbers of `embed` and those of the composition."""
        self.head = nn.Linear(width + self.composition.width, self.n_cells)

    @staticmethod
    def given(onehot: torch.Tensor) -> GeneInputs:
        """What a network reads that reads the sequence around the TSS alone, (B, L, 4)."""
        return GeneInputs(onehot)

    def tokens(self, inputs: GeneInputs) -> torch.Tensor:
        """What is pooled of the windows of genes, (B, P, width)."""
        raise NotImplementedError

    def embed(self, inputs: GeneInputs) -> torch.Tensor:
        """What the network finds in genes, (B, E)."""
        return self.dropout(self.pool(self.tokens(inputs)))  # type: ignore[no-any-return]

    def forward(self, inputs: GeneInputs) -> torch.Tensor:
        found = self.embed(inputs)
        if self.composition.width:
            found = torch.cat([found, self.composition(inputs.window[..., :4])], dim=1)
        out = self.head(found)
        return self.positive(out) if self.link == "softplus" else out

    def attention_maps(self, inputs: GeneInputs) -> list[tuple[str, torch.Tensor]]:
        """Named maps (B, heads, positions) or (B, heads, queries, keys) of where the network looks.

        Positions are equal parts of the window (padded at its end where a network pads).
        """
        return [self.pool.map(self.tokens(inputs))]
