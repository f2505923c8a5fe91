"""A configuration, a FASTA and bigWig tracks -> a trained network, its curves, and the regions to test it on.

OUT/                     the folder of a run
  model/                   best network so far, config.json and model.safetensors; either folder serves `--model`
  history.tsv curves.svg   a row and a point an epoch
  timing.tsv               seconds of each epoch: beside the log the one file that two equal runs do not have in common
  regions.tsv              chrom, start, end (0-based half-open), split, block
  config.json              the configuration with all defaults, and versions
  last.pt                  all that is needed to go on after an interruption
  inflation.tsv block/     of a random split alone: how much its scores promise, and the block split's run beside it
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import GenopredError, examples
from genopred.files import lock_output, write_files, write_json, write_text
from genopred.io.text import PathLike
from genopred.pipelines.run import sweep
from genopred.pipelines.train_config import SPLIT_KEYS, TrainConfig, naming
from genopred.sequence import networks
from genopred.sequence.dataset import (
    SPLITS,
    SequenceData,
    Split,
    Windows,
    WindowShape,
    bytes_needed,
    drop_n,
    split_blocks,
    split_chromosomes,
    split_random,
    tile,
)
from genopred.sequence.models.config import CNN
from genopred.sequence.training import (
    Progress,
    TrainingRun,
    find_device,
    log_pearson,
    predict_windows,
    train,
    training_bytes,
    window_targets,
)
from genopred.types import Interval

if TYPE_CHECKING:
    import torch

    from genopred.io.fasta import Fasta

log = logging.getLogger(__name__)

MODEL, CHECKPOINT, HISTORY, CURVES, TIMING = "model", "last.pt", "history.tsv", "curves.svg", "timing.tsv"
REGIONS, CONFIG, INFLATION, BESIDE = "regions.tsv", "config.json", "inflation.tsv", "block"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class TrainReport:
    """What a run did.

    Attributes
    ----------
    out : Path
    run : TrainingRun
    inflation : polars.DataFrame or None
        Of a random split: columns as `inflation` gives them.
    """

    out: Path
    run: TrainingRun
    inflation: pl.DataFrame | None = None

    def lines(self) -> list[str]:
        """For the screen."""
        run, w = self.run, self.run.windows
        best = run.history.row(run.best_epoch - 1, named=True)
        out = [
            f"{w['train']:,} training and {w['validation']:,} validation windows; {w['train_n'] + w['validation_n']:,} "
            "left out for their N",
            f"best epoch {run.best_epoch} of {run.history.height}"
            f"{', stopped early' if run.stopped_early else ''}: validation loss {best['validation_loss']:.4f}",
        ]
        for name in run.history.columns:
            if name.startswith("pearson_"):
                out.append(f"  {name[8:]}: Pearson of log(1 + value) {best[name]:.3f} on validation windows")
        out.append(f"network in {self.out / MODEL}, curves in {self.out / HISTORY} and {CURVES}")
        if run.plateau:
            out.append(run.plateau)
        if self.inflation is not None:
            out += inflation_lines(self.inflation)
        return out


def run(
    config: TrainConfig, out: PathLike, *, resume: bool = True, progress: Progress | None = None, figures: bool = True
) -> TrainReport:
    """Train as a configuration says; everything lands in one folder.

    A run that was killed goes on from its last checkpoint, and on a CPU ends with the weights that it would have had.
    With a random split a second network is trained on the block split, unless `compare = false`, and both are scored.

    Parameters
    ----------
    config : TrainConfig
    out : path
        Folder.
    resume : bool
        Go on where there is a checkpoint.
    progress : callable, optional
        Called as `progress(done, total, label)`.
    figures : bool
        Draw curves.svg after each epoch.

    Returns
    -------
    TrainReport

    Raises
    ------
    GenopredError
        If the data do not fit each other or the memory, a split is empty, the folder's checkpoint is another run's, or
        training diverges.
    """
    out = Path(out)
    make_folder(out)
    with lock_output(out):
        sweep(out, [f"{folder}*" for folder in ("", f"{MODEL}/", f"{BESIDE}/", f"{BESIDE}/{MODEL}/")])
        data = load_data(config)
        split = make_split(config, data)
        done = _train(config, data, split, out, resume, progress, figures)
        table = None
        if config.split["by"] == "random":
            table = _compare(config, data, split, done, out, resume, progress, figures)
        return TrainReport(out, done, table)


def load_data(config: TrainConfig) -> SequenceData:
    """Read sequence and signal; refused where the memory that is free would not do.

    Raises
    ------
    GenopredError
        If there is too little memory, or a file does not fit (see `genopred.io.bigwig.read_signal`).
    """
    from genopred.io.bigwig import read_signal
    from genopred.io.fasta import open_fasta
    from genopred.sequence.onehot import encode

    fasta = open_fasta(config.fasta)
    lengths = _lengths(config, fasta)
    _check_memory(config, lengths)
    codes = {}
    for chrom, length in lengths.items():
        codes[chrom] = encode(fasta.fetch(Interval(chrom, 0, length))).astype(np.uint8)
    signals = [read_signal(item.file, lengths, config.step) for item in config.tracks]
    sums = {chrom: np.stack([signal.pop(chrom) for signal in signals]) for chrom in lengths}
    log.info("%d tracks of %s, %s bp", len(signals), examples(list(lengths)), f"{sum(lengths.values()):,}")
    return SequenceData(codes, sums, config.step, tuple(item.track for item in config.tracks))


def make_split(config: TrainConfig, data: SequenceData, by: str | None = None) -> Split:
    """The split that a configuration asks for; with `by`, another one of the same fractions, blocks and seed."""
    of = config.split if by in (None, config.split["by"]) else SPLIT_KEYS[str(by)] | {"by": by} | _shared(config.split)
    with naming(config.source):
        if of["by"] == "chromosome":
            lists = {name: of[name] for name in SPLITS}
            return split_chromosomes(data.lengths, lists, block=of["block"], usable=data.codes, shape=config.shape)
        if of["by"] == "random":
            return split_random(
                data.lengths,
                config.shape,
                fractions=of["fractions"],
                seed=of["seed"],
                block=of["block"],
                usable=data.codes,
            )
        return split_blocks(
            data.lengths,
            block=of["block"],
            fractions=of["fractions"],
            margin=config.shape.window if of["margin"] is None else of["margin"],
            seed=of["seed"],
            usable=data.codes,
            shape=config.shape,
        )


def inflation(
    data: SequenceData,
    shape: WindowShape,
    *,
    random: tuple[torch.nn.Module, Split],
    block: tuple[torch.nn.Module, Split],
    max_n: float,
    device: str = "cpu",
    precision: str = "fp32",
) -> pl.DataFrame:
    """How much a random split among overlapping windows promises beyond what a block split finds.

    Both networks are scored (Pearson of log(1 + value)) on the test windows of their own split, as they would be
    reported; and both on the same windows: those test windows of the random split that lie wholly in test regions of
    the block split, which that network never saw while parts of them were in the other's training windows.

    Parameters
    ----------
    data : SequenceData
    shape : WindowShape
    random, block : (network, Split)
    max_n : float
        Windows with a larger share of N are left out.
    device, precision : str

    Returns
    -------
    polars.DataFrame
        A row a track: track; random, block (own test windows); random_same, block_same (the same windows, null where
        there are none); windows_random, windows_block, windows_same; seen (share of the random split's test windows of
        which some predicted base is in a training window's prediction).
    """
    own: dict[str, NDArray[np.float64]] = {}
    same: dict[str, NDArray[np.float64]] = {}
    counts = {}
    parts = {"random": random, "block": block}
    windows = {name: drop_n(data, tile(split, "test", shape), shape, max_n)[0] for name, (_, split) in parts.items()}
    shared = _inside(windows["random"], block[1], shape)
    for name, (network, _) in parts.items():
        for scores, of in ((own, windows[name]), (same, shared)):
            if not len(of.starts):
                scores[name] = np.full(len(data.tracks), np.nan)
                continue
            predicted = predict_windows(network, data, of, shape, device=device, precision=precision)
            scores[name] = log_pearson(predicted, window_targets(data, of, shape))
        counts[f"windows_{name}"] = len(windows[name].starts)
    seen = _seen(windows["random"], tile(random[1], "train", shape), shape)
    table = {
        "track": [track.name for track in data.tracks],
        "random": own["random"],
        "block": own["block"],
        "random_same": same["random"],
        "block_same": same["block"],
    }
    return pl.DataFrame(table).with_columns(
        pl.col(pl.Float64).fill_nan(None),
        *(pl.lit(count).alias(name) for name, count in counts.items()),
        windows_same=pl.lit(len(shared.starts)),
        seen=pl.lit(seen),
    )


def inflation_lines(table: pl.DataFrame) -> list[str]:
    """What the table of `inflation` says, for the screen."""
    first = table.row(0, named=True)

    def mean(name: str) -> str:
        values = table[name].drop_nulls().to_numpy()
        return f"{values.mean():.3f}" if len(values) else "not known"

    out = [
        f"Scores of a random split are inflated: {first['seen']:.0%} of its {first['windows_random']:,} test windows "
        "share predicted bases with training windows.",
        f"Pearson of log(1 + value), mean over tracks: {mean('random')} on the test windows of the random split, "
        f"{mean('block')} with a block split on its {first['windows_block']:,}.",
    ]
    if first["windows_same"]:
        out.append(
            f"On the same {first['windows_same']:,} windows: {mean('random_same')} by the network of the random split, "
            f"{mean('block_same')} by the one that never saw them. Report the block split's."
        )
    else:
        out.append("No test window is common to both splits; report the block split's score.")
    return out


def save_network(
    network: torch.nn.Module, config: TrainConfig, data: SequenceData, folder: PathLike, *, best: Mapping[str, Any]
) -> Path:
    """Write a trained network: config.json and model.safetensors.

    `genopred.sequence.models.trained.load_network` reads it, and it is a `--model`. Track names, partners and the
    configuration are in config.json; paths as they were written, not those of this machine.

    Parameters
    ----------
    network : torch.nn.Module
        From `networks.build`.
    config : TrainConfig
    data : SequenceData
    folder : path
    best : dict
        What is known of the epoch, kept under `validation`.
    """
    from genopred.sequence.models.enformer.checkpoint import save_enformer

    extra = {
        "track_names": [track.name for track in data.tracks],
        "strand_aware": True,
        "reverse_tracks": data.partners.tolist(),
        "training": config.written,
        "validation": dict(best),
    }
    if config.kind == networks.ENFORMER:
        return save_enformer(network.body, folder, window=config.shape.window, extra=extra)  # type: ignore[arg-type]
    from safetensors.torch import save

    folder = Path(folder)
    state = {key: value.detach().contiguous() for key, value in network.state_dict().items()}
    settings = {"model_type": CNN, "sequence_length": config.shape.window} | extra
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    write_files({folder / CONFIG: text, folder / WEIGHTS: save(state, metadata={"format": "pt"})})
    return folder


def best_row(history: pl.DataFrame, choose: str) -> int:
    """The row of a history whose network is kept; the first of equal ones.

    >>> best_row(pl.DataFrame({"validation_loss": [0.9, 0.7], "pearson_a": [0.3, 0.2]}), "pearson")
    0
    """
    loss = history["validation_loss"].to_numpy()
    names = [name for name in history.columns if name.startswith("pearson_")]
    scores = history.select(pl.col(names).fill_nan(None)).mean_horizontal().to_numpy().astype(float)
    return int(np.argmin(loss if choose == "loss" else np.where(np.isnan(scores), loss, -scores)))


def _train(
    config: TrainConfig,
    data: SequenceData,
    split: Split,
    out: Path,
    resume: bool,
    progress: Progress | None,
    figures: bool,
) -> TrainingRun:
    from genopred.report.provenance import machine, versions

    # before anything in the folder is touched: another run's checkpoint is refused in train()
    checkpoint = out / CHECKPOINT
    fresh = not (resume and checkpoint.exists())
    clock = _Clock({} if fresh else _read_timing(out / TIMING))

    def describe() -> None:
        about = {"config": config.resolved(), "versions": versions(), "machine": machine(), "source": config.source}
        write_json(out / CONFIG, about)
        write_files({out / REGIONS: lambda path: split.regions.write_csv(path, separator="\t")})

    def on_epoch(network: torch.nn.Module | None, history: pl.DataFrame) -> None:
        describe()
        table = clock.of(history["epoch"].to_list())
        write_files(
            {
                out / HISTORY: lambda path: history.write_csv(path, separator="\t"),
                out / TIMING: lambda path: table.write_csv(path, separator="\t"),
            }
        )
        if network is not None:
            best = history.row(best_row(history, config.settings.choose), named=True)
            save_network(network, config, data, out / MODEL, best=best)
        if figures:
            from genopred.report.figures import save_figure
            from genopred.report.figures_training import training_curves

            save_figure(training_curves(history, best=best_row(history, config.settings.choose)), out / CURVES)

    if fresh:
        describe()
    return train(
        data,
        split,
        config.shape,
        config.kind,
        config.settings,
        sizes=config.sizes,
        max_n=config.max_n,
        checkpoint=checkpoint,
        resume=resume,
        progress=progress,
        on_epoch=on_epoch,
    )


class _Clock:
    """Seconds that epochs took; of one that was interrupted those since it was taken up again."""

    def __init__(self, known: dict[int, float]) -> None:
        self.known, self.begun = known, time.monotonic()

    def of(self, epochs: list[int]) -> pl.DataFrame:
        """The epochs so far: epoch, seconds; those that are new end now."""
        now = time.monotonic()
        for epoch in epochs:
            if epoch not in self.known:
                self.known[epoch], self.begun = round(now - self.begun, 3), now
        rows = [(epoch, self.known[epoch]) for epoch in epochs]
        return pl.DataFrame(rows, schema={"epoch": pl.Int64, "seconds": pl.Float64}, orient="row")


def _read_timing(file: Path) -> dict[int, float]:
    """What an earlier run took; where that cannot be read it is not known."""
    try:
        table = pl.read_csv(file, separator="\t", schema={"epoch": pl.Int64, "seconds": pl.Float64})
    except (OSError, pl.exceptions.PolarsError):
        return {}
    return dict(table.drop_nulls().iter_rows())


def _compare(
    config: TrainConfig,
    data: SequenceData,
    split: Split,
    done: TrainingRun,
    out: Path,
    resume: bool,
    progress: Progress | None,
    figures: bool,
) -> pl.DataFrame | None:
    """Train the block split's network beside that of the random split, and score both."""
    warning = "split.by = 'random': test windows overlap training windows, so that their scores are inflated"
    if not config.split["compare"]:
        log.warning("%s; by how much is not measured (split.compare = false).", warning)
        return None
    log.warning("%s; a second network is trained on the block split to say by how much.", warning)
    beside = make_split(config, data, "block")
    make_folder(out / BESIDE)
    changed = dict(config.written) | {"split": {"by": "block"} | SPLIT_KEYS["block"] | _shared(config.split)}
    changed["split"]["margin"] = config.shape.window
    second = replace(config, split=changed["split"], written=changed)
    other = _train(second, data, beside, out / BESIDE, resume, progress, figures)
    table = inflation(
        data,
        config.shape,
        random=(done.network, split),
        block=(other.network, beside),
        max_n=config.max_n,
        precision=config.settings.precision,
    )
    write_files({out / INFLATION: lambda path: table.write_csv(path, separator="\t")})
    write_text(out / "inflation.txt", "\n".join(inflation_lines(table)) + "\n")
    return table


def _shared(split: Mapping[str, Any]) -> dict[str, Any]:
    return {key: split[key] for key in ("block", "fractions", "seed") if key in split}


def _inside(windows: Windows, split: Split, shape: WindowShape) -> Windows:
    """Windows whose whole input is in one test region."""
    keep = np.zeros(len(windows.starts), dtype=bool)
    regions = split.regions.filter(pl.col("split") == "test").sort("chrom", "start")
    for part in regions.partition_by("chrom", maintain_order=True):
        a, b = part["start"].to_numpy(), part["end"].to_numpy()
        # neighbouring blocks that adjoin are one region
        first = np.r_[True, a[1:] != b[:-1]]
        last = np.r_[first[1:], True]
        a, b = a[first], b[last]
        here = windows.chroms == part["chrom"][0]
        at = np.searchsorted(a, windows.starts[here], side="right") - 1
        keep[here] = (at >= 0) & (windows.starts[here] + shape.window <= b[np.maximum(at, 0)])
    return Windows(windows.chroms[keep], windows.starts[keep], windows.blocks[keep])


def _seen(test: Windows, training: Windows, shape: WindowShape) -> float:
    """Share of test windows of which a predicted base is predicted in a training window too."""
    hits = 0
    for chrom in np.unique(test.chroms):
        starts = np.sort(training.starts[training.chroms == chrom])
        mine = test.starts[test.chroms == chrom]
        # all targets are equally wide: they overlap when they start less than that width apart
        low = np.searchsorted(starts, mine - shape.target, side="right")
        high = np.searchsorted(starts, mine + shape.target, side="left")
        hits += int((high > low).sum())
    return hits / max(1, len(test.starts))


def _lengths(config: TrainConfig, fasta: Fasta) -> dict[str, int]:
    return {chrom: fasta.length(chrom) for chrom in config.chromosomes or fasta.chroms}


def _check_memory(config: TrainConfig, lengths: Mapping[str, int]) -> None:
    """Refuse what does not fit, before the files are read."""
    device = find_device(config.settings.device)
    held = bytes_needed(lengths, len(config.tracks), config.step)
    # while it is stacked, a chromosome's signal is there twice
    held += max(4 * len(config.tracks) * -(-length // config.step) for length in lengths.values())
    free = {"host": free_memory()}
    if device.type == "cuda":
        import torch

        free[str(device)] = torch.cuda.mem_get_info(device)[0]
    network = (config.kind, len(config.tracks), config.shape)
    # to know it exactly takes a pass of one window: not of a network that cannot fit
    _refuse(config, lengths, held, networks.least_bytes(*network, config.settings.batch, **config.sizes), free)
    _refuse(config, lengths, held, training_bytes(*network, config.settings.batch, config.sizes), free)


def _refuse(
    config: TrainConfig, lengths: Mapping[str, int], held: int, work: int, free: Mapping[str, int | None]
) -> None:
    """Refuse where the data and what training takes at work need more than is free."""
    on_gpu = len(free) > 1
    for place, left in free.items():
        needed = work if place != "host" else held if on_gpu else held + work
        if left is not None and needed > left:
            raise GenopredError(
                f"too little memory on {place}: about {_gb(needed)} are needed ({_gb(held)} for {len(config.tracks)} "
                f"tracks of {sum(lengths.values()):,} bp in steps of {config.step} bp, {_gb(work)} for training with "
                f"batches of {config.settings.batch}), {_gb(left)} are free. Use a larger data.step (up to data.bin, "
                f"{config.shape.bin}), fewer data.chromosomes or tracks, or a smaller training.batch or network."
            )


def free_memory() -> int | None:
    """Bytes that this process may still take: what the system calls available, or less where a limit is set."""
    found: list[int] = []
    try:
        text = Path("/proc/meminfo").read_text()
        found.append(1024 * int(re.search(r"MemAvailable:\s+(\d+)", text)[1]))  # type: ignore[index]
    except (OSError, TypeError):
        try:
            found.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        except (ValueError, OSError, AttributeError):
            pass
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            stat = (Path(limit).parent / "memory.stat").read_text()
            # pages of files that were read are given back when they are needed
            cache = re.search(r"^(?:total_)?inactive_file (\d+)", stat, re.MULTILINE)
            found.append(int(Path(limit).read_text()) - int(Path(used).read_text()) + (int(cache[1]) if cache else 0))
        except (OSError, ValueError):
            continue
    try:
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            found.append(most - pages * os.sysconf("SC_PAGE_SIZE"))
    except (ImportError, OSError, ValueError):
        pass
    return max(0, min(found)) if found else None


def _gb(n: int) -> str:
    return f"{n / 1e9:,.2f} GB"


def make_folder(out: Path) -> None:
    """Make the folder of the results."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as bad:
        raise GenopredError(f"--out {out}: cannot make this folder ({bad.strerror}); choose another.") from None
