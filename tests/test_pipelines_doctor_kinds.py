"""What files are told to be, by name and by content."""

from __future__ import annotations

import gzip

import pytest

import genopred
from genopred.pipelines.doctor_kinds import first_bytes, told

TEXTS = {
    "##fileformat=VCFv4.2\n#CHROM\tPOS\n": "vcf",
    ">chr1\nACGT\n": "fasta",
    "chain 10 chr1 100 + 0 10 chr1 100 + 0 10 1\n10\n": "chain",
    "#format_version=2.0\nrsID\n": "score",
    "rsID\teffect_allele\teffect_weight\nrs1\tA\t0.1\n": "score",
    'chr1\tHAVANA\tgene\t1\t9\t.\t+\t.\tgene_id "a";\n': "gtf",
    "#chr\tstart\tend\tgene_id\tA\tB\nchr1\t0\t1\tg\t1\t2\n": "expression",
    "chromosome\tbase_pair_location\teffect_allele\tother_allele\tbeta\tp_value\n1\t2\tA\tC\t0.1\t0.2\n": "sumstats",
    "#CHROM\tPOS\tID\tREF\tALT\tA1\tTEST\tOBS_CT\tBETA\tSE\tP\n1\t2\tr\tA\tC\tC\tADD\t9\t1\t1\t1\n": "sumstats",
    "id\tA\tB\nPC1\t0.1\t-2e-3\nPC2\t1\tNA\n": "covariates",
    "FID IID PC1\nf a 0.1\n": "covariates",
    "Dear diary,\nnothing happened.\n": None,
    "a,b\n1,2\n": None,
    "": None,
}


@pytest.mark.parametrize("text", TEXTS, ids=[str(kind) for kind in TEXTS.values()])
@pytest.mark.parametrize("packed", [False, True])
def test_a_text_is_told_by_its_first_lines(tmp_path, text, packed):
    path = tmp_path / ("file.gz" if packed else "file")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert told(path) == (TEXTS[text], path)


def test_filesets_by_prefix_and_by_each_file():
    folder = genopred.load_example().folder
    prefix = folder / "geuvadis"
    assert told(prefix) == ("pfile", prefix)  # it has phase
    for end, kind in (("bed", "bfile"), ("bim", "bfile"), ("fam", "bfile"), ("pgen", "pfile"), ("psam", "pfile")):
        assert told(folder / f"geuvadis.{end}") == (kind, prefix)
    assert told(folder / "expression.bed.gz")[0] == "expression"  # .bed, and no fileset
    assert told(folder / "reference.fa.gz.fai") == ("fasta", folder / "reference.fa.gz")
    assert told(folder)[0] is None and told(folder / "nothing")[0] is None


def test_a_bgen_by_its_name_its_bytes_and_what_lies_beside(tmp_path):
    path = tmp_path / "x.bgen"
    path.write_bytes(bytes(16) + b"bgen" + bytes(30))
    for name in ("x.bgen.bgi", "x.sample", "alone.sample"):
        (tmp_path / name).write_text("ID_1 ID_2 missing\n0 0 0\na a 0\n")
    for name in ("x.bgen", "x.bgen.bgi", "x.sample"):
        assert told(tmp_path / name) == ("bgen", path)
    assert told(tmp_path / "alone.sample")[0] != "bgen"
    other = path.rename(tmp_path / "renamed.dat")
    assert told(other) == ("bgen", other)


def test_models_by_name_and_folder(tmp_path):
    (tmp_path / "run" / "models").mkdir(parents=True)
    (tmp_path / "run" / "models" / "models.json").write_text("{}")
    assert told(tmp_path / "run")[0] == told(tmp_path / "run" / "models")[0] == "models"
    for name in ("a.db", "a.pos"):
        (tmp_path / name).write_bytes(b"x")
        assert told(tmp_path / name)[0] == "models"


def test_of_a_damaged_file_what_can_be_had(tmp_path):
    path = tmp_path / "cut.gz"
    whole = gzip.compress(b"".join(b"%d\n" % i for i in range(30_000)))
    path.write_bytes(whole[: len(whole) // 2])
    assert first_bytes(path).startswith(b"0\n1\n2\n")
