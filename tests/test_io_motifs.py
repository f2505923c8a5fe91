"""genopred.io.motifs: both formats, and what is wrong by line."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from attribution_data import CONSENSUS, jaspar, matrix, meme

from genopred.errors import FormatError
from genopred.io.motifs import read_motifs


@pytest.fixture
def written(tmp_path):
    def write(text, name="motifs.txt"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return write


@pytest.mark.parametrize("name", ["motifs.meme", "motifs.meme.gz"])
def test_meme(written, name):
    motifs = read_motifs(written(meme(), name))
    assert [motif.id for motif in motifs] == list(CONSENSUS)
    for motif in motifs:
        np.testing.assert_allclose(motif.matrix, matrix(CONSENSUS[motif.id]), atol=1e-3)
        np.testing.assert_allclose(motif.matrix.sum(axis=1), 1, atol=1e-12)


def test_meme_without_width_and_with_names(written):
    text = "MEME version 5.5\n\nMOTIF MA1.1 two words\nletter-probability matrix:\n 1 0 0 0\n 0.5 0.5 0 0\n\nURL http\n"
    (motif,) = read_motifs(written(text))
    assert (motif.id, motif.name, motif.consensus) == ("MA1.1", "two words", "AA")
    assert motif.information[0].tolist() == pytest.approx([2, 0, 0, 0], abs=1e-6) and motif.information[
        1
    ].sum() == pytest.approx(1)


def test_jaspar(written):
    motifs = read_motifs(written(jaspar()))
    assert [(motif.id, motif.name) for motif in motifs][:2] == [("ETS.1", "ETS"), ("CRE.1", "CRE")]
    for motif, text in zip(motifs, CONSENSUS.values()):
        np.testing.assert_allclose(motif.matrix, matrix(text), atol=0.02)
    bare = read_motifs(written(">M1\n4 0\n0 4\n0 0\n0 0\n\n>M2 b\n0.5 1\n0.5 0\n0 0\n0 0\n"))
    assert [motif.consensus for motif in bare] == ["AC", "AA"] and bare[1].matrix[0].tolist() == [0.5, 0.5, 0, 0]
    assert read_motifs(written("".join(line.replace("\n", "\r\n") for line in jaspar())))[0].id == "ETS.1"


MATRIX = "letter-probability matrix: alength= 4 w= 2\n"


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is empty; needed motifs in MEME's or JASPAR's format"),
        ("hello\n", "line 1: found 'hello'; needed motifs in MEME's or JASPAR's format"),
        ("MEME version 4\n", "holds no motif"),
        ("MEME version 4\nALPHABET= ACDEF\nMOTIF x\n", "line 2: 'ALPHABET= ACDEF'; needed the alphabet ACGT"),
        ("MEME version 4\nMOTIF\n", "line 2: MOTIF without an id"),
        ("MEME version 4\nMOTIF x\nMOTIF y\n", "line 2: motif x has no letter-probability matrix"),
        ("MEME version 4\nMOTIF x\n", "line 2: motif x has no letter-probability matrix"),
        ("MEME version 4\n" + MATRIX, "line 2: a matrix before any MOTIF line"),
        (f"MEME version 4\nMOTIF x\n{MATRIX}1 0 0 0\n\nMOTIF y\n", "line 6: motif x has 1 positions; its matrix says"),
        (f"MEME version 4\nMOTIF x\n{MATRIX}1 0 0 0\n0 1 0\n", "line 5: 3 numbers; needed 4"),
        (f"MEME version 4\nMOTIF x\n{MATRIX}1 0 0 0\n0 1 0 zero\n", "line 5: '0 1 0 zero'; needed numbers"),
        (f"MEME version 4\nMOTIF x\n{MATRIX}1 0 0 0\n0.2 0.2 0 0\n", "position 2 of motif x add up to 0.4; needed 1"),
        (f"MEME version 4\nMOTIF x\n{MATRIX}1 0 0 0\n0 0 0 0\n", "position 2 of motif x is all zero"),
        (f"MEME version 4\nMOTIF x\n{MATRIX}1 0 0 0\n-1 1 1 0\n", "line 5: '-1 1 1 0'; needed numbers from 0 up"),
        ("MEME version 4\n" + 2 * f"MOTIF x\n{MATRIX}1 0 0 0\n1 0 0 0\n", "the motif x is there twice"),
        (">\n", "line 1: '>' without an id"),
        (">M1\n1 2\n3 4\n", "line 1: motif M1 has 2 lines; needed four"),
        (">M1\nA [1 2]\nC [1 2]\nA [1 2]\nT [1 2]\n", "line 4: A a second time in motif M1"),
        (">M1\nA [1 2]\nC [1 2]\nG [1]\nT [1 2]\n", "line 4: 1 numbers; needed 2"),
        (">M1\nA [1 x]\nC [1 2]\nG [1 1]\nT [1 2]\n", "line 2: '1 x'; needed numbers"),
        (">M1\nA []\nC []\nG []\nT []\n", "line 2: 0 numbers; needed one a position"),
        (">M1\n" + 4 * (" ".join(["1"] * 201) + "\n"), "motif M1 has 201 positions; needed 1 to 200"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(written, text, message):
    with pytest.raises(FormatError) as said:
        read_motifs(written(text))
    assert message in str(said.value) and "motifs.txt" in str(said.value)


def test_what_is_no_text(written, tmp_path):
    with pytest.raises(FormatError, match="no such file"):
        read_motifs(tmp_path / "absent")
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(meme().encode())[:200])
    with pytest.raises(FormatError, match="damaged or cut off"):
        read_motifs(path)
