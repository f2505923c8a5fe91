"""genopred.sequence.genes: genes and SNPs against the chromosomes of a FASTA, and which build they are of."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from genopred.errors import AlignmentError
from genopred.sequence.genes import check_ends, genome_build, on_chromosomes_of

FASTA = Path("ref.fa")


def test_positions_beyond_the_end_of_a_chromosome():
    fasta = SimpleNamespace(length={"1": 100, "2": 50}.__getitem__)
    table = pl.DataFrame({"chrom": ["2", "1", "1"], "pos": [50, 3, 100]})
    assert check_ends(fasta, FASTA, table, "SNP") == [100, 50]
    with pytest.raises(AlignmentError, match="ref.fa: 2 has 50 bases, and a TSS is at 51; .* build than the TSSs"):
        check_ends(fasta, FASTA, pl.DataFrame({"chrom": ["2"], "tss": [51]}), "TSS")


def test_genes_on_chromosomes_of_variants():
    genes = pl.DataFrame({"gene_id": ["a", "b"], "chrom": ["chr1", "chr2"]})
    kept = on_chromosomes_of(genes, pl.DataFrame({"chrom": ["1", "X"]}), "people.vcf")
    assert kept["gene_id"].to_list() == ["a"]
    with pytest.raises(AlignmentError, match=r"None of the 2 genes is on a chromosome of people.vcf \(X\).*chr1, chr2"):
        on_chromosomes_of(genes, pl.DataFrame({"chrom": ["X"]}), "people.vcf")


def test_builds_are_known_by_their_lengths():
    assert genome_build([51_304_566, 249_250_621]) == "GRCh37" and genome_build([50_818_468]) == "GRCh38"
    assert genome_build([]) == genome_build([1200]) == genome_build([51_304_566, 50_818_468]) == "unknown"
