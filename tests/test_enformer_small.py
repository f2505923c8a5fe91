"""The model in the package: its card's figures from its weights, and what a reader of DNA must not care about."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")

from genopred.sequence.models.enformer.checkpoint import MOST_BYTES, embedded_file, load_enformer
from genopred.sequence.models.registry import load_model
from genopred.training.scores import log_pearson

ROOT = Path(__file__).parents[1]
WINDOWS = np.load(ROOT / "tests" / "data" / "enformer_small.npz")
GM12878 = ("GM12878 accessibility", "GM12878 initiation +", "GM12878 initiation -")


@pytest.fixture(scope="module")
def model():
    return load_model("enformer-small")


@pytest.fixture(scope="module")
def card():
    return load_enformer(embedded_file())[1].card


@pytest.fixture(scope="module")
def onehot():
    return np.eye(5, 4, dtype=np.float32)[WINDOWS["codes"]]


@pytest.fixture(scope="module")
def predicted(model, onehot):
    return model.predict_onehot(onehot)


def test_size_and_tracks(model, card):
    assert embedded_file().stat().st_size <= MOST_BYTES
    assert model.tracks == tuple(card["data"]["tracks"]) and len(model.tracks) == 9
    assert card["weights"] == sum(p.numel() for p in model.module.parameters())


def test_no_path_of_a_machine_in_the_file():
    raw = embedded_file().read_bytes()[:200_000].decode("latin-1")
    assert not re.search(r"/(home|work|root|tmp|Users)/", raw)


def test_the_cards_figures_come_from_these_weights(card, predicted):
    r = log_pearson(predicted, WINDOWS["measured"])
    wanted = [card["check"]["pearson_log"][name] for name in card["data"]["tracks"]]
    np.testing.assert_allclose(r, wanted, atol=2e-3)


def test_these_windows_are_held_out(card, model):
    assert WINDOWS["starts"].tolist() == card["check"]["starts"]
    regions = card["split"]["regions"]
    for start in WINDOWS["starts"].tolist():
        kinds = {r["split"] for r in regions if r["start"] < start + model.window and start < r["end"]}
        assert kinds == {"test"}


def test_regions_of_different_kind_are_a_window_apart(card, model):
    regions = sorted(card["split"]["regions"], key=lambda r: r["start"])
    for a, b in zip(regions, regions[1:]):
        assert a["split"] == b["split"] or b["start"] - a["end"] >= model.window


def test_what_the_card_says_of_the_baselines(card):
    """Better than composition; no better than a plain network of its size, which the card must not hide."""
    ridge, cnn = (card["differences"][name] for name in ("ridge", "cnn"))
    assert all(estimate > 0 for estimate, _, _ in ridge.values())
    assert all(ridge[track][1] > 0 for track in GM12878[:2])
    assert all(low < 0 < high for low, high in (cnn[track][1:] for track in GM12878))


def test_the_page_says_what_the_card_says(card, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "data"))
    sys.modules.pop("enformer_small", None)
    from enformer_small import page

    assert (ROOT / "docs" / "enformer_small.md").read_text(encoding="utf-8") == page(card)


def correlation(a, b):
    """Of log(1 + value) over all bins, for each track."""
    return np.array(
        [np.corrcoef(np.log1p(a[..., t]).ravel(), np.log1p(b[..., t]).ravel())[0, 1] for t in range(a.shape[-1])]
    )


def test_the_other_strand_says_the_same(model, onehot, predicted):
    mirrored = model.predict_onehot(np.ascontiguousarray(onehot[:, ::-1, ::-1]))
    back = mirrored[:, ::-1][:, :, list(model.reverse_tracks)]
    assert correlation(back, predicted).min() > 0.85


@pytest.mark.parametrize("bases", [1, 8, 32])
def test_a_small_shift_changes_little(model, onehot, predicted, bases):
    moved = model.predict_onehot(np.roll(onehot, bases, axis=1))
    assert correlation(moved, predicted).min() > 0.85


def test_what_is_measured_is_told_from_sequence_alone(predicted):
    r = log_pearson(predicted, WINDOWS["measured"])
    shuffled = log_pearson(predicted, WINDOWS["measured"][::-1])
    assert r.mean() > shuffled.mean() + 0.1


def test_windows_are_the_public_files(shared):
    pytest.importorskip("pyBigWig")
    import pyBigWig

    from genopred.io.fasta import open_fasta
    from genopred.sequence.onehot import encode
    from genopred.types import Interval

    fasta = open_fasta(shared / "data" / "reference" / "chr22.hg38.fa.gz")
    signal = pyBigWig.open(str(shared / "data" / "tracks" / "acc.GM12878.chr22.bw"))
    minus = pyBigWig.open(str(shared / "data" / "tracks" / "GM12878.ds.chr22.mn.bw"))
    for codes, start, measured in zip(WINDOWS["codes"], WINDOWS["starts"].tolist(), WINDOWS["measured"], strict=True):
        window = Interval("chr22", start, start + len(codes))
        np.testing.assert_array_equal(encode(fasta.fetch(window)), codes)
        first = start + (len(codes) - 128 * len(measured)) // 2
        last = first + 128 * len(measured)
        acc = np.nan_to_num(signal.values("chr22", first, last, numpy=True)).reshape(-1, 128).mean(axis=1)
        np.testing.assert_allclose(measured[:, 0], acc, rtol=1e-5)
        started = -np.nan_to_num(minus.values("chr22", first, last, numpy=True)).reshape(-1, 128).sum(axis=1)
        np.testing.assert_allclose(measured[:, 4], started, rtol=1e-5)
