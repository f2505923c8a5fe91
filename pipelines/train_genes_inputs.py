"""What genes are made of, from files: windows, expression, signal along them, and distal segments."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.errors import AlignmentError, FormatError, GenopredError, examples, no_choice
from genopred.io.annotation import read_exons, read_gtf
from genopred.io.expression import read_expression
from genopred.io.expressiontable import ExpressionTable, read_expression_table
from genopred.io.fasta import Fasta
from genopred.io.lists import read_pairs
from genopred.sequence.onehot import N_CODE, encode, reverse_complement
from genopred.training.config_expression import ExpressionConfig, inside_cooler
from genopred.training.genes import GENE_SCHEMA, GeneData
from genopred.training.segments import choose_segments
from genopred.types import Interval, plain_chrom, plain_gene

log = logging.getLogger(__name__)


def genes_of(config: ExpressionConfig, lengths: dict[str, int], tally: align.Tally) -> tuple[pl.DataFrame, Any]:
    """Genes whose TSS is on a chromosome of the FASTA, with their windows; bases of their exons if these are needed."""
    of = config.genes
    bases: dict[str, float] | None = None
    if "genes.gtf" in config.paths:
        path = config.paths["genes.gtf"]
        table = read_gtf(path)
        tally.come("genes", f"in {path.name}", table.height)
        if of.types:
            known = set(table["gene_type"].drop_nulls())
            if unknown := [name for name in of.types if name not in known]:
                raise GenopredError(no_choice(f"genes.types: {unknown[0]}", unknown[0], sorted(known)))
            other = table.filter(~pl.col("gene_type").is_in(list(of.types)).fill_null(False))
            tally.drop("genes", "of another type", other["gene_id"].to_list())
            table = table.filter(pl.col("gene_type").is_in(list(of.types)).fill_null(False))
        if config.expression.unit == "counts" and config.expression.make != "cpm":
            bases = _exonic(path)
        table = table.with_columns(pl.col("gene_name").fill_null(""))
    else:
        found = read_expression(config.paths["genes.table"])
        table = found.genes.with_columns(gene_name=pl.lit(""))
        tally.come("genes", f"in {config.paths['genes.table'].name}", table.height)
    names = {plain_chrom(name): name for name in lengths}
    chroms = [names.get(plain_chrom(name), "") for name in table["chrom"].to_list()]
    table = table.with_columns(pl.Series("chrom", chroms, dtype=pl.String))
    absent = table.filter(pl.col("chrom") == "")
    tally.drop("genes", "no window: chromosome not among those of the FASTA", absent["gene_id"].to_list())
    table = table.filter(pl.col("chrom") != "")
    some(table, tally, f"is on a chromosome of the FASTA ({examples(list(lengths))})")
    beyond = table.filter(pl.col("tss") > pl.col("chrom").replace_strict(lengths, return_dtype=pl.Int64))
    if beyond.height:
        row = beyond.row(0, named=True)
        raise AlignmentError(
            f"{beyond.height} genes begin beyond the end of their chromosome ({row['gene_id']}: {row['chrom']}:"
            f"{row['tss']:,}, which has {lengths[row['chrom']]:,} bp in the FASTA): genes and FASTA are of different "
            "builds."
        )
    strand = pl.when(pl.col("strand") == "-").then(pl.lit("-")).otherwise(pl.lit("+"))
    minus, tss = pl.col("strand") == "-", pl.col("tss")
    table = table.with_columns(strand.alias("strand")).with_columns(
        pl.when(minus).then(tss - of.after).otherwise(tss - 1 - of.before).alias("start"),
        pl.when(minus).then(tss + of.before).otherwise(tss - 1 + of.after).alias("end"),
    )
    per = None if bases is None else np.array([bases.get(name, np.nan) for name in table["gene_id"].to_list()])
    return table.select(*GENE_SCHEMA, "gene_name"), per


def _exonic(path: Path) -> dict[str, float]:
    """Bases of each gene that are in an exon of any transcript."""
    exons = read_exons(path).select("gene_id", "start", "end").unique().sort("gene_id", "start")
    out: dict[str, float] = {}
    gene, high = "", 0
    for name, start, end in exons.iter_rows():
        high = 0 if name != gene else high
        gene = name
        out[name] = out.get(name, 0.0) + max(0, end - max(start - 1, high))
        high = max(high, end)
    return out


def some(genes: pl.DataFrame, tally: align.Tally, needed: str) -> None:
    if genes.height:
        return
    left = "; ".join(f"{n:,} {reason} ({shown})" for reason, n, shown in tally.dropped("genes"))
    raise AlignmentError(f"no gene {needed}; left out: {left or 'none'}.")


def measured_of(
    config: ExpressionConfig, genes: pl.DataFrame, lengths: dict[str, int], tally: align.Tally
) -> tuple[NDArray[np.float64], list[str], NDArray[np.float64] | None]:
    """Values (G, C), NaN where a gene has none; names of cell types; lengths of genes where the table has them."""
    parts, cells, bases = [], [], None
    if config.expression.file:
        values, names, bases = _of_table(config, genes, tally)
        parts, cells = [values], names
    for one in config.signal:
        if one.cell in cells:
            raise GenopredError(f"signal {one.cell}: expression.file has a cell type of this name; give another name.")
        parts.append(_at_tss(config, one, genes, lengths)[:, None])
        cells.append(one.cell)
    tally.come("cell types", "measured", len(cells))
    tally.use("cell types", "learned")
    measured = np.concatenate(parts, axis=1)
    silent = [cell for cell, column in zip(cells, measured.T) if not (np.nan_to_num(column) != 0).any()]
    if silent:
        raise AlignmentError(
            f"{len(silent)} of {len(cells)} cell types have no expression in any of {genes.height:,} genes "
            f"({examples(silent)}); leave them out, or give their data."
        )
    return measured, cells, bases


def _of_table(
    config: ExpressionConfig, genes: pl.DataFrame, tally: align.Tally
) -> tuple[NDArray[np.float64], list[str], NDArray[np.float64] | None]:
    of, path = config.expression, config.paths["expression.file"]
    table = _table(path)
    cells = list(of.cells) or list(table.cells)
    if unknown := [name for name in cells if name not in table.cells]:
        raise AlignmentError(
            no_choice(
                f"expression.cells: {len(unknown)} of {len(cells)} are not in {path}: {unknown[0]}",
                unknown[0],
                table.cells,
            )
            if len(table.cells) < 20
            else f"expression.cells: {len(unknown)} of {len(cells)} are not in {path} ({examples(unknown)})."
        )
    values = table.values[:, [table.cells.index(name) for name in cells]]
    if of.average:
        with np.errstate(invalid="ignore"):
            known = np.isfinite(values).any(axis=1)
            values = np.where(
                known, np.nansum(values, axis=1) / np.maximum(1, np.isfinite(values).sum(axis=1)), np.nan
            )[:, None]
        log.info("%s: the mean over %d samples is the one cell type", path, len(cells))
        cells = ["mean"]
    at = _matched(table, genes)
    if not (at >= 0).any():
        raise AlignmentError(
            f"{path}: none of its {len(table.genes):,} genes ({examples(table.genes)}) is among those with a TSS "
            f"({examples(genes['gene_id'].to_list())}); needed Ensembl ids or unique names of the same annotation."
        )
    tally.note(
        "genes", f"in {path.name} and not among those with a TSS", int(len(table.genes) - len(np.unique(at[at >= 0])))
    )
    out = np.where((at >= 0)[:, None], values[at], np.nan)
    bases = None if table.lengths is None else np.where(at >= 0, table.lengths[at], np.nan)
    return out, cells, bases


def _table(path: Path) -> ExpressionTable:
    """A table of genes x cell types, or an expression BED, whose samples are the columns."""
    if path.name.removesuffix(".gz").lower().endswith(".bed"):
        found = read_expression(path)
        if (found.values < 0).any():
            sample, gene = np.argwhere(found.values < 0)[0]
            raise FormatError(
                f"{path}: gene {found.genes['gene_id'][int(gene)]}, sample {found.samples[sample]}: a value below 0; "
                "needed counts or abundances, 0 or more."
            )
        return ExpressionTable(tuple(found.genes["gene_id"]), tuple(found.samples.tolist()), found.values.T)
    return read_expression_table(path)


def _matched(table: ExpressionTable, genes: pl.DataFrame) -> NDArray[np.int64]:
    """Row of each gene in the table, -1 without one: by id without version, else by a name that only one gene has."""
    plain = [plain_gene(name) for name in table.genes]
    twice = {name for name, n in Counter(plain).items() if n > 1}
    rows = {name: i for i, name in enumerate(plain) if name not in twice}
    rows |= {name: i for i, name in enumerate(table.genes)}
    times = Counter(genes["gene_name"].to_list())
    out = [
        rows.get(full, rows.get(name, rows.get(called, -1) if called and times[called] == 1 else -1))
        for full, name, called in genes.select("gene_id", "gene", "gene_name").iter_rows()
    ]
    return np.array(out, dtype=np.int64)


def _at_tss(config: ExpressionConfig, one: Any, genes: pl.DataFrame, lengths: dict[str, int]) -> NDArray[np.float64]:
    """Signal on each gene's strand, summed over its TSS +- radius."""
    from genopred.io.bigwig import read_stretches

    chroms, strand = genes["chrom"].to_list(), genes["strand"].to_numpy()
    starts = genes["tss"].to_numpy() - 1 - one.radius

    def summed(key: str) -> NDArray[np.float64]:
        file = config.paths[f"signal.{one.cell}.{key}"]
        return read_stretches(file, lengths, chroms, starts, 2 * one.radius + 1).sum(axis=1, dtype=np.float64)

    if one.file:
        return summed("file")
    return np.where(strand == "-", summed("minus"), summed("plus"))


def codes_of(fasta: Fasta, genes: pl.DataFrame, flank: int) -> NDArray[np.uint8]:
    """Windows with their flanks, in the genes' direction."""
    rows = genes.select("chrom", "start", "end", "strand").iter_rows()
    return np.stack([stretch(fasta, Interval(chrom, a - flank, b + flank), strand) for chrom, a, b, strand in rows])


def stretch(fasta: Fasta, interval: Interval, strand: str) -> NDArray[np.uint8]:
    """Codes of the bases, in the direction of a gene."""
    codes = encode(fasta.fetch(interval))
    return (reverse_complement(codes) if strand == "-" else codes).astype(np.uint8)


def with_tracks(config: ExpressionConfig, data: GeneData) -> GeneData:
    """Signal along windows and segments, as means of steps that begin at the 5' end of each."""
    if not config.tracks:
        return data
    from genopred.io.bigwig import read_stretches

    chroms, minus = data.genes["chrom"].to_list(), (data.genes["strand"] == "-").to_numpy()
    starts = data.genes["start"].to_numpy() - data.flank
    tracks, far = [], []
    for one in config.tracks:
        file = config.paths[f"inputs.tracks.{one.name}.file"]
        values = read_stretches(file, data.lengths, chroms, starts, data.codes.shape[1])
        values[minus] = values[minus, ::-1]
        tracks.append(_steps(values, data.step))
        if data.places is not None:
            g, d, _ = data.places.shape
            at, width = data.places[..., 0].ravel(), config.contacts.segment
            there = at >= 0
            flat = np.zeros((g * d, width), dtype=np.float32)
            named = np.repeat(np.asarray(chroms, dtype=object), d)[there].tolist()
            flat[there] = read_stretches(file, data.lengths, named, at[there], width)
            turned = np.repeat(minus, d)
            flat[turned] = flat[turned, ::-1]
            far.append(_steps(flat, data.step).reshape(g, d, -1))
    changed: dict[str, Any] = {
        "tracks": np.stack(tracks, axis=1),
        "track_names": tuple(one.name for one in config.tracks),
    }
    if far:
        changed["segment_tracks"] = np.stack(far, axis=2)
    return replace(data, **changed)


def _steps(values: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Means of `step` values; the last may be of fewer."""
    edges = np.arange(0, values.shape[1], step)
    widths = np.diff(np.append(edges, values.shape[1]))
    return (np.add.reduceat(values, edges, axis=1) / widths).astype(np.float32)


def with_segments(config: ExpressionConfig, data: GeneData, fasta: Fasta, tally: align.Tally) -> GeneData:
    """Distal segments, where there are contacts."""
    of = config.contacts
    if not config.distal:
        if "contacts.file" in config.paths:
            log.warning("network.kind = %r reads no distal segments: contacts.file is not used", config.kind)
        return data
    from genopred.io.contacts import read_contacts

    genes = data.genes
    tss = {key[0]: part["tss"].to_numpy() - 1 for key, part in genes.group_by("chrom", maintain_order=True)}
    limits: dict[str, Any] = {"nearest": of.nearest, "farthest": of.farthest}
    where: dict[str, Any] = {"farthest": of.farthest, "resolution": of.resolution, "inside": inside_cooler(of.file)}
    contacts = read_contacts(config.paths["contacts.file"], data.lengths, tss, **where)
    places, weights = choose_segments(genes, contacts, segments=of.segments, segment=of.segment, **limits)
    beyond = places[..., 1] > np.array([data.lengths[chrom] for chrom in genes["chrom"].to_list()])[:, None]
    places[beyond], weights[beyond] = -1, 0
    if not (weights > 0).any():
        raise AlignmentError(
            f"contacts.file: none of {contacts.height:,} contacts has a TSS of {genes.height:,} genes in one end and "
            f"the other end {of.nearest:,} to {of.farthest:,} bp away; change contacts.nearest and farthest, or leave "
            "the file out."
        )
    segments = np.full((genes.height, of.segments, of.segment), N_CODE, dtype=np.uint8)
    for row, (chrom, strand) in enumerate(genes.select("chrom", "strand").iter_rows()):
        for i in np.flatnonzero(places[row, :, 0] >= 0).tolist():
            start, end = places[row, i].tolist()
            segments[row, i] = stretch(fasta, Interval(chrom, start, end), strand)
    tally.come("distal segments", f"in {config.paths['contacts.file'].name}", int((weights > 0).sum()))
    tally.note("genes", "without contacts", int((weights == 0).all(axis=1).sum()))
    tally.use("distal segments", "read")
    return replace(data, segments=segments, weights=weights, places=places)


def families_of(config: ExpressionConfig, genes: pl.DataFrame) -> NDArray[np.str_] | None:
    if "genes.families" not in config.paths:
        return None
    path = config.paths["genes.families"]
    family = {plain_gene(gene): of for gene, of in read_pairs(path, "gene", "family").items()}
    rows = genes.select("gene", "gene_name").iter_rows()
    out = np.array([family.get(gene, family.get(name, "")) for gene, name in rows])
    if not (out != "").any():
        raise AlignmentError(
            f"{path}: none of its {len(family):,} genes ({examples(list(family))}) is used; needed ids or names as in "
            "the genes' file."
        )
    return out


def batches_of(config: ExpressionConfig, cells: tuple[str, ...]) -> list[str] | None:
    if "expression.batches" not in config.paths:
        return None
    path = config.paths["expression.batches"]
    batch = read_pairs(path, "cell", "batch")
    if lacking := [cell for cell in cells if cell not in batch]:
        raise AlignmentError(f"{path}: {len(lacking)} of {len(cells)} cell types have no batch ({examples(lacking)}).")
    return [batch[cell] for cell in cells]
