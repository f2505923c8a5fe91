"""Genotypes, a FASTA and a sequence model -> features of every gene and person, one parquet file a gene."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import polars as pl

from genopred.errors import GenopredError
from genopred.io.features import (
    MANIFEST,
    REFERENCE,
    feature_names,
    feature_path,
    read_manifest,
    read_origin,
    write_features,
    write_manifest,
)
from genopred.io.text import bounded
from genopred.pipelines.features_inputs import FeatureInputs, open_inputs
from genopred.pipelines.run import Progress, Run, write_tables
from genopred.report import words
from genopred.sequence.cost import Cost, cost, work
from genopred.sequence.features import AGREEMENT_SAMPLE, PRECISION_SAMPLE, content_key, features_from_sequences
from genopred.sequence.haplotypes import check_reference
from genopred.sequence.models.base import SequenceModel
from genopred.settings import Features
from genopred.types import MatchReport
from genopred.workers import share_out

log = logging.getLogger(__name__)

#: Everything in the folder is this workflow's.
OUTPUTS = ("*",)

#: A row a gene: what it is; and what this run did for it and how long that took, in which two equal runs differ.
GENES, TIMING = "genes.tsv", "timing.tsv"
_OF_THIS_RUN = ("status", "seconds", "predicting")

#: What was checked on the way, and where its numbers stand in the table.
_CHECKS = {
    "self_check": {"self_check_error": "error"},
    "linear_agreement": {
        "linear_median_r": "median_r", "linear_lowest_r": "lowest_r", "linear_median_slope": "median_slope",
    },
    "precision": {"dtype_error": "error", "dtype_median_r": "median_r", "dtype_lowest_r": "lowest_r"},
}  # fmt: skip


@dataclass(frozen=True)
class FeaturesResult:
    """What a run did.

    Attributes
    ----------
    genes : polars.DataFrame
        gene_id, chrom, tss, strand, haplotypes, distinct, variants, features, constant (those that are the same in
        everybody); status (computed, reused), seconds and predicting (seconds of the model), which go into timing.tsv;
        and where asked for self_check_error, linear_median_r, linear_lowest_r, linear_median_slope (exact on linear),
        and dtype_error, dtype_median_r, dtype_lowest_r (against fp32).
    manifest : dict
    """

    genes: pl.DataFrame
    manifest: dict[str, Any]

    def lines(self) -> list[str]:
        """For the screen."""
        return words.features(self.genes, self.manifest, PRECISION_SAMPLE, AGREEMENT_SAMPLE)


@dataclass(frozen=True)
class Estimate:
    """What `--dry-run` says."""

    cost: Cost

    def lines(self) -> list[str]:
        """For the screen."""
        return words.cost(self.cost)


def run(settings: Features, progress: Progress | None = None) -> FeaturesResult | Estimate:
    """Compute the features of every gene; with `dry_run`, only say what that would cost.

    A gene whose file is there with the same content hash is not computed again. A run that was killed goes on
    where it was.

    Raises
    ------
    GenopredError
        On bad input of any kind, before the first gene where possible.
    """
    if settings.dry_run:  # leaves nothing behind
        with bounded(settings.max_bytes):
            return _estimate(open_inputs(settings), progress or (lambda done, total, name: None))
    with Run(settings, OUTPUTS, progress, own_threads=True) as job:
        inputs = open_inputs(settings)
        model = inputs.models[0]
        intervals = [model.gene_window(*row) for row in inputs.genes.select("chrom", "tss", "strand").iter_rows()]
        limits: dict[str, Any] = {"max_mismatch": settings.max_ref_mismatch, "allow_swapped": settings.allow_swapped}
        checked = check_reference(inputs.genotypes, inputs.fasta, intervals, **limits)
        log.info(
            "REF against FASTA: %d checked, %d swapped, %d on the other strand, %d other, %d where the FASTA has N",
            *(checked[key] for key in ("checked", "swapped", "strand", "other", "reference_n")),
        )
        job.sweep()
        manifest = _manifest(settings, inputs, checked)
        _check_former(settings, manifest)
        write_manifest(settings.out, manifest)
        rows, references = _all_genes(settings, inputs, job.step)
        manifest["genes"] = {row["gene_id"]: row.pop("key") for row in rows}
        manifest["complete"] = True
        manifest["counts"] |= _totals(rows)
        table = pl.DataFrame(rows, infer_schema_length=None).drop("counts")
        write_tables(
            {
                job.path(REFERENCE): pl.DataFrame(references, infer_schema_length=None),
                job.path(GENES): table.drop(_OF_THIS_RUN),
                job.path(TIMING): table.select("gene_id", *_OF_THIS_RUN),
            }
        )
        job.matched(_report(inputs, manifest["counts"]))
        write_manifest(settings.out, manifest)
    return FeaturesResult(table, manifest)


def _estimate(inputs: FeatureInputs, step: Progress) -> Estimate:
    """Count the work of every gene and time one pass, without computing features."""
    rows = []
    for i, gene in enumerate(inputs.genes.iter_rows(named=True), start=1):
        rows.append({"gene_id": gene["gene_id"], **work(inputs.models[0], inputs.sequences(gene))})
        step(i, inputs.genes.height, gene["gene_id"])
    table = pl.DataFrame(rows, infer_schema_length=None)
    return Estimate(cost(table, inputs.models, inputs.settings, inputs.genotypes.n_samples))


def _all_genes(
    settings: Features, inputs: FeatureInputs, step: Progress
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows and reference predictions of all genes, shared out among the devices."""
    genes, reading = inputs.genes.to_dicts(), threading.Lock()
    done: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
    for i, found in share_out(lambda gene, model: _gene(settings, inputs, model, gene, reading), genes, inputs.models):
        done[i] = found
        step(len(done), len(genes), genes[i]["gene_id"])
    rows, references = zip(*(done[i] for i in range(len(genes))))
    return list(rows), list(references)


def _gene(
    settings: Features, inputs: FeatureInputs, model: SequenceModel, gene: dict[str, Any], reading: threading.Lock
) -> tuple[dict[str, Any], dict[str, Any]]:
    started = time.perf_counter()
    with reading:
        sequences = inputs.sequences(gene)
    key = content_key(model, sequences, inputs.settings)
    path = feature_path(settings.out, gene["gene_id"])
    origin, predicting = read_origin(path) if settings.resume else None, 0.0
    # a check or an agreement that was asked for now and not made then is a reason to compute again
    mode = inputs.settings.mode
    wanted = {
        "constant": True,
        "self_check": settings.self_check,
        "linear_agreement": mode == "linear",
        "precision": mode == "exact" and inputs.settings.dtype != "fp32",
    }
    needed = {name for name, on in wanted.items() if on}
    status = "reused"
    if origin is None or origin.get("key") != key or not needed <= origin.keys():
        status, begun = "computed", time.perf_counter()
        features = features_from_sequences(
            model,
            sequences,
            inputs.settings,
            batch_size=settings.batch_size,
            check=2 if settings.self_check else 0,
            agreement=AGREEMENT_SAMPLE if mode == "linear" else PRECISION_SAMPLE,
        )
        predicting = time.perf_counter() - begun
        extra: dict[str, Any] = {
            "key": key,
            "constant": int((features.values == features.values[:1]).all(axis=0).sum()),
            "build": inputs.build,
            "gene": {k: gene[k] for k in ("chrom", "tss", "strand")},
        }
        write_features(settings.out, gene["gene_id"], features, **extra)
        origin = {**features.origin, **extra}
    counts, names = origin["counts"], feature_names(path)
    row: dict[str, Any] = {
        **{name: gene[name] for name in ("gene_id", "chrom", "tss", "strand")},
        "haplotypes": origin["haplotypes"],
        "distinct": origin["distinct"],
        "variants": counts["used"],
        "features": len(names),
        "constant": origin["constant"],
        "status": status,
        "seconds": round(time.perf_counter() - started, 3),
        "predicting": round(predicting, 3),
        "key": key,
        "counts": counts,
    }
    for check, columns in _CHECKS.items():
        if check in origin:
            row |= {column: origin[check][name] for column, name in columns.items()}
    return row, {"gene_id": gene["gene_id"], **dict(zip(names, origin["reference"]))}


def _manifest(settings: Features, inputs: FeatureInputs, checked: dict[str, int]) -> dict[str, Any]:
    model = inputs.models[0]
    return {
        "complete": False,
        **model.about,
        "build": inputs.build,
        "fasta": str(settings.fasta),
        "genotypes": inputs.genotypes.source,
        "phased": inputs.genotypes.phased,
        "samples": inputs.genotypes.samples.tolist(),
        "tracks": [model.tracks[i] for i in inputs.settings.tracks],
        "settings": inputs.settings.key(),
        "counts": inputs.counts | {f"ref_{key}": value for key, value in checked.items()},
        "genes": {},
    }


def _check_former(settings: Features, manifest: dict[str, Any]) -> None:
    """Refuse to mix with features of another model or other settings."""
    if not (settings.out / MANIFEST).exists() or not settings.resume:
        return
    former = read_manifest(settings.out)
    differs = [key for key in ("model", "checkpoint_hash", "build") if former.get(key) != manifest[key]]
    differs += [key for key, value in manifest["settings"].items() if former["settings"].get(key, value) != value]
    if differs:
        raise GenopredError(
            f"--out {settings.out} holds features made with another {', '.join(differs)}; choose another folder, or "
            "--no-resume to replace them."
        )


def _report(inputs: FeatureInputs, counts: dict[str, int]) -> MatchReport:
    """What became of people and genes, and of the variants in the genes' windows."""
    pairs, where = "gene-variant pairs", "in the windows of all genes together"
    inputs.tally.come(pairs, where, counts["windows_variants"])
    inputs.tally.drop(pairs, "indel", counts["windows_indels_skipped"])
    inputs.tally.drop(pairs, "symbolic or missing allele", counts["windows_symbolic_skipped"])
    inputs.tally.drop(pairs, "REF is not the FASTA's base", counts["windows_other"])
    inputs.tally.use(pairs, where, counts["windows_used"])
    return inputs.tally.report()


def _totals(rows: list[dict[str, Any]]) -> dict[str, int]:
    names = ("features", "constant", "haplotypes", "distinct")
    said = ("features", "features_constant", "haplotypes", "distinct_haplotypes")
    total = Counter({name: sum(row[key] for row in rows) for name, key in zip(said, names)})
    for row in rows:
        total.update({f"windows_{key}": value for key, value in row["counts"].items()})
    return dict(total)
