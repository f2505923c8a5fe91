"""The configuration of `genopred train` with task = "expression": a file's sections as settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genopred.errors import GenopredError, repeated
from genopred.settings.declare import from_table, naming
from genopred.settings.expression import (
    GENE_SPLITS,
    ContactFile,
    Expression,
    ExpressionTraining,
    Genes,
    GenesByBlock,
    Inputs,
    InputTrack,
    Signal,
)
from genopred.settings.training import ByChromosome, ByRandom
from genopred.training.networks.gene import Link
from genopred.training.networks.registry import GENE_NETWORKS, check_length
from genopred.training.sections import (
    changed,
    existing_file,
    known_sections,
    network_section,
    shown,
    split_section,
    with_chromosomes,
)

#: What a configuration says it is for.
TASK = "expression"
SECTIONS = ("task", "genes", "expression", "signal", "inputs", "contacts", "split", "network", "training", "search")
#: The network without [network] kind.
KIND = "hybrid"
#: Keys that name a file, by section.
_FILES = {"genes": ("fasta", "gtf", "table", "families"), "expression": ("file", "batches"), "inputs": ("motifs",)}


@dataclass(frozen=True)
class ExpressionConfig:
    """A configuration of learning genes' expression, read and checked.

    Attributes
    ----------
    source : str
        The file.
    genes : Genes
        Paths as they were written, here and in the other sections.
    expression : Expression
    signal : tuple of Signal
    inputs : Inputs
    tracks : tuple of InputTrack
    contacts : ContactFile
    split : GenesByBlock, ByChromosome or ByRandom
    kind : str
        Of the network.
    sizes : dict
        Of the network, defaults filled in.
    training : ExpressionTraining
    search : dict
        As it was written.
    paths : dict of str to Path
        By `section.key`; of lists of sections by `signal.CELL.key` and `inputs.tracks.NAME.file`.
    """

    source: str
    genes: Genes
    expression: Expression
    signal: tuple[Signal, ...]
    inputs: Inputs
    tracks: tuple[InputTrack, ...]
    contacts: ContactFile
    split: GenesByBlock | ByChromosome | ByRandom
    kind: str
    sizes: dict[str, Any]
    training: ExpressionTraining
    search: dict[str, Any]
    paths: dict[str, Path]

    @property
    def window(self) -> int:
        """Bases around a TSS."""
        return self.genes.before + self.genes.after

    @property
    def built(self) -> dict[str, Any]:
        """Sizes of the network, with the path of what an `embedding` begins with."""
        folder = self.paths.get("network.folder")
        return self.sizes if folder is None else self.sizes | {"folder": str(folder.absolute())}

    @property
    def distal(self) -> bool:
        """Whether distal segments are read: there are contacts, and the network has a path for them."""
        return "contacts.file" in self.paths and GENE_NETWORKS[self.kind].reads_segments

    @property
    def folds(self) -> int:
        """Of cross-validation; 0 without."""
        return getattr(self.split, "folds", 0)

    @property
    def link(self) -> Link:
        """What the head's output goes through."""
        return "softplus" if self.training.loss == "poisson" else "identity"

    @property
    def written(self) -> dict[str, Any]:
        """The same as sections and keys, paths as they were written."""
        out: dict[str, Any] = {"task": TASK}
        out |= {name: shown(getattr(self, name)) for name in ("genes", "expression", "inputs", "contacts")}
        if self.signal:
            out["signal"] = [shown(one) for one in self.signal]
        if self.tracks:
            out["inputs"]["tracks"] = [shown(one) for one in self.tracks]
        out["split"] = {key: value for key, value in self.split.written.items() if value is not None}
        out |= {"network": {"kind": self.kind} | self.sizes, "training": shown(self.training)}
        if self.search:
            out["search"] = self.search
        return json.loads(json.dumps(out))  # type: ignore[no-any-return]

    def resolved(self) -> dict[str, Any]:
        """As `written`, with absolute paths: `parse_expression` reads it from any folder."""
        out = self.written
        for where, path in self.paths.items():
            section, *inner = where.split(".")
            rows = out.get(section)
            if isinstance(rows, list):
                row = next(row for row in rows if row["cell"] == ".".join(inner[:-1]))
            elif len(inner) > 1:
                row = next(row for row in out["inputs"]["tracks"] if row["name"] == ".".join(inner[1:-1]))
            else:
                row = out[section]
            row[inner[-1]] = f"{path.absolute()}{inside_cooler(str(row[inner[-1]]))}"
        return out


def parse_expression(raw: Mapping[str, Any], folder: str | Path, source: str, **changes: Any) -> ExpressionConfig:
    """Check sections and keys, and fill in the defaults.

    Parameters are those of `genopred.training.config.parse_config`.

    Raises
    ------
    GenopredError
        If a key is unknown, missing, of another type or out of range, or a file is not there.
    """
    known_sections(raw, SECTIONS, source)
    with naming(source):
        if "genes" not in raw or not {"expression", "signal"} & set(raw):
            raise GenopredError("needed the sections [genes], and [expression] with a file or at least one [[signal]].")
    sections: dict[str, Any] = {}
    for name, of in (("genes", Genes), ("expression", Expression), ("contacts", ContactFile)):
        sections[name] = from_table(of, raw.get(name, {}), source, name)
    inputs = raw.get("inputs", {})
    plain = {key: value for key, value in inputs.items() if key != "tracks"} if isinstance(inputs, Mapping) else inputs
    sections["inputs"] = from_table(Inputs, plain, source, "inputs")
    signal = _rows(Signal, raw.get("signal", []), source, "signal", "cell")
    tracks = _rows(InputTrack, inputs.get("tracks", []), source, "inputs.tracks", "name")
    split = split_section(raw.get("split", {}), GENE_SPLITS, source)
    training = from_table(ExpressionTraining, raw.get("training", {}), source, "training")
    kind, sizes = network_section(raw.get("network", {}), KIND, GENE_NETWORKS, source)
    with naming(source):
        training = changed(training, changes)
        _check(sections, signal, split, training)
    genes = sections["genes"] = with_chromosomes(sections["genes"], split, source)
    if isinstance(split, GenesByBlock) and split.margin is None:
        split = replace(split, margin=genes.before + genes.after + 2 * training.shift)
    search = raw.get("search", {})
    paths = _paths(sections, signal, tracks, Path(folder), source)
    if sizes.get("folder"):
        paths["network.folder"] = existing_file(sizes["folder"], Path(folder), f"{source}: network.folder")
    return ExpressionConfig(
        source, genes, sections["expression"], signal, sections["inputs"], tracks, sections["contacts"],
        split, kind, sizes, training, dict(search) if isinstance(search, Mapping) else {"": search}, paths,
    )  # fmt: skip


def _check(sections: Mapping[str, Any], signal: tuple[Signal, ...], split: Any, training: ExpressionTraining) -> None:
    """Refuse sections that do not go together."""
    genes, expression = sections["genes"], sections["expression"]
    if not expression.file and not signal:
        raise GenopredError("expression.file is missing, and there is no [[signal]]; needed one of them.")
    if expression.average and not expression.file:
        raise GenopredError("expression.average = true: needed expression.file, whose columns are averaged.")
    if signal and expression.unit == "counts" and expression.make != "cpm":
        raise GenopredError(
            f"expression.make = {expression.make!r} with [[signal]], which has no lengths; use make = 'cpm', or leave "
            "one of both out."
        )
    window = genes.before + genes.after
    check_length(window, "genes.before and genes.after together")
    if split.block < window:
        raise GenopredError(
            f"split.block = {split.block:,}: needed at least the window, {window:,} bp: a smaller block holds no gene."
        )
    if training.shift >= window:
        raise GenopredError(f"training.shift = {training.shift:,}: needed less than the window, {window:,} bp.")
    if isinstance(split, GenesByBlock) and split.margin is not None and split.margin < window:
        raise GenopredError(
            f"split.margin = {split.margin:,}: needed at least the window, {window:,} bp, so that no sequence of one "
            "part is seen in another."
        )
    if training.loss == "poisson" and "z" in expression.transform:
        raise GenopredError(
            "training.loss = 'poisson' with z in expression.transform: z values are negative too; leave z out."
        )
    if training.loss == "correlation" and training.batch < 3:
        raise GenopredError(f"training.batch = {training.batch}: a correlation needed 3 genes or more.")


def _rows(kind: type, rows: Any, source: str, name: str, key: str) -> Any:
    """Sections that are a list, none of which has another's name."""
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise GenopredError(f"{source}: {name}: needed sections [[{name}]].")
    out: tuple[Any, ...] = tuple(from_table(kind, row, source, f"{name} {i}") for i, row in enumerate(rows, 1))
    if twice := repeated(getattr(row, key) for row in out):
        raise GenopredError(f"{source}: {name}: {key} {twice[0]} is listed twice; give each its own.")
    return out


def _paths(
    sections: Mapping[str, Any], signal: tuple[Signal, ...], tracks: tuple[InputTrack, ...], folder: Path, source: str
) -> dict[str, Path]:
    named = {f"{name}.{key}": getattr(sections[name], key) for name, keys in _FILES.items() for key in keys}
    named |= {f"signal.{one.cell}.{key}": getattr(one, key) for one in signal for key in ("plus", "minus", "file")}
    named |= {f"inputs.tracks.{one.name}.file": one.file for one in tracks}
    paths = {key: existing_file(text, folder, f"{source}: {key}") for key, text in named.items() if text}
    if contacts := sections["contacts"].file:
        inner = inside_cooler(contacts)
        paths["contacts.file"] = existing_file(contacts.removesuffix(inner), folder, f"{source}: contacts.file")
    return paths


def inside_cooler(text: str) -> str:
    """What follows the file's name in a cooler's address.

    >>> inside_cooler("x.mcool::resolutions/5000"), inside_cooler("x.bedpe")
    ('::resolutions/5000', '')
    """
    _, mark, rest = text.partition("::")
    return mark + rest
