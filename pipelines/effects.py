"""SNPs, a FASTA and a sequence model -> a table of ALT minus REF; or every mutation of a stretch, with a picture."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from genopred import align
from genopred.errors import AlignmentError, GenopredError
from genopred.files import write_json
from genopred.io.fasta import Fasta, open_fasta
from genopred.io.variants import read_variants
from genopred.pipelines.effects_inputs import chosen_genes, lay_out, on_known_chromosomes, open_snps
from genopred.pipelines.inputs import open_genotypes
from genopred.pipelines.run import Progress, Run, write_tables
from genopred.pipelines.sequence_inputs import effect_settings, inside, load_models, said, with_strands
from genopred.report import words
from genopred.resume import identity
from genopred.sequence.effects import EFFECT_SCHEMA, EffectSettings, effect_rows
from genopred.sequence.genes import genome_build
from genopred.sequence.models.base import SequenceModel
from genopred.sequence.snps import GeneSnps, Part, open_windows, score
from genopred.settings import Effects
from genopred.settings.effects import Region
from genopred.types import Interval, MatchReport, plain_chrom

if TYPE_CHECKING:
    from genopred.attribution.mutagenesis import Mutagenesis

log = logging.getLogger(__name__)

#: Everything that is written after `<out>.`; what a stopped run has is in parts until the table is whole.
OUTPUTS = ("parquet", "tsv", "matched.tsv", "json", "*png", "*svg", "parts/*")


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
        m = self.manifest
        said = words.effects(self.table, len(m["groups"]), m["model"], self.report, self.reused)
        return [*said, *(f"  {file}" for file in self.files)]


def run(settings: Effects, progress: Progress | None = None) -> EffectsResult:
    """Compute the effects and write `<out>.parquet`, `<out>.tsv`, `<out>.matched.tsv` and `<out>.json`.

    Parts that an earlier run of the same command computed are not computed again; they are in `<out>.parts` until
    the table is whole.

    Raises
    ------
    GenopredError
        On bad input of any kind, before the first SNP where possible.
    """
    with Run(settings, OUTPUTS, progress, own_threads=True) as job:
        job.sweep()
        return _snp_effects(job, settings) if settings.ism is None else _mutagenesis(job, settings, settings.ism)


def _snp_effects(job: Run, settings: Effects) -> EffectsResult:
    tally = align.Tally()
    snps, genes = open_snps(settings, tally), chosen_genes(settings)
    fasta = open_fasta(settings.fasta)
    snps, genes = on_known_chromosomes(settings, snps, genes, fasta, tally)
    model = load_models(settings)[0]
    chosen = effect_settings(settings, model)
    genes = None if genes is None else with_strands(settings, model, genes)
    if settings.centre == "snp" and not model.reads_either_strand:
        log.warning(
            "%s reads a gene from its TSS; with --center snp the SNP stands where it has the TSS, which it was not "
            "trained for.",
            model.name,
        )
    snps, around, laid = lay_out(settings, snps, genes, model, fasta, tally)
    report = tally.report()
    manifest = _manifest(settings, model, chosen, settings.centre, fasta, snps)
    manifest["request"] = _request(settings, manifest, snps, around)
    former = _former(job, manifest["request"])
    if former is not None:
        job.step(len(laid.parts), len(laid.parts), "there already")
        return EffectsResult(former, report, manifest, _files(job), reused=True)
    tables = []
    for i, part in enumerate(laid.parts, start=1):
        tables.append(_rows(job, model, chosen, snps, fasta, part))
        job.step(i, len(laid.parts), part.gene["gene_id"] if part.gene else f"window {i}")
    table = pl.concat(tables)
    _write(job, table, report, manifest)
    job.drop("parts")
    undefined = int(table["log_fc"].null_count())
    if undefined and not model.log_scale:
        log.warning(
            "log_fc: undefined in %d of %d rows, where a prediction is not above -pseudocount", undefined, len(table)
        )
    return EffectsResult(table, report, manifest, _files(job))


def _rows(
    job: Run, model: SequenceModel, chosen: EffectSettings, snps: pl.DataFrame, fasta: Fasta, part: Part
) -> pl.DataFrame:
    """The rows of one part, from an earlier run where it is there."""
    settings = job.settings
    key, windows = open_windows(part, model, snps, fasta, chosen, allow_swapped=settings.allow_swapped)
    path = job.path(f"parts/{key}.parquet")
    if settings.resume and path.is_file():
        try:
            return pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError):
            log.warning("%s is damaged and computed again", path)
    rows = score(part, windows, model, chosen, batch_size=settings.batch_size)
    write_tables({path: rows})
    return rows


def _manifest(
    settings: Effects, model: SequenceModel, chosen: EffectSettings, center: str, fasta: Fasta, snps: pl.DataFrame
) -> dict[str, Any]:
    return {
        **model.about,
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


def _request(settings: Effects, manifest: dict[str, Any], snps: pl.DataFrame, around: list[GeneSnps]) -> str:
    """Hash of all that a run depends on; of a large FASTA some stretches, as its bases are many."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode())
    digest.update(f"{identity(settings.fasta)} {settings.tracks}".encode())
    digest.update(snps.write_csv().encode())
    for gene, index in around:
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


def _write(job: Run, table: pl.DataFrame, report: MatchReport, manifest: dict[str, Any]) -> None:
    write_tables({job.path("parquet"): table, job.path("tsv"): table})
    job.matched(report)
    write_json(job.path("json"), manifest)


def _mutagenesis(job: Run, settings: Effects, region: Region) -> EffectsResult:
    """`--ism`: the table of all changes of a stretch, and a picture of each track group."""
    from genopred.attribution.gradients import first_order, gradients
    from genopred.attribution.mutagenesis import in_silico_mutagenesis

    tally = align.Tally()
    genes = chosen_genes(settings)
    if genes is not None and genes.height != 1:
        raise GenopredError(f"--ism: {genes.height} genes were chosen; give one --gene, or none.")
    gene = None if genes is None else genes.row(0, named=True)
    if gene is not None and plain_chrom(gene["chrom"]) != plain_chrom(region.chrom):
        raise GenopredError(f"--ism {said(region)}: {gene['gene_id']} is on {gene['chrom']}.")
    fasta = open_fasta(settings.fasta)
    if region.end > fasta.length(region.chrom):
        raise AlignmentError(
            f"--ism {said(region)}: {settings.fasta} has {fasta.length(region.chrom):,} bases of {region.chrom}."
        )
    marks: list[tuple[int, str]] = []
    if settings.snps is not None or settings.genotypes is not None:
        known = read_variants(settings.snps) if settings.snps else open_genotypes(settings, split=True).variants
        here = known.filter(inside(known, region))
        marks = list(zip(here["pos"].to_list(), here["id"].to_list()))
        tally.note("variants", "marked in the picture", here["id"].to_list())
    model = load_models(settings)[0]
    chosen = effect_settings(settings, model)
    genes = None if genes is None else with_strands(settings, model, genes)
    place = {"tss": None, "strand": "+"} if gene is None else {"tss": gene["tss"], "strand": gene["strand"]}
    job.step(0, 1, said(region))
    found = in_silico_mutagenesis(model, fasta, Interval(*region), chosen, **place, batch_size=settings.batch_size)
    gene_id = None if gene is None else gene["gene_id"]
    table = effect_rows(found.snps, found.window, found.effects, chosen, gene=gene_id, **place)
    if settings.gradients:
        reverse = found.window.sequences.reverse
        slope = gradients(model, fasta, found.window.interval, chosen, reverse=reverse)
        table = table.with_columns(pl.Series("gradient", first_order(slope, found.window.interval, table, chosen)))
    tally.come("variants", "changes of the stretch", found.snps.height)
    tally.use("variants", "scored", found.snps.height)
    report = tally.report()
    manifest = _manifest(settings, model, chosen, "tss" if gene else "region", fasta, found.snps)
    manifest["ism"] = said(region)
    _write(job, table, report, manifest)
    about = f", {gene_id} ({place['strand']})" if gene else ""
    pictures = _pictures(job, found, model, chosen, about, marks)
    job.step(1, 1, said(region))
    return EffectsResult(table, report, manifest, [*_files(job), *pictures])


def _pictures(
    job: Run, found: Mutagenesis, model: SequenceModel, chosen: EffectSettings, about: str, marks: list[tuple[int, str]]
) -> list[Path]:
    """Draw what the changes do, a picture a track group, each as PNG and SVG."""
    from genopred.report.figures import save_figure
    from genopred.report.figures_ism import mutagenesis, picture_names

    files = []
    tails = [""] if len(chosen.names) == 1 else [f".{name}" for name in picture_names(chosen.names)]
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
