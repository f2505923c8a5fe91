"""Cut tests/data/tiny from the GEUVADIS example data: 60 people, 4 genes, SNPs around them.

Run from the project's root, with the shared data beside it and bcftools and plink2 installed:
    python tests/data/make_tiny.py
The conversions are the other programs' own, so that every reader is held against one that is not ours.
"""

import gzip
import os
import subprocess
from pathlib import Path

HERE = Path(__file__).parent / "tiny"
SHARED = Path(os.environ.get("GENOPRED_SHARED", "../shared")) / "data" / "geuvadis_chr22"
GENES, PEOPLE, THIN = 4, 60, 12


def run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


def main() -> None:
    HERE.mkdir(exist_ok=True)
    with gzip.open(SHARED / "genes.50percent.chr22.bed.gz", "rt") as handle:
        lines = [line.rstrip("\n").split("\t") for line in handle]
    samples = lines[0][6 : 6 + PEOPLE]
    rows = lines[300 : 300 + GENES]
    with (HERE / "expression.qtltools.bed").open("w") as out:
        for row in [lines[0], *rows]:
            out.write("\t".join(row[: 6 + PEOPLE]) + "\n")
    with gzip.GzipFile(HERE / "expression.gtex.bed.gz", "wb", mtime=0) as out:
        for row in [["#chr", "start", "end", "gene_id", *lines[0][6:]], *(row[:4] + row[6:] for row in rows)]:
            out.write(("\t".join(row[: 4 + PEOPLE]) + "\n").encode())
    with gzip.open(SHARED / "genes.covariates.pc50.txt.gz", "rt") as handle:
        table = [line.split() for line in handle][:7]
    at = [0, *(table[0].index(name) for name in samples)]
    short = [["SampleID"], *([f"PC{k}"] for k in range(1, 7))]
    table = [[*name, *(row[i] for i in at[1:])] for name, row in zip(short, table)]
    (HERE / "covariates.qtltools.txt").write_text("".join(" ".join(row) + "\n" for row in table))
    turned = [["#FID", "IID", *(row[0] for row in table[1:])]]
    turned += [["0", table[0][j], *(row[j] for row in table[1:])] for j in range(1, PEOPLE + 1)]
    (HERE / "covariates.plink.txt").write_text("".join("\t".join(row) + "\n" for row in turned))

    low, high = int(rows[0][2]) - 200_000, int(rows[-1][2]) + 200_000
    vcf = HERE / "genotypes.vcf"
    command = ["bcftools", "view", "-s", ",".join(samples), "-r", f"chr22:{low}-{high}", "-H"]
    command.append(str(SHARED / "genotypes.chr22.vcf.gz"))
    body = subprocess.run(command, check=True, capture_output=True, text=True)
    head = [
        "##fileformat=VCFv4.2",
        "##contig=<ID=chr22,assembly=b37,length=51304566>",
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
        "\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples]),
    ]
    with vcf.open("w") as out:
        out.write("\n".join(head) + "\n")
        for i, line in enumerate(body.stdout.splitlines()[::THIN]):
            cells = line.split("\t")
            cells[5:8] = [".", ".", "."]
            calls = [cell.split(":")[0] for cell in cells[9:]]
            if i % 7 == 3:  # the original has no missing genotype; the tests need some
                calls[i % PEOPLE] = calls[(i + 11) % PEOPLE] = ".|."
            out.write("\t".join([*cells[:8], "GT", *calls]) + "\n")
    for end in (".gz", ".gz.tbi", ".gz.csi"):
        Path(f"{vcf}{end}").unlink(missing_ok=True)
    run("bcftools", "view", "--no-version", "-Oz", "-o", f"{vcf}.gz", vcf)
    run("bcftools", "index", "-t", f"{vcf}.gz")
    run("bcftools", "view", "--no-version", "-Ob", "-o", HERE / "genotypes.bcf", vcf)
    run("bcftools", "index", HERE / "genotypes.bcf")
    prefix = HERE / "genotypes"
    run("plink2", "--vcf", vcf, "--double-id", "--make-bed", "--out", prefix)
    run("plink2", "--vcf", vcf, "--make-pgen", "--out", prefix)
    vcf.unlink()
    prefix.with_suffix(".log").unlink()


if __name__ == "__main__":
    main()
