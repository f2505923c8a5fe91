"""PLINK 1 filesets written for tests."""

from __future__ import annotations

import numpy as np
import polars as pl
from bed_reader import to_bed


def write_plink(prefix, dosage, samples, variants):
    """Whole genotypes, NaN where missing, shape (N, M); ALT becomes the .bim's allele 1."""
    dosage = np.asarray(dosage, dtype=np.float32)
    table = variants.with_columns(pl.col("ref", "alt").replace(".", "0"))
    names = {"chromosome": "chrom", "sid": "id", "bp_position": "pos", "allele_1": "alt", "allele_2": "ref"}
    properties = {key: table[column].to_list() for key, column in names.items()}
    calls = np.where(np.isnan(dosage), -127, dosage).astype(np.int8)
    to_bed(f"{prefix}.bed", calls, properties={"iid": list(samples), **properties}, num_threads=1)


def write_pgen(prefix, dosage, samples, variants):
    """PLINK 2 files of hard calls, NaN where missing."""
    from pgenlib import PgenWriter

    calls = np.where(np.isnan(dosage), -9, dosage).astype(np.int8)
    with PgenWriter(f"{prefix}.pgen".encode(), len(samples), variant_ct=variants.height, nonref_flags=False) as writer:
        for column in calls.T:
            writer.append_biallelic(np.ascontiguousarray(column))
    rows = variants.select("chrom", "pos", "id", "ref", "alt").rows()
    lines = ["#CHROM\tPOS\tID\tREF\tALT", *("\t".join(map(str, row)) for row in rows)]
    with open(f"{prefix}.pvar", "w") as file:
        file.write("\n".join(lines) + "\n")
    with open(f"{prefix}.psam", "w") as file:
        file.write("\n".join(["#IID\tSEX", *(f"{name}\tNA" for name in samples)]) + "\n")


def write_vcf(path, dosage, samples, variants):
    """A VCF of unphased calls, `./.` where missing; gzipped where its name says so."""
    import gzip

    words = {0.0: "0/0", 1.0: "0/1", 2.0: "1/1"}
    lines = ["##fileformat=VCFv4.2", '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">']
    lines += [f"##contig=<ID={name}>" for name in variants["chrom"].unique(maintain_order=True).to_list()]
    lines.append("\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples]))
    rows = variants.select("chrom", "pos", "id", "ref", "alt").rows()
    for row, column in zip(rows, np.asarray(dosage).T):
        calls = [words.get(float(value), "./.") for value in column]
        lines.append("\t".join([*map(str, row), ".", "PASS", ".", "GT", *calls]))
    text = "\n".join(lines) + "\n"
    data = gzip.compress(text.encode()) if str(path).endswith(".gz") else text.encode()
    with open(path, "wb") as file:
        file.write(data)
