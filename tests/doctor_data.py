"""A small cohort on two chromosomes with every file that `genopred doctor` looks at; tests plant one fault each."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

N, M, G = 120, 1200, 24
START, STEP = 700_000, 1000
COMPLEMENT = dict(zip("ACGT", "TGCA"))


@dataclass
class Cohort:
    """Everything before it is written; a fault changes some of it."""

    samples: list[str]
    alleles: np.ndarray  # (N, 2, M): -1 where missing
    variants: pl.DataFrame
    sequence: dict[str, str]
    genes: pl.DataFrame
    values: np.ndarray  # (N, G)
    expressed: list[str]
    covariates: np.ndarray  # (N, K)
    covaried: list[str]
    beta: np.ndarray
    phased: bool = True
    header: dict[str, str] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def dosage(self) -> np.ndarray:
        return np.where((self.alleles < 0).any(axis=1), np.nan, self.alleles.sum(axis=1))


def haplotypes(rng: np.random.Generator, n: int, frequency: np.ndarray) -> np.ndarray:
    """Of n people: a SNP is the one before it in more than half of haplotypes, so that there is LD."""
    u = rng.random((n, 2, len(frequency)))
    for j in range(1, len(frequency)):
        same = rng.random((n, 2)) < 0.6
        u[:, :, j] = np.where(same, u[:, :, j - 1], u[:, :, j])
    return (u < frequency).astype(np.int8)


def cohort(seed: int = 1) -> Cohort:
    """A clean one: half of the genes have one strong cis SNP."""
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(0.15, 0.5, 2 * M)
    alleles = np.concatenate([haplotypes(rng, N, frequency[:M]), haplotypes(rng, N, frequency[M:])], axis=2)
    pos = START + STEP * np.arange(M) + rng.integers(0, STEP // 2, M)
    length = START + STEP * (M + 200)
    sequence = {name: "".join(rng.choice(list("ACGT"), length)) for name in ("1", "2")}
    rows = []
    for name in ("1", "2"):
        for p in pos.tolist():
            ref = sequence[name][p - 1]
            alt = rng.choice([base for base in "ACGT" if base not in (ref, COMPLEMENT[ref])])
            rows.append((name, p, f"rs{name}{p}", ref, str(alt)))
    variants = pl.DataFrame(rows, ["chrom", "pos", "id", "ref", "alt"], orient="row")
    tss = np.linspace(START + 60_000, START + STEP * (M - 60), G).astype(int)
    genes = pl.DataFrame(
        {
            "gene_id": [f"ENSG{i:011d}.1" for i in range(2 * G)],
            "chrom": ["1"] * G + ["2"] * G,
            "tss": np.tile(tss, 2),
            "strand": ["+", "-"] * G,
        }
    )
    x = alleles.sum(axis=1).astype(float)
    values = rng.standard_normal((N, 2 * G))
    causal = np.concatenate([np.searchsorted(pos, tss), M + np.searchsorted(pos, tss)])
    for j in range(0, 2 * G, 2):
        z = x[:, causal[j]]
        values[:, j] = 0.75 * (z - z.mean()) / z.std() + 0.66 * values[:, j]
    covariates = rng.standard_normal((N, 4))
    samples = [f"S{i:03d}" for i in range(N)]
    beta = rng.normal(0, 0.1, 2 * M)
    return Cohort(samples, alleles, variants, sequence, genes, values, list(samples), covariates, list(samples), beta)


def write(made: Cohort, folder: Path, only: tuple[str, ...] = ()) -> dict[str, Path]:
    """All files of a cohort, or some: their paths by name."""
    folder.mkdir(exist_ok=True, parents=True)
    files = {
        "vcf": _vcf, "expression": _expression, "covar": _covar, "fasta": _fasta, "gtf": _gtf, "sumstats": _sumstats,
        "score": _score, "models": _models,
    }  # fmt: skip
    return {name: make(made, folder) for name, make in files.items() if not only or name in only}


def _vcf(made: Cohort, folder: Path) -> Path:
    between = "|" if made.phased else "/"
    lines = ["##fileformat=VCFv4.2", '##FORMAT=<ID=GT,Number=1,Type=String,Description="g">']
    contigs = {name: f"##contig=<ID={name}>" for name in made.variants["chrom"].unique(maintain_order=True)}
    lines += list((contigs | made.header).values())
    lines.append("\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *made.samples]))
    codes = np.where(made.alleles < 0, ".", made.alleles.astype(str))
    for j, (chrom, pos, name, ref, alt) in enumerate(made.variants.iter_rows()):
        calls = (f"{a}{between}{b}" for a, b in codes[:, :, j])
        lines.append("\t".join([chrom, str(pos), name, ref, alt, ".", "PASS", ".", "GT", *calls]))
    path = folder / "people.vcf"
    path.write_text("\n".join(lines) + "\n")
    return path


def _expression(made: Cohort, folder: Path) -> Path:
    names = "\t".join(["#chr", "start", "end", "gene_id", "length", "strand", *made.expressed])
    lines = [names]
    for gene, column in zip(made.genes.iter_rows(named=True), made.values.T):
        place = [gene["chrom"], str(gene["tss"] - 1), str(gene["tss"]), gene["gene_id"], "1000", gene["strand"]]
        lines.append("\t".join([*place, *(f"{value:.6g}" for value in column)]))
    path = folder / "expression.bed.gz"
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))
    return path


def _covar(made: Cohort, folder: Path) -> Path:
    names = [f"PC{i + 1}" for i in range(made.covariates.shape[1])]
    table = pl.DataFrame({"id": made.covaried, **dict(zip(names, made.covariates.T))})
    path = folder / "covariates.txt"
    if made.more.get("transposed", True):
        lines = ["\t".join(["id", *made.covaried])]
        lines += ["\t".join([name, *map(_cell, column)]) for name, column in zip(names, made.covariates.T)]
        path.write_text("\n".join(lines) + "\n")
    else:
        table.write_csv(path, separator="\t", null_value="NA")
    return path


def _cell(value: float) -> str:
    return "NA" if np.isnan(value) else f"{value:.15g}"


def _fasta(made: Cohort, folder: Path) -> Path:
    path = folder / "reference.fa"
    text = "".join(
        f">{name}\n" + "\n".join(bases[i : i + 100] for i in range(0, len(bases), 100)) + "\n"
        for name, bases in made.sequence.items()
    )
    path.write_text(text)
    return path


def _gtf(made: Cohort, folder: Path) -> Path:
    lines = []
    for gene in made.genes.iter_rows(named=True):
        tss = gene["tss"] + made.more.get("gtf", 0)
        start, end = (tss, tss + 900) if gene["strand"] == "+" else (tss - 900, tss)
        about = f'gene_id "{gene["gene_id"]}"; gene_name "g";'
        lines.append(f"{gene['chrom']}\tx\tgene\t{start}\t{end}\t.\t{gene['strand']}\t.\t{about}")
    path = folder / "genes.gtf"
    path.write_text("\n".join(lines) + "\n")
    return path


def _sumstats(made: Cohort, folder: Path) -> Path:
    from scipy.stats import norm

    table = made.more.get("effects", made.variants)
    freq = made.more.get("af", np.nan_to_num(np.nanmean(made.dosage, axis=0), nan=1.0) / 2)
    beta = made.beta
    names = ["chromosome", "base_pair_location", "effect_allele", "other_allele", "beta", "standard_error", "p_value"]
    lines = ["\t".join([*names, "effect_allele_frequency"])]
    for (chrom, pos, _, ref, alt), b, f in zip(table.iter_rows(), beta, freq):
        p = 2 * norm.sf(abs(b) / 0.1)
        lines.append(f"{chrom}\t{pos}\t{alt}\t{ref}\t{b:.5g}\t0.1\t{p:.5g}\t{f:.4f}")
    path = folder / "gwas.tsv"
    drop = made.more.get("without", ())
    rows = [line.split("\t") for line in lines]
    keep = [i for i, name in enumerate(rows[0]) if name not in drop]
    path.write_text("\n".join("\t".join(row[i] for i in keep) for row in rows) + "\n")
    return path


def _score(made: Cohort, folder: Path) -> Path:
    build = made.more.get("score_build", "NR")
    lines = ["#format_version=2.0", f"#genome_build={build}"]
    lines.append("chr_name\tchr_position\teffect_allele\tother_allele\teffect_weight")
    table = made.more.get("effects", made.variants)
    lines += [f"{c}\t{p}\t{a}\t{r}\t{b:.4f}" for (c, p, _, r, a), b in zip(table.iter_rows(), made.beta)]
    path = folder / "pgs.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def _models(made: Cohort, folder: Path) -> Path:
    import sqlite3

    path = folder / "models.db"
    path.unlink(missing_ok=True)
    table = made.more.get("effects", made.variants)
    with sqlite3.connect(path) as db:
        db.execute(
            "create table weights (rsid text, gene text, weight real, ref_allele text, eff_allele text, varID text)"
        )
        db.execute("create table extra (gene text, genename text, 'n.snps.in.model' int, 'pred.perf.R2' real)")
        rows = list(table.iter_rows())
        for i, gene in enumerate(made.genes["gene_id"].to_list()):
            mine = rows[i * 40 : i * 40 + 10]
            for chrom, pos, name, ref, alt in mine:
                db.execute(
                    "insert into weights values (?,?,?,?,?,?)",
                    (name, gene, 0.1, ref, alt, f"{chrom}_{pos}_{ref}_{alt}_{made.more.get('models_build', 'b37')}"),
                )
            db.execute("insert into extra values (?,?,?,?)", (gene, gene, len(mine), 0.1))
    db.close()
    return path
