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
    hash_arrays,
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

#: What is kept of `agreement_with_exact` for either.
AGREEMENT = {
    "linear_agreement": ("haplotypes", "median_r", "lowest_r", "median_slope"),
    "precision": ("haplotypes", "error", "median_r", "lowest_r"),
}

#: Largest error of `self_check`, relative to the largest naive value.
TOLERANCE = {"fp32": 1e-4, "tf32": 1e-2, "bf16": 1e-1}


class HowPredicted:
    """What the settings of features and of effects have in common: dataclasses with tracks, bins, strands and so on."""

    @property
    def how(self) -> dict[str, Any]:
        """As `predict_tracks` takes it."""
        return {name: getattr(self, name) for name in ("bins", "tracks", "dtype", "mode", "strands")}

    def key(self) -> dict[str, Any]:
        """As JSON, for manifests and hashes."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[call-overload]

    def check_choices(self, **known: Sequence[str]) -> None:
        """Refuse the value of a field that is not among the known ones."""
        for name, names in known.items():
            check_choice(name.replace("_", "-"), getattr(self, name), names)


@dataclass(frozen=True)
class FeatureSettings(HowPredicted):
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
        picked, near = select_tracks(model.tracks, tracks).tolist(), central_bins(model, bins).tolist()
        settings = cls(tuple(picked), tuple(near), **rest)
        settings.check_choices(
            mode=MODES, dtype=DTYPES, aggregate=AGGREGATES, strands=STRANDS, indels=INDELS, unphased=UNPHASED
        )
        if settings.log1p and model.log_scale:
            raise ModelError(f"--log1p: {model.name} predicts on a log scale already; leave it out.")
        check_strands(model, settings.strands)
        return settings

    @property
    def haplotypes(self) -> dict[str, Any]:
        """What `personal_sequences` is to be told."""
        return {"indels": self.indels, "unphased": self.unphased, "seed": self.seed}


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
    model: SequenceModel, genotypes: Genotypes | Haplotypes, reference: Reference, chrom: str, tss: int, strand: str,
    **options: Any,
) -> PersonalSequences:  # fmt: skip
    """`personal_sequences` of the window that a model needs for a gene, whose `tss` is 1-based; `options` go there.

    Reverse-strand genes (strand `-`) are given as the reverse complement to strand-aware models only.
    """
    interval = model.gene_window(chrom, tss, strand)
    return personal_sequences(genotypes, reference, interval, tss=tss, reverse=model.reads_reverse(strand), **options)


def predict_tracks(
    model: SequenceModel, sequences: PersonalSequences, *,
    bins: ArrayLike | None = None, tracks: ArrayLike | None = None, batch_size: int | None = None,
    dtype: str = "fp32", mode: str = "exact", strands: str = "model", aggregate: str = "none",
) -> NDArray[np.float32]:  # fmt: skip
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
    model: SequenceModel, genotypes: Genotypes | Haplotypes, reference: Reference, *,
    chrom: str, tss: int, strand: str = "+", batch_size: int | None = None,
    max_mismatch: float = MAX_MISMATCH, allow_swapped: bool = False, **settings: Any,
) -> Features:  # fmt: skip
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
    limits = {"max_mismatch": max_mismatch, "allow_swapped": allow_swapped}
    sequences = gene_sequences(model, genotypes, reference, chrom, tss, strand, **chosen.haplotypes, **limits)
    return features_from_sequences(model, sequences, chosen, batch_size=batch_size)


def features_from_sequences(
    model: SequenceModel, sequences: PersonalSequences, settings: FeatureSettings, *,
    batch_size: int | None = None, check: int = 0, agreement: int = 0,
) -> Features:  # fmt: skip
    """As `features_for_gene`, from sequences that are there already.

    `check` haplotypes go through `self_check` in exact mode; `agreement` through `agreement_with_exact` in linear mode
    and in another dtype than fp32. What they say is in `origin`.
    """
    check_per_haplotype(settings, averaged=sequences.ploidy == 1)
    linear, exact = settings.mode == "linear", settings.mode == "exact"
    # a self-check wants each bin; aggregated before the derivative, linear mode has one backward pass a track
    inside = settings.aggregate if linear else "none"
    # the reference is one haplotype more, and costs nothing where somebody carries it
    raw = predict_tracks(model, sequences.with_reference(), aggregate=inside, batch_size=batch_size, **settings.how)
    raw, reference = raw[: sequences.n_haplotypes], raw[-1:]
    made = {}
    if check and exact:
        made["self_check"] = self_check(model, sequences, settings, raw, n=check)
    values, of_reference = _aggregate(raw, settings.aggregate), _aggregate(reference, settings.aggregate)[0]
    if agreement and (linear or (exact and settings.dtype != "fp32")):
        found = agreement_with_exact(model, sequences, settings, n=agreement, predicted=values, batch_size=batch_size)
        name = "linear_agreement" if linear else "precision"
        made[name] = {key: found[key] for key in AGREEMENT[name]}
    names = _names(model, settings)
    people = sequences.per_person(values)
    if settings.per_haplotype:
        people = values.reshape(len(sequences.samples), -1)
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
    return Features(people.astype(np.float32), sequences.samples, names, origin | made)


def content_key(model: SequenceModel, sequences: PersonalSequences, settings: FeatureSettings) -> str:
    """SHA-256 of everything a gene's features depend on: weights, settings, samples and the sequences themselves."""
    digest = hashlib.sha256()
    digest.update(json.dumps([model.checkpoint_hash, settings.key(), model.window, model.tss_offset]).encode())
    digest.update("\0".join(sequences.samples.tolist()).encode())
    digest.update(f"{sequences.interval}{sequences.reverse}{sequences.ploidy}".encode())
    hash_arrays(digest, sequences.arrays)
    return digest.hexdigest()


def self_check(
    model: SequenceModel, sequences: PersonalSequences, settings: FeatureSettings, predicted: NDArray[np.float32], *,
    n: int = 2,
) -> dict[str, float]:  # fmt: skip
    """Run `n` haplotypes the naive way, one whole window at a time, and compare with `predict_tracks` in exact mode.

    The distinct haplotypes with the most differences from the reference are taken. `predicted` is (H, bins, tracks).
    Says how many; error, the largest relative to the largest naive value; its tolerance, above which is a ModelError.
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


def agreement_with_exact(
    model: SequenceModel, sequences: PersonalSequences, settings: FeatureSettings, *,
    n: int, predicted: NDArray[np.float32] | None = None, batch_size: int | None = None,
) -> dict[str, float]:  # fmt: skip
    """What mode and dtype of `settings` cost against exact fp32, on `n` of the distinct haplotypes of a gene.

    The differences between people are what matters; a dtype may give every value to 1 % and lose them.

    Parameters
    ----------
    predicted : array, shape (H, features), optional
        Aggregated values of all haplotypes as the settings have it, where they are there already.

    Returns
    -------
    dict
        haplotypes; error, the largest relative to the largest exact value; and over tracks the median and lowest
        Pearson correlation over haplotypes of the aggregated value (NaN where fewer than three haplotypes or nothing
        varies), and the median slope exact on predicted.
    """
    first, _ = sequences.distinct
    rows = np.sort(np.random.default_rng(0).choice(first, size=min(n, len(first)), replace=False))
    sample, how = sequences.take(rows), {"batch_size": batch_size, "aggregate": settings.aggregate, **settings.how}

    def values(**other: str) -> NDArray[np.float32]:
        return _aggregate(predict_tracks(model, sample, **how | other), settings.aggregate)

    ours = (values() if predicted is None else predicted[rows]).astype(np.float64)
    exact = values(mode="exact", dtype="fp32").astype(np.float64)
    r, slope = _correlation(exact, ours)
    return {
        "haplotypes": len(exact),
        "error": float(np.abs(ours - exact).max() / max(float(np.abs(exact).max()), 1e-30)),
        "median_r": float(np.median(r)),
        "lowest_r": float(r.min()),
        "median_slope": float(np.median(slope)),
    }


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
