"""eQTL mapping: nominal and permutation passes, q-values, independent signals and credible sets, by chromosome.

Files, each written whole or not at all:

======================================  ============================================================================
OUT.cis_qtl_pairs.CHROM.parquet         every gene and variant (`genopred.genetics.eqtl.scan.NOMINAL_SCHEMA`)
OUT.cis_qtl.parquet, .tsv               every gene with its top variant, permutation p-value and q-value
OUT.cis_independent_qtl.parquet, .tsv   conditionally independent signals
OUT.SuSiE_summary.parquet, .tsv         variants of credible sets (`CREDIBLE_SCHEMA`)
OUT.matched.tsv                         what came in, was used and was dropped, and why (`genopred.types.MatchReport`)
OUT.run.json                            the settings that the results depend on
OUT.parts/                              what is done already, until all is
======================================  ============================================================================
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.errors import AlignmentError, examples
from genopred.files import atomic, write_json
from genopred.genetics.eqtl.beta import permutation_table
from genopred.genetics.eqtl.credible import CREDIBLE_SCHEMA, credible_variants
from genopred.genetics.eqtl.qvalues import add_qvalues
from genopred.genetics.eqtl.scan import (
    Chromosome,
    CisModel,
    chromosomes,
    cis_model,
    cis_scan,
    cis_windows,
    nominal_table,
    permutation_indices,
)
from genopred.genetics.eqtl.signals import INDEPENDENT_SCHEMA, independent_signals
from genopred.pipelines.inputs import chosen_genes, open_cohort
from genopred.pipelines.run import Progress, Run, say, write_tables
from genopred.settings import Eqtl
from genopred.types import Cohort, MatchReport, Note

log = logging.getLogger(__name__)

#: Everything that is written after `<out>.`
OUTPUTS = (
    "cis_qtl_pairs.*.parquet", "cis_qtl.parquet", "cis_qtl.tsv", "cis_independent_qtl.parquet",
    "cis_independent_qtl.tsv", "SuSiE_summary.parquet", "SuSiE_summary.tsv", "matched.tsv", "parts/*",
)  # fmt: skip

#: Why a gene has no result.
NOTHING = "no usable variant in the cis window"


@dataclass(frozen=True)
class EqtlResult:
    """What a run found, besides its files.

    Attributes
    ----------
    genes : polars.DataFrame or None
        The permutation pass, with q-values.
    independent, susie : polars.DataFrame or None
    pi0 : float or None
        Estimated share of genes without an eQTL.
    pairs : int
        Gene-variant pairs tested.
    files : list of Path
    report : MatchReport
    fdr : float
        At which a gene counts as having one.
    """

    genes: pl.DataFrame | None
    independent: pl.DataFrame | None
    susie: pl.DataFrame | None
    pi0: float | None
    pairs: int
    files: list[Path] = field(repr=False)
    report: MatchReport = field(repr=False)
    fdr: float = 0.05

    def lines(self) -> list[str]:
        """What was found, in words, and where it is."""
        said = [f"{self.pairs:,} gene-variant pairs tested"]
        if self.genes is not None:
            hits = int((self.genes["qval"] <= self.fdr).sum())
            many = f"{hits:,} of {self.genes.height:,} genes"
            said.append(f"{many} with an eQTL at FDR {self.fdr:g} (pi0 {self.pi0:.3f})")
        if self.independent is not None:
            said.append(f"{self.independent.height:,} independent signals")
        if self.susie is not None:
            sets = self.susie.select("phenotype_id", "cs_id").n_unique()
            said.append(f"{sets:,} credible sets of {self.susie['phenotype_id'].n_unique():,} genes")
        return said + [f"  {file}" for file in self.files]


def run(settings: Eqtl, progress: Progress | None = None) -> EqtlResult:
    """Map eQTLs and write the tables.

    Raises
    ------
    GenopredError
        On bad input or arguments, before anything is computed where that is possible.
    """
    with Run(settings, OUTPUTS, progress) as job:
        cohort = open_cohort(settings)
        say(cohort.report)
        return _Work(job, settings, cohort).run()


class _Work:
    """One run: which parts are done, and where they lie until the end."""

    def __init__(self, job: Run, settings: Eqtl, cohort: Cohort) -> None:
        self.job, self.settings, self.cohort = job, settings, cohort
        self.values, self.genes = cohort.expression.values, cohort.expression.genes
        self.covariates = None if cohort.covariates is None else cohort.covariates.values
        self.gene_ids = self.genes["gene_id"].to_list()
        self.reading = threading.Lock()  # an opened genotype file is for one thread at a time

    def run(self) -> EqtlResult:
        settings, total = self.settings, len(self.gene_ids)
        self.job.settle(gene=chosen_genes(settings))  # parts are of whole parts, so which genes matters
        parts = list(chromosomes(self.genes, self.cohort.genotypes.variants))
        left_out, untested = align.Tally(), []
        done = pairs = 0
        for chrom in parts:
            facts = self._part(chrom, "scan", "json")
            if not (facts.exists() and self._outputs_exist(chrom)):
                self._scan(chrom, facts, lambda n, _, before=done: self.job.step(before + n, total, ""))  # type: ignore[misc]
            found = json.loads(facts.read_text(encoding="utf-8"))
            pairs += found["pairs"]
            left_out.add("variants", found["notes"])
            untested += found["untested"]
            done += len(chrom.genes)
            self.job.step(done, total, chrom.name)
        left_out.drop("genes", NOTHING, untested)
        report = self._report(left_out, pairs)
        genes = independent = susie = pi0 = None
        if settings.permute:
            genes, pi0 = add_qvalues(self._gather(parts, "permutation"), settings.fdr)
            hits = genes.filter(pl.col("qval") <= settings.fdr)
            cut = float(hits["pval_beta"].max() or 0.0)  # type: ignore[arg-type]
            log.info(
                f"{hits.height:,} of {genes.height:,} genes have an eQTL at FDR {settings.fdr:g} "
                f"(pi0 {pi0:.3f}, gene-level p up to {cut:.3g})"
            )
            wanted = set(hits["phenotype_id"].to_list())
            if settings.independent:
                independent = self._per_gene(parts, wanted, "independent", cut)
            if settings.susie:
                susie = self._per_gene(parts, wanted, "susie", cut)
        self.job.matched(report)
        files = [self._nominal_path(chrom) for chrom in parts] if settings.nominal else []
        # q-values last: until they are there, the run is not finished.
        tables = {"cis_independent_qtl": independent, "SuSiE_summary": susie, "cis_qtl": genes}
        files += self.job.save(**{name: table for name, table in tables.items() if table is not None})
        self.job.drop("parts")
        return EqtlResult(genes, independent, susie, pi0, pairs, files, report, settings.fdr)

    def _report(self, left_out: align.Tally, pairs: int) -> MatchReport:
        """What became of variants and genes; refused where nothing was tested at all."""
        tally = align.Tally(self.cohort.report)
        for item in ("variants", "genes"):
            for reason, n, shown in left_out.dropped(item):
                log.info(f"{item}: {n:,} dropped: {reason} ({shown})")
                tally.add(item, [("dropped", reason, n, shown)])
        if not pairs:
            self.job.clear()
            self.job.drop("parts")
            why = "; ".join(f"{n:,} {reason}" for reason, n, _ in left_out.dropped("variants"))
            raise AlignmentError(
                f"nothing was tested: none of {len(self.gene_ids):,} genes has a usable variant within "
                f"{self.settings.window:,} bases (variants: {why or 'no variant is in a window'}). Check genotypes and "
                "expression, or raise --window."
            )
        return tally.report()

    # --- what was done before --------------------------------------------------------------------------------

    def _part(self, chrom: Chromosome, what: str, kind: str = "parquet") -> Path:
        return self.job.path(f"parts/{what}.{chrom.name}.{kind}")

    def _nominal_path(self, chrom: Chromosome) -> Path:
        return self.job.path(f"cis_qtl_pairs.{chrom.name}.parquet")

    def _outputs_exist(self, chrom: Chromosome) -> bool:
        return (not self.settings.nominal or self._nominal_path(chrom).exists()) and (
            not self.settings.permute or self._part(chrom, "permutation").exists()
        )

    # --- passes ----------------------------------------------------------------------------------------------

    def _model(self, rows: NDArray[np.int64]) -> CisModel:
        normalise = self.settings.transform == "inverse-normal"
        return cis_model(self.values[:, rows], self.covariates, normalise=normalise, compat=self.settings.compat)

    def _orders(self) -> NDArray[np.intp] | None:
        permute = self.settings.permute
        return permutation_indices(len(self.cohort.samples), permute, self.settings.seed) if permute else None

    def _scan(self, chrom: Chromosome, facts: Path, progress: Callable[[int, int], None]) -> None:
        settings, genotypes = self.settings, self.cohort.genotypes
        where = chrom.pos, chrom.tss, self._model(chrom.genes), settings.window
        how: dict[str, Any] = {"permutations": self._orders(), "maf": settings.maf, "threads": self.job.threads}
        scan = cis_scan(lambda a, b: genotypes.dosage(chrom.columns[a:b]), *where, progress=progress, **how)
        ids = [self.gene_ids[i] for i in chrom.genes.tolist()]
        if settings.nominal:
            table = nominal_table(scan, ids, chrom.ids, chrom.pos, chrom.tss)
            with atomic(self._nominal_path(chrom)) as temporary:
                table.write_parquet(temporary, compression="lz4", statistics=False)
        if settings.permute:
            table = permutation_table(scan, ids, chrom.ids, chrom.pos, chrom.tss)
            write_tables({self._part(chrom, "permutation"): table})
        notes: list[Note] = []
        near = np.zeros(len(chrom.pos), dtype=bool)
        for start, stop in zip(scan.start, scan.stop):
            near[start:stop] = True
        unusable = {reason: which & near for reason, which in scan.unusable.items()}
        for reason, which in {**unusable, "in no gene's window": ~near}.items():
            shown = examples(chrom.ids.gather(np.flatnonzero(which)[:4]).to_list())
            notes += [("dropped", reason, int(which.sum()), shown)] * bool(which.any())
        untested = [gene for i, gene in enumerate(ids) if np.isnan(scan.gene(i)).all()]
        write_json(facts, {"pairs": int(np.sum(~np.isnan(scan.r))), "notes": notes, "untested": untested})

    def _gather(self, parts: list[Chromosome], what: str) -> pl.DataFrame:
        return pl.concat([pl.read_parquet(self._part(chrom, what)) for chrom in parts])

    def _per_gene(self, parts: list[Chromosome], wanted: set[str], what: str, cut: float) -> pl.DataFrame:
        """Independent signals or credible sets of the wanted genes; each chromosome is kept when it is done."""
        one = partial(self._independent if what == "independent" else self._susie, cut=cut, orders=self._orders())
        done = 0
        for chrom in parts:
            rows = [int(i) for i in chrom.genes if self.gene_ids[i] in wanted]
            path = self._part(chrom, what)
            if not path.exists():
                tables = []
                with ThreadPoolExecutor(max(1, min(self.job.threads, len(rows)))) as pool:
                    try:
                        for n, table in enumerate(pool.map(partial(one, chrom), rows), start=1):
                            tables.append(table)
                            self.job.step(done + n, len(wanted), f"{what} {chrom.name}")
                    except BaseException:  # an interrupt does not wait for the genes that are queued
                        pool.shutdown(wait=False, cancel_futures=True)
                        raise
                schema = INDEPENDENT_SCHEMA if what == "independent" else CREDIBLE_SCHEMA
                write_tables({path: pl.concat([pl.DataFrame(schema=schema), *tables])})
            done += len(rows)
        return self._gather(parts, what)

    def _window(self, chrom: Chromosome, row: int) -> tuple[int, int, NDArray[np.float32]]:
        start, stop = cis_windows(chrom.pos, [self.genes["tss"][row]], self.settings.window)
        a, b = int(start[0]), int(stop[0])
        with self.reading:
            return a, b, self.cohort.genotypes.dosage(chrom.columns[a:b])

    def _independent(self, chrom: Chromosome, row: int, cut: float, orders: NDArray[np.intp] | None) -> pl.DataFrame:
        a, b, dosage = self._window(chrom, row)
        orders = orders if orders is not None else np.empty((0, 0), dtype=np.intp)
        one = int(self.genes["tss"][row]), self.values[:, [row]][:, 0], self.covariates
        how: dict[str, Any] = {"normalise": self.settings.transform == "inverse-normal", "maf": self.settings.maf}
        how |= {"gene_id": self.gene_ids[row], "variant_ids": chrom.ids[a:b]}
        return independent_signals(dosage, chrom.pos[a:b], *one, cut, orders, **how)

    def _susie(self, chrom: Chromosome, row: int, cut: float, orders: NDArray[np.intp] | None) -> pl.DataFrame:
        settings = self.settings
        a, b, dosage = self._window(chrom, row)
        model = self._model(np.array([row]))
        limits = settings.maf, settings.max_effects, settings.coverage, settings.min_abs_corr
        return credible_variants(dosage, model, self.gene_ids[row], chrom.ids[a:b], *limits)
