"""Match samples, genes, chromosome names and alleles of different files, and count what was dropped and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from genopred.builds import other_build, reverse_complement
from genopred.errors import AlignmentError, GenopredError, examples, near, repeated, shortened
from genopred.types import (
    CHROM_LENGTHS,
    Cohort,
    Covariates,
    Expression,
    Genotypes,
    MatchReport,
    Note,
    builds_with,
    noted,
    plain_chrom,
    plain_gene,
)


# Twelve parameters: what plink's filters are called, one each; users call it by these names.
def match(
    genotypes: Genotypes,
    expression: Expression,
    covariates: Covariates | None = None,
    *,
    keep: ArrayLike | None = None,
    remove: ArrayLike | None = None,
    genes: Sequence[str] | None = None,
    extract: ArrayLike | None = None,
    exclude: ArrayLike | None = None,
    window: int | None = None,
    min_overlap: int = 20,
    keep_overlap: bool = False,
    symbols: Mapping[str, str] | None = None,
) -> Cohort:
    """Bring genotypes, expression and covariates to the same samples, genes and chromosomes.

    Samples stand in the order of the expression file, so that a result does not depend on the format of the
    genotypes. Chromosomes match without regard to `chr`. Covariates are checked for missing values and rank.

    Parameters
    ----------
    genotypes : Genotypes
    expression : Expression
    covariates : Covariates, optional
    keep, remove : array of str, optional
        Sample names to use, or not to use (`--keep`, `--remove`).
    genes : list of str, optional
        Genes to use, with or without version; all without it.
    extract, exclude : array of str, optional
        Variant ids to use, or not to use (`--extract`, `--exclude`).
    window : int, optional
        Drop genes with no variant within so many bases of the TSS.
    min_overlap : int
        Fewest samples that may be left (`--min-overlap`).
    keep_overlap : bool
        Drop samples with expression but without genotypes or covariates instead of refusing (`--keep-overlap`).
    symbols : mapping of str to str, optional
        What genes are called, by their ids without version: `genes` may name them so.

    Returns
    -------
    Cohort
        For each item of its report, used + dropped = in.

    Raises
    ------
    AlignmentError
        If samples, chromosomes or genes do not fit, or covariates have missing values or are collinear.
    """
    tally = Tally()
    samples = _match_samples(genotypes, expression, covariates, keep, remove, min_overlap, keep_overlap, tally)
    expression = expression.select(samples)
    if covariates is not None:
        tally.opened("covariates", covariates.source, len(covariates.names), covariates.notes)
        covariates = covariates.select(samples)
        check_covariates(covariates)
    genotypes = _match_variants(genotypes, extract, exclude, tally)
    genotypes = genotypes.select(samples)
    check_builds(genotypes, expression.genes, expression.source)
    rows = _match_genes(genotypes, expression, genes, symbols, window, tally)
    expression = expression.select(genes=rows)
    genotypes = _drop_empty_chromosomes(genotypes, expression, tally)
    return Cohort(genotypes, expression, covariates, tally.report())


class Tally:
    """What came in, what was dropped and why; what was used is the rest, and who has counted it is held to it.

    Counts under one reason add up, and the first examples stay. The report checks that used + dropped = in. It goes on
    with the counts of a `report` that it is given; what is dropped then no longer counts as used.

    >>> tally = Tally()
    >>> tally.come("variants", "in cohort.bed", 1000)
    >>> tally.drop("variants", "monomorphic", ["rs1", "rs2"])
    >>> tally.report().lines()[1:]
    ['variants: 998 used: matched', 'variants: 2 dropped: monomorphic (rs1, rs2)']
    """

    def __init__(self, report: MatchReport | None = None) -> None:
        self._rows: dict[tuple[str, str, str], tuple[int, str]] = {}
        self._names: dict[str, str] = {}
        for item, status, reason, n, shown in [] if report is None else report.table.iter_rows():
            self._put(item, status, reason, n, shown)
        for item in dict.fromkeys(item for item, _, _ in self._rows):
            parts = [row for row in self._rows if row[:2] == (item, "used")]
            if len(parts) == 1:  # the rest under a name, not one of several kinds
                self._names[item] = parts[0][2]
                del self._rows[parts[0]]

    def _put(self, item: str, status: str, reason: str, which: int | Sequence[object], shown: str = "") -> None:
        n, shown = (which, shown) if isinstance(which, int) else (len(which), examples(which))
        before, first = self._rows.get((item, status, reason), (0, ""))
        self._rows[item, status, reason] = (before + n, first or shown)

    def come(self, item: str, reason: str, n: int) -> None:
        """So many came in."""
        self._put(item, "in", reason, n)

    def drop(self, item: str, reason: str, which: int | Sequence[object]) -> None:
        """So many, or these, are left out."""
        if which if isinstance(which, int) else len(which):
            self._put(item, "dropped", reason, which)

    def note(self, item: str, reason: str, which: int | Sequence[object]) -> None:
        """Something else to say of so many, or of these."""
        if isinstance(which, int) or len(which):
            self._put(item, "note", reason, which)

    def use(self, item: str, reason: str, which: int | Sequence[object] | None = None) -> None:
        """What those that are left are called. Who has counted them says how many; several kinds must add up."""
        if which is None:
            self._names[item] = reason
        else:
            self._put(item, "used", reason, which)

    def add(self, item: str, notes: Iterable[Note]) -> None:
        """What a reader, or `harmonise`, has to say."""
        for status, reason, n, shown in notes:
            self._put(item, status, reason, n, shown)

    def join(self, report: MatchReport, before: str = "") -> None:
        """Another report's counts, its items named with `before`."""
        for item, *note in report.table.iter_rows():
            self._put(f"{before}{item}", *note)

    def opened(self, item: str, source: str, left: int, notes: Iterable[Note]) -> None:
        """What a file held: those that its reader left, and those that it dropped according to its notes."""
        notes = tuple(notes)
        self.come(item, f"in {source}", left + sum(n for status, _, n, _ in notes if status == "dropped"))
        self.add(item, notes)

    def dropped(self, item: str) -> list[tuple[str, int, str]]:
        """Reasons, numbers and examples of what was dropped so far."""
        rows = self._rows.items()
        return [(reason, *counted) for (name, status, reason), counted in rows if (name, status) == (item, "dropped")]

    def report(self) -> MatchReport:
        """The counts as a report; `used` follows from the others."""
        rows = [(*key, *value) for key, value in self._rows.items()]
        for item in dict.fromkeys(item for item, _, _ in self._rows):
            count = {status: sum(row[3] for row in rows if row[:2] == (item, status)) for status in ("in", "dropped")}
            if (count["in"] or count["dropped"]) and not any(row[:2] == (item, "used") for row in rows):
                rows.append((item, "used", self._names.get(item, "matched"), count["in"] - count["dropped"], ""))
        first = ("samples", "training people", "covariates", "genes", "variants")
        items = list(dict.fromkeys([*first, *(row[0] for row in rows)]))
        states = ("in", "used", "dropped", "note")
        rows.sort(key=lambda row: (items.index(row[0]), states.index(row[1])))
        return MatchReport(pl.DataFrame(rows, schema=MatchReport.SCHEMA, orient="row"))


def _match_samples(
    genotypes: Genotypes,
    expression: Expression,
    covariates: Covariates | None,
    keep: ArrayLike | None,
    remove: ArrayLike | None,
    min_overlap: int,
    keep_overlap: bool,
    tally: Tally,
) -> list[str]:
    typed, measured = genotypes.samples.tolist(), expression.samples.tolist()
    _refuse_twice(typed, genotypes.source)
    _refuse_twice(measured, expression.source)
    everybody = list(dict.fromkeys(measured + typed))
    kept = set(everybody if keep is None else np.asarray(keep, dtype=str).tolist())
    removed = set() if remove is None else set(np.asarray(remove, dtype=str).tolist())
    tally.come("samples", "in genotypes or expression", len(everybody))
    tally.note("samples", f"in genotypes {genotypes.source}", len(typed))
    tally.note("samples", f"in expression {expression.source}", len(measured))
    left = everybody

    def leave(reason: str, stay: set[str]) -> None:
        nonlocal left
        tally.drop("samples", reason, [s for s in left if s not in stay])
        left = [s for s in left if s in stay]

    def need(what: str, source: str, have: set[str], of: str) -> None:
        lacking = [s for s in left if s not in have]
        if lacking and not keep_overlap:
            raise AlignmentError(
                f"{len(lacking)} of {len(left)} {of} samples have no {what} ({examples(lacking)}); "
                f"drop them with --keep-overlap, or check the sample names in {source}."
            )
        leave(f"no {what}", have)

    leave("not in --keep", kept)
    leave("in --remove", set(everybody) - removed)
    if not left:
        raise AlignmentError(
            f"--keep and --remove leave none of {len(everybody)} samples (e.g. {examples(everybody)}); "
            f"--keep names {examples([] if keep is None else sorted(kept))}. Use the IIDs of the files."
        )
    if not set(left) & set(measured) & set(typed):
        raise AlignmentError(
            f"no sample is in both {genotypes.source} ({examples(typed)}) and {expression.source} "
            f"({examples(measured)}){name_hint(typed, measured)}; use the same names in both."
        )
    leave("no expression", set(measured))
    need("genotypes", genotypes.source, set(typed), "expression")
    if covariates is not None:
        listed = covariates.samples.tolist()
        _refuse_twice(listed, covariates.source)
        tally.note("samples", f"in covariates {covariates.source}", len(listed))
        if not set(listed) & set(left):
            raise AlignmentError(
                f"no sample of {covariates.source} ({examples(listed)}) has genotypes and expression ({examples(left)})"
                f"{name_hint(listed, left)}; use the same names."
            )
        need("covariates", covariates.source, set(listed), "genotype and expression")
    if len(left) < min_overlap:
        lost = [f"{n} dropped: {reason}" for reason, n, _ in tally.dropped("samples")]
        why = f"{'; '.join(lost)}. Check the sample names, or lower" if lost else "the files hold no more: lower"
        raise AlignmentError(
            f"only {len(left)} samples are left ({examples(left)}), fewer than the floor of {min_overlap}; "
            f"{why} --min-overlap."
        )
    tally.use("samples", "in all files", len(left))
    return left


def _refuse_twice(names: list[str], source: str) -> None:
    if len(set(names)) < len(names):
        twice = sorted(repeated(names))
        raise AlignmentError(
            f"{len(twice)} samples occur more than once in {source} ({examples(twice)}); keep one of each."
        )


def name_hint(a: Sequence[str], b: Sequence[str]) -> str:
    """Why names may differ: FID_IID against IID, letter case, or a suffix."""
    ways = {
        "the part after the last '_' (FID_IID against IID)": lambda s: s.rsplit("_", 1)[-1],
        "letter case": str.lower,
        "what follows the first '-' or '.'": lambda s: s.replace(".", "-").split("-")[0],
        "what follows the second '-' (GTEx donors against samples)": lambda s: "-".join(s.split("-")[:2]),
    }
    for way, change in ways.items():
        shared = {change(s) for s in a} & {change(s) for s in b}
        if 2 * len(shared) > min(len(set(a)), len(set(b))):
            return f"; {len(shared)} would match but for {way}"
    return ""


def _match_variants(
    genotypes: Genotypes, extract: ArrayLike | None, exclude: ArrayLike | None, tally: Tally
) -> Genotypes:
    tally.opened("variants", genotypes.source, genotypes.n_variants, genotypes.notes)
    for wanted, keep, reason in ((extract, True, "not in --extract"), (exclude, False, "in --exclude")):
        if wanted is None:
            continue
        ids = np.unique(np.asarray(wanted, dtype=str)).tolist()
        listed = genotypes.variants["id"].is_in(ids).to_numpy()
        gone = ~listed if keep else listed
        if gone.all():
            raise AlignmentError(
                f"{genotypes.source}: none of its {genotypes.n_variants:,} variants is left, all are {reason} "
                f"(ids here {examples(genotypes.variants['id'][:4].to_list())}, listed {examples(ids[:4])})."
            )
        tally.drop("variants", reason, genotypes.variants["id"].to_numpy()[gone])
        if gone.any():
            genotypes = genotypes.select(variants=~gone)
    return genotypes


def _match_genes(
    genotypes: Genotypes,
    expression: Expression,
    wanted: Sequence[str] | None,
    symbols: Mapping[str, str] | None,
    window: int | None,
    tally: Tally,
) -> NDArray[np.int64]:
    table = expression.genes
    tally.opened("genes", expression.source, table.height, expression.notes)
    rows = np.arange(table.height)
    if wanted is not None:
        rows = find_genes(table, wanted, expression.source, symbols)
        tally.drop("genes", "not asked for", table.height - len(rows))
    ids = table["gene_id"].to_numpy()

    def drop(bad: NDArray[np.bool_], reason: str) -> None:
        nonlocal rows
        tally.drop("genes", reason, ids[rows[bad]].tolist())
        rows = rows[~bad]

    there = _spellings(genotypes.variants["chrom"])
    here = _spellings(table["chrom"][rows])
    if not set(there) & set(here):
        raise AlignmentError(
            f"no gene is on a chromosome with genotypes: genes are on {_named(here)} ({expression.source}), genotypes "
            f"on {_named(there)} ({genotypes.source}). Give files of the same chromosome."
        )
    for name in here:
        if name in there and here[name] != there[name]:
            shown = f"{_spelt(here[name])} = {_spelt(there[name])}"
            tally.note("genes", "chromosome names matched", [shown])
    chrom = np.array([plain_chrom(name) for name in table["chrom"].to_list()])
    drop(~np.isin(chrom[rows], list(there)), "chromosome not in genotypes")
    drop(np.ptp(expression.values[:, rows], axis=0) == 0, "constant expression")
    if window is not None:
        drop(count_cis(genotypes, table[rows], window) == 0, f"no variant within {window:,} bases of the TSS")
    if not len(rows):
        lost = tally.dropped("genes")
        reasons = "; ".join(f"{n} {reason}" + f" ({shown})" * bool(shown) for reason, n, shown in lost)
        raise AlignmentError(
            f"no gene of {expression.source} can be used: {reasons}. Check that genotypes and expression are of the "
            "same genome build, and that the genes vary."
        )
    tally.use("genes", "matched", len(rows))
    return rows


def known_build(genotypes: Genotypes) -> str | None:
    """The genotypes' build: by their header, or because positions lie beyond the ends of the other's chromosomes."""
    builds = frozenset([genotypes.build]) if genotypes.build else builds_with(genotypes.variants)
    return min(builds) if len(builds) == 1 else None


def check_builds(genotypes: Genotypes, genes: pl.DataFrame, source: str) -> None:
    """Refuse genes of another genome build than the genotypes, where the files themselves show it.

    The genotypes' build is known by the lengths of chromosomes in their header; without those, a build is excluded
    by variants beyond its chromosomes' ends. Genes exclude a build by the TSS beyond them. What lies within both
    builds' chromosomes shows nothing: without a reference sequence, positions are only numbers.
    """
    here = frozenset([genotypes.build]) if genotypes.build else builds_with(genotypes.variants)
    there = builds_with(genes.select("chrom", pos="tss"))
    if not here or not there or here & there:
        return
    build = min(here)
    ends = {name: CHROM_LENGTHS[build].get(plain_chrom(name)) for name in genes["chrom"].unique().to_list()}
    beyond = genes.filter(pl.col("tss") > pl.col("chrom").replace_strict(ends, return_dtype=pl.Int64))
    how = "the lengths of chromosomes in its header" if genotypes.build else "variants that lie beyond the other's ends"
    shown = [f"{gene} at {chrom}:{tss:,}" for gene, chrom, tss in beyond["gene_id", "chrom", "tss"].head(4).iter_rows()]
    raise AlignmentError(
        f"{genotypes.source} is of {build} by {how}, {source} is not: {beyond.height} genes start beyond the end of "
        f"their chromosome there ({examples(shown)}). Lift one of them over, or take the file of the same build."
    )


def count_cis(genotypes: Genotypes, genes: pl.DataFrame, window: int) -> NDArray[np.int64]:
    """Number of variants within `window` bases of each gene's TSS, shape (G,)."""
    out = np.zeros(genes.height, dtype=np.int64)
    chrom = np.array([plain_chrom(name) for name in genes["chrom"].to_list()])
    tss = genes["tss"].to_numpy()
    spelt = _spellings(genotypes.variants["chrom"])
    for name in set(chrom.tolist()) & set(spelt):
        mask = genotypes.variants["chrom"].is_in(sorted(spelt[name]))
        pos = np.sort(genotypes.variants["pos"].filter(mask).to_numpy())
        mine = chrom == name
        low, high = np.searchsorted(pos, tss[mine] - window), np.searchsorted(pos, tss[mine] + window, side="right")
        out[mine] = high - low
    return out


def _drop_empty_chromosomes(genotypes: Genotypes, expression: Expression, tally: Tally) -> Genotypes:
    used = {plain_chrom(name) for name in expression.genes["chrom"].unique().to_list()}
    spelt = _spellings(genotypes.variants["chrom"])
    if gone := sorted(name for plain, names in spelt.items() if plain not in used for name in names):
        mask = genotypes.variants["chrom"].is_in(gone).to_numpy()
        tally.add("variants", [("dropped", "chromosome without genes", int(mask.sum()), examples(gone))])
        genotypes = genotypes.select(variants=~mask)
    tally.use("variants", "matched", genotypes.n_variants)
    return genotypes


def _spellings(chroms: pl.Series) -> dict[str, set[str]]:
    out: dict[str, set[str]] = {}
    for name in chroms.unique().to_list():
        out.setdefault(plain_chrom(name), set()).add(name)
    return dict(sorted(out.items()))


def _spelt(names: set[str]) -> str:
    return "/".join(sorted(names))


def _named(spelt: dict[str, set[str]]) -> str:
    return examples([_spelt(names) for names in spelt.values()]) or "none"


def find_genes(
    genes: pl.DataFrame,
    wanted: Sequence[str],
    source: str = "the expression file",
    symbols: Mapping[str, str] | None = None,
) -> NDArray[np.int64]:
    """Rows of the genes asked for, each once, in the order of `wanted`.

    They are named by identifier, with or without version, or by what `symbols` calls an identifier without version.
    """
    rows, absent = look_up_genes(genes["gene_id"].to_list(), wanted, symbols)
    if absent:
        plain = {name: [i] for i, name in reversed(list(enumerate(genes["gene"].to_list())))}
        called = {symbol: gene for gene, symbol in (symbols or {}).items() if gene in plain}
        nearest = near(plain_gene(absent[0]), plain)
        hint = f"; nearest to {absent[0]} is {genes['gene_id'][plain[nearest][0]]}" if nearest else ""
        if not hint and (nearest := near(absent[0], called)):
            hint = f"; nearest to {absent[0]} is {nearest}"
        raise AlignmentError(
            f"{len(absent)} of {len(wanted)} genes are not in {source} ({examples(absent)}){hint}. "
            f"Its {genes.height:,} genes look like {examples(genes['gene_id'][:1].to_list())}."
        )
    return rows


def look_up_genes(
    ids: Sequence[str], wanted: Sequence[str], symbols: Mapping[str, str] | None = None
) -> tuple[NDArray[np.int64], list[str]]:
    """Rows of the genes asked for, each once, and the names that are not there; see `find_genes`.

    >>> look_up_genes(["ENSG01.2", "ENSG02.1"], ["ENSG02", "APOE", "none"], {"ENSG01": "APOE"})
    (array([1, 0]), ['none'])
    """
    exact = {name: i for i, name in enumerate(ids)}
    plain: dict[str, list[int]] = {}
    for i, name in enumerate(ids):
        plain.setdefault(plain_gene(name), []).append(i)
    called = {symbol: gene for gene, symbol in (symbols or {}).items() if gene in plain}
    rows: dict[int, None] = {}
    absent = []
    for name in wanted:
        found = [exact[name]] if name in exact else plain.get(plain_gene(name), plain.get(called.get(name, ""), []))
        if not found:
            absent.append(name)
        rows.update(dict.fromkeys(found))
    return np.array(list(rows), dtype=np.int64), absent


#: Covariates from here on are refused: their squares, summed, would be infinite.
_HUGE = 1e100


def check_covariates(covariates: Covariates) -> None:
    """Refuse covariates (of the samples that will be used) that are missing, constant, or combinations of others."""
    values, names, source = covariates.values, covariates.names, covariates.source
    missing = np.isnan(values)
    if missing.any():
        column = int(missing.any(axis=0).argmax())
        people = covariates.samples[missing[:, column]].tolist()
        n = int(missing.any(axis=0).sum())
        raise AlignmentError(
            f"{source}: {n} covariate(s) have missing values, e.g. {names[column]} of {len(people)} samples "
            f"({examples(people)}); fill them in, drop the covariate, or leave these samples out with --remove."
        )
    if len(names) >= len(covariates.samples) - 1:
        raise AlignmentError(
            f"{source}: {len(names)} covariates of {len(covariates.samples)} samples leave nothing to explain; "
            "use fewer."
        )
    huge = np.argwhere(~(np.abs(values) < _HUGE))
    if len(huge):
        row, column = (int(i) for i in huge[0])
        raise AlignmentError(
            f"{source}: {len(huge)} value(s) are too large to calculate with, e.g. {values[row, column]:g} as "
            f"{shortened(names[column])} of {covariates.samples[row]}; needed less than {_HUGE:g} in size: correct it, "
            "or choose others with --covar-name."
        )
    if constant := [name for name, spread in zip(names, np.ptp(values, axis=0)) if spread == 0]:
        raise AlignmentError(
            f"{source}: {len(constant)} covariate(s) have the same value in all {len(covariates.samples)} samples used "
            f"({examples(constant)}), so they are collinear with the intercept; remove them."
        )
    if found := _collinear(values):
        shown = [
            f"{shortened(names[j])} from {examples([names[i] for i in parts]) or 'the intercept'}" for j, parts in found
        ]
        raise AlignmentError(
            f"{source}: covariates are collinear, {len(found)} follow(s) exactly from others: {'; '.join(shown[:3])}. "
            "Remove one of each."
        )


def _collinear(values: NDArray[np.float64]) -> list[tuple[int, list[int]]]:
    """Columns that the columns before them (and the intercept) determine, with those columns."""
    centred = values / np.abs(values).max(axis=0)  # so that no square is too large or too small for a double
    centred -= centred.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=0)
    kept: list[int] = []
    basis = np.empty((len(values), 0))
    out = []
    for j in range(values.shape[1]):
        rest = centred[:, j]
        for _ in range(2):  # once more for what rounding left
            rest = rest - basis @ (basis.T @ rest)
        norm = float(np.linalg.norm(rest))
        if norm < 1e-8:
            weight = np.linalg.lstsq(centred[:, kept], centred[:, j], rcond=None)[0]
            order = np.argsort(-np.abs(weight))
            out.append((j, [kept[i] for i in order if abs(weight[i]) > 1e-6]))
        else:
            kept.append(j)
            basis = np.column_stack([basis, rest / norm])
    return out


def usable_variants(
    dosage: NDArray[np.float32], variants: pl.DataFrame, *, maf: float = 0.0
) -> tuple[NDArray[np.bool_], tuple[Note, ...]]:
    """Which variants of a window, dosages (N, M), carry information, shape (M,), and what is wrong with the others.

    Each dropped variant is noted once, under the first reason that applies: all missing, monomorphic (every known
    dosage equal), rare. The minor allele frequency, which `maf` is the lowest of, leaves missing dosages out.
    """
    known = ~np.isnan(dosage)
    low = np.where(known, dosage, np.inf).min(axis=0, initial=np.inf)
    high = np.where(known, dosage, -np.inf).max(axis=0, initial=-np.inf)
    total = np.where(known, dosage, 0).sum(axis=0, dtype=np.float64)
    return _usable(known.sum(axis=0), total, low >= high, variants, maf)


def usable_by_sums(
    counts: ArrayLike, sums: ArrayLike, squares: ArrayLike, variants: pl.DataFrame, *, maf: float = 0.0
) -> tuple[NDArray[np.bool_], tuple[Note, ...]]:
    """`usable_variants` of people who are known by their sums.

    Of hard calls it is the same. Dosages count as equal where their standard deviation is below a millionth of their
    root mean square, or 1e-7: rounding of the sums hides what is less.

    Parameters
    ----------
    counts : array, shape (M,)
        How many people have each variant.
    sums, squares : array, shape (M,)
        Of their dosages, and of their dosages squared.
    variants : polars.DataFrame
        M rows.
    maf : float
        The lowest minor allele frequency.

    Examples
    --------
    >>> table = pl.DataFrame({"chrom": ["1"] * 3, "pos": [1, 2, 3], "id": ["a", "b", "c"], "ref": "A", "alt": "G"})
    >>> use, notes = usable_by_sums([10, 10, 10], [4, 20, 1], [6, 40, 1], table, maf=0.1)
    >>> use.tolist(), [(reason, shown) for _, reason, _, shown in notes]
    ([True, False, False], [('monomorphic', 'b'), ('MAF below 0.1', 'c')])
    """
    n, x, xx = (np.asarray(values, dtype=np.float64) for values in (counts, sums, squares))
    for name, values in (("counts", n), ("sums", x), ("squares", xx)):
        if values.shape != (variants.height,):
            raise GenopredError(
                f"usable_by_sums: {name} have shape {values.shape}; one entry for each of {variants.height} variants "
                "is needed."
            )
    equal = n * xx - x * x <= n * (_EQUAL * xx + _EQUAL_AT_ALL * n)
    return _usable(n, x, equal, variants, maf)


#: Variance of dosages that is rounding, as a share of their mean square and by itself.
_EQUAL, _EQUAL_AT_ALL = 1e-12, 1e-14


def _usable(
    n: NDArray[Any], total: NDArray[np.float64], equal: NDArray[np.bool_], variants: pl.DataFrame, maf: float
) -> tuple[NDArray[np.bool_], tuple[Note, ...]]:
    """Which variants are usable, by their numbers and sums of known dosages, and whether these are all equal."""
    frequency = total / np.maximum(2 * n, 1)
    use = np.ones(len(n), dtype=bool)
    notes: list[Note] = []
    reasons = (
        (n == 0, "genotype of everybody missing"),
        (equal, "monomorphic"),
        (np.minimum(frequency, 1 - frequency) < maf, f"MAF below {maf:g}"),
    )
    for bad, reason in reasons:
        bad = bad & use
        if bad.any():
            shown = examples(variant_names(variants.filter(pl.Series(bad))).to_list())
            notes.append(("dropped", reason, int(bad.sum()), shown))
            use &= ~bad
    return use, tuple(notes)


#: What became of a row of the second table, by number (`Harmonised.fate`); in the first four cases it is used.
FATES = (
    "matched",
    "swapped",
    "strand-flipped",
    "strand-flipped and swapped",
    "alleles differ",
    "ambiguous strand (A/T or C/G)",
    "variant listed more than once",
    "not in {}",
    "chromosome not in {}",
    "no {}",
)
_DIFFER, _AMBIGUOUS, _REPEATED, _ABSENT, _ELSEWHERE, _NO_PLACE = range(4, 10)


@dataclass(frozen=True)
class Harmonised:
    """Which variants of two tables are the same, and whether their effects count the same allele.

    `a` and `b` are rows of the two tables, ascending in `a`. `sign` (of each pair) is 1 where both ALT (effect) alleles
    agree, -1 where they are swapped: multiply b's effect with it. `fate` is what became of each row of b, an index of
    `FATES`; `notes` count them (dropped + used = rows of b). Matched was `by` position or id.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    sign: NDArray[np.float64]
    notes: tuple[Note, ...]
    fate: NDArray[np.int64]
    by: str

    def count(self, reason: str) -> int:
        """Variants under all reasons that start so."""
        return sum(n for _, text, n, _ in self.notes if text.startswith(reason))

    @property
    def met(self) -> NDArray[np.bool_]:
        """Rows of b that are variants of a, with alleles that agree; ambiguous ones among them."""
        return (self.fate < _DIFFER) | (self.fate == _AMBIGUOUS)

    @property
    def expected(self) -> NDArray[np.bool_]:
        """Rows of b that could have met: once each, with a place, on chromosomes of a."""
        return ~np.isin(self.fate, (_REPEATED, _ELSEWHERE, _NO_PLACE))

    def share(self, weight: ArrayLike | None = None, *, placeless: bool = False) -> float:
        """Share of b's variants that met, of those that could; each counts 1, or its `weight` (|effect|, variance).

        NaN where none could. With `placeless` those without a place count as well, as those that a chain lost.
        """
        size = np.ones(len(self.fate)) if weight is None else np.abs(np.asarray(weight, dtype=np.float64))
        total = float(size[self.expected | (placeless & (self.fate == _NO_PLACE))].sum())
        return float(size[self.met].sum()) / total if total else float("nan")


def harmonise(
    a: pl.DataFrame,
    b: pl.DataFrame,
    *,
    by: str | None = None,
    ambiguous: str = "drop",
    within: str | None = None,
    shared: bool = False,
    names: Sequence[str] = ("a", "b"),
    builds: Sequence[str | None] = (None, None),
) -> Harmonised:
    """Match the variants of table `b` (GWAS results, weights, a score file) to those of `a` (the genotypes).

    It is refused if they share none. `names` and `builds` (where known) are those of the tables, for messages.

    Parameters
    ----------
    a, b : polars.DataFrame
        Columns `ref` and `alt` (alt is the effect allele), and `chrom` and `pos`, or `id`. In `b`, `ref` may be
        null where only the effect allele is known.
    by : {"position", "id"}, optional
        What identifies a variant. By default the position where both tables have it, unless fewer than half as many
        variants meet there as by id (positions of another build); else the id.
    ambiguous : {"drop", "keep"}
        A/T and C/G variants look the same on both strands: leave them out, or believe their alleles as they stand.
    within : str, optional
        Column of `b`, such as the name of a score: a variant may be there once for each value. Else once in all.
    shared : bool
        A variant may be in `b` any number of times, under other names or with its alleles swapped.
    """
    if ambiguous not in ("drop", "keep"):
        raise GenopredError(f"ambiguous {ambiguous!r} is unknown; choose 'drop' or 'keep'.")
    if by not in (None, "position", "id"):
        raise GenopredError(f"by {by!r} is unknown; choose 'position' or 'id'.")
    key, pairs, passed_over = _pairs(a, b, by)
    if not pairs.height:
        raise AlignmentError(f"{names[0]} and {names[1]} share no variant{_why(a, b, builds)}.")
    kind, is_ambiguous = _compare(pairs)
    pairs = pairs.select("a", "b").with_columns(kind=pl.Series(kind), ambiguous=pl.Series(is_ambiguous))
    if shared and "id" in a.columns and "id" in b.columns:  # of two that are alike, the one of the same name
        other = (a["id"].gather(pairs["a"]) != b["id"].gather(pairs["b"])).fill_null(True)
        pairs = pairs.with_columns(other.alias("other")).sort("other", maintain_order=True).drop("other")
    pairs = (
        pairs.sort("kind", "b", maintain_order=True) if shared else pairs.sort("kind", "b", "a", maintain_order=True)
    )
    best = pairs.unique("b", keep="first", maintain_order=True)
    good = best.filter(pl.col("kind") < _DIFFER)
    if within is not None:
        good = good.with_columns(within=b[within].gather(good["b"]))
    once = good if shared else good.unique(["a", *(["within"] if within else [])], keep="first", maintain_order=True)
    dropped = once.filter(pl.col("ambiguous")) if ambiguous == "drop" else once.clear()
    used = once.join(dropped, on=["a", "b"], how="anti", maintain_order="left").sort("a", maintain_order=True)

    fate = np.full(b.height, _ABSENT)
    fate[_without_place(b, key)] = _NO_PLACE
    if key == "position":
        fate[(fate == _ABSENT) & ~_on_chromosomes(b, a)] = _ELSEWHERE
    fate[best["b"].to_numpy()] = _DIFFER
    fate[good["b"].to_numpy()] = _REPEATED
    fate[dropped["b"].to_numpy()] = _AMBIGUOUS
    fate[used["b"].to_numpy()] = used["kind"].to_numpy()

    notes = _fate_notes(fate, b, key, names)
    if ambiguous == "keep":
        believed = np.isin(np.arange(b.height), used.filter(pl.col("ambiguous"))["b"].to_numpy())
        notes += noted("note", "ambiguous strand (A/T or C/G), alleles believed", believed, variant_names(b))
    if passed_over:
        notes.append(("note", "told by id: by position far fewer are the same", pairs["b"].n_unique(), ""))
    sign = np.where(np.isin(used["kind"].to_numpy(), (1, 3)), -1.0, 1.0)
    rows_a, rows_b = (used[name].to_numpy().astype(np.int64) for name in ("a", "b"))
    return Harmonised(rows_a, rows_b, sign, tuple(notes), fate, key)


def _fate_notes(fate: NDArray[np.int64], b: pl.DataFrame, key: str, names: Sequence[str]) -> list[Note]:
    """What became of the rows of b, in counts by reason."""
    shown, notes = variant_names(b), []
    for number, reason in enumerate(FATES):
        reason = reason.format(key if number == _NO_PLACE else names[0])
        notes += noted("used" if number < _DIFFER else "dropped", reason, fate == number, shown)
    return notes


def require_match(
    a: pl.DataFrame,
    b: pl.DataFrame,
    found: Harmonised,
    floor: float,
    *,
    names: Sequence[str],
    flag: str = "--min-match",
    weight: ArrayLike | None = None,
    either: bool = False,
    by_weight: bool = False,
    builds: Sequence[str | None] = (None, None),
) -> float:
    """The share of b's variants that match (see `Harmonised.share`); below the `floor` refused, with the likely reason.

    Parameters
    ----------
    a, b, names, builds
        As given to `harmonise`.
    flag : str
        The option that holds the floor.
    weight : array, rows of b, optional
        How much each variant matters: |effect| of a score, variance of a model. For the message, unless `by_weight`.
    either : bool
        `b` may hold more than `a`, as genome-wide results do: the share is that of whichever has fewer variants.
    by_weight : bool
        The share is that of the `weight` that matches.
    """
    n, met, of, other = int(found.expected.sum()), int(found.met.sum()), names[1], names[0]
    if either:
        here = int(_on_chromosomes(a, b).sum()) if found.by == "position" else a.height
        if here < n:
            n, of, other = here, names[0], names[1]
    if not n:
        raise AlignmentError(f"{names[1]} has no variant that could be in {names[0]}{_why(a, b, builds, found)}.")
    share = found.share(weight, placeless=True) if by_weight else met / n
    if not share >= floor:
        weighed = "" if weight is None else f", {found.share(weight):.1%} by weight"
        if by_weight:
            weighed = " by the variance they explain"
        raise AlignmentError(
            f"only {met:,} of {n:,} variants of {of} match {other} ({share:.1%}{weighed}; the floor is {floor:.0%})"
            f"{_why(a, b, builds, found)}. If that is as it should be, lower {flag}."
        )
    return share


def variant_names(variants: pl.DataFrame) -> pl.Series:
    """A name of each variant for messages: its id, or `chrom:pos:ref:alt` (as far as known) where that is missing."""
    parts = [name for name in ("chrom", "pos", "ref", "alt") if name in variants.columns]
    made = pl.concat_str(parts, separator=":", ignore_nulls=True) if parts else pl.lit("")
    if "id" not in variants.columns:
        return variants.select(made).to_series()
    given = pl.col("id").is_not_null() & ~pl.col("id").is_in([".", ""])
    return variants.select(pl.when(given).then(pl.col("id")).otherwise(made).alias("id")).to_series()


def _without_place(b: pl.DataFrame, key: str) -> NDArray[np.bool_]:
    columns = ["chrom", "pos"] if key == "position" else ["id"]
    return b.select(pl.any_horizontal(pl.col(columns).is_null())).to_series().to_numpy()


def _on_chromosomes(b: pl.DataFrame, a: pl.DataFrame) -> NDArray[np.bool_]:
    """Which rows of b are on a chromosome that a has; those without a chromosome are not."""
    there = set(_spellings(a["chrom"].drop_nulls()))
    names = [name for plain, spelt in _spellings(b["chrom"].drop_nulls()).items() if plain in there for name in spelt]
    return b["chrom"].is_in(names).fill_null(False).to_numpy()


def _pairs(a: pl.DataFrame, b: pl.DataFrame, by: str | None) -> tuple[str, pl.DataFrame, bool]:
    """Rows of both tables at one place (or of one id), with their alleles; by what, and whether places were worse."""
    found: dict[str, pl.DataFrame] = {}
    for key in ("position", "id") if by is None else (by,):
        columns = ["chrom", "pos"] if key == "position" else ["id"]
        if not all(set(columns) <= set(table.columns) for table in (a, b)):
            if by is not None:
                raise GenopredError(f"cannot match by {by}: both tables need the column(s) {', '.join(columns)}.")
            continue
        left, right = _keyed(a, columns, "a"), _keyed(b, columns, "b")
        found[key] = left.join(right, on=columns, how="inner", maintain_order="left_right")
    met = {key: pairs["b"].n_unique() for key, pairs in found.items()}
    if not met or not max(met.values()):
        return "", pl.DataFrame(), False
    key = "id" if 2 * met.get("position", 0) < met.get("id", 0) else "position"
    return key, found[key], key == "id" and met.get("position", 0) > 0


def _keyed(table: pl.DataFrame, columns: list[str], name: str) -> pl.DataFrame:
    out = table.with_row_index(name).select(
        pl.col(name).cast(pl.Int64),
        *(pl.col(c) for c in columns),
        pl.col("ref").str.to_uppercase().alias(f"ref_{name}"),
        pl.col("alt").str.to_uppercase().alias(f"alt_{name}"),
    )
    if "chrom" in columns:
        plain = {name: plain_chrom(name) for name in out["chrom"].drop_nulls().unique().to_list()}
        out = out.with_columns(pl.col("chrom").replace(plain), pl.col("pos").cast(pl.Int64))
    if "id" in columns:
        out = out.filter(~pl.col("id").is_in([".", ""]))
    return out.drop_nulls(columns)


def _compare(pairs: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """0 matched, 1 swapped, 2 strand-flipped, 3 both, 4 none of these; and whether the strand cannot be told."""
    ref_a, alt_a, ref, alt = (pairs[name].to_numpy() for name in ("ref_a", "alt_a", "ref_b", "alt_b"))
    no_a, no_b = (pairs[name].is_null().to_numpy() for name in ("ref_a", "ref_b"))  # one of the tables may not say
    ref_c, alt_c = reverse_complement(pairs["ref_b"]), reverse_complement(pairs["alt_b"])

    def swapped(reference: NDArray[np.object_], other: NDArray[np.object_]) -> NDArray[np.bool_]:
        one, two = ref_a == other, alt_a == reference
        return (one | no_a) & (two | no_b) & (one | two)

    kinds = (
        (alt_a == alt) & (no_a | no_b | (ref_a == ref)),
        swapped(ref, alt),
        (alt_a == alt_c) & (no_a | no_b | (ref_a == ref_c)),
        swapped(ref_c, alt_c),
    )
    kind = np.select(kinds, [0, 1, 2, 3], default=4)
    same = (alt_a == reverse_complement(pairs["ref_a"])) | (alt == ref_c)
    return kind, same & (kind < 4)


#: Codes that stand for alleles in some files, and say nothing of bases.
_CODED = "^[0-9IDPN]+$"


def _why(
    a: pl.DataFrame, b: pl.DataFrame, builds: Sequence[str | None] = (None, None), found: Harmonised | None = None
) -> str:
    """Why so little of b is in a: other chromosomes, build, way of counting, names, alleles."""
    reasons = []
    if all({"chrom", "pos"} <= set(table.columns) and table["pos"].count() for table in (a, b)):
        here, there = (set(_spellings(t["chrom"].drop_nulls())) for t in (a, b))
        if not here & there:
            return f": their chromosomes differ ({examples(sorted(here))} against {examples(sorted(there))})"
        reasons.append(_why_places(a, b, builds))
    else:
        reasons.append(_why_names(a, b))
    differ = 0 if found is None else int((found.fate == _DIFFER).sum())
    if found is not None and 4 * differ > int(found.expected.sum()):
        coded = [table["alt"].filter(table["alt"].str.contains(_CODED).fill_null(False)) for table in (b, a)]
        most = next((alleles for alleles, table in zip(coded, (b, a)) if 2 * alleles.len() > table.height), None)
        reasons.append(
            f"alleles are coded ({examples(sorted(set(most.head(1000).to_list())))}) where bases are needed"
            if most is not None
            else f"alleles differ in {differ:,} rows: other variants, or alleles mixed up"
        )
    why = "; ".join(filter(None, reasons))
    if not why and found is None:
        return "; they need the columns chrom and pos, or id, in common"
    return why and f": {why}"


def _why_places(a: pl.DataFrame, b: pl.DataFrame, builds: Sequence[str | None]) -> str:
    n, at, shifted = _places(a, b)
    by, most = max(shifted.items(), key=lambda item: item[1])
    if most > 2 * at and 2 * most > min(n, a.height):
        how = "they count from 0 instead of 1" if by > 0 else "they count otherwise"
        return (
            f"{most:,} of {n:,} positions match when they are 1 {'higher' if by > 0 else 'lower'}: {how}, rather than "
            "being of different genome builds"
        )
    if None not in builds and builds[0] != builds[1]:
        return f"they are of different genome builds, {builds[0]} against {builds[1]} (lift one over)"
    told = other_build(a, b)
    if told is not None:
        return (
            f"they are of different genome builds: the positions of the one fit {told[0]}, of the other {told[1]} "
            "(lift one over)"
        )
    if 20 * at < min(n, a.height):
        few = f"only {at:,} of {n:,} positions do" if at else "no position does"
        said = next((f"one says that it is of {build}; " for build in builds if build is not None), "")
        return f"their chromosomes agree but {few}: probably different genome builds ({said}lift one over)"
    return f"{n - at:,} of {n:,} positions are not among the {a.height:,} variants" if 2 * at < n else ""


def _places(a: pl.DataFrame, b: pl.DataFrame) -> tuple[int, int, dict[int, int]]:
    """Rows of b on chromosomes of a, how many of them are at a position of a, and how many would be if shifted."""
    left, right = (_keyed(t, ["chrom", "pos"], name) for t, name in ((a, "a"), (b, "b")))
    spots = left.select("chrom", "pos").unique()
    right = right.filter(pl.col("chrom").is_in(spots["chrom"].unique().implode()))
    count = {
        by: right.select("chrom", pl.col("pos") + by).join(spots, on=["chrom", "pos"], how="semi").height
        for by in (0, 1, -1)
    }
    return right.height, count.pop(0), count


def _why_names(a: pl.DataFrame, b: pl.DataFrame) -> str:
    left, right = (t["id"].drop_nulls().head(1000).to_list() if "id" in t.columns else [] for t in (a, b))
    if not left or not right:
        return ""
    rs = [sum(name.startswith("rs") for name in names) / len(names) for names in (left, right)]
    shown = f"({left[0]} against {right[0]})"
    if abs(rs[0] - rs[1]) > 0.5:
        return f"one names variants by rsID, the other by position {shown}"
    absent = b["id"].drop_nulls().is_in(a["id"].implode()).not_().sum()
    return f"{absent:,} of {b.height:,} ids are not among the {a.height:,} variants {shown}" if absent else ""


def match_weights(
    a: pl.DataFrame,
    b: pl.DataFrame,
    *,
    ambiguous: str = "keep",
    names: Sequence[str] = ("a", "b"),
    builds: Sequence[str | None] = (None, None),
) -> Harmonised:
    """Match by place and alleles as `harmonise` does, with its parameters, then by id those that were not found.

    Several genes' models may name one variant differently, or count its other allele: all of them find it.
    """
    first = harmonise(a, b, ambiguous=ambiguous, names=names, builds=builds, shared=True)
    left = np.flatnonzero(np.isin(first.fate, (_DIFFER, _ABSENT, _ELSEWHERE, _NO_PLACE)))
    rest = b[left]
    if first.by == "id" or not len(left) or not rest["id"].is_in(a["id"].implode()).any():
        return first
    try:
        second = harmonise(a, rest, by="id", ambiguous=ambiguous, names=names, shared=True)
    except AlignmentError:
        return first
    fate = first.fate.copy()
    fate[left[second.b]] = second.fate[second.b]
    columns, rows = np.append(first.a, second.a), np.append(first.b, left[second.b])
    order = np.argsort(columns, kind="stable")
    sign = np.append(first.sign, second.sign)
    return Harmonised(
        columns[order], rows[order], sign[order], tuple(_fate_notes(fate, b, first.by, names)), fate, first.by
    )
