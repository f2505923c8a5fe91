"""genopred.sequence.onehot."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.errors import FormatError
from genopred.sequence.onehot import complement, decode, encode, onehot, reverse_complement

BASES = st.text("ACGTN", min_size=1, max_size=60)


def test_channels_are_a_c_g_t_and_n_is_zero():
    expected = np.zeros((5, 4))
    for i in range(4):
        expected[i, i] = 1
    np.testing.assert_array_equal(onehot(encode("ACGTN")), expected)
    # the founding study's SNP script had G and T the other way round
    assert onehot(encode("G"))[0].tolist() == [0, 0, 1, 0]
    assert onehot(encode("T"))[0].tolist() == [0, 0, 0, 1]


@settings(max_examples=30, deadline=None)
@given(BASES)
def test_round_trip_and_reverse_complement(text):
    codes = encode(text.lower())
    assert decode(codes) == text
    pairs = {"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}
    assert decode(reverse_complement(codes)) == "".join(pairs[base] for base in reversed(text))
    np.testing.assert_array_equal(complement(complement(codes)), codes)
    # on channels the reverse complement is a flip of both axes
    np.testing.assert_array_equal(onehot(reverse_complement(codes)), onehot(codes)[::-1, ::-1])


def test_ambiguity_letters_are_n():
    assert decode(encode("RYSWKMBDHV")) == "N" * 10


@pytest.mark.parametrize(
    "text, found", [("ACJT", "'J' at offset 2"), ("AC GT", "' ' at offset 2"), ("ACé", "offset 2")]
)
def test_other_characters_are_refused(text, found):
    with pytest.raises(FormatError, match=found):
        encode(text)
