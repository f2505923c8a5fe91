"""Do a model's scores of SNPs and an eQTL table pick the same SNPs? Tables in, tests, figures and a page out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import norm
from threadpoolctl import threadpool_limits

from genopred import align
from genopred.errors import AlignmentError, GenopredError, examples
from genopred.files import lock_output
from genopred.genetics import loci
from genopred.genetics.overlap.enrichment import average_precision, matched_enrichment, sign_agreement
from genopred.genetics.overlap.nulls import (
    NULLS,
    NullOverlap,
    NullTest,
    bootstrap_interval,
    null_overlap,
    null_test,
    overlap_interval,
)
from genopred.genetics.overlap.rankings import (
    Rankings,
    expected_curve,
    hypergeometric,
    rank_correlation,
    rankings,
    shared_at,
    shared_loci,
)
from genopred.genetics.overlap.recipe import founding_score, shuffled_founding
from genopred.io.snptable import SnpTable, TableSpec, read_snps
from genopred.pipelines import overlap_page
from genopred.pipelines.cohort import open_genotypes
from genopred.pipelines.run import fingerprint, settle
from genopred.types import Genotypes, Interval, MatchReport, plain_chrom

log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RECIPES = ("founding-study",)

#: One row per question asked. `circular` marks what cannot tell anything about the model.
RESULT_SCHEMA = {
    "a": pl.String,
    "b": pl.String,
    "measure": pl.String,
    "k": pl.Int64,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "null": pl.String,
    "expected": pl.Float64,
    "null_low": pl.Float64,
    "null_high": pl.Float64,
    "p": pl.Float64,
    "n": pl.Int64,
    "circular": pl.Boolean,
    "note": pl.String,
}


@dataclass(frozen=True)
class OverlapConfig:
    """Everything that a run depends on.

    Attributes
    ----------
    a : tuple of TableSpec
        Rankings to hold against `b`, and against each other.
    b : TableSpec
    out : Path
        Prefix of the outputs.
    k : tuple of int
        Top SNPs (of each gene, where the tables name genes).
    sets : TableSpec, optional
        SNPs of credible sets, or fine-mapped ones.
    min_pip : float
        Take only SNPs of `sets` with at least this posterior probability.
    bfile, pfile, vcf : Path, optional
        Genotypes, for LD.
    match : tuple of str
        Of `maf`, `distance`, `ld`; what is not known is left out with a note.
    nulls : tuple of str, optional
        By default all that the data allow.
    draws, resamples : int
        Of the nulls; of the intervals.
    clump_r2, clump_kb : float
    recipe : str, optional
        `founding-study`: reproduce its overlap as well, marked as circular.
    gtf : Path, optional
        Genes to draw under the SNPs.
    seed : int
    figures : str
        `png`, `svg`, or `none`.
    title, command : str
    """

    a: tuple[TableSpec, ...]
    b: TableSpec
    out: Path
    k: tuple[int, ...] = (50,)
    sets: TableSpec | None = None
    min_pip: float = 0.0
    bfile: Path | None = None
    pfile: Path | None = None
    vcf: Path | None = None
    match: tuple[str, ...] = ("maf", "distance", "ld")
    nulls: tuple[str, ...] | None = None
    draws: int = 10_000
    resamples: int = 1000
    clump_r2: float = 0.5
    clump_kb: float = 250.0
    recipe: str | None = None
    gtf: Path | None = None
    seed: int = 1
    figures: str = "png"
    title: str = "genopred overlap"
    command: str = ""


@dataclass(frozen=True)
class Comparison:
    """One table against another: the matched SNPs and what was found.

    Attributes
    ----------
    a, b : str
    snps : polars.DataFrame
        One row per SNP (and gene), in the order of `rankings`: gene, id, chrom, pos, scores, effects, ranks, member.
    rankings : Rankings
    curves : tuple of NullOverlap
    """

    a: str
    b: str
    snps: pl.DataFrame
    rankings: Rankings
    curves: tuple[NullOverlap, ...]


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
    """

    results: pl.DataFrame
    comparisons: list[Comparison] = field(repr=False)
    report: MatchReport = field(repr=False)
    files: list[Path] = field(repr=False)


def run(config: OverlapConfig, progress: Progress | None = None) -> OverlapResult:
    """Compare the rankings and write tables, figures and a page.

    Parameters
    ----------
    config : OverlapConfig
    progress : function of (done, total, label), optional

    Returns
    -------
    OverlapResult

    Raises
    ------
    GenopredError
        On bad input, before anything is computed where that is possible.
    """
    _check(config)
    step = progress or (lambda done, total, label: None)
    with lock_output(config.out), threadpool_limits(1):
        work = _Work(config)
        total = len(config.a) + 1
        comparisons = []
        for i, table in enumerate(work.tables):
            step(i, total, f"{table.spec.name} against {config.b.name}")
            comparisons.append(work.compare(table))
        for i, first in enumerate(work.tables):
            for second in work.tables[i + 1 :]:
                work.between(first, second)
        results = pl.DataFrame(work.rows, schema=RESULT_SCHEMA, orient="row")
        step(len(config.a), total, "tables, figures")
        report = work.tally.report()
        for line in report.lines():
            log.info(line)
        # it starts anew every time; nothing of an earlier run stays beside
        settle(config.out, fingerprint(config), overlap_page.OUTPUTS, resume=False, prefix=True)
        files = overlap_page.write(config, results, comparisons, report)
        step(total, total, "")
    return OverlapResult(results, comparisons, report, files)


def _check(config: OverlapConfig) -> None:
    if config.recipe is not None and config.recipe not in RECIPES:
        raise GenopredError(f"--recipe {config.recipe!r} is unknown; there is {', '.join(RECIPES)}.")
    names = [spec.name for spec in (*config.a, config.b)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise GenopredError(f"two tables are called {twice[0]!r}; name them apart: --a full=FILE --a tracks=FILE.")
    if not config.a:
        raise GenopredError("--a: no table; give at least one.")
    unknown = [name for name in config.nulls or () if name not in NULLS]
    if unknown:
        raise GenopredError(f"--null: {examples(unknown)} unknown; choose among {', '.join(NULLS)}.")
    unknown = [name for name in config.match if name not in ("maf", "distance", "ld")]
    if unknown:
        raise GenopredError(f"--match: {examples(unknown)} unknown; choose among maf, distance, ld.")
    for flag, value, least in (("--draws", config.draws, 100), ("--resamples", config.resamples, 100)):
        if value < least:
            raise GenopredError(f"{flag} {value}: at least {least} are needed for p-values and intervals.")
    if config.figures not in ("png", "svg", "none"):
        raise GenopredError(f"--figures {config.figures!r} is unknown; choose png, svg or none.")
    if any(k < 1 for k in config.k) or not config.k:
        raise GenopredError(f"--k is {', '.join(map(str, config.k)) or 'empty'}; give whole numbers from 1 up, as 50.")


# --- the work --------------------------------------------------------------------------------------------------


class _Work:
    """Tables once read, and what is found about them."""

    def __init__(self, config: OverlapConfig) -> None:
        self.config = config
        self.rows: list[dict[str, Any]] = []
        self.tally = align.Tally()
        self.tables = [read_snps(spec) for spec in config.a]
        self.b = read_snps(config.b)
        for table in (*self.tables, self.b):
            self.tally.opened(table.spec.name, str(table.spec.path), table.data.height, table.notes)
            self.tally.use(table.spec.name, f"with a score ({table.label})", table.data.height)
        self.genotypes: Genotypes | None = None
        if config.bfile or config.pfile or config.vcf:
            self.genotypes = open_genotypes(config.bfile, config.pfile, config.vcf)
            self.b = replace(self.b, data=self._alleles(self.b.data))
        self.members = self._members() if config.sets is not None else None
        if config.recipe and "p" not in self.b.data.columns:
            raise GenopredError(
                f"--recipe {config.recipe} adds -log10 p to the effects; {config.b.path} has no p-value."
            )

    def _alleles(self, data: pl.DataFrame) -> pl.DataFrame:
        """Alleles and positions of SNPs that the table only names, from the genotypes they were tested on."""
        genotypes = self._opened()
        if {"ref", "alt", "pos"} <= set(data.columns):
            return data
        known = genotypes.variants.unique("id", keep="none")
        plain = {name: plain_chrom(name) for name in known["chrom"].unique().to_list()}
        known = known.with_columns(pl.col("chrom").replace(plain))
        lacking = [name for name in ("chrom", "pos", "ref", "alt") if name not in data.columns]
        return data.join(known.select("id", *lacking), on="id", how="left", maintain_order="left")

    def _sets_spec(self) -> TableSpec:
        if self.config.sets is None:
            raise GenopredError("--set: none given; give a table of credible-set SNPs.")
        return self.config.sets

    def _opened(self) -> Genotypes:
        if self.genotypes is None:
            raise GenopredError("genotypes: none given; give one of --bfile, --pfile, --vcf.")
        return self.genotypes

    def _members(self) -> pl.DataFrame:
        config, spec = self.config, self._sets_spec()
        read = data = read_snps(spec, scored=False).data
        if config.min_pip > 0:
            if "pip" not in data.columns:
                raise GenopredError(f"--min-pip: {spec.path} has no column pip; leave the option out.")
            data = data.filter(pl.col("pip") >= config.min_pip)
        keys = ["gene", "id"] if "gene" in data.columns else ["id"]
        members = data.select(keys).drop_nulls().unique(maintain_order=True)
        self.tally.come(spec.name, f"in {spec.path}", read.height)
        self.tally.drop(spec.name, f"PIP below {config.min_pip:g}", read.height - data.height)
        self.tally.drop(spec.name, "no id, or listed more than once", data.height - members.height)
        self.tally.use(spec.name, "members", members.height)
        return members

    def compare(self, table: SnpTable) -> Comparison:
        """Everything about one table against b."""
        config = self.config
        snps, grouped = self._joined(table, self.b)
        r, snps, dosages, locus = self._rank(table.spec.name, self.b.spec.name, snps, grouped)
        names = (table.spec.name, self.b.spec.name)
        curves = []
        for null in self._nulls(r, dosages is not None):
            curves.append(null_overlap(r, null, config.draws, ks=self._ks(r), seed=config.seed))
        for k in self._ks(r):
            self._overlap(names, r, k, curves, locus)
        fast = max(200, config.draws // 10)
        for null in [c.null for c in curves if c.null != "permutation"] or [c.null for c in curves]:
            test = null_test(r, rank_correlation, null, fast, seed=config.seed, two_sided=True)
            low, high = bootstrap_interval(r, rank_correlation, config.resamples, seed=config.seed)
            self._add(
                *names,
                "Spearman rho",
                test.observed,
                low=low,
                high=high,
                null=null,
                test=test,
                n=r.n,
                note="p two-sided",
            )
        for curve in curves:
            self._add(
                *names,
                "largest excess of overlap at any k",
                None,
                null=curve.null,
                p=curve.p_any,
                n=r.n,
                note=f"p that stays right although k was free; {curve.n:,} draws",
            )
        if self.members is not None:
            snps = self._sets(names, r, snps, fast)
        self._matched(names, r, snps, dosages)
        self._signs(names, r, snps, locus)
        if config.recipe:
            snps = self._recipe(names, r, snps)
        return Comparison(*names, snps, r, tuple(curves))

    def _joined(self, a: SnpTable, b: SnpTable) -> tuple[pl.DataFrame, bool]:
        """SNPs of both tables, with b's effect turned to a's ALT allele where the alleles are known."""
        grouped = "gene" in a.data.columns and "gene" in b.data.columns
        left = a.data.with_columns(row_a=pl.int_range(pl.len()))
        right = b.data.with_columns(row_b=pl.int_range(pl.len()))
        if grouped and not set(a.data["gene"].unique()) & set(b.data["gene"].unique()):
            raise AlignmentError(
                f"{a.spec.path} and {b.spec.path} share no gene ({examples(a.data['gene'].unique().sort().to_list())} "
                f"against {examples(b.data['gene'].unique().sort().to_list())}); names against Ensembl ids?"
            )
        keys, sign = self._variants(a, b)
        left = left.join(keys.select("id", "id_b", "sign"), on="id", how="inner", maintain_order="left")
        on_left, on_right = (["gene", "id_b"], ["gene", "id"]) if grouped else (["id_b"], ["id"])
        pairs = left.join(right, left_on=on_left, right_on=on_right, how="inner", suffix="_b", maintain_order="left")
        both = f"{a.spec.name} and {b.spec.name}"
        self.tally.come(both, "SNPs (of a gene) in both tables", pairs.height)
        for table, row in ((a, "row_a"), (b, "row_b")):
            gone = np.setdiff1d(np.arange(table.data.height), pairs[row].to_numpy())
            self.tally.come(both, f"SNPs (of a gene) of {table.spec.name} alone", len(gone))
            reason = f"only in {table.spec.name}, or alleles differ"
            self.tally.drop(both, reason, table.data["id"].gather(gone).to_list())
        if not pairs.height:
            raise AlignmentError(f"{a.spec.path} and {b.spec.path} share SNPs, but none of the same gene.")

        def either(name: str) -> pl.Expr:
            found = [pl.col(c) for c in (name, f"{name}_b") if c in pairs.columns]
            return pl.coalesce(found) if found else pl.lit(None)

        out = pairs.select(
            gene=either("gene").cast(pl.String),
            id="id",
            chrom=either("chrom").cast(pl.String),
            pos=either("pos").cast(pl.Int64),
            ref=either("ref").cast(pl.String),
            alt=either("alt").cast(pl.String),
            score_a="score",
            score_b="score_b",
            effect_a=pl.col("effect") if "effect" in left.columns else pl.lit(None, pl.Float64),
            effect_b=(pl.col("effect_b") if "effect_b" in pairs.columns else pl.lit(None, pl.Float64)) * pl.col("sign"),
            p_a=(pl.col("p") if "p" in left.columns else pl.lit(None, pl.Float64)),
            p_b=(
                pl.col("p_b" if "p_b" in pairs.columns else "p") if "p" in right.columns else pl.lit(None, pl.Float64)
            ),
            se_b=(
                pl.col("se_b" if "se_b" in pairs.columns else "se")
                if "se" in right.columns
                else pl.lit(None, pl.Float64)
            ),
            af=either("af").cast(pl.Float64),
            distance=either("distance").cast(pl.Float64),
            id_b="id_b",
        )
        if "effect" not in left.columns and "effect" in right.columns:
            out = out.with_columns(effect_b=pairs["effect"] * pairs["sign"])
        return out, grouped

    def _variants(self, a: SnpTable, b: SnpTable) -> tuple[pl.DataFrame, bool]:
        """Which id of b each id of a is, and the sign that turns b's effect to a's allele (null where unknown)."""
        columns = [c for c in ("id", "chrom", "pos", "ref", "alt") if c in a.data.columns]
        left = a.data.select(columns).unique("id", maintain_order=True)
        columns = [c for c in ("id", "chrom", "pos", "ref", "alt") if c in b.data.columns]
        right = b.data.select(columns).unique("id", maintain_order=True)
        alleles = {"ref", "alt"} <= a.has and {"ref", "alt"} <= b.has
        common = left.join(right.select("id"), on="id", how="semi").height
        positions = all({"chrom", "pos"} <= set(t.columns) for t in (left, right))
        if alleles:
            names = (str(a.spec.path), str(b.spec.path))
            found = align.harmonise(left, right, ambiguous="keep", by="id" if common else None, names=names)
            pairs = pl.DataFrame(
                {"id": left["id"].gather(found.a), "id_b": right["id"].gather(found.b), "sign": found.sign}
            )
            # of distinct SNPs, where the counts of this item are of SNPs of a gene
            said = [note for note in found.notes if note[1] not in ("matched", f"not in {names[0]}")]
            both = f"{a.spec.name} and {b.spec.name}"
            self.tally.add(both, [("note", f"alleles: {reason}", n, shown) for _, reason, n, shown in said])
            return pairs, True
        if common:
            pairs = left.join(right.select("id"), on="id", how="semi", maintain_order="left").select(
                "id", id_b="id", sign=pl.lit(None, pl.Float64)
            )
            return pairs, False
        if positions:
            pairs = left.join(right, on=["chrom", "pos"], how="inner", suffix="_b", maintain_order="left")
            pairs = pairs.unique("id", keep="none", maintain_order=True).unique(
                "id_b", keep="none", maintain_order=True
            )
            if pairs.height:
                return pairs.select("id", "id_b", sign=pl.lit(None, pl.Float64)), False
        blank = [pl.lit(None, pl.String).alias(name) for name in ("ref", "alt")]
        left, right = (t.drop(["ref", "alt"], strict=False).with_columns(blank) for t in (left, right))
        align.harmonise(left, right, names=(str(a.spec.path), str(b.spec.path)))  # says why there is none
        raise AlignmentError(f"{a.spec.path} and {b.spec.path} share no SNP.")

    def _rank(
        self, name_a: str, name_b: str, snps: pl.DataFrame, grouped: bool
    ) -> tuple[Rankings, pl.DataFrame, NDArray[np.float32] | None, Ints]:
        config = self.config
        both = f"{name_a} and {name_b}"
        dosage = None
        if self.genotypes is not None:
            snps, dosage = self._dosage(both, snps)
        if not grouped and snps["gene"].n_unique() > 1:
            grouped = True
        group = snps["gene"].to_numpy() if grouped else np.zeros(snps.height, dtype=np.int64)
        if grouped:
            sizes = snps.group_by("gene").len()
            tiny = sizes.filter(pl.col("len") < 2)["gene"].to_list()
            if tiny:
                self.tally.drop(both, "the one SNP of its gene", tiny)
                keep = ~snps["gene"].is_in(tiny).to_numpy()
                snps, group = snps.filter(pl.Series(keep)), group[keep]
                dosage = None if dosage is None else dosage[:, keep]
        place = _one_line(snps)
        z = snps["p_b"].to_numpy() if snps["p_b"].null_count() == 0 else None
        r = rankings(
            snps["score_a"],
            snps["score_b"],
            pos=place,
            group=group,
            dosage=dosage,
            z_b=None if z is None else norm.isf(np.maximum(z, 1e-300) / 2),
            seed=config.seed,
            names=(f"score in {name_a}", f"score in {name_b}"),
        )
        snps = snps[r.row].with_columns(rank_a=pl.Series(r.rank_a + 1), rank_b=pl.Series(r.rank_b + 1))
        dosage = None if dosage is None else dosage[:, r.row]
        for name, ties in ((name_a, r.tied_a), (name_b, r.tied_b)):
            if ties:
                self.tally.note(both, f"SNPs with tied scores in {name}, put in random order", ties)
        locus = np.empty(r.n, dtype=np.int64)
        block = None if dosage is None else np.empty(r.n, dtype=np.int64)
        ends = np.cumsum(r.sizes)
        for start, stop in zip(ends - r.sizes, ends):
            x = None if dosage is None else dosage[:, start:stop]
            found = loci.loci(r.b[start:stop], r.pos[start:stop], dosage=x, r2=config.clump_r2, kb=config.clump_kb)
            locus[start:stop] = found + start
            if block is not None and x is not None:
                block[start:stop] = loci.ld_blocks(x) + start
        if block is not None:
            change = np.diff(block) != 0
            r = replace(r, block=np.concatenate([[0], np.cumsum(change)]).astype(np.int64))
            starts = np.flatnonzero(np.diff(np.concatenate([[-1], block])) != 0)
            single = int(np.sum(np.bincount(r.group[starts]) == 1))
            if single and len(r.sizes) > 1:
                reason = "genes of one LD block, which the null blocks leaves as they are"
                self.tally.note(both, reason, single)
        snps = snps.with_columns(locus=snps["id"].gather(locus))
        self.tally.use(both, "ranked in both", r.n)
        return r, snps, dosage, locus

    def _dosage(self, item: str, snps: pl.DataFrame) -> tuple[pl.DataFrame, NDArray[np.float32]]:
        genotypes = self._opened()
        where = {x: i for i, x in enumerate(genotypes.variants["id"].to_list())}
        column = [where.get(x, where.get(y, -1)) for x, y in zip(snps["id"].to_list(), snps["id_b"].to_list())]
        if max(column) < 0 and snps["pos"].null_count() == 0 and snps["chrom"].null_count() == 0:
            table = genotypes.variants
            spots = {
                (plain_chrom(c), p): i for i, (c, p) in enumerate(zip(table["chrom"].to_list(), table["pos"].to_list()))
            }
            column = [spots.get(key, -1) for key in zip(snps["chrom"].to_list(), snps["pos"].to_list())]
        at = np.array(column, dtype=np.int64)
        if (at < 0).all():
            raise AlignmentError(
                f"none of the {snps.height} SNPs is in {genotypes.source} ({examples(snps['id'].head(4).to_list())} "
                f"against {examples(genotypes.variants['id'].head(4).to_list())}); give genotypes of the same build."
            )
        lost = at < 0
        if lost.any():
            self.tally.drop(item, f"not in {genotypes.source}", snps["id"].filter(pl.Series(lost)).to_list())
            snps, at = snps.filter(pl.Series(~lost)), at[~lost]
        unique, back = np.unique(at, return_inverse=True)
        found = genotypes.dosage(unique)
        if snps["af"].null_count() or snps["pos"].null_count():
            known = genotypes.variants[at]
            plain = pl.Series([plain_chrom(c) for c in known["chrom"].to_list()])
            snps = snps.with_columns(af=pl.Series(np.nanmean(found, axis=0)[back] / 2), chrom=plain, pos=known["pos"])
        return snps.with_columns(column=pl.Series(at)), found[:, back]

    def _nulls(self, r: Rankings, genotypes: bool) -> list[str]:
        can = ["permutation", "shift"]
        if genotypes and r.block is not None:
            group = r.group[np.flatnonzero(np.diff(r.block, prepend=-1))]
            can += ["blocks"] * bool(np.bincount(group).max() > 1) + ["phenotype"]
        if self.config.nulls is None:
            return can
        impossible = [name for name in self.config.nulls if name not in can]
        if impossible:
            raise GenopredError(
                f"--null {examples(impossible)} needs genotypes (--bfile, --pfile, --vcf) with LD blocks."
            )
        return list(self.config.nulls)

    def _ks(self, r: Rankings) -> tuple[int, ...]:
        largest = int(r.sizes.max())
        if min(self.config.k) > largest:
            raise GenopredError(f"--k {min(self.config.k)}: only {largest} SNPs are in both tables; take a smaller k.")
        return tuple(k for k in self.config.k if k <= largest)

    def _add(
        self,
        a: str,
        b: str,
        measure: str,
        value: float | None,
        *,
        k: int | None = None,
        low: float | None = None,
        high: float | None = None,
        null: str | None = None,
        test: NullTest | None = None,
        expected: float | None = None,
        null_low: float | None = None,
        null_high: float | None = None,
        p: float | None = None,
        n: int | None = None,
        circular: bool = False,
        note: str = "",
    ) -> None:
        if test is not None:
            expected, null_low, null_high, p = test.mean, test.low, test.high, test.p
            note = f"{note}; {test.n:,} draws".lstrip("; ")
        row = {
            "a": a,
            "b": b,
            "measure": measure,
            "k": k,
            "value": value,
            "low": low,
            "high": high,
            "null": null,
            "expected": expected,
            "null_low": null_low,
            "null_high": null_high,
            "p": p,
            "n": n,
            "circular": circular,
            "note": note,
        }
        self.rows.append({key: None if isinstance(x, float) and np.isnan(x) else x for key, x in row.items()})

    def _overlap(self, names: tuple[str, str], r: Rankings, k: int, curves: Sequence[NullOverlap], locus: Ints) -> None:
        config = self.config
        shared = shared_at(r, k)
        low, high = overlap_interval(r, k, config.resamples, seed=config.seed)
        p, bounds = hypergeometric(r, k)
        expected = float(expected_curve(r)[k - 1])
        many = f"of each of {len(r.sizes)} genes" if len(r.sizes) > 1 else ""
        common: dict[str, Any] = {"k": k, "low": low, "high": high, "n": r.n}
        self._add(
            *names,
            "overlap at k",
            shared,
            **common,
            null="hypergeometric",
            expected=expected,
            null_low=bounds[0],
            null_high=bounds[1],
            p=p,
            note=f"{many}; takes SNPs as independent".lstrip("; "),
        )
        for curve in curves:
            at = curve.at(k)
            self._add(
                *names,
                "overlap at k",
                shared,
                **common,
                null=curve.null,
                expected=at["mean"],
                null_low=at["low"],
                null_high=at["high"],
                p=at["p"],
                note=f"{many}; {curve.n:,} draws".lstrip("; "),
            )
        of_a, of_b, both = shared_loci(r, locus, k)
        how = "in LD" if self.genotypes is not None else f"within {config.clump_kb:g} kb (no genotypes, so no LD)"
        for curve in curves:
            test = null_test(
                r,
                lambda draw: float(shared_loci(draw, locus, k)[2]),
                curve.null,
                max(200, config.draws // 10),
                seed=config.seed,
            )
            self._add(
                *names,
                "shared loci at k",
                both,
                k=k,
                null=curve.null,
                test=test,
                n=len(np.unique(locus)),
                note=f"{of_a} loci of {names[0]}, {of_b} of {names[1]}; loci {how}",
            )

    def _sets(self, names: tuple[str, str], r: Rankings, snps: pl.DataFrame, draws: int) -> pl.DataFrame:
        """Average precision of a's score for the members of the sets."""
        members = pl.DataFrame() if self.members is None else self.members
        member = member_of(snps, members)
        snps = snps.with_columns(member=pl.Series(member))
        inside = int(member.sum())
        item = self._sets_spec().name
        ranked = _ranked(snps, members)
        kept = f"{item} in {names[0]} and {names[1]}"
        self.tally.come(kept, "members", members.height)
        self.tally.use(kept, "ranked in both", int(ranked.sum()))
        self.tally.drop(kept, "not ranked in both", members["id"].filter(~pl.Series(ranked)).to_list())
        if not inside:
            self._add(*names, f"average precision for {item}", None, n=0, note="no SNP of the sets is ranked")
            return snps

        def statistic(draw: Rankings) -> float:
            return average_precision(draw.a, member, r.group)

        def resampled(draw: Rankings) -> float:
            return average_precision(draw.a, member[draw.row], draw.group)

        low, high = bootstrap_interval(r, resampled, self.config.resamples, seed=self.config.seed)
        for null in [x for x in self._nulls(r, r.dosage is not None) if x != "phenotype"]:
            test = null_test(r, statistic, null, draws, seed=self.config.seed)
            self._add(
                *names,
                f"average precision for {item}",
                test.observed,
                low=low,
                high=high,
                null=null,
                test=test,
                n=inside,
                note=f"{inside} members among {r.n} SNPs",
            )
        return snps

    def _matched(
        self, names: tuple[str, str], r: Rankings, snps: pl.DataFrame, dosage: NDArray[np.float32] | None
    ) -> None:
        """Are a's scores higher at eQTLs than at SNPs that are like them otherwise?"""
        columns: list[Floats] = []
        used: list[str] = []
        lacking: list[str] = []
        for what in self.config.match:
            value: Floats | None = None
            if what == "maf" and snps["af"].null_count() == 0:
                value = np.minimum(snps["af"].to_numpy(), 1 - snps["af"].to_numpy())
            elif what == "distance" and snps["distance"].null_count() == 0:
                value = np.abs(snps["distance"].to_numpy())
            elif what == "ld" and dosage is not None:
                value = self._ld_scores(r, snps)
            (lacking if value is None else used).append(what)
            if value is not None:
                columns.append(value)
        if not columns:
            self.tally.note(" and ".join(names), "no matched enrichment: no MAF, distance or LD known", 0)
            return
        sets = {f"top {k} of {names[1]}": r.rank_b < k for k in self._ks(r)}
        if "member" in snps.columns and snps["member"].any():
            sets[self._sets_spec().name] = snps["member"].to_numpy()
        for label, member in sets.items():
            try:
                found = matched_enrichment(
                    r.a, member, np.column_stack(columns), group=r.group, n=self.config.draws, seed=self.config.seed
                )
            except GenopredError as problem:
                self._add(*names, f"percentile of the score in {label}", None, note=str(problem))
                continue
            note = f"matched for {', '.join(used)}" + (f" ({', '.join(lacking)} unknown)" if lacking else "")
            self._add(
                *names,
                f"percentile of the score in {label}",
                found.mean,
                null="matched SNPs",
                expected=found.control,
                null_low=found.low,
                null_high=found.high,
                p=found.p,
                n=found.n,
                note=f"{note}; {found.unmatched} without a match; mean score {found.ratio:.2f} times the controls'; "
                "takes SNPs as independent",
            )

    def _ld_scores(self, r: Rankings, snps: pl.DataFrame) -> Floats:
        """LD scores over all SNPs of the genotype file within 1 Mb."""
        genotypes = self._opened()
        out = np.empty(r.n)
        column = snps["column"].to_numpy()
        for g in range(len(r.sizes)):
            for chrom in snps.filter(pl.Series(r.group == g))["chrom"].unique().to_list():
                here = np.flatnonzero((r.group == g) & (snps["chrom"] == chrom).to_numpy())
                pos = snps["pos"].to_numpy()[here]
                around = Interval(chrom, max(0, int(pos.min()) - 1_000_000), int(pos.max()) + 1_000_000)
                index = genotypes.index(around)
                index = index[np.argsort(genotypes.variants["pos"].to_numpy()[index], kind="stable")]
                place = {int(c): i for i, c in enumerate(index.tolist())}
                wanted = np.array([place[int(c)] for c in column[here]])
                out[here] = loci.ld_scores(
                    genotypes.dosage(index), genotypes.variants["pos"].to_numpy()[index], columns=wanted
                )
        return out

    def _signs(self, names: tuple[str, str], r: Rankings, snps: pl.DataFrame, locus: Ints) -> None:
        a, b = snps["effect_a"], snps["effect_b"]
        if a.null_count() or b.null_count():
            if not (a.null_count() == snps.height or b.null_count() == snps.height):
                snps = snps.with_columns(a.fill_null(0.0), b.fill_null(0.0))
            else:
                reason = "no agreement of sign: effects of both tables with both alleles (ref, alt) are needed"
                self.tally.note(" and ".join(names), reason, 0)
                return
        x, y = snps["effect_a"].to_numpy(), snps["effect_b"].to_numpy()
        sets = {f"top {k} of {names[1]}": r.rank_b < k for k in self._ks(r)}
        if "member" in snps.columns:
            sets[self._sets_spec().name] = snps["member"].to_numpy()
        for label, member in sets.items():
            # One SNP a locus: of those in the set and with an effect, the one ranked first in b.
            rows = np.flatnonzero(member & (x != 0) & (y != 0))
            rows = rows[np.argsort(r.rank_b[rows], kind="stable")]
            lead = rows[np.unique(locus[rows], return_index=True)[1]]
            for how, picked in (("SNPs", rows), ("loci", lead)):
                same, n, bounds, p = sign_agreement(x[picked], y[picked])
                self._add(
                    *names,
                    f"share of same sign, {how} of {label}",
                    same / n if n else None,
                    low=bounds[0],
                    high=bounds[1],
                    null="binomial",
                    expected=0.5,
                    p=p,
                    n=n,
                    note="takes SNPs as independent" if how == "SNPs" else "one SNP a locus",
                )

    def _recipe(self, names: tuple[str, str], r: Rankings, snps: pl.DataFrame) -> pl.DataFrame:
        """The founding study's ranking, and what it gives when the effects are shuffled."""
        if len(r.sizes) > 1:
            raise GenopredError("--recipe founding-study ranks the SNPs of one gene; the tables have several.")
        p = snps["p_b"].to_numpy()
        score = founding_score(snps["score_a"], p)
        snps = snps.with_columns(founding_score=pl.Series(score))
        for k in self._ks(r):
            top = _top(score, k)
            shared = int(np.sum(top & _top(r.b, k)))  # ties in file order, as in the study
            shuffled = shuffled_founding(r.a, p, k, min(self.config.draws, 2000), seed=self.config.seed)
            low, high = np.quantile(shuffled, [0.025, 0.975])
            self._add(
                *names,
                "overlap at k, founding study's recipe",
                shared,
                k=k,
                null="effects shuffled",
                expected=float(shuffled.mean()),
                null_low=float(low),
                null_high=float(high),
                p=float((1 + np.sum(shuffled >= shared)) / (len(shuffled) + 1)),
                n=r.n,
                circular=True,
                note="CIRCULAR: the ranking contains the p-value it is compared with",
            )
        return snps

    def between(self, first: SnpTable, second: SnpTable) -> None:
        """Overlap of two of the rankings with each other."""
        config = self.config
        snps, grouped = self._joined(first, second)
        genotypes, self.genotypes = self.genotypes, None
        names = (first.spec.name, second.spec.name)
        try:
            r, snps, _, _ = self._rank(*names, snps, grouped)
        finally:
            self.genotypes = genotypes
        for k in self._ks(r):
            curve = null_overlap(r, "shift", config.draws, ks=(k,), seed=config.seed)
            at, shared = curve.at(k), shared_at(r, k)
            low, high = overlap_interval(r, k, config.resamples, seed=config.seed)
            self._add(
                *names,
                "overlap at k",
                shared,
                k=k,
                low=low,
                high=high,
                null="shift",
                expected=at["mean"],
                null_low=at["low"],
                null_high=at["high"],
                p=at["p"],
                n=r.n,
                note=f"{curve.n:,} draws",
            )
        if config.recipe:
            p = snps.select("id").join(self.b.data.select("id", "p"), on="id", how="left", maintain_order="left")["p"]
            known = p.is_not_null()
            both = snps.filter(known)
            scores = [founding_score(both[c], p.filter(known).to_numpy()) for c in ("score_a", "score_b")]
            for k in self._ks(r):
                shared = int(np.sum(_top(scores[0], k) & _top(scores[1], k)))
                self._add(
                    *names,
                    "overlap at k, founding study's recipe",
                    shared,
                    k=k,
                    n=both.height,
                    circular=True,
                    note="CIRCULAR: both rankings contain the same p-value",
                )


def member_of(snps: pl.DataFrame, members: pl.DataFrame) -> NDArray[np.bool_]:
    """Which rows (gene, id) are among the members (gene and id, or id alone); ids of either table count."""
    keys = [c for c in ("gene", "id") if c in members.columns and (c == "id" or snps["gene"].null_count() == 0)]
    wanted = set(members.select(keys).iter_rows())
    rows = [snps.select(*[k for k in keys if k != "id"], c).iter_rows() for c in ("id", "id_b")]
    return np.array([x in wanted or y in wanted for x, y in zip(*rows)], dtype=bool)


def _ranked(snps: pl.DataFrame, members: pl.DataFrame) -> NDArray[np.bool_]:
    """Which members are among the rows: `member_of` the other way round."""
    keys = [c for c in ("gene", "id") if c in members.columns and (c == "id" or snps["gene"].null_count() == 0)]
    rest = [key for key in keys if key != "id"]
    there = {row for c in ("id", "id_b") for row in snps.select(*rest, c).iter_rows()}
    return np.array([row in there for row in members.select(keys).iter_rows()], dtype=bool)


def _top(score: Floats, k: int) -> NDArray[np.bool_]:
    out = np.zeros(len(score), dtype=bool)
    out[np.argsort(-score, kind="stable")[:k]] = True
    return out


def _one_line(snps: pl.DataFrame) -> Ints:
    """Positions with chromosomes laid end to end; row order where positions are unknown."""
    if snps["pos"].null_count():
        return np.arange(snps.height)
    pos = snps["pos"].to_numpy()
    if snps["chrom"].null_count():
        return np.asarray(pos, dtype=np.int64)
    number = {c: i for i, c in enumerate(sorted(snps["chrom"].unique().to_list(), key=lambda c: (len(c), c)))}
    return np.asarray(pos + np.array([number[c] for c in snps["chrom"].to_list()], dtype=np.int64) * 1_000_000_000)
