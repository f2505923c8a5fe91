"""The embedded data is what `benchmarks/data/cut_example.py` cuts from the originals."""

from __future__ import annotations

import gzip
import importlib.util
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "genopred" / "data" / "example"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("cut_example", ROOT / "benchmarks" / "data" / "cut_example.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["cut_example"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["cut_example"]


def test_cut_again(script, shared, tmp_path, capsys):
    """Compressed files may differ in bytes where zlib differs, so their contents are compared."""
    script.cut(shared, tmp_path)
    assert "at 1956 sites" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in EXAMPLE.iterdir())
    for path in EXAMPLE.iterdir():
        mine, theirs = path.read_bytes(), (tmp_path / path.name).read_bytes()
        if path.suffix == ".gz":
            mine, theirs = gzip.decompress(mine), gzip.decompress(theirs)
        if path.suffix != ".gzi":
            assert mine == theirs, path.name


def test_lifted_reference_equals_the_shared_one(script, shared):
    lifted, _ = script.lift_reference(
        *(script.find(shared, name) for name in (script.GRCH38, script.CHAIN)), _vcf(shared)
    )
    assert bytes(lifted) == script.read_fasta(shared / "data" / "reference" / "chr22.b37.fa.gz")


def _vcf(shared):
    return shared / "data" / "geuvadis_chr22" / "genotypes.chr22.vcf.gz"


def test_lift_reference_by_hand(script, tmp_path, monkeypatch):
    """Blocks, gaps on both sides, an inverted chain, a chain that comes too late, and REF put in."""
    monkeypatch.setattr(script, "LENGTH", 20)
    fasta, chain, vcf = tmp_path / "q.fa.gz", tmp_path / "c.gz", tmp_path / "v.gz"
    fasta.write_bytes(gzip.compress(b">chr22\nACGTACGTTT\nGGGCCC\n"))
    text = (
        "chain 9 chr22 20 + 2 12 chr22 16 + 0 9 1\n4 2 1\n4\n\n"
        "chain 5 chr22 20 + 14 17 chr22 16 - 0 3 2\n3\n\n"
        "chain 4 chr22 20 + 2 5 chr22 16 + 10 13 3\n3\n\n"
        "chain 3 chr22 20 + 18 20 chr1 50 + 0 2 4\n2\n\n"
    )
    chain.write_bytes(gzip.compress(text.encode()))
    rows = "22\t3\ta\tA\tG\t.\n22\t4\tb\tT\tG\t.\n"
    vcf.write_bytes(gzip.compress(f"##fileformat=VCFv4.1\n#CHROM\tPOS\n{rows}".encode()))
    lifted, changed = script.lift_reference(fasta, chain, vcf)
    assert lifted.decode() == "NNATGTNNCGTTNNGGGNNN"
    assert changed == 1


def test_bgzip_is_bgzip(script, tmp_path):
    data = bytes(range(256)) * 1000
    path = tmp_path / "x.gz"
    offsets = script.bgzip(data, path)
    assert gzip.decompress(path.read_bytes()) == data
    raw = path.read_bytes()
    for at, _ in offsets:
        assert raw[at : at + 4] == b"\x1f\x8b\x08\x04" and raw[at + 12 : at + 14] == b"BC"
    size = struct.unpack_from("<H", raw, 16)[0] + 1
    assert size == offsets[1][0]
    if shutil.which("bgzip"):
        subprocess.run(["bgzip", "--test", str(path)], check=True)


def test_indices_are_samtools(script, tmp_path):
    if shutil.which("bgzip") is None:
        pytest.skip("bgzip is not installed")
    shutil.copy(EXAMPLE / "reference.fa.gz", tmp_path)
    subprocess.run(["bgzip", "--reindex", str(tmp_path / "reference.fa.gz")], check=True)
    assert (tmp_path / "reference.fa.gz.gzi").read_bytes() == (EXAMPLE / "reference.fa.gz.gzi").read_bytes()
