"""Settings of `genopred effects`."""

from __future__ import annotations

from pathlib import Path

import pytest

from genopred.errors import GenopredError
from genopred.settings import Effects
from genopred.settings.effects import Region, parse_region
from genopred.types import Interval

SNPS = {"fasta": Path("ref.fa"), "snps": Path("snps.tsv")}


def test_regions():
    assert parse_region("22:1-5") == Region("22", 0, 5) == parse_region(Interval("22", 0, 5))
    both = Effects(fasta=Path("ref.fa"), ism="chr1:1,001-1,010")
    assert both.ism == ("chr1", 1000, 1010) and Effects(**SNPS, region="1:5-5").region == ("1", 4, 5)
    for bad in ("chr1", "1:20-10", "1:0-5", "1:1-2000000000"):
        with pytest.raises(GenopredError, match=r"--region .*not a region; needed one such as"):
            Effects(**SNPS, region=bad)


def test_what_is_in_the_middle():
    assert Effects(**SNPS).centre == "snp" and Effects(**SNPS, all_genes=True).centre == "tss"
    assert Effects(**SNPS, all_genes=True, center="snp").centre == "snp"


def test_one_source_of_snps_and_none_for_a_stretch():
    assert Effects(fasta=Path("ref.fa"), ism="1:1-5").snps is None
    for more in ({"snps": None}, {"vcf": Path("x.vcf")}, {"vcf": Path("x.vcf"), "ism": "1:1-5"}):
        with pytest.raises(GenopredError, match="SNPs: (none|--snps and --vcf) given; give one of --snps TABLE, --vcf"):
            Effects(**SNPS | more)
