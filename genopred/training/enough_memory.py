"""Whether a training has enough memory: what it takes against what is free, said before any file is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from genopred.errors import GenopredError
from genopred.settings.training import Training
from genopred.training.config import TrainConfig
from genopred.training.dataset import bytes_needed
from genopred.training.loop import find_device
from genopred.training.memory import least_bytes, training_bytes
from genopred.workers import free_memory


def check_memory(config: TrainConfig, lengths: Mapping[str, int]) -> None:
    """Refuse what does not fit.

    Parameters
    ----------
    config : TrainConfig
    lengths : dict
        Of the chromosomes, in bp.

    Raises
    ------
    GenopredError
        Where data and training need more than is free.
    """
    network, batch, step = (config.kind, len(config.tracks), config.shape), config.training.batch, config.step
    # while it is stacked, a chromosome's signal is there twice
    twice = max(4 * len(config.tracks) * -(-length // step) for length in lengths.values())
    held = bytes_needed(lengths, len(config.tracks), step) + twice
    of = f"{len(config.tracks)} tracks of {sum(lengths.values()):,} bp in steps of {step} bp"
    remedy = (
        f"Use a larger data.step (up to data.bin, {config.shape.bin}), fewer data.chromosomes or tracks, or a smaller "
        "training.batch or network."
    )
    # to know it exactly takes a pass of one window: not of a network that cannot fit
    works = (count(*network, batch, config.sizes) for count in (least_bytes, training_bytes))
    check_free(config.training, held, works, of, remedy)


def check_free(training: Training, held: int, works: Iterable[int], of: str, remedy: str) -> None:
    """Refuse a training that needs more than is free.

    Parameters
    ----------
    training : Training
    held : int
        Bytes of data, which are the host's.
    works : iterable of int
        Bytes of training, one estimate after another: the first that does not fit is said, and no further one is made.
    of : str
        What data these are.
    remedy : str
        A sentence.
    """
    device, free = find_device(training.device), {"host": free_memory()}
    if device.type == "cuda":
        free[str(device)] = torch.cuda.mem_get_info(device)[0]
    for work in works:
        for place, left in free.items():
            needed = work if place != "host" else held if len(free) > 1 else held + work
            if left is not None and needed > left:
                raise GenopredError(
                    f"too little memory on {place}: about {_gb(needed)} are needed ({_gb(held)} for {of}, {_gb(work)} "
                    f"for training with batches of {training.batch}), {_gb(left)} are free. {remedy}"
                )


def _gb(n: int) -> str:
    return f"{n / 1e9:,.2f} GB"
