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
    shared_at,
    shared_loci,
)
from genopred.genetics.overlap.recipe import founding_score, shuffled_founding
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
    """What is asked of two rankings, and how finely.

    Attributes
    ----------
    k : tuple of int
    nulls : tuple of str
    draws, resamples : int
        Of the nulls; of the intervals.
    seed : int
    """

    k: tuple[int, ...]
    nulls: tuple[str, ...]
    draws: int
    resamples: int
    seed: int

    @property
    def fewer(self) -> int:
        """Draws for statistics that take longer than an overlap."""
        return max(200, self.draws // 10)


@dataclass(frozen=True)
class Ranked:
    """SNPs of two tables, ranked by both. Made by `rank_snps`.

    Attributes
    ----------
    a, b : str
    snps : polars.DataFrame
        One row per SNP (and gene), in the order of `rankings`: gene, id, chrom, pos, scores, effects, ranks, locus.
    rankings : Rankings
    locus : array of int, shape (M,)
    dosage : array, shape (N, M), or None
    dropped : list of str
        The one SNP of its gene: the genes.
    notes : tuple of Note
    """

    a: str
    b: str
    snps: pl.DataFrame
    rankings: Rankings
    locus: Ints
    dosage: NDArray[np.float32] | None = field(repr=False)
    dropped: list[str] = field(repr=False)
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Comparison:
    """One table against another: the matched SNPs and what was found.

    Attributes
    ----------
    a, b : str
    snps : polars.DataFrame
        As those of `Ranked`, with member and founding_score where these were asked for.
    rankings : Rankings
    curves : tuple of NullOverlap
    rows : list of dict
        Columns of `RESULT_SCHEMA`.
    notes : tuple of Note
        What could not be asked.
    """

    a: str
    b: str
    snps: pl.DataFrame
    rankings: Rankings
    curves: tuple[NullOverlap, ...]
    rows: list[dict[str, Any]] = field(repr=False)
    notes: tuple[Note, ...]


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
    """Rank the SNPs of two tables, and find loci and LD blocks.

    Parameters
    ----------
    names : (str, str)
    snps : polars.DataFrame
        gene, id, chrom, pos, score_a, score_b, p_b.
    dosage : array, shape (N, M), optional
    grouped : bool
        Rank within genes even if there is one.
    r2, kb : float
        See `genopred.genetics.loci.loci`.
    seed : int
        Of the order of ties.

    Returns
    -------
    Ranked
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
    locus = np.empty(r.n, dtype=np.int64)
    block = None if dosage is None else np.empty(r.n, dtype=np.int64)
    ends = np.cumsum(r.sizes)
    for start, stop in zip(ends - r.sizes, ends):
        x = None if dosage is None else dosage[:, start:stop]
        locus[start:stop] = loci.loci(r.b[start:stop], r.pos[start:stop], dosage=x, r2=r2, kb=kb) + start
        if block is not None and x is not None:
            block[start:stop] = loci.ld_blocks(x) + start
    if block is not None:
        r = replace(r, block=np.concatenate([[0], np.cumsum(np.diff(block) != 0)]).astype(np.int64))
        starts = np.flatnonzero(np.diff(np.concatenate([[-1], block])) != 0)
        single = int(np.sum(np.bincount(r.group[starts]) == 1))
        if single and len(r.sizes) > 1:
            notes.append(("note", "genes of one LD block, which the null blocks leaves as they are", single, ""))
    snps = snps.with_columns(locus=snps["id"].gather(locus))
    return Ranked(*names, snps, r, locus, dosage, tiny, tuple(notes))


def _one_line(snps: pl.DataFrame) -> Ints:
    """Positions with chromosomes laid end to end; row order where positions are unknown."""
    if snps["pos"].null_count():
        return np.arange(snps.height)
    pos = snps["pos"].to_numpy()
    if snps["chrom"].null_count():
        return np.asarray(pos, dtype=np.int64)
    number = {c: i for i, c in enumerate(sorted(snps["chrom"].unique().to_list(), key=lambda c: (len(c), c)))}
    return np.asarray(pos + np.array([number[c] for c in snps["chrom"].to_list()], dtype=np.int64) * 1_000_000_000)


def possible_nulls(ranked: Ranked) -> list[str]:
    """Names among `genopred.genetics.overlap.nulls.NULLS` for which there is all that they need."""
    r = ranked.rankings
    if ranked.dosage is None or r.block is None:
        return ["permutation", "shift"]
    group = r.group[np.flatnonzero(np.diff(r.block, prepend=-1))]
    return ["permutation", "shift"] + ["blocks"] * bool(np.bincount(group).max() > 1) + ["phenotype"]


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

    Parameters
    ----------
    ranked : Ranked
    asked : Asked
    sets : (str, array of bool, shape (M,)), optional
        Name and members of a set of SNPs.
    match : mapping of str to array, shape (M,), or None
        Properties that the controls of matched enrichment share; None where unknown.
    distance : str
        What makes SNPs one locus, in words.
    recipe : bool
        Reproduce the founding study's overlap as well, marked as circular.

    Returns
    -------
    Comparison
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
        snps = snps.with_columns(member=pl.Series(sets[1]))
        rows += _set_rows(ranked, asked, *sets)
    with_sets = members if sets is None else members | {sets[0]: sets[1]}
    if any(value is not None for value in match.values()):
        some = members if sets is None or not sets[1].any() else with_sets
        rows += _matched_rows(ranked, asked, some, match)
    else:
        notes.append(("note", "no matched enrichment: no MAF, distance or LD known", 0, ""))
    signs = _sign_rows(ranked, with_sets)
    if signs is None:
        reason = "no agreement of sign: effects of both tables with both alleles (ref, alt) are needed"
        notes.append(("note", reason, 0, ""))
    rows += signs or []
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
        null: dict[str, Any] = {"null": "shift", **_null_fields(curve, k), "note": f"{curve.n:,} draws"}
        rows.append(_row(ranked, "overlap at k", shared_at(r, k), k=k, low=low, high=high, n=r.n, **null))
    if p is not None:
        both, known = ranked.snps.filter(p.is_not_null()), p.drop_nulls().to_numpy()
        scores = [founding_score(both[c], known) for c in ("score_a", "score_b")]
        for k in asked.k:
            shared = int(np.sum(_top(scores[0], k) & _top(scores[1], k)))
            note = "CIRCULAR: both rankings contain the same p-value"
            rows.append(_row(ranked, _RECIPE, shared, k=k, n=both.height, circular=True, note=note))
    return rows


def _row(
    ranked: Ranked, measure: str, value: float | None, *, test: NullTest | None = None, **more: Any
) -> dict[str, Any]:
    row = dict.fromkeys(RESULT_SCHEMA) | {"a": ranked.a, "b": ranked.b, "measure": measure, "value": value}
    row |= {"circular": False, "note": ""} | more
    if test is not None:
        row |= {"expected": test.mean, "null_low": test.low, "null_high": test.high, "p": test.p}
        row["note"] = f"{row['note']}; {test.n:,} draws".lstrip("; ")
    return {key: None if isinstance(x, float) and np.isnan(x) else x for key, x in row.items()}


def _null_fields(curve: NullOverlap, k: int) -> dict[str, float]:
    at = curve.at(k)
    return {"expected": at["mean"], "null_low": at["low"], "null_high": at["high"], "p": at["p"]}


def _overlap_rows(ranked: Ranked, asked: Asked, k: int, curves: tuple[NullOverlap, ...]) -> list[dict[str, Any]]:
    r = ranked.rankings
    shared = shared_at(r, k)
    low, high = overlap_interval(r, k, asked.resamples, seed=asked.seed)
    p, bounds = hypergeometric(r, k)
    many = f"of each of {len(r.sizes)} genes" if len(r.sizes) > 1 else ""
    nulls: list[dict[str, Any]] = [
        {
            "null": "hypergeometric",
            "expected": float(expected_curve(r)[k - 1]),
            "null_low": bounds[0],
            "null_high": bounds[1],
            "p": p,
            "note": f"{many}; takes SNPs as independent".lstrip("; "),
        }
    ]
    for curve in curves:
        note = f"{many}; {curve.n:,} draws".lstrip("; ")
        nulls.append({"null": curve.null, **_null_fields(curve, k), "note": note})
    return [_row(ranked, "overlap at k", shared, k=k, low=low, high=high, n=r.n, **null) for null in nulls]


def _locus_rows(
    ranked: Ranked, asked: Asked, k: int, curves: tuple[NullOverlap, ...], distance: str
) -> list[dict[str, Any]]:
    r, locus = ranked.rankings, ranked.locus
    of_a, of_b, both = shared_loci(r, locus, k)
    note = f"{of_a} loci of {ranked.a}, {of_b} of {ranked.b}; loci {distance}"
    common: dict[str, Any] = {"k": k, "n": len(np.unique(locus)), "note": note}

    def statistic(draw: Rankings) -> float:
        return float(shared_loci(draw, locus, k)[2])

    tests = {curve.null: null_test(r, statistic, curve.null, asked.fewer, seed=asked.seed) for curve in curves}
    return [_row(ranked, "shared loci at k", both, null=null, test=test, **common) for null, test in tests.items()]


def _correlation_rows(ranked: Ranked, asked: Asked) -> list[dict[str, Any]]:
    r = ranked.rankings
    rows = []
    for null in [name for name in asked.nulls if name != "permutation"] or asked.nulls:
        test = null_test(r, rank_correlation, null, asked.fewer, seed=asked.seed, two_sided=True)
        low, high = bootstrap_interval(r, rank_correlation, asked.resamples, seed=asked.seed)
        more: dict[str, Any] = {"low": low, "high": high, "null": null, "test": test, "n": r.n, "note": "p two-sided"}
        rows.append(_row(ranked, "Spearman rho", test.observed, **more))
    return rows


def _set_rows(ranked: Ranked, asked: Asked, name: str, member: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Average precision of a's score for the members of a set."""
    r, inside = ranked.rankings, int(member.sum())
    measure = f"average precision for {name}"
    if not inside:
        return [_row(ranked, measure, None, n=0, note="no SNP of the sets is ranked")]

    def statistic(draw: Rankings) -> float:
        return average_precision(draw.a, member, r.group)

    def resampled(draw: Rankings) -> float:
        return average_precision(draw.a, member[draw.row], draw.group)

    low, high = bootstrap_interval(r, resampled, asked.resamples, seed=asked.seed)
    common: dict[str, Any] = {"low": low, "high": high, "n": inside, "note": f"{inside} members among {r.n} SNPs"}
    rows = []
    for null in [name for name in asked.nulls if name != "phenotype"]:
        test = null_test(r, statistic, null, asked.fewer, seed=asked.seed)
        rows.append(_row(ranked, measure, test.observed, null=null, test=test, **common))
    return rows


def _matched_rows(
    ranked: Ranked, asked: Asked, sets: Mapping[str, NDArray[np.bool_]], match: Mapping[str, Floats | None]
) -> list[dict[str, Any]]:
    """Are a's scores higher in a set than at SNPs that are like its members otherwise?"""
    r = ranked.rankings
    columns = [value for value in match.values() if value is not None]
    used, lacking = ([what for what, x in match.items() if (x is None) == unknown] for unknown in (False, True))
    how = f"matched for {', '.join(used)}" + (f" ({', '.join(lacking)} unknown)" if lacking else "")
    rows = []
    for label, member in sets.items():
        measure = f"percentile of the score in {label}"
        try:
            found = matched_enrichment(
                r.a, member, np.column_stack(columns), group=r.group, n=asked.draws, seed=asked.seed
            )
        except GenopredError as problem:
            rows.append(_row(ranked, measure, None, note=str(problem)))
            continue
        numbers: dict[str, Any] = {
            "expected": found.control,
            "null_low": found.low,
            "null_high": found.high,
            "p": found.p,
        }
        note = (
            f"{how}; {found.unmatched} without a match; mean score {found.ratio:.2f} times the controls'; "
            "takes SNPs as independent"
        )
        rows.append(_row(ranked, measure, found.mean, null="matched SNPs", n=found.n, note=note, **numbers))
    return rows


def _sign_rows(ranked: Ranked, sets: Mapping[str, NDArray[np.bool_]]) -> list[dict[str, Any]] | None:
    """Whether effects have the same sign, of SNPs and of one SNP a locus; None where effects are unknown."""
    r, a, b = ranked.rankings, ranked.snps["effect_a"], ranked.snps["effect_b"]
    if len(a) in (a.null_count(), b.null_count()):
        return None
    x, y = a.fill_null(0.0).to_numpy(), b.fill_null(0.0).to_numpy()
    rows = []
    for label, member in sets.items():
        # One SNP a locus: of those in the set and with an effect, the one ranked first in b.
        picked = np.flatnonzero(member & (x != 0) & (y != 0))
        picked = picked[np.argsort(r.rank_b[picked], kind="stable")]
        lead = picked[np.unique(ranked.locus[picked], return_index=True)[1]]
        for how, snps, note in (
            ("SNPs", picked, "takes SNPs as independent"),
            ("loci", lead, "one SNP a locus"),
        ):
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
        shared = int(np.sum(_top(score, k) & _top(r.b, k)))  # ties in file order, as in the study
        shuffled = shuffled_founding(r.a, p, k, min(asked.draws, 2000), seed=asked.seed)
        low, high = np.quantile(shuffled, [0.025, 0.975])
        null: dict[str, Any] = {
            "null": "effects shuffled",
            "expected": float(shuffled.mean()),
            "null_low": float(low),
            "null_high": float(high),
            "p": float((1 + np.sum(shuffled >= shared)) / (len(shuffled) + 1)),
        }
        note = "CIRCULAR: the ranking contains the p-value it is compared with"
        rows.append(_row(ranked, _RECIPE, shared, k=k, n=r.n, circular=True, note=note, **null))
    return rows


def _top(score: Floats, k: int) -> NDArray[np.bool_]:
    out = np.zeros(len(score), dtype=bool)
    out[np.argsort(-score, kind="stable")[:k]] = True
    return out
