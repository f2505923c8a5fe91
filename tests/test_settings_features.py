"""Settings of `genopred features`."""

from __future__ import annotations

from pathlib import Path

import pytest

from genopred.errors import GenopredError
from genopred.settings import Features

BASE = {"fasta": Path("ref.fa"), "vcf": Path("people.vcf"), "all_genes": True}


def test_bins_are_a_number_or_a_word():
    assert [Features(**BASE, bins=bins).bins for bins in (1, "5", "all")] == [1, 5, "all"]


def test_a_self_check_is_of_the_exact_mode():
    assert Features(**BASE, self_check=True).self_check
    with pytest.raises(GenopredError, match="--self-check holds the exact mode.*with --mode reference[.]"):
        Features(**BASE, self_check=True, mode="reference")
