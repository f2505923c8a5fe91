"""The way in of `evaluate` for runs that learned expression: genes, networks and folds; Xpresso on the same genes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import FormatError, GenopredError, ModelError, examples
from genopred.io.fasta import open_fasta
from genopred.io.text import read_bytes, read_table
from genopred.pipelines.train_genes import Loaded, Prepared, open_genes, prepare
from genopred.pipelines.train_genes_inputs import stretch
from genopred.pipelines.train_inputs import FOLD, FOLDS, GENES, is_gene_run, read_config
from genopred.sequence.haplotypes import window_around
from genopred.sequence.models.config import CONFIG, NETWORK, WEIGHTS
from genopred.sequence.onehot import onehot
from genopred.training.config_expression import ExpressionConfig
from genopred.training.gene_heldout import GeneFold
from genopred.training.networks.gene import GeneNetwork
from genopred.training.store import load_network

#: Windows that Xpresso is given at a time.
_AT_ONCE = 64


@dataclass(frozen=True)
class GeneRun:
    """A training run that learned expression: one network, or one a fold.

    Attributes
    ----------
    name : str
        Of its folder.
    folder : Path
    config : ExpressionConfig
    folders : tuple of Path
        Of each network with its genes.
    hash : str
        Equal ones predict equally.
    """

    name: str
    folder: Path
    config: ExpressionConfig
    folders: tuple[Path, ...]
    hash: str

    def depends(self) -> dict[str, Any]:
        """What its predictions depend on, files by what is in them."""
        return {"hash": self.hash, "config": self.config.written, "files": dict(self.config.paths)}


def open_gene_run(place: str, said: str = "MODEL") -> GeneRun:
    """Find the networks of a run; nothing large is read.

    Parameters
    ----------
    place : str
        The --out of `genopred train`, or the folder of one of its folds.
    said : str
        For messages.

    Raises
    ------
    ModelError
        If there is none, or a network is missing.
    """
    folder = Path(place)
    if not is_gene_run(folder):
        raise ModelError(
            f"{said} {place}: not the folder of a run that learned expression (no {GENES} or {FOLDS}); give the --out "
            "of `genopred train` with task = 'expression', as the first run is one."
        )
    folders: tuple[Path, ...] = (folder,)
    if (folder / FOLDS).is_file():
        config = read_config(folder / f"{FOLD}1" / CONFIG, device="cpu")
        folders = tuple(folder / f"{FOLD}{i + 1}" for i in range(config.folds))
    else:
        config = read_config(folder / CONFIG, device="cpu")
    digest = hashlib.sha256()
    for one in folders:
        for file in (one / NETWORK / WEIGHTS[0], one / NETWORK / CONFIG):
            if not file.is_file():
                raise ModelError(f"{said} {place}: {one} has no network yet ({file.name}); let the training finish.")
            digest.update(file.read_bytes())
    return GeneRun(folder.resolve().name, folder, config, folders, digest.hexdigest())


def load_folds(run: GeneRun, loaded: Loaded | None = None) -> tuple[list[GeneFold], Loaded, Prepared]:
    """Genes, targets and network of each fold, as the run had them; what was read, and the first fold as prepared.

    `loaded` are the genes of a run with the same configuration, to read them once.

    Raises
    ------
    GenopredError
        If what the files give today is not what the run was trained on.
    """
    loaded = loaded or open_genes(run.config)
    out, first = [], None
    for folder in run.folders:
        about = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        number = about.get("fold")
        made = prepare(run.config, loaded, None if number is None else int(number) - 1)
        first = first or made
        _check_genes(folder / GENES, made)
        network, settings = load_network(folder / NETWORK)
        if not isinstance(network, GeneNetwork) or tuple(settings["track_names"]) != made.data.cells:
            raise ModelError(
                f"{folder / NETWORK}: a network of {examples(settings['track_names'])}, and the run measures "
                f"{examples(made.data.cells)}; train it again."
            )
        out.append(GeneFold("" if number is None else str(number), made.data, made.split, made.targets, network))
    assert first is not None  # noqa: S101 - a run has a folder
    return out, loaded, first


def _check_genes(file: Path, made: Prepared) -> None:
    """Refuse genes, parts or targets other than those that the run wrote down."""
    table, _ = read_table(read_bytes(file, "the genes of a training run"), file, separator="\t")
    lacking = [name for name in ("gene_id", "split", *made.data.cells) if name not in table.columns]
    if lacking:
        raise FormatError(f"{file} has no column {examples(lacking)}; it lists the genes of the run. Put it back.")
    now = dict(zip(made.data.genes["gene_id"].to_list(), made.split.part.tolist()))
    # a gene of no part has an empty field, in quotes
    then = dict(zip(table["gene_id"].to_list(), table["split"].fill_null("").str.strip_chars('"').to_list()))
    other = [gene for gene in {**now, **then} if now.get(gene) != then.get(gene)]
    targets = np.array(
        [
            [np.nan if not text else float(text) for text in table[cell].fill_null("").to_list()]
            for cell in made.data.cells
        ]
    ).T
    if not other and not np.allclose(targets, made.targets, rtol=1e-4, atol=1e-5, equal_nan=True):
        moved = ~np.isclose(targets, made.targets, rtol=1e-4, atol=1e-5, equal_nan=True).all(axis=1)
        other = made.data.genes["gene_id"].to_numpy()[moved].tolist()
    if other:
        raise GenopredError(
            f"{file}: {len(other)} genes ({examples(other)}) have another part of the split or other expression than "
            "the files give today; put the files of the training back, or train again."
        )


def xpresso(
    run: GeneRun, folds: Sequence[GeneFold], spec: str, device: str
) -> tuple[str, list[str], list[NDArray[Any]]]:
    """Xpresso's predictions of all genes of each fold, on 10,500 bp around each TSS; its name and its cell types.

    Raises
    ------
    ModelError
        If the weights cannot be read, or are of a cell type that was not measured.
    """
    from genopred.sequence.models.xpresso import TSS_OFFSET, WINDOW, XpressoModel

    model = XpressoModel.load(spec, device=device)
    name = model.name.partition(":")[2]
    cells = [cell for cell in folds[0].data.cells if _plain(name) in _plain(cell) or "median" in _plain(name)]
    if not cells:
        raise ModelError(
            f"--baseline xpresso:{spec}: weights of {name}, and the run has {examples(folds[0].data.cells)}; give "
            "those of one of these cell types, or the median over tissues."
        )
    fasta = open_fasta(run.config.paths["genes.fasta"])
    genes = folds[0].data.genes
    out = np.empty(genes.height)
    windows = [
        stretch(fasta, window_around(chrom, tss, WINDOW, TSS_OFFSET, reverse=strand == "-"), strand)
        for chrom, tss, strand in genes.select("chrom", "tss", "strand").iter_rows()
    ]
    for i in range(0, len(windows), _AT_ONCE):
        part = np.stack(windows[i : i + _AT_ONCE]).astype(np.int8)
        out[i : i + len(part)] = model.predict_onehot(onehot(part)).reshape(-1)
    ids = genes["gene_id"].to_list()
    place = {gene: i for i, gene in enumerate(ids)}
    each = [out[[place[gene] for gene in fold.data.genes["gene_id"].to_list()]] for fold in folds]
    return name, cells, each


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def exons_of(gtf: Path | None, genes: pl.DataFrame) -> dict[str, list[tuple[int, int]]]:
    """Exons of each gene relative to its TSS and in its direction, first and last base; empty without a GTF."""
    if gtf is None:
        return {}
    from genopred.io.annotation import read_exons
    from genopred.types import plain_gene

    table = read_exons(gtf)
    table = table.with_columns(pl.Series("plain", [plain_gene(name) for name in table["gene_id"].to_list()]))
    known = dict(table.unique(["plain", "start", "end"]).group_by("plain").agg(pl.struct("start", "end")).iter_rows())
    out: dict[str, list[tuple[int, int]]] = {}
    for gene, tss, strand in genes.select("gene_id", "tss", "strand").iter_rows():
        pairs = [(row["start"] - tss, row["end"] - tss) for row in known.get(plain_gene(gene), ())]
        out[gene] = sorted((-b, -a) if strand == "-" else (a, b) for a, b in pairs)
    return out
