"""Lists of samples and variants in plink's layouts."""

from __future__ import annotations

import pytest

from genopred.errors import FormatError
from genopred.io.lists import read_ids, read_pairs, read_patterns, read_samples


@pytest.mark.parametrize(
    "text", ["f a\nf b\nf a\n", "a\nb\n", "#FID IID\nf a\nf b\n", "#IID SID\na x\nb y\n", "FID IID\nf\ta\n\nf\tb\n"]
)
def test_samples(tmp_path, text):
    path = tmp_path / "keep.txt"
    path.write_text(text)
    assert read_samples(path).tolist() == ["a", "b"]


def test_samples_named_by_family(tmp_path):
    path = tmp_path / "keep.txt"
    path.write_text("f a\ng a\n")
    assert read_samples(path, ids="fid_iid").tolist() == ["f_a", "g_a"]
    path.write_text("#FID IID\nf\n")
    with pytest.raises(FormatError, match="FID and IID are needed"):
        read_samples(path)


def test_variants(tmp_path):
    path = tmp_path / "snps.txt"
    path.write_text("rs1 0.5\nrs2\nrs1\n")
    assert read_ids(path).tolist() == ["rs1", "rs2"]
    path.write_text("#nothing\n")
    with pytest.raises(FormatError, match="names nothing; needed a list of variants"):
        read_ids(path)


def test_files_of_tracks(tmp_path):
    (tmp_path / "tracks.txt").write_text("# a comment\nDNASE:x\r\n\nz$\n")
    assert read_patterns(tmp_path / "tracks.txt") == ["DNASE:x", "z$"]
    (tmp_path / "table.txt").write_text("name\tdescription\tindex\na\tCAGE:z\t2\n")
    assert read_patterns(tmp_path / "table.txt") == ["2"]
    (tmp_path / "table.txt").write_text("name\tdescription\na\tCAGE:z\n")
    assert read_patterns(tmp_path / "table.txt") == ["CAGE:z"]
    with pytest.raises(FormatError, match="absent.txt"):
        read_patterns(tmp_path / "absent.txt")


def test_pairs(tmp_path):
    file = tmp_path / "families.tsv"
    file.write_text("#Gene\tmore\tFamily\nA\t1\tx\nB\t2\ty\nA\t3\tx\n")
    assert read_pairs(file, "gene", "family") == {"A": "x", "B": "y"}
    with pytest.raises(FormatError, match="needed are 'gene' and 'clan'"):
        read_pairs(file, "gene", "clan")
    file.write_text("gene family\nA x\nA y\n")
    with pytest.raises(FormatError, match="line 3: gene A is of family y here and of x before"):
        read_pairs(file, "gene", "family")
