"""Do a model's scores of SNPs and an eQTL table pick the same SNPs? Tables in, tests, figures and a page out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from genopred import align
from genopred.errors import AlignmentError, GenopredError, examples, repeated
from genopred.files import lock_output, write_files, write_table
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
from genopred.pipelines.cohort import open_genotypes
from genopred.pipelines.run import fingerprint, settle
from genopred.report.pages import overlap as page
from genopred.types import Genotypes, Interval, MatchReport, plain_chrom

log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RECIPES = ("founding-study",)

#: Every file that a run may write, after `OUT.`.
OUTPUTS = (
    *(f"{table}.{kind}" for table in ("overlap", "snps", "curves") for kind in ("tsv", "parquet")),
    *(f"*.{figure}.{kind}" for figure in page.FIGURES for kind in ("png", "svg")),
    "matched.tsv",
    "html",
)


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
        settle(config.out, fingerprint(config), OUTPUTS, resume=False, prefix=True)
        files = _write(config, results, comparisons, report)
        step(total, total, "")
    return OverlapResult(results, comparisons, report, files)


def _check(config: OverlapConfig) -> None:
    if config.recipe is not None and config.recipe not in RECIPES:
        raise GenopredError(f"--recipe {config.recipe!r} is unknown; there is {', '.join(RECIPES)}.")
    names = [spec.name for spec in (*config.a, config.b)]
    twice = sorted(repeated(names))
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
        config, names = self.config, (table.spec.name, self.b.spec.name)
        both = " and ".join(names)
        snps, grouped = self._joined(table, self.b)
        dosage = None
        if self.genotypes is not None:
            snps, dosage = self._dosage(both, snps)
        ranked = self._rank(names, snps, grouped, dosage)
        asked = self._asked(ranked, self._nulls(ranked))
        if config.recipe and len(ranked.rankings.sizes) > 1:
            raise GenopredError("--recipe founding-study ranks the SNPs of one gene; the tables have several.")
        found = compare(
            ranked,
            asked,
            sets=None if self.members is None else (self._sets_spec().name, self._member(both, ranked)),
            match={what: self._property(what, ranked) for what in config.match},
            distance="in LD" if dosage is not None else f"within {config.clump_kb:g} kb (no genotypes, so no LD)",
            recipe=config.recipe is not None,
        )
        self.tally.add(both, found.notes)
        self.rows += found.rows
        return found

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
        keys = self._variants(a, b)
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

    def _variants(self, a: SnpTable, b: SnpTable) -> pl.DataFrame:
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
            return pairs
        if common:
            pairs = left.join(right.select("id"), on="id", how="semi", maintain_order="left").select(
                "id", id_b="id", sign=pl.lit(None, pl.Float64)
            )
            return pairs
        if positions:
            pairs = left.join(right, on=["chrom", "pos"], how="inner", suffix="_b", maintain_order="left")
            pairs = pairs.unique("id", keep="none", maintain_order=True).unique(
                "id_b", keep="none", maintain_order=True
            )
            if pairs.height:
                return pairs.select("id", "id_b", sign=pl.lit(None, pl.Float64))
        blank = [pl.lit(None, pl.String).alias(name) for name in ("ref", "alt")]
        left, right = (t.drop(["ref", "alt"], strict=False).with_columns(blank) for t in (left, right))
        align.harmonise(left, right, names=(str(a.spec.path), str(b.spec.path)))  # says why there is none
        raise AlignmentError(f"{a.spec.path} and {b.spec.path} share no SNP.")

    def _rank(
        self, names: tuple[str, str], snps: pl.DataFrame, grouped: bool, dosage: NDArray[np.float32] | None = None
    ) -> Ranked:
        config, both = self.config, " and ".join(names)
        limits: dict[str, Any] = {"r2": config.clump_r2, "kb": config.clump_kb, "seed": config.seed}
        ranked = rank_snps(names, snps, dosage, grouped=grouped, **limits)
        self.tally.drop(both, "the one SNP of its gene", ranked.dropped)
        self.tally.add(both, ranked.notes)
        self.tally.use(both, "ranked in both", ranked.rankings.n)
        return ranked

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

    def _nulls(self, ranked: Ranked) -> tuple[str, ...]:
        can = possible_nulls(ranked)
        impossible = [name for name in self.config.nulls or () if name not in can]
        if impossible:
            raise GenopredError(
                f"--null {examples(impossible)} needs genotypes (--bfile, --pfile, --vcf) with LD blocks."
            )
        return tuple(can) if self.config.nulls is None else self.config.nulls

    def _asked(self, ranked: Ranked, nulls: tuple[str, ...]) -> Asked:
        config = self.config
        largest = int(ranked.rankings.sizes.max())
        if min(config.k) > largest:
            raise GenopredError(f"--k {min(config.k)}: only {largest} SNPs are in both tables; take a smaller k.")
        ks = tuple(k for k in config.k if k <= largest)
        return Asked(ks, nulls, config.draws, config.resamples, config.seed)

    def _member(self, both: str, ranked: Ranked) -> NDArray[np.bool_]:
        """Which SNPs are members of the sets; the tally learns how many members are ranked."""
        members = pl.DataFrame() if self.members is None else self.members
        there = ranked_members(ranked.snps, members)
        kept = f"{self._sets_spec().name} in {both}"
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
        if what == "ld" and ranked.dosage is not None:
            return self._ld_scores(ranked.rankings, snps)
        return None

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

    def between(self, first: SnpTable, second: SnpTable) -> None:
        """Overlap of two of the rankings with each other."""
        ranked = self._rank((first.spec.name, second.spec.name), *self._joined(first, second))
        p = None
        if self.config.recipe:
            known = self.b.data.select("id", "p")
            p = ranked.snps.select("id").join(known, on="id", how="left", maintain_order="left")["p"]
        self.rows += between(ranked, self._asked(ranked, ("shift",)), p)


# --- outputs ---------------------------------------------------------------------------------------------------


def _write(
    config: OverlapConfig, results: pl.DataFrame, comparisons: list[Comparison], report: MatchReport
) -> list[Path]:
    """Tables, figures and the page."""
    snps = [c.snps.drop("column", strict=False).select(a=pl.lit(c.a), b=pl.lit(c.b), **_same(c)) for c in comparisons]
    curves = [_curve_table(c) for c in comparisons]
    files = list(write_table(results, f"{config.out}.overlap"))
    files += write_table(pl.concat(snps, how="diagonal"), f"{config.out}.snps")
    files += write_table(pl.concat(curves), f"{config.out}.curves")
    matched = Path(f"{config.out}.matched.tsv")
    write_files({matched: lambda path: report.table.write_csv(path, separator="\t")})
    genes = exons = None
    if config.gtf is not None:
        genes, exons = read_gtf(config.gtf), read_exons(config.gtf)
    info = {"command": config.command, "seed": config.seed, "draws": config.draws, "resamples": config.resamples}
    if not config.command:
        del info["command"]
    name = "set" if config.sets is None else config.sets.name
    pairs = [
        page.Pair(c.a, c.b, c.snps, table, c.rankings.dosage, _recall(c), name) for c, table in zip(comparisons, curves)
    ]
    drawing = page.Drawing(config.k, config.figures, genes, exons)
    about: dict[str, Any] = {"report": report, "nulls": NULLS, "title": config.title, "info": info}
    return [*files, matched, *page.write(config.out, results, pairs, drawing, **about)]


def _same(c: Comparison) -> dict[str, pl.Expr]:
    return {name: pl.col(name) for name in c.snps.columns if name not in ("column", "a", "b")}


def _curve_table(c: Comparison) -> pl.DataFrame:
    tables = [
        pl.DataFrame(
            {
                "null": [curve.null] * len(curve.k),
                "k": curve.k,
                "observed": curve.observed,
                "mean": curve.mean,
                "low": curve.low,
                "high": curve.high,
                "p": curve.p,
            }
        )
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
