"""A small network of Enformer's shape that has learned nothing: to try sequence features where no weights are."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from genopred.sequence.checkpoint import CONFIG, enformer_class, save_enformer

#: Input length in bp: 128 tokens.
WINDOW = 16_384

#: Sizes of the network, as in an enformer-pytorch config.json; the published ones are 1536, 11 and 8.
SIZES: dict[str, Any] = {
    "dim": 96,
    "depth": 2,
    "heads": 4,
    "attn_dim_key": 16,
    "dim_divisible_by": 12,
    "target_length": 64,
    "output_heads": {"human": 3},
}
TRACKS = ("untrained:1", "untrained:2", "untrained:3")


def write_untrained(folder: str | Path, *, seed: int = 1, window: int = WINDOW) -> Path:
    """Write a checkpoint with random weights, which `load_enformer` reads as any other.

    Attention and batch norm are set as trained networks have them, so that predictions depend on every base:
    enformer-pytorch starts with an attention whose output is zero, and with batch norms that let hardly anything
    through. A checkpoint that is there already with the same seed and sizes is left as it is.

    Parameters
    ----------
    folder : str
        Made when missing.
    seed : int
    window : int
        Input length in bp, at least 64 × 128.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    ModelError
        If enformer-pytorch is not installed.
    """
    folder = Path(folder)
    mark = {"untrained_seed": seed, "track_names": list(TRACKS)}
    wanted = SIZES | mark | {"sequence_length": window}
    if (folder / CONFIG).is_file():
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if all(found.get(key) == value for key, value in wanted.items()):
            return folder
    return save_enformer(_module(seed, window), folder, window=window, extra=mark)


def _module(seed: int, window: int) -> Any:
    import torch

    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: Any, mean: float, spread: float) -> None:
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * spread + mean)

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        module = enformer_class().from_hparams(**SIZES).eval()
        for part in module.modules():
            if isinstance(part, (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Linear)):
                normal(part.weight, 0, 1 / math.sqrt(part.weight[0].numel()))
                if part.bias is not None:
                    normal(part.bias, 0, 0.1)
        norms = [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm1d)]
        for part in norms:
            part.train()
            part.momentum = 1.0
        # batch norm takes the statistics of random sequences
        bases = torch.randint(4, (2, window), generator=generator)
        module(torch.nn.functional.one_hot(bases, 4).float())
    return module.eval()
