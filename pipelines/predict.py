"""Predict expression of new people from models that were trained before.

Files under `out`, each written whole or not at all:

====================  ==============================================================================================
expression.parquet    sample, then a column per gene (format parquet); expression.tsv: FID, IID, a column per gene, as
or .tsv or .bed       PrediXcan's (format tsv); expression.bed: an expression BED, genes in rows (format bed)
genes.tsv, .parquet   gene_id, gene_name, method, variants, found, matched, swapped, strand_flipped, ambiguous,
                      alleles_differ, absent, variance_found (share), r2 and r2_low, r2_high in training, r2_left
matched.tsv           what came in, was used and was dropped, and why (`genopred.types.MatchReport`)
run.json              what the predictions depend on
====================  ==============================================================================================

`variance_found` is the share of the score's variance that its variants in the genotypes have, taken as independent;
`r2_left` is the accuracy in training times that share.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from genopred.errors import GenopredError, examples
from genopred.files import write_files
from genopred.io.chain import read_chain
from genopred.pipelines.apply_models import Prediction, predict
from genopred.pipelines.inputs import chosen_genes, open_filtered
from genopred.pipelines.model_inputs import lifted, models_files, open_models
from genopred.pipelines.run import Progress, Run, say
from genopred.settings import Predict
from genopred.types import plain_chrom

OUTPUTS = ("expression.*", "genes.*", "matched.tsv")


def run(settings: Predict, progress: Progress | None = None) -> Prediction:
    """Predict and write.

    Parameters
    ----------
    settings : genopred.settings.Predict
    progress : callable, optional
        Called with (variants done, variants in all, label).

    Raises
    ------
    GenopredError
        On bad input, or where too little of the models is found.
    """
    models = open_models(settings.models)
    with Run(settings, OUTPUTS, progress) as job:
        genes = chosen_genes(settings)
        _, genotypes, tally = open_filtered(settings)
        if settings.chain is not None:
            models = lifted(models, read_chain(settings.chain), tally)
        found = predict(
            models, genotypes, tally,
            method=settings.method, genes=genes, min_match=settings.min_match, ambiguous=settings.ambiguous,
            threads=job.threads, progress=lambda done, total: job.step(done, total, "predictions"),
            ready=lambda: job.settle(models=models_files(settings.models), gene=genes),
        )  # fmt: skip
        say(found.report)
        write_files({job.path(f"expression.{settings.format}"): lambda path: _WRITE[settings.format](found, path)})
        job.save(genes=found.genes)
        job.matched(found.report)
    return found


def _write_parquet(found: Prediction, path: Path) -> None:
    found.table().write_parquet(path)


def _write_tsv(found: Prediction, path: Path) -> None:
    table = found.table()
    table.select(pl.col("sample").alias("FID"), pl.col("sample").alias("IID"), pl.exclude("sample")).write_csv(
        path, separator="\t", float_precision=9
    )


def _write_bed(found: Prediction, path: Path) -> None:
    lacking = found.genes.filter(pl.col("tss").is_null())["gene_id"].to_list()
    if lacking:
        raise GenopredError(
            f"--format bed: the models do not say where {len(lacking)} genes are ({examples(lacking)}); use parquet or "
            "tsv."
        )
    genes = found.genes.with_row_index("row").sort(pl.col("chrom").replace_strict(_order(found.genes)), "tss")
    header = ["#chr", "start", "end", "gene_id", *found.samples.tolist()]
    with path.open("w", encoding="utf-8") as file:
        file.write("\t".join(header) + "\n")
        for row, chrom, tss, gene in genes.select("row", "chrom", "tss", "gene_id").iter_rows():
            values = "\t".join(f"{value:.9g}" for value in found.values[row])
            file.write(f"{chrom}\t{tss - 1}\t{tss}\t{gene}\t{values}\n")


def _order(genes: pl.DataFrame) -> dict[str, int]:
    names = sorted(genes["chrom"].unique().to_list(), key=lambda name: (len(plain_chrom(name)), plain_chrom(name)))
    return {name: i for i, name in enumerate(names)}


_WRITE: dict[str, Callable[[Prediction, Path], None]] = {
    "parquet": _write_parquet,
    "tsv": _write_tsv,
    "bed": _write_bed,
}
