"""Models for other programs: PredictDB databases, FUSION's weights, scoring files of the PGS Catalog.

Files under `out`, each written whole or not at all:

=========================  =========================================================================================
models.db                  predictdb: weights of one ALT copy; accuracy in people held out (`genopred.io.predictdb`)
covariances.txt.gz         predictdb, with genotypes: covariances of dosages of each gene's variants
models.pos                 fusion: the list of genes; weights/GENE.wgt.RDat: weights per standard deviation
scores/GENE.txt.gz         pgs: one scoring file a gene
matched.tsv                what came in, was written and was left out
run.json                   what the files depend on
=========================  =========================================================================================

None of these formats has an intercept: predictions by them differ from ours by one number a gene.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.errors import ModelError, examples
from genopred.files import atomic, safe_name, write_text
from genopred.genetics.associate import polygenic_phi
from genopred.genetics.transform import mean_filled
from genopred.io.fusion import write_weights
from genopred.io.pgscatalog import write_scoring_file
from genopred.io.predictdb import var_ids, write_covariances, write_predictdb
from genopred.learning.fitted import per_allele
from genopred.pipelines.inputs import chosen_genes, open_filtered
from genopred.pipelines.model_inputs import (
    chosen_models,
    linear_method,
    match_models,
    models_files,
    open_models,
    reference_dosage,
    weights_of,
)
from genopred.pipelines.run import Progress, Run, say
from genopred.settings import Export
from genopred.types import GeneModels, Genotypes, Interval, MatchReport, plain_chrom

OUTPUTS = ("models.db", "covariances.txt.gz", "models.pos", "weights/*", "scores/*", "matched.tsv")

#: LD reaches so far beyond a gene's variants, in bp.
AROUND = 500_000

#: FUSION's name for weights that all count; its programs know top1, blup, lasso, enet and bslmm.
FUSION_MODEL = "blup"


@dataclass(frozen=True)
class Exported:
    """What was written: files, genes, the report, and how true it is to the models."""

    files: tuple[Path, ...]
    genes: int
    report: MatchReport
    fidelity: str

    def lines(self) -> list[str]:
        """What came out, for the screen."""
        shown = ", ".join(str(file) for file in self.files[:2])
        more = f" and {len(self.files) - 2:,} more" if len(self.files) > 2 else ""
        return [f"{self.genes:,} genes written: {shown}{more}.", *([self.fidelity] if self.fidelity else [])]


@dataclass(frozen=True)
class _Leaving:
    """What is to be written: rows of genes, their weights (with `id` unique in a gene), and the LD reference."""

    models: GeneModels
    method: str
    genes: pl.DataFrame
    weights: pl.DataFrame
    people: Genotypes | None

    def each(self) -> Iterator[tuple[dict[str, Any], pl.DataFrame]]:
        """Genes and their weights, in order."""
        parts = self.weights.partition_by("gene_id", as_dict=True)
        for gene in self.genes.iter_rows(named=True):
            yield gene, parts[gene["gene_id"],]

    def with_phi(self) -> pl.DataFrame:
        """The genes with phi by the LD reference, where there is one."""
        if self.people is None:
            return self.genes
        found = []
        for gene, weights in self.each():
            score = reference_dosage(self.people, weights) @ weights["weight"].to_numpy()
            there = self.people.variants[weights["column"].to_numpy()]  # models may have no places of their own
            place = there["pos"].to_numpy()
            near = Interval(str(there["chrom"][0]), max(int(place.min()) - AROUND, 0), int(place.max()) + AROUND)
            found.append(
                (gene["gene_id"], polygenic_phi(score, mean_filled(self.people.dosage(near)), self.people.n_variants))
            )
        table = pl.DataFrame(found, ["gene_id", "phi"], orient="row")
        return self.genes.drop("phi").join(table, on="gene_id", how="left", maintain_order="left")


def run(settings: Export, progress: Progress | None = None) -> Exported:
    """Write the models.

    Parameters
    ----------
    settings : genopred.settings.Export
    progress : callable, optional
        Called with (genes done, genes in all, gene).

    Raises
    ------
    GenopredError
        On bad input, or where a gene's model is not linear in dosage.
    """
    with Run(settings, OUTPUTS, progress) as job:
        models = open_models(settings.models)
        genes = chosen_genes(settings)
        method = linear_method(models, settings.method)
        tally = align.Tally()
        about = chosen_models(models, method, genes, tally)
        if settings.predicted:
            r = pl.coalesce("pearson", pl.col("r2").clip(0).sqrt())
            good = ((pl.col("pval") < 0.05) & (r > 0.1)).fill_null(False)
            tally.drop("genes", "not predicted in held-out people", about.filter(~good)["gene_id"].to_list())
            about = about.filter(good)
        leaving = _leaving(settings, models, method, about, tally)
        job.settle(models=models_files(settings.models), gene=genes)
        tally.use("genes", "written", leaving.genes.height)
        files = _WRITE[settings.to](job, leaving)
        report = tally.report()
        say(report)
        job.matched(report)
    return Exported(tuple(files), leaving.genes.height, report, _fidelity(models, method))


def _leaving(settings: Export, models: GeneModels, method: str, about: pl.DataFrame, tally: align.Tally) -> _Leaving:
    weights, people = weights_of(models, method, about), None
    if settings.genotypes is not None:
        _, people, counts = open_filtered(settings)
        weights = match_models(models, people, weights, settings.min_match, settings.ambiguous, counts)
        lost = weights.filter(pl.col("column").is_null())
        tally.come("weights", f"in {models.source}", weights.height)
        tally.drop("weights", f"variant not in the LD reference {people.source}", lost["id"].to_list())
        weights = weights.filter(pl.col("column").is_not_null())
        if models.about.get("per_sd"):
            weights = per_allele(people, weights)
    elif models.about.get("per_sd"):
        raise ModelError(
            f"{settings.models}: its weights are per standard deviation of a genotype; give the genotypes that say "
            "what that is (--bfile, --pfile or --vcf)."
        )
    named = weights.with_columns(varid=var_ids(weights, models.build))
    twice = pl.struct("gene_id", "id").is_duplicated() | pl.col("id").is_null() | pl.col("id").is_in([".", ""])
    weights = named.with_columns(id=pl.when(twice).then("varid").otherwise("id"))
    empty = about.filter(~pl.col("gene_id").is_in(weights["gene_id"].implode()))["gene_id"].to_list()
    tally.drop("genes", "no variant with a weight", empty)
    about = about.filter(~pl.col("gene_id").is_in(empty))
    if not about.height:
        raise ModelError(f"{settings.models}: no gene is left to be written.")
    return _Leaving(models, method, about, weights, people)


def _fidelity(models: GeneModels, method: str) -> str:
    """What the linear form costs, where the models have another."""
    means = models.about.get("mean_r2") or {}
    other = models.about.get("method")
    if method not in means or other not in means:
        return ""
    return (
        f"Written is {method}: mean R2 of held-out people {means[method]:.4f}, where {other}, which has trees, "
        f"reaches {means[other]:.4f}."
    )


def _predictdb(job: Run, leaving: _Leaving) -> list[Path]:
    files = [job.path("models.db")]
    if (people := leaving.people) is not None:
        files.append(job.path("covariances.txt.gz"))

        def covariances() -> Iterator[tuple[str, list[str], NDArray[np.float64]]]:
            for done, (gene, weights) in enumerate(leaving.each(), start=1):
                x = reference_dosage(people, weights)
                yield gene["gene_id"], weights["id"].to_list(), np.atleast_2d(np.cov(x, rowvar=False))
                job.step(done, leaving.genes.height, gene["gene_id"])

        with atomic(files[1]) as path:
            write_covariances(path, covariances())
    write_predictdb(files[0], leaving.models, leaving.with_phi(), leaving.weights)
    return files


def _fusion(job: Run, leaving: _Leaving) -> list[Path]:
    if leaving.models.about.get("people") is None:
        raise ModelError(f"{leaving.models.source} does not say of how many people it was made; FUSION needs that.")
    if leaving.people is None and leaving.weights["freq"].null_count():
        raise ModelError(
            f"{leaving.models.source} does not say how frequent its alleles are, which FUSION's weights per standard "
            "deviation need; give genotypes: --bfile, --pfile or --vcf."
        )
    unknown = leaving.genes.filter(pl.col("pval").is_null())["gene_id"].to_list()
    if unknown:
        raise ModelError(
            f"{leaving.models.source} does not say how well {len(unknown)} genes were predicted ({examples(unknown)}), "
            "by whose p FUSION chooses models; leave them out with --predicted."
        )
    rows, folder, people = [], job.path("weights"), int(leaving.models.about["people"])
    folder.mkdir(exist_ok=True)
    for done, (gene, weights) in enumerate(leaving.each(), start=1):
        if leaving.people is not None:
            sd = reference_dosage(leaving.people, weights).std(axis=0, ddof=1)
        else:
            f = weights["freq"].to_numpy()
            sd = np.sqrt(2 * f * (1 - f))
        name = f"{safe_name(gene['gene_id'])}.wgt.RDat"
        held = {FUSION_MODEL: weights["weight"].to_numpy() * sd, "top1": weights["z"].fill_null(0.0).to_numpy()}
        r2 = float(gene["r2"] or 0.0) if gene["pearson"] is None else max(float(gene["pearson"]), 0.0) ** 2
        # top1 is there for FUSION's own table alone: nothing was held out of it, so it must never be chosen
        performance = {FUSION_MODEL: (r2, float(gene["pval"])), "top1": (np.nan, 1.0)}
        with atomic(folder / name) as path:
            write_weights(path, weights, held, performance, people)
        place = weights["pos"].to_numpy()
        where = f"{plain_chrom(weights['chrom'][0])}\t{place.min()}\t{place.max()}"
        rows.append(f"weights/{name}\t{gene['gene_id']}\t{where}\t{people}")
        job.step(done, leaving.genes.height, gene["gene_id"])
    listed = job.path("models.pos")
    write_text(listed, "\n".join(["WGT\tID\tCHR\tP0\tP1\tN", *rows]) + "\n")
    return [listed, *(folder / row.split("\t")[0].partition("/")[2] for row in rows)]


def _pgs(job: Run, leaving: _Leaving) -> list[Path]:
    folder = job.path("scores")
    folder.mkdir(exist_ok=True)
    files = []
    for done, (gene, weights) in enumerate(leaving.each(), start=1):
        path = folder / f"{safe_name(gene['gene_id'])}.txt.gz"
        name = gene["gene_name"] or gene["gene_id"]
        about = {
            "pgs_id": gene["gene_id"],
            "pgs_name": f"{name} {leaving.method}",
            "trait_reported": f"Expression of {name}",
            "weight_type": "beta",
            "genome_build": leaving.models.build or "NR",
            "citation": str(leaving.models.about.get("made_by", "")),
        }
        with atomic(path) as part:
            write_scoring_file(part, weights, about)
        files.append(path)
        job.step(done, leaving.genes.height, gene["gene_id"])
    return files


_WRITE: dict[str, Callable[[Run, _Leaving], list[Path]]] = {"predictdb": _predictdb, "fusion": _fusion, "pgs": _pgs}
