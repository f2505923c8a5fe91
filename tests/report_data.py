"""Made-up but realistic results for the tests of the report: people, genes and predictions of eight methods."""

from __future__ import annotations

import numpy as np
import polars as pl

from genopred.learning.evaluate import scores, summarise
from genopred.types import PREDICTION_SCHEMA, MatchReport

#: Correlation of each method's prediction with the true genetic value.
QUALITY = {
    "baseline-prs": 0.62,
    "pt-prs": 0.75,
    "elastic-net": 0.77,
    "susie-tss": 0.9,
    "gblup-tss": 0.85,
    "random-forest": 0.7,
    "stack-xgboost": 0.95,
    "stack-nnls": 0.94,
}


def results(
    n_genes: int, n_people: int = 200, *, signal: bool = True, seed: int = 1
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Predictions, scores and summary; without `signal` expression has nothing to do with genotype."""
    rng = np.random.default_rng(seed)
    predictions, tables = [], []
    for g in range(n_genes):
        h2 = rng.beta(0.35, 3) if signal else 0.0
        gene = f"ENSG{100_000 + 137 * g:011d}.{1 + g % 9}"
        value = rng.normal(size=n_people) * np.sqrt(h2)
        observed = value + rng.normal(size=n_people) * np.sqrt(1 - h2)
        predicted = {}
        for method, q in QUALITY.items():
            noise = rng.normal(size=(2, n_people))
            predicted[method] = (
                value * q**2 + noise[0] * np.sqrt(h2) * q * np.sqrt(1 - q**2) + noise[1] * 0.12 * (1.1 - q)
            )
            predictions.append(
                pl.DataFrame(
                    {
                        "gene_id": [gene] * n_people,
                        "sample": [f"HG{i:05d}" for i in range(n_people)],
                        "fold": np.arange(n_people) % 5,
                        "method": [method] * n_people,
                        "observed": observed,
                        "predicted": predicted[method],
                    },
                    schema=PREDICTION_SCHEMA,
                )
            )
        tables.append(scores(gene, observed, predicted, resamples=100))
    table = pl.concat(tables)
    return pl.concat(predictions), table, summarise(table, "elastic-net", resamples=500)


def match_report() -> MatchReport:
    """What came in and what was dropped, with a name that would be markup if it were not escaped."""
    rows = [
        ("samples", "in", "in genotypes or expression", 445, ""),
        ("samples", "used", "in all files", 358, ""),
        ("samples", "dropped", "no genotypes in cohort.fam", 87, "HG00104, HG00124, <b>HG00134</b>"),
        ("genes", "in", "in genes.bed.gz", 30, ""),
        ("genes", "used", "matched", 28, ""),
        ("genes", "dropped", "constant expression", 2, "ENSG00000232271.2, ENSG00000100376.12"),
        ("gene-variant pairs", "in", "in the windows of all genes together", 84_034, ""),
        ("gene-variant pairs", "used", "in the windows of all genes together", 72_000, ""),
        ("gene-variant pairs", "dropped", "minor allele frequency below 0.05", 12_034, ""),
    ]
    return MatchReport(pl.DataFrame(rows, schema=MatchReport.SCHEMA, orient="row"))


INFO = {
    "command": "genopred stack --bfile cohort --expression genes.bed.gz --covar a-very-long-name-" + "x" * 120,
    "stack": "stack-xgboost",
    "seed": 1,
    "window": 500_000,
    "seconds": 812.3,
    "notes": ["28 genes are too few to grow the pooled meta-learner."],
}
