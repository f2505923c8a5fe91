"""Genes with known truth: motifs planted around the TSS and in distal segments that are in contact with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import GenopredError
from genopred.sequence.onehot import encode, reverse_complement
from genopred.training.genes import GENE_SCHEMA, GeneData, GeneSplit

#: Planted around the TSS of every gene, in distal segments, and in both places without any effect: the consensus
#: sequences of GATA, ETS and E-box sites, lengthened so that chance finds them rarely.
PROMOTER, DISTAL, DECOY = "AGATAAGATAAG", "ACCGGAAGTGCC", "CCACGTGGTCAC"
#: Genes of a block, and bases from one TSS to the next.
_OF_BLOCK, _APART = 10, 50_000


@dataclass(frozen=True)
class SimulatedGenes:
    """What was simulated, and what is true of it.

    Attributes
    ----------
    data : GeneData
    split : GeneSplit
        Blocks of ten genes dealt at random: 70, 15 and 15 %.
    parts : dict of array, shape (G, C)
        `promoter`, `distal`, `noise`: they add up to `data.measured`.
    sites : polars.DataFrame
        A row a planted motif: row (of the gene), motif, segment (-1 around the TSS), start (0-based, without the
        flank), strand.
    """

    data: GeneData
    split: GeneSplit
    parts: dict[str, NDArray[np.float64]]
    sites: pl.DataFrame

    def share(self, *names: str) -> NDArray[np.float64]:
        """Share of the variance (C,) that these parts have: the R² of whoever knows them and no more."""
        known = sum(self.parts[name] for name in names)
        return np.var(known, axis=0) / np.var(self.data.measured.astype(np.float64), axis=0)  # type: ignore[arg-type]


def simulate_genes(
    n: int = 600, *, before: int = 900, after: int = 100, segments: int = 4, segment: int = 300, cells: int = 2,
    promoter: float = 0.4, distal: float = 0.4, seed: int = 1,
) -> SimulatedGenes:  # fmt: skip
    """Genes whose expression is the number of motifs around the TSS, those in contact, and noise.

    Expression in cell c is a_c times the copies of `PROMOTER` in the window (on either strand), plus the copies of
    `DISTAL` in the distal segments, each times the weight of its contact, plus normal noise. The first cell type has
    both parts; of the others each has the promoter's part halved, so that they differ. `DECOY` is planted as often and
    does nothing.

    Parameters
    ----------
    n : int
        Genes.
    before, after : int
        The window, in bp.
    segments, segment : int
        Distal segments of a gene and their length; no segments for genes without contacts.
    cells : int
    promoter, distal : float
        Shares of the first cell type's variance, up to how the two correlate by chance (`SimulatedGenes.share`).
    seed : int

    Returns
    -------
    SimulatedGenes

    Raises
    ------
    GenopredError
        If the shares leave nothing for noise, or there are too few genes.

    Examples
    --------
    >>> made = simulate_genes(200, seed=2)
    >>> made.data.codes.shape, made.data.weights.shape
    ((200, 1000), (200, 4))
    >>> bool(abs(made.share("promoter", "distal")[0] - 0.8) < 1e-6)
    True
    """
    distal = distal if segments else 0.0
    if not (promoter >= 0 and distal >= 0 and promoter + distal < 1) or n < 3 * _OF_BLOCK:
        raise GenopredError(
            f"promoter = {promoter}, distal = {distal}, n = {n}: needed shares that add up to less than 1, and at "
            f"least {3 * _OF_BLOCK} genes."
        )
    rng = np.random.default_rng(seed)
    codes = rng.choice(4, size=(n, before + after), p=(0.29, 0.21, 0.21, 0.29)).astype(np.uint8)
    far = rng.choice(4, size=(n, segments, segment), p=(0.29, 0.21, 0.21, 0.29)).astype(np.uint8)
    weights = rng.dirichlet(np.ones(segments), size=n) if segments else np.zeros((n, 0))
    sites: list[tuple[int, str, int, int, str]] = []
    near_count, far_count = np.zeros(n), np.zeros((n, segments))
    for row in range(n):
        near_count[row] = _plant(codes[row], PROMOTER, rng.poisson(1.5), rng, sites, (row, -1))
        _plant(codes[row], DECOY, rng.poisson(1.5), rng, sites, (row, -1), taken=PROMOTER)
        for i in range(segments):
            far_count[row, i] = _plant(far[row, i], DISTAL, rng.poisson(0.8), rng, sites, (row, i))
            _plant(far[row, i], DECOY, rng.poisson(0.8), rng, sites, (row, i), taken=DISTAL)
    of_cell = np.r_[1.0, np.full(cells - 1, 0.5)]
    near, contacts = _unit(near_count)[:, None], _unit((weights * far_count).sum(axis=1))[:, None]
    parts = {"promoter": np.sqrt(promoter) * near * of_cell, "distal": np.sqrt(distal) * contacts * np.ones(cells)}
    parts["noise"] = _left(rng.standard_normal((n, cells)), parts, 1 - promoter - distal)
    tss = 1 + before + _APART * np.arange(n)
    names = [f"G{i:05d}" for i in range(n)]
    columns: dict[str, Any] = {"gene_id": names, "gene": names, "chrom": "1", "tss": tss, "strand": "+"}
    genes = pl.DataFrame(columns | {"start": tss - 1 - before, "end": tss - 1 + after}, schema=GENE_SCHEMA)
    data = GeneData(
        genes,
        tuple(f"cell {c + 1}" for c in range(cells)),
        sum(parts.values()).astype(np.float32),  # type: ignore[attr-defined]
        "signal",
        codes,
        segments=far if segments else None,
        weights=weights.astype(np.float32) if segments else None,
    )
    block = np.arange(n) // _OF_BLOCK
    of_block = rng.permutation(np.arange(block[-1] + 1)) / (block[-1] + 1)
    part = np.array(["train", "validation", "test"])[np.digitize(of_block, (0.7, 0.85))][block]
    split = GeneSplit("block", part, block, np.full(n, ""))
    table = pl.DataFrame(sites, schema=["row", "motif", "segment", "start", "strand"], orient="row")
    return SimulatedGenes(data, split, parts, table)


def shuffled_contacts(made: SimulatedGenes) -> GeneData:
    """The same genes, each with the distal segments and weights of another."""
    data = made.data
    if data.segments is None or data.weights is None:
        raise GenopredError("these genes have no distal segments to shuffle; simulate some.")
    order = np.random.default_rng(1).permutation(len(data.codes))
    return replace(data, segments=data.segments[order], weights=data.weights[order])


def _plant(
    codes: NDArray[np.uint8], motif: str, copies: int, rng: np.random.Generator,
    sites: list[tuple[int, str, int, int, str]], of: tuple[int, int], taken: str = "",
) -> int:  # fmt: skip
    """Write copies of a motif into a sequence, none over another; how many found room."""
    width, row = len(motif), of[0]
    used = [start for r, name, where, start, _ in sites[-40:] if (r, where) == of and name in (motif, taken)]
    done = 0
    for start in rng.permutation(len(codes) - width)[: 4 * copies].tolist():
        if done < copies and all(abs(start - other) >= width for other in used):
            forward = bool(rng.random() < 0.5)
            bases = encode(motif).astype(np.uint8)
            codes[start : start + width] = bases if forward else reverse_complement(bases)  # type: ignore[arg-type]
            sites.append((row, motif, of[1], start, "+" if forward else "-"))
            used.append(start)
            done += 1
    return done


def _unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean 0 and variance 1; zero where nothing varies."""
    spread = x.std()
    return (x - x.mean()) / spread if spread > 0 else np.zeros_like(x)


def _left(noise: NDArray[np.float64], parts: dict[str, NDArray[np.float64]], share: float) -> NDArray[np.float64]:
    """Noise (G, C) that does not correlate with the parts and has that share of the first cell type's variance."""
    known = np.column_stack([np.ones(len(noise)), *(part[:, :1] for part in parts.values())])
    noise = noise - known @ np.linalg.lstsq(known, noise, rcond=None)[0]
    variance = float(np.var(sum(part[:, 0] for part in parts.values()))) or 1.0
    return noise / noise.std(axis=0) * np.sqrt(variance * share / (1 - share) if share < 1 else 1.0)
