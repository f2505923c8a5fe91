"""What training keeps: a checkpoint is whole and holds no code, and a network reads back as it was."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")

from training_data import SHAPE, SMALL, TINY  # noqa: E402
from training_data import data as simulated  # noqa: E402

from genopred.errors import GenopredError  # noqa: E402
from genopred.training.networks.registry import build  # noqa: E402
from genopred.training.store import load_network, read_state, save_network, write_state  # noqa: E402


@pytest.mark.parametrize(("kind", "sizes"), [("enformer-small", TINY), ("cnn", SMALL)])
def test_a_network_reads_back(tmp_path, kind, sizes):
    """tests/test_sequence_trained.py has what is damaged."""
    network = build(kind, 3, SHAPE, **sizes).eval()
    shape = {"window": SHAPE.window, "bin": SHAPE.bin, "crop": SHAPE.crop}
    written = {"data": shape, "network": {"kind": kind} | sizes}
    save_network(network, tmp_path, simulated(), written=written, best={"epoch": 2})
    again, about = load_network(tmp_path)
    assert again.kind == kind and not again.training and about["validation"] == {"epoch": 2}
    assert about["track_names"] == ["open", "start +", "start -"] and about["reverse_tracks"] == [0, 2, 1]
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in network.state_dict().items())


def test_a_checkpoint_holds_no_code(tmp_path, capsys):
    import pickle

    class Harm:
        def __reduce__(self):
            return (print, ("executed",))

    file = tmp_path / "last.pt"
    torch.save({"identity": Harm()}, file, pickle_module=pickle)
    with pytest.raises(GenopredError, match="cannot be read") as said:
        read_state(file)
    assert "executed" not in capsys.readouterr().out and "weights_only" not in str(said.value)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GenopredError, match=r"cannot write .*last\.pt"):
        write_state(tmp_path / "file" / "last.pt", {})
