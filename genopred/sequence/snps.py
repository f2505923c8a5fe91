"""Many SNPs: which belong to which gene, whether their REF is the FASTA's, and which windows score them, in parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.sequence.effects import EffectSettings, SnpWindow, effect_rows, snp_window, window_effects, windows_of
from genopred.sequence.haplotypes import Reference
from genopred.sequence.models.base import SequenceModel
from genopred.types import Interval, plain_chrom

#: SNPs around a gene when each has its own window and nothing else is said.
FLANK = 500_000
#: SNP-centred windows to a part of the output.
PART = 16
#: Bases whose REF alleles are compared at a time.
BLOCK = 200_000

#: A gene (gene_id, chrom, tss, strand, far), or none, and its SNPs as rows of a table.
GeneSnps = tuple[dict[str, Any] | None, NDArray[np.int64]]


def around_genes(
    snps: pl.DataFrame, genes: pl.DataFrame | None, model: SequenceModel, center: str,
    upstream: int | None = None, downstream: int | None = None,
) -> list[GeneSnps]:  # fmt: skip
    """Which SNPs belong to each gene; without genes, those of each chromosome together.

    `genes` have gene_id, chrom, tss, strand and far, the gene's other end. `upstream` and `downstream` are bases before
    the TSS and after that end; by default the model's window around the TSS, so that what is outside is no pair at all,
    or `FLANK` on each side of it with center `snp`.
    """
    if genes is None:
        parts = snps.with_row_index("row").partition_by("chrom", maintain_order=True)
        return [(None, part["row"].to_numpy().astype(np.int64)) for part in parts]
    pos, chrom = snps["pos"].to_numpy(), np.array([plain_chrom(name) for name in snps["chrom"].to_list()])
    found: list[GeneSnps] = []
    for gene in genes.iter_rows(named=True):
        before, after = model.tss_offset, model.window - 1 - model.tss_offset
        if center == "snp":
            before = after = FLANK
        minus = gene["strand"] == "-"
        if center == "tss" and minus and not model.strand_aware:
            before, after = after, before
        up = before if upstream is None else upstream
        down = after if downstream is None else downstream
        far = gene["tss"] if downstream is None else gene["far"]
        low, high = (far - down, gene["tss"] + up) if minus else (gene["tss"] - up, far + down)
        found.append((gene, np.flatnonzero((chrom == plain_chrom(gene["chrom"])) & (pos >= low) & (pos <= high))))
    return found


def only(
    snps: pl.DataFrame, around: Sequence[GeneSnps], keep: NDArray[np.bool_]
) -> tuple[pl.DataFrame, list[GeneSnps]]:
    """The SNPs to keep, and the genes' rows in their table."""
    place = np.cumsum(keep) - 1
    return snps.filter(pl.Series(keep, dtype=pl.Boolean)), [(gene, place[rows[keep[rows]]]) for gene, rows in around]


def compare_reference(
    snps: pl.DataFrame, reference: Reference, *, allow_swapped: bool = False
) -> tuple[list[str], list[str]]:
    """Hold every SNP's REF against the FASTA once, whichever windows it is in: status and mismatched of `SnpWindow`."""
    status: list[str] = []
    mismatched: list[str] = []
    for part in _blocks(snps):
        end = int((part["pos"] + part["ref"].str.len_chars().cast(pl.Int64)).max())  # type: ignore[arg-type]
        interval = Interval(part["chrom"][0], int(part["pos"][0]) - 1, end - 1)
        window = snp_window(part, reference, interval, allow_swapped=allow_swapped)
        status += window.status
        mismatched += window.mismatched
    return status, mismatched


def _blocks(snps: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Neighbours of one chromosome, within `BLOCK` bases of the first."""
    chrom, pos = snps["chrom"].to_list(), snps["pos"].to_list()
    begin = 0
    while begin < len(pos):
        end = begin
        while end < len(pos) and chrom[end] == chrom[begin] and pos[end] - pos[begin] < BLOCK and end - begin < 5000:
            end += 1
        yield snps[begin:end]
        begin = end


@dataclass(frozen=True)
class Part:
    """A gene's window, or some SNP-centred windows: what is computed and written at a time."""

    gene: dict[str, Any] | None
    index: NDArray[np.int64]  # into the SNP table
    windows: list[tuple[Interval, NDArray[np.int64]]]  # into `index`

    @property
    def place(self) -> dict[str, Any]:
        """Gene, tss and strand, as `effect_rows` takes them."""
        gene = self.gene or {"gene_id": None, "tss": None, "strand": "+"}
        return {"gene": gene["gene_id"], "tss": gene["tss"], "strand": gene["strand"]}


@dataclass(frozen=True)
class Plan:
    """What is to be scored."""

    parts: list[Part]
    used: NDArray[np.bool_]  # which SNPs are in a window of any gene
    inside: int  # SNPs in the windows of all genes together
    outside: int  # SNPs that are not in the window of their gene
    empty: list[str]  # genes without a SNP in their window
    nearest: int | None  # how far the nearest SNP outside its gene's window is from the TSS


def plan(model: SequenceModel, snps: pl.DataFrame, around: Sequence[GeneSnps], *, center: str, share: int = 0) -> Plan:
    """Lay the windows; see `genopred.sequence.effects.windows_of` for `center` and `share`."""
    parts: list[Part] = []
    used = np.zeros(snps.height, dtype=bool)
    inside, outside, empty, gaps = 0, 0, [], []
    for gene, index in around:
        some = snps[index]
        windows: list[tuple[Interval, NDArray[np.int64]]] = []
        where = {} if gene is None else {"tss": gene["tss"], "strand": gene["strand"]}
        for interval, members in windows_of(model, some, center=center, share=share, **where):
            pos = some["pos"].to_numpy()[members]
            last = pos + some["ref"].str.len_chars().to_numpy()[members].astype(np.int64) - 1
            fits = (pos > interval.start) & (last <= interval.end)
            outside += int((~fits).sum())
            if gene is not None and (~fits).any():
                gaps.append(int(np.abs(pos[~fits] - gene["tss"]).min()))
            if fits.any():
                windows.append((interval, members[fits]))
                used[index[members[fits]]] = True
                inside += int(fits.sum())
        if gene is not None and not windows:
            empty.append(gene["gene_id"])
        size = 1 if center == "tss" else PART
        parts += [Part(gene, index, windows[i : i + size]) for i in range(0, len(windows), size)]
    return Plan(parts, used, inside, outside, empty, min(gaps, default=None))


def open_windows(
    part: Part, model: SequenceModel, snps: pl.DataFrame, reference: Reference, settings: EffectSettings,
    *, allow_swapped: bool = False,
) -> tuple[str, list[tuple[SnpWindow, pl.DataFrame]]]:  # fmt: skip
    """SHA-256 of everything that a part's rows depend on, and its windows, each with its SNPs."""
    some, place = snps[part.index], part.place
    windows: list[tuple[SnpWindow, pl.DataFrame]] = []
    digest = hashlib.sha256(json.dumps(list(place.values())).encode())
    for interval, members in part.windows:
        table = some[members]
        reverse = model.reads_reverse(place["strand"])
        window = snp_window(table, reference, interval, reverse=reverse, allow_swapped=allow_swapped)
        digest.update(window.key(model, settings).encode() + table.write_csv().encode())
        windows.append((window, table))
    return digest.hexdigest(), windows


def score(
    part: Part, windows: Sequence[tuple[SnpWindow, pl.DataFrame]], model: SequenceModel, settings: EffectSettings, *,
    batch_size: int | None = None,
) -> pl.DataFrame:  # fmt: skip
    """The rows of a part, from its windows: columns of `EFFECT_SCHEMA`."""
    tables = []
    for window, table in windows:
        effects = window_effects(model, window, settings, batch_size=batch_size)
        tables.append(effect_rows(table, window, effects, settings, **part.place))
    return pl.concat(tables)
