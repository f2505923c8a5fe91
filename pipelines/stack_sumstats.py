"""Base learners from another study, gene by gene: its effects held against LD, candidates written, runs told of it.

Files below OUT: sumstats/ID.parquet (learner, candidate, variant, weight), sumstats/ID.json (what was lost, LD,
checks), and over all genes sumstats_check.tsv (gene_id, variant, z, expected_z, log_ratio, verdict).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.files import safe_name, write_json
from genopred.genetics.sumstats import (
    Check,
    Shared,
    alleles_by_frequency,
    find_flips,
    overlap,
    panel_shrinkage,
    shared_noise,
)
from genopred.learning.fromsumstats import Study, candidates, learner
from genopred.learning.learners import SUMSTATS, GeneContext, Learner
from genopred.learning.streamed import Blocks
from genopred.pipelines.run import Run, write_tables
from genopred.pipelines.stack_window import Window
from genopred.pipelines.sumstats_inputs import GeneStudy
from genopred.settings import Stack
from genopred.types import MatchReport

log = logging.getLogger("genopred.stack")

#: What is written below `out`.
STUDY_OUTPUTS = ("sumstats/*", "sumstats_check.tsv")

#: Variants that many people of the study lack tell of other people: below this share of the gene's median they go.
LEAST_PEOPLE = 0.5

#: What becomes of a flipped row, by `sumstats_flipped`.
VERDICTS = {"drop": "flipped: dropped", "flip": "flipped: turned", "keep": "flipped: kept"}

_ITEM = "other study's pairs in windows"
_CHECK: dict[str, Any] = {"gene_id": pl.String, "variant": pl.String, "z": pl.Float64, "expected_z": pl.Float64}
_CHECK |= {"log_ratio": pl.Float64, "verdict": pl.String}


def learn_study(
    settings: Stack,
    gene_id: str,
    study: GeneStudy,
    window: Window,
    variants: pl.DataFrame,
    gene: GeneContext,
    y: NDArray[np.float64],
) -> tuple[Learner, ...]:
    """Learn one gene's candidates from the other study, write them, and return the learners that choose among them.

    Parameters
    ----------
    settings : Stack
    gene_id : str
    study : GeneStudy
        Of the W variants of the window.
    window : Window
        The cohort's dosages, of the M variants used.
    variants : polars.DataFrame, W rows
    gene : GeneContext
        Positions of the variants used.
    y : array, shape (N,)
        The cohort's outcome: for whether people are in both studies; weights do not depend on it.
    """
    index = np.flatnonzero(window.use)
    freq, own = _own(window.values, y)
    z, kept, lost = _usable(settings, study, index, freq)
    there = np.isfinite(study.z)
    lost = [("left out in the cohort", int((there & ~window.use).sum())), *lost]
    info: dict[str, Any] = {"gene_id": gene_id, "pairs": int(there.sum()), "m": len(index), "used": 0, "check": []}
    info |= {"candidates": dict.fromkeys(settings.sumstats_learners, 1), "shared": None}
    rows: list[pl.DataFrame] = []
    reference = study.panel.reference(index[kept])
    varies = reference.scale > 0
    lost.append(("does not vary in the LD panel", int((~varies).sum())))
    kept, reference = kept[varies], reference.select(varies)
    n = float(np.median(study.n[index[kept]])) if len(kept) else 0.0
    if len(kept) > 1:
        found = find_flips(z[kept], reference.spectrum(), n)
        info |= {"inconsistency": found.after.s, "panel": reference.n, "people": n}
        names = align.variant_names(variants).gather(index[kept]).to_list()
        info["check"] = _named(found, names, z[kept], settings.sumstats_flipped)
        if settings.sumstats_flipped == "flip":
            z[kept[found.flipped]] *= -1
        elif settings.sumstats_flipped == "drop":
            lost.append(("allele flipped by all appearance", int(found.flipped.sum())))
            kept, reference = kept[~found.flipped], reference.select(~found.flipped)
    if len(kept) == 1:
        lost.append(("alone in its window", 1))
    elif len(kept):
        info["shared"] = list(shared_noise(z[kept], own[kept], reference.spectrum(), n, len(y)))
        s = panel_shrinkage(reference.correlation, reference.n)
        info |= {"shrinkage": s, "used": len(kept)}
        one = Study(z[kept], n, reference, s, GeneContext(gene.positions[kept], gene.tss, gene.seed))
        for name in settings.sumstats_learners:
            made = candidates(one, name).weights
            info["candidates"][name] = len(made)
            rows.append(_long(name, made, kept))
    folder = settings.out / "sumstats"
    folder.mkdir(parents=True, exist_ok=True)
    table = pl.concat([pl.DataFrame(schema=_LONG), *rows])
    write_tables({folder / f"{safe_name(gene_id)}.parquet": table})
    write_json(folder / f"{safe_name(gene_id)}.json", info | {"lost": lost})
    return study_learners(settings, gene_id)


def _usable(
    settings: Stack, study: GeneStudy, index: NDArray[np.int64], freq: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], list[tuple[str, int]]]:
    """z of the variants used, strands put right; which of them can be learned from; how many cannot, and why."""
    z, af = study.z[index].copy(), study.af[index]
    kept = np.isfinite(z)
    lost: list[tuple[str, int]] = []

    def leave(bad: NDArray[np.bool_], reason: str) -> None:
        lost.append((reason, int((bad & kept).sum())))
        kept[bad] = False

    leave(~study.panel.has[index], "not in the LD panel")
    n = study.n[index]
    known = n[kept & np.isfinite(n)]
    least = LEAST_PEOPLE * float(np.median(known)) if len(known) else 0.0
    leave(~(n >= least), "too few people, or their number unknown")
    told = alleles_by_frequency(af, freq)
    z[study.ambiguous[index] & (told < 0)] *= -1
    if settings.sumstats_ambiguous == "drop":
        leave(study.ambiguous[index] & (told == 0), "ambiguous strand (A/T or C/G)")
    return z, np.flatnonzero(kept), lost


def _own(
    values: NDArray[np.float32] | Blocks, y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The cohort's frequency of ALT and its own t of each variant, missing dosages at the mean."""
    out = y - y.mean()
    m = values.genotypes.n_variants if isinstance(values, Blocks) else values.shape[1]
    n, total, square, cross, beside = np.zeros((5, m))
    parts = values.raw() if isinstance(values, Blocks) else [(slice(0, len(y)), values)]
    for people, x in parts:
        known = (~np.isnan(x)).astype(np.float64)
        filled = np.nan_to_num(x).astype(np.float64)
        n += known.sum(axis=0)
        total += filled.sum(axis=0)
        square += np.einsum("ij,ij->j", filled, filled)
        cross += out[people] @ filled
        beside += out[people] @ known
    mean = total / np.maximum(n, 1)
    r = (cross - mean * beside) / np.sqrt(np.maximum((square - n * mean**2) * (out @ out), 1e-300))
    return mean / 2, r * np.sqrt((len(y) - 2) / np.maximum(1 - r * r, 1e-12))


_LONG: dict[str, Any] = {"learner": pl.String, "candidate": pl.Int32, "variant": pl.Int32, "weight": pl.Float32}


def _long(name: str, weights: NDArray[np.float64], kept: NDArray[np.int64]) -> pl.DataFrame:
    candidate, variant = np.nonzero(weights)
    columns = {"candidate": candidate, "variant": kept[variant], "weight": weights[candidate, variant]}
    return pl.DataFrame({"learner": [name] * len(candidate), **columns}, schema=_LONG)


def _named(found: Check, names: Sequence[str], z: NDArray[np.float64], what: str) -> list[list[Any]]:
    """Variant, z, what z was expected, log ratio and verdict of each flipped one, all as it came."""
    out = []
    # what is expected once the others' alleles are right is of the turned z
    for i in np.flatnonzero(found.flipped).tolist():
        ratio = -float(found.after.log_ratio[i])
        out.append([names[i], float(z[i]), float(found.after.expected[i]), ratio, VERDICTS[what]])
    return out


def study_learners(settings: Stack, gene_id: str, wanted: Sequence[str] | None = None) -> tuple[Learner, ...]:
    """The learners that choose among the candidates that were written of a gene; by default all of the settings."""
    path = settings.out / "sumstats" / f"{safe_name(gene_id)}.parquet"
    info = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    table = pl.read_parquet(path)
    out = []
    for name in settings.sumstats_learners if wanted is None else wanted:
        part = table.filter(pl.col("learner") == name)
        weights = np.zeros((info["candidates"][name], info["m"]))
        weights[part["candidate"].to_numpy(), part["variant"].to_numpy()] = part["weight"].to_numpy()
        out.append(learner(name, weights))
    return tuple(out)


def kept_learners(settings: Stack, gene_id: str, columns: Sequence[str]) -> tuple[Learner, ...]:
    """Those of them that a stack needs, under the names of its columns."""
    wanted = [name.removesuffix(f"@{SUMSTATS}") for name in columns if name.endswith(f"@{SUMSTATS}")]
    if not wanted:
        return ()
    return tuple(replace(one, name=f"{one.name}@{SUMSTATS}") for one in study_learners(settings, gene_id, wanted))


def tell_study(
    settings: Stack, job: Run, genes: Sequence[str], report: MatchReport
) -> tuple[MatchReport, tuple[str, ...]]:
    """Write what was checked over all genes, say it, and return the report with its counts, and notes for the page."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in _infos(settings, genes)]
    tally = align.Tally(report)
    for one in found:
        tally.come(_ITEM, "with effects, of genes that were learned", one["pairs"])
        for reason, n in one["lost"]:
            tally.drop(_ITEM, reason, n)
    rows = [[one["gene_id"], *row] for one in found for row in one["check"]]
    table = pl.DataFrame(rows, schema=_CHECK, orient="row")
    write_tables({job.path("sumstats_check.tsv"): table})
    learned = [one for one in found if one["used"]]
    notes = [_flipped(settings, table, sum(one["used"] for one in learned)), *_inconsistency(learned)]
    notes += [_overlap(learned), _not_both(settings)]
    for note in notes:
        log.log(logging.WARNING if "!" in note else logging.INFO, note)
    return tally.report(), tuple(notes)


def _infos(settings: Stack, genes: Sequence[str]) -> list[Path]:
    paths = (settings.out / "sumstats" / f"{safe_name(gene)}.json" for gene in genes)
    return [path for path in paths if path.is_file()]


def _flipped(settings: Stack, table: pl.DataFrame, used: int) -> str:
    if not table.height:
        return f"Of {used:,} effects of the other study none looks as if its alleles were swapped."
    of = used + (table.height if settings.sumstats_flipped == "drop" else 0)
    done = {"drop": "they are left out", "flip": "their sign is turned", "keep": "they are used as they are"}
    return (
        f"Swapped alleles! {table.height:,} of {of:,} effects of the other study, in "
        f"{table['gene_id'].n_unique():,} genes, fit LD only with the other sign; "
        f"{done[settings.sumstats_flipped]} (sumstats_check.tsv names them)."
    )


def _inconsistency(learned: Sequence[dict[str, Any]]) -> list[str]:
    if not learned:
        return ["The other study has effects in no window: learners of it predict the mean!"]
    values = np.array([one["inconsistency"] for one in learned])
    worst = learned[int(values.argmax())]
    return [
        f"Between the other study's effects and the LD panel's {learned[0]['panel']:,} people the inconsistency s is "
        f"{np.median(values):.2f} in the median gene, {values.max():.2f} at most ({worst['gene_id']}); 0 is the "
        "study's own LD, small panels have more."
    ]


def _overlap(learned: Sequence[dict[str, Any]]) -> str:
    found = overlap(Shared(*one["shared"]) for one in learned if one["shared"])
    if found is None:
        return "Too few genes without effects to see whether people are in both studies: nobody looks at that but you!"
    words = f"noise of the two studies is correlated by {found.r:+.3f} (standard error {found.se:.3f})"
    if found.likely:
        return (
            f"People seem to be in both studies! The {words}; without shared people it is 0. Leave them out of one of "
            "them: accuracy is not to be believed."
        )
    return f"No sign of people in both studies: {words}."


def _not_both(settings: Stack) -> str:
    return (
        f"Learners @{SUMSTATS} chose among weights of {settings.sumstats} by the training people alone; that nobody is "
        "in both studies is taken on trust."
    )
