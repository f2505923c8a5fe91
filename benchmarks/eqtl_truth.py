"""eQTL mapping and credible sets on simulated cohorts with known causal variants (msprime).

    python benchmarks/eqtl_truth.py

Are p-values uniform where there is nothing, does the pass find causal variants as often as theory says, are 5 % of
the genes with q up to 0.05 false, do 95 % credible sets hold a causal variant 95 times in 100? 400 people, 5
covariates that carry 30 % of each gene's variance. Writes benchmarks/results/eqtl_truth.md. About three minutes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import polars as pl
from scipy import stats
from threadpoolctl import threadpool_limits

from genopred.genetics.eqtl.beta import permutation_table
from genopred.genetics.eqtl.qvalues import add_qvalues
from genopred.genetics.eqtl.scan import (
    CisModel,
    CisScan,
    cis_model,
    cis_scan,
    cis_windows,
    correlation_test,
    permutation_indices,
    residual_dosage,
)
from genopred.genetics.finemap import credible_sets, susie
from genopred.genetics.simulate import SimulatedCohort, simulate_cohort

HERE = Path(__file__).parent
N, GENES, REACH = 400, 400, 100_000


def cohort(seed: int, **options: object) -> SimulatedCohort:
    settings = {"n_samples": N, "n_genes": GENES, "length": 8_000_000, "reach": REACH, "maf": 0.05, "seed": seed}
    return simulate_cohort(**{**settings, **options})  # type: ignore[arg-type]


def mapped(made: SimulatedCohort, permutations: int = 1000) -> tuple[CisModel, CisScan, pl.DataFrame]:
    model = cis_model(made.expression, made.covariates)
    orders = permutation_indices(N, permutations)
    scan = cis_scan(made.dosage, made.pos, made.tss, model, REACH, permutations=orders)
    ids = made.variants["id"]
    table = permutation_table(scan, made.genes["gene_id"].to_list(), ids, made.pos, made.tss)
    return model, scan, table


def interval(hits: int, n: int) -> str:
    """Share with its 95 % Clopper-Pearson interval."""
    found = stats.binomtest(hits, n).proportion_ci()
    return f"{hits / n:.4f} ({found.low:.4f} to {found.high:.4f}), n = {n}"


def null() -> list[str]:
    """Genes without any effect of genotype."""
    nominal, gene = [], []
    rng = np.random.default_rng(1)
    for seed in range(101, 116):
        made = cohort(seed, null_fraction=1.0)
        _, scan, table = mapped(made)
        # One variant a gene: neighbours are no independent draws.
        r = np.array([rng.choice(scan.gene(g)) for g in range(GENES)])
        nominal.append(correlation_test(r, scan.df)[1])
        gene.append(table["pval_beta"].to_numpy())
    lines = ["| p-value | Kolmogorov-Smirnov p | below 0.05 | below 0.01 | below 0.001 |", "|---|---|---|---|---|"]
    for name, parts in (("nominal, one variant a gene", nominal), ("gene level, pval_beta", gene)):
        p = np.concatenate(parts)
        cells = [interval(int((p < level).sum()), len(p)) for level in (0.05, 0.01, 0.001)]
        lines.append(f"| {name} | {stats.kstest(p, 'uniform').pvalue:.3f} | {' | '.join(cells)} |")
    return lines


def power() -> list[str]:
    """One causal variant a gene: how often its own p is below a level, against the noncentral t."""
    lines = ["| share of variance | level | found | theory |", "|---|---|---|---|"]
    for number, share in enumerate((0.02, 0.05, 0.1)):
        made = cohort(10 + number, h2=share, null_fraction=0.0)
        _, scan, _ = mapped(made, 2)
        column = made.causal["column"].to_numpy()
        r = np.array([scan.gene(g)[column[g] - scan.start[g]] for g in range(GENES)])
        p = correlation_test(r, scan.df)[1]
        # The share holds with the covariates apart; residualising costs one dimension a covariate.
        shift = np.sqrt((N - 6) * share / (1 - share))
        for level in (1e-3, 1e-6):
            cut = stats.t.isf(level / 2, scan.df)
            theory = stats.nct.sf(cut, scan.df, shift) + stats.nct.cdf(-cut, scan.df, shift)
            lines.append(f"| {share} | {level:g} | {interval(int((p < level).sum()), GENES)} | {theory:.4f} |")
    return lines


def discoveries() -> list[str]:
    """Half of the genes have an eQTL: false discoveries at q up to 0.05, and power."""
    lines = ["| h2 | pi0 (true 0.5) | q up to 0.05 | of them false | eGenes found |", "|---|---|---|---|---|"]
    for number, h2 in enumerate((0.03, 0.05, 0.1)):
        hits = false = found = real = 0
        pi0s = []
        for seed in range(2):
            made = cohort(20 + 2 * number + seed, h2=h2)
            _, _, table = mapped(made)
            table, pi0 = add_qvalues(table)
            pi0s.append(pi0)
            truth = set(made.causal["gene_id"])
            called = table.filter(pl.col("qval") <= 0.05)["phenotype_id"].to_list()
            hits += len(called)
            false += len(set(called) - truth)
            found += len(set(called) & truth)
            real += len(truth)
        lines.append(f"| {h2} | {np.mean(pi0s):.3f} | {hits} | {interval(false, hits)} | {found / real:.2f} |")
    return lines


def coverage() -> list[str]:
    """Credible sets of all genes with effects."""
    lines = ["| causal variants | h2 | sets | hold a causal variant | median size | causal variants in a set |"]
    lines += ["|---|---|---|---|---|---|"]
    for number, (causal, h2) in enumerate((((1, 1), 0.05), ((1, 1), 0.15), ((2, 2), 0.2), ((3, 3), 0.3))):
        made = cohort(30 + number, h2=h2, n_causal=causal, null_fraction=0.0)
        model = cis_model(made.expression, made.covariates)
        start, stop = cis_windows(made.pos, made.tss, REACH)
        ids = made.genes["gene_id"].to_list()
        sizes, covered, held, total = [], 0, 0, 0
        for g in range(GENES):
            truth = set((made.causal.filter(pl.col("gene_id") == ids[g])["column"] - int(start[g])).to_list())
            x = residual_dosage(made.dosage[:, start[g] : stop[g]], model)
            union: set[int] = set()
            for one in credible_sets(susie(x, model.residuals[:, g]), x):
                sizes.append(len(one.variants))
                covered += bool(truth & set(one.variants.tolist()))
                union |= set(one.variants.tolist())
            held += len(truth & union)
            total += len(truth)
        lines.append(
            f"| {causal[0]} | {h2} | {len(sizes)} | {interval(covered, len(sizes))} | {np.median(sizes):.0f} "
            f"| {held / total:.2f} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "eqtl_truth.md")
    out = parser.parse_args().out
    lines = ["# eQTL mapping on simulated cohorts", "", " ".join((__doc__ or "").split("\n\n")[2].split()), ""]
    lines += ["Shares come with 95 % Clopper-Pearson intervals. Made by `python benchmarks/eqtl_truth.py`."]
    with threadpool_limits(1):
        for title, part in (
            ("p-values where there is nothing", null),
            ("Power for one causal variant", power),
            ("False discoveries", discoveries),
            ("Credible sets at 95 %", coverage),
        ):
            lines += ["", f"## {title}", "", *part()]
            print("\n".join(lines[-8:]), flush=True)
    out.parent.mkdir(exist_ok=True)
    out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
