"""Write tests/data/bad: one small file for each thing that can be wrong with an input.

    python tests/data/make_bad.py

`CASES` names each file with the words its message must have; the tests read it.
"""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

TINY = Path(__file__).parent / "tiny"
BAD = Path(__file__).parent / "bad"

#: file -> (kind of file, words that the message must have)
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "truncated.bed": ("plink", ("truncated.bed is truncated", "60 samples", "copy the three files")),
    "toolong.bed": ("plink", ("toolong.bed is too long",)),
    "magic.bed": ("plink", ("magic.bed does not start with the bytes 6c 1b", "expression BED")),
    "samplemajor.bed": ("plink", ("sample-major", "--make-bed")),
    "twice.bed": ("plink", ("twice.fam line 3", "HG00096", "already on line 1")),
    "families.bed": ("plink", ("1 IIDs occur in more than one family (HG00096)", "FID_IID", "--update-ids")),
    "shortline.bed": ("plink", ("shortline.bim line 4", "5 fields where 6 are needed")),
    "position.bed": ("plink", ("position.bim line 2", "'pos'", "'12a'", "whole number")),
    "nobim.bed": ("plink", ("nobim.bim", "no such file", ".bed, .bim and .fam")),
    "emptyfam.bed": ("plink", ("emptyfam.fam is empty",)),
    "unsorted.expression.bed": ("expression", ("line 3", "not sorted", "sort -k1,1 -k2,2n")),
    "chromback.expression.bed": (
        "expression",
        (
            "line 4",
            "chr21 comes back",
        ),
    ),
    "textcell.expression.bed": ("expression", ("line 3", "'HG00097'", "'high'", "a number is needed")),
    "nan.expression.bed": ("expression", ("line 2", "'HG00099'", "finite number")),
    "emptycell.expression.bed": ("expression", ("line 2", "'HG00096'", "''")),
    "shortline.expression.bed": ("expression", ("line 3", "6 fields where 7 are needed")),
    "gene_twice.expression.bed": ("expression", ("g1 on lines 2, 3", "one row per gene")),
    "sample_twice.expression.bed": ("expression", ("line 1", "HG00096 has more than one column")),
    "endbeforestart.expression.bed": ("expression", ("line 2", "end 99 is not after start 100")),
    "noheader.expression.bed": ("expression", ("line 1", "header of an expression BED", "#chr, start, end, gene_id")),
    "headeronly.expression.bed": ("expression", ("no genes",)),
    "cutoff.expression.bed.gz": ("expression", ("gzip data are damaged or cut off",)),
    "empty.expression.bed": ("expression", ("is empty",)),
    "genotypes_as.expression.bed": ("expression", ("PLINK .bed", "needed an expression BED")),
    "text.covariates.txt": ("covariates", ("line 3", "'HG00097'", "'male'", "a number is needed")),
    "twice.covariates.txt": ("covariates", ("HG00096 occurs more than once",)),
    "covariate_twice.covariates.txt": ("covariates", ("covariate PC1 occurs more than once",)),
    "ragged.covariates.txt": ("covariates", ("line 3", "3 fields where 4 are needed")),
    "onecolumn.covariates.txt": ("covariates", ("line 1", "1 column")),
    "infinite.covariates.txt": ("covariates", ("PC1 of HG00096 is infinite",)),
    "noformat.vcf": ("vcf", ("GT or DS", "not in the header")),
    "nosamples.vcf": ("vcf", ("no sample columns",)),
    "norecords.vcf": ("vcf", ("no records",)),
    "notavcf.vcf": ("vcf", ("could not be opened as VCF or BCF",)),
    "ploidy.vcf": ("vcf-data", ("22:100 has ploidy 3",)),
    "mixedphase.vcf": ("vcf-data", ("22:2010 has unphased heterozygotes", "phased=False")),
    "cutoff.vcf.gz": ("vcf", ("is cut off", "end block")),
    "damaged.vcf.gz": ("vcf", ("could not be read", "damaged or cut off")),
    "nosize.psam.pgen": ("pgen", ("does not fit its .psam and .pvar", "60 samples")),
    "cutoff.pgen": ("pgen-data", ("is damaged or cut off",)),
    "gff3.gtf": ("gtf", ("GFF3", "gffread -T")),
    "fields.gtf": ("gtf", ("line 2", "4 fields", "9")),
    "nogenes.gtf": ("gtf", ("neither gene nor exon",)),
    "start.gtf": ("gtf", ("1 lines lack whole numbers", "x-90")),
    "plainzip.fa.gz": ("fasta", ("gzipped, not bgzipped", "bgzip")),
    "notafasta.fa": ("fasta", ("does not start with '>'",)),
    "ragged.fa": ("fasta", ("could not be indexed", "one length")),
    "pzero.sumstats.tsv": ("sumstats", ("1 rows", "p-value", "line 3: 0", "neg_log_10_p_value")),
    "ptwo.sumstats.tsv": ("sumstats", ("line 2: 2",)),
    "noeffect.sumstats.tsv": ("sumstats", ("no column for alt", "GWAS-SSF")),
    "text.sumstats.tsv": ("sumstats", ("line 2", "'beta'", "'big'")),
    "ratio.sumstats.tsv": ("sumstats", ("ratio", "above 0", "line 2: -1")),
    "notsqlite.db": ("models", ("no readable SQLite database",)),
    "header.covariances.txt": ("covariances", ("line 1", "GENE RSID1 RSID2 VALUE")),
}


def fileset(name: str, *, bed: bytes | None = None, bim: str | None = None, fam: str | None = None) -> None:
    """A PLINK fileset of which one file is changed."""
    (BAD / f"{name}.bed").write_bytes((TINY / "genotypes.bed").read_bytes() if bed is None else bed)
    (BAD / f"{name}.bim").write_text((TINY / "genotypes.bim").read_text() if bim is None else bim)
    (BAD / f"{name}.fam").write_text((TINY / "genotypes.fam").read_text() if fam is None else fam)


def plink() -> None:
    bed = (TINY / "genotypes.bed").read_bytes()
    bim = (TINY / "genotypes.bim").read_text().splitlines(keepends=True)
    fam = (TINY / "genotypes.fam").read_text().splitlines(keepends=True)
    fileset("truncated", bed=bed[:-7])
    fileset("toolong", bed=bed + b"\0")
    fileset("magic", bed=b"#chr\tstart" + bed[10:])
    fileset("samplemajor", bed=bed[:2] + b"\0" + bed[3:])
    fileset("twice", fam="".join([*fam[:2], fam[0], *fam[3:]]))
    fileset("families", fam="".join([*fam[:2], "other\tHG00096\t0\t0\t0\t-9\n", *fam[3:]]))
    fileset("shortline", bim="".join([*bim[:3], bim[3].rsplit("\t", 1)[0] + "\n", *bim[4:]]))
    cells = bim[1].split("\t")
    fileset("position", bim="".join([bim[0], "\t".join([*cells[:3], "12a", *cells[4:]]), *bim[2:]]))
    fileset("nobim")
    (BAD / "nobim.bim").unlink()
    fileset("emptyfam", fam="")


def expression() -> None:
    head = "#chr\tstart\tend\tgene_id\tHG00096\tHG00097\tHG00099\n"
    one, two = "22\t99\t100\tg1\t1\t2\t3\n", "22\t199\t200\tg2\t4\t5\t6\n"
    texts = {
        "unsorted": head + two + one,
        "chromback": head + "chr21\t1\t2\ta\t1\t2\t3\nchr22\t1\t2\tb\t1\t2\t3\nchr21\t5\t6\tc\t1\t2\t3\n",
        "textcell": head + one + two.replace("\t5\t", "\thigh\t"),
        "nan": head + one.replace("\t3\n", "\tnan\n") + two,
        "emptycell": head + one.replace("\t1\t", "\t\t") + two,
        "shortline": head + one + two.replace("\t6\n", "\n"),
        "gene_twice": head + one + two.replace("g2", "g1"),
        "sample_twice": head.replace("HG00099", "HG00096") + one,
        "endbeforestart": head + one.replace("99\t100", "100\t99"),
        "noheader": one + two,
        "headeronly": head,
        "empty": "",
    }
    for name, text in texts.items():
        (BAD / f"{name}.expression.bed").write_text(text)
    whole = gzip.compress((head + one + two).encode(), mtime=0)
    (BAD / "cutoff.expression.bed.gz").write_bytes(whole[: len(whole) // 2])
    shutil.copy(TINY / "genotypes.bed", BAD / "genotypes_as.expression.bed")


def covariates() -> None:
    head = "id HG00096 HG00097 HG00099\n"
    texts = {
        "text": head + "PC1 1 2 3\nsex 1 male 2\n",
        "twice": "IID PC1\nHG00096 1\nHG00096 2\n",
        "covariate_twice": head + "PC1 1 2 3\nPC1 1 2 4\n",
        "ragged": head + "PC1 1 2 3\nPC2 1 2\n",
        "onecolumn": "id\nPC1\n",
        "infinite": head + "PC1 inf 2 3\n",
    }
    for name, text in texts.items():
        (BAD / f"{name}.covariates.txt").write_text(text)


def vcf() -> None:
    top = "##fileformat=VCFv4.2\n##contig=<ID=22>\n"
    gt = '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    gq = '##FORMAT=<ID=GQ,Number=1,Type=Integer,Description="Quality">\n'
    fixed = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
    cohort = fixed + "\tFORMAT\ta\tb\n"
    (BAD / "noformat.vcf").write_text(top + gq + cohort + "22\t1\t.\tA\tG\t.\t.\t.\tGQ\t1\t2\n")
    (BAD / "nosamples.vcf").write_text(top + gt + fixed + "\n22\t1\t.\tA\tG\t.\t.\t.\n")
    (BAD / "norecords.vcf").write_text(top + gt + cohort)
    (BAD / "notavcf.vcf").write_text("rsid,a,b\nrs1,0,1\n")
    (BAD / "ploidy.vcf").write_text(top + gt + cohort + "22\t100\t.\tA\tG\t.\t.\t.\tGT\t0|0|1\t0|1|1\n")
    rows = "".join(f"22\t{i}\t.\tA\tG\t.\t.\t.\tGT\t0|1\t0|0\n" for i in range(1000, 2010))
    (BAD / "mixedphase.vcf").write_text(top + gt + cohort + rows + "22\t2010\t.\tA\tG\t.\t.\t.\tGT\t0/1\t0|0\n")
    whole = (TINY / "genotypes.vcf.gz").read_bytes()
    (BAD / "cutoff.vcf.gz").write_bytes(whole[:-28])
    (BAD / "damaged.vcf.gz").write_bytes(whole[:800] + whole[900:])


def pgen() -> None:
    for end in ("pgen", "pvar", "psam"):
        shutil.copy(TINY / f"genotypes.{end}", BAD / f"cutoff.{end}")
        shutil.copy(TINY / f"genotypes.{end}", BAD / f"nosize.psam.{end}")
    whole = (TINY / "genotypes.pgen").read_bytes()
    (BAD / "cutoff.pgen").write_bytes(whole[: len(whole) - 300])
    lines = (TINY / "genotypes.psam").read_text().splitlines(keepends=True)
    (BAD / "nosize.psam.psam").write_text("".join(lines[:-2]))


def others() -> None:
    good = 'chr22\tX\tgene\t10\t90\t.\t+\t.\tgene_id "g1";\n'
    (BAD / "gff3.gtf").write_text("##gff-version 3\nchr22\tX\tgene\t10\t90\t.\t+\t.\tID=gene:g1;Name=a\n")
    (BAD / "fields.gtf").write_text(good + "chr22\tX\tgene\t10\n")
    (BAD / "nogenes.gtf").write_text(good.replace("\tgene\t", "\ttranscript\t"))
    (BAD / "start.gtf").write_text(good + good.replace("\t10\t", "\tx\t"))
    (BAD / "plainzip.fa.gz").write_bytes(gzip.compress(b">22\nACGT\n", mtime=0))
    (BAD / "notafasta.fa").write_text("ACGT\n")
    (BAD / "ragged.fa").write_text(">22\nACGT\nAC\nACGT\n")
    head = "chromosome\tbase_pair_location\teffect_allele\tother_allele\tbeta\tstandard_error\tp_value\n"
    row = "22\t100\tA\tG\t0.5\t0.1\t0.01\n"
    (BAD / "pzero.sumstats.tsv").write_text(head + row + row.replace("0.01\n", "0\n"))
    (BAD / "ptwo.sumstats.tsv").write_text(head + row.replace("0.01\n", "2\n"))
    (BAD / "noeffect.sumstats.tsv").write_text("chr\tpos\tbeta\tp\n22\t1\t0.1\t0.5\n")
    (BAD / "text.sumstats.tsv").write_text(head + row.replace("0.5", "big"))
    (BAD / "ratio.sumstats.tsv").write_text("SNP\tA1\tOR\tP\nrs1\tA\t-1\t0.5\n")
    (BAD / "notsqlite.db").write_text("gene,weight\n")
    (BAD / "header.covariances.txt").write_text("GENE SNP1 SNP2 VALUE\ng a b 1\n")


def main() -> None:
    BAD.mkdir(exist_ok=True)
    for part in (plink, expression, covariates, vcf, pgen, others):
        part()


if __name__ == "__main__":
    main()
