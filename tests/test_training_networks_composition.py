"""genopred.training.networks.composition: counts against naive loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from genopred.errors import ModelError  # noqa: E402
from genopred.sequence.onehot import encode, onehot  # noqa: E402
from genopred.training.networks.composition import HIT_P, Composition, CompositionLayer, threshold  # noqa: E402

TEXTS = ["ACGTNACGGGTACCATGACGT", "NNNNNNNNNNNNNNNNNNNNN", "GATTACAGATTACAGATTACA"]


def windows() -> torch.Tensor:
    return torch.from_numpy(np.stack([onehot(encode(text)) for text in TEXTS]))


def odds(motif: str) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(np.log((0.91 if base == letter else 0.03) / 0.25)) for base in "ACGT") for letter in motif)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_kmers_and_gc_are_counted(k):
    found = CompositionLayer(Composition(gc=True, kmers=k))(windows()).numpy()
    words = ["".join(word) for word in itertools.product("ACGT", repeat=k)]
    for text, row in zip(TEXTS, found, strict=True):
        known = [text[i : i + k] for i in range(len(text) - k + 1) if "N" not in text[i : i + k]]
        bases = [base for base in text if base != "N"]
        gc = sum(base in "GC" for base in bases) / max(1, len(bases))
        expected = [known.count(word) / max(1, len(known)) * 4**k - 1 for word in words]
        np.testing.assert_allclose(row, [10 * (gc - 0.5), *expected], atol=1e-5)


def test_a_motif_is_found_on_both_strands():
    rng = np.random.default_rng(1)
    motif, reverse = "TGACTCAGCA", "TGCTGAGTCA"
    text = rng.choice(list("ACGT"), (40, 200))
    wanted = rng.integers(0, 4, 40)
    for row, copies in zip(text, wanted, strict=True):
        for i in range(copies):
            row[20 + 40 * i : 30 + 40 * i] = list(motif if i % 2 else reverse)
    x = torch.from_numpy(np.stack([onehot(encode("".join(row))) for row in text]))
    layer = CompositionLayer(Composition(motifs=(odds(motif),), names=("AP1",)))
    hits = torch.expm1(layer(x))[:, 0].numpy()
    assert np.corrcoef(hits, wanted)[0, 1] > 0.97 and abs(np.mean(hits - wanted)) < 0.15
    turned = torch.expm1(layer(x.flip(1, 2)))[:, 0].numpy()
    np.testing.assert_allclose(turned, hits, atol=1e-4)


def test_the_threshold_is_what_chance_says():
    motif = np.array(odds("GATAAGGT"))
    rng = np.random.default_rng(2)
    drawn = motif[np.arange(8), rng.integers(0, 4, (400_000, 8))].sum(axis=1)
    for p in (0.01, 0.001):
        least = threshold(motif, p)
        assert p / 30 < (drawn >= least).mean() <= 1.1 * p
    best = motif.max(axis=1).sum()
    assert best - (motif.max(axis=1) - motif.min(axis=1)).min() < threshold(motif, 1e-9) < best
    assert HIT_P == 1e-4


def test_it_can_be_differentiated_and_needs_nothing_stored():
    layer = CompositionLayer(Composition(gc=True, kmers=2, motifs=(odds("GATAAG"),), names=("GATA",)))
    x = windows().requires_grad_(True)
    layer(x).sum().backward()
    assert torch.isfinite(x.grad).all() and layer.state_dict() == {} and layer.width == 18
    assert CompositionLayer(Composition())(windows()).shape == (3, 0)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"motifs": ((((0.0,) * 4,) * 12),) * 1700, "names": ("x",) * 1700}, "20,400 positions together"),
        ({"kmers": 6}, "1 to 5"),
        ({"motifs": (((0.0,),),), "names": ("x",)}, "four"),
        ({"names": ("x",)}, "each motif"),
    ],
)
def test_bad_input(what, said):
    with pytest.raises(ModelError, match=said):
        Composition(**what)
