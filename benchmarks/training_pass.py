"""A training step of the small Enformer: enformer-pytorch's own pass beside ours, in fp32 and bf16, compiled or not.

    python benchmarks/training_pass.py --out OUT [--record]

CPU milliseconds a window of 8,192 bp on one thread, forward and backward, batch of 8, the least of several steps; the
sizes are those of benchmarks/data/enformer_small.toml. Gradients are held against each other in
tests/test_training_networks_enformer_small.py.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from genopred.pipelines.train_inputs import read_config
from genopred.training.networks.registry import build

RESULTS = Path(__file__).parent / "results"
SETTINGS = Path(__file__).parent / "data" / "enformer_small.toml"
BATCH, STEPS = 8, 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/training_pass.md")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    os.environ.setdefault("GENOPRED_SHARED", str(Path(__file__).parents[2] / "shared"))  # named in the settings
    config = read_config(SETTINGS)
    torch.manual_seed(1)
    network = build(config.kind, len(config.tracks), config.shape, **config.sizes).train()
    codes = np.random.default_rng(1).integers(4, size=(BATCH, config.shape.window))
    onehot = torch.from_numpy(np.eye(4, dtype=np.float32)[codes])
    passes: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "enformer-pytorch's forward": network,
        "channels last": network.fast,
        "channels last, compiled": torch.compile(network.fast),
    }
    rows = []
    for name, forward in passes.items():
        for precision in ("fp32", "bf16"):
            spent = []
            for _ in range(STEPS):
                before = time.process_time()
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                    loss = forward(onehot).float().mean()
                loss.backward()
                spent.append(time.process_time() - before)
            rows.append((name, precision, 1000 * min(spent) / BATCH))
    slowest = rows[0][2]
    lines = [
        f"`python benchmarks/training_pass.py --out OUT --record`: CPU ms a window of {config.shape.window:,} bp, "
        f"forward and backward, batch of {BATCH}, one thread; torch {torch.__version__}, {processor()}.",
        "",
        "| pass | precision | CPU ms | times less |",
        "|---|---|---|---|",
        *(f"| {name} | {precision} | {ms:.1f} | {slowest / ms:.1f} |" for name, precision, ms in rows),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "training_pass.md").write_text(text, encoding="utf-8")
    if args.record:
        (RESULTS / "training_pass.md").write_text(text, encoding="utf-8")


def processor() -> str:
    """What the machine calls its processor, and whether it has matrix instructions for bfloat16."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    model = next((line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")), "")
    return f"{model or platform.machine()}{', with AMX' if 'amx_bf16' in text else ''}"


if __name__ == "__main__":
    main()
