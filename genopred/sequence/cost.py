"""What the features of genes cost: tokens, passes, seconds and memory, counted without computing them."""

from __future__ import annotations

import logging
import math
import resource
import sys
import time
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.sequence.features import AGREEMENT_SAMPLE, PRECISION_SAMPLE, FeatureSettings
from genopred.sequence.haplotypes import PersonalSequences
from genopred.sequence.models.base import SequenceModel
from genopred.sequence.onehot import onehot

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cost:
    """What features would cost."""

    #: gene_id, haplotypes, distinct, tokens, naive_tokens, passes (counted in whole windows), seconds.
    genes: pl.DataFrame
    seconds_per_pass: float
    hours: float
    naive_hours: float
    memory_gb: float
    output_gb: float
    device: str


def cost(genes: pl.DataFrame, models: list[SequenceModel], settings: FeatureSettings, people: int) -> Cost:
    """Time one pass of a model, the same on each device, and add up what `work` says of each gene."""
    one, memory = time_pass(models[0])
    strands = 2 if settings.strands == "both" else 1
    passes = count_passes(genes, models[0], settings) * strands
    genes = genes.with_columns(pl.Series("passes", passes), pl.Series("seconds", passes * one))
    values = len(settings.tracks) * (1 if settings.aggregate != "none" else len(settings.bins))
    columns = values * (2 if settings.per_haplotype else 1)
    raw = int(genes["distinct"].max() or 0) * len(settings.tracks) * len(settings.bins) * 4  # type: ignore[arg-type]
    return Cost(
        genes=genes,
        seconds_per_pass=one,
        hours=float(genes["seconds"].sum()) / 3600 / len(models),
        naive_hours=float(genes["haplotypes"].sum()) * one * strands / 3600,
        memory_gb=(memory + 2 * raw) / 1e9,
        output_gb=columns * people * 4 * genes.height / 1e9,
        device=str(models[0].device),
    )


def count_passes(genes: pl.DataFrame, model: SequenceModel, settings: FeatureSettings) -> NDArray[np.float64]:
    """Passes that each gene takes, one strand, counted in whole windows."""
    distinct, naive = genes["distinct"].to_numpy(), genes["naive_tokens"].to_numpy()
    if settings.mode == "reference":
        return np.ones(genes.height)
    share = model.tower_share
    tower = np.divide(genes["tokens"].to_numpy(), np.maximum(naive / np.maximum(genes["haplotypes"].to_numpy(), 1), 1))
    # shared tower: passes by tokens; what follows it: one for each distinct window
    passes = np.where(naive > 0, share * tower + (1 - share) * distinct, distinct)
    if settings.mode == "linear":
        # twice the transformer backwards for each output, and exactly for the sample that is compared
        sample = np.minimum(distinct, AGREEMENT_SAMPLE)
        linear = share * (tower + 1) + (1 - share) * (1 + 2 * backward_passes(model, settings) + sample)
        if (linear > passes).all():
            log.warning(
                "--mode linear with %d tracks costs more than --mode exact here (about %.0f passes against %.0f); "
                "choose fewer tracks, or exact.",
                len(settings.tracks),
                linear.sum(),
                passes.sum(),
            )
        return linear
    if settings.dtype != "fp32":
        return passes + share + (1 - share) * np.minimum(distinct, PRECISION_SAMPLE)
    return passes


def work(model: SequenceModel, sequences: PersonalSequences) -> dict[str, int | float]:
    """What a gene will cost, counted without running the model.

    Haplotypes (H), distinct (whole windows), tokens (distinct local inputs of the model's tower, where it has one, as
    `token_size` and `token_reach` say) and naive_tokens (H × tokens a window).
    """
    out: dict[str, int | float] = {"haplotypes": sequences.n_haplotypes, "distinct": len(sequences.distinct[0])}
    size = model.token_size
    if size is None or sequences.whole is not None:
        return out | {"tokens": 0, "naive_tokens": 0}
    before, after = model.token_reach
    n = model.window // size
    out |= {"tokens": n, "naive_tokens": n * sequences.n_haplotypes}
    alleles = sequences.alleles[sequences.distinct[0]]
    starts = np.arange(n) * size
    low = np.searchsorted(sequences.sites, starts - before, side="left")
    high = np.searchsorted(sequences.sites, starts + after, side="right")
    for a, b in {(int(a), int(b)) for a, b in zip(low, high) if b > a}:
        places = int(((low == a) & (high == b)).sum())
        distinct = len({row.tobytes() for row in np.ascontiguousarray(alleles[:, a:b])} - {bytes(b - a)})
        out["tokens"] += places * distinct
    return out


def backward_passes(model: SequenceModel, settings: FeatureSettings) -> int:
    """How many backward passes a gene takes in linear mode, one strand."""
    one = settings.aggregate != "none" and model.aggregates
    return len(settings.tracks) * (1 if one else len(settings.bins))


def time_pass(model: SequenceModel) -> tuple[float, int]:
    """Seconds of one whole window, and the peak memory of the process then, in bytes."""
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
