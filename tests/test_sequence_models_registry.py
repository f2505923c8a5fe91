"""genopred.sequence.models.registry."""

from importlib.metadata import EntryPoint
from types import SimpleNamespace

import numpy as np
import pytest

from genopred.errors import ModelError
from genopred.sequence.haplotypes import VariantWindow
from genopred.sequence.models import registry
from genopred.sequence.models.base import SequenceModel
from genopred.sequence.models.registry import DEFAULT_MODEL, is_model, load_model


class Mine(SequenceModel):
    """What a user would write."""

    name = "mine"
    window, tss_offset, strand_aware, bin_size, n_bins = 64, 32, False, 8, 4
    tracks = ("one", "two", "three")
    checkpoint_hash = "0"
    origin = {"by": "me"}
    default_batch = 5

    def __init__(self, path=None, device="cpu"):
        self.path, self.device, self.batches = path, device, []
        self.kernel = np.random.default_rng(0).normal(size=(64 * 4, 12)).astype(np.float32)

    def predict_onehot(self, onehot):
        self.batches.append(len(onehot))
        return np.tanh(onehot.reshape(len(onehot), -1) @ self.kernel).reshape(-1, 4, 3)


def packages(monkeypatch, **loaders):
    """Make entry points of functions in this module."""
    points = [EntryPoint(name, value, registry.GROUP) for name, value in loaders.items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == registry.GROUP else [])


def broken(path, **options):
    return SimpleNamespace(name="broken", window=10)


def twins(path, **options):
    model = Mine(path)
    model.tracks = ("one", "two", "one")
    return model


def test_a_users_class_through_an_entry_point(monkeypatch):
    packages(monkeypatch, mine=f"{__name__}:Mine")
    model = load_model("mine:weights/of:mine", device="cuda:1")
    assert model.path == "weights/of:mine" and model.device == "cuda:1"
    assert isinstance(model, SequenceModel)
    assert load_model("mine").path is None


class Old:
    """The attributes and both methods, five arrays one by one, and not the base."""

    def __init__(self, path, **options):
        self._mine = Mine()
        for name in ("name", "window", "tss_offset", "strand_aware", "bin_size", "n_bins", "tracks", "origin"):
            setattr(self, name, getattr(Mine, name))
        self.checkpoint_hash, self.log_scale, self.default_batch = "0", True, None

    def predict_onehot(self, onehot):
        return self._mine.predict_onehot(onehot)

    def predict_haplotypes(self, reference, sites, ref_codes, alt_codes, alleles, **options):
        return self._mine.predict_haplotypes(VariantWindow(reference, sites, ref_codes, alt_codes, alleles), **options)


def test_an_object_without_the_base_class_is_taken_too(monkeypatch):
    packages(monkeypatch, old=f"{__name__}:Old")
    model = load_model("old")
    assert isinstance(model, SequenceModel) and model.name == "mine" and model.log_scale
    assert model.default_batch == 32 and model.reverse_tracks is None
    none = np.zeros(0, dtype=np.int64)
    reference = np.eye(4, dtype=np.float32)[np.arange(64) % 4]
    found = model.predict_haplotypes(VariantWindow(reference, none, none, none, np.zeros((2, 0), np.int8)), bins=[1])
    np.testing.assert_array_equal(found, np.repeat(Mine().predict_onehot(reference[None])[:, [1]], 2, axis=0))
    with pytest.raises(ModelError, match="cannot be differentiated"):
        model.torch_forward(None)


def stumbling(path):
    return Mine(path)


def test_a_package_that_breaks_is_named(monkeypatch):
    packages(monkeypatch, mine=f"{__name__}:stumbling")
    with pytest.raises(ModelError, match=r"mine:here: .*stumbling could not make its model \(TypeError.*tf_gamma"):
        load_model("mine:here", tf_gamma=True)


def test_what_is_no_model_is_said_at_once(monkeypatch, tmp_path):
    packages(monkeypatch, broken=f"{__name__}:broken", twins=f"{__name__}:twins", absent="no_such_module_anywhere:x")
    with pytest.raises(ModelError, match="SimpleNamespace lacks tss_offset, strand_aware"):
        load_model("broken")
    with pytest.raises(ModelError, match=r"track names occur twice \(one\)"):
        load_model("twins")
    with pytest.raises(ModelError, match="could not be loaded.*no_such_module_anywhere"):
        load_model("absent")
    with pytest.raises(ModelError, match="no model 'xpreso'.*Did you mean 'xpresso'.*genopred.models"):
        load_model("xpreso:file.h5")
    with pytest.raises(ModelError, match="needs its weights"):
        load_model("xpresso")
    with pytest.raises(ModelError, match="--tf-gamma.*are for Enformer"):
        load_model("xpresso:file.h5", tf_gamma=False)
    with pytest.raises(ModelError, match="needs a checkpoint"):
        load_model("enformer")
    with pytest.raises(ModelError, match="no such file"):
        load_model(str(tmp_path / "absent.h5"))


def test_distinct_windows_run_once_in_batches():
    rng = np.random.default_rng(3)
    model = Mine()
    reference = np.eye(4, dtype=np.float32)[rng.integers(0, 4, 64)]
    sites = np.sort(rng.choice(64, 4, replace=False))
    ref = reference[sites].argmax(axis=1).astype(np.int8)
    alt = ((ref + 1) % 4).astype(np.int8)
    alleles = rng.integers(0, 2, (50, 4)).astype(np.int8)
    window = VariantWindow(reference, sites, ref, alt, alleles)
    found = model.predict_haplotypes(window, bins=[2, 0], tracks=[1])
    distinct = len({tuple(row) for row in alleles.tolist()})
    assert sum(model.batches) == distinct < 50 and max(model.batches) == 5
    plain = Mine().predict_onehot(window.onehot())
    np.testing.assert_allclose(found, plain[:, [2, 0]][:, :, [1]], rtol=1e-5)
    with pytest.raises(ModelError, match="has only fp32"):
        model.predict_haplotypes(window, dtype="bf16")


def test_the_embedded_model_and_files_like_it(monkeypatch, tmp_path):
    pytest.importorskip("torch")
    from test_sequence_models_enformer_checkpoint import STRANDED, write_small

    from genopred.sequence.models.enformer import checkpoint

    file = write_small(tmp_path / "mine.safetensors", window=2048, target=8)
    monkeypatch.setattr(checkpoint, "embedded_file", lambda: file)
    embedded = load_model(DEFAULT_MODEL, device="cpu")
    assert isinstance(embedded, SequenceModel) and embedded.name == DEFAULT_MODEL == "enformer-small"
    assert embedded.origin["model"] == DEFAULT_MODEL and embedded.origin["checkpoint"] == "embedded"
    assert (embedded.window, embedded.tss_offset, embedded.n_bins) == (2048, 1024, 8)
    assert embedded.strand_aware and embedded.tracks == tuple(STRANDED["track_names"])
    assert embedded.reverse_tracks == tuple(STRANDED["reverse_tracks"])
    for spec in (f"enformer-small:{file}", str(file), f"enformer:{file}"):
        model = load_model(spec)
        assert model.checkpoint_hash == embedded.checkpoint_hash and model.strand_aware
    assert load_model(str(file)).name == f"enformer-small:{file}"
    assert load_model("enformer-small:").name == "enformer-small"
    with pytest.raises(ModelError, match="absent.safetensors: no such file"):
        load_model(str(tmp_path / "absent.safetensors"))


def test_what_is_a_model_is_known_without_loading_it(monkeypatch, tmp_path):
    packages(monkeypatch, mine=f"{__name__}:Mine")
    (tmp_path / "config.json").write_text("{}")
    for spec in ("enformer-small", "enformer:some/where", "mine", "a.h5", "b.safetensors", str(tmp_path)):
        assert is_model(spec)
    for spec in ("features", "features/", "enformer_small", "./other:folder"):
        assert not is_model(spec)
