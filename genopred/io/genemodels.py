"""Models of gene expression in a folder: what `genopred stack` leaves and `genopred predict` applies.

================  ===================================================================================================
weights.parquet   one weight per gene, variant and learner (`genopred.types.MODEL_WEIGHT_SCHEMA`), of one ALT copy
genes.parquet,    a row per gene and method: accuracy in held-out people, intercept (`genopred.types.MODEL_GENE_SCHEMA`;
genes.tsv         of a boosted stack also `scale` and `summary`, which its trees read)
learners.parquet  base learners that are no weights: XGBoost's JSON, LightGBM's text, arrays of a polynomial
                  (`genopred.types.MODEL_LEARNER_SCHEMA`)
models.json       the card: build, people, transform, covariates, units, versions, how base learners are combined
README.md         the card in words
================  ===================================================================================================
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from genopred.errors import FormatError
from genopred.files import write_files, write_json, write_text
from genopred.types import MODEL_GENE_SCHEMA, MODEL_LEARNER_SCHEMA, MODEL_WEIGHT_SCHEMA, GeneModels

PathLike = str | os.PathLike[str]

FILES = ("weights.parquet", "genes.parquet", "genes.tsv", "learners.parquet", "README.md", "models.json")

#: The version of the layout of these files.
FORMAT = 1


def read_card(folder: PathLike) -> dict[str, Any] | None:
    """The card of the models in a folder; None where there is none."""
    path = Path(folder) / "models.json"
    if not path.is_file():
        return None
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise FormatError(f"{path} is no JSON ({problem}); run genopred stack again.") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise FormatError(
            f"{path}: format {card.get('format') if isinstance(card, dict) else None!r}, where {FORMAT} is needed; "
            "these models are of another version of genopred: run genopred stack again."
        )
    del card["format"]
    return card


def join_models(folder: Path, pieces: Sequence[Path], genes: pl.DataFrame, about: dict[str, Any]) -> None:
    """Write the models of a run from the parts of its genes; `models.json` comes last and says that all is there."""
    (folder / "models.json").unlink(missing_ok=True)
    for name in ("weights", "learners"):
        parts = [piece.with_name(f"{piece.name}.{name}.parquet") for piece in pieces]
        whole = pl.scan_parquet(parts)
        write_files({folder / f"{name}.parquet": partial(_sink, whole)})
    flat = genes.drop("summary", strict=False)
    write_files(
        {
            folder / "genes.parquet": lambda path: genes.write_parquet(path),
            folder / "genes.tsv": lambda path: flat.write_csv(path, separator="\t"),
        }
    )
    write_text(folder / "README.md", _words(genes, about))
    write_json(folder / "models.json", {"format": FORMAT, **about})
    for part in (folder / "parts").iterdir():
        part.unlink()
    (folder / "parts").rmdir()


def _sink(table: pl.LazyFrame, path: Path) -> None:
    table.sink_parquet(path, maintain_order=True)


def read_models(folder: PathLike) -> GeneModels:
    """Models that `genopred stack` left.

    Parameters
    ----------
    folder : str
        Its `models` folder, or the folder of the run.

    Raises
    ------
    FormatError
        If the folder holds no models, or a file of them is missing or damaged.
    """
    place = Path(folder)
    if not (place / "models.json").is_file() and (place / "models" / "models.json").is_file():
        place = place / "models"
    about = read_card(place)
    if about is None:
        raise FormatError(
            f"{folder} holds no models: models.json is missing; give the folder OUT/models of a genopred stack run, a "
            "PredictDB database (.db), or FUSION's list (.pos)."
        )
    tables = {}
    schemas: dict[str, dict[str, Any]] = {
        "weights": MODEL_WEIGHT_SCHEMA,
        "genes": MODEL_GENE_SCHEMA,
        "learners": MODEL_LEARNER_SCHEMA,
    }
    for name, schema in schemas.items():
        path = place / f"{name}.parquet"
        try:
            table = pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError) as problem:
            raise FormatError(f"{path} cannot be read ({problem}); run genopred stack again.") from None
        lacking = [column for column, kind in schema.items() if table.schema.get(column) != kind]
        if lacking:
            raise FormatError(f"{path}: column(s) {', '.join(lacking)} missing or of another type; it is damaged.")
        tables[name] = table
    return GeneModels(tables["weights"], tables["genes"], about, tables["learners"], str(folder))


def _words(genes: pl.DataFrame, about: dict[str, Any]) -> str:
    methods = "\n".join(f"- `{name}`: mean R² {r2:.4f}" for name, r2 in about["mean_r2"].items())
    n = genes["gene_id"].n_unique()
    weights = ", ".join(f"{name} {weight:.3f}" for name, weight in about["linear"].items())
    return f"""# Models of the expression of {n:,} genes

Made by `{about["command"] or about["made_by"]}` with genopred {about["versions"]["genopred"]},
from {about["people"]} people.

- Positions: {about["build"] or "build not known"}, 1-based. Weights are of one copy of the ALT allele.
- Predicted: expression after `{about["transform"]}`, residualised (`{about["residualize"]}`) on
  {len(about["covariates"])} covariates; in {about["unit"]}.
- Variants within {about["window"]:,} bp of the TSS, MAF from {about["maf"]:g}.
- The linear stack: {weights}.

Accuracy of people held out of the training, over genes (per gene in genes.tsv):

{methods}

Apply them: `genopred predict --models {"FOLDER"} --bfile NEW --out OUT`.
"""
