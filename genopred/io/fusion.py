"""FUSION's weights: a list (.pos) of R files (.wgt.RDat), one a gene; read and written through `rdata`.

Weights are per standard deviation of a genotype, counted in copies of the allele in the fifth .bim column. Of a file's
models FUSION takes the one with the smallest cross-validated p; of `top1` only the variant with the largest weight.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import FormatError, GenopredError, examples
from genopred.io.text import read_bytes, read_table
from genopred.types import MODEL_GENE_SCHEMA, MODEL_WEIGHT_SCHEMA, GeneModels, Note, plain_chrom

PathLike = str | Path

#: What their predictions are called.
METHOD = "fusion"


def read_fusion(path: PathLike) -> GeneModels:
    """Read the models of a FUSION panel.

    Parameters
    ----------
    path : str
        The list: columns WGT, ID, CHR, P0, P1. Files are taken relative to its folder.

    Returns
    -------
    GeneModels
        `alt` is the effect allele; weights are per standard deviation of the genotype, which `about["per_sd"]` says.

    Raises
    ------
    FormatError
        If the list lacks a column, or a file is missing or is not what FUSION wrote.
    """
    table, _ = read_table(read_bytes(path, "FUSION's list of weights"), path)
    lacking = [name for name in ("WGT", "ID", "CHR") if name not in table.columns]
    if lacking:
        raise FormatError(f"{path} has no column {', '.join(lacking)}; needed are WGT, ID, CHR, P0 and P1.")
    weights, genes, without = [], [], []
    for row in table.iter_rows(named=True):
        found = _read_one(Path(path).parent / row["WGT"], row["ID"])
        if found is None:
            without.append(row["ID"])
            continue
        part, known = found
        weights.append(part)
        genes.append({"gene_id": row["ID"], "chrom": row["CHR"], "method": METHOD, "intercept": 0.0, **known})
    if not weights:
        raise FormatError(f"{path}: none of its {table.height} genes has a model.")
    blank = {name: pl.Series(name, [], kind) for name, kind in MODEL_GENE_SCHEMA.items()}
    about = {"made_by": "FUSION", "default": METHOD, "per_sd": True, "unit": "the unit of the panel's expression"}
    notes: list[Note] = [("note", "genes without a model", len(without), examples(without))] if without else []
    listed = pl.concat([pl.DataFrame(blank), pl.DataFrame(genes, infer_schema_length=None)], how="diagonal_relaxed")
    listed = listed.select(pl.col(name).cast(kind) for name, kind in MODEL_GENE_SCHEMA.items())
    return GeneModels(pl.concat(weights), listed, about, None, str(path), tuple(notes))


def _read_one(path: Path, gene: str) -> tuple[pl.DataFrame, dict[str, Any]] | None:
    rdata = _rdata()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of row names, which are not needed
            held = rdata.read_rda(path)
        matrix, snps, performance = held["wgt.matrix"], held["snps"], held["cv.performance"]
        models = [str(name) for name in matrix.coords[matrix.dims[1]].values]
        pval = np.asarray(performance.sel({performance.dims[0]: "pval"}), dtype=np.float64)
        rsq = np.asarray(performance.sel({performance.dims[0]: "rsq"}), dtype=np.float64)
    except OSError:
        raise FormatError(f"{path} does not exist or cannot be read; the list names it for {gene}.") from None
    except Exception as problem:
        raise FormatError(
            f"{path} is no weights file of FUSION ({type(problem).__name__}: {problem}); needed are wgt.matrix, "
            "snps and cv.performance."
        ) from None
    if np.isnan(pval).all():
        return None
    best = int(np.nanargmin(pval))
    values = np.nan_to_num(np.asarray(matrix, dtype=np.float64)[:, best])
    if models[best] == "top1":
        values = np.where(np.arange(len(values)) == np.argmax(values**2), values, 0.0)
    columns = [snps.iloc[:, i].astype(str).to_list() for i in (0, 3, 1, 5, 4)]
    part = pl.DataFrame(dict(zip(("chrom", "pos", "id", "ref", "alt"), columns))).with_columns(
        pl.col("pos").cast(pl.Float64, strict=False).cast(pl.Int64),
        pl.col("ref", "alt").str.to_uppercase(),
        gene_id=pl.lit(gene), learner=pl.lit(METHOD), weight=pl.Series(values), freq=pl.lit(None, pl.Float64),
        z=pl.lit(None, pl.Float64),
    ).select(list(MODEL_WEIGHT_SCHEMA)).filter(pl.col("weight") != 0)  # fmt: skip
    known: dict[str, Any] = {"variants": part.height, "r2": float(rsq[best]), "pval": float(pval[best])}
    if "N.tot" in held:
        known["n"] = int(np.ravel(held["N.tot"])[0])
    return (part, known) if part.height else None


def _rdata() -> Any:
    import rdata

    return rdata


@dataclass(frozen=True)
class _Matrix:
    """A matrix with names of rows and columns, as R holds it."""

    values: NDArray[np.float64]
    rows: tuple[str, ...]
    columns: tuple[str, ...]

    def in_r(self, convert: Any) -> Any:
        from rdata.conversion.to_r import build_r_object
        from rdata.parser import RObjectType

        names = [np.array(self.rows), np.array(self.columns)]
        attributes = convert.convert_to_r_attributes({"dim": np.array(self.values.shape), "dimnames": names})
        return build_r_object(RObjectType.REAL, value=np.ravel(self.values, order="F"), attributes=attributes)


@dataclass(frozen=True)
class _Frame:
    """A data.frame, as R holds it."""

    columns: Mapping[str, NDArray[Any]]

    def in_r(self, convert: Any) -> Any:
        from rdata.conversion.to_r import build_r_object
        from rdata.parser import RObjectType

        n = len(next(iter(self.columns.values())))
        attributes = {
            "names": np.array(list(self.columns)),
            "class": np.array(["data.frame"]),
            "row.names": np.arange(1, n + 1, dtype=np.int32),
        }
        values = [convert.convert_to_r_object(column) for column in self.columns.values()]
        made = convert.convert_to_r_attributes(attributes)
        return build_r_object(RObjectType.VEC, value=values, is_object=True, attributes=made)


def write_weights(
    path: Path,
    variants: pl.DataFrame,
    weights: Mapping[str, NDArray[np.float64]],
    performance: Mapping[str, tuple[float, float]],
    people: int,
    hsq: tuple[float, float, float] = (np.nan, np.nan, np.nan),
) -> None:
    """Write the weights of one gene as FUSION does (.wgt.RDat).

    Parameters
    ----------
    path : Path
    variants : polars.DataFrame, M rows
        chrom, pos (1-based), id, ref and alt; alt becomes allele 1.
    weights : mapping of a model's name to weights (M,) per standard deviation
    performance : mapping of a model's name to (R² of held-out people, p)
    people : int
        Of the training.
    hsq : (estimate, standard error, p)
        Of the cis heritability; NaN where it is not known.
    """
    from rdata.conversion.to_r import DEFAULT_CLASS_MAP

    models = tuple(weights)
    named = tuple(variants["id"].to_list())
    if len(set(named)) < len(named):
        raise GenopredError(f"{path.name}: two variants have one id; FUSION tells them by it.")
    snps = {
        "V1": np.array([plain_chrom(name) for name in variants["chrom"].to_list()]),
        "V2": np.array(named),
        "V3": np.zeros(len(named)),
        "V4": variants["pos"].to_numpy().astype(np.int32),
        "V5": np.array(variants["alt"].to_list()),
        "V6": np.array(variants["ref"].to_list()),
    }
    scores = np.array([performance[name] for name in models], dtype=np.float64).T
    held = {
        "wgt.matrix": _Matrix(np.column_stack([weights[name] for name in models]), named, models),
        "snps": _Frame(snps),
        "cv.performance": _Matrix(scores, ("rsq", "pval"), models),
        "hsq": np.array(hsq[:2]),
        "hsq.pv": np.array([hsq[2]]),
        "N.tot": np.array([float(people)]),
    }
    classes = {**DEFAULT_CLASS_MAP, _Matrix: _Matrix.in_r, _Frame: _Frame.in_r}
    _rdata().write_rda(path, held, constructor_dict=classes)
