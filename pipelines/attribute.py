"""Genes or regions, a FASTA, a sequence model -> which bases it goes by; people -> which variants make them differ."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from genopred.files import safe_name
from genopred.io.annotation import known_symbols
from genopred.pipelines.attribute_against import count_variants, eqtl_overlap, known_motifs, signal_enrichment
from genopred.pipelines.attribute_inputs import AttributeInputs, Place, open_inputs
from genopred.pipelines.attribute_windows import SCHEMAS, window_tables
from genopred.pipelines.run import Progress, Run, say, write_tables
from genopred.report.locus import GeneTrack
from genopred.report.pages import attribute as page
from genopred.settings import Attribute
from genopred.settings.attribute import COMPLETE
from genopred.types import MatchReport, plain_gene

log = logging.getLogger(__name__)

#: Tables of all windows together, as TSV; contributions and attention are too long for that.
TABLES = ("sums", "seqlets", "motifs", "motif_counts", "variants", "differences", "enrichment", "overlap", "eqtl_snps")
#: Everything that is written below the folder.
OUTPUTS = (
    "windows/*.parquet", "figures/*", *(f"{name}.tsv" for name in TABLES), "matched.tsv", "attribute.html",
)  # fmt: skip

#: Beyond this share contributions do not add up well enough to go unsaid.
_MISSED = 0.1


@dataclass(frozen=True)
class AttributeResult:
    """What a run found.

    Attributes
    ----------
    tables : dict of str to polars.DataFrame
        As written, by name; and attributions, attention, attention_maps (`attribute_windows.SCHEMAS`).
    report : MatchReport
    reading : list of str
        What was found, in sentences.
    files : list of Path
    """

    tables: dict[str, pl.DataFrame] = field(repr=False)
    report: MatchReport = field(repr=False)
    reading: list[str]
    files: list[Path]

    def lines(self) -> list[str]:
        """For the screen."""
        return [*self.reading, *(f"  {file}" for file in self.files)]


def run(settings: Attribute, progress: Progress | None = None) -> AttributeResult:
    """Attribute every window and write tables, figures and a page.

    A window that an earlier run of the same settings finished is read, and not computed again.

    Raises
    ------
    GenopredError
        On bad input of any kind, before the first window where possible.
    """
    with Run(settings, OUTPUTS, progress, own_threads=True) as job:
        inputs = open_inputs(settings)
        job.settle(model=inputs.model.checkpoint_hash, tracks=inputs.chosen.key())
        tables, counts = _windows(job, inputs)
        count_variants(inputs.tally, counts)
        tables["motifs"], tables["motif_counts"] = known_motifs(inputs, tables["seqlets"], tables["control_seqlets"])
        tables["enrichment"] = signal_enrichment(inputs, tables["attributions"])
        tables["overlap"], tables["eqtl_snps"] = eqtl_overlap(inputs, tables["attributions"])
        _warn(tables["sums"])
        report = inputs.tally.report()
        say(report)
        full = {name: tables[name] for name in TABLES if tables[name].height or name in _always(settings)}
        write_tables({job.path(f"{name}.tsv"): table for name, table in full.items()})
        job.matched(report)
        shown = _shown(inputs, tables)
        info: dict[str, Any] = {"command": settings.command} if settings.command else {}
        info |= {
            "fasta": str(settings.fasta),
            "build": inputs.build,
            "seed": settings.seed,
            "controls": settings.controls,
        }
        info |= {"background": f"{settings.background} ({settings.backgrounds})", "steps": settings.steps}
        files = page.write(settings.out, shown, report, info)
        files = [*(job.path(f"{name}.tsv") for name in full), job.path("matched.tsv"), *files]
    return AttributeResult(tables, report, page.reading(shown), files)


def _always(settings: Attribute) -> set[str]:
    """Tables that are written though they be empty, because they were asked for."""
    wanted = {"sums"} if set(settings.method) & set(COMPLETE) else set()
    asked = {
        "seqlets": bool(wanted),
        "motifs": settings.motifs is not None,
        "motif_counts": settings.motifs is not None,
        "variants": bool(settings.person),
        "differences": bool(settings.person),
        "enrichment": bool(settings.signal),
        "overlap": settings.eqtl is not None,
    }
    return wanted | {name for name, on in asked.items() if on}


def _windows(job: Run, inputs: AttributeInputs) -> tuple[dict[str, pl.DataFrame], list[dict[str, int]]]:
    """The tables of all windows, each computed or read; and what became of the variants in each."""
    parts: dict[str, list[pl.DataFrame]] = {name: [pl.DataFrame(schema=schema)] for name, schema in SCHEMAS.items()}
    counts = []
    for i, place in enumerate(inputs.places):
        job.step(i, len(inputs.places), place.name)
        tables = _read(job, place)
        if tables is None:
            tables, of_variants = window_tables(inputs, place)
            rows = list(of_variants.items())
            tables["counts"] = pl.DataFrame(rows, schema={"what": pl.String, "n": pl.Int64}, orient="row")
            write_tables({path: tables[name] for name, path in _paths(job, place).items()})
        counts.append(dict(tables["counts"].iter_rows()))
        for name, several in parts.items():
            several.append(tables[name])
    job.step(len(inputs.places), len(inputs.places), "")
    return {name: pl.concat(several) for name, several in parts.items()}, counts


def _paths(job: Run, place: Place) -> dict[str, Path]:
    """The files of a window; the name has what else decides them beside the settings."""
    where = hashlib.sha256(f"{place}".encode()).hexdigest()[:8]
    stem = f"windows/{safe_name(place.name)}-{where}"
    return {name: job.path(f"{stem}.{name}.parquet") for name in (*SCHEMAS, "counts")}


def _read(job: Run, place: Place) -> dict[str, pl.DataFrame] | None:
    """The tables of a window that an earlier run finished; None where one is missing or damaged."""
    paths = _paths(job, place)
    if not job.settings.resume or not all(path.is_file() for path in paths.values()):
        return None
    try:
        tables = {name: pl.read_parquet(path) for name, path in paths.items()}
    except (OSError, pl.exceptions.PolarsError):
        log.warning("%s: what an earlier run left is damaged, and computed again", place.name)
        return None
    fits = all(dict(tables[name].schema) == {k: v() for k, v in schema.items()} for name, schema in SCHEMAS.items())
    return tables if fits else None


def _warn(sums: pl.DataFrame) -> None:
    for (method,), rows in sums.filter(pl.col("method") != "gradient-input").group_by("method", maintain_order=True):
        share = (rows["delta"].abs() / (rows["value"] - rows["background"]).abs()).to_numpy()
        far = int((share > _MISSED).sum())
        if far:
            how = "more --steps" if method == "integrated-gradients" else "a step of the network has no rule"
            log.warning(
                "%s: in %d of %d sequences contributions miss the difference of predictions by more than %d %% (%s): "
                "see delta in sums.tsv",
                *(method, far, rows.height, round(100 * _MISSED), how),
            )


def _shown(inputs: AttributeInputs, tables: dict[str, pl.DataFrame]) -> page.Shown:
    settings, places = inputs.settings, []
    for place in inputs.places:
        stretch, window, length = place.stretch, place.window, inputs.fasta.length(place.chrom)
        elements = {one.name: one.within(stretch, length) for one in inputs.elements}
        bounds, whole = (stretch.start + 1, stretch.end), (window.start + 1, window.end)
        at = (place.tss, place.strand, place.gene)
        places.append(page.Place(place.name, place.chrom, *bounds, *at, whole, elements))
    names = (inputs.model.name, inputs.chosen.names, settings.method)
    annotation = inputs.annotation
    if annotation is None:  # symbols that come with the package, for what genes are called
        known = known_symbols()
        rows = [(p.name, known.get(plain_gene(p.name), p.name), p.tss, p.tss, p.strand, p.chrom) for p in inputs.places]
        kinds = {"gene_id": pl.String, "gene_name": pl.String, "start": pl.Int64, "end": pl.Int64}
        table = pl.DataFrame(rows, schema=kinds | {"strand": pl.String, "chrom": pl.String}, orient="row")
        annotation = GeneTrack(table.clear()) if not settings.names_genes else GeneTrack(table)
    how: dict[str, Any] = {"alpha": settings.alpha, "kind": settings.figures}
    return page.Shown(places, *names, tables, inputs.motifs, annotation, **how)
