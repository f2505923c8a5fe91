"""SNPs, a FASTA and a sequence model -> a table of ALT minus REF; or every mutation of a stretch, with a picture."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.errors import AlignmentError, GenopredError, examples
from genopred.files import atomic, safe_name, write_files, write_json
from genopred.io.lists import read_ids, read_patterns
from genopred.io.text import PathLike
from genopred.io.variants import check_unique, extract_variants, named, read_variants
from genopred.pipelines.inputs import open_genotypes
from genopred.pipelines.run import Progress, Run, identity, say
from genopred.pipelines.sequence_inputs import genome_build, load_models, named_genes, with_strands
from genopred.sequence.effects import (
    EFFECT_SCHEMA,
    MATCH,
    OUTSIDE,
    STRAND,
    SWAPPED,
    EffectSettings,
    SnpWindow,
    check_reference_alleles,
    effect_rows,
    snp_window,
    window_effects,
    windows_of,
)
from genopred.sequence.models.base import SequenceModel
from genopred.settings import Effects
from genopred.settings.effects import Region
from genopred.types import VARIANT_SCHEMA, Interval, MatchReport, plain_chrom

if TYPE_CHECKING:
    from genopred.sequence.attribution import Mutagenesis

log = logging.getLogger(__name__)

#: Everything that is written after `<out>.`; what a stopped run has is in parts until the table is whole.
OUTPUTS = ("parquet", "tsv", "matched.tsv", "json", "*png", "*svg", "parts/*")

#: SNPs around a gene when each has its own window and nothing else is said.
FLANK = 500_000
#: SNP-centred windows to a part of the output.
PART = 16
#: Bases whose REF alleles are compared at a time.
BLOCK = 200_000

USED = (MATCH, SWAPPED, STRAND)


@dataclass(frozen=True)
class EffectsResult:
    """What a run did.

    Attributes
    ----------
    table : polars.DataFrame
        Columns of `genopred.sequence.effects.EFFECT_SCHEMA`.
    report : MatchReport
        Of genes, variants and gene-variant pairs.
    manifest : dict
    files : list of Path
    reused : bool
        Whether the whole table was there already.
    """

    table: pl.DataFrame = field(repr=False)
    report: MatchReport
    manifest: dict[str, Any] = field(repr=False)
    files: list[Path]
    reused: bool = False

    def lines(self) -> list[str]:
        """For the screen."""
        t = self.table
        genes = t["gene"].drop_nulls().n_unique()
        out = [
            f"{t.select('chrom', 'pos', 'ref', 'alt').n_unique():,} SNPs"
            + (f" of {genes:,} gene{'s' if genes != 1 else ''}" if genes else "")
            + f", {len(self.manifest['groups']):,} track group{'s' if len(self.manifest['groups']) != 1 else ''} of "
            f"{self.manifest['model']}" + (" (there already)" if self.reused else "")
        ]
        out += [line for line in self.report.lines() if ": 0 " not in line]
        return out + [f"  {file}" for file in self.files]


@dataclass(frozen=True)
class _Job:
    """A gene's window, or some SNP-centred windows: what is written as one part."""

    gene: dict[str, Any] | None
    index: NDArray[np.int64]  # into the SNP table
    windows: list[tuple[Interval, NDArray[np.int64]]]  # into `index`


def run(settings: Effects, progress: Progress | None = None) -> EffectsResult:
    """Compute the effects and write `<out>.parquet`, `<out>.tsv`, `<out>.matched.tsv` and `<out>.json`.

    Parts that an earlier run of the same command computed are not computed again; they are in `<out>.parts` until
    the table is whole.

    Parameters
    ----------
    settings : genopred.settings.Effects
    progress : callable, optional
        `progress(done, total, label)`.

    Raises
    ------
    GenopredError
        On bad input of any kind, before the first SNP where possible.
    """
    with Run(settings, OUTPUTS, progress, own_threads=True) as job:
        job.sweep()
        return _snp_effects(job, settings) if settings.ism is None else _mutagenesis(job, settings, settings.ism)


def _snp_effects(job: Run, settings: Effects) -> EffectsResult:
    from genopred.io.fasta import open_fasta

    tally = align.Tally()
    snps = _snps(settings, tally)
    genes = _genes(settings)
    fasta = open_fasta(settings.fasta)
    snps, genes = _on_known_chromosomes(settings, snps, genes, fasta, tally)
    model = load_models(settings)[0]
    chosen = _settings(settings, model)
    genes = None if genes is None else with_strands(settings, model, genes)
    center = settings.centre
    if center == "snp" and not model.reads_either_strand:
        log.warning(
            "%s reads a gene from its TSS; with --center snp the SNP stands where it has the TSS, which it was not "
            "trained for.",
            model.name,
        )
    snps, around = _around_genes(settings, snps, genes, model, center, tally)
    snps, around = _compare_reference(settings, snps, around, fasta, tally)
    parts, distance = _jobs(settings, model, snps, around, center, tally)
    report = tally.report()
    say(report)
    if not parts:
        raise AlignmentError(_nothing_to_score(model, center, tally, distance))
    manifest = _manifest(settings, model, chosen, center, fasta, snps)
    manifest["request"] = _request(settings, manifest, snps, around)
    former = _former(job, manifest["request"])
    if former is not None:
        job.step(len(parts), len(parts), "there already")
        return EffectsResult(former, report, manifest, _files(job), reused=True)
    folder = job.path("parts")
    tables = []
    for i, part in enumerate(parts):
        tables.append(_part(settings, model, chosen, snps, fasta, part, folder))
        job.step(i + 1, len(parts), part.gene["gene_id"] if part.gene else f"window {i + 1}")
    table = pl.concat(tables)
    _write(job, table, report, manifest)
    shutil.rmtree(folder, ignore_errors=True)
    undefined = int(table["log_fc"].null_count())
    if undefined and not model.log_scale:
        log.warning(
            "log_fc: undefined in %d of %d rows, where a prediction is not above -pseudocount", undefined, len(table)
        )
    return EffectsResult(table, report, manifest, _files(job))


def _snps(settings: Effects, tally: align.Tally) -> pl.DataFrame:
    """The SNPs on offer, after --extract, --exclude and --region."""
    if settings.snps is not None:
        source: PathLike = settings.snps
        table, notes = read_variants(settings.snps), ()
    else:
        genotypes = open_genotypes(settings, split=True)
        source, table = genotypes.source, named(genotypes.variants)
        notes = genotypes.notes
    tally.opened("variants", str(source), table.height, notes)

    def keep(kept: pl.DataFrame, reason: str) -> pl.DataFrame:
        tally.drop("variants", reason, table.height - kept.height)
        return kept

    if settings.extract is not None:
        wanted = read_ids(settings.extract).tolist()
        kept = extract_variants(table, wanted, source, settings.extract)
        absent = sorted(set(wanted) - set(kept["id"].to_list()))
        tally.note("variants", f"in {settings.extract} but not in {source}", absent)
        table = keep(kept, "not in --extract")
    if settings.exclude is not None:
        unwanted = read_ids(settings.exclude).tolist()
        table = keep(table.filter(~pl.col("id").is_in(unwanted)), "in --exclude")
    if settings.region is not None:
        kept = table.filter(_inside(table, settings.region))
        if not kept.height:
            chroms = examples(table["chrom"].unique(maintain_order=True).to_list())
            raise AlignmentError(
                f"--region {_said(settings.region)}: none of the {table.height:,} SNPs of {source} is there (they "
                f"are on {chroms}); check the build and the chromosome."
            )
        table = keep(kept, "outside --region")
    if not table.height:
        raise AlignmentError(f"{source}: no SNPs are left after --extract and --exclude; check the ids in those files.")
    table = check_unique(table.select(list(VARIANT_SCHEMA)), source)
    rank = {name: i for i, name in enumerate(table["chrom"].unique(maintain_order=True).to_list())}
    order = pl.col("chrom").replace_strict(rank, return_dtype=pl.Int64)
    return table.with_columns(order.alias("order")).sort("order", "pos", maintain_order=True).drop("order")


def _inside(table: pl.DataFrame, region: Region) -> pl.Expr:
    names = [name for name in table["chrom"].unique().to_list() if plain_chrom(name) == plain_chrom(region.chrom)]
    return pl.col("chrom").is_in(names) & (pl.col("pos") > region.start) & (pl.col("pos") <= region.end)


def _said(region: Region) -> str:
    return f"{region.chrom}:{region.start + 1:,}-{region.end:,}"


def _genes(settings: Effects) -> pl.DataFrame | None:
    """The genes asked for: gene_id, gene, chrom, tss, strand, far (the gene's other end where known)."""
    if not settings.names_genes:
        return None
    if settings.gtf is not None:
        from genopred.io.annotation import read_gtf

        table = read_gtf(settings.gtf)
        far = pl.when(pl.col("strand") == "-").then(pl.col("start")).otherwise(pl.col("end"))
    elif settings.expression is not None:
        from genopred.io.expression import read_expression

        table = read_expression(settings.expression).genes
        far = pl.col("tss")
    else:
        raise GenopredError("Genes: neither --gtf nor --expression given; one of them must say where the TSSs are.")
    table = table.with_columns(far.alias("far")).select("gene_id", "gene", "chrom", "tss", "strand", "far")
    return named_genes(settings, table, settings.gtf or settings.expression)


def _on_known_chromosomes(
    settings: Effects, snps: pl.DataFrame, genes: pl.DataFrame | None, fasta: Any, tally: align.Tally
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """SNPs and genes whose chromosome is in the FASTA, and none beyond its end."""
    have = {plain_chrom(name) for name in fasta.chroms}
    there = pl.col("chrom").map_elements(lambda name: plain_chrom(name) in have, return_dtype=pl.Boolean)
    kept = snps.filter(there)
    if not kept.height:
        fasta.length(snps["chrom"][0])  # its own error
    tally.drop("variants", f"chromosome not in {settings.fasta}", snps.height - kept.height)
    for what, table, column in (("SNP", kept, "pos"), ("TSS", genes, "tss")):
        for chrom, last in [] if table is None else table.group_by("chrom").agg(pl.col(column).max()).iter_rows():
            if plain_chrom(chrom) in have and last > fasta.length(chrom):
                raise AlignmentError(
                    f"{settings.fasta}: {chrom} has {fasta.length(chrom):,} bases, and a {what} is at {last:,}; the "
                    f"FASTA is of another genome build than the {what}s. Give the reference of their build."
                )
    if genes is None:
        return kept, None
    chroms = {plain_chrom(name) for name in kept["chrom"].unique().to_list()}
    with_snps = pl.col("chrom").map_elements(lambda name: plain_chrom(name) in chroms, return_dtype=pl.Boolean)
    near = genes.filter(with_snps)
    tally.come("genes", str(settings.gtf or settings.expression), genes.height)
    tally.drop("genes", "on a chromosome without SNPs", genes.height - near.height)
    if not near.height:
        raise AlignmentError(
            f"None of the {genes.height:,} genes is on a chromosome of the SNPs ({examples(sorted(chroms))}); the "
            f"genes are on {examples(sorted(set(genes['chrom'].to_list())))}."
        )
    return kept, near


def _around_genes(
    settings: Effects,
    snps: pl.DataFrame,
    genes: pl.DataFrame | None,
    model: SequenceModel,
    center: str,
    tally: align.Tally,
) -> tuple[pl.DataFrame, list[tuple[dict[str, Any] | None, NDArray[np.int64]]]]:
    """Which SNPs belong to each gene (indices into the table); SNPs of none are left out."""
    if genes is None:
        parts = snps.with_row_index("row").partition_by("chrom", maintain_order=True)
        return snps, [(None, part["row"].to_numpy().astype(np.int64)) for part in parts]
    pos, chrom = snps["pos"].to_numpy(), np.array([plain_chrom(name) for name in snps["chrom"].to_list()])
    chosen: list[tuple[dict[str, Any] | None, NDArray[np.int64]]] = []
    touched = np.zeros(snps.height, dtype=bool)
    for gene in genes.iter_rows(named=True):
        # the model's window by default, so that what is outside is no pair at all; a flank of its own otherwise
        before, after = model.tss_offset, model.window - 1 - model.tss_offset
        if center == "snp":
            before = after = FLANK
        minus = gene["strand"] == "-"
        if center == "tss" and minus and not model.strand_aware:
            before, after = after, before
        up = before if settings.upstream is None else settings.upstream
        down = after if settings.downstream is None else settings.downstream
        far = gene["tss"] if settings.downstream is None else gene["far"]
        low, high = (far - down, gene["tss"] + up) if minus else (gene["tss"] - up, far + down)
        index = np.flatnonzero((chrom == plain_chrom(gene["chrom"])) & (pos >= low) & (pos <= high))
        touched[index] = True
        chosen.append((gene, index))
    tally.drop("variants", "in no gene's window", int((~touched).sum()))
    place = np.cumsum(touched) - 1
    return snps.filter(pl.Series(touched)), [(gene, place[index]) for gene, index in chosen]


def _compare_reference(
    settings: Effects,
    snps: pl.DataFrame,
    chosen: list[tuple[dict[str, Any] | None, NDArray[np.int64]]],
    fasta: Any,
    tally: align.Tally,
) -> tuple[pl.DataFrame, list[tuple[dict[str, Any] | None, NDArray[np.int64]]]]:
    """Hold every SNP's REF against the FASTA once; those that cannot be used are left out and counted."""
    status: list[str] = []
    shown: list[str] = []
    for part in _blocks(snps):
        end = int((part["pos"] + part["ref"].str.len_chars().cast(pl.Int64)).max())  # type: ignore[arg-type]
        interval = Interval(part["chrom"][0], int(part["pos"][0]) - 1, end - 1)
        window = snp_window(part, fasta, interval, allow_swapped=settings.allow_swapped)
        status += window.status
        shown += window.mismatched
    source = str(settings.snps or settings.genotypes[1])  # type: ignore[index]
    check_reference_alleles(status, shown, source, settings.max_ref_mismatch, settings.allow_swapped)
    ids = np.array(snps["id"].to_list(), dtype=object)
    kinds = np.array(status, dtype=object)
    for kind in dict.fromkeys(status):
        names = ids[kinds == kind].tolist()
        if kind in USED:
            if kind != MATCH:
                how = "the FASTA has ALT" if kind == SWAPPED else "on the FASTA's other strand"
                tally.note("variants", f"REF compared with the FASTA: {kind} ({how}), put right", names)
        else:
            tally.drop("variants", kind, names)
    good = np.isin(kinds.astype(str), USED) if len(kinds) else np.zeros(0, dtype=bool)
    place = np.cumsum(good) - 1
    return snps.filter(pl.Series(good, dtype=pl.Boolean)), [(g, place[i[good[i]]]) for g, i in chosen]


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


def _jobs(
    settings: Effects,
    model: SequenceModel,
    snps: pl.DataFrame,
    chosen: list[tuple[dict[str, Any] | None, NDArray[np.int64]]],
    center: str,
    tally: align.Tally,
) -> tuple[list[_Job], int | None]:
    """What is to be computed, and how far the nearest SNP that is outside its window is from the TSS."""
    jobs: list[_Job] = []
    used = np.zeros(snps.height, dtype=bool)
    outside, inside, empty = 0, 0, []
    nearest: int | None = None
    for gene, index in chosen:
        some = snps[index]
        windows: list[tuple[Interval, NDArray[np.int64]]] = []
        where = {} if gene is None else {"tss": gene["tss"], "strand": gene["strand"]}
        for interval, members in windows_of(model, some, center=center, share=settings.share, **where):
            pos = some["pos"].to_numpy()[members]
            last = pos + some["ref"].str.len_chars().to_numpy()[members].astype(np.int64) - 1
            fits = (pos > interval.start) & (last <= interval.end)
            outside += int((~fits).sum())
            if gene is not None and (~fits).any():
                gap = int(np.abs(pos[~fits] - gene["tss"]).min())
                nearest = gap if nearest is None else min(nearest, gap)
            if fits.any():
                windows.append((interval, members[fits]))
                used[index[members[fits]]] = True
                inside += int(fits.sum())
        if gene is not None and not windows:
            empty.append(gene["gene_id"])
        size = 1 if center == "tss" else PART
        jobs += [_Job(gene, index, windows[i : i + size]) for i in range(0, len(windows), size)]
    tally.drop("variants", OUTSIDE, int((~used).sum()))
    tally.use("variants", "scored", int(used.sum()))
    if chosen and chosen[0][0] is not None:
        tally.drop("genes", "no SNP to score", empty)
        tally.use("genes", "with SNPs", len(chosen) - len(empty))
        tally.come("pairs", "SNPs in the genes' windows", outside + inside)
        tally.drop("pairs", OUTSIDE, outside)
        tally.use("pairs", "scored", inside)
    return jobs, nearest


def _nothing_to_score(model: SequenceModel, center: str, tally: align.Tally, nearest: int | None) -> str:
    dropped = [f"{n:,} {reason}" for reason, n, _ in tally.dropped("variants")]
    text = f"No SNP can be scored: {', '.join(dropped) or 'none given'}."
    if center == "tss":
        before, after = model.tss_offset, model.window - 1 - model.tss_offset
        text += f" {model.name} sees {before:,} bp before and {after:,} bp after a TSS"
        text += f"; the nearest SNP is {nearest:,} bp away." if nearest is not None else "."
        text += " Choose other genes or SNPs, or give each SNP its own window with --center snp."
    return text


def _settings(settings: Effects, model: SequenceModel) -> EffectSettings:
    """What decides the numbers; a file of tracks is a group called as the file."""
    files = []
    if settings.tracks_file is not None:
        name = re.sub(r"\.(gz|tsv|txt|csv)$", "", re.sub(r"\.gz$", "", settings.tracks_file.name))
        files.append((name, read_patterns(settings.tracks_file)))
    return EffectSettings.of(model, tracks=settings.tracks or None, files=files, **settings.shared(EffectSettings))


def _manifest(
    settings: Effects, model: SequenceModel, chosen: EffectSettings, center: str, fasta: Any, snps: pl.DataFrame
) -> dict[str, Any]:
    return {
        "model": model.name,
        "model_origin": model.origin,
        "checkpoint_hash": model.checkpoint_hash,
        "window": model.window,
        "tss_offset": model.tss_offset,
        "bin_size": model.bin_size,
        "log_scale": model.log_scale,
        "fasta": str(settings.fasta),
        "build": genome_build(fasta.length(chrom) for chrom in snps["chrom"].unique().to_list()),
        "snps": str(settings.snps or (settings.genotypes or ("", ""))[1]),
        "center": center,
        "share": settings.share,
        "groups": {name: len(tracks) for name, tracks in chosen.groups},
        "settings": {key: value for key, value in chosen.key().items() if key != "groups"},
        "columns": list(EFFECT_SCHEMA),
    }


def _request(
    settings: Effects,
    manifest: dict[str, Any],
    snps: pl.DataFrame,
    chosen: list[tuple[dict[str, Any] | None, NDArray[np.int64]]],
) -> str:
    """Hash of all that a run depends on; of a large FASTA some stretches, as its bases are many."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode())
    digest.update(f"{identity(settings.fasta)} {settings.tracks}".encode())
    digest.update(snps.write_csv().encode())
    for gene, index in chosen:
        digest.update(json.dumps(gene).encode() + index.tobytes())
    return digest.hexdigest()


def _files(job: Run) -> list[Path]:
    return [job.path(name) for name in OUTPUTS[:4]]


def _former(job: Run, request: str) -> pl.DataFrame | None:
    """The table of an earlier run that was asked for the same."""
    files = _files(job)
    if not job.settings.resume or not all(file.is_file() for file in files):
        return None
    try:
        if json.loads(files[-1].read_text()).get("request") != request:
            return None
        table = pl.read_parquet(files[0])
    except (OSError, ValueError, AttributeError, RecursionError, pl.exceptions.PolarsError):
        return None
    return table if dict(table.schema) == {k: v() for k, v in EFFECT_SCHEMA.items()} else None


def _part(
    settings: Effects,
    model: SequenceModel,
    chosen: EffectSettings,
    snps: pl.DataFrame,
    fasta: Any,
    job: _Job,
    folder: Path,
) -> pl.DataFrame:
    """The rows of one job, from an earlier run's part where there is one."""
    some = snps[job.index]
    gene = job.gene or {"gene_id": None, "tss": None, "strand": "+"}
    reverse = model.reads_reverse(gene["strand"])
    windows: list[tuple[SnpWindow, pl.DataFrame]] = []
    digest = hashlib.sha256(json.dumps([gene["gene_id"], gene["tss"], gene["strand"]]).encode())
    for interval, members in job.windows:
        table = some[members]
        window = snp_window(table, fasta, interval, reverse=reverse, allow_swapped=settings.allow_swapped)
        digest.update(window.key(model, chosen).encode() + table.write_csv().encode())
        windows.append((window, table))
    path = folder / f"{digest.hexdigest()}.parquet"
    if settings.resume and path.is_file():
        try:
            return pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError):
            log.warning("%s is damaged and computed again", path)
    parts = [
        effect_rows(
            table,
            window,
            window_effects(model, window, chosen, batch_size=settings.batch_size),
            chosen,
            gene=gene["gene_id"],
            tss=gene["tss"],
            strand=gene["strand"],
        )
        for window, table in windows
    ]
    out = pl.concat(parts)
    with atomic(path) as temporary:
        out.write_parquet(temporary)
    return out


def _write(job: Run, table: pl.DataFrame, report: MatchReport, manifest: dict[str, Any]) -> None:
    write_files(
        {
            job.path("parquet"): lambda path: table.write_parquet(path),
            job.path("tsv"): lambda path: table.write_csv(path, separator="\t"),
        }
    )
    job.matched(report)
    write_json(job.path("json"), manifest)


def _mutagenesis(job: Run, settings: Effects, region: Region) -> EffectsResult:
    """`--ism`: the table of all changes of a stretch, and a picture of each track group."""
    from genopred.io.fasta import open_fasta
    from genopred.sequence.attribution import gradients, in_silico_mutagenesis

    tally = align.Tally()
    genes = _genes(settings)
    if genes is not None and genes.height != 1:
        raise GenopredError(f"--ism: {genes.height} genes were chosen; give one --gene, or none.")
    gene = None if genes is None else genes.row(0, named=True)
    if gene is not None and plain_chrom(gene["chrom"]) != plain_chrom(region.chrom):
        raise GenopredError(f"--ism {_said(region)}: {gene['gene_id']} is on {gene['chrom']}.")
    fasta = open_fasta(settings.fasta)
    if region.end > fasta.length(region.chrom):
        raise AlignmentError(
            f"--ism {_said(region)}: {settings.fasta} has {fasta.length(region.chrom):,} bases of {region.chrom}."
        )
    marks: list[tuple[int, str]] = []
    if settings.snps is not None or settings.genotypes is not None:
        known = read_variants(settings.snps) if settings.snps else open_genotypes(settings, split=True).variants
        here = known.filter(_inside(known, region))
        marks = list(zip(here["pos"].to_list(), here["id"].to_list()))
        tally.note("variants", "marked in the picture", here["id"].to_list())
    model = load_models(settings)[0]
    chosen = _settings(settings, model)
    genes = None if genes is None else with_strands(settings, model, genes)
    place = {"tss": None, "strand": "+"} if gene is None else {"tss": gene["tss"], "strand": gene["strand"]}
    job.step(0, 1, _said(region))
    found = in_silico_mutagenesis(model, fasta, Interval(*region), chosen, **place, batch_size=settings.batch_size)
    gene_id = None if gene is None else gene["gene_id"]
    table = effect_rows(found.snps, found.window, found.effects, chosen, gene=gene_id, **place)
    if settings.gradients:
        reverse = found.window.sequences.reverse
        slope = gradients(model, fasta, found.window.interval, chosen, reverse=reverse)
        table = table.with_columns(gradient=_first_order(slope, found.window.interval, table, chosen))
    tally.come("variants", "changes of the stretch", found.snps.height)
    tally.use("variants", "scored", found.snps.height)
    report = tally.report()
    manifest = _manifest(settings, model, chosen, "tss" if gene else "region", fasta, found.snps)
    manifest["ism"] = _said(region)
    _write(job, table, report, manifest)
    about = f", {gene_id} ({place['strand']})" if gene else ""
    pictures = _pictures(job, found, model, chosen, about, marks)
    job.step(1, 1, _said(region))
    return EffectsResult(table, report, manifest, [*_files(job), *pictures])


def _pictures(
    job: Run, found: Mutagenesis, model: SequenceModel, chosen: EffectSettings, about: str, marks: list[tuple[int, str]]
) -> list[Path]:
    """Draw what the changes do, a picture a track group, each as PNG and SVG."""
    from genopred.report.figures import save_figure
    from genopred.report.figures_ism import mutagenesis

    files = []
    tails = [""] if len(chosen.names) == 1 else [f".{name}" for name in _file_names(chosen.names)]
    for g, (name, tail) in enumerate(zip(chosen.names, tails)):
        group = "" if len(model.tracks) == 1 else f", tracks: {name}"
        figure = mutagenesis(
            found.matrix(g),
            found.sequence,
            chrom=found.interval.chrom,
            start=found.interval.start + 1,
            title=f"In-silico mutagenesis with {model.name}{group}{about}",
            label="effect" if model.log_scale else f"effect ({chosen.aggregate} over bins)",
            marks=marks,
        )
        files += [save_figure(figure, Path(f"{job.out}{tail}.{kind}")) for kind in ("png", "svg")]
    return files


def _file_names(groups: Sequence[str]) -> list[str]:
    """What the groups' pictures are called: the name as far as a file can have it, unless another's is the same."""
    plain = [re.sub(r"[^\w.+-]+", "_", name)[:60] for name in groups]
    lower = [name.lower() for name in plain]
    return [name if lower.count(low) == 1 else safe_name(whole) for name, low, whole in zip(plain, lower, groups)]


def _first_order(
    slope: NDArray[np.float64], window: Interval, table: pl.DataFrame, settings: EffectSettings
) -> pl.Series:
    """ALT's derivative minus REF's, for each row of the table."""
    group = {name: g for g, name in enumerate(settings.names)}
    g = np.array([group[name] for name in table["track_group"].to_list()])
    at = table["pos"].to_numpy() - 1 - window.start
    ref, alt = (np.array(["ACGT".index(base) for base in table[column].to_list()]) for column in ("ref", "alt"))
    return pl.Series("gradient", slope[g, at, alt] - slope[g, at, ref])
