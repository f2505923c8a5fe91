"""What the tests of the eQTL passes share: a cut of GEUVADIS, chr22, and what the peers printed."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import polars as pl

from genopred.genetics.eqtl.beta import permutation_table
from genopred.genetics.eqtl.scan import cis_model, cis_scan, nominal_table, permutation_indices

GOLDEN = Path(__file__).parent / "golden" / "eqtl"

WINDOW = 150_000


class Tiny:
    """The cut of GEUVADIS on which the peers were run, read without genopred's own readers."""

    def __init__(self):
        with gzip.open(GOLDEN / "tiny.vcf.gz", "rt") as handle:
            rows = [line.split() for line in handle if not line.startswith("##")]
        self.samples = rows[0][9:]
        self.pos = np.array([int(row[1]) for row in rows[1:]])
        self.ids = pl.Series([row[2] for row in rows[1:]])
        self.dosage = np.array([[cell.count("1") for cell in row[9:]] for row in rows[1:]], dtype=np.float32).T
        with gzip.open(GOLDEN / "tiny.bed.gz", "rt") as handle:
            cells = [line.split() for line in handle]
        assert cells[0][6:] == self.samples
        self.genes = [row[3] for row in cells[1:]]
        self.tss = np.array([int(row[2]) for row in cells[1:]])
        self.expression = np.array([[float(v) for v in row[6:]] for row in cells[1:]]).T
        rows = [line.split() for line in (GOLDEN / "tiny.cov.txt").read_text().splitlines()]
        column = {name: i for i, name in enumerate(rows[0])}
        self.covariates = np.array([[float(row[column[s]]) for row in rows[1:]] for s in self.samples])

    def scan(self, permutations=0, **options):
        model = cis_model(self.expression, self.covariates, **options)
        orders = permutation_indices(len(self.samples), permutations) if permutations else None
        return cis_scan(self.dosage, self.pos, self.tss, model, WINDOW, permutations=orders)

    def nominal(self, **options):
        return nominal_table(self.scan(**options), self.genes, self.ids, self.pos, self.tss)

    def permuted(self, **options):
        return permutation_table(self.scan(**options), self.genes, self.ids, self.pos, self.tss)


def text(name, columns=None, separator=" "):
    return pl.read_csv(
        gzip.decompress((GOLDEN / name).read_bytes()),
        separator=separator,
        has_header=columns is None,
        new_columns=columns,
    )


QTLTOOLS = "phenotype_id c1 start end strand num_var distance variant_id c2 p1 p2".split()


def off_by_more_than_print(ours, printed, rtol, digits=6):
    """How many values differ by more than `rtol` plus half of the last printed digit."""
    printed = np.asarray(printed, dtype=float)
    last = 10.0 ** (np.floor(np.log10(np.maximum(np.abs(printed), 1e-300))) - digits + 1)
    return int(np.sum(np.abs(np.asarray(ours) - printed) > rtol * np.abs(printed) + 0.5001 * last))


def chr22_data(shared):
    """Expression, the 18 covariates and genotypes of chr22, as in the peers' runs."""
    from genopred.io.covariates import read_covariates
    from genopred.io.expression import read_expression
    from genopred.io.vcf import read_vcf

    data = shared / "data" / "geuvadis_chr22"
    expression = read_expression(data / "genes.50percent.chr22.bed.gz")
    covariates = read_covariates(data / "genes.covariates.pc50.txt.gz").select(expression.samples).values[:, :18]
    genotypes = read_vcf(data / "genotypes.chr22.vcf.gz").select(samples=expression.samples)
    return expression, covariates, genotypes, genotypes.dosage()


def peer_table(path, columns):
    data = gzip.decompress(path.read_bytes())
    return pl.read_csv(data, separator=" ", has_header=False, new_columns=[*QTLTOOLS, *columns])
