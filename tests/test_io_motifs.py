"""genopred.io.motifs: MEME and JASPAR."""

from __future__ import annotations

import pytest

from genopred.errors import FormatError
from genopred.io.motifs import read_motifs

MEME = "MEME version 4\n\nALPHABET= ACGT\n\nMOTIF M1 TATA\n"
MEME += "letter-probability matrix: alength= 4 w= 2\n0 0 0 1\n1 0 0 0\n"


def test_both_formats(tmp_path):
    (tmp_path / "a.meme").write_text(MEME)
    (tmp_path / "a.jaspar").write_text(">M1 TATA\nA [0 5]\nC [0 0]\nG [0 0]\nT [5 0]\n")
    for name in ("a.meme", "a.jaspar"):
        (motif,) = read_motifs(tmp_path / name)
        assert (motif.id, motif.name, motif.consensus) == ("M1", "TATA", "TA")


def test_no_motifs(tmp_path):
    (tmp_path / "bad").write_text("nothing\n")
    with pytest.raises(FormatError, match="line 1: found 'nothing'"):
        read_motifs(tmp_path / "bad")
