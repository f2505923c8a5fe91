"""A run that learned expression -> how well it predicts held-out genes, beside other runs and simpler methods.

`genopred evaluate` comes here where MODEL is such a run. Of a cross-validation the held-out genes of all folds are
scored together, each predicted by the network that had not seen it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl

from genopred import align
from genopred.errors import GenopredError
from genopred.pipelines.evaluate import EVALUATIONS, PARTS, about, kept, looked
from genopred.pipelines.evaluate_genes_inputs import GeneRun, exons_of, load_folds, open_gene_run, xpresso
from genopred.pipelines.run import Run, write_tables
from genopred.pipelines.sequence_inputs import use_threads
from genopred.report import words
from genopred.report.pages import evaluate_genes as page
from genopred.resume import sweep
from genopred.sequence.models.base import devices
from genopred.settings.evaluate import XPRESSO
from genopred.training.gene_heldout import (
    GeneFold,
    HeldGenes,
    Method,
    baseline_methods,
    calibrated_method,
    compare_genes,
    predict_held,
    predict_other,
    prediction_table,
    what_can_be_seen,
)
from genopred.training.gene_positions import BINS, along_sequence, binned, position_profile
from genopred.training.gene_tests import CAUTIONS
from genopred.training.heldout import distinct
from genopred.types import MatchReport


@dataclass(frozen=True)
class GeneEvaluation:
    """What a run found.

    Attributes
    ----------
    tables : dict of polars.DataFrame
        `scores`, `differences`, `tests`, and of a cross-validation `folds`: see
        `genopred.training.gene_heldout.compare_genes`.
    looks : int
        How often this split had been evaluated before, as far as the run's folder knows.
    reading, notes : tuple of str
        What was evaluated, in sentences, and what to beware of.
    files : list of Path
    """

    tables: dict[str, pl.DataFrame] = field(repr=False)
    looks: int
    reading: tuple[str, ...]
    notes: tuple[str, ...]
    files: list[Path]

    def lines(self) -> list[str]:
        """For the screen: r of each cell type and between them, then what to beware of."""
        found = words.expression_scores(self.tables["scores"], self.tables["differences"], self.tables["tests"])
        return [*self.reading, *found, *self.notes, *(f"  {file}" for file in self.files)]


def run(job: Run) -> GeneEvaluation:
    """Predict the genes of a split, and write scores, differences, tests, predictions, figures and a page.

    Parameters
    ----------
    job : Run
        Opened, of `genopred.settings.Evaluate`.

    Returns
    -------
    GeneEvaluation

    Raises
    ------
    GenopredError
        On bad input of any kind.
    """
    settings = job.settings
    if settings.config is not None:
        raise GenopredError(
            f"--config {settings.config}: a run that learned expression has its own genes and split; leave it out."
        )
    called = [("MODEL", settings.model), *(("--against", name) for name in settings.against)]
    runs = [open_gene_run(name, said) for said, name in called]
    use_threads(settings)
    weights = [Path(name.removeprefix(XPRESSO)) for name in settings.baseline if name.startswith(XPRESSO)]
    plain = [name for name in settings.baseline if not name.startswith(XPRESSO)]
    depends: dict[str, Any] = {"model": [runs[0].name, runs[0].depends()], "baseline": [*plain, *weights]}
    job.settle(**depends, against=[[one.name, one.depends()] for one in runs[1:]])
    sweep(job.out, [EVALUATIONS])
    folds, loaded, made = load_folds(runs[0])
    held = HeldGenes(settings.split, folds)
    return evaluate(job, held, runs, made.report, lambda one: _others(one, runs[0], loaded))


def _others(run: GeneRun, first: GeneRun, loaded: Any) -> list[GeneFold]:
    """The folds of another run; genes of the same configuration are not read again."""
    data = ("genes", "expression", "signal", "inputs", "contacts")
    same = all(run.config.written.get(name) == first.config.written.get(name) for name in data)
    same = same and run.config.paths == first.config.paths
    same = same and run.config.training.shift == first.config.training.shift
    return load_folds(run, loaded if same else None)[0]


def evaluate(
    job: Run, held: HeldGenes, runs: Sequence[GeneRun], report: MatchReport,
    others: Callable[[GeneRun], list[GeneFold]],
) -> GeneEvaluation:  # fmt: skip
    """Score a run's networks on its held-out genes beside other methods, and write all of it.

    The look at the split is written down, see `genopred.pipelines.evaluate.looked`.
    """
    settings, first = job.settings, runs[0]
    methods, notes = _methods(job, held, runs, others)
    looks = looked(job, held.name, runs, first.folder)
    tables = compare_genes(held, methods, resamples=settings.resamples, seed=settings.seed)
    reading = [*words.held_out_genes(held, first.name, settings.strands), *what_can_be_seen(held, tables)]
    notes = [*words.held_out_gene_cautions(held, looks, first.folder / EVALUATIONS), *notes]
    tally = align.Tally(report)
    tally.note("genes", f"of the {held.name} split, scored", len(held.measured))
    job.matched(tally.report())
    filled = {name: table for name, table in tables.items() if table.height}
    files = [file for file in job.save(**filled) if file.suffix == ".tsv"]
    predictions = prediction_table(held, methods)
    files.append(job.path("predictions.parquet"))
    write_tables({files[-1]: predictions})
    along = _along(job, held, first)
    if along.profile.height:
        files.append(job.path("positions.tsv"))
        write_tables({files[-1]: along.profile})
    shown = page.ShownGenes(
        title=f"{first.name} on {held.name} genes",
        reading=tuple(reading),
        notes=tuple(notes),
        unit=words.expression_scale(first.config.expression.transform, held.folds[0].data.unit),
        split=held.name,
        cells=held.cells,
        genes=held.genes,
        measured=held.measured,
        predicted={method.name: method.values for method in methods},
        about={method.name: method.about for method in methods},
        tables=tables,
        along=along,
        cautions=CAUTIONS,
        info=about(settings, held.name, runs),
    )
    files += page.write(job.out, shown, settings.figures)
    job.drop(PARTS)
    return GeneEvaluation(tables, looks.height, tuple(reading), tuple(notes), files)


def _methods(
    job: Run, held: HeldGenes, runs: Sequence[GeneRun], others: Callable[[GeneRun], list[GeneFold]]
) -> tuple[list[Method], list[str]]:
    """All that is compared, the first run first, and what to beware of in it; kept in parts as they are made."""
    settings = job.settings
    place: dict[str, Any] = {"device": devices(settings.device)[0], "both_strands": settings.strands == "both"}
    network = held.folds[0].network
    said = f"{network.kind}, {sum(p.numel() for p in network.parameters()):,} weights"
    if len(held.folds) > 1:
        said += f", a network for each of {len(held.folds)} folds"

    def own() -> list[Method]:
        return [Method(runs[0].name, predict_held(held, step=job.step, **place), said)]

    def other(one: GeneRun) -> list[Method]:
        return [predict_other(held, one.name, others(one), **place)]

    def baseline(name: str) -> list[Method]:
        if name.startswith(XPRESSO):
            return _xpresso(held, runs[0], name.removeprefix(XPRESSO), place["device"])
        return baseline_methods(name, held, seed=settings.seed, step=job.step)

    methods = _kept(job, "model", own)
    for i, one in enumerate(runs[1:]):
        methods += _kept(job, f"against{i}", partial(other, one))
    for i, name in enumerate(settings.baseline):
        methods += _kept(job, f"baseline{i}", partial(baseline, name))
    methods = distinct(methods)
    return methods, [f"{method.name} {method.caution}" for method in methods if method.caution]


def _xpresso(held: HeldGenes, run: GeneRun, file: str, device: str) -> list[Method]:
    name, cells, values = xpresso(run, held.folds, file, device)
    what = "Xpresso's published weights on 10,500 bp, without half-life features; a line fitted on training genes"
    caution = (
        "was trained by its authors on most human genes, and these may be among them: its scores here may be too high."
    )
    return [replace(calibrated_method(f"xpresso {name}", held, cells, values, what), caution=caution)]


def _kept(job: Run, name: str, make: Callable[[], list[Method]]) -> list[Method]:
    """What a method predicts."""

    def read(file: Path) -> list[Method]:
        with np.load(file, allow_pickle=False) as there:
            columns = [there[key] for key in ("names", "values", "about", "between", "cautions")]
        return [Method(str(n), v, str(a), bool(b), str(c)) for n, v, a, b, c in zip(*columns)]

    def write(handle: BinaryIO, methods: list[Method]) -> None:
        np.savez(
            handle,
            names=np.array([m.name for m in methods]),
            values=np.stack([m.values for m in methods]),
            about=np.array([m.about for m in methods]),
            between=np.array([m.between for m in methods]),
            cautions=np.array([m.caution for m in methods]),
        )

    return kept(job.path(f"{PARTS}/{name}.npz"), name, make, read, write)


def _along(job: Run, held: HeldGenes, first: GeneRun) -> page.Along:
    """Where the networks look, aligned at the TSS, with GC content and exons; and one gene by itself."""
    settings, before = job.settings, held.folds[0].network.shape.before
    device = devices(settings.device)[0]
    parts: dict[str, list[Any]] = {}
    codes: list[Any] = []
    for fold, rows in zip(held.folds, held.rows):
        job.step(len(codes), len(held.folds), "along the sequence")
        for kind, values in along_sequence(fold.network.to(device), fold.data, rows, device=device).items():
            parts.setdefault(kind, []).append(values)
        flank = fold.data.flank
        codes.append(fold.data.codes[rows, flank : flank + fold.data.window])
    whole = {kind: np.concatenate(values) for kind, values in parts.items()}
    how: dict[str, int] = {"resamples": settings.resamples, "seed": settings.seed}
    profile = position_profile(whole, held.blocks, before, **how)
    bases = np.concatenate(codes)
    known = (bases < 4).astype(np.float32)
    gc, _ = binned(((bases == 1) | (bases == 2)).astype(np.float32), BINS)
    total, edges = binned(known, BINS)
    exons = exons_of(settings.gtf or first.config.paths.get("genes.gtf"), held.genes)
    inside = np.zeros(bases.shape, dtype=np.float32)
    for row, gene in enumerate(held.genes["gene_id"].to_list()):
        for a, b in exons.get(gene, ()):
            inside[row, max(0, a + before) : max(0, b + before + 1)] = 1
    # the gene with most expression: chosen without looking at predictions
    example = int(np.argmax(np.nan_to_num(np.nanmean(held.measured, axis=1), nan=-np.inf)))
    each = {kind: (binned(v[[example]], BINS)[0][0] * v.shape[1] / np.diff(edges)) for kind, v in whole.items()}
    shown = held.genes.row(example, named=True)
    return page.Along(
        profile=profile,
        edges=edges - before,
        gc=gc.sum(axis=0) / np.maximum(total.sum(axis=0), 1),
        exons=binned(inside, BINS)[0].mean(axis=0) / np.diff(edges) if exons else None,
        example=shown.get("gene_name") or shown["gene"] or shown["gene_id"],
        of_example=each,
        exons_of_example=tuple(exons.get(shown["gene_id"], ())),
    )
