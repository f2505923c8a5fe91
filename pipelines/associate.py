"""Association of predicted expression with traits.

Files under `out`, each written whole or not at all:

====================  ==============================================================================================
associations.parquet  trait, gene_id, gene_name, chrom, tss, n, effect, se, z, pval, qval (over the genes of a trait),
and .tsv              variants, used, variance_found, r2; with --gwas-n also z_uncorrected and phi
figures/*.svg         Q-Q and Manhattan of each trait
report.html           all of it on one page
matched.tsv           what came in, was used and was dropped, and why (`genopred.types.MatchReport`)
run.json              what the results depend on
====================  ==============================================================================================
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.errors import AlignmentError, FormatError, GenopredError, examples, repeated
from genopred.genetics import associate as tests
from genopred.io.annotation import known_symbols
from genopred.io.scores import phenotype_names, read_phenotype
from genopred.io.text import read_bytes, read_table, regular, to_numbers
from genopred.learning.evaluate import benjamini_hochberg
from genopred.pipelines.apply_models import predict
from genopred.pipelines.associate_gwas import FIRST, of_summaries
from genopred.pipelines.inputs import chosen_genes, open_filtered, trait_covariates
from genopred.pipelines.model_inputs import models_files, open_models
from genopred.pipelines.run import Progress, Run, say
from genopred.settings import Associate
from genopred.types import MatchReport, plain_gene

log = logging.getLogger("genopred.associate")

#: Genes from which on their p-values say something of inflation.
MANY = 50

OUTPUTS = ("associations.*", "figures/*", "report.html", "matched.tsv")

#: Columns of the associations; with a correction by phi two more.
COLUMNS = (*FIRST[:10], "qval", *FIRST[10:])


@dataclass(frozen=True)
class Associated:
    """What came out: a row per trait and gene, and the report."""

    table: pl.DataFrame
    report: MatchReport
    page: Path

    def lines(self) -> list[str]:
        """What came out, for the screen."""
        out = []
        for (trait,), rows in self.table.group_by("trait", maintain_order=True):
            found = rows.filter(pl.col("qval") < 0.05).sort("pval")
            names = [name or gene for gene, name in found.select("gene_id", "gene_name").iter_rows()]
            out.append(
                f"{trait}: {found.height:,} of {rows.height:,} genes at FDR 5 %"
                + (f" ({examples(names)})" if names else "")
                + (
                    f"; genomic inflation {tests.inflation(rows['pval'].to_numpy()):.3f}."
                    if rows.height >= MANY
                    else "."
                )
            )
        return [*out, f"Page: {self.page}"]


def run(settings: Associate, progress: Progress | None = None) -> Associated:
    """Test every gene for every trait, and write.

    Parameters
    ----------
    settings : genopred.settings.Associate
    progress : callable, optional
        Called with (done, in all, label).

    Raises
    ------
    GenopredError
        On bad input, or where files do not fit together.
    """
    with Run(settings, OUTPUTS, progress, own_threads=True) as job:
        genes = chosen_genes(settings)
        tally = align.Tally()
        if settings.pheno is not None:
            table = _of_people(settings, job, genes, tally)
        else:
            table = of_summaries(settings, job, genes, tally)
        table = _with_fdr(table).with_columns(gene_name=_called())
        job.settle(models=settings.models and models_files(settings.models), gene=genes)
        report = tally.report()
        say(report)
        result = Associated(table, report, job.path("report.html"))
        job.save(associations=table)
        _page(settings, job, result)
        job.matched(report)
    return result


def _called() -> pl.Expr:
    """What genes are called, by the models or else by HGNC."""
    symbols = known_symbols()
    by_id = pl.col("gene_id").map_elements(lambda gene: symbols.get(plain_gene(gene)), return_dtype=pl.String)
    return pl.coalesce("gene_name", by_id)


def _with_fdr(table: pl.DataFrame) -> pl.DataFrame:
    parts = [
        part.with_columns(pl.Series("qval", benjamini_hochberg(part["pval"].to_numpy())))
        for part in table.partition_by("trait", maintain_order=True)
    ]
    whole = pl.concat([part.sort("pval", maintain_order=True) for part in parts])
    return whole.select([*(name for name in COLUMNS), *(name for name in whole.columns if name not in COLUMNS)])


# --- people ----------------------------------------------------------------------------------------------------------


def _of_people(settings: Associate, job: Run, genes: Any, tally: align.Tally) -> pl.DataFrame:
    """Every trait of the people on every gene's predicted expression."""
    samples, values, about = _expression(settings, job, genes, tally)
    path = settings.pheno
    assert path is not None  # noqa: S101 - the settings hold one
    wanted = settings.pheno_name or phenotype_names(path)
    parts = []
    for done, name in enumerate(wanted, start=1):
        who, trait, label = read_phenotype(path, name)
        known = dict(zip(who.tolist(), trait.tolist()))
        y = np.array([known.get(sample, np.nan) for sample in samples.tolist()])
        if np.isnan(y).all():
            raise AlignmentError(
                f"nobody has both a predicted expression and {label} ({examples(samples.tolist())} against "
                f"{examples(who.tolist())}){align.name_hint(samples.tolist(), who.tolist())}; use the same names."
            )
        covariates, there = trait_covariates(settings, samples, y)
        y = np.where(there, y, np.nan)
        parts.append(_one_trait(settings, label, y, covariates, values, about, tally))
        job.step(done, len(wanted), label)
    return pl.concat(parts)


def _one_trait(
    settings: Associate,
    label: str,
    y: NDArray[np.float64],
    covariates: NDArray[np.float64] | None,
    values: NDArray[np.float64],
    about: pl.DataFrame,
    tally: align.Tally,
) -> pl.DataFrame:
    if np.unique(y[~np.isnan(y)]).tolist() == [0.0, 1.0, 2.0]:  # plink's cases and controls, where 0 is missing
        log.warning(f"{settings.pheno}: {label} holds 0, 1 and 2: taken as missing, control and case, as plink does")
        y = np.where(y == 0, np.nan, y)
    used = ~np.isnan(y)
    item = f"people with {label}"
    tally.come(item, "with predicted expression", len(y))
    tally.drop(item, f"no {label}, or no covariates", int((~used).sum()))
    kinds = np.unique(y[used])
    if len(kinds) < 2:
        raise GenopredError(f"{settings.pheno}: {label} is the same for all {int(used.sum())} people; nothing to test.")
    two = len(kinds) == 2
    if settings.regression == "logistic" and not two:
        raise GenopredError(
            f"--regression logistic: {label} has {len(kinds)} values ({examples(kinds.tolist())}); cases and controls "
            "are needed, 1 and 0 or 2 and 1."
        )
    if two and settings.regression != "linear":
        tally.use(item, f"logistic regression, {int((y == kinds[1]).sum()):,} cases", int(used.sum()))
        found = tests.logistic(values, np.where(used, (y == kinds[1]).astype(np.float64), np.nan), covariates)
    else:
        tally.use(item, "linear regression", int(used.sum()))
        found = tests.linear(values, y, covariates)
    flat = about["gene_id"].filter(pl.Series(np.isnan(found.z))).to_list()
    tally.note(item, "genes without a test: their prediction does not vary, or separates cases from controls", flat)
    return about.with_columns(
        pl.lit(label).alias("trait"),
        *(pl.Series(name, getattr(found, name)) for name in ("n", "effect", "se", "z", "pval")),
    )


def _expression(
    settings: Associate, job: Run, genes: Any, tally: align.Tally
) -> tuple[NDArray[np.str_], NDArray[np.float64], pl.DataFrame]:
    """Samples (N,), predicted expression (G, N), and what is known of the genes."""
    if settings.models is not None:
        models = open_models(settings.models)
        _, genotypes, counts = open_filtered(settings)
        found = predict(
            models, genotypes, counts, method=settings.method, genes=genes, min_match=settings.min_match,
            ambiguous=settings.ambiguous, progress=lambda done, total: job.step(done, total, "predictions"),
        )  # fmt: skip
        tally.join(found.report)
        about = found.genes.with_columns(pl.col("found").alias("used"))
        return found.samples, found.values, about.select(_known(about))
    assert settings.predicted is not None  # noqa: S101 - the settings hold one of the two
    samples, names, values = _read_predicted(settings.predicted)
    if genes is not None:
        rows, absent = align.look_up_genes(names, genes, known_symbols())
        if absent:
            raise AlignmentError(f"{len(absent)} genes are not in {settings.predicted} ({examples(absent)}).")
        names, values = [names[i] for i in rows.tolist()], values[rows]
    tally.come("genes", f"in {settings.predicted}", len(names))
    tally.use("genes", "tested", len(names))
    about, beside = pl.DataFrame({"gene_id": names}), settings.predicted.with_name("genes.parquet")
    if beside.is_file():  # what `genopred predict` wrote with it
        known = pl.read_parquet(beside).rename({"found": "used"}).unique("gene_id")
        about = about.join(known, on="gene_id", how="left", maintain_order="left")
    return samples, values, about.select(_known(about))


def _known(about: pl.DataFrame) -> list[pl.Expr]:
    kinds = {"gene_id": pl.String, "gene_name": pl.String, "chrom": pl.String, "tss": pl.Int64}
    kinds |= {"variants": pl.Int64, "used": pl.Int64, "variance_found": pl.Float64, "r2": pl.Float64}
    return [
        (pl.col(name) if name in about.columns else pl.lit(None).alias(name)).cast(kind) for name, kind in kinds.items()
    ]


def _read_predicted(path: Path) -> tuple[NDArray[np.str_], list[str], NDArray[np.float64]]:
    """Samples, genes and values (G, N) of what `genopred predict` wrote, or PrediXcan's table FID IID genes."""
    if regular(path, "predicted expression").suffix == ".parquet":
        try:
            table = pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as problem:
            raise FormatError(
                f"{path} cannot be read ({problem}); give expression.parquet of genopred predict."
            ) from None
    else:
        text, first = read_table(read_bytes(path, "predicted expression"), path)
        named = [name for name in text.columns if name not in ("FID", "IID", "sample")]
        table = to_numbers(text, named, path, first)
    key = next((name for name in ("sample", "IID") if name in table.columns), None)
    genes = [name for name in table.columns if name not in ("FID", "IID", "sample")]
    if key is None or not genes:
        raise FormatError(
            f"{path}: needed are a column sample (or FID and IID) and one a gene; found {examples(table.columns)}."
        )
    values = table.select(genes).cast(pl.Float64, strict=False).to_numpy().T
    if not np.isfinite(values).all():
        raise FormatError(f"{path}: {int((~np.isfinite(values)).sum()):,} cells are no finite numbers; predict again.")
    samples = table[key].cast(pl.String).to_list()
    if twice := sorted(repeated(samples)):
        raise FormatError(
            f"{path}: {len(twice)} samples are there more than once ({examples(twice)}); keep one of each."
        )
    return np.array(samples, dtype=str), genes, values


def _page(settings: Associate, job: Run, result: Associated) -> None:
    from genopred.report.pages.associate import write_association_page

    info: dict[str, Any] = {"command": settings.command, "models": str(settings.models or settings.predicted)}
    info |= {"trait": str(settings.pheno or settings.sumstats), "lead": result.lines()[:-1]}
    folder = job.path("figures")
    folder.mkdir(exist_ok=True)
    write_association_page(result.page, folder, result.table, result.report, info)
