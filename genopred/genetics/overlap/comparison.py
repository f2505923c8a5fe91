"""Everything asked of two rankings of SNPs: tables and genotypes in, rows of answers out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import norm

from genopred.errors import GenopredError
from genopred.genetics import loci
from genopred.genetics.overlap.enrichment import average_precision, matched_enrichment, sign_agreement
from genopred.genetics.overlap.nulls import (
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
    runs,
    shared_at,
    shared_loci,
)
from genopred.genetics.overlap.recipe import founding_score, shuffled_founding, top
from genopred.types import Note

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

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

_RECIPE = "overlap at k, founding study's recipe"


@dataclass(frozen=True)
class Asked:
    """What is asked of two rankings, and how finely."""

    k: tuple[int, ...]
    nulls: tuple[str, ...]
    draws: int  # of the nulls
    resamples: int  # of the intervals
    seed: int

    @property
    def fewer(self) -> int:
        """Draws for statistics that take longer than an overlap."""
        return max(200, self.draws // 10)


@dataclass(frozen=True)
class Ranked:
    """SNPs of two tables, ranked by both. Made by `rank_snps`."""

    a: str
    b: str
    snps: pl.DataFrame  # one row per SNP (and gene), as in `rankings`: what came in, rank_a, rank_b, locus
    rankings: Rankings
    locus: Ints  # (M,)
    dosage: NDArray[np.float32] | None = field(repr=False)  # (N, M)
    dropped: list[str] = field(repr=False)  # genes of one SNP
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Comparison:
    """One table against another: the matched SNPs and what was found."""

    a: str
    b: str
    snps: pl.DataFrame  # as those of `Ranked`, with member and founding_score where these were asked for
    rankings: Rankings
    curves: tuple[NullOverlap, ...]
    rows: list[dict[str, Any]] = field(repr=False)  # of `RESULT_SCHEMA`
    notes: tuple[Note, ...]  # what could not be asked


def rank_snps(
    names: tuple[str, str],
    snps: pl.DataFrame,
    dosage: NDArray[np.float32] | None = None,
    *,
    grouped: bool,
    r2: float = 0.5,
    kb: float = 250.0,
    seed: int = 1,
) -> Ranked:
    """Rank the SNPs of two tables (gene, id, chrom, pos, score_a, score_b, p_b), and find loci and LD blocks.

    With `grouped` ranks are within genes, be it one; `r2` and `kb` are those of `genopred.genetics.loci.loci`.
    """
    grouped = grouped or snps["gene"].n_unique() > 1
    tiny = snps.group_by("gene").len().filter(pl.col("len") < 2)["gene"].to_list() if grouped else []
    if tiny:
        keep = ~snps["gene"].is_in(tiny).to_numpy()
        snps = snps.filter(pl.Series(keep))
        dosage = None if dosage is None else dosage[:, keep]
    z = snps["p_b"].to_numpy() if snps["p_b"].null_count() == 0 else None
    r = rankings(
        snps["score_a"],
        snps["score_b"],
        pos=_one_line(snps),
        group=snps["gene"].to_numpy() if grouped else np.zeros(snps.height, dtype=np.int64),
        dosage=dosage,
        z_b=None if z is None else norm.isf(np.maximum(z, 1e-300) / 2),
        seed=seed,
        names=(f"score in {names[0]}", f"score in {names[1]}"),
    )
    snps = snps[r.row].with_columns(rank_a=pl.Series(r.rank_a + 1), rank_b=pl.Series(r.rank_b + 1))
    dosage = None if dosage is None else dosage[:, r.row]
    notes: list[Note] = [
        ("note", f"SNPs with tied scores in {name}, put in random order", ties, "")
        for name, ties in zip(names, (r.tied_a, r.tied_b))
        if ties
    ]
    locus, block = np.empty(r.n, dtype=np.int64), np.empty(r.n, dtype=np.int64)
    ends = np.cumsum(r.sizes)
    for start, stop in zip(ends - r.sizes, ends):
        x = None if dosage is None else dosage[:, start:stop]
        locus[start:stop] = loci.loci(r.b[start:stop], r.pos[start:stop], dosage=x, r2=r2, kb=kb) + start
        if x is not None:
            block[start:stop] = loci.ld_blocks(x)
    if dosage is not None:
        block = runs(block, r.group)
        r = replace(r, block=block)
        single = int(np.sum(_blocks_of_groups(block, r.group) == 1))
        if single and len(r.sizes) > 1:
            notes.append(("note", "genes of one LD block, which the null blocks leaves as they are", single, ""))
    snps = snps.with_columns(locus=snps["id"].gather(locus))
    return Ranked(*names, snps, r, locus, dosage, tiny, tuple(notes))


def _blocks_of_groups(block: Ints, group: Ints) -> Ints:
    """How many LD blocks each group has."""
    return np.bincount(group[np.flatnonzero(np.diff(block, prepend=-1))])


def _one_line(snps: pl.DataFrame) -> Ints:
    """Positions with chromosomes laid end to end; row order where positions are unknown."""
    if snps["pos"].null_count():
        return np.arange(snps.height)
    pos = snps["pos"].to_numpy()
    if snps["chrom"].null_count():
        return np.asarray(pos, dtype=np.int64)
    number = {c: i for i, c in enumerate(sorted(snps["chrom"].unique().to_list(), key=lambda c: (len(c), c)))}
    return np.asarray(pos + np.array([number[c] for c in snps["chrom"]], dtype=np.int64) * 1_000_000_000)


def possible_nulls(ranked: Ranked) -> list[str]:
    """Names among `genopred.genetics.overlap.nulls.NULLS` for which there is all that they need."""
    r = ranked.rankings
    if ranked.dosage is None or r.block is None:
        return ["permutation", "shift"]
    movable = _blocks_of_groups(r.block, r.group).max() > 1
    return ["permutation", "shift", *(["blocks"] if movable else []), "phenotype"]


def compare(
    ranked: Ranked,
    asked: Asked,
    *,
    sets: tuple[str, NDArray[np.bool_]] | None = None,
    match: Mapping[str, Floats | None],
    distance: str,
    recipe: bool = False,
) -> Comparison:
    """Ask everything of one table's ranking against another's.

    `sets` are name and members (M,) of a set of SNPs; `match` has the properties (M,) that controls of matched
    enrichment share, None where unknown; `distance` says in words what makes SNPs one locus; with `recipe` the founding
    study's overlap is reproduced as well, marked as circular.
    """
    r, snps = ranked.rankings, ranked.snps
    curves = tuple(null_overlap(r, null, asked.draws, ks=asked.k, seed=asked.seed) for null in asked.nulls)
    rows: list[dict[str, Any]] = []
    notes: list[Note] = []
    for k in asked.k:
        rows += _overlap_rows(ranked, asked, k, curves) + _locus_rows(ranked, asked, k, curves, distance)
    rows += _correlation_rows(ranked, asked)
    for curve in curves:
        note = f"p that stays right although k was free; {curve.n:,} draws"
        measure = "largest excess of overlap at any k"
        rows.append(_row(ranked, measure, None, null=curve.null, p=curve.p_any, n=r.n, note=note))
    members = {f"top {k} of {ranked.b}": r.rank_b < k for k in asked.k}
    if sets is not None:
        members[sets[0]] = sets[1]
        snps = snps.with_columns(member=pl.Series(sets[1]))
        rows += _set_rows(ranked, asked, *sets)
    if any(value is not None for value in match.values()):
        rows += _matched_rows(ranked, asked, {name: inside for name, inside in members.items() if inside.any()}, match)
    else:
        notes.append(("note", "no matched enrichment: no MAF, distance or LD known", 0, ""))
    if all(ranked.snps[effect].count() for effect in ("effect_a", "effect_b")):
        rows += _sign_rows(ranked, members)
    else:
        reason = "no agreement of sign: effects of both tables with both alleles (ref, alt) are needed"
        notes.append(("note", reason, 0, ""))
    if recipe:
        snps = snps.with_columns(founding_score=pl.Series(founding_score(snps["score_a"], snps["p_b"].to_numpy())))
        rows += _recipe_rows(ranked, asked, snps["founding_score"].to_numpy())
    return Comparison(ranked.a, ranked.b, snps, r, curves, rows, tuple(notes))


def between(ranked: Ranked, asked: Asked, p: pl.Series | None = None) -> list[dict[str, Any]]:
    """Overlap of two rankings with each other; with `p` of the founding study's scores too: rows of `RESULT_SCHEMA`."""
    r = ranked.rankings
    rows = []
    for k in asked.k:
        curve = null_overlap(r, "shift", asked.draws, ks=(k,), seed=asked.seed)
        low, high = overlap_interval(r, k, asked.resamples, seed=asked.seed)
        chance = _chance("shift", **curve.at(k), note=f"{curve.n:,} draws")
        rows.append(_row(ranked, "overlap at k", shared_at(r, k), k=k, low=low, high=high, n=r.n, **chance))
    if p is not None:
        both, known = ranked.snps.filter(p.is_not_null()), p.drop_nulls().to_numpy()
        a, b = (founding_score(both[c], known) for c in ("score_a", "score_b"))
        for k in asked.k:
            shared = int(np.sum(top(a, k) & top(b, k)))
            note = "CIRCULAR: both rankings contain the same p-value"
            rows.append(_row(ranked, _RECIPE, shared, k=k, n=both.height, circular=True, note=note))
    return rows


def _row(ranked: Ranked, measure: str, value: float | None, **more: Any) -> dict[str, Any]:
    row = dict.fromkeys(RESULT_SCHEMA) | {"a": ranked.a, "b": ranked.b, "measure": measure, "value": value}
    row |= {"circular": False, "note": ""} | more
    return {key: None if isinstance(x, float) and np.isnan(x) else x for key, x in row.items()}


def _chance(null: str, mean: float, low: float, high: float, p: float, note: str) -> dict[str, Any]:
    """Columns of a row that say what a null expects."""
    return {"null": null, "expected": mean, "null_low": low, "null_high": high, "p": p, "note": note}


def _tested(null: str, test: NullTest, note: str) -> dict[str, Any]:
    return _chance(null, test.mean, test.low, test.high, test.p, f"{note}; {test.n:,} draws")


def _overlap_rows(ranked: Ranked, asked: Asked, k: int, curves: tuple[NullOverlap, ...]) -> list[dict[str, Any]]:
    r = ranked.rankings
    shared = shared_at(r, k)
    low, high = overlap_interval(r, k, asked.resamples, seed=asked.seed)
    p, bounds = hypergeometric(r, k)
    many = f"of each of {len(r.sizes)} genes; " if len(r.sizes) > 1 else ""
    expected = float(expected_curve(r)[k - 1])
    nulls = [_chance("hypergeometric", expected, *bounds, p, f"{many}takes SNPs as independent")]
    nulls += [_chance(curve.null, **curve.at(k), note=f"{many}{curve.n:,} draws") for curve in curves]
    return [_row(ranked, "overlap at k", shared, k=k, low=low, high=high, n=r.n, **null) for null in nulls]


def _locus_rows(
    ranked: Ranked, asked: Asked, k: int, curves: tuple[NullOverlap, ...], distance: str
) -> list[dict[str, Any]]:
    r, locus = ranked.rankings, ranked.locus
    of_a, of_b, both = shared_loci(r, locus, k)
    note = f"{of_a} loci of {ranked.a}, {of_b} of {ranked.b}; loci {distance}"
    n = len(np.unique(locus))

    def statistic(draw: Rankings) -> float:
        return float(shared_loci(draw, locus, k)[2])

    tests = {curve.null: null_test(r, statistic, curve.null, asked.fewer, seed=asked.seed) for curve in curves}
    return [
        _row(ranked, "shared loci at k", both, k=k, n=n, **_tested(null, test, note)) for null, test in tests.items()
    ]


def _correlation_rows(ranked: Ranked, asked: Asked) -> list[dict[str, Any]]:
    r = ranked.rankings
    rows = []
    for null in [name for name in asked.nulls if name != "permutation"] or asked.nulls:
        test = null_test(r, rank_correlation, null, asked.fewer, seed=asked.seed, two_sided=True)
        low, high = bootstrap_interval(r, rank_correlation, asked.resamples, seed=asked.seed)
        chance = _tested(null, test, "p two-sided")
        rows.append(_row(ranked, "Spearman rho", test.observed, low=low, high=high, n=r.n, **chance))
    return rows


def _set_rows(ranked: Ranked, asked: Asked, name: str, member: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Average precision of a's score for the members of a set."""
    r, inside = ranked.rankings, int(member.sum())
    measure = f"average precision for {name}"
    if not inside:
        return [_row(ranked, measure, None, n=0, note="no SNP of the sets is ranked")]

    def of_draw(draw: Rankings) -> float:  # of the null: a's scores move, the members stay
        return average_precision(draw.a, member, r.group)

    def of_sample(draw: Rankings) -> float:
        return average_precision(draw.a, member[draw.row], draw.group)

    low, high = bootstrap_interval(r, of_sample, asked.resamples, seed=asked.seed)
    note = f"{inside} members among {r.n} SNPs"
    rows = []
    for null in [name for name in asked.nulls if name != "phenotype"]:
        test = null_test(r, of_draw, null, asked.fewer, seed=asked.seed)
        chance = _tested(null, test, note)
        rows.append(_row(ranked, measure, test.observed, low=low, high=high, n=inside, **chance))
    return rows


def _matched_rows(
    ranked: Ranked, asked: Asked, sets: Mapping[str, NDArray[np.bool_]], match: Mapping[str, Floats | None]
) -> list[dict[str, Any]]:
    """Are a's scores higher in a set than at SNPs that are like its members otherwise?"""
    r = ranked.rankings
    known = {what: values for what, values in match.items() if values is not None}
    lacking = [what for what in match if what not in known]
    how = f"matched for {', '.join(known)}" + (f" ({', '.join(lacking)} unknown)" if lacking else "")
    like = np.column_stack(list(known.values()))
    rows = []
    for label, member in sets.items():
        measure = f"percentile of the score in {label}"
        try:
            found = matched_enrichment(r.a, member, like, group=r.group, n=asked.draws, seed=asked.seed)
        except GenopredError as problem:
            rows.append(_row(ranked, measure, None, note=str(problem)))
            continue
        note = (
            f"{how}; {found.unmatched} without a match; mean score {found.ratio:.2f} times the controls'; "
            "takes SNPs as independent"
        )
        chance = _chance("matched SNPs", found.control, found.low, found.high, found.p, note)
        rows.append(_row(ranked, measure, found.mean, n=found.n, **chance))
    return rows


def _sign_rows(ranked: Ranked, sets: Mapping[str, NDArray[np.bool_]]) -> list[dict[str, Any]]:
    """Whether effects have the same sign, of SNPs and of one SNP a locus."""
    x, y = (ranked.snps[effect].fill_null(0.0).to_numpy() for effect in ("effect_a", "effect_b"))
    rows = []
    for label, member in sets.items():
        # One SNP a locus: of those in the set and with an effect, the one ranked first in b.
        picked = np.flatnonzero(member & (x != 0) & (y != 0))
        picked = picked[np.argsort(ranked.rankings.rank_b[picked], kind="stable")]
        lead = picked[np.unique(ranked.locus[picked], return_index=True)[1]]
        for how, snps, note in (("SNPs", picked, "takes SNPs as independent"), ("loci", lead, "one SNP a locus")):
            same, n, (low, high), p = sign_agreement(x[snps], y[snps])
            more: dict[str, Any] = {"low": low, "high": high, "null": "binomial", "expected": 0.5, "p": p, "n": n}
            value = same / n if n else None
            rows.append(_row(ranked, f"share of same sign, {how} of {label}", value, note=note, **more))
    return rows


def _recipe_rows(ranked: Ranked, asked: Asked, score: Floats) -> list[dict[str, Any]]:
    """The founding study's ranking, and what it gives when the effects are shuffled."""
    r, p = ranked.rankings, ranked.snps["p_b"].to_numpy()
    rows = []
    for k in asked.k:
        shared = int(np.sum(top(score, k) & top(r.b, k)))
        shuffled = shuffled_founding(r.a, p, k, min(asked.draws, 2000), seed=asked.seed)
        low, high = (float(x) for x in np.quantile(shuffled, [0.025, 0.975]))
        at_least = float((1 + np.sum(shuffled >= shared)) / (len(shuffled) + 1))
        note = "CIRCULAR: the ranking contains the p-value it is compared with"
        chance = _chance("effects shuffled", float(shuffled.mean()), low, high, at_least, note)
        rows.append(_row(ranked, _RECIPE, shared, k=k, n=r.n, circular=True, **chance))
    return rows
