"""A cohort's people summed gene by gene, for `genopred fit-moments` elsewhere.

Files under `out`, each written whole or not at all:

==============  =====================================================================================================
manifest.json   what the site is, and its genes (`genopred.io.momentsfiles`); written last
genes/ID.npz    sums of one gene over each fold's people
genes/ID.json   how many variants the gene had, and why others were dropped, in counts
matched.tsv     what came in, was used and was dropped, in counts: no name of a person, and no folder
run.json        what the sums depend on: options, and hashes of the files
==============  =====================================================================================================

`<out>.log` lies beside the folder and stays at the site.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from genopred import align
from genopred.errors import AlignmentError, GenopredError, ModelError
from genopred.files import write_json
from genopred.genetics.moments import Moments
from genopred.genetics.transform import inverse_normal, known_means
from genopred.io import momentsfiles
from genopred.io.momentsfiles import GeneSums, Site, SiteGene
from genopred.learning.evaluate import outer_folds
from genopred.learning.federated import told_apart
from genopred.pipelines.inputs import cis_window, open_cohort
from genopred.pipelines.run import Progress, Run, say
from genopred.provenance import versions
from genopred.settings import Moments as Settings
from genopred.settings.moments import FEWEST, FEWEST_FOLDS
from genopred.types import Cohort, Genotypes, MatchReport, Note

log = logging.getLogger("genopred.moments")

#: Folds that a site has at most, unless it is told otherwise.
MOST_FOLDS = 10

OUTPUTS = ("genes/*", "manifest.json", "matched.tsv")

#: Items of a report whose examples are no people.
_NO_PEOPLE = ("genes", "covariates")


@dataclass(frozen=True)
class Summed:
    """What a run left.

    Attributes
    ----------
    site : Site
    report : MatchReport
    wide : int
        Genes with more variants than a fold has people.
    told : int
        People of a fold who can be read off a gene's sums by subtraction (`genopred.learning.federated.told_apart`),
        where they are most.
    """

    site: Site
    report: MatchReport
    wide: int
    told: int

    def lines(self) -> list[str]:
        """What came out, for the screen."""
        site = self.site
        folds = f"{len(site.folds)} folds of {min(site.folds)} or more" if len(site.folds) > 1 else "one fold"
        out = [f"{site.name}: {len(site.genes):,} genes summed over {site.people:,} people in {folds}."]
        if self.told:
            out.append(
                "Subtracting the sums of two variants gives the genotypes, covariates and expression of up to "
                f"{self.told:,} people of a fold."
            )
        if self.wide:
            out.append(
                f"{self.wide:,} genes have more variants than a fold has people: their sums determine the people's "
                "genotypes."
            )
        if self.told or self.wide:
            out.append(
                "Give the folder only to those to whom the people's own data may be given; never publish it "
                "(docs/federated.md)."
            )
        return [*out, f"Folder: {site.folder}"]


def run(settings: Settings, progress: Progress | None = None) -> Summed:
    """Sum every gene and write the folder.

    Parameters
    ----------
    settings : genopred.settings.Moments
    progress : callable, optional
        Called with (genes done, genes in all, gene) after each gene.

    Raises
    ------
    GenopredError
        On bad input, or where the people are too few.
    """
    settings = replace(settings, command=_without_folders(settings.command))
    with Run(settings, OUTPUTS, progress) as job:
        cohort = open_cohort(settings)
        folds = _folds(settings, cohort)
        people = "\n".join(cohort.samples.tolist()).encode()
        job.settle(people=hashlib.sha256(people).hexdigest()[:16], folds=len(np.unique(folds)), name=settings.called)
        say(nameless(cohort.report))
        (settings.out / momentsfiles.MANIFEST).unlink(missing_ok=True)
        _compute(job, settings, cohort, folds)
        site, report, told = _collect(settings, cohort, folds)
        job.matched(report)
        momentsfiles.write_manifest(site)
        wide = sum(gene.variants > min(site.folds) for gene in site.genes)
    return Summed(site, report, wide, told)


def _without_folders(command: str) -> str:
    """A command line whose paths are their last parts."""
    return " ".join(word.rstrip("/").rpartition("/")[2] for word in command.split())


def nameless(report: MatchReport) -> MatchReport:
    """The report in counts: no examples but of genes and covariates, no folders of files."""
    table = report.table.with_columns(
        examples=pl.when(pl.col("item").is_in(_NO_PEOPLE)).then("examples").otherwise(pl.lit("")),
        reason=pl.col("reason").str.replace_all(r"(?:^|\s)\S*/(\S+)", " $1").str.strip_chars_start(),
    )
    return MatchReport(table)


def _folds(settings: Settings, cohort: Cohort) -> NDArray[np.int64]:
    """Fold of each person."""
    n = len(cohort.samples)
    if n < FEWEST:
        raise GenopredError(f"{n} people are too few to be summed: fewer than {FEWEST} could be told apart.")
    k = min(MOST_FOLDS, n // FEWEST) if settings.folds is None else settings.folds
    if settings.folds is None and k < FEWEST_FOLDS:
        raise GenopredError(
            f"{n} people make {k} fold{'s' * (k > 1)} of {FEWEST} or more, where {FEWEST_FOLDS} are needed to tune on "
            f"({FEWEST_FOLDS * FEWEST} people). Give --folds 1 for learners that tune nothing."
        )
    if n // k < FEWEST:
        raise GenopredError(
            f"--folds {k}: {n} people make folds of {n // k}, fewer than {FEWEST}; give at most {n // FEWEST}."
        )
    return outer_folds(n, k, settings.seed)


def outcome(raw: NDArray[np.float64], transform: str) -> NDArray[np.float64]:
    """A gene's expression (N,) as it is summed; refused where it does not vary, or has no logarithm."""
    if transform == "log1p" and (raw < 0).any():
        raise GenopredError("--transform log1p: expression has negative values; choose another transform.")
    y = inverse_normal(raw) if transform == "inverse-normal" else np.log1p(raw) if transform == "log1p" else raw
    if not np.isfinite(y).all() or not y.std() > 1e-12:
        raise ModelError("expression does not vary among the people")
    return np.asarray((y - y.mean()) / y.std() if transform == "zscore" else y, dtype=np.float64)


def _compute(job: Run, settings: Settings, cohort: Cohort, folds: NDArray[np.int64]) -> None:
    genes = cohort.expression.genes
    todo = [i for i, gene in enumerate(genes["gene_id"].to_list()) if not _info_path(settings.out, gene).is_file()]
    covariates = np.empty((len(folds), 0)) if cohort.covariates is None else cohort.covariates.values
    floors = (settings.maf, settings.min_mac, settings.max_missing)

    def arguments(i: int) -> tuple[Any, ...]:
        gene, window = cis_window(cohort, i, settings.window)
        place = momentsfiles.gene_path(settings.out.absolute(), gene["gene_id"])
        return window, cohort.expression.values[:, i], settings.transform, covariates, folds, floors, place

    names = genes["gene_id"]
    for _ in job.each(_one_gene, todo, arguments, names=lambda i: names[i], ready=genes.height - len(todo)):
        pass


def _one_gene(
    window: Genotypes,
    expression: NDArray[np.float64],
    transform: str,
    covariates: NDArray[np.float64],
    folds: NDArray[np.int64],
    floors: tuple[float, int, float],
    place: Path,
) -> None:
    """Sum and write one gene; the counts of its variants come last and say that it is done."""
    with threadpool_limits(1):
        dosage = window.dosage()
        x, use, notes = without_rare(dosage, window.variants, folds, *floors)
        skipped, told = None if use.any() else "no usable variant in the cis window", 0
        if skipped is None:
            try:
                y = outcome(expression, transform)
                variants = window.variants.filter(pl.Series(use))
                sums = sums_of(x[:, use], y, covariates, folds, variants)
                parts = [x[folds == fold][:, use] for fold in np.unique(folds)]
                told = max(int(told_apart(part, gram).sum()) for part, gram in zip(parts, sums.gram))
                momentsfiles.write_gene_sums(place, sums)
            except ModelError as problem:
                skipped = str(problem)
    counts = {"in": len(use), "used": int(use.sum()), "dropped": [[reason, n] for _, reason, n, _ in notes]}
    write_json(place.with_suffix(".json"), {**counts, "skipped": skipped, "told_apart": told})


def without_rare(
    dosage: NDArray[np.float32],
    variants: pl.DataFrame,
    folds: NDArray[np.int64],
    maf: float,
    min_mac: int,
    max_missing: float,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], list[Note]]:
    """Dosages (N, M) without gaps, which variants may be summed, and why the others not.

    A gap is filled with the variant's rounded mean: with the mean itself the fractions of the sums would tell who has
    the gap.
    """
    missing = np.isnan(dosage)
    share = missing.mean(axis=0)
    means = known_means(dosage)
    x = np.where(missing, np.rint(np.nan_to_num(means)), dosage).astype(np.float32)
    use, usual = align.usable_variants(dosage, variants, maf=maf)
    notes: list[Note] = list(usual)
    copies = np.stack([x[folds == fold].sum(axis=0, dtype=np.float64) for fold in np.unique(folds)])
    people = np.bincount(folds)[:, None]
    rare = np.minimum(copies, 2 * people - copies).min(axis=0) < min_mac
    reasons = ((share > max_missing, f"missing in more than {max_missing:g} of the people"),
               (rare, f"fewer than {min_mac} copies of the rarer allele in a fold"))  # fmt: skip
    for bad, reason in reasons:
        if (bad & use).any():
            notes.append(("dropped", reason, int((bad & use).sum()), ""))
            use &= ~bad
    return x, use, notes


def sums_of(
    x: NDArray[np.float32],
    y: NDArray[np.float64],
    covariates: NDArray[np.float64],
    folds: NDArray[np.int64],
    variants: pl.DataFrame,
) -> GeneSums:
    """Sums of dosages (N, M), expression (N,) and covariates (N, K) over the people of each fold."""
    parts = [Moments.of(x[rows], y[rows], covariates[rows]) for rows in (folds == fold for fold in np.unique(folds))]
    arrays = {name: np.stack([getattr(part, name) for part in parts]) for name in ("gram", "sums", "cross", "square")}
    n, totals = np.array([part.n for part in parts]), np.stack([part.totals for part in parts])
    return GeneSums(variants, n, **arrays, totals=totals)


def _info_path(out: Path, gene_id: str) -> Path:
    return momentsfiles.gene_path(out, gene_id).with_suffix(".json")


def _collect(settings: Settings, cohort: Cohort, folds: NDArray[np.int64]) -> tuple[Site, MatchReport, int]:
    """The manifest, the report with what happened to genes and variants, and `Summed.told`."""
    tally, pairs = align.Tally(nameless(cohort.report)), "gene-variant pairs"
    genes: list[SiteGene] = []
    reasons: list[str] = []
    told = 0
    for gene in cohort.expression.genes.iter_rows(named=True):
        gene_id = gene["gene_id"]
        info = json.loads(_info_path(settings.out, gene_id).read_text(encoding="utf-8"))
        tally.come(pairs, "in the windows of all genes together", info["in"])
        for reason, n in info["dropped"]:
            tally.drop(pairs, reason, n)
        if info["skipped"]:
            reasons.append(f"{gene_id}: {info['skipped']}")
            tally.drop("genes", info["skipped"], [gene_id])
            tally.drop(pairs, "gene left out", info["used"])
            continue
        tally.use(pairs, "summed", info["used"])
        told = max(told, info["told_apart"])
        file = momentsfiles.gene_path(settings.out, gene_id).name
        genes.append(SiteGene(gene_id, gene["chrom"], gene["tss"], gene["strand"], info["used"], file))
    if not genes:
        raise AlignmentError(f"none of {len(reasons)} genes could be summed ({'; '.join(reasons[:3])}).")
    return _site(settings, cohort, np.bincount(folds).tolist(), genes), tally.report(), told


def _site(settings: Settings, cohort: Cohort, folds: Sequence[int], genes: Sequence[SiteGene]) -> Site:
    return Site(
        settings.out,
        settings.called,
        len(cohort.samples),
        tuple(folds),
        () if cohort.covariates is None else tuple(cohort.covariates.names),
        settings.transform,
        settings.window,
        settings.maf,
        settings.min_mac,
        settings.max_missing,
        align.known_build(cohort.genotypes),
        tuple(genes),
        versions(),
        _digest(settings.out / "run.json"),
        settings.command,
    )


def _digest(record: Path) -> str:
    """Of what `Run.settle` wrote down but for the command and the site's name: files by their content, and options."""
    known = json.loads(record.read_text(encoding="utf-8"))
    kept = {key: value for key, value in known.items() if key not in ("about", "--name")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:24]
