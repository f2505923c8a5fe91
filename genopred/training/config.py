"""The configuration of `genopred train`: a file's sections as settings, which know their checks and defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from genopred.errors import GenopredError, examples, repeated, shortened
from genopred.settings.declare import from_table, naming
from genopred.settings.training import SPLIT_KINDS, ByBlock, ByChromosome, ByRandom, Data, TrackFile, Training
from genopred.training.networks.enformer_small import SmallEnformer
from genopred.training.networks.registry import NETWORKS, check_window
from genopred.training.sections import (
    changed,
    existing_file,
    known_sections,
    network_section,
    shown,
    split_section,
    with_chromosomes,
)
from genopred.training.splits import WindowShape

SECTIONS = ("data", "tracks", "split", "network", "training", "search")


@dataclass(frozen=True)
class TrainConfig:
    """A configuration file of `genopred train`, read and checked.

    Attributes
    ----------
    source : str
        The file.
    data : Data
        The FASTA as it was written.
    tracks : tuple of TrackFile
        With their partners, and files as they were written.
    split : ByBlock, ByChromosome or ByRandom
    kind : str
        Of the network.
    sizes : dict
        Of the network, defaults filled in.
    training : Training
    fasta : Path
    files : tuple of Path
        Of the tracks.
    search : dict
        The section of that name, which a search reads.
    """

    source: str
    data: Data
    tracks: tuple[TrackFile, ...]
    split: ByBlock | ByChromosome | ByRandom
    kind: str
    sizes: dict[str, Any]
    training: Training
    fasta: Path
    files: tuple[Path, ...]
    search: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> WindowShape:
        """Of the windows."""
        return WindowShape(**self.data.shared(WindowShape))

    @property
    def step(self) -> int:
        """Resolution of the signal in memory, in bp; its settings have filled it in."""
        return cast(int, self.data.step)

    @property
    def written(self) -> dict[str, Any]:
        """The same as sections and keys, paths as they were written."""
        sections = {
            "data": asdict(self.data),
            "tracks": [shown(track, (None,)) for track in self.tracks],
            "split": self.split.written,
            "network": {"kind": self.kind} | self.sizes,
            "training": shown(self.training, (None,)),
        }
        if self.search:
            sections["search"] = dict(self.search)
        return json.loads(json.dumps(sections))  # type: ignore[no-any-return]

    def resolved(self) -> dict[str, Any]:
        """As `written`, with absolute paths: `parse_config` reads it from any folder."""
        out = self.written
        out["data"]["fasta"] = str(self.fasta.absolute())
        for row, file in zip(out["tracks"], self.files):
            row["file"] = str(file.absolute())
        return out


def parse_config(raw: Mapping[str, Any], folder: str | Path, source: str, **changes: Any) -> TrainConfig:
    """Check sections and keys, and fill in the defaults.

    Parameters
    ----------
    raw : dict
        As in TOML.
    folder : path
        Where relative paths start.
    source : str
        The file, for messages.
    **changes
        Values of [training] to replace; None leaves the file's.

    Raises
    ------
    GenopredError
        If a key is unknown, missing, of another type or out of range; a track is listed twice, its file is missing, or
        its other strand is.
    """
    known_sections(raw, SECTIONS, source)
    for name in ("data", "tracks"):
        if name not in raw:
            kind = "[[tracks]]" if name == "tracks" else f"[{name}]"
            raise GenopredError(f"{source}: section {kind} is missing; needed at least [data] and one [[tracks]].")
    data = from_table(Data, raw["data"], source, "data")
    split = split_section(raw.get("split", {}), SPLIT_KINDS, source)
    kind, sizes = network_section(raw.get("network", {}), SmallEnformer.kind, NETWORKS, source)
    training = from_table(Training, raw.get("training", {}), source, "training")
    tracks = _tracks(raw["tracks"], source)
    with naming(source):
        training = changed(training, changes)
        _check_window(data, split, training)
    if isinstance(split, ByBlock) and split.margin is None:
        split = replace(split, margin=data.window)
    data = with_chromosomes(data, split, source)
    fasta = existing_file(data.fasta, Path(folder), f"{source}: data.fasta")
    files = [existing_file(track.file, Path(folder), f"{source}: track {track.name}: file") for track in tracks]
    for what, values in (("name", [track.name for track in tracks]), ("file", [str(f.resolve()) for f in files])):
        if twice := repeated(values):
            raise GenopredError(
                f"{source}: {len(twice)} track {what}s are listed twice ({examples(twice)}); list each once."
            )
    paired = [replace(track, partner=name) for track, name in zip(tracks, _partners(tracks, source))]
    search = raw.get("search", {})
    if not isinstance(search, Mapping):
        raise GenopredError(f"{source}: search = {shortened(repr(search))}; needed a section [search].")
    return TrainConfig(source, data, tuple(paired), split, kind, sizes, training, fasta, tuple(files), dict(search))


def _check_window(data: Data, split: ByBlock | ByChromosome | ByRandom, training: Training) -> None:
    """Refuse a window that does not go with the rest."""
    check_window(WindowShape(**data.shared(WindowShape)))
    if split.block < data.window:
        raise GenopredError(
            f"split.block = {split.block:,}: needed at least data.window, {data.window:,} bp: a smaller block holds no "
            "window."
        )
    if training.shift >= data.window:
        raise GenopredError(
            f"training.shift = {training.shift:,}: needed less than data.window, {data.window:,} bp: a window shifted "
            "so far has nothing of what is predicted."
        )


def _tracks(rows: Any, source: str) -> list[TrackFile]:
    """[[tracks]], without their partners."""
    if not isinstance(rows, list) or not rows or not all(isinstance(row, Mapping) for row in rows):
        raise GenopredError(f"{source}: tracks: needed at least one section [[tracks]].")
    named = ((i, f" ({row['name']})" if isinstance(row.get("name"), str) else "", row) for i, row in enumerate(rows, 1))
    return [from_table(TrackFile, row, source, f"tracks {i}{name}") for i, name, row in named]


def _partners(rows: Sequence[TrackFile], source: str) -> list[str]:
    """Of each track the name of that of the other strand; its own where it has none."""
    stranded: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in rows:
        if row.strand != ".":
            stranded.setdefault((row.assay, row.cell), {"-": [], "+": []})[row.strand].append(row.name)
    for (assay, cell), of in stranded.items():
        if any(len(names) != 1 for names in of.values()):
            what = f"assay {assay!r}, cell {cell!r}"
            raise GenopredError(
                f"{source}: tracks of {what}: strand '+' is {examples(of['+']) or 'absent'} and strand '-' is "
                f"{examples(of['-']) or 'absent'}; needed one track of each strand (they are swapped when a window "
                "is turned to the other strand), or strand = '.'."
            )
    other = {"+": "-", "-": "+"}
    return [row.name if row.strand == "." else stranded[row.assay, row.cell][other[row.strand]][0] for row in rows]
