"""What every method says when there is nothing to say: expression of the embedded genes, shuffled over people.

    python benchmarks/null.py [--threads 2] [--out FILE.md]

Mean R² must be near 0 for each learner and for the stack. It is a little below, by what learning from noise costs.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from genopred.io.example import load_example
from genopred.learning import learners as registry
from genopred.learning.evaluate import Block, GeneResult, nested_base, outer_folds, scores
from genopred.learning.stack import GeneFold, make_meta
from genopred.types import Interval


def shuffled_gene(index: int, folds: np.ndarray, inner_folds: int = 5) -> GeneResult:
    """Base predictions of one embedded gene whose expression was shuffled over people."""
    example = load_example()
    gene = example.expression.genes.row(index, named=True)
    window = example.genotypes.select(variants=Interval.around(gene["chrom"], gene["tss"], 500_000))
    context = registry.GeneContext(window.variants["pos"].to_numpy(), gene["tss"], index)
    chosen = tuple(registry.find(name) for name in registry.DEFAULT_LEARNERS)
    raw = np.random.default_rng(index).permutation(example.expression.values[:, index])
    with threadpool_limits(1):
        block = Block("genotype", window.dosage(), chosen)
        return nested_base([block], raw, None, folds, context, inner_folds=inner_folds)


def null_scores(results: list[GeneResult], folds: np.ndarray) -> pl.DataFrame:
    """Scores of every learner, calibrated where the tables are, and of the pooled stack."""
    names = results[0].names
    predicted: list[dict[str, list[np.ndarray]]] = [{} for _ in results]
    for fold in np.unique(folds).tolist():

        def genes(fold: int = fold) -> Iterator[GeneFold]:
            return (result.gene_fold(fold) for result in results)

        meta = make_meta("xgboost", names).fit(genes)
        for gene, one in zip(predicted, genes()):
            for i, name in enumerate(names):
                calibrate = registry.find(name).calibrate
                gene.setdefault(name, []).append(one.calibrated(i) if calibrate else one.mean + one.test[:, i])
            gene.setdefault("stack-xgboost", []).append(meta.predict(one))
    tables = []
    for i, (result, parts) in enumerate(zip(results, predicted)):
        values = {name: np.concatenate(part) for name, part in parts.items()}
        tables.append(scores(f"gene {i}", result.observed[result.inner < 0], values, resamples=0))
    return pl.concat(tables)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    folds = outer_folds(358, 5, 0)
    genes = range(load_example().expression.genes.height)
    results = joblib.Parallel(args.threads)(joblib.delayed(shuffled_gene)(i, folds) for i in genes)
    table = (
        null_scores(results, folds)
        .group_by("method", maintain_order=True)
        .agg(pl.col("r2").mean().alias("mean"), (pl.col("r2").std() / pl.len().sqrt()).alias("error"))
    )
    lines = [f"`python benchmarks/null.py`: {len(genes)} genes, expression shuffled over 358 people.", ""]
    lines += ["| method | mean R² | standard error |", "|---|---|---|"]
    lines += [f"| {name} | {mean:+.4f} | {error:.4f} |" for name, mean, error in table.iter_rows()]
    print("\n".join(lines))
    if args.out:
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
