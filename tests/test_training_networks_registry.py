"""Networks by name: their shapes, and what is said of sizes that make none."""

from __future__ import annotations

import doctest

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")

from training_data import SHAPE, TINY, onehot  # noqa: E402

from genopred.errors import ModelError  # noqa: E402
from genopred.training.networks import registry  # noqa: E402
from genopred.training.networks.base import n_parameters  # noqa: E402
from genopred.training.networks.registry import GENE_NETWORKS, NETWORKS, build, same_size  # noqa: E402
from genopred.training.splits import WindowShape  # noqa: E402


@pytest.mark.parametrize("kind, sizes", [("enformer-small", TINY), ("cnn", {"channels": 12, "layers": 3})])
def test_predictions_are_positive_bins_by_tracks(kind: str, sizes: dict[str, int]) -> None:
    network = build(kind, 5, SHAPE, **sizes).eval()
    predicted = network(onehot())
    assert tuple(predicted.shape) == (3, 12, 5)
    assert bool((predicted > 0).all())
    assert network.kind == kind and network.sizes == NETWORKS[kind].SIZES | sizes


def test_same_size_finds_the_channels() -> None:
    wanted = n_parameters(build("enformer-small", 9, SHAPE, **TINY))
    sizes = same_size(9, SHAPE, wanted, layers=3)
    found = n_parameters(build("cnn", 9, SHAPE, **sizes))
    assert sizes["layers"] == 3
    assert abs(found - wanted) < 0.1 * wanted


@pytest.mark.parametrize(
    "kind, sizes, said",
    [
        ("enformer-smal", {}, "Did you mean 'enformer-small'"),
        ("enformer-small", {"dimm": 48}, "Did you mean 'dim'"),
        ("cnn", {"dim": 48}, "unknown key 'dim' in network .kind = 'cnn'"),
        ("enformer-small", {"dim": 40, "heads": 4}, "divisible by 6"),
        ("enformer-small", {"dim": 24}, "dim 24 with dim_divisible_by 24: dim must be a multiple of it, twice or more"),
        ("enformer-small", {"dim": 120, "dim_divisible_by": 32}, "dim 120 with dim_divisible_by 32"),
        ("enformer-small", {"dim": 10**9}, "dim is 1,000,000,000; needed a whole number from 1 to 8,192"),
        ("enformer-small", {"depth": 10**9}, "depth is 1,000,000,000; needed"),
        ("cnn", {"channels": 10**6}, "channels is 1,000,000; needed a whole number from 1 to 8,192"),
        ("cnn", {"layers": 10**30}, "layers is 10+; needed a whole number from 1 to 20"),
        ("cnn", {"channels": 8.5}, "channels is 8.5; needed a whole number"),
        ("cnn", {"dropout": 1}, "dropout is 1; needed a number from 0, below 1"),
        ("cnn", {"dropout": True}, "dropout is True; needed a number from 0, below 1"),
    ],
)
def test_bad_sizes(kind: str, sizes: dict[str, int], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        build(kind, 2, SHAPE, **sizes)


def test_a_window_beyond_the_limit() -> None:
    with pytest.raises(ModelError, match=r"data.window = 2,097,280: needed at most 2,097,152 bp"):
        build("cnn", 2, WindowShape(window=2_097_280, bin=128, crop=2))


def test_bins_of_the_enformer_are_128_bp() -> None:
    with pytest.raises(ModelError, match="bins of 128 bp"):
        build("enformer-small", 2, WindowShape(window=2048, bin=64, crop=2))
    with pytest.raises(ModelError, match="power of two"):
        build("cnn", 2, WindowShape(window=2000, bin=100, crop=2))


def test_examples():
    assert doctest.testmod(registry).failed == 0


EXAMPLE = """
task = "expression"

[genes]
fasta = "{folder}/reference.fa.gz"
table = "{folder}/expression.bed.gz"
before = 1500
after = 500

[expression]
file = "{folder}/expression.bed.gz"
unit = "rpkm"
average = true

[split]
block = 60000
seed = 2
fractions = [0.6, 0.2, 0.2]

[network]
kind = "{kind}"
{sizes}

[training]
epochs = 2
batch = 4
threads = 1
device = "cpu"
{contacts}
"""


@pytest.mark.parametrize("kind", list(GENE_NETWORKS))
def test_each_network_of_genes_trains_on_the_embedded_slice(tmp_path, kind):
    """From one TOML, and the same bytes when it is killed after an epoch and goes on."""
    from gene_networks import SMALL as SMALL_GENES
    from gene_networks import dna_model

    from genopred.io.example import load_example
    from genopred.pipelines import train
    from genopred.settings import Train

    sizes = SMALL_GENES[kind] | ({"folder": str(dna_model(tmp_path / "dna"))} if kind == "embedding" else {})
    contacts = ""
    if kind == "dual-path":
        genes = load_example().expression.genes
        rows = [f"22\t{tss - 1}\t{tss}\t22\t{tss + 20000}\t{tss + 20500}\t.\t1" for tss in genes["tss"].to_list()]
        (tmp_path / "contacts.bedpe").write_text("\n".join(rows) + "\n")
        contacts = f'[contacts]\nfile = "{tmp_path}/contacts.bedpe"\nsegments = 2\nsegment = 500\n'
    lines = "\n".join(f"{key} = {value!r}" for key, value in sizes.items()).replace("'", '"')
    text = EXAMPLE.format(folder=load_example().folder, kind=kind, sizes=lines, contacts=contacts)
    (tmp_path / "genes.toml").write_text(text)
    train.run(Train(config=tmp_path / "genes.toml", out=tmp_path / "whole"))

    def killed(*_):
        raise KeyboardInterrupt

    calls = []

    def step(*_):
        calls.append(1)
        if len(calls) == 5:
            killed()

    with pytest.raises(KeyboardInterrupt):
        train.run(Train(config=tmp_path / "genes.toml", out=tmp_path / "killed"), step)
    train.run(Train(config=tmp_path / "genes.toml", out=tmp_path / "killed"))
    for name in ("model/model.safetensors", "history.tsv", "genes.tsv", "last.pt"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name
