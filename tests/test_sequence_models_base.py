"""genopred.sequence.models.base; batches, strands and lack of memory are also in test_sequence_features.py."""

import numpy as np
import pytest

from genopred.errors import GenopredError, ModelError
from genopred.sequence.models.base import SequenceModel, devices, halving
from genopred.types import Interval


class Stranded(SequenceModel):
    name, window, tss_offset, strand_aware, n_bins, tracks = "stranded", 64, 30, True, 4, ("x", "+", "-")


def test_what_a_model_may_leave_unsaid():
    model = Stranded()
    assert (model.default_batch, model.log_scale, model.device, model.aggregates) == (32, False, "cpu", False)
    assert model.reverse_tracks is None and model.token_size is None and model.tower_share == 0
    with pytest.raises(ModelError, match="stranded cannot be differentiated.*torch_forward"):
        model.torch_forward(None)
    with pytest.raises(ModelError, match=r"stranded cannot be taken apart.*torch_module\(\)"):
        model.torch_module()


def test_a_gene_is_read_in_its_own_direction_by_a_strand_aware_model():
    model = Stranded()
    assert model.gene_window("1", 100, "+") == Interval("1", 69, 133)
    assert model.gene_window("1", 100, "-") == Interval("1", 66, 130)
    assert model.reads_reverse("-") and not model.reads_reverse("+") and not model.reads_either_strand
    model.reverse_tracks = (0, 2, 1)
    assert model.reads_either_strand
    model.strand_aware = False
    assert model.gene_window("1", 100, "-") == model.gene_window("1", 100, "+") and model.reads_either_strand


def test_both_strands_are_mirrored_bins_and_partner_tracks():
    model, asked = Stranded(), []

    def read(other, bins, tracks):
        asked.append((other, bins.tolist(), tracks.tolist()))
        return np.full(2, 3.0 if other else 1.0)

    assert model.over_strands("model", read, [0, 1], [1]).tolist() == [1, 1]
    model.reverse_tracks = (0, 2, 1)
    assert model.over_strands("both", read, [0, 1], [1]).tolist() == [2, 2]
    assert asked == [(False, [0, 1], [1]), (False, [0, 1], [1]), (True, [3, 2], [2])]


def test_bins_and_tracks_that_are_not_there_are_refused():
    model = Stranded()
    assert [part.tolist() for part in model.picked(None, [2])] == [[0, 1, 2, 3], [2]]
    for bins, tracks, message in (
        ([4], None, "bins: 1 of 1 are not in 0 to 3"),
        (None, [], "tracks: 0 of 0.*none given"),
    ):
        with pytest.raises(GenopredError, match=message):
            model.picked(bins, tracks)


def test_a_batch_is_halved_until_it_fits():
    tried = []

    def run(batch):
        tried.append(batch)
        if (batch or 9) > 2:
            raise MemoryError
        return np.zeros(batch)

    found, batch = halving(run, None, 9, "toy")
    assert tried == [None, 4, 2] and batch == 2 and len(found) == 2
    with pytest.raises(ValueError, match="other"):
        halving(lambda _: (_ for _ in ()).throw(ValueError("other")), 1, 1, "toy")


def test_devices_by_name(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices("auto") == devices("auto", several=True) == ["cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices("auto") == ["cuda:0"] and devices("auto", several=True) == ["cuda:0", "cuda:1"]
    assert devices("cuda:1, cpu", several=True) == ["cuda:1", "cpu"]
    for name, several, message in (
        ("tpu", True, "--device tpu: not a device; use auto, cpu, or cuda:0,cuda:1"),
        ("cuda:0,cuda:1", False, "--device cuda:0,cuda:1: not a device; use auto, cpu, or cuda:0"),
        ("cuda:7", False, "--device cuda:7: torch sees 2 CUDA devices"),
    ):
        with pytest.raises(GenopredError, match=message):
            devices(name, several=several)
