"""genopred.training.simulate: what is said to be true of simulated genes is."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from genopred.errors import GenopredError
from genopred.sequence.onehot import decode, reverse_complement
from genopred.training.simulate import DECOY, DISTAL, PROMOTER, shuffled_contacts, simulate_genes


def copies(codes: np.ndarray, motif: str) -> int:
    """On both strands, by looking."""
    texts = (decode(codes.astype(np.int8)), decode(reverse_complement(codes.astype(np.int8))))
    return sum(text.startswith(motif, i) for text in texts for i in range(len(text)))


def test_expression_is_what_the_sequence_holds():
    made = simulate_genes(120, seed=3)
    data = made.data
    near = np.array([copies(codes, PROMOTER) for codes in data.codes])
    far = np.array([[copies(one, DISTAL) for one in gene] for gene in data.segments])
    # chance adds a copy in one gene of a hundred or so
    assert np.corrcoef(near, made.parts["promoter"][:, 0])[0, 1] > 0.99
    assert np.corrcoef((far * data.weights).sum(axis=1), made.parts["distal"][:, 0])[0, 1] > 0.99
    np.testing.assert_allclose(sum(made.parts.values()), data.measured, atol=1e-5)
    decoys = np.array([copies(codes, DECOY) for codes in data.codes])
    assert decoys.mean() > 1 and abs(np.corrcoef(decoys, data.measured[:, 0])[0, 1]) < 0.3


def test_each_site_is_where_it_is_said_to_be():
    made = simulate_genes(40, seed=4)
    for row, motif, segment, start, strand in made.sites.iter_rows():
        codes = made.data.codes[row] if segment < 0 else made.data.segments[row, segment]
        found = codes[start : start + len(motif)].astype(np.int8)
        assert decode(found if strand == "+" else reverse_complement(found)) == motif


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_shares_are_as_asked(seed):
    made = simulate_genes(400, promoter=0.3, distal=0.2, seed=seed)
    assert made.share("promoter", "distal")[0] == pytest.approx(0.5, abs=1e-6)
    assert made.share("promoter")[0] == pytest.approx(0.3, abs=0.05)
    assert made.share("promoter")[1] < made.share("promoter")[0]
    alone = simulate_genes(100, segments=0, seed=seed)
    assert alone.data.segments is None and not alone.parts["distal"].any()
    same = simulate_genes(400, promoter=0.3, distal=0.2, seed=seed)
    assert np.array_equal(made.data.measured, same.data.measured) and made.sites.equals(same.sites)


def test_shuffled_contacts_are_those_of_others():
    made = simulate_genes(60)
    other = shuffled_contacts(made)
    assert np.array_equal(other.codes, made.data.codes) and np.array_equal(other.measured, made.data.measured)
    assert sorted(other.weights.sum(axis=1).round(4)) == sorted(made.data.weights.sum(axis=1).round(4))
    moved = (other.segments != made.data.segments).any(axis=(1, 2)).mean()
    assert moved > 0.9


def test_blocks_are_whole_and_all_parts_are_there():
    split = simulate_genes(300).split
    table = pl.DataFrame({"block": split.block, "part": split.part})
    assert table.group_by("block").agg(pl.col("part").n_unique())["part"].max() == 1
    assert set(split.part.tolist()) == {"train", "validation", "test"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"promoter": 0.6, "distal": 0.6}, "less than 1"), ({"n": 10}, "at least 30 genes"), ({"promoter": -1}, "shares")],
)
def test_bad_input(wrong, said):
    with pytest.raises(GenopredError, match=said):
        simulate_genes(**wrong)
    with pytest.raises(GenopredError, match="no distal segments"):
        shuffled_contacts(simulate_genes(60, segments=0))


def test_contacts_are_worth_what_the_simulation_says():
    """The network of two paths beats the promoter's by what is in the distal segments, and loses it with others'."""
    pytest.importorskip("enformer_pytorch")
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    from networks_truth import KNOWN, held_out_r2, inputs_of, simulated

    made = simulated(1)
    r2 = {name: held_out_r2(made, inputs_of(made, name), 1, epochs=4) for name in KNOWN}
    known = {name: made.share(*parts) for name, parts in KNOWN.items()}
    for name, found in r2.items():
        # no more than there is to know, beyond what 300 genes leave to chance
        assert (found < known[name] + 0.1).all(), name
    assert r2["contacts"].min() > 0.5 and r2["promoter alone"][0] > 0.1
    gain = known["contacts"] - known["promoter alone"]
    assert (r2["contacts"] - r2["promoter alone"] > 0.6 * gain).all()
    assert (r2["contacts of others"] < r2["promoter alone"] + 0.1).all()
