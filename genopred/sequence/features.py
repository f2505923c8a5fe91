"""Individuals × tracks for a gene: what a sequence model says of each person's two haplotypes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genopred.errors import GenopredError, ModelError, check_choice
from genopred.genetics.correlation import pearson
from genopred.sequence.haplotypes import (
    INDELS,
    MAX_MISMATCH,
    UNPHASED,
    PersonalSequences,
    Reference,
    personal_sequences,
)
from genopred.sequence.models.base import SequenceModel, halving
from genopred.sequence.tracks import select_tracks
from genopred.types import Features, Genotypes, Haplotypes

MODES = ("exact", "linear", "reference")
DTYPES = ("fp32", "tf32", "bf16")
AGGREGATES = ("mean", "sum", "none")
STRANDS = ("model", "both")

#: Distinct haplotypes a gene on which the linear mode is held against the exact one.
AGREEMENT_SAMPLE = 20

#: Distinct haplotypes a gene on which a lower precision is held against fp32.
PRECISION_SAMPLE = 8

#: Largest error of `self_check`, relative to the largest naive value.
TOLERANCE = {"fp32": 1e-4, "tf32": 1e-2, "bf16": 1e-1}


@dataclass(frozen=True)
class FeatureSettings:
    """All that decides which numbers a gene's features are, beside model, sequences and gene.

    Attributes
    ----------
    tracks : tuple of int
        Indices into the model's tracks.
    bins : tuple of int
        Indices into the model's bins.
    aggregate : {"mean", "sum", "none"}
        Over those bins; `none` keeps each as a feature.
    log1p : bool
        log(1 + x) of the aggregated value, after averaging haplotypes.
    per_haplotype : bool
        Two features a track, one for each haplotype, instead of their mean.
    mode : {"exact", "linear", "reference"}
    dtype : {"fp32", "tf32", "bf16"}
    strands : {"model", "both"}
        `both` averages the strand the model reads and its reverse complement, for models that always read forward
        and for those whose tracks have partners on the other strand (`reverse_tracks`).
    indels : {"skip", "apply"}
    unphased : {"soft", "random", "error"}
    seed : int
    """

    tracks: tuple[int, ...]
    bins: tuple[int, ...]
    aggregate: str = "mean"
    log1p: bool = False
    per_haplotype: bool = False
    mode: str = "exact"
    dtype: str = "fp32"
    strands: str = "model"
    indels: str = "skip"
    unphased: str = "soft"
    seed: int = 0

    @classmethod
    def of(
        cls, model: SequenceModel, *, tracks: Sequence[str] | str | None = None, bins: int | str = 3, **rest: Any
    ) -> FeatureSettings:
        """Settings for a model, from track patterns and a number of bins around the TSS (or `all`)."""
        settings = cls(
            tuple(select_tracks(model.tracks, tracks).tolist()), tuple(central_bins(model, bins).tolist()), **rest
        )
        for name, value, known in (
            ("mode", settings.mode, MODES),
            ("dtype", settings.dtype, DTYPES),
            ("aggregate", settings.aggregate, AGGREGATES),
            ("strands", settings.strands, STRANDS),
            ("indels", settings.indels, INDELS),
            ("unphased", settings.unphased, UNPHASED),
        ):
            check_choice(name, value, known)
        if settings.log1p and model.log_scale:
            raise ModelError(f"--log1p: {model.name} predicts on a log scale already; leave it out.")
        check_strands(model, settings.strands)
        return settings

    def key(self) -> dict[str, Any]:
        """As JSON, for manifests and hashes."""
        return json.loads(json.dumps(asdict(self)))


def check_strands(model: SequenceModel, strands: str) -> None:
    """Refuse `--strands both` for a model that reads from the TSS and so in one direction only."""
    if strands == "both" and not model.reads_either_strand:
        raise ModelError(
            f"--strands both: {model.name} reads each gene in its own direction, so the other strand means "
            "nothing to it; use --strands model."
        )


def check_per_haplotype(settings: FeatureSettings, *, averaged: bool) -> None:
    """Refuse `--per-haplotype` where a person has one sequence only."""
    if settings.per_haplotype and averaged:
        raise GenopredError("--per-haplotype needs two sequences a person: phased genotypes, or --unphased random.")


def central_bins(model: SequenceModel, bins: int | str) -> NDArray[np.int64]:
    """The bins around the TSS: `bins` of them, an odd number centred on the TSS's own, or all.

    >>> from types import SimpleNamespace
    >>> enformer = SimpleNamespace(name="e", window=196_608, tss_offset=98_304, bin_size=128, n_bins=896)
    >>> central_bins(enformer, 3).tolist()
    [447, 448, 449]
    """
    if str(bins) == "all" or model.n_bins == 1:
        return np.arange(model.n_bins)
    try:
        count = int(bins)
    except ValueError:
        raise GenopredError(f"--bins {bins}: give a number of bins around the TSS, or all.") from None
    crop = (model.window - model.n_bins * model.bin_size) // 2
    centre = (model.tss_offset - crop) // model.bin_size
    first = centre - count // 2
    if count < 1 or first < 0 or first + count > model.n_bins:
        raise GenopredError(
            f"--bins {bins}: {model.name} has {model.n_bins} bins of {model.bin_size} bp with the TSS in bin {centre}; "
            "give a number that fits around it, or all."
        )
    return np.arange(first, first + count)


def gene_sequences(
    model: SequenceModel,
    genotypes: Genotypes | Haplotypes,
    reference: Reference,
    chrom: str,
    tss: int,
    strand: str,
    **options: Any,
) -> PersonalSequences:
    """`personal_sequences` of the window that a model needs for a gene; `options` go there.

    Parameters
    ----------
    tss : int
        1-based.
    strand : {"+", "-"}
        Reverse-strand genes are given as the reverse complement to strand-aware models only.
    """
    interval = model.gene_window(chrom, tss, strand)
    return personal_sequences(genotypes, reference, interval, tss=tss, reverse=model.reads_reverse(strand), **options)


def predict_tracks(
    model: SequenceModel,
    sequences: PersonalSequences,
    *,
    bins: ArrayLike | None = None,
    tracks: ArrayLike | None = None,
    batch_size: int | None = None,
    dtype: str = "fp32",
    mode: str = "exact",
    strands: str = "model",
    aggregate: str = "none",
) -> NDArray[np.float32]:
    """Predictions of every haplotype of a window; each distinct one is computed once.

    Parameters
    ----------
    model : SequenceModel
    sequences : PersonalSequences
        H haplotypes of the model's window.
    bins, tracks : indices, optional
        All by default.
    batch_size : int, optional
        Halved for as long as memory runs out.
    dtype, mode, strands : str
        See `FeatureSettings`.
    aggregate : {"none", "mean", "sum"}
        Of the bins, into one. In linear mode a model that can do so (`aggregates`) then makes one backward pass a
        track, instead of one a bin and track.

    Returns
    -------
    array, shape (H, len(bins), len(tracks)), or (H, 1, len(tracks)) aggregated, float32
        In the order of `sequences`: a person's haplotypes next to each other.

    Raises
    ------
    ModelError
        If a single window does not fit in memory, or the model lacks the mode or dtype.
    """
    if len(sequences.reference) != model.window:
        raise ModelError(f"{model.name} reads {model.window:,} bp; the sequences have {len(sequences.reference):,} bp.")
    which_bins, which_tracks = model.picked(bins, tracks)  # type: ignore[arg-type]
    options: dict[str, Any] = {"batch_size": batch_size, "dtype": dtype, "aggregate": aggregate}
    if mode == "reference":
        alone = sequences.with_reference().take([sequences.n_haplotypes])
        one = predict_tracks(model, alone, bins=which_bins, tracks=which_tracks, strands=strands, **options)
        return np.repeat(one, sequences.n_haplotypes, axis=0)
    if strands == "both":

        def read(other: bool, bins: NDArray[np.int64], tracks: NDArray[np.int64]) -> NDArray[np.float32]:
            people = sequences.other_strand() if other else sequences
            return predict_tracks(model, people, bins=bins, tracks=tracks, mode=mode, **options)

        return model.over_strands(strands, read, which_bins, which_tracks).astype(np.float32)

    # exact values are aggregated here, whatever the model; a model is told nothing unless it gains by it
    inside = mode == "linear" and aggregate != "none" and model.aggregates
    how: dict[str, Any] = {"bins": which_bins, "tracks": which_tracks, "dtype": dtype, "mode": mode}
    how |= {"aggregate": aggregate} if inside else {}
    first, inverse = sequences.distinct
    if sequences.whole is not None and (mode != "exact" or dtype != "fp32"):
        raise ModelError("--indels apply runs each haplotype by itself: only --mode exact and --dtype fp32.")

    def run(batch: int | None) -> NDArray[np.float32]:
        if sequences.whole is None:
            return model.predict_haplotypes(sequences.window.take(first), batch_size=batch, **how)
        step = batch or model.default_batch
        parts = [model.predict_onehot(sequences.onehot(first[i : i + step])) for i in range(0, len(first), step)]
        return np.concatenate([part[:, which_bins][:, :, which_tracks] for part in parts])

    out, _ = halving(run, batch_size, model.default_batch, model.name)
    _check_predictions(model, out, (len(first), 1 if inside else len(which_bins), len(which_tracks)))
    if aggregate != "none" and not inside:
        out = _aggregate(out, aggregate)[:, None]
    return out[inverse]


def _check_predictions(model: SequenceModel, out: NDArray[np.float32], wanted: tuple[int, ...]) -> None:
    if out.shape != wanted:
        raise ModelError(f"{model.name}: predictions have shape {out.shape}; needed {wanted}.")
    if not np.isfinite(out).all():
        raise ModelError(
            f"{model.name}: {np.count_nonzero(~np.isfinite(out)):,} predictions are not finite; with --dtype bf16 try "
            "fp32, else the weights are damaged."
        )


def features_for_gene(
    model: SequenceModel,
    genotypes: Genotypes | Haplotypes,
    reference: Reference,
    *,
    chrom: str,
    tss: int,
    strand: str = "+",
    batch_size: int | None = None,
    max_mismatch: float = MAX_MISMATCH,
    allow_swapped: bool = False,
    **settings: Any,
) -> Features:
    """Features of one gene: N people × F tracks.

    Parameters
    ----------
    model : SequenceModel
        From `genopred.sequence.models.registry.load_model`.
    genotypes : Genotypes or Haplotypes
        N people.
    reference : object with `fetch(Interval) -> str`
        From `genopred.io.fasta.open_fasta`, of the genotypes' build.
    chrom, tss, strand
        The gene; `tss` is 1-based.
    batch_size, max_mismatch, allow_swapped
        See `predict_tracks`, `personal_sequences`.
    **settings
        As `FeatureSettings.of` takes them: tracks (patterns, see `genopred.sequence.tracks.select_tracks`), bins around
        the TSS (a number or "all"), aggregate, log1p, per_haplotype, mode, dtype, strands, indels, unphased, seed.

    Returns
    -------
    Features
        `values` (N, F) float32; `origin` says from which model, window and counts, and holds the prediction of
        the reference sequence for each feature under `reference`.
    """
    chosen = FeatureSettings.of(model, **settings)
    sequences = gene_sequences(
        model,
        genotypes,
        reference,
        chrom,
        tss,
        strand,
        indels=chosen.indels,
        unphased=chosen.unphased,
        seed=chosen.seed,
        max_mismatch=max_mismatch,
        allow_swapped=allow_swapped,
    )
    return features_from_sequences(model, sequences, chosen, batch_size=batch_size)


def features_from_sequences(
    model: SequenceModel,
    sequences: PersonalSequences,
    settings: FeatureSettings,
    *,
    batch_size: int | None = None,
    check: int = 0,
    agreement: int = 0,
) -> Features:
    """As `features_for_gene`, from sequences that are there already.

    `check` haplotypes go through `self_check` in exact mode; `agreement` through `linear_agreement` in linear mode, and
    through `precision_agreement` in another dtype than fp32. What they say is in `origin`.
    """
    check_per_haplotype(settings, averaged=sequences.ploidy == 1)
    options: dict[str, Any] = {
        "bins": settings.bins,
        "tracks": settings.tracks,
        "batch_size": batch_size,
        "dtype": settings.dtype,
        "strands": settings.strands,
    }
    # a self-check wants each bin; aggregated before the derivative, linear mode has one backward pass a track
    inside = settings.aggregate if settings.mode == "linear" else "none"
    # the reference is one haplotype more, and costs nothing where somebody carries it
    raw = predict_tracks(model, sequences.with_reference(), mode=settings.mode, aggregate=inside, **options)
    raw, reference = raw[: sequences.n_haplotypes], raw[-1:]
    checked = self_check(model, sequences, settings, raw, n=check) if check and settings.mode == "exact" else None
    values = _aggregate(raw, settings.aggregate)
    agrees = {}
    if agreement and settings.mode == "linear":
        agrees["linear_agreement"] = linear_agreement(
            model, sequences, settings, n=agreement, linear=values, batch_size=batch_size
        )
    elif agreement and settings.mode == "exact" and settings.dtype != "fp32":
        agrees["precision"] = precision_agreement(
            model, sequences, settings, n=agreement, predicted=values, batch_size=batch_size
        )
    people = sequences.per_person(values)
    if settings.per_haplotype:
        people = values.reshape(len(sequences.samples), -1)
    of_reference = _aggregate(reference, settings.aggregate)[0]
    names = _names(model, settings)
    if settings.per_haplotype:
        names = tuple(f"{name} | haplotype {h + 1}" for h in range(sequences.ploidy) for name in names)
        of_reference = np.tile(of_reference, sequences.ploidy)
    if settings.log1p:
        people, of_reference = _log1p(people, model.name), _log1p(of_reference, model.name)
    origin = {
        "model": model.name,
        "model_origin": model.origin,
        "checkpoint_hash": model.checkpoint_hash,
        "window": {"chrom": sequences.interval.chrom, "start": sequences.interval.start, "end": sequences.interval.end},
        "reverse": sequences.reverse,
        "settings": settings.key(),
        "haplotypes": sequences.n_haplotypes,
        "distinct": len(sequences.distinct[0]),
        "counts": dict(sequences.counts),
        "reference": [float(value) for value in of_reference],
    }
    if checked is not None:
        origin["self_check"] = checked
    origin |= agrees
    return Features(people.astype(np.float32), sequences.samples, names, origin)


def content_key(model: SequenceModel, sequences: PersonalSequences, settings: FeatureSettings) -> str:
    """SHA-256 of everything a gene's features depend on: weights, settings, samples and the sequences themselves."""
    digest = hashlib.sha256()
    digest.update(json.dumps([model.checkpoint_hash, settings.key(), model.window, model.tss_offset]).encode())
    digest.update("\0".join(sequences.samples.tolist()).encode())
    digest.update(f"{sequences.interval}{sequences.reverse}{sequences.ploidy}".encode())
    parts: list[NDArray[Any] | None] = [
        sequences.reference,
        sequences.sites,
        sequences.ref_codes,
        sequences.alt_codes,
        sequences.alleles,
        sequences.whole,
        sequences.whole_of,
    ]
    for part in parts:
        if part is not None:
            digest.update(f"{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def self_check(
    model: SequenceModel,
    sequences: PersonalSequences,
    settings: FeatureSettings,
    predicted: NDArray[np.float32],
    *,
    n: int = 2,
) -> dict[str, float]:
    """Run `n` haplotypes the naive way, one whole window at a time, and compare.

    The distinct haplotypes with the most differences from the reference are taken.

    Parameters
    ----------
    predicted : array, shape (H, bins, tracks)
        What `predict_tracks` gave in exact mode.

    Returns
    -------
    dict
        haplotypes; error, the largest relative to the largest naive value; its tolerance.

    Raises
    ------
    ModelError
        If the error is above `TOLERANCE` of the dtype.
    """
    first, _ = sequences.distinct
    order = np.arange(len(first))
    if sequences.whole is None:
        order = np.argsort(-(sequences.alleles[first] > 0).sum(axis=1), kind="stable")
    rows = first[order[:n]]

    def plain_pass(row: int, other: bool, bins: NDArray[np.int64], tracks: NDArray[np.int64]) -> NDArray[np.float32]:
        window = sequences.onehot([row])
        window = np.ascontiguousarray(window[:, ::-1, ::-1]) if other else window
        # one window is all there is to halve: this turns a lack of memory into a message
        predicted, _ = halving(lambda _: model.predict_onehot(window), 1, 1, model.name)
        return predicted[0][np.ix_(bins, tracks)]

    plain = np.stack(
        [model.over_strands(settings.strands, partial(plain_pass, row), settings.bins, settings.tracks) for row in rows]
    )
    error = float(np.abs(predicted[rows] - plain).max() / max(float(np.abs(plain).max()), 1e-30))
    if not error <= TOLERANCE[settings.dtype]:
        raise ModelError(
            f"--self-check: {len(rows)} haplotypes at {sequences.interval.chrom}:{sequences.interval.start:,} differ "
            f"from plain passes by {error:.2e} of the largest value (limit {TOLERANCE[settings.dtype]:.0e}). Do not "
            "use these features; please report model and versions."
        )
    return {"haplotypes": len(rows), "error": error, "tolerance": TOLERANCE[settings.dtype]}


def linear_agreement(
    model: SequenceModel,
    sequences: PersonalSequences,
    settings: FeatureSettings,
    *,
    n: int = AGREEMENT_SAMPLE,
    seed: int = 0,
    linear: NDArray[np.float32] | None = None,
    batch_size: int | None = None,
) -> dict[str, float]:
    """How well the linear mode agrees with the exact one in fp32 on a sample of the distinct haplotypes of a gene.

    Parameters
    ----------
    linear : array, shape (H, features), optional
        Aggregated values of all haplotypes in linear mode, where they are there already.

    Returns
    -------
    dict
        haplotypes, and over tracks the median and lowest Pearson correlation over haplotypes of the aggregated
        value (NaN where fewer than three haplotypes or nothing varies), and the median slope exact on linear.
    """
    exact, ours = _sampled(model, sequences, settings, n, seed, linear, batch_size)
    r, slope = _correlation(exact, ours)
    return {
        "haplotypes": len(exact),
        "median_r": float(np.median(r)),
        "lowest_r": float(r.min()),
        "median_slope": float(np.median(slope)),
    }


def precision_agreement(
    model: SequenceModel,
    sequences: PersonalSequences,
    settings: FeatureSettings,
    *,
    n: int = PRECISION_SAMPLE,
    seed: int = 0,
    predicted: NDArray[np.float32] | None = None,
    batch_size: int | None = None,
) -> dict[str, float]:
    """What the dtype of `settings` costs against fp32, on a sample of the distinct haplotypes of a gene.

    The differences between people are what matters; a dtype may give every value to 1 % and lose them.

    Parameters
    ----------
    predicted : array, shape (H, features), optional
        Aggregated values of all haplotypes in the dtype, where they are there already.

    Returns
    -------
    dict
        haplotypes; error, the largest relative to the largest fp32 value; and over tracks the median and lowest
        Pearson correlation over haplotypes with fp32 (NaN as in `linear_agreement`).
    """
    exact, ours = _sampled(model, sequences, settings, n, seed, predicted, batch_size)
    r, _ = _correlation(exact, ours)
    return {
        "haplotypes": len(exact),
        "error": float(np.abs(ours - exact).max() / max(float(np.abs(exact).max()), 1e-30)),
        "median_r": float(np.median(r)),
        "lowest_r": float(r.min()),
    }


def _sampled(
    model: SequenceModel,
    sequences: PersonalSequences,
    settings: FeatureSettings,
    n: int,
    seed: int,
    predicted: NDArray[np.float32] | None,
    batch_size: int | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Aggregated values (n, features) of some distinct haplotypes, exactly in fp32 and as the settings have it."""
    first, _ = sequences.distinct
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(first, size=min(n, len(first)), replace=False))
    sample = sequences.take(rows)

    def values(mode: str, dtype: str) -> NDArray[np.float32]:
        raw = predict_tracks(
            model,
            sample,
            bins=settings.bins,
            tracks=settings.tracks,
            batch_size=batch_size,
            dtype=dtype,
            mode=mode,
            strands=settings.strands,
            aggregate=settings.aggregate,
        )
        return _aggregate(raw, settings.aggregate)

    ours = values(settings.mode, settings.dtype) if predicted is None else predicted[rows]
    return values("exact", "fp32").astype(np.float64), ours.astype(np.float64)


def _correlation(
    exact: NDArray[np.float64], ours: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pearson r and slope of exact on ours, of the columns that vary; NaN where too little does."""
    r = pearson(exact, ours, least=1e-12)
    varies = np.isfinite(r)
    if len(exact) < 3 or not varies.any():
        return np.full(1, np.nan), np.full(1, np.nan)
    exact, ours = (values - values.mean(axis=0) for values in (exact, ours))
    return r[varies], (exact * ours).sum(axis=0)[varies] / (ours**2).sum(axis=0)[varies]


def _aggregate(raw: NDArray[np.float32], how: str) -> NDArray[np.float32]:
    """(H, bins, tracks) -> (H, features)."""
    if how == "mean":
        return raw.mean(axis=1)
    if how == "sum":
        return raw.sum(axis=1)
    return raw.transpose(0, 2, 1).reshape(len(raw), -1)


def _names(model: SequenceModel, settings: FeatureSettings) -> tuple[str, ...]:
    tracks = [model.tracks[i] for i in settings.tracks]
    if settings.aggregate != "none":
        return tuple(tracks)
    return tuple(f"{name} | bin {b}" for name in tracks for b in settings.bins)


def _log1p(values: NDArray[np.floating], name: str) -> NDArray[np.floating]:
    if (values <= -1).any():
        raise ModelError(f"--log1p: {name} predicts values down to {values.min():.3g}; log1p needs more than -1.")
    return np.log1p(values)
