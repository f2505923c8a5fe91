"""Learn the stack weights that the package ships (genopred/data/stack_weights.json) from finished runs.

    python benchmarks/accuracy.py --out OUT --set both
    python benchmarks/data/stack_weights.py OUT/genes-120 OUT/genes-others

Uses the out-of-fold base predictions of all genes but those of the embedded example, so that a demonstration on the
example is not shown its own genes. The people are those of the example all the same, which `genopred stack` says.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from genopred.io.example import load_example
from genopred.learning.pooled import BaseTables
from genopred.learning.stack import GeneFold, fit_weights
from genopred.pipelines.stack_genes import base_path

TARGET = Path(__file__).parents[2] / "genopred" / "data" / "stack_weights.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="output folders of `genopred stack`")
    parser.add_argument("--target", type=Path, default=TARGET)
    args = parser.parse_args()
    left_out = set(load_example().expression.genes["gene"].to_list())
    tables = []
    for run in args.runs:
        genes = pl.read_parquet(run / "scores.parquet", columns=["gene_id"])["gene_id"].unique(maintain_order=True)
        kept = [gene for gene in genes.to_list() if gene.split(".")[0] not in left_out]
        tables.append(BaseTables(kept, lambda gene, run=run: pl.scan_parquet(base_path(run, gene))))

    def of(fold: int) -> Callable[[], Iterator[GeneFold]]:
        return lambda: (gene for table in tables for gene in table.fold(fold)())

    settings = json.loads((args.runs[0] / "run.json").read_text(encoding="utf-8"))
    origin = {
        "data": "GEUVADIS chromosome 22 (lymphoblastoid cell lines, Europeans)",
        "genes": sum(len(table.genes) for table in tables),
        "people": 358,
        "transform": settings["--transform"],
        "residualize": settings["--residualize"],
        "made_by": "benchmarks/data/stack_weights.py",
    }
    weights = fit_weights([of(fold) for fold in range(5)], origin)
    args.target.write_text(json.dumps(weights) + "\n", encoding="utf-8")
    print(json.dumps({"origin": origin, "nnls": weights["nnls"]}, indent=2), f"\n{args.target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
