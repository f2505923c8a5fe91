"""Genotypes, a FASTA and a sequence model -> features of every gene and person, one parquet file a gene."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from genopred import align
from genopred.errors import AlignmentError, GenopredError, examples
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
from genopred.io.lists import read_patterns, read_samples
from genopred.io.text import bounded
from genopred.pipelines.inputs import open_genotypes
from genopred.pipelines.run import Progress, Run, say
from genopred.pipelines.sequence_inputs import compare_tss, genome_build, load_models, named_genes, with_strands
from genopred.sequence.features import (
    FeatureSettings,
    backward_passes,
    content_key,
    features_from_sequences,
    gene_sequences,
    work,
)
from genopred.sequence.haplotypes import PersonalSequences, check_reference
from genopred.sequence.models.base import SequenceModel
from genopred.sequence.onehot import onehot
from genopred.settings import Features
from genopred.types import Genotypes, MatchReport, plain_chrom

log = logging.getLogger(__name__)

#: Everything in the folder is this workflow's.
OUTPUTS = ("*",)

#: A row a gene: what it is; and what this run did for it and how long that took, in which two equal runs differ.
GENES, TIMING = "genes.tsv", "timing.tsv"
_OF_THIS_RUN = ("status", "seconds", "predicting")

#: Distinct haplotypes a gene on which the linear mode is held against the exact one.
AGREEMENT_SAMPLE = 20

#: Distinct haplotypes a gene on which a lower precision is held against fp32.
PRECISION_SAMPLE = 8


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


@dataclass(frozen=True)
class Estimate:
    """What a run would cost.

    Attributes
    ----------
    genes : polars.DataFrame
        gene_id, haplotypes, distinct, tokens, naive_tokens, passes (counted in whole windows), seconds.
    seconds_per_pass, hours, naive_hours : float
    memory_gb, output_gb : float
    device : str
    """

    genes: pl.DataFrame
    seconds_per_pass: float
    hours: float
    naive_hours: float
    memory_gb: float
    output_gb: float
    device: str

    def lines(self) -> list[str]:
        """For the screen."""
        t = self.genes
        h, d = int(t["haplotypes"].sum()), int(t["distinct"].sum())
        out = [
            f"genes: {t.height:,}",
            f"haplotypes: {h:,}, of which distinct windows: {d:,} ({d / max(h, 1):.1%})",
        ]
        if t["naive_tokens"].sum():
            tokens, naive = int(t["tokens"].sum()), int(t["naive_tokens"].sum())
            out.append(f"distinct tokens in the tower: {tokens:,} of {naive:,} ({tokens / naive:.2%})")
        out += [
            f"work: about {float(t['passes'].sum()):,.0f} passes, where one a haplotype would be {h:,}",
            f"one pass: {1000 * self.seconds_per_pass:,.2f} ms on {self.device}; one a haplotype would take "
            f"{_duration(self.naive_hours)}",
            f"estimated: {_duration(self.hours)}, {_size(self.memory_gb)} of memory, {_size(self.output_gb)} on disk",
        ]
        return out


def _duration(hours: float) -> str:
    from genopred.report.tables import duration

    return duration(3600 * hours) if 3600 * hours >= 1 else "less than 1 s"


def _size(gb: float) -> str:
    for factor, unit in ((1, "GB"), (1e3, "MB")):
        if gb * factor >= 1:
            return f"{gb * factor:,.1f} {unit}"
    return f"{gb * 1e6:,.1f} kB"


@dataclass(frozen=True)
class _Inputs:
    genotypes: Genotypes
    fasta: Any
    genes: pl.DataFrame
    models: list[SequenceModel]
    settings: FeatureSettings
    build: str
    counts: dict[str, int]
    tally: align.Tally


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
            return _estimate(settings, _open(settings), progress or (lambda done, total, name: None))
    with Run(settings, OUTPUTS, progress, own_threads=True) as job:
        inputs = _open(settings)
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


def _estimate(settings: Features, inputs: _Inputs, step: Progress) -> Estimate:
    """Count the work of every gene and time one pass, without computing features."""
    model = inputs.models[0]
    rows = []
    for i, gene in enumerate(inputs.genes.iter_rows(named=True)):
        rows.append({"gene_id": gene["gene_id"], **work(model, _sequences(settings, inputs, gene))})
        step(i + 1, inputs.genes.height, gene["gene_id"])
    table = pl.DataFrame(rows, infer_schema_length=None)
    one, memory = _time_pass(model)
    share = model.tower_share
    naive = table["naive_tokens"].to_numpy()
    tower = np.divide(table["tokens"].to_numpy(), np.maximum(naive / np.maximum(table["haplotypes"].to_numpy(), 1), 1))
    # shared tower: passes by tokens; what follows it: one for each distinct window
    passes = np.where(
        naive > 0, share * tower + (1 - share) * table["distinct"].to_numpy(), table["distinct"].to_numpy()
    )
    if inputs.settings.mode == "linear":
        # twice the transformer backwards for each output, and exactly for the sample that is compared
        sample = np.minimum(table["distinct"].to_numpy(), AGREEMENT_SAMPLE)
        backward = 1 + 2 * backward_passes(model, inputs.settings)
        linear = share * (tower + 1) + (1 - share) * (backward + sample)
        if (linear > passes).all():
            log.warning(
                "--mode linear with %d tracks costs more than --mode exact here (about %.0f passes against %.0f); "
                "choose fewer tracks, or exact.",
                len(inputs.settings.tracks),
                linear.sum(),
                passes.sum(),
            )
        passes = linear
    elif inputs.settings.mode == "exact" and inputs.settings.dtype != "fp32":
        passes = passes + share + (1 - share) * np.minimum(table["distinct"].to_numpy(), PRECISION_SAMPLE)
    elif inputs.settings.mode == "reference":
        passes = np.ones(table.height)
    strands = 2 if inputs.settings.strands == "both" else 1
    table = table.with_columns(pl.Series("passes", passes * strands), pl.Series("seconds", passes * one * strands))
    values = len(inputs.settings.tracks) * (1 if inputs.settings.aggregate != "none" else len(inputs.settings.bins))
    people = inputs.genotypes.n_samples * (2 if inputs.settings.per_haplotype else 1)
    raw = int(table["distinct"].max() or 0) * len(inputs.settings.tracks) * len(inputs.settings.bins) * 4  # type: ignore[arg-type]
    return Estimate(
        genes=table,
        seconds_per_pass=one,
        hours=float(table["seconds"].sum()) / 3600 / len(inputs.models),
        naive_hours=float(table["haplotypes"].sum()) * one * strands / 3600,
        memory_gb=(memory + 2 * raw) / 1e9,
        output_gb=values * people * 4 * table.height / 1e9,
        device=str(model.device),
    )


def _all_genes(
    settings: Features, inputs: _Inputs, progress: Callable[..., None]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    genes = inputs.genes.to_dicts()
    done: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    free: queue.SimpleQueue[SequenceModel] = queue.SimpleQueue()
    for model in inputs.models:
        free.put(model)
    reading = threading.Lock()

    def one(gene: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        model = free.get()
        try:
            return _gene(settings, inputs, model, gene, reading)
        finally:
            free.put(model)

    if len(inputs.models) == 1:
        for gene in genes:
            done[gene["gene_id"]] = one(gene)
            progress(len(done), len(genes), gene["gene_id"])
    else:
        with ThreadPoolExecutor(len(inputs.models)) as pool:
            waiting = {pool.submit(one, gene): gene["gene_id"] for gene in genes}
            try:
                while waiting:
                    finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in finished:
                        name = waiting.pop(future)
                        done[name] = future.result()
                        progress(len(done), len(genes), name)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    rows, references = zip(*(done[gene["gene_id"]] for gene in genes))
    return list(rows), list(references)


def _gene(
    settings: Features, inputs: _Inputs, model: SequenceModel, gene: dict[str, Any], reading: threading.Lock
) -> tuple[dict[str, Any], dict[str, Any]]:
    started = time.perf_counter()
    with reading:
        sequences = _sequences(settings, inputs, gene)
    key = content_key(model, sequences, inputs.settings)
    path = feature_path(settings.out, gene["gene_id"])
    origin, predicting = read_origin(path) if settings.resume else None, 0.0
    # a check or an agreement that was asked for now and not made then is a reason to compute again
    needed = (
        ["constant"]
        + (["self_check"] if settings.self_check and inputs.settings.mode == "exact" else [])
        + (["linear_agreement"] if inputs.settings.mode == "linear" else [])
    )
    if inputs.settings.mode == "exact" and inputs.settings.dtype != "fp32":
        needed.append("precision")
    status = "reused"
    if origin is None or origin.get("key") != key or any(name not in origin for name in needed):
        status, begun = "computed", time.perf_counter()
        features = features_from_sequences(
            model,
            sequences,
            inputs.settings,
            batch_size=settings.batch_size,
            check=2 if settings.self_check else 0,
            agreement=AGREEMENT_SAMPLE if inputs.settings.mode == "linear" else PRECISION_SAMPLE,
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
        "gene_id": gene["gene_id"],
        "chrom": gene["chrom"],
        "tss": gene["tss"],
        "strand": gene["strand"],
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
    if "self_check" in origin:
        row["self_check_error"] = origin["self_check"]["error"]
    if "linear_agreement" in origin:
        row["linear_median_r"] = origin["linear_agreement"]["median_r"]
        row["linear_lowest_r"] = origin["linear_agreement"]["lowest_r"]
        row["linear_median_slope"] = origin["linear_agreement"]["median_slope"]
    if "precision" in origin:
        row["dtype_error"] = origin["precision"]["error"]
        row["dtype_median_r"] = origin["precision"]["median_r"]
        row["dtype_lowest_r"] = origin["precision"]["lowest_r"]
    return row, {"gene_id": gene["gene_id"], **dict(zip(names, origin["reference"]))}


def _sequences(settings: Features, inputs: _Inputs, gene: dict[str, Any]) -> PersonalSequences:
    # the limit on mismatches was held over all windows together
    return gene_sequences(
        inputs.models[0],
        inputs.genotypes,
        inputs.fasta,
        gene["chrom"],
        gene["tss"],
        gene["strand"],
        indels=inputs.settings.indels,
        unphased=inputs.settings.unphased,
        seed=inputs.settings.seed,
        max_mismatch=1.0,
        allow_swapped=settings.allow_swapped,
    )


def _open(settings: Features) -> _Inputs:
    from genopred.io.fasta import open_fasta

    genotypes = open_genotypes(settings, split=True)
    counts, tally = {"samples_in_genotypes": genotypes.n_samples}, align.Tally()
    tally.come("samples", f"in genotypes {genotypes.source}", genotypes.n_samples)
    genes, people = _genes(settings, tally)
    genotypes = _people(settings, genotypes, people, counts, tally)
    fasta = open_fasta(settings.fasta)
    genes = _chosen(settings, genes, genotypes, counts, tally)
    build = _check_chromosomes(settings, genes, fasta)
    models = load_models(settings, several=True)
    genes = with_strands(settings, models[0], genes)
    chosen = FeatureSettings.of(models[0], **settings.shared(FeatureSettings) | {"tracks": _patterns(settings)})
    if not genotypes.phased:
        if settings.unphased == "error":
            raise GenopredError(
                f"{genotypes.source} carries no phase, and --unphased error was asked for. Give phased genotypes "
                "(VCF/BCF with 0|1, or .pgen with phase), or choose --unphased soft or random."
            )
        if settings.unphased == "soft" and settings.per_haplotype:
            raise GenopredError("--per-haplotype needs two sequences a person: phased genotypes, or --unphased random.")
        log.warning(
            "%s carries no phase: --unphased %s. What this costs in accuracy is in docs/features.md.",
            genotypes.source,
            settings.unphased,
        )
    counts |= {"samples": genotypes.n_samples, "genes": genes.height}
    say(tally.report())
    return _Inputs(genotypes, fasta, genes, models, chosen, build, counts, tally)


def _genes(settings: Features, tally: align.Tally) -> tuple[pl.DataFrame, set[str] | None]:
    """The genes on offer, and the people with expression."""
    if settings.expression is not None:
        from genopred.io.expression import read_expression

        expression = read_expression(settings.expression)
        if settings.gtf is not None:
            compare_tss(expression.genes, settings.expression, settings.gtf)
        tally.opened("genes", expression.source, expression.genes.height, expression.notes)
        return expression.genes, set(expression.samples.tolist())
    if settings.gtf is None:
        raise GenopredError("Genes: neither --expression nor --gtf given; one of them must say where the TSSs are.")
    from genopred.io.annotation import read_gtf

    genes = read_gtf(settings.gtf)
    tally.opened("genes", str(settings.gtf), genes.height, ())
    return genes, None


def _people(
    settings: Features, genotypes: Genotypes, expressed: set[str] | None, counts: dict[str, int], tally: align.Tally
) -> Genotypes:
    names = genotypes.samples.tolist()

    def leave_out(key: str, reason: str, gone: list[str]) -> None:
        nonlocal names
        counts[key] = len(gone)
        tally.drop("samples", reason, gone)
        without = set(gone)
        names = [name for name in names if name not in without]

    if expressed is not None and not settings.all_samples:
        leave_out("samples_without_expression", "no expression", [name for name in names if name not in expressed])
        if not names:
            people = genotypes.samples.tolist()
            raise AlignmentError(
                f"None of the {len(people):,} people of {genotypes.source} ({examples(people)}) has expression in "
                f"{settings.expression} ({examples(sorted(expressed))}); check the ids, or use --all-samples."
            )
    if settings.keep is not None:
        kept = set(read_samples(settings.keep).tolist())
        leave_out("samples_left_out_by_keep", "not in --keep", [name for name in names if name not in kept])
    if settings.remove is not None:
        removed = set(read_samples(settings.remove).tolist())
        leave_out("samples_left_out_by_remove", "in --remove", [name for name in names if name in removed])
    if not names:
        raise AlignmentError("No people are left after --keep and --remove; check the ids in those files.")
    return genotypes.select(samples=names)


def _chosen(
    settings: Features, genes: pl.DataFrame, genotypes: Genotypes, counts: dict[str, int], tally: align.Tally
) -> pl.DataFrame:
    offered = genes.height
    genes = named_genes(settings, genes, settings.expression or settings.gtf or "")
    tally.drop("genes", "not asked for", offered - genes.height)
    chroms = {plain_chrom(name) for name in genotypes.variants["chrom"].unique().to_list()}
    here = pl.col("chrom").map_elements(lambda name: plain_chrom(name) in chroms, return_dtype=pl.Boolean)
    kept = genes.filter(here)
    counts["genes_on_chromosomes_without_genotypes"] = genes.height - kept.height
    tally.drop("genes", "chromosome not in genotypes", genes.filter(~here)["gene_id"].to_list())
    if not kept.height:
        raise AlignmentError(
            f"None of the {genes.height:,} genes is on a chromosome of {genotypes.source} "
            f"({examples(sorted(chroms))}); the genes are on {examples(sorted(set(genes['chrom'].to_list())))}."
        )
    return kept


def _check_chromosomes(settings: Features, genes: pl.DataFrame, fasta: Any) -> str:
    """Every gene's chromosome must be in the FASTA; which build it is."""
    lengths = []
    for chrom, tss in genes.group_by("chrom").agg(pl.col("tss").max()).sort("chrom").iter_rows():
        length = fasta.length(chrom)  # its own error where the chromosome is missing
        if tss > length:
            raise AlignmentError(
                f"{settings.fasta}: {chrom} has {length:,} bases, and a TSS is at {tss:,}; the FASTA is of another "
                "genome build than the genes."
            )
        lengths.append(length)
    return genome_build(lengths)


def _patterns(settings: Features) -> list[str] | None:
    patterns = list(settings.tracks)
    if settings.tracks_file is not None:
        patterns += read_patterns(settings.tracks_file)
    return patterns or None


def _manifest(settings: Features, inputs: _Inputs, checked: dict[str, int]) -> dict[str, Any]:
    model = inputs.models[0]
    return {
        "complete": False,
        "model": model.name,
        "model_origin": model.origin,
        "checkpoint_hash": model.checkpoint_hash,
        "window": model.window,
        "tss_offset": model.tss_offset,
        "bin_size": model.bin_size,
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


def _report(inputs: _Inputs, counts: dict[str, int]) -> MatchReport:
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


def _time_pass(model: SequenceModel) -> tuple[float, int]:
    """Seconds of one whole window, and the peak memory of the process then, in bytes."""
    import resource
    import sys

    rng = np.random.default_rng(0)
    best, batch = math.inf, 1
    for _ in range(3):
        windows = np.stack([onehot(rng.integers(0, 4, model.window).astype(np.int8)) for _ in range(batch)])
        started = time.perf_counter()
        model.predict_onehot(windows)
        best = min(best, (time.perf_counter() - started) / batch)
        if best > 1:
            break  # of a large model one pass says enough
        batch = min(model.default_batch, 8)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return best, peak if sys.platform == "darwin" else peak * 1024
