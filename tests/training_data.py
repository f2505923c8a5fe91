"""A simulated chromosome whose signal follows a motif, for the tests of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from genopred.sequence.onehot import decode, encode, reverse_complement
from genopred.settings.training import Track, Training
from genopred.training.dataset import SequenceData
from genopred.training.splits import Split, WindowShape, split_blocks
from genopred.training.tasks.tracks import TrackTask

#: Unlike its reverse complement, so that the strands can be told apart.
MOTIF = "ACAGGGAAGC"
STEP = 16
SHAPE = WindowShape(2048, 128, 2)
#: A small Enformer, and settings with which it learns the simulation in seconds; how many seeds do is in
#: benchmarks/take_off.py.
ENFORMER = {
    "dim": 24,
    "depth": 1,
    "heads": 2,
    "attn_dim_key": 12,
    "dim_divisible_by": 6,
    "dropout_rate": 0.05,
    "attn_dropout": 0.0,
    "pos_dropout": 0.0,
}
LEARNING = Training(epochs=9, batch=4, learning_rate=5e-3, warmup=20, shift=3, average=0.95, device="cpu", threads=1)
#: A small Enformer that is only built.
TINY = {"dim": 48, "depth": 1, "heads": 2, "attn_dim_key": 8, "dim_divisible_by": 12}
#: A network and settings that train in a second.
SMALL = {"channels": 8, "layers": 1, "dropout": 0.2}
QUICK = Training(
    epochs=2,
    batch=8,
    learning_rate=5e-3,
    warmup=5,
    shift=3,
    average=0.9,
    device="cpu",
    threads=1,
    checkpoint_minutes=1e-9,
)

CONFIG = """
[data]
fasta = "ref.fa"
window = 2048
bin = 128
crop = 2
step = 16

[[tracks]]
name = "open"
file = "open.bw"
assay = "accessibility"
cell = "x"

[[tracks]]
name = "start +"
file = "plus.bw"
assay = "initiation"
cell = "x"
strand = "+"
aggregate = "sum"

[[tracks]]
name = "start -"
file = "minus.bw"
assay = "initiation"
cell = "x"
strand = "-"
aggregate = "sum"

[split]
block = 20000
seed = 2

[network]
kind = "cnn"
channels = 8
layers = 1

[training]
epochs = 2
batch = 8
warmup = 5
shift = 3
threads = 1
device = "cpu"
"""


def simulate(length: int = 300_000, every: int = 700, seed: int = 3) -> tuple[str, dict[str, np.ndarray]]:
    """Bases, and signal a base of three tracks: open around each motif; start on the strand of the motif."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, length).astype(np.int8)
    signal = {name: np.zeros(length) for name in ("open", "plus", "minus")}
    motif = encode(MOTIF)
    for at in np.sort(rng.choice(np.arange(256, length - 256, 128), length // every, replace=False)) + 60:
        back = rng.random() < 0.5
        codes[at : at + len(motif)] = reverse_complement(motif) if back else motif
        signal["open"][at - 100 : at + 110] += 4
        signal["minus" if back else "plus"][at - 40 : at + 50] += 3
    return decode(codes), {name: values + (rng.random(length) < 0.02) for name, values in signal.items()}


def data(**options: Any) -> SequenceData:
    """The simulation as the loop takes it."""
    bases, signal = simulate(**options)
    tracks = (
        Track(name="open", assay="accessibility", cell="x"),
        Track(name="start +", assay="initiation", cell="x", strand="+", partner="start -", aggregate="sum"),
        Track(name="start -", assay="initiation", cell="x", strand="-", partner="start +", aggregate="sum"),
    )
    n = -(-len(bases) // STEP)
    sums = [np.pad(v, (0, n * STEP - len(v))).reshape(n, STEP).sum(axis=1) for v in signal.values()]
    return SequenceData(
        {"chr1": encode(bases).astype(np.uint8)}, {"chr1": np.stack(sums).astype(np.float32)}, STEP, tracks
    )


def blocks(data: SequenceData) -> Split:
    """Its training, validation and test regions."""
    return split_blocks(data.lengths, block=20_000, margin=SHAPE.window, seed=2, usable=data.codes, shape=SHAPE)


def task(
    data: SequenceData, split: Split, settings: Training = QUICK, kind: str = "cnn", sizes: Any = SMALL
) -> TrackTask:
    """To predict its tracks."""
    return TrackTask(data, split, SHAPE, kind, settings, sizes)


def onehot(n: int = 3, seed: int = 1) -> torch.Tensor:
    """Some random windows, N among them."""
    bases = np.random.default_rng(seed).integers(5, size=(n, SHAPE.window))
    return torch.from_numpy(np.eye(5, 4, dtype=np.float32)[bases])


def write(folder: Path, config: str = CONFIG, **options: Any) -> Path:
    """The simulation as FASTA, bigWigs and a configuration, whose path comes back."""
    import pyBigWig

    bases, signal = simulate(**options)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [bases[i : i + 60] for i in range(0, len(bases), 60)]
    (folder / "ref.fa").write_text(">chr1\n" + "\n".join(lines) + "\n")
    for name, values in signal.items():
        values = -values if name == "minus" else values
        at = np.flatnonzero(values)
        with pyBigWig.open(str(folder / f"{name}.bw"), "w") as file:
            file.addHeader([("chr1", len(bases))])
            file.addEntries("chr1", at.tolist(), values=values[at].astype(float).tolist(), span=1)
    path = folder / "train.toml"
    path.write_text(config)
    return path
