"""SNPs, a FASTA and a sequence model -> a table of ALT minus REF; or every mutation of a stretch, with a picture."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.errors import AlignmentError, GenopredError, examples
from genopred.files import atomic, lock_output, safe_name, write_files, write_json
from genopred.io.text import PathLike
from genopred.io.variants import check_unique, extract_variants, named, read_variants
from genopred.pipelines.run import identity, sweep
from genopred.pipelines.sequence_inputs import (
    SequenceConfig,
    genome_build,
    load_models,
    named_genes,
    open_genotypes,
    read_track_file,
    with_strands,
)
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
from genopred.types import VARIANT_SCHEMA, Interval, MatchReport, plain_chrom

log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]

#: SNPs around a gene when each has its own window and nothing else is said.
FLANK = 500_000
#: SNP-centred windows to a part of the output.
PART = 16
#: Bases whose REF alleles are compared at a time.
BLOCK = 200_000

USED = (MATCH, SWAPPED, STRAND)


@dataclass(frozen=True, kw_only=True)
class EffectsConfig(SequenceConfig):
    """What `genopred effects` was asked for; the fields are its options, those of `SequenceConfig` among them.

    SNPs come from `snps` (a table) or `genotypes` ((kind, path) with kind bfile, pfile or vcf), genes from
    `expression` or `gtf`. `settings` are those of `genopred.sequence.effects.EffectSettings` beside tracks and bins.
    With `ism`, every base of that stretch is changed instead, and SNPs are only marked in the picture.
    """

    snps: Path | None = None
    genotypes: tuple[str, Path] | None = None
    all_genes: bool = False
    upstream: int | None = None
    downstream: int | None = None
    region: Interval | None = None
    extract: Path | None = None
    exclude: Path | None = None
    center: str | None = None
    share: int = 0
    bins: int | str = "all"
    ism: Interval | None = None
    gradients: bool = False


@dataclass(frozen=True)
class EffectsRun:
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


def run(config: EffectsConfig, progress: Progress | None = None) -> EffectsRun:
    """Compute the effects and write `<out>.parquet`, `<out>.tsv`, `<out>.counts.tsv` and `<out>.json`.

    Parts that an earlier run of the same command computed are not computed again; they are in `<out>.parts` until
    the table is whole.

    Parameters
    ----------
    config : EffectsConfig
    progress : callable, optional
        `progress(done, total, label)`.

    Raises
    ------
    GenopredError
        On bad input of any kind, before the first SNP where possible.
    """
    step = progress or (lambda done, total, label: None)
    if config.ism is not None:
        return _mutagenesis(config, config.ism, step)
    _check(config)
    from genopred.io.fasta import open_fasta

    tally = align.Tally()
    snps = _snps(config, tally)
    genes = _genes(config)
    fasta = open_fasta(config.fasta)
    snps, genes = _on_known_chromosomes(config, snps, genes, fasta, tally)
    model = load_models(config)[0]
    settings = _settings(config, model)
    genes = None if genes is None else with_strands(config, model, genes)
    center = config.center or ("tss" if genes is not None else "snp")
    if center == "snp" and not model.reads_either_strand:
        log.warning(
            "%s reads a gene from its TSS; with --center snp the SNP stands where it has the TSS, which it was not "
            "trained for.",
            model.name,
        )
    snps, chosen = _around_genes(config, snps, genes, model, center, tally)
    snps, chosen = _compare_reference(config, snps, chosen, fasta, tally)
    jobs, distance = _jobs(config, model, snps, chosen, center, tally)
    report = tally.report()
    for line in report.lines():
        log.info(line)
    if not jobs:
        raise AlignmentError(_nothing_to_score(model, center, tally, distance))
    manifest = _manifest(config, model, settings, center, fasta, snps)
    with lock_output(config.out):
        _clear(config)
        manifest["request"] = _request(config, manifest, snps, chosen)
        former = _former(config, manifest["request"])
        if former is not None:
            step(len(jobs), len(jobs), "there already")
            return EffectsRun(former, report, manifest, _names(config), reused=True)
        folder = Path(f"{config.out}.parts")
        tables = []
        for i, job in enumerate(jobs):
            tables.append(_part(config, model, settings, snps, fasta, job, folder))
            step(i + 1, len(jobs), job.gene["gene_id"] if job.gene else f"window {i + 1}")
        table = pl.concat(tables)
        _write(config, table, report, manifest)
        shutil.rmtree(folder, ignore_errors=True)
    undefined = int(table["log_fc"].null_count())
    if undefined and not model.log_scale:
        log.warning(
            "log_fc: undefined in %d of %d rows, where a prediction is not above -pseudocount", undefined, len(table)
        )
    return EffectsRun(table, report, manifest, _names(config))


def _check(config: EffectsConfig) -> None:
    if (config.snps is None) == (config.genotypes is None):
        raise GenopredError(
            f"SNPs: {'--snps and genotypes' if config.snps else 'none'} given; give one of --snps TABLE, --vcf, "
            "--bfile and --pfile."
        )
    if config.gradients:
        raise GenopredError("--gradients belongs to --ism; for SNPs there is --mode linear.")
    named_genes = bool(config.gene or config.genes or config.all_genes)
    if config.center == "tss" and not named_genes:
        raise GenopredError("--center tss needs genes: give --gene ID, --genes FILE or --all, or use --center snp.")
    for name in ("upstream", "downstream"):
        if getattr(config, name) is not None and not named_genes:
            raise GenopredError(f"--{name} needs genes to count from: give --gene ID, --genes FILE or --all.")
    if config.share and (config.center or ("tss" if named_genes else "snp")) == "tss":
        raise GenopredError("--share is for --center snp; with --center tss all SNPs of a gene share its window.")


def _snps(config: EffectsConfig, tally: align.Tally) -> pl.DataFrame:
    """The SNPs on offer, after --extract, --exclude and --region."""
    if config.snps is not None:
        source: PathLike = config.snps
        table, notes = read_variants(config.snps), ()
    else:
        genotypes = open_genotypes(*config.genotypes)  # type: ignore[misc]
        source, table = genotypes.source, named(genotypes.variants)
        notes = genotypes.notes
    tally.opened("variants", str(source), table.height, notes)

    def keep(kept: pl.DataFrame, reason: str) -> pl.DataFrame:
        tally.drop("variants", reason, table.height - kept.height)
        return kept

    if config.extract is not None or config.exclude is not None:
        from genopred.io.lists import read_ids

        if config.extract is not None:
            wanted = read_ids(config.extract).tolist()
            kept = extract_variants(table, wanted, source, config.extract)
            absent = sorted(set(wanted) - set(kept["id"].to_list()))
            tally.note("variants", f"in {config.extract} but not in {source}", absent)
            table = keep(kept, "not in --extract")
        if config.exclude is not None:
            unwanted = read_ids(config.exclude).tolist()
            table = keep(table.filter(~pl.col("id").is_in(unwanted)), "in --exclude")
    if config.region is not None:
        kept = table.filter(_inside(table, config.region))
        if not kept.height:
            chroms = examples(table["chrom"].unique(maintain_order=True).to_list())
            raise AlignmentError(
                f"--region {_said(config.region)}: none of the {table.height:,} SNPs of {source} is there (they are on "
                f"{chroms}); check the build and the chromosome."
            )
        table = keep(kept, "outside --region")
    if not table.height:
        raise AlignmentError(f"{source}: no SNPs are left after --extract and --exclude; check the ids in those files.")
    table = check_unique(table.select(list(VARIANT_SCHEMA)), source)
    rank = {name: i for i, name in enumerate(table["chrom"].unique(maintain_order=True).to_list())}
    order = pl.col("chrom").replace_strict(rank, return_dtype=pl.Int64)
    return table.with_columns(order.alias("order")).sort("order", "pos", maintain_order=True).drop("order")


def _inside(table: pl.DataFrame, region: Interval) -> pl.Expr:
    names = [name for name in table["chrom"].unique().to_list() if plain_chrom(name) == plain_chrom(region.chrom)]
    return pl.col("chrom").is_in(names) & (pl.col("pos") > region.start) & (pl.col("pos") <= region.end)


def _said(region: Interval) -> str:
    return f"{region.chrom}:{region.start + 1:,}-{region.end:,}"


def _genes(config: EffectsConfig) -> pl.DataFrame | None:
    """The genes asked for: gene_id, gene, chrom, tss, strand, far (the gene's other end where known)."""
    if not (config.gene or config.genes or config.all_genes):
        return None
    if config.gtf is not None:
        from genopred.io.annotation import read_gtf

        table = read_gtf(config.gtf)
        far = pl.when(pl.col("strand") == "-").then(pl.col("start")).otherwise(pl.col("end"))
    elif config.expression is not None:
        from genopred.io.expression import read_expression

        table = read_expression(config.expression).genes
        far = pl.col("tss")
    else:
        raise GenopredError("Genes: neither --gtf nor --expression given; one of them must say where the TSSs are.")
    table = table.with_columns(far.alias("far")).select("gene_id", "gene", "chrom", "tss", "strand", "far")
    if config.all_genes:
        return table
    return named_genes(config, table, config.gtf or config.expression)


def _on_known_chromosomes(
    config: EffectsConfig, snps: pl.DataFrame, genes: pl.DataFrame | None, fasta: Any, tally: align.Tally
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """SNPs and genes whose chromosome is in the FASTA, and none beyond its end."""
    have = {plain_chrom(name) for name in fasta.chroms}
    there = pl.col("chrom").map_elements(lambda name: plain_chrom(name) in have, return_dtype=pl.Boolean)
    kept = snps.filter(there)
    if not kept.height:
        fasta.length(snps["chrom"][0])  # its own error
    tally.drop("variants", f"chromosome not in {config.fasta}", snps.height - kept.height)
    for what, table, column in (("SNP", kept, "pos"), ("TSS", genes, "tss")):
        for chrom, last in [] if table is None else table.group_by("chrom").agg(pl.col(column).max()).iter_rows():
            if plain_chrom(chrom) in have and last > fasta.length(chrom):
                raise AlignmentError(
                    f"{config.fasta}: {chrom} has {fasta.length(chrom):,} bases, and a {what} is at {last:,}; the "
                    f"FASTA is of another genome build than the {what}s. Give the reference of their build."
                )
    if genes is None:
        return kept, None
    chroms = {plain_chrom(name) for name in kept["chrom"].unique().to_list()}
    with_snps = pl.col("chrom").map_elements(lambda name: plain_chrom(name) in chroms, return_dtype=pl.Boolean)
    near = genes.filter(with_snps)
    tally.come("genes", str(config.gtf or config.expression), genes.height)
    tally.drop("genes", "on a chromosome without SNPs", genes.height - near.height)
    if not near.height:
        raise AlignmentError(
            f"None of the {genes.height:,} genes is on a chromosome of the SNPs ({examples(sorted(chroms))}); the "
            f"genes are on {examples(sorted(set(genes['chrom'].to_list())))}."
        )
    return kept, near


def _around_genes(
    config: EffectsConfig,
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
        up = before if config.upstream is None else config.upstream
        down = after if config.downstream is None else config.downstream
        far = gene["tss"] if config.downstream is None else gene["far"]
        low, high = (far - down, gene["tss"] + up) if minus else (gene["tss"] - up, far + down)
        index = np.flatnonzero((chrom == plain_chrom(gene["chrom"])) & (pos >= low) & (pos <= high))
        touched[index] = True
        chosen.append((gene, index))
    tally.drop("variants", "in no gene's window", int((~touched).sum()))
    place = np.cumsum(touched) - 1
    return snps.filter(pl.Series(touched)), [(gene, place[index]) for gene, index in chosen]


def _compare_reference(
    config: EffectsConfig,
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
        window = snp_window(part, fasta, interval, allow_swapped=config.allow_swapped)
        status += window.status
        shown += window.mismatched
    source = str(config.snps or config.genotypes[1])  # type: ignore[index]
    check_reference_alleles(status, shown, source, config.max_ref_mismatch, config.allow_swapped)
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
    config: EffectsConfig,
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
        for interval, members in windows_of(model, some, center=center, share=config.share, **where):
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


def _settings(config: EffectsConfig, model: SequenceModel) -> EffectSettings:
    files = []
    if config.tracks_file is not None:
        name = re.sub(r"\.(gz|tsv|txt|csv)$", "", re.sub(r"\.gz$", "", config.tracks_file.name))
        files.append((name, read_track_file(config.tracks_file)))
    return EffectSettings.of(
        model, tracks=list(config.tracks) or None, files=files, bins=config.bins, **config.settings
    )


def _manifest(
    config: EffectsConfig, model: SequenceModel, settings: EffectSettings, center: str, fasta: Any, snps: pl.DataFrame
) -> dict[str, Any]:
    return {
        "model": model.name,
        "model_origin": model.origin,
        "checkpoint_hash": model.checkpoint_hash,
        "window": model.window,
        "tss_offset": model.tss_offset,
        "bin_size": model.bin_size,
        "log_scale": model.log_scale,
        "fasta": str(config.fasta),
        "build": genome_build(fasta.length(chrom) for chrom in snps["chrom"].unique().to_list()),
        "snps": str(config.snps or (config.genotypes or ("", ""))[1]),
        "center": center,
        "share": config.share,
        "groups": {name: len(tracks) for name, tracks in settings.groups},
        "settings": {key: value for key, value in settings.key().items() if key != "groups"},
        "columns": list(EFFECT_SCHEMA),
    }


def _request(
    config: EffectsConfig,
    manifest: dict[str, Any],
    snps: pl.DataFrame,
    chosen: list[tuple[dict[str, Any] | None, NDArray[np.int64]]],
) -> str:
    """Hash of all that a run depends on; of a large FASTA some stretches, as its bases are many."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode())
    digest.update(f"{identity(config.fasta)} {config.tracks}".encode())
    digest.update(snps.write_csv().encode())
    for gene, index in chosen:
        digest.update(json.dumps(gene).encode() + index.tobytes())
    return digest.hexdigest()


def _names(config: EffectsConfig) -> list[Path]:
    return [Path(f"{config.out}.{end}") for end in ("parquet", "tsv", "counts.tsv", "json")]


def _clear(config: EffectsConfig) -> None:
    """Remove what a killed run was writing."""
    ends = [str(file)[len(str(config.out)) + 1 :] for file in _names(config)]
    sweep(config.out, [*ends, "*png", "*svg", "parts/*"], prefix=True)


def _former(config: EffectsConfig, request: str) -> pl.DataFrame | None:
    """The table of an earlier run that was asked for the same."""
    files = _names(config)
    if not config.resume or not all(file.is_file() for file in files):
        return None
    try:
        if json.loads(files[-1].read_text()).get("request") != request:
            return None
        table = pl.read_parquet(files[0])
    except (OSError, ValueError, AttributeError, RecursionError, pl.exceptions.PolarsError):
        return None
    return table if dict(table.schema) == {k: v() for k, v in EFFECT_SCHEMA.items()} else None


def _part(
    config: EffectsConfig,
    model: SequenceModel,
    settings: EffectSettings,
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
        window = snp_window(table, fasta, interval, reverse=reverse, allow_swapped=config.allow_swapped)
        digest.update(window.key(model, settings).encode() + table.write_csv().encode())
        windows.append((window, table))
    path = folder / f"{digest.hexdigest()}.parquet"
    if config.resume and path.is_file():
        try:
            return pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError):
            log.warning("%s is damaged and computed again", path)
    parts = [
        effect_rows(
            table,
            window,
            window_effects(model, window, settings, batch_size=config.batch_size),
            settings,
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


def _write(config: EffectsConfig, table: pl.DataFrame, report: MatchReport, manifest: dict[str, Any]) -> None:
    parquet, tsv, counts, manifest_path = _names(config)
    write_files(
        {
            parquet: lambda path: table.write_parquet(path),
            tsv: lambda path: table.write_csv(path, separator="\t"),
            counts: lambda path: report.table.write_csv(path, separator="\t"),
        }
    )
    write_json(manifest_path, manifest)


def _mutagenesis(config: EffectsConfig, region: Interval, step: Progress) -> EffectsRun:
    """`--ism`: the table of all changes of a stretch, and a picture of each track group."""
    from genopred.io.fasta import open_fasta
    from genopred.report.figures import save_figure
    from genopred.report.figures_ism import mutagenesis
    from genopred.sequence.attribution import gradients, in_silico_mutagenesis

    if config.snps is not None and config.genotypes is not None:
        raise GenopredError("SNPs: --snps and genotypes given; give one of them.")
    tally = align.Tally()
    genes = _genes(config)
    if genes is not None and genes.height != 1:
        raise GenopredError(f"--ism: {genes.height} genes were chosen; give one --gene, or none.")
    gene = None if genes is None else genes.row(0, named=True)
    if gene is not None and plain_chrom(gene["chrom"]) != plain_chrom(region.chrom):
        raise GenopredError(f"--ism {_said(region)}: {gene['gene_id']} is on {gene['chrom']}.")
    fasta = open_fasta(config.fasta)
    if region.end > fasta.length(region.chrom):
        raise AlignmentError(
            f"--ism {_said(region)}: {config.fasta} has {fasta.length(region.chrom):,} bases of {region.chrom}."
        )
    marks: list[tuple[int, str]] = []
    if config.snps is not None or config.genotypes is not None:
        known = read_variants(config.snps) if config.snps else open_genotypes(*config.genotypes).variants  # type: ignore[misc]
        here = known.filter(_inside(known, region))
        marks = list(zip(here["pos"].to_list(), here["id"].to_list()))
        tally.note("variants", "marked in the picture", here["id"].to_list())
    model = load_models(config)[0]
    settings = _settings(config, model)
    genes = None if genes is None else with_strands(config, model, genes)
    tss, strand = (None, "+") if gene is None else (gene["tss"], gene["strand"])
    with lock_output(config.out):
        _clear(config)
        step(0, 1, _said(region))
        found = in_silico_mutagenesis(
            model, fasta, region, settings, tss=tss, strand=strand, batch_size=config.batch_size
        )
        table = effect_rows(
            found.snps,
            found.window,
            found.effects,
            settings,
            gene=None if gene is None else gene["gene_id"],
            tss=tss,
            strand=strand,
        )
        if config.gradients:
            reverse = found.window.sequences.reverse
            slope = gradients(model, fasta, found.window.interval, settings, reverse=reverse)
            table = table.with_columns(gradient=_first_order(slope, found.window.interval, table, settings))
        tally.come("variants", "changes of the stretch", found.snps.height)
        tally.use("variants", "scored", found.snps.height)
        report = tally.report()
        manifest = _manifest(config, model, settings, "tss" if gene else "region", fasta, found.snps)
        manifest["ism"] = _said(region)
        _write(config, table, report, manifest)
        files = _names(config)
        unit = "effect" if model.log_scale else f"effect ({settings.aggregate} over bins)"
        tails = [""] if len(settings.names) == 1 else [f".{name}" for name in _file_names(settings.names)]
        for g, name in enumerate(settings.names):
            tail = tails[g]
            group = "" if len(model.tracks) == 1 else f", tracks: {name}"
            title = f"In-silico mutagenesis with {model.name}{group}" + (
                f", {gene['gene_id']} ({strand})" if gene else ""
            )
            figure = mutagenesis(
                found.matrix(g),
                found.sequence,
                chrom=region.chrom,
                start=region.start + 1,
                title=title,
                label=unit,
                marks=marks,
            )
            files += [save_figure(figure, Path(f"{config.out}{tail}.{kind}")) for kind in ("png", "svg")]
        step(1, 1, _said(region))
    return EffectsRun(table, report, manifest, files)


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
