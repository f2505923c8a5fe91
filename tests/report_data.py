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


def all_figures() -> tuple[tuple, ...]:
    """Every kind of figure that has one of its own beside a comparison of methods, drawn for all screens."""
    from functools import partial

    from genopred.report import figures, figures_ism, figures_tracks, figures_training, locus

    rng = np.random.default_rng(3)
    n = 150
    pos = np.sort(rng.integers(41_000_000, 41_900_000, n))
    ids = [f"rs{i + 1_000_000}" for i in range(n)]
    p, effect = rng.exponential(3, n), rng.exponential(1, n)
    tops = (("top 50 of enformer-small", effect > np.sort(effect)[-12]), ("top 50 of eQTL", p > np.sort(p)[-12]))
    genes = pl.DataFrame(
        {
            "gene_id": [f"ENSG{i:011d}.1" for i in range(9)],
            "gene_name": [f"RP4-756G{i}.5" for i in range(9)],
            "start": [41_000_000 + 90_000 * i for i in range(9)],
            "end": [41_060_000 + 90_000 * i for i in range(9)],
            "strand": ["+", "-", "+"] * 3,
        }
    )
    common = {"ids": ids, "chrom": "22", "genes": locus.GeneTrack(genes), "ylabel": "\N{MINUS SIGN}log10 p"}
    tracks = pl.DataFrame(
        [(f"{cell} {what} {strand}", what, cell, strand) for what in ("accessibility", "initiation")
         for cell in ("GM12878", "K562", "MCF7") for strand in ("+", "-")],
        schema=["track", "assay", "cell", "strand"],
        orient="row",
    )  # fmt: skip
    measured = rng.poisson(rng.gamma(0.5, 4, (800, 12))).astype(float)
    predicted = 0.5 * measured + rng.gamma(1, 1, measured.shape)
    k = np.arange(1, n + 1)
    band = (k**2 / n, k**2 / n * 0.6, k**2 / n * 1.4 + 1)
    nulls = {"permutation": band, "phenotype": band}
    values = {f"ENSG{i:011d}.12": rng.normal(size=50) for i in range(5)}
    sequence = "".join(rng.choice(list("ACGT"), 61))
    changes = rng.normal(size=(61, 4))
    marks = [(41_256_802, "rs138390425"), (41_256_805, "rs1383904")]
    epochs = np.arange(30)
    history = pl.DataFrame(
        {"epoch": epochs, "train_loss": 1 / (1 + epochs), "validation_loss": 1.2 / (1 + epochs)}
        | {f"pearson_{name}": rng.random(30) for name in tracks["track"][:9].to_list()}
    )
    kinds = {
        "locus": partial(locus.locus_plot, pos, p, ld=rng.random(n), **common),
        "sets": partial(locus.locus_plot, pos, p, sets=tops, **common),
        "effect": partial(locus.effect_against_p, effect, p, ids=ids, sets=tops),
        "curve": partial(locus.overlap_figure, k, k**2 / n, nulls, marks=(50,), total=n),
        "founding": partial(locus.founding_panels, pos, p, effect, effect + p, ids=ids, k=12, chrom="22"),
        "precision": partial(locus.precision_recall_figure, [0.1, 1.0], [1.0, 0.5], 0.1, name="credible sets"),
        "mutations": partial(
            figures_ism.mutagenesis, changes, sequence, chrom="chr22", start=41_256_772, marks=marks,
            title="In-silico mutagenesis with enformer-small, tracks: GM12878 accessibility, ENSG00000100376.12 (+)",
        ),
        "density": partial(figures_tracks.predicted_density, measured, predicted, tracks),
        "browser": partial(
            figures_tracks.track_browser, measured, predicted, tracks, chrom="chr22", start=41_000_000, bin_size=128,
            genes=locus.GeneTrack(genes),
        ),
        "training": partial(figures_training.training_curves, history),
        "spreads": partial(figures.spreads, values, "GM12878 accessibility, percent"),
    }  # fmt: skip
    return tuple((*figures.in_widths(kind), name) for name, kind in kinds.items())
