"""Genotypes, a FASTA and a sequence model -> features of every gene and person, one parquet file a gene."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from genopred.errors import GenopredError, examples
from genopred.files import write_files
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
from genopred.pipelines.features_cost import Estimate, estimate
from genopred.pipelines.features_inputs import FeatureInputs, open_inputs
from genopred.pipelines.run import Progress, Run
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
        t, m = self.genes, self.manifest
        counts = m["counts"]
        computed = int((t["status"] == "computed").sum())
        out = [
            f"{t.height:,} genes ({computed:,} computed, {t.height - computed:,} there already), "
            f"{len(m['samples']):,} people, {len(m['tracks']):,} tracks of {m['model']}",
            f"{counts['distinct_haplotypes']:,} distinct windows of {counts['haplotypes']:,} haplotypes; "
            f"{counts['windows_used']:,} variants in them, {counts['windows_indels_skipped']:,} indels and "
            f"{counts['windows_symbolic_skipped']:,} symbolic alleles left out, "
            f"{counts['windows_missing_alleles']:,} missing alleles read as REF",
        ]
        if counts["features_constant"] and m["settings"]["mode"] != "reference":
            none = t.filter(pl.col("constant") == pl.col("features"))["gene_id"].to_list()
            out.append(
                f"{counts['features_constant']:,} of {counts['features']:,} features are the same in everybody (column "
                "constant of genes.tsv)"
                + (f"; nothing varies in {len(none):,} of {t.height:,} genes ({examples(none)})" if none else "")
            )
        if counts["windows_other"] + counts["windows_swapped"] + counts["windows_strand"]:
            out.append(
                f"REF unlike the FASTA: {counts['windows_other']:,} variants left out, "
                f"{counts['windows_swapped']:,} swapped and {counts['windows_strand']:,} on the other strand put right"
            )
        if "self_check_error" in t.columns:
            worst = float(np.nanmax(t["self_check_error"].to_numpy().astype(float)))
            out.append(f"self-check against plain passes: largest relative error {worst:.1e}")
        if "dtype_median_r" in t.columns:
            r = t["dtype_median_r"].to_numpy()
            r, worst = r[np.isfinite(r)], float(t["dtype_error"].to_numpy().astype(float).max())
            out.append(
                f"{m['settings']['dtype']} against fp32 on {PRECISION_SAMPLE} haplotypes a gene: largest relative "
                f"error {worst:.1e}"
                + (f", r over haplotypes median {np.median(r):.4f}, lowest gene {r.min():.4f}" if len(r) else "")
            )
        if "linear_median_r" in t.columns:
            r = t["linear_median_r"].drop_nulls().to_numpy()
            r = r[np.isfinite(r)]
            if len(r):
                out.append(
                    f"linear against exact on {AGREEMENT_SAMPLE} haplotypes a gene: median r {np.median(r):.3f} over "
                    f"genes, lowest {r.min():.3f} (per gene in genes.tsv)"
                )
        return out


def run(settings: Features, progress: Progress | None = None) -> FeaturesResult | Estimate:
    """Compute the features of every gene; with `dry_run`, only say what that would cost.

    A gene whose file is there with the same content hash is not computed again. A run that was killed goes on
    where it was.

    Parameters
    ----------
    settings : genopred.settings.Features
    progress : callable, optional
        `progress(done, total, label)`.

    Raises
    ------
    GenopredError
        On bad input of any kind, before the first gene where possible.
    """
    if settings.dry_run:  # leaves nothing behind
        with bounded(settings.max_bytes):
            return estimate(open_inputs(settings), progress or (lambda done, total, name: None))
    with Run(settings, OUTPUTS, progress, own_threads=True) as job:
        inputs = open_inputs(settings)
        model = inputs.models[0]
        intervals = [model.gene_window(*row) for row in inputs.genes.select("chrom", "tss", "strand").iter_rows()]
        checked = check_reference(
            inputs.genotypes,
            inputs.fasta,
            intervals,
            max_mismatch=settings.max_ref_mismatch,
            allow_swapped=settings.allow_swapped,
        )
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
        reference = pl.DataFrame(references, infer_schema_length=None)
        write_files(
            {
                job.path(REFERENCE): lambda path: reference.write_parquet(path),
                job.path(GENES): lambda path: table.drop(_OF_THIS_RUN).write_csv(path, separator="\t"),
                job.path(TIMING): lambda path: table.select("gene_id", *_OF_THIS_RUN).write_csv(path, separator="\t"),
            }
        )
        job.matched(_report(inputs, manifest["counts"]))
        write_manifest(settings.out, manifest)
    return FeaturesResult(table, manifest)


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
    for key, reason in (
        ("indels_skipped", "indel"),
        ("symbolic_skipped", "symbolic or missing allele"),
        ("other", "REF is not the FASTA's base"),
    ):
        inputs.tally.drop(pairs, reason, counts[f"windows_{key}"])
    inputs.tally.use(pairs, where, counts["windows_used"])
    return inputs.tally.report()


def _totals(rows: list[dict[str, Any]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for row in rows:
        for key, value in row["counts"].items():
            total[f"windows_{key}"] = total.get(f"windows_{key}", 0) + value
        for key, name in (("features", "features"), ("constant", "features_constant")):
            total[name] = total.get(name, 0) + row[key]
        total["haplotypes"] = total.get("haplotypes", 0) + row["haplotypes"]
        total["distinct_haplotypes"] = total.get("distinct_haplotypes", 0) + row["distinct"]
    return total
