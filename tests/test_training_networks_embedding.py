"""genopred.training.networks.embedding: language models of DNA from a folder, and what is no such model."""

from __future__ import annotations

import shutil

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")
transformers = pytest.importorskip("transformers")

from gene_networks import dna_model, rewrite  # noqa: E402

from genopred.errors import ModelError  # noqa: E402
from genopred.training.networks.embedding import open_encoder, spaced  # noqa: E402
from genopred.training.networks.gene import GeneInputs, GeneShape  # noqa: E402
from genopred.training.networks.registry import build_gene  # noqa: E402

SHAPE = GeneShape(400, 100)


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return dna_model(tmp_path_factory.mktemp("single"))


@pytest.fixture
def folder(single, tmp_path):
    return shutil.copytree(single, tmp_path / "model")


def windows(n: int = 2) -> GeneInputs:
    torch.manual_seed(5)
    return GeneInputs(torch.eye(5, 4)[torch.randint(5, (n, 500))])


def test_frozen_is_frozen_and_tuned_is_tuned(single):
    for tune in (False, True):
        network = build_gene("embedding", 2, SHAPE, folder=str(single), piece=120, tune=tune, dropout=0.0).train()
        assert network.encoder.training == tune
        network(windows()).sum().backward()
        grads = [p.grad for p in network.encoder.parameters() if p.grad is not None]
        assert bool(grads) == tune


def test_a_sequence_is_encoded_once(single, monkeypatch):
    network = build_gene("embedding", 2, SHAPE, folder=str(single), piece=120).eval()
    first = network(windows())
    monkeypatch.setattr(network, "_encoded", lambda texts: pytest.fail("encoded again"))
    assert torch.equal(network(windows()), first)


def test_words_of_three_bases(tmp_path):
    folder = dna_model(tmp_path, k=3)
    assert open_encoder(folder, 90)[2] == 3 and spaced("ACGTA", 3) == "ACG CGT GTA"
    assert build_gene("embedding", 2, SHAPE, folder=str(folder), piece=120)(windows()).shape == (2, 2)


def test_special_words_do_not_count(single):
    network = build_gene("embedding", 2, SHAPE, folder=str(single), piece=120).eval()
    texts = ["ACGTACGTAC", "ACGTACGTACGGGTTTACAA"]
    together = network._encoded(texts)
    alone = torch.cat([network._encoded([text]) for text in texts])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def refused(folder, said, **sizes):
    with pytest.raises(ModelError, match=said):
        build_gene("embedding", 2, SHAPE, **({"folder": str(folder), "piece": 120} | sizes))


def test_a_folder_that_is_none(tmp_path):
    refused(tmp_path / "no", "no config.json there")
    refused("", "network.folder is missing")


def test_another_vocabulary(folder):
    english = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "of", "and", "gene", "a", "c", "g", "t"]
    (folder / "vocab.txt").write_text("\n".join(english) + "\n")
    (folder / "tokenizer.json").unlink(missing_ok=True)
    refused(folder, "words of its vocabulary are made of A, C, G, T and N .*needed a model of DNA")
    # its tokenizer knows every base, but half of what it knows is none
    (folder / "vocab.txt").write_text("\n".join([*english[:9], "A", "C", "G", "T"]) + "\n")
    refused(folder, "4 of 8 words of its vocabulary are made of A, C, G, T and N")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_checkpoint_that_wants_to_run_code(folder, name):
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    rewrite(folder / name, auto_map={"AutoModel": "evil.Model", "AutoTokenizer": ["evil.T", None]})
    refused(folder, f"{name} wants to run code of its own")


def test_pickled_weights(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, r"weights are pickled \(pytorch_model.bin\)")


def test_a_kind_that_transformers_does_not_know(folder):
    rewrite(folder / "config.json", model_type="hyena-unknown")
    refused(folder, "transformers cannot load it")


def test_damaged_files(folder):
    (folder / "model.safetensors").write_bytes(b"damaged")
    refused(folder, "transformers cannot load it")
    (folder / "config.json").write_text("{")
    refused(folder, "config.json is not JSON")


def test_pieces_that_are_too_long(single):
    refused(single, "network.piece = 200 bp are 202 words, and .* takes about 130", piece=200)
    refused(single, "piece is 0; needed a whole number from 1", piece=0)
    refused(single, "tune is 'yes'; needed true or false", tune="yes")


def test_more_words_than_the_model_has(folder):
    with (folder / "vocab.txt").open("a") as file:
        file.write("ACGT\nAACC\n")
    (folder / "tokenizer.json").unlink(missing_ok=True)
    refused(folder, "they are of different models")


def test_weights_that_are_not_there(folder):
    (folder / "model.safetensors").unlink()
    refused(folder, "no model.safetensors there")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "model-00001-of-00002.safetensors"}}')
    refused(folder, "transformers cannot load it")
