"""What the tests of polygenic scores share."""

from __future__ import annotations

from pathlib import Path

from genopred.settings import Prs

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "plink_prs"
TINY = HERE / "data" / "tiny"


def trait(tmp_path, out="out", **options):
    """Scores over plink's cohort."""
    return Prs(bfile=GOLDEN / "cohort", out=tmp_path / out, threads=1, **options)


def genes(tmp_path, out="genes", **options):
    """Scores of the four genes of the tiny data."""
    inputs = {
        "expression": TINY / "expression.qtltools.bed",
        "vcf": TINY / "genotypes.vcf.gz",
        "covar": TINY / "covariates.qtltools.txt",
        "all_genes": True,
        "outer_folds": 3,
        "inner_folds": 4,
        "threads": 1,
    }
    return Prs(**(inputs | options), out=tmp_path / out)


def files_of(folder, name):
    """Files that begin so, and what is in them."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob(f"{name}*")) if path.is_file()}
