"""In-silico mutagenesis: every base of a stretch changed to each of the other three, one pass a change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import GenopredError
from genopred.sequence.effects import Effects, EffectSettings, SnpWindow, snp_window, window_effects
from genopred.sequence.haplotypes import Reference
from genopred.sequence.models.base import SequenceModel
from genopred.sequence.onehot import BASES, N_CODE, decode, encode
from genopred.types import VARIANT_SCHEMA, Interval


@dataclass(frozen=True)
class Mutagenesis:
    """What every single-base change of a stretch of n bases does, to G track groups."""

    #: The stretch.
    interval: Interval
    #: The model's window, with one row a change.
    window: SnpWindow
    #: The changes, three a base (none where it is N), columns of `VARIANT_SCHEMA`.
    snps: pl.DataFrame
    #: Of each change.
    effects: Effects
    #: The stretch on the forward strand.
    sequence: str

    def matrix(self, group: int = 0) -> NDArray[np.float64]:
        """Effects (n, 4) of changing each base to A, C, G, T; 0 for the base that is there, NaN where it is N."""
        out = np.full((self.interval.length, 4), np.nan)
        codes = encode(self.sequence)
        known = np.flatnonzero(codes != N_CODE)
        out[known, codes[known]] = 0.0
        used = self.snps[self.window.index]
        at = used["pos"].to_numpy() - 1 - self.interval.start
        out[at, [BASES.index(base) for base in used["alt"].to_list()]] = self.effects.effect[:, group]
        return out


def in_silico_mutagenesis(
    model: SequenceModel, reference: Reference, interval: Interval, settings: EffectSettings, *,
    tss: int | None = None, strand: str = "+", batch_size: int | None = None,
) -> Mutagenesis:  # fmt: skip
    """Change every base of a stretch to each of the other three.

    Parameters
    ----------
    model : SequenceModel
    reference : object with `fetch(Interval) -> str`
    interval : Interval
        The stretch, n bases inside the model's window.
    settings : EffectSettings
    tss : int, optional
        1-based; what stands at the model's TSS. The middle of the stretch by default.
    strand : {"+", "-"}
        Of the gene, for models that read in its direction.
    batch_size : int, optional

    Returns
    -------
    Mutagenesis
        Each change is one haplotype of `window_effects`: the same numbers as one pass with it minus one without.

    Raises
    ------
    GenopredError
        If the stretch is not inside the window, or holds nothing but N.
    """
    centre = (interval.start + interval.end) // 2 + 1 if tss is None else tss
    around = model.gene_window(interval.chrom, centre, strand)
    if interval.start < around.start or interval.end > around.end:
        raise GenopredError(
            f"--ism {interval.chrom}:{interval.start + 1:,}-{interval.end:,}: {model.name} sees "
            f"{around.start + 1:,}-{around.end:,} there ({model.window:,} bp around {centre:,}); choose a stretch "
            "inside it, or leave the gene out to have the window around the stretch."
        )
    sequence = reference.fetch(interval)
    snps = mutations(interval.chrom, interval.start + 1, sequence)
    if not snps.height:
        raise GenopredError(
            f"--ism {interval.chrom}:{interval.start + 1:,}-{interval.end:,}: the FASTA has nothing but N there."
        )
    window = snp_window(snps, reference, around, reverse=model.reads_reverse(strand))
    effects = window_effects(model, window, settings, batch_size=batch_size)
    return Mutagenesis(interval, window, snps, effects, decode(encode(sequence)))


def mutations(chrom: str, start: int, sequence: str) -> pl.DataFrame:
    """All single-base changes of a sequence whose first base has the 1-based position `start`.

    >>> mutations("22", 7, "GN").rows()[0], mutations("22", 7, "GN").height
    (('22', 7, '22:7:G:A', 'G', 'A'), 3)
    """
    rows = [
        (chrom, pos, f"{chrom}:{pos}:{ref}:{alt}", ref, alt)
        for pos, ref in enumerate(sequence.upper(), start)
        if ref in BASES
        for alt in BASES.replace(ref, "")
    ]
    return pl.DataFrame(rows, schema=VARIANT_SCHEMA, orient="row")
