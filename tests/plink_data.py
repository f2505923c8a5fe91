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
