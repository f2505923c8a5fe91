"""Sequence features on disk: a folder with one parquet file per gene and a manifest.

`manifest.json` says what the features are (model, checkpoint hash, window, build, tracks, mode, dtype, counts)
and lists the genes; it is written at the start with `"complete": false` and again at the end. `<gene_id>.parquet`
holds the column `sample` and one float32 column a feature, and in its own metadata, under `genopred`, where its
numbers came from. `reference.parquet` holds the predictions of the reference sequence, one row a gene.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from genopred.errors import FormatError, GenopredError, examples, shortened
from genopred.files import atomic, safe_name, write_json
from genopred.io.text import PathLike, regular
from genopred.types import Features

MANIFEST = "manifest.json"
REFERENCE = "reference.parquet"
_KEY = b"genopred"


def feature_path(folder: PathLike, gene_id: str) -> Path:
    """The file of a gene.

    >>> str(feature_path("out", "ENSG00000100001.3"))
    'out/ENSG00000100001.3.parquet'
    """
    return Path(folder) / f"{safe_name(gene_id, taken=(Path(REFERENCE).stem,))}.parquet"


def write_features(folder: PathLike, gene_id: str, features: Features, **origin: Any) -> Path:
    """Write one gene's features, whole or not at all, to a folder that is made where it is missing.

    Their `origin` goes into the file's metadata, and more: `key=`, say, the hash by which a later run knows it again.
    """
    import pyarrow.parquet as pq

    if "sample" in features.names:
        raise GenopredError("A feature is named `sample`, which is the name of the samples' column; rename the track.")
    table = pl.DataFrame({"sample": features.samples.tolist()}).hstack(
        pl.DataFrame(np.asarray(features.values, dtype=np.float32), schema=list(features.names), orient="row")
    )
    meta = json.dumps({"gene_id": gene_id, **features.origin, **origin}, sort_keys=True)
    arrow = table.to_arrow().replace_schema_metadata({_KEY: meta.encode()})
    path = feature_path(folder, gene_id)
    with atomic(path) as temporary:
        # parquet has no checksum of its own unless asked
        pq.write_table(arrow, temporary, compression="zstd", write_page_checksum=True)
    return path


def read_origin(path: PathLike) -> dict[str, Any] | None:
    """The metadata of a gene's file; None where the file is missing, damaged or not ours."""
    found = _read(path)
    return None if found is None else found.origin


def _read(path: PathLike) -> Features | None:
    """All of a gene's file, each page held against its checksum; None where it is missing, damaged or not ours."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(regular(path, "features of a gene"), page_checksum_verification=True) as file:
            origin = json.loads((file.schema_arrow.metadata or {}).get(_KEY, b"null"))
            table = file.read()
        samples, names = table.column("sample").to_pylist(), [name for name in table.column_names if name != "sample"]
        columns = [table.column(name).to_numpy().astype(np.float32, copy=False) for name in names]
        values = np.stack(columns, axis=1) if columns else np.empty((len(samples), 0), dtype=np.float32)
        if not isinstance(origin, dict) or not all(isinstance(name, str) for name in samples):
            return None
        return Features(values, np.array(samples, dtype=str), tuple(names), origin)
    except (OSError, ValueError, TypeError, LookupError, MemoryError, pa.ArrowException):
        return None


def feature_names(path: PathLike) -> list[str]:
    """The features of a gene's file, in its order."""
    return [name for name in pl.read_parquet_schema(path) if name != "sample"]


def read_features(folder: PathLike, gene_id: str) -> Features:
    """Features of one gene, named with or without version, from the output of `genopred features`."""
    known = feature_genes(folder)
    bare = {gene.split(".")[0]: gene for gene in known}
    name = gene_id if gene_id in known else bare.get(gene_id.split(".")[0])
    if name is None:
        raise FormatError(
            f"{folder} holds no features of {gene_id}; it has {len(known):,} genes ({examples(known)}). Run genopred "
            "features for it as well, or leave the gene out."
        )
    path = feature_path(folder, name)
    found = _read(path)
    if found is None:
        raise FormatError(f"{path} is missing, damaged, or not written by genopred; run genopred features again.")
    return found


def feature_genes(folder: PathLike) -> list[str]:
    """Genes that the manifest lists, in its order."""
    return [str(gene) for gene in read_manifest(folder).get("genes", {})]


def read_manifest(folder: PathLike) -> dict[str, Any]:
    """The manifest of a folder of features."""
    path = Path(folder) / MANIFEST
    if path.exists():
        regular(path, "the manifest of a folder of features")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FormatError(f"{folder}: no {MANIFEST} in it; needed a folder that genopred features wrote.") from None
    except (OSError, ValueError, RecursionError) as bad:
        raise FormatError(f"{path} cannot be read ({shortened(bad)}); run genopred features again.") from None
    if not isinstance(found, dict) or not all(isinstance(found.get(key), dict) for key in ("settings", "genes")):
        raise FormatError(f"{path} is no manifest of features; needed one that genopred features wrote.")
    return found


def write_manifest(folder: PathLike, manifest: dict[str, Any]) -> None:
    """Write the manifest, whole or not at all."""
    write_json(Path(folder) / MANIFEST, manifest)
