"""Make the goldens of test_genetics_eqtl_*.py: a small cut of GEUVADIS, and what the peers say of it.

    python tests/golden/eqtl/make.py --tensorqtl PYTHON

Needs bcftools, bgzip, tabix, QTLtools, fastQTL and Rscript (with qvalue and susieR) on the path, ../shared or
$GENOPRED_SHARED, and the Python of an environment with tensorqtl 1.0.10.
"""

from __future__ import annotations

import argparse
import gzip
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from genopred.genetics.transform import inverse_normal

HERE = Path(__file__).parent
DATA = Path(os.environ.get("GENOPRED_SHARED", HERE.parents[3] / "shared")) / "data" / "geuvadis_chr22"
GENES = ("ENSG00000261251.1", "ENSG00000100344.6", "ENSG00000100347.10", "ENSG00000188677.10")
REGION = "chr22:44150000-44500000"
WINDOW = 150_000
EVERY = 4  # one variant in so many
COVARIATES = 6  # three genotype PCs, three phenotype PCs

TENSORQTL = """
import sys, torch
precision, vcf, bed, cov, out, window = sys.argv[1:]
if precision == "64":
    torch.float = torch.float32 = torch.float64
import numpy as np, pandas as pd
import tensorqtl
from tensorqtl import cis
if precision == "64":
    np.float32 = np.float64
rows = [line.split() for line in __import__("gzip").open(vcf, "rt") if not line.startswith("##")]
names = rows[0][9:]
count = {"0|0": 0, "0|1": 1, "1|0": 1, "1|1": 2}
ids = [r[2] for r in rows[1:]]
g = pd.DataFrame([[count[c] for c in r[9:]] for r in rows[1:]], index=ids, columns=names, dtype=float)
v = pd.DataFrame({"chrom": [r[0] for r in rows[1:]], "pos": [int(r[1]) for r in rows[1:]]}, index=g.index)
p, pos = tensorqtl.read_phenotype_bed(bed)
c = pd.read_csv(cov, sep="\\t", index_col=0).T
if precision == "64":
    p, c = p.astype(float), c.astype(float)
    cis.map_nominal(g, v, p, pos, out, covariates_df=c, window=int(window), verbose=False)
    table = pd.read_parquet(out + ".cis_qtl_pairs.chr22.parquet")
    table.to_csv(out + ".nominal.tsv", sep="\\t", index=False)
else:
    table = cis.map_cis(g, v, p, pos, covariates_df=c, window=int(window), nperm=10000, seed=1, verbose=False)
    table.to_csv(out + ".permute.tsv", sep="\\t")
    table["qval"] = 0.0
    table["pval_beta"] = np.minimum(table["pval_beta"], 1.0)
    table.loc[table.index[0], "pval_beta"] = 0.01  # sets the threshold of a signal
    table = table[table["pval_beta"] <= 0.01]
    cis.map_independent(g, v, table, p, pos, c, window=int(window), nperm=2000, seed=1, verbose=False).to_csv(
        out + ".independent.tsv", sep="\\t", index=False
    )
"""


SUSIE = """
suppressMessages(library(susieR))
path <- commandArgs(TRUE)
options(digits = 15)
f <- susie(as.matrix(read.table(path[1])), scan(path[2], quiet = TRUE), L = 5, tol = 1e-6, max_iter = 1000)
sets <- sapply(f$sets$cs, paste, collapse = ",")
cat(f$sigma2, "\\n", f$V, "\\n", f$pip, "\\n", tail(f$elbo, 1), "\\n", sets, "\\n", f$sets$coverage, "\\n",
    f$sets$purity$min.abs.corr, "\\n", f$sets$purity$mean.abs.corr, "\\n", file = path[3])
"""


def residuals(work: Path) -> tuple[np.ndarray, np.ndarray]:
    """Residual dosages and expression of the third gene, which has two signals."""
    from genopred.genetics.eqtl.scan import cis_model, residual_dosage
    from genopred.io.covariates import read_covariates
    from genopred.io.expression import read_expression
    from genopred.io.vcf import read_vcf

    expression = read_expression(HERE / "tiny.bed.gz")
    covariates = read_covariates(HERE / "tiny.cov.txt").select(expression.samples)
    genotypes = read_vcf(work / "tiny.vcf.gz").select(expression.samples)
    model = cis_model(expression.values, covariates.values)
    return residual_dosage(genotypes.dosage(), model), model.residuals[:, 2]


def run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


def write_inputs(work: Path) -> None:
    """tiny.vcf.gz, tiny.bed.gz and tiny.cov.txt beside this file."""
    source = DATA / "genotypes.chr22.vcf.gz"
    text = subprocess.run(
        f"bcftools annotate -x INFO,^FORMAT/GT -r {REGION} {source} | grep -v '^##bcftools' "
        f"| awk '/^#/ || ++n % {EVERY} == 0'",
        shell=True,
        check=True,
        capture_output=True,
    ).stdout
    (work / "tiny.vcf").write_bytes(text)
    run("bgzip", "-f", work / "tiny.vcf")
    (HERE / "tiny.vcf.gz").write_bytes((work / "tiny.vcf.gz").read_bytes())
    run("tabix", "-f", "-p", "vcf", work / "tiny.vcf.gz")
    with gzip.open(DATA / "genes.50percent.chr22.bed.gz", "rt") as handle:
        lines = [line for line in handle if line.startswith("#") or line.split("\t")[3] in GENES]
    with gzip.GzipFile(HERE / "tiny.bed.gz", "wb", mtime=0) as out:
        out.write("".join(lines).encode())
    with gzip.open(DATA / "genes.covariates.pc50.txt.gz", "rt") as handle:
        rows = [handle.readline().split() for _ in range(COVARIATES + 1)]
    for number, row in enumerate(rows[1:], start=1):
        row[0] = f"PC{number}"
    (HERE / "tiny.cov.txt").write_text("".join(" ".join(row) + "\n" for row in rows))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tensorqtl", required=True)
    python = parser.parse_args().tensorqtl
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_inputs(work)
        vcf = work / "tiny.vcf.gz"
        with gzip.open(HERE / "tiny.bed.gz", "rt") as handle:
            cells = [line.rstrip("\n").split("\t") for line in handle]
        four = [row[:4] + row[6:] for row in cells]
        normal = inverse_normal(np.array([[float(v) for v in row[6:]] for row in cells[1:]]), axis=1)
        tq = [four[0]] + [row[:4] + [repr(float(v)) for v in values] for row, values in zip(four[1:], normal)]
        tq[0][3] = "gene_id"
        for name, rows in (("six", cells), ("four", four), ("tq", tq)):
            (work / f"{name}.bed").write_text("".join("\t".join(row) + "\n" for row in rows))
            run("bgzip", "-f", work / f"{name}.bed")
            run("tabix", "-f", "-p", "bed", work / f"{name}.bed.gz")
        tab = (HERE / "tiny.cov.txt").read_text().replace(" ", "\t").replace("SampleID", "id")
        (work / "cov.txt").write_text(tab)
        (work / "cov.q.txt").write_text((HERE / "tiny.cov.txt").read_text())
        qtl = ["QTLtools", "cis", "--vcf", vcf, "--bed", work / "six.bed.gz", "--cov", work / "cov.q.txt", "--normal"]
        run(*qtl, "--window", WINDOW, "--nominal", 1, "--std-err", "--out", work / "q.nominal.txt")
        run(*qtl, "--window", WINDOW, "--permute", 10000, "--seed", 1, "--out", work / "q.permute.txt")
        fast = ["fastQTL", "--vcf", vcf, "--bed", work / "four.bed.gz", "--cov", work / "cov.txt", "--normal"]
        region = ["--window", f"{WINDOW:.6e}", "--region", "chr22:1-60000000", "--log", work / "f.log"]
        run(*fast, *region, "--out", work / "f.nominal.txt.gz")
        script = work / "tq.py"
        script.write_text(TENSORQTL)
        for bits in ("64", "32"):
            run(python, script, bits, vcf, work / "tq.bed.gz", work / "cov.txt", work / f"tq{bits}", WINDOW)
        r = "library(qvalue); p <- scan('{}', quiet=TRUE); q <- qvalue(p); cat(q$pi0, q$qvalues, sep='\\n')"
        rng = np.random.default_rng(1)
        pvals = np.concatenate([rng.random(300), rng.beta(0.2, 20, 100)])
        np.savetxt(work / "p.txt", pvals, fmt="%.17g")
        q = subprocess.run(
            ["Rscript", "-e", r.format(work / "p.txt")], check=True, capture_output=True, text=True
        ).stdout
        (HERE / "qvalue.txt").write_text(q)
        x, y = residuals(work)
        np.savetxt(work / "x.txt", x, fmt="%.17g")
        np.savetxt(work / "y.txt", y, fmt="%.17g")
        (work / "susie.R").write_text(SUSIE)
        run("Rscript", work / "susie.R", work / "x.txt", work / "y.txt", HERE / "susier.txt")
        for name, path in (
            ("qtltools.nominal.txt", work / "q.nominal.txt"),
            ("qtltools.permute.txt", work / "q.permute.txt"),
            ("tensorqtl.nominal.tsv", work / "tq64.nominal.tsv"),
            ("tensorqtl.permute.tsv", work / "tq32.permute.tsv"),
            ("tensorqtl.independent.tsv", work / "tq32.independent.tsv"),
        ):
            with gzip.GzipFile(HERE / f"{name}.gz", "wb", mtime=0) as out:
                out.write(path.read_bytes())
        with gzip.GzipFile(HERE / "fastqtl.nominal.txt.gz", "wb", mtime=0) as out:
            out.write(gzip.decompress((work / "f.nominal.txt.gz").read_bytes()))


if __name__ == "__main__":
    main()
