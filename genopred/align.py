"""Match samples, genes, chromosome names and alleles of different files, and count what was dropped and why."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from genopred.errors import AlignmentError, GenopredError, examples, repeated, shortened
from genopred.types import (
    CHROM_LENGTHS,
    Cohort,
    Covariates,
    Expression,
    Genotypes,
    MatchReport,
    Note,
    builds_with,
    plain_chrom,
    plain_gene,
)


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

    Returns
    -------
    Cohort
        For each item of its report, used + dropped = in.

    Raises
    ------
    AlignmentError
        If samples, chromosomes or genes do not fit, or covariates have missing values or are collinear.
    """
    tally = _Tally()
    samples = _match_samples(genotypes, expression, covariates, keep, remove, min_overlap, keep_overlap, tally)
    expression = expression.select(samples)
    if covariates is not None:
        tally.add("covariates", covariates.notes)
        covariates = covariates.select(samples)
        check_covariates(covariates)
    genotypes = _match_variants(genotypes, extract, exclude, tally)
    genotypes = genotypes.select(samples)
    check_builds(genotypes, expression.genes, expression.source)
    rows = _match_genes(genotypes, expression, genes, window, tally)
    expression = expression.select(genes=rows)
    genotypes = _drop_empty_chromosomes(genotypes, expression, tally)
    return Cohort(genotypes, expression, covariates, tally.report())


class _Tally:
    """Rows of a MatchReport in the making."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, int, str]] = []

    def add(self, item: str, notes: Iterable[Note]) -> None:
        self.rows += [(item, status, reason, n, shown) for status, reason, n, shown in notes]

    def count(self, item: str, status: str, reason: str, which: Sequence[object]) -> None:
        if len(which):
            self.rows.append((item, status, reason, len(which), examples(which)))

    def total(self, item: str, status: str, reason: str, n: int) -> None:
        self.rows.append((item, status, reason, n, ""))

    def report(self) -> MatchReport:
        items = {"samples": 0, "covariates": 1, "genes": 2, "variants": 3}
        states = {"in": 0, "used": 1, "dropped": 2, "note": 3}
        rows = sorted(self.rows, key=lambda row: (items.get(row[0], 9), states.get(row[1], 9)))
        return MatchReport(pl.DataFrame(rows, schema=MatchReport.SCHEMA, orient="row"))


def _match_samples(
    genotypes: Genotypes,
    expression: Expression,
    covariates: Covariates | None,
    keep: ArrayLike | None,
    remove: ArrayLike | None,
    min_overlap: int,
    keep_overlap: bool,
    tally: _Tally,
) -> list[str]:
    typed, measured = genotypes.samples.tolist(), expression.samples.tolist()
    for names, source in ((typed, genotypes.source), (measured, expression.source)):
        _refuse_twice(names, source)
    kept = None if keep is None else set(np.asarray(keep, dtype=str).tolist())
    removed = set() if remove is None else set(np.asarray(remove, dtype=str).tolist())
    everybody = list(dict.fromkeys(measured + typed))
    tally.total("samples", "in", "in genotypes or expression", len(everybody))
    tally.total("samples", "note", f"in genotypes {genotypes.source}", len(typed))
    tally.total("samples", "note", f"in expression {expression.source}", len(measured))
    left = everybody
    if kept is not None:
        tally.count("samples", "dropped", "not in --keep", [s for s in left if s not in kept])
        left = [s for s in left if s in kept]
    tally.count("samples", "dropped", "in --remove", [s for s in left if s in removed])
    left = [s for s in left if s not in removed]
    if not left:
        raise AlignmentError(
            f"--keep and --remove leave none of {len(everybody)} samples (e.g. {examples(everybody)}); "
            f"--keep names {examples(sorted(kept or []))}. Use the IIDs of the files."
        )
    has_expression, has_genotypes = set(measured), set(typed)
    if not any(s in has_expression and s in has_genotypes for s in left):
        raise AlignmentError(
            f"no sample is in both {genotypes.source} ({examples(typed)}) and {expression.source} "
            f"({examples(measured)}){_name_hint(typed, measured)}; use the same names in both."
        )
    tally.count("samples", "dropped", "no expression", [s for s in left if s not in has_expression])
    left = [s for s in left if s in has_expression]
    left = _without(left, has_genotypes, "genotypes", genotypes.source, "expression", keep_overlap, tally)
    if covariates is not None:
        listed = covariates.samples.tolist()
        _refuse_twice(listed, covariates.source)
        tally.total("samples", "note", f"in covariates {covariates.source}", len(listed))
        if not set(listed) & set(left):
            raise AlignmentError(
                f"no sample of {covariates.source} ({examples(listed)}) has genotypes and expression ({examples(left)})"
                f"{_name_hint(listed, left)}; use the same names."
            )
        left = _without(
            left, set(listed), "covariates", covariates.source, "genotype and expression", keep_overlap, tally
        )
    if len(left) < min_overlap:
        lost = [f"{n} dropped: {reason}" for item, status, reason, n, _ in tally.rows if status == "dropped"]
        why = f"{'; '.join(lost)}. Check the sample names, or lower" if lost else "the files hold no more: lower"
        raise AlignmentError(
            f"only {len(left)} samples are left ({examples(left)}), fewer than the floor of {min_overlap}; "
            f"{why} --min-overlap."
        )
    tally.total("samples", "used", "in all files", len(left))
    return left


def _refuse_twice(names: list[str], source: str) -> None:
    if len(set(names)) < len(names):
        twice = sorted(repeated(names))
        raise AlignmentError(
            f"{len(twice)} samples occur more than once in {source} ({examples(twice)}); keep one of each."
        )


def _without(
    left: list[str], have: set[str], what: str, source: str, of: str, keep_overlap: bool, tally: _Tally
) -> list[str]:
    lacking = [s for s in left if s not in have]
    if lacking and not keep_overlap:
        raise AlignmentError(
            f"{len(lacking)} of {len(left)} {of} samples have no {what} ({examples(lacking)}); "
            f"drop them with --keep-overlap, or check the sample names in {source}."
        )
    tally.count("samples", "dropped", f"no {what}", lacking)
    return [s for s in left if s in have]


def _name_hint(a: Sequence[str], b: Sequence[str]) -> str:
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
    genotypes: Genotypes, extract: ArrayLike | None, exclude: ArrayLike | None, tally: _Tally
) -> Genotypes:
    dropped = sum(n for status, _, n, _ in genotypes.notes if status == "dropped")
    tally.total("variants", "in", f"in {genotypes.source}", genotypes.n_variants + dropped)
    tally.add("variants", genotypes.notes)
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
        tally.count("variants", "dropped", reason, genotypes.variants["id"].to_numpy()[gone])
        if gone.any():
            genotypes = genotypes.select(variants=~gone)
    return genotypes


def _match_genes(
    genotypes: Genotypes, expression: Expression, wanted: Sequence[str] | None, window: int | None, tally: _Tally
) -> NDArray[np.int64]:
    table = expression.genes
    tally.total("genes", "in", f"in {expression.source}", table.height)
    tally.add("genes", expression.notes)
    rows = np.arange(table.height)
    if wanted is not None:
        rows = find_genes(table, wanted, expression.source)
        if len(rows) < table.height:
            tally.total("genes", "dropped", "not asked for", table.height - len(rows))
    ids = table["gene_id"].to_numpy()

    def drop(bad: NDArray[np.bool_], reason: str) -> None:
        nonlocal rows
        tally.count("genes", "dropped", reason, ids[rows[bad]].tolist())
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
            tally.rows.append(("genes", "note", "chromosome names matched", 1, shown))
    chrom = np.array([plain_chrom(name) for name in table["chrom"].to_list()])
    drop(~np.isin(chrom[rows], list(there)), "chromosome not in genotypes")
    drop(np.ptp(expression.values[:, rows], axis=0) == 0, "constant expression")
    if window is not None:
        drop(count_cis(genotypes, table[rows], window) == 0, f"no variant within {window:,} bases of the TSS")
    if not len(rows):
        lost = [row for row in tally.rows if row[:2] == ("genes", "dropped")]
        reasons = "; ".join(f"{n} {reason}" + f" ({shown})" * bool(shown) for _, _, reason, n, shown in lost)
        raise AlignmentError(
            f"no gene of {expression.source} can be used: {reasons}. Check that genotypes and expression are of the "
            "same genome build, and that the genes vary."
        )
    tally.total("genes", "used", "matched", len(rows))
    return rows


def check_builds(genotypes: Genotypes, genes: pl.DataFrame, source: str) -> None:
    """Refuse genes of another genome build than the genotypes, where the files themselves show it.

    The genotypes' build is known by the lengths of chromosomes in their header; without those, a build is excluded
    by variants beyond its chromosomes' ends. Genes exclude a build by the TSS beyond them. What lies within both
    builds' chromosomes shows nothing: without a reference sequence, positions are only numbers.

    Parameters
    ----------
    genotypes : Genotypes
    genes : polars.DataFrame
        Columns of `GENE_SCHEMA`.
    source : str
        Where the genes are from, for the message.

    Raises
    ------
    AlignmentError
        If no build is left for both.
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


def _drop_empty_chromosomes(genotypes: Genotypes, expression: Expression, tally: _Tally) -> Genotypes:
    used = {plain_chrom(name) for name in expression.genes["chrom"].unique().to_list()}
    spelt = _spellings(genotypes.variants["chrom"])
    gone = sorted(name for plain, names in spelt.items() if plain not in used for name in names)
    if gone:
        mask = genotypes.variants["chrom"].is_in(gone).to_numpy()
        tally.rows.append(("variants", "dropped", "chromosome without genes", int(mask.sum()), examples(gone)))
        genotypes = genotypes.select(variants=~mask)
    tally.total("variants", "used", "matched", genotypes.n_variants)
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


def find_genes(genes: pl.DataFrame, wanted: Sequence[str], source: str = "the expression file") -> NDArray[np.int64]:
    """Rows of the genes asked for, by identifier with or without version.

    Parameters
    ----------
    genes : polars.DataFrame
        Columns of `GENE_SCHEMA`.
    wanted : list of str
    source : str
        Where they should be, for the message.

    Returns
    -------
    array of int
        In the order of `wanted`, each once.

    Raises
    ------
    AlignmentError
        If a gene is absent; the message names the nearest one.
    """
    exact = {name: i for i, name in enumerate(genes["gene_id"].to_list())}
    plain: dict[str, list[int]] = {}
    for i, name in enumerate(genes["gene"].to_list()):
        plain.setdefault(name, []).append(i)
    rows: dict[int, None] = {}
    absent = []
    for name in wanted:
        found = [exact[name]] if name in exact else plain.get(plain_gene(name), [])
        if not found:
            absent.append(name)
        rows.update(dict.fromkeys(found))
    if absent:
        near = difflib.get_close_matches(plain_gene(absent[0]), list(plain), n=1, cutoff=0.6)
        hint = f"; nearest to {absent[0]} is {genes['gene_id'][plain[near[0]][0]]}" if near else ""
        raise AlignmentError(
            f"{len(absent)} of {len(wanted)} genes are not in {source} ({examples(absent)}){hint}. "
            f"Its {genes.height:,} genes look like {examples(genes['gene_id'][:1].to_list())}."
        )
    return np.array(list(rows), dtype=np.int64)


#: Covariates from here on are refused: their squares, summed, would be infinite.
_HUGE = 1e100


def check_covariates(covariates: Covariates) -> None:
    """Refuse covariates that are missing, constant, or combinations of others.

    Parameters
    ----------
    covariates : Covariates
        Of the samples that will be used.

    Raises
    ------
    AlignmentError
        Naming the covariates and, where values are missing, the samples.
    """
    values, names = covariates.values, covariates.names
    source = covariates.source
    missing = np.isnan(values)
    if missing.any():
        row, column = (int(i) for i in np.argwhere(missing.T)[0][::-1])
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
    constant = [name for name, spread in zip(names, np.ptp(values, axis=0)) if spread == 0]
    if constant:
        raise AlignmentError(
            f"{source}: {len(constant)} covariate(s) have the same value in all {len(covariates.samples)} samples used "
            f"({examples(constant)}), so they are collinear with the intercept; remove them."
        )
    found = _collinear(values)
    if found:
        shown = [
            f"{shortened(names[j])} from {examples([names[i] for i in parts]) or 'the intercept'}" for j, parts in found
        ]
        raise AlignmentError(
            f"{source}: covariates are collinear, {len(found)} follow(s) exactly from others: {'; '.join(shown[:3])}. "
            "Remove one of each."
        )


def _collinear(values: NDArray[np.float64], tolerance: float = 1e-8) -> list[tuple[int, list[int]]]:
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
        if norm < tolerance:
            weight = np.linalg.lstsq(centred[:, kept], centred[:, j], rcond=None)[0]
            order = np.argsort(-np.abs(weight))
            out.append((j, [kept[i] for i in order if abs(weight[i]) > 1e-6]))
        else:
            kept.append(j)
            basis = np.column_stack([basis, rest / norm])
    return out


def usable_variants(
    dosage: NDArray[np.float32], variants: pl.DataFrame, *, maf: float = 0.0, max_missing: float = 1.0
) -> tuple[NDArray[np.bool_], tuple[Note, ...]]:
    """Which variants of a window carry information, and what is wrong with the others.

    Parameters
    ----------
    dosage : array, shape (N, M)
        Copies of ALT; NaN where missing.
    variants : polars.DataFrame, M rows
    maf : float
        Lowest minor allele frequency allowed; the frequency leaves missing dosages out.
    max_missing : float
        Highest fraction of missing dosages allowed.

    Returns
    -------
    array of bool, shape (M,)
    tuple of Note
        Each dropped variant once, under the first reason that applies: all missing, too many missing,
        monomorphic (every known dosage equal), rare.
    """
    known = ~np.isnan(dosage)
    n = known.sum(axis=0)
    filled = np.where(known, dosage, 0)
    frequency = filled.sum(axis=0, dtype=np.float64) / np.maximum(2 * n, 1)
    low = np.where(known, dosage, np.inf).min(axis=0, initial=np.inf)
    high = np.where(known, dosage, -np.inf).max(axis=0, initial=-np.inf)
    use = np.ones(dosage.shape[1], dtype=bool)
    notes: list[Note] = []
    reasons = (
        (n == 0, "genotype of everybody missing"),
        (n < (1 - max_missing) * len(dosage), f"more than {max_missing:g} missing"),
        (low >= high, "monomorphic"),
        (np.minimum(frequency, 1 - frequency) < maf, f"MAF below {maf:g}"),
    )
    for bad, reason in reasons:
        bad = bad & use
        if bad.any():
            notes.append(("dropped", reason, int(bad.sum()), examples(variants["id"].to_numpy()[bad].tolist())))
            use &= ~bad
    return use, tuple(notes)


def extend(report: MatchReport, item: str, notes: Iterable[Note]) -> MatchReport:
    """A report with more notes on one item; what is dropped no longer counts as used.

    Counts under one reason add up, and the first examples stay.
    """
    rows = [list(row) for row in report.table.rows()]
    for status, reason, n, shown in notes:
        same = [row for row in rows if row[:3] == [item, status, reason]]
        if same:
            same[0][3] += n
        else:
            rows.append([item, status, reason, n, shown])
        if status == "dropped":
            for row in rows:
                if row[:2] == [item, "used"]:
                    row[3] -= n
                    break
    tally = _Tally()
    tally.rows = [(str(a), str(b), str(c), int(d), str(e)) for a, b, c, d, e in rows]
    return tally.report()


@dataclass(frozen=True)
class Harmonised:
    """Which variants of two tables are the same, and whether their effects count the same allele.

    Attributes
    ----------
    a, b : array of int, shape (K,)
        Rows of the two tables, ascending in `a`.
    sign : array, shape (K,)
        1 where both ALT (effect) alleles agree, -1 where they are swapped: multiply b's effect with it.
    notes : tuple of Note
        Counts: matched, swapped, strand-flipped, ambiguous and mismatched by reason. Dropped + used = rows of b.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    sign: NDArray[np.float64]
    notes: tuple[Note, ...]

    def count(self, reason: str) -> int:
        """Variants under all reasons that start so."""
        return sum(n for _, text, n, _ in self.notes if text.startswith(reason))


_COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def harmonise(
    a: pl.DataFrame,
    b: pl.DataFrame,
    *,
    by: str | None = None,
    ambiguous: str = "drop",
    names: Sequence[str] = ("a", "b"),
) -> Harmonised:
    """Match the variants of table `b` (GWAS results, weights, a score file) to those of `a` (the genotypes).

    Parameters
    ----------
    a, b : polars.DataFrame
        Columns `ref` and `alt` (alt is the effect allele), and `chrom` and `pos`, or `id`. In `b`, `ref` may be
        null where only the effect allele is known.
    by : {"position", "id"}, optional
        What identifies a variant; position where both tables have it and share some, else id.
    ambiguous : {"drop", "keep"}
        A/T and C/G variants look the same on both strands: leave them out, or believe their alleles as they stand.
    names : (str, str)
        What to call the tables in messages.

    Returns
    -------
    Harmonised

    Raises
    ------
    AlignmentError
        If the tables share no variant; the message says the likely reason.
    """
    if ambiguous not in ("drop", "keep"):
        raise GenopredError(f"ambiguous {ambiguous!r} is unknown; choose 'drop' or 'keep'.")
    if by not in (None, "position", "id"):
        raise GenopredError(f"by {by!r} is unknown; choose 'position' or 'id'.")
    pairs = _pairs(a, b, by)
    if not pairs.height:
        raise AlignmentError(f"{names[0]} and {names[1]} share no variant{_why_none(a, b)}.")
    kind, is_ambiguous = _compare(pairs)
    pairs = pairs.select("a", "b").with_columns(kind=pl.Series(kind), ambiguous=pl.Series(is_ambiguous))
    pairs = pairs.sort("kind", "b", "a", maintain_order=True)
    best = pairs.unique("b", keep="first", maintain_order=True)
    good = best.filter(pl.col("kind") < 4)
    once = good.unique("a", keep="first", maintain_order=True)
    names_b = b["id"] if "id" in b.columns else b.select(pl.format("{}:{}", "chrom", "pos")).to_series()
    shown = names_b.fill_null(".").to_list()
    notes: list[Note] = []

    def say(status: str, reason: str, rows: Sequence[int]) -> None:
        if rows:
            notes.append((status, reason, len(rows), examples([shown[i] for i in sorted(rows)[:4]])))

    dropped = once.filter(pl.col("ambiguous")) if ambiguous == "drop" else once.clear()
    used = once.join(dropped, on="b", how="anti", maintain_order="left")
    for value, reason in enumerate(("matched", "swapped", "strand-flipped", "strand-flipped and swapped")):
        say("used", reason, used.filter(pl.col("kind") == value)["b"].to_list())
    if ambiguous == "keep":
        say("note", "ambiguous strand (A/T or C/G), alleles believed", used.filter(pl.col("ambiguous"))["b"].to_list())
    say("dropped", "ambiguous strand (A/T or C/G)", dropped["b"].to_list())
    say("dropped", "alleles differ", best.filter(pl.col("kind") == 4)["b"].to_list())
    say("dropped", "variant listed more than once", good.join(once, on="b", how="anti")["b"].to_list())
    say("dropped", f"not in {names[0]}", sorted(set(range(b.height)) - set(best["b"].to_list())))
    used = used.sort("a")
    sign = np.where(np.isin(used["kind"].to_numpy(), (1, 3)), -1.0, 1.0)
    return Harmonised(used["a"].to_numpy().astype(np.int64), used["b"].to_numpy().astype(np.int64), sign, tuple(notes))


def _pairs(a: pl.DataFrame, b: pl.DataFrame, by: str | None) -> pl.DataFrame:
    """Rows of both tables at one place (or of one id), with their alleles."""
    for key in ("position", "id") if by is None else (by,):
        columns = ["chrom", "pos"] if key == "position" else ["id"]
        if not all(set(columns) <= set(table.columns) for table in (a, b)):
            if by is not None:
                raise GenopredError(f"cannot match by {by}: both tables need the column(s) {', '.join(columns)}.")
            continue
        left, right = _keyed(a, columns, "a"), _keyed(b, columns, "b")
        pairs = left.join(right, on=columns, how="inner", maintain_order="left_right")
        if pairs.height:
            return pairs
    return pl.DataFrame()


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
    return out.drop_nulls(columns)


def _compare(pairs: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """0 matched, 1 swapped, 2 strand-flipped, 3 both, 4 none of these; and whether the strand cannot be told."""
    ref_a, alt_a = pairs["ref_a"].to_numpy(), pairs["alt_a"].to_numpy()
    ref_b, alt_b = pairs["ref_b"], pairs["alt_b"]
    unknown = ref_b.is_null().to_numpy()
    ref, alt = ref_b.to_numpy(), alt_b.to_numpy()
    ref_c, alt_c = _reverse_complement(ref_b), _reverse_complement(alt_b)
    kinds = (
        (alt_a == alt) & (unknown | (ref_a == ref)),
        (ref_a == alt) & (unknown | (alt_a == ref)),
        (alt_a == alt_c) & (unknown | (ref_a == ref_c)),
        (ref_a == alt_c) & (unknown | (alt_a == ref_c)),
    )
    kind = np.select(kinds, [0, 1, 2, 3], default=4)
    return kind, (alt_a == _reverse_complement(pairs["ref_a"])) & (kind < 4)


def _reverse_complement(alleles: pl.Series) -> NDArray[np.object_]:
    table = {s: s.translate(_COMPLEMENT)[::-1] for s in alleles.drop_nulls().unique().to_list()}
    return np.array([table.get(s) for s in alleles.to_list()], dtype=object)


def _why_none(a: pl.DataFrame, b: pl.DataFrame) -> str:
    def ids(table: pl.DataFrame) -> list[str]:
        return table["id"].drop_nulls().head(1000).to_list() if "id" in table.columns else []

    left, right = ids(a), ids(b)
    if all({"chrom", "pos"} <= set(table.columns) for table in (a, b)):
        here, there = ({plain_chrom(name) for name in t["chrom"].drop_nulls().unique().to_list()} for t in (a, b))
        if here and there and not here & there:
            return f": their chromosomes differ ({examples(sorted(here))} against {examples(sorted(there))})"
        if here & there:
            return "; their chromosomes agree but no position does: probably different genome builds (lift one over)"
    rs = [sum(name.startswith("rs") for name in names) / max(len(names), 1) for names in (left, right)]
    if left and right and abs(rs[0] - rs[1]) > 0.5:
        return f": one names variants by rsID, the other by position ({left[0]} against {right[0]})"
    if left and right:
        return f" ({left[0]} against {right[0]})"
    return "; they need the columns chrom and pos, or id, in common"
