"""Every bad file of tests/data/bad gets its own message: file, place, what was found, what was needed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from genopred.errors import GenopredError
from genopred.io.annotation import read_gtf
from genopred.io.covariates import read_covariates
from genopred.io.expression import read_expression
from genopred.io.fasta import open_fasta
from genopred.io.pgen import read_pgen
from genopred.io.plink import read_plink
from genopred.io.predictdb import read_covariances, read_models
from genopred.io.sumstats import read_sumstats
from genopred.io.vcf import read_vcf

DATA = Path(__file__).parent / "data"
_spec = importlib.util.spec_from_file_location("make_bad", DATA / "make_bad.py")
make_bad = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_bad)

READ = {
    "plink": read_plink,
    "pgen": read_pgen,
    "pgen-data": lambda path: read_pgen(path).dosage(),
    "vcf": read_vcf,
    "vcf-data": lambda path: read_vcf(path).haplotypes().alleles(),
    "expression": read_expression,
    "covariates": read_covariates,
    "gtf": read_gtf,
    "fasta": open_fasta,
    "sumstats": read_sumstats,
    "models": read_models,
    "covariances": read_covariances,
}


@pytest.mark.parametrize("name", make_bad.CASES)
def test_message(name):
    kind, words = make_bad.CASES[name]
    with pytest.raises(GenopredError) as caught:
        READ[kind](DATA / "bad" / name)
    message = str(caught.value)
    assert name.split(".")[0] in message, "the message names the file"
    for word in words:
        assert word in message


@pytest.mark.parametrize("kind", sorted(set(READ) - {"pgen-data", "vcf-data", "covariances"}))
def test_missing_file(kind, tmp_path):
    with pytest.raises(GenopredError, match="no such file"):
        READ[kind](tmp_path / "absent.bed")


def test_files_are_those_the_script_makes(tmp_path, monkeypatch):
    monkeypatch.setattr(make_bad, "BAD", tmp_path)
    make_bad.main()
    made = {path.name for path in tmp_path.iterdir()}
    kept = {path.name for path in (DATA / "bad").iterdir() if not path.name.endswith((".fai", ".gzi"))}
    assert made == kept
    for name in made - {name for name in made if name.endswith(".gz")}:  # compressors differ between versions
        assert (tmp_path / name).read_bytes() == (DATA / "bad" / name).read_bytes(), name
