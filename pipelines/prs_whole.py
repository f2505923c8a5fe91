"""Polygenic scores over whole genotype files: of a phenotype, of summary statistics, of given weights."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.errors import AlignmentError, GenopredError, ModelError, examples
from genopred.genetics.chromosomes import Summing, blocks, clump_chromosomes, score_table
from genopred.genetics.regression import marginal_association
from genopred.io.scores import ScoreFile, read_phenotype, read_ranges, read_values, read_weights
from genopred.io.sumstats import read_sumstats, sumstats_build
from genopred.pipelines.inputs import open_filtered, trait_covariates
from genopred.pipelines.prs import PrsResult, train_mask
from genopred.pipelines.run import Run
from genopred.settings import Prs
from genopred.types import Genotypes

log = logging.getLogger("genopred.prs")


# --- a trait over whole files ----------------------------------------------------------------------------------------


def learn(settings: Prs, job: Run) -> PrsResult:
    """Effects of a phenotype or of summary statistics, clumps over all chromosomes, and their scores."""
    everything, genotypes, tally = open_filtered(settings)
    if settings.mode == "pheno":
        effects = _associate(settings, genotypes, tally, job)
    else:
        effects = _given_effects(settings, everything, genotypes, tally)
        job.settle()
    smallest = float(effects["pval"].to_numpy().min())
    if smallest > max(settings.clump_p1):
        raise ModelError(
            f"no variant has p <= {max(settings.clump_p1):g}; raise --clump-p1 (the smallest of {effects.height:,} is "
            f"{smallest:.3g})."
        )
    train = train_mask(settings, genotypes.samples)
    people = genotypes.select(genotypes.samples[train])
    how: dict[str, Any] = {"p2": settings.clump_p2, "kb": settings.clump_kb, "method": settings.ld}
    weights, clumps = clump_chromosomes(people, effects, settings.clump_p1, settings.clump_r2, **how)
    tally.note("variants", "index variants of at least one clump", weights["column"].n_unique())
    table = score_table(genotypes, weights, train, _summing(settings), progress=job.step)
    lines = tuple(f"{name}: {n:,} variants" for name, n in weights.group_by("score", maintain_order=True).len().rows())
    tables = {"weights": weights.drop("column"), "clumps": clumps, "scores": table}
    return PrsResult(tables, tally.report(), lines)


def _summing(settings: Prs) -> Summing:
    return Summing(settings.average, settings.no_mean_imputation, settings.center)


def _match(
    settings: Prs,
    everything: Genotypes,
    genotypes: Genotypes,
    table: pl.DataFrame,
    build: str | None,
    tally: align.Tally,
) -> align.Harmonised:
    """Variants of a score file or of summary statistics among the genotypes, or the reason why too few are there."""
    given = settings.mode == "score"
    names, builds = (genotypes.source, str(settings.source)), (align.known_build(everything), build)
    how: dict[str, Any] = {"ambiguous": settings.ambiguous or ("keep" if given else "drop")}
    how["within"] = "score" if given else None
    found = align.harmonise(everything.variants, table, names=names, builds=builds, **how)
    # Held against all variants: what --extract leaves out is left out on purpose.
    share = align.require_match(
        everything.variants,
        table,
        found,
        settings.min_match,
        names=names,
        weight=table["weight"] if given else None,
        either=not given,
        builds=builds,
    )
    text = f"share that matches: {share:.1%}" + (f", {found.share(table['weight']):.1%} by weight" if given else "")
    number = int(found.met.sum())
    if found.by == "position" and None not in builds and builds[0] != builds[1]:
        log.warning(f"{names[1]} says that it is of {build}, but its positions are those of {names[0]}, {builds[0]}")
    if genotypes is not everything:
        names = (f"{names[0]} after --extract and --exclude", names[1])
        found = align.harmonise(genotypes.variants, table, names=names, by=found.by, **how)
    tally.add("weights", found.notes)
    tally.note("weights", text, number)
    met = len(np.unique(found.a))
    if not met:
        raise AlignmentError(
            f"{names[1]}: none of its {table.height:,} variants can be used: {_dropped(tally, 'weights')}."
        )
    tally.drop("variants", f"not in {settings.source}", genotypes.n_variants - met)
    tally.use("variants", f"in {settings.source}", met)
    return found


def _associate(settings: Prs, genotypes: Genotypes, tally: align.Tally, job: Run) -> pl.DataFrame:
    """Marginal effect of every variant on the phenotype of the training people, block by block."""
    y, covariates = _phenotype(settings, genotypes, tally)
    used = ~np.isnan(y)
    job.settle()
    people = genotypes.select(genotypes.samples[used])
    parts = []
    total = genotypes.n_variants
    for columns in blocks(np.arange(total)):
        dosage = people.dosage(columns)
        out = marginal_association(dosage, y[used], None if covariates is None else covariates[used])
        flat = np.isnan(out.slope) | np.isnan(out.pval)
        rare = (np.minimum(out.af, 1 - out.af) < settings.maf) & ~flat
        parts.append(pl.DataFrame({"column": columns, "beta": out.slope, "pval": out.pval, "rare": rare, "flat": flat}))
        job.step(int(columns[-1]) + 1, total, "association")
    table = pl.concat(parts)
    tally.drop("variants", f"MAF below {settings.maf:g}", int(table["rare"].sum()))
    tally.drop("variants", "does not vary", int(table["flat"].sum()))
    table = table.filter(~pl.col("rare") & ~pl.col("flat")).drop("rare", "flat")
    tally.use("variants", "associated", table.height)
    if not table.height:
        why = _dropped(tally, "variants")
        raise ModelError(f"none of the variants of {genotypes.source} can be associated: {why}.")
    return table


def _phenotype(
    settings: Prs, genotypes: Genotypes, tally: align.Tally
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """The phenotype of each person, NaN of those who have no part in the weights, and covariates."""
    samples, values, name = read_phenotype(settings.source, settings.pheno_name)
    people = genotypes.samples
    value = dict(zip(samples.tolist(), values.tolist()))
    if not set(value) & set(people.tolist()):
        raise AlignmentError(
            f"no sample of {settings.source} is in {genotypes.source} ({examples(samples.tolist())} against "
            f"{examples(people.tolist())}){align.name_hint(samples.tolist(), people.tolist())}; use the same names."
        )
    y = np.array([value.get(sample, np.nan) for sample in people.tolist()])
    item = "training people"
    tally.come(item, "samples scored", len(people))

    def drop(bad: NDArray[np.bool_], reason: str) -> None:
        bad = bad & ~np.isnan(y) if reason != f"no {name}" else bad
        tally.drop(item, reason, people[bad].tolist())
        y[bad] = np.nan

    drop(np.isnan(y), f"no {name}")
    drop(~train_mask(settings, people), "not in --train")
    covariates = None
    if settings.covar is not None:
        covariates, there = trait_covariates(settings, people, y)
        drop(~there, "no covariates")
    used = ~np.isnan(y)
    tally.use(item, f"with {name}", int(used.sum()))
    if used.sum() < max(3, settings.min_overlap):
        raise AlignmentError(
            f"{int(used.sum())} samples have genotypes and {name} ({settings.source}), fewer than the floor of "
            f"{max(3, settings.min_overlap):g}, of {len(people)}: {_dropped(tally, item)}. Give more, or lower "
            "--min-overlap."
        )
    if np.ptp(y[used]) == 0:
        raise ModelError(f"{settings.source}: {name} is the same for all {int(used.sum())} training people.")
    kinds = np.unique(y[used])
    if set(kinds.tolist()) <= {0.0, 1.0, 2.0}:
        text = f"{name} looks like case and control ({'/'.join(f'{k:g}' for k in kinds)}): analysed as quantitative"
        log.warning(f"{settings.source}: {text}; plink would fit a logistic regression, which genopred has not")
        tally.note(item, text, int(used.sum()))
    if used.all():
        log.warning("weights and scores are of the same people: give --train to score people who had no part in them")
    return y, covariates


def _given_effects(settings: Prs, everything: Genotypes, genotypes: Genotypes, tally: align.Tally) -> pl.DataFrame:
    """Effects of summary statistics on the genotypes' ALT alleles."""
    path = settings.source
    table = read_sumstats(path)
    tally.come("weights", f"in {path}", table.height)
    known = pl.col("beta").is_not_null() & pl.col("pval").is_not_null()
    lacking, table = table.filter(~known), table.filter(known)
    tally.drop("weights", "no effect or p-value", align.variant_names(lacking).to_list())
    if not table.height:
        raise AlignmentError(f"{settings.source}: no row has both an effect and a p-value; scores need both.")
    matched = _match(settings, everything, genotypes, table, sumstats_build(path), tally)
    return pl.DataFrame(
        {
            "column": matched.a,
            "beta": table["beta"].to_numpy()[matched.b] * matched.sign,
            "pval": table["pval"].to_numpy()[matched.b],
        }
    )


# --- given weights ---------------------------------------------------------------------------------------------------


def apply(settings: Prs, job: Run) -> PrsResult:
    """Scores of given weights."""
    everything, genotypes, tally = open_filtered(settings)
    path = settings.source
    file = read_weights(path, settings.score_columns, align.known_build(everything))
    table = file.table
    if file.weight_type.lower().replace(" ", "").startswith(("or", "oddsratio", "hr", "hazardratio")):
        text = f"weights are ratios ({file.weight_type}), whose logarithms would add up; summed as they stand"
        log.warning(f"{path}: {text}")
        tally.note("weights", text, table.height)
    tally.opened("weights", str(path), table.height, file.notes)
    matched = _match(settings, everything, genotypes, table, file.build, tally)
    used = table[matched.b].with_columns(row=matched.b, column=matched.a, flipped=matched.sign < 0).sort("row")
    job.settle()
    lines = _shares(settings, table, matched, used, tally)
    if settings.q_score_range is not None:
        used = _ranges(settings, used, tally)
        lines = [f"{name}: {n:,} variants" for name, n in used.group_by("score", maintain_order=True).len().rows()]
    train, flipped = train_mask(settings, genotypes.samples), used["flipped"].to_numpy()
    result = score_table(genotypes, used, train, _summing(settings), flipped=flipped, progress=job.step)
    return PrsResult({"scores": _with_intercepts(settings, result, file)}, tally.report(), tuple(lines))


def _shares(
    settings: Prs, table: pl.DataFrame, matched: align.Harmonised, used: pl.DataFrame, tally: align.Tally
) -> list[str]:
    """A line for each score: how much of it is there. Those of which too little is there are said."""
    size = pl.col("weight").abs()
    found = (
        table.with_columns(met=pl.Series(matched.met), expected=pl.Series(matched.expected))
        .group_by("score", maintain_order=True)
        .agg(
            pl.len().alias("n"),
            pl.col("met").sum(),
            (pl.col("met").sum() / pl.col("expected").sum()).alias("share"),
            (size.filter(pl.col("met")).sum() / size.sum()).alias("weight"),
        )
    )
    poor = found.filter(~(pl.col("share") >= settings.min_match))["score"].to_list()
    if poor:
        reason = f"scores with less than {settings.min_match:.0%} of their variants"
        log.warning(f"{settings.source}: {len(poor)} {reason} ({examples(poor)}); they say little")
        tally.note("weights", reason, poor)
    counted = dict(used.group_by("score", maintain_order=True).len().iter_rows())
    return [
        f"{name}: {counted[name]:,} variants" + (f" of {n:,}, {weight:.1%} of all weight" if counted[name] < n else "")
        for name, n, _, _, weight in found.iter_rows()
        if name in counted
    ]


def _with_intercepts(settings: Prs, scores: pl.DataFrame, file: ScoreFile) -> pl.DataFrame:
    """Predictions rather than sums, where a file of `genopred prs` says the intercepts."""
    if not file.intercepts:
        return scores
    flags = {
        "--average": settings.average,
        "--center": settings.center,
        "--q-score-range": settings.q_score_range is not None,
    }
    given = [flag for flag, on in flags.items() if on]
    if given:
        log.warning(f"{settings.source}: its intercepts are left out: they belong to plain sums, not to {given[0]}")
        return scores
    return scores.with_columns(pl.col(name) + file.intercepts.get(name, 0.0) for name in scores.columns[1:])


def _dropped(tally: align.Tally, item: str) -> str:
    return "; ".join(f"{n:,} {reason}" for reason, n, _ in tally.dropped(item))


def _ranges(settings: Prs, used: pl.DataFrame, tally: align.Tally) -> pl.DataFrame:
    """One score per range of p-values and score of the file."""
    if settings.q_score_range is None or settings.q_score_file is None:
        raise GenopredError("--q-score-range needs the p-values of the variants: give --q-score-file.")
    ranges, values = read_ranges(settings.q_score_range), read_values(settings.q_score_file)
    p = np.array([values.get(name, np.nan) for name in used["id"].to_list()])
    inside = np.zeros(len(p), dtype=bool)
    several = used["score"].n_unique() > 1
    parts = []
    for name, (low, high) in ranges.items():
        here = (p >= low) & (p <= high)
        inside |= here
        part = used.filter(pl.Series(here))
        if not part.height:
            log.warning(f"--q-score-range: no variant has a value in {name} ({low:g} to {high:g}); no score is written")
        label = pl.concat_str("score", pl.lit(f":{name}")) if several else pl.lit(name)
        parts.append(part.with_columns(label.alias("score")))
    item = "weights by range"
    tally.come(item, "weights used", len(p))
    tally.drop(item, f"no p-value in {settings.q_score_file}", int(np.isnan(p).sum()))
    tally.drop(item, "in no range", int((~np.isnan(p) & ~inside).sum()))
    tally.use(item, "in a range", int(inside.sum()))
    out = pl.concat(parts)
    if not out.height:
        raise ModelError(f"--q-score-range: no variant is in any range of {settings.q_score_range}.")
    return out
