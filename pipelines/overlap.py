"""Do a model's scores of SNPs and an eQTL table pick the same SNPs? Tables in, tests, figures and a page out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.align_snps import joined, with_alleles, with_dosage
from genopred.errors import GenopredError, examples
from genopred.genetics import loci
from genopred.genetics.overlap.comparison import (
    RESULT_SCHEMA,
    Asked,
    Comparison,
    Ranked,
    between,
    compare,
    possible_nulls,
    rank_snps,
)
from genopred.genetics.overlap.enrichment import member_of, precision_recall, ranked_members
from genopred.genetics.overlap.nulls import NULLS
from genopred.genetics.overlap.rankings import Rankings
from genopred.io.annotation import read_exons, read_gtf
from genopred.io.snptable import SnpTable, TableSpec, read_snps
from genopred.pipelines.inputs import open_genotypes
from genopred.pipelines.run import Progress, Run, say
from genopred.report.locus import GeneTrack
from genopred.report.pages import overlap as page
from genopred.settings import Overlap
from genopred.settings.overlap import NamedFile
from genopred.types import Genotypes, Interval, MatchReport

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Every file that a run may write, after `OUT.`.
OUTPUTS = (
    *(f"{table}.{kind}" for table in ("overlap", "snps", "curves") for kind in ("tsv", "parquet")),
    *(f"*.{figure}.{kind}" for figure in page.FIGURES for kind in ("png", "svg")),
    "matched.tsv",
    "html",
)


@dataclass(frozen=True)
class OverlapResult:
    """What a run found, besides its files.

    Attributes
    ----------
    results : polars.DataFrame
        Columns of `RESULT_SCHEMA`.
    comparisons : list of Comparison
    report : MatchReport
    files : list of Path
    k : tuple of int
        Top SNPs that were compared.
    """

    results: pl.DataFrame
    comparisons: list[Comparison] = field(repr=False)
    report: MatchReport = field(repr=False)
    files: list[Path] = field(repr=False)
    k: tuple[int, ...] = (50,)

    def lines(self) -> list[str]:
        """What was found, in words, and where it is."""
        return [*page.reading(self.results, self.k), *(f"  {file}" for file in self.files)]


def run(settings: Overlap, progress: Progress | None = None) -> OverlapResult:
    """Compare the rankings and write tables, figures and a page.

    Raises
    ------
    GenopredError
        On bad input, before anything is computed where that is possible.
    """
    with Run(settings, OUTPUTS, progress) as job:
        work = _Work(settings)
        total = len(work.tables) + 1
        comparisons = []
        for i, table in enumerate(work.tables):
            job.step(i, total, f"{table.spec.name} against {work.b.spec.name}")
            comparisons.append(work.compare(table))
        for i, first in enumerate(work.tables):
            for second in work.tables[i + 1 :]:
                work.between(first, second)
        results = pl.DataFrame(work.rows, schema=RESULT_SCHEMA, orient="row")
        job.step(total - 1, total, "tables, figures")
        report = work.tally.report()
        say(report)
        job.settle()
        files = _write(job, settings, results, comparisons, report)
        job.step(total, total, "")
    return OverlapResult(results, comparisons, report, files, settings.k)


# --- the work --------------------------------------------------------------------------------------------------


class _Work:
    """Tables once read, and what is found about them."""

    def __init__(self, settings: Overlap) -> None:
        self.settings = settings
        self.rows: list[dict[str, Any]] = []
        self.tally = align.Tally()
        of_b = self._spec(settings.b, "b")
        self.tables = [read_snps(self._spec(file, "a")) for file in settings.a]
        self.b = read_snps(of_b)
        for table in (*self.tables, self.b):
            self.tally.opened(table.spec.name, str(table.spec.path), table.data.height, table.notes)
            self.tally.use(table.spec.name, f"with a score ({table.label})", table.data.height)
        self.genotypes = None if settings.genotypes is None else open_genotypes(settings)
        if self.genotypes is not None:
            self.b = replace(self.b, data=with_alleles(self.b.data, self.genotypes))
        self.sets = None if settings.set_file is None else self._members(self._spec(settings.set_file, "set"))
        if settings.recipe and "p" not in self.b.data.columns:
            raise GenopredError(f"--recipe {settings.recipe} adds -log10 p to the effects; {of_b.path} has no p-value.")

    def _spec(self, file: NamedFile, of: str) -> TableSpec:
        """What to read of a table."""
        names = ("score", "id", "gene", "effect", "where")
        return TableSpec(file.path, file.name, **{name: getattr(self.settings, f"{of}_{name}", None) for name in names})

    def _members(self, spec: TableSpec) -> tuple[str, pl.DataFrame]:
        """Name and members of the sets."""
        settings = self.settings
        read = data = read_snps(spec, scored=False).data
        if settings.min_pip > 0:
            if "pip" not in data.columns:
                raise GenopredError(f"--min-pip: {spec.path} has no column pip; leave the option out.")
            data = data.filter(pl.col("pip") >= settings.min_pip)
        keys = ["gene", "id"] if "gene" in data.columns else ["id"]
        members = data.select(keys).drop_nulls().unique(maintain_order=True)
        self.tally.come(spec.name, f"in {spec.path}", read.height)
        self.tally.drop(spec.name, f"PIP below {settings.min_pip:g}", read.height - data.height)
        self.tally.drop(spec.name, "no id, or listed more than once", data.height - members.height)
        self.tally.use(spec.name, "members", members.height)
        return spec.name, members

    def compare(self, table: SnpTable) -> Comparison:
        """Everything about one table against b."""
        settings, names = self.settings, (table.spec.name, self.b.spec.name)
        both = " and ".join(names)
        snps, grouped = joined(table, self.b, self.tally)
        dosage = None
        if self.genotypes is not None:
            snps, dosage = with_dosage(both, snps, self.genotypes, self.tally)
        ranked = self._rank(names, snps, grouped, dosage)
        asked = self._asked(ranked, self._nulls(ranked))
        if settings.recipe and len(ranked.rankings.sizes) > 1:
            raise GenopredError("--recipe founding-study ranks the SNPs of one gene; the tables have several.")
        found = compare(
            ranked,
            asked,
            sets=None if self.sets is None else (self.sets[0], self._member(both, ranked, *self.sets)),
            match={what: self._property(what, ranked) for what in settings.match},
            distance="in LD" if dosage is not None else f"within {settings.clump_kb:g} kb (no genotypes, so no LD)",
            recipe=settings.recipe is not None,
        )
        self.tally.add(both, found.notes)
        self.rows += found.rows
        return found

    def _rank(
        self, names: tuple[str, str], snps: pl.DataFrame, grouped: bool, dosage: NDArray[np.float32] | None = None
    ) -> Ranked:
        settings, both = self.settings, " and ".join(names)
        limits: dict[str, Any] = {"r2": settings.clump_r2, "kb": settings.clump_kb, "seed": settings.seed}
        ranked = rank_snps(names, snps, dosage, grouped=grouped, **limits)
        self.tally.drop(both, "the one SNP of its gene", ranked.dropped)
        self.tally.add(both, ranked.notes)
        self.tally.use(both, "ranked in both", ranked.rankings.n)
        return ranked

    def _nulls(self, ranked: Ranked) -> tuple[str, ...]:
        can = possible_nulls(ranked)
        impossible = [name for name in self.settings.null or () if name not in can]
        if impossible:
            raise GenopredError(
                f"--null {examples(impossible)} needs genotypes (--bfile, --pfile, --vcf) with LD blocks."
            )
        return tuple(can) if self.settings.null is None else self.settings.null

    def _asked(self, ranked: Ranked, nulls: tuple[str, ...]) -> Asked:
        settings = self.settings
        largest = int(ranked.rankings.sizes.max())
        if min(settings.k) > largest:
            raise GenopredError(f"--k {min(settings.k)}: only {largest} SNPs are in both tables; take a smaller k.")
        ks = tuple(k for k in settings.k if k <= largest)
        return Asked(ks, nulls, settings.draws, settings.resamples, settings.seed)

    def _member(self, both: str, ranked: Ranked, name: str, members: pl.DataFrame) -> NDArray[np.bool_]:
        """Which SNPs are members of the sets; the tally learns how many members are ranked."""
        there, kept = ranked_members(ranked.snps, members), f"{name} in {both}"
        self.tally.come(kept, "members", members.height)
        self.tally.use(kept, "ranked in both", int(there.sum()))
        self.tally.drop(kept, "not ranked in both", members["id"].filter(~pl.Series(there)).to_list())
        return member_of(ranked.snps, members)

    def _property(self, what: str, ranked: Ranked) -> Floats | None:
        """A property by which controls are matched; None where it is unknown."""
        snps = ranked.snps
        if what == "maf" and snps["af"].null_count() == 0:
            return np.minimum(snps["af"].to_numpy(), 1 - snps["af"].to_numpy())
        if what == "distance" and snps["distance"].null_count() == 0:
            return np.abs(snps["distance"].to_numpy())
        if what == "ld" and self.genotypes is not None:
            return _ld_scores(self.genotypes, ranked.rankings, snps)
        return None

    def between(self, first: SnpTable, second: SnpTable) -> None:
        """Overlap of two of the rankings with each other."""
        ranked = self._rank((first.spec.name, second.spec.name), *joined(first, second, self.tally))
        p = None
        if self.settings.recipe:
            known = self.b.data.select("id", "p")
            p = ranked.snps.select("id").join(known, on="id", how="left", maintain_order="left")["p"]
        self.rows += between(ranked, self._asked(ranked, ("shift",)), p)


def _ld_scores(genotypes: Genotypes, r: Rankings, snps: pl.DataFrame) -> Floats:
    """LD scores over all SNPs of the genotype file within 1 Mb."""
    out, positions = np.empty(r.n), genotypes.variants["pos"].to_numpy()
    for g in range(len(r.sizes)):
        for chrom in snps.filter(pl.Series(r.group == g))["chrom"].unique().to_list():
            here = np.flatnonzero((r.group == g) & (snps["chrom"] == chrom).to_numpy())
            pos = snps["pos"].to_numpy()[here]
            index = genotypes.index(Interval(chrom, max(0, int(pos.min()) - 1_000_000), int(pos.max()) + 1_000_000))
            index = index[np.argsort(positions[index], kind="stable")]
            place = {column: i for i, column in enumerate(index.tolist())}
            wanted = np.array([place[column] for column in snps["column"].to_numpy()[here].tolist()])
            out[here] = loci.ld_scores(genotypes.dosage(index), positions[index], columns=wanted)
    return out


# --- outputs ---------------------------------------------------------------------------------------------------


def _write(
    job: Run, settings: Overlap, results: pl.DataFrame, comparisons: list[Comparison], report: MatchReport
) -> list[Path]:
    """Tables, figures and the page."""
    snps = [c.snps.drop("column", strict=False).select(a=pl.lit(c.a), b=pl.lit(c.b), **_same(c)) for c in comparisons]
    curves = [_curve_table(c) for c in comparisons]
    files = job.save(overlap=results, snps=pl.concat(snps, how="diagonal"), curves=pl.concat(curves))
    job.matched(report)
    genes = None if settings.gtf is None else GeneTrack(read_gtf(settings.gtf), read_exons(settings.gtf))
    info = {"command": settings.command} if settings.command else {}
    info |= {name: getattr(settings, name) for name in ("seed", "draws", "resamples")}
    said = "set" if settings.set_file is None else settings.set_file.name
    pairs = [
        page.Pair(c.a, c.b, c.snps, table, c.rankings.dosage, _recall(c), said) for c, table in zip(comparisons, curves)
    ]
    drawing = page.Drawing(settings.k, settings.figures, genes)
    about: dict[str, Any] = {"report": report, "nulls": NULLS, "title": "genopred overlap", "info": info}
    return [*files, job.path("matched.tsv"), *page.write(settings.out, results, pairs, drawing, **about)]


def _same(c: Comparison) -> dict[str, pl.Expr]:
    return {name: pl.col(name) for name in c.snps.columns if name not in ("column", "a", "b")}


def _curve_table(c: Comparison) -> pl.DataFrame:
    names = ("k", "observed", "mean", "low", "high", "p")
    tables = [
        pl.DataFrame({"null": [curve.null] * len(curve.k)} | {name: getattr(curve, name) for name in names})
        for curve in c.curves
    ]
    return pl.concat(tables).select(pl.lit(c.a).alias("a"), pl.lit(c.b).alias("b"), pl.all())


def _recall(c: Comparison) -> tuple[Floats, Floats] | None:
    """Recall and precision of a's score as a search for the members of the sets."""
    if "member" not in c.snps.columns or not c.snps["member"].any():
        return None
    r = c.rankings
    # Scores of different genes are compared as percentiles within their gene.
    score = 1 - r.rank_a / r.sizes[r.group] if len(r.sizes) > 1 else r.a
    precision, recall, _ = precision_recall(score, c.snps["member"].to_numpy())
    return recall, precision
