"""What training keeps: a checkpoint is whole and holds no code, and a network reads back as it was."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")

from training_data import SHAPE, SMALL, TINY  # noqa: E402
from training_data import data as simulated  # noqa: E402

from genopred.errors import GenopredError, ModelError  # noqa: E402
from genopred.training.networks.composition import Composition  # noqa: E402
from genopred.training.networks.gene import GeneInputs, GeneShape  # noqa: E402
from genopred.training.networks.registry import build, build_gene  # noqa: E402
from genopred.training.store import load_network, read_state, save_gene_network, save_network, write_state  # noqa: E402


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


@pytest.mark.parametrize("kind", ["hybrid", "dual-path", "transformer", "embedding", "cnn", "enformer-small"])
def test_a_network_of_genes_reads_back_wherever_it_lies(tmp_path, kind):
    import shutil

    from gene_networks import SMALL as SMALL_GENES
    from gene_networks import dna_model

    sizes = SMALL_GENES[kind] | ({"folder": str(dna_model(tmp_path / "dna"))} if kind == "embedding" else {})
    far = {"segments": 2, "segment": 300} if kind == "dual-path" else {}
    motif = (tuple(0.1 * i for i in range(4)),) * 6
    what = Composition(gc=True, kmers=2, motifs=(motif,), names=("one",))
    torch.manual_seed(1)
    network = build_gene(kind, 2, GeneShape(900, 100, composition=what, **far), link="softplus", **sizes).eval()
    about = {"written": {"network": {"kind": kind}}, "best": {"epoch": 2}, "transform": {"steps": ["log"]}}
    save_gene_network(network, tmp_path / "saved", ["a", "b"], **about)
    if kind == "embedding":
        shutil.rmtree(tmp_path / "dna")
    moved = shutil.move(tmp_path / "saved", tmp_path / "moved")
    assert str(tmp_path) not in (tmp_path / "moved" / "config.json").read_text()
    again, config = load_network(moved)
    assert (again.kind, again.shape, again.link) == (kind, network.shape, "softplus") and not again.training
    assert config["track_names"] == ["a", "b"] and config["transform"] == {"steps": ["log"]}
    x = torch.eye(4)[torch.randint(4, (2, 1000))]
    far_x = torch.eye(4)[torch.randint(4, (2, 2, 300))]
    given = GeneInputs(x, far_x, torch.rand(2, 2))
    with torch.no_grad():
        assert torch.equal(network(given), again(given))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gene": {"before": 5}}, "no network of `genopred train`"),
        ({"track_names": ["a", "a"]}, "'?a'? twice|a twice"),
        ({"link": "exp"}, "needed identity or softplus"),
        ({"network": {"channels": -1}}, "channels is -1"),
        ({"network": {"chanels": 5}}, "unknown key 'chanels'"),
    ],
)
def test_a_damaged_network_of_genes(tmp_path, change, said):
    import json

    network = build_gene("hybrid", 2, GeneShape(900, 100), channels=8, hidden=4)
    save_gene_network(network, tmp_path, ["a", "b"], written={}, best={})
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ModelError, match=said):
        load_network(tmp_path)
