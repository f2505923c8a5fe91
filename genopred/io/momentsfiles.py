"""A site's folder of sums over its people: what `genopred moments` writes and `genopred fit-moments` reads.

================  ===================================================================================================
manifest.json     version of this layout, name, people and people per fold, covariates, transform, window, floors of
                  frequencies, build, versions, and a row a gene; written last, so that it says that all is there
genes/ID.npz      sums of one gene (`GeneSums`): products of dosages as upper triangles, whole numbers where dosages are
================  ===================================================================================================

No array has an axis along people, and no file a name of one.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import FormatError, shortened
from genopred.files import safe_name, write_files, write_json
from genopred.types import VARIANT_SCHEMA

Floats = NDArray[np.float64]

MANIFEST = "manifest.json"
#: The version of the layout of these files.
VERSION = 1
#: What rounding may take from a sum, relative to its size.
_SLACK = 1e-6


@dataclass(frozen=True)
class GeneSums:
    """Sums over the people of each of F folds of one gene: M variants, K covariates, the expression last.

    Attributes
    ----------
    variants : polars.DataFrame, M rows
        Columns of `VARIANT_SCHEMA`.
    n : array of int, shape (F,)
        People.
    gram : array, shape (F, M, M)
        Of dosage times dosage.
    sums : array, shape (F, M)
        Of dosages.
    cross : array, shape (F, M, K + 1)
        Of dosage times covariates and expression.
    square : array, shape (F, K + 1, K + 1)
        Of covariates and expression with each other.
    totals : array, shape (F, K + 1)
        Of covariates and expression.
    """

    variants: pl.DataFrame
    n: NDArray[np.int64]
    gram: Floats
    sums: Floats
    cross: Floats
    square: Floats
    totals: Floats


@dataclass(frozen=True)
class SiteGene:
    """A gene in a site's manifest: its place, how many variants its file has, and the file's name."""

    gene_id: str
    chrom: str
    tss: int
    strand: str
    variants: int
    file: str


@dataclass(frozen=True)
class Site:
    """A site's manifest.

    Attributes
    ----------
    folder : Path
    name : str
    people : int
    folds : tuple of int
        People of each.
    covariates : tuple of str
    transform : str
        Of the expression.
    window : int
        Base pairs on each side of the TSS.
    maf : float
    min_mac : int
        Fewest copies of the rarer allele in a fold.
    max_missing : float
    build : str or None
        GRCh37 or GRCh38, where it is known.
    genes : tuple of SiteGene
    versions : dict
        Of genopred and what it used.
    digest : str
        Of what the sums depend on: another where files or options are.
    command : str
        As it was typed, without folders.
    """

    folder: Path
    name: str
    people: int
    folds: tuple[int, ...]
    covariates: tuple[str, ...]
    transform: str
    window: int
    maf: float
    min_mac: int
    max_missing: float
    build: str | None
    genes: tuple[SiteGene, ...]
    versions: dict[str, str]
    digest: str
    command: str = ""


def gene_path(folder: Path, gene_id: str) -> Path:
    """Where the sums of a gene are."""
    return folder / "genes" / f"{safe_name(gene_id)}.npz"


def write_gene_sums(path: Path, one: GeneSums) -> None:
    """Write a gene's sums, whole or not at all; whole numbers in as few bytes as the largest needs, two at least."""
    upper = np.triu_indices(one.gram.shape[1])
    packed = {"gram": _packed(one.gram[:, upper[0], upper[1]]), "sums": _packed(one.sums)}
    packed |= {name: getattr(one, name) for name in ("n", "cross", "square", "totals")}
    packed |= {
        name: one.variants[name].to_numpy().astype(np.int64 if name == "pos" else str) for name in VARIANT_SCHEMA
    }
    held = io.BytesIO()
    np.savez_compressed(held, allow_pickle=False, **packed)
    write_files({path: held.getvalue()})


def _packed(values: Floats) -> NDArray[Any]:
    whole = bool((values == np.rint(values)).all()) and float(values.min(initial=0.0)) >= 0
    kinds = [kind for kind in (np.uint16, np.uint32) if values.max(initial=0.0) <= np.iinfo(kind).max]
    return values.astype(kinds[0]) if whole and kinds else values


def write_manifest(site: Site) -> None:
    """Write the manifest, by which the folder is a site's."""
    content = {name: value for name, value in asdict(site).items() if name != "folder"}
    write_json(site.folder / MANIFEST, {"format": "genopred moments", "version": VERSION, **content})


def read_site(folder: Path) -> Site:
    """A site's manifest.

    Raises
    ------
    FormatError
        If there is none, or it is damaged, of another version, or contradicts itself.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise FormatError(f"{folder} is no site: {MANIFEST} is missing; give a folder that genopred moments finished.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise FormatError(f"{path} is no JSON ({problem}); have the site send it again.") from None
    if not isinstance(content, dict) or content.get("format") != "genopred moments":
        raise FormatError(f"{path} is not of genopred moments; give a folder that it finished.")
    if content.get("version") != VERSION:
        raise FormatError(
            f"{path}: version {shortened(content.get('version'))} of the layout, where {VERSION} is needed; write the "
            "site again with this version of genopred."
        )
    try:
        known = {field.name: content[field.name] for field in fields(Site) if field.name != "folder"}
        known["genes"] = tuple(_gene(row) for row in known["genes"])
        known |= {"folds": tuple(int(n) for n in known["folds"]), "covariates": tuple(map(str, known["covariates"]))}
        site = Site(Path(folder), **known)
        if site.people != sum(site.folds) or not site.folds or min(site.folds) < 1:
            raise ValueError(f"folds of {list(site.folds)} people do not make {site.people}")
        if len(set(site.covariates)) < len(site.covariates):
            raise ValueError("a covariate is there twice")
    except (KeyError, TypeError, ValueError) as problem:
        raise FormatError(f"{path} is damaged ({type(problem).__name__}: {problem}); write the site again.") from None
    return site


def _gene(row: dict[str, Any]) -> SiteGene:
    gene = SiteGene(**row)
    if Path(gene.file).name != gene.file or not isinstance(gene.tss, int) or not isinstance(gene.variants, int):
        raise ValueError(f"gene {shortened(gene.gene_id)} has no plain file, place or number of variants")
    return gene


def read_gene_sums(site: Site, gene: SiteGene) -> GeneSums:
    """The sums of a gene of a site.

    Raises
    ------
    FormatError
        If the file is missing or damaged, is not of this site, or holds what no people's sums can be.
    """
    path = site.folder / "genes" / gene.file
    if not path.is_file():
        raise FormatError(f"{path} is missing; the manifest of {site.name} names it: have the site send it again.")
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
        one = _unpacked(arrays)
    except Exception as problem:  # which one it is depends on the byte that is wrong
        raise FormatError(
            f"{path} is damaged ({type(problem).__name__}: {shortened(problem)}); have the site send it again."
        ) from None
    _check(one, site, gene, path)
    return one


def _unpacked(arrays: dict[str, NDArray[Any]]) -> GeneSums:
    n, sums = arrays["n"].astype(np.int64), arrays["sums"].astype(np.float64)
    f, m = sums.shape
    rows, columns = np.triu_indices(m)
    gram = np.empty((f, m, m))
    gram[:, rows, columns] = arrays["gram"]
    gram[:, columns, rows] = arrays["gram"]
    table = {name: arrays[name].tolist() for name in VARIANT_SCHEMA}
    variants = pl.DataFrame(table, VARIANT_SCHEMA)
    others = (np.ascontiguousarray(arrays[name], dtype=np.float64) for name in ("cross", "square", "totals"))
    return GeneSums(variants, n, gram, sums, *others)


def _check(one: GeneSums, site: Site, gene: SiteGene, path: Path) -> None:
    """Refuse sums of other people than the manifest's, and what no dosages from 0 to 2 can add up to."""
    f, m, z = len(site.folds), gene.variants, len(site.covariates) + 1
    shapes = {"n": (f,), "sums": (f, m), "cross": (f, m, z), "square": (f, z, z), "totals": (f, z)}
    wrong = [
        f"{name} {getattr(one, name).shape}" for name, shape in shapes.items() if getattr(one, name).shape != shape
    ]
    if wrong or one.variants.height != m:
        raise FormatError(
            f"{path}: {', '.join(wrong) or f'{one.variants.height} variants'} where {f} folds, {m} variants and "
            f"{z - 1} covariates are in the manifest; have the site written again."
        )
    if one.n.tolist() != list(site.folds):
        raise FormatError(
            f"{path}: sums of {one.n.tolist()} people, where the manifest has {list(site.folds)}; the files are of two "
            "runs: have the site written again."
        )

    def refuse(what: str) -> None:
        raise FormatError(f"{path}: {what}: these are the sums of no people; have the site written again.")

    if not all(np.isfinite(getattr(one, name)).all() for name in ("gram", "sums", "cross", "square", "totals")):
        refuse("numbers that are not finite")
    n = one.n[:, None].astype(np.float64)
    own = np.diagonal(one.gram, axis1=1, axis2=2)
    of_others = np.diagonal(one.square, axis1=1, axis2=2)
    if (one.sums < 0).any() or (one.sums > 2 * n).any():
        refuse("more or fewer alleles than the people have")
    if (own * (1 + _SLACK) < one.sums**2 / n).any():
        refuse("a variant with a negative variance")
    if (of_others * (1 + _SLACK) < one.totals**2 / n).any():
        refuse("an expression or a covariate with a negative variance")
    for gram, cross, mine, theirs in zip(one.gram, one.cross, own, of_others):
        if (np.abs(gram) > np.sqrt(np.outer(mine, mine)) * (1 + _SLACK)).any():
            refuse("two variants with a correlation above 1")
        if (np.abs(cross) > np.sqrt(np.outer(mine, theirs)) * (1 + _SLACK)).any():
            refuse("a variant's correlation above 1 with an expression or a covariate")
