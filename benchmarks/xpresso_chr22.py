"""Does Xpresso, trained on the reference genome, tell people apart? All chr22 genes, 358 GEUVADIS people.

    python benchmarks/xpresso_chr22.py

reads ../shared (or $GENOPRED_SHARED), runs `genopred features` with each of the three published weights on
everybody's two haplotypes (about half a minute each on one core), and writes results/xpresso_chr22.tsv (one
row a gene, GM12878 weights) and results/xpresso_chr22.md.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from scipy import stats

from genopred.genetics.transform import inverse_normal, residualise, zscore
from genopred.io.annotation import read_gtf
from genopred.io.covariates import read_covariates
from genopred.io.expression import read_expression
from genopred.io.fasta import open_fasta
from genopred.io.features import read_features
from genopred.io.vcf import read_vcf
from genopred.pipelines import features
from genopred.sequence.features import features_for_gene
from genopred.sequence.models.registry import load_model
from genopred.settings import Features
from genopred.types import Covariates, Expression

HERE = Path(__file__).parent
SHARED = Path(os.environ.get("GENOPRED_SHARED", HERE.parent.parent / "shared"))
WEIGHTS = ("GM12878_trainepoch.06-0.5062.h5", "K562_trainepoch.11-0.4917.h5", "humanMedian_trainepoch.11-0.426.h5")
N_COVARIATES = 18  # 3 genotype and 15 phenotype PCs, as in the peers' protocol


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--features", type=Path, help="keep the features in this folder")
    args = parser.parse_args()
    data = SHARED / "data"
    folder = data / "geuvadis_chr22"
    expression = read_expression(folder / "genes.50percent.chr22.bed.gz")
    covariates = read_covariates(folder / "genes.covariates.pc50.txt.gz")
    coding = protein_coding(data / "reference" / "gencode.v24.annotation_chr22.gtf.gz")
    summaries, per_gene = [], None
    with tempfile.TemporaryDirectory() as scratch:
        for weights in WEIGHTS:
            where = (args.features or Path(scratch)) / weights.split("_")[0]
            started = time.perf_counter()
            run = features.run(
                Features(
                    vcf=folder / "genotypes.chr22.vcf.gz",
                    fasta=data / "reference" / "chr22.b37.fa.gz",
                    model=f"xpresso:{data / 'xpresso' / weights}",
                    out=where,
                    expression=folder / "genes.50percent.chr22.bed.gz",
                    all_genes=True,
                    device="cpu",
                    threads=1,
                    self_check=True,
                )
            )
            seconds = time.perf_counter() - started
            table = evaluate(where, run, expression, covariates, coding)
            summaries.append(summarise(weights.split("_")[0], table, run, seconds))
            per_gene = table if per_gene is None else per_gene
        without = without_phase((args.features or Path(scratch)) / WEIGHTS[0].split("_")[0])
    assert per_gene is not None
    args.out.mkdir(parents=True, exist_ok=True)
    per_gene.write_csv(args.out / "xpresso_chr22.tsv", separator="\t", float_precision=5)
    text = report(summaries) + phase_report(without)
    (args.out / "xpresso_chr22.md").write_text(text)
    print(text)


def protein_coding(gtf: Path) -> set[str]:
    """Genes (without version) that GENCODE calls protein coding."""
    genes = read_gtf(gtf).filter(pl.col("gene_type") == "protein_coding")
    return {name.split(".")[0] for name in genes["gene_id"].to_list()}


def without_phase(where: Path) -> pl.DataFrame:
    """What forgetting the phase does: per gene and way, r over people with the phased features, and relative error."""
    data = SHARED / "data"
    model = load_model(f"xpresso:{data / 'xpresso' / WEIGHTS[0]}")
    genotypes = read_vcf(data / "geuvadis_chr22" / "genotypes.chr22.vcf.gz", phased=False)
    fasta = open_fasta(data / "reference" / "chr22.b37.fa.gz")
    expression = read_expression(data / "geuvadis_chr22" / "genes.50percent.chr22.bed.gz")
    rows = []
    for gene in expression.genes.iter_rows(named=True):
        phased = read_features(where, gene["gene_id"]).select(genotypes.samples).values[:, 0].astype(float)
        if np.ptp(phased) < 1e-6:
            continue
        for how in ("soft", "random"):
            found = (
                features_for_gene(
                    model,
                    genotypes,
                    fasta,
                    chrom=gene["chrom"],
                    tss=gene["tss"],
                    strand=gene["strand"],
                    unphased=how,
                    max_mismatch=1.0,
                )
                .values[:, 0]
                .astype(float)
            )
            r = float(np.corrcoef(phased, found)[0, 1]) if np.ptp(found) > 1e-6 else 0.0
            error = float(np.sqrt(np.mean((found - phased) ** 2)) / phased.std())
            rows.append({"gene_id": gene["gene_id"], "unphased": how, "r": r, "error": error})
    return pl.DataFrame(rows)


def phase_report(table: pl.DataFrame) -> str:
    lines = [
        "",
        "## Without phase",
        "",
        f"The same people with the phase forgotten, against their phased features ({table['gene_id'].n_unique()} genes "
        "whose prediction varies, GM12878 weights). Error: root mean square over people, in standard deviations of the "
        "phased feature.",
        "",
        "| --unphased | median r | lowest tenth below | r > 0.99 | r < 0.9 | median error |",
        "|---|---|---|---|---|---|",
    ]
    for how in ("soft", "random"):
        part = table.filter(pl.col("unphased") == how)
        r = part["r"].to_numpy()
        lines.append(
            f"| {how} | {np.median(r):.4f} | {np.quantile(r, 0.1):.3f} | {np.mean(r > 0.99):.0%} | "
            f"{np.mean(r < 0.9):.0%} | {part['error'].median():.3f} |"
        )
    return "\n".join(lines) + "\n"


def evaluate(
    where: Path, run: features.FeaturesResult, expression: Expression, covariates: Covariates, coding: set[str]
) -> pl.DataFrame:
    """One row a gene: reference prediction, mean expression, and the correlation over people."""
    samples = np.array(run.manifest["samples"])
    expression = expression.select(samples=samples)
    confounders = covariates.select(samples=samples).values[:, :N_COVARIATES]
    phenotype = zscore(residualise(inverse_normal(expression.values), confounders))
    place = {gene: i for i, gene in enumerate(expression.genes["gene_id"].to_list())}
    rows = []
    for gene in run.genes.iter_rows(named=True):
        column = place[gene["gene_id"]]
        found = read_features(where, gene["gene_id"])
        predicted = found.select(samples).values[:, 0].astype(float)
        raw = expression.values[:, column]
        r = p = None
        varies = float(np.ptp(predicted)) > 1e-6
        if varies:
            r = float(np.corrcoef(predicted, phenotype[:, column])[0, 1])
            df = len(samples) - 2 - N_COVARIATES
            p = float(2 * stats.t.sf(abs(r) * np.sqrt(df / (1 - r**2)), df))
        rows.append(
            {
                "gene_id": gene["gene_id"],
                "strand": gene["strand"],
                "tss": gene["tss"],
                "protein_coding": gene["gene_id"].split(".")[0] in coding,
                "variants": gene["variants"],
                "distinct_haplotypes": gene["distinct"],
                "reference_prediction": found.origin["reference"][0],
                "mean_log10_expression": float(np.log10(raw + 0.1).mean()),
                "log10_mean_expression": float(np.log10(raw.mean() + 0.1)),
                "sd_over_people": float(predicted.std()),
                "r_over_people": r,
                "p": p,
            }
        )
    table = pl.DataFrame(rows, infer_schema_length=None)
    tested = table["p"].is_not_null().to_numpy()
    q = np.full(table.height, np.nan)
    q[tested] = stats.false_discovery_control(table["p"].drop_nulls().to_numpy())
    return table.with_columns(pl.Series("fdr", q).fill_nan(None))


def summarise(name: str, table: pl.DataFrame, run: features.FeaturesResult, seconds: float) -> dict[str, object]:
    out: dict[str, object] = {"weights": name, "genes": table.height, "seconds": seconds}
    for label, part in (("all", table), ("coding", table.filter("protein_coding"))):
        reference = part["reference_prediction"].to_numpy()
        out[f"n_{label}"] = part.height
        for what in ("mean_log10_expression", "log10_mean_expression"):
            level = part[what].to_numpy()
            out[f"r_{label}_{what}"] = stats.pearsonr(reference, level)
        out[f"rho_{label}"] = stats.spearmanr(reference, part["mean_log10_expression"].to_numpy())
    varying = table.filter(pl.col("r_over_people").is_not_null())
    r = varying["r_over_people"].to_numpy()
    out["varying"] = varying.height
    out["positive"], out["negative"] = int((r > 0).sum()), int((r < 0).sum())
    out["binomial"] = stats.binomtest(int((r > 0).sum()), len(r)).pvalue
    out["quantiles"] = np.quantile(r, [0.05, 0.25, 0.5, 0.75, 0.95])
    out["mean_r"], out["mean_abs_r"] = r.mean(), np.abs(r).mean()
    df = len(run.manifest["samples"]) - 2 - N_COVARIATES
    # of the correlation of two unrelated normal vectors, with the covariates' degrees of freedom gone
    out["null_abs_r"] = stats.t.expect(lambda t: abs(t) / np.sqrt(df + t * t), args=(df,))
    significant = varying.filter(pl.col("fdr") < 0.05)["r_over_people"].to_numpy()
    out["significant_positive"], out["significant_negative"] = (
        int((significant > 0).sum()),
        int((significant < 0).sum()),
    )
    both = len(significant)
    out["significant_binomial"] = stats.binomtest(int((significant > 0).sum()), both).pvalue if both else None
    out["nominal_positive"] = int(((varying["p"] < 0.05).to_numpy() & (r > 0)).sum())
    out["nominal_negative"] = int(((varying["p"] < 0.05).to_numpy() & (r < 0)).sum())
    out["self_check"] = float(run.genes["self_check_error"].max())  # type: ignore[arg-type]
    out["distinct"], out["haplotypes"] = int(run.genes["distinct"].sum()), int(run.genes["haplotypes"].sum())
    return out


def report(summaries: list[dict[str, object]]) -> str:
    def row(label: str, cell: object) -> str:
        return f"| {label} | " + " | ".join(cell(s) for s in summaries) + " |"  # type: ignore[operator]

    def pearson(key: str):
        return lambda s: f"{s[key].statistic:.3f} (p {s[key].pvalue:.1g})"

    head = summaries[0]
    lines = [
        "# Xpresso on personal genomes: chr22, 358 GEUVADIS people",
        "",
        "Made by `python benchmarks/xpresso_chr22.py`; per gene (GM12878 weights): xpresso_chr22.tsv. Every "
        "person's two phased haplotypes (SNVs with MAF ≥ 0.05) over 10,500 bp around the TSS, GRCh37; the mean of the "
        "two predictions. Expression for the comparison over people: rank-based inverse normal, residualised on 3 "
        f"genotype and 15 phenotype PCs. {head['n_coding']} of the {head['genes']} genes are protein coding "
        "(GENCODE v24), which is what Xpresso was trained on. The binomial tests take genes as independent; neighbours "
        "share variants, so the true p values are larger still.",
        "",
        "| | " + " | ".join(str(s["weights"]) for s in summaries) + " |",
        "|---" * (len(summaries) + 1) + "|",
        "| **Over genes: reference prediction against expression** |" + " |" * len(summaries),
        row("Pearson r, mean over people of log10(x + 0.1), all genes", pearson("r_all_mean_log10_expression")),
        row("the same, protein coding", pearson("r_coding_mean_log10_expression")),
        row("Pearson r, log10(mean + 0.1), all genes", pearson("r_all_log10_mean_expression")),
        row("the same, protein coding", pearson("r_coding_log10_mean_expression")),
        row("Spearman rho, all genes", pearson("rho_all")),
        row("Spearman rho, protein coding", pearson("rho_coding")),
        "| **Over people, gene by gene** |" + " |" * len(summaries),
        row("genes whose prediction varies", lambda s: f"{s['varying']} of {s['genes']}"),
        row("r positive / negative", lambda s: f"{s['positive']} / {s['negative']}"),
        row("binomial p of that", lambda s: f"{s['binomial']:.2g}"),
        row("mean r", lambda s: f"{s['mean_r']:.4f}"),
        row("quantiles of r: 5, 25, 50, 75, 95 %", lambda s: ", ".join(f"{v:.3f}" for v in s["quantiles"])),
        row("mean absolute r (without any relation)", lambda s: f"{s['mean_abs_r']:.3f} ({s['null_abs_r']:.3f})"),
        row("p < 0.05, positive / negative", lambda s: f"{s['nominal_positive']} / {s['nominal_negative']}"),
        row("FDR < 5 %, positive / negative", lambda s: f"{s['significant_positive']} / {s['significant_negative']}"),
        row(
            "binomial p of that",
            lambda s: "–" if s["significant_binomial"] is None else f"{s['significant_binomial']:.2g}",
        ),
        "| **Cost** |" + " |" * len(summaries),
        row("distinct windows of haplotypes", lambda s: f"{s['distinct']:,} of {s['haplotypes']:,}"),
        row("seconds, one core, with reading", lambda s: f"{s['seconds']:.0f}"),
        row("self-check: largest relative error against plain passes", lambda s: f"{s['self_check']:.0e}"),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
