"""Enformer checkpoints of every kind, and what is said of bad ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genopred.errors import ModelError

torch = pytest.importorskip("torch")
enformer_pytorch = pytest.importorskip("enformer_pytorch")
safetensors_torch = pytest.importorskip("safetensors.torch")

from genopred.sequence.checkpoint import OFFICIAL, _decide_gamma, load_enformer, save_enformer  # noqa: E402
from genopred.sequence.enformer import EnformerModel  # noqa: E402
from genopred.sequence.registry import load_model  # noqa: E402

SMALL = {
    "dim": 96,
    "depth": 2,
    "heads": 4,
    "output_heads": {"human": 5, "mouse": 2},
    "target_length": 10,
    "dim_divisible_by": 12,
    "attn_dim_key": 16,
}


@pytest.fixture(scope="module")
def module() -> Any:
    torch.manual_seed(0)
    made = enformer_pytorch.Enformer.from_hparams(**SMALL).eval()
    with torch.no_grad():
        for part in made.modules():
            if hasattr(part, "to_rel_k"):
                part.to_out.weight.normal_()
            if isinstance(part, torch.nn.BatchNorm1d):
                part.running_mean.normal_()
    return made


@pytest.fixture()
def folder(module: Any, tmp_path: Path) -> Path:
    return save_enformer(module, tmp_path / "model", window=2048)


def outputs(module: Any, length: int = 2048) -> Any:
    bases = np.random.default_rng(0).integers(0, 4, length)
    with torch.no_grad():
        return module(torch.eye(4)[torch.from_numpy(bases)][None], head="human").numpy()


def test_saved_and_loaded_is_bitwise_the_same(module: Any, folder: Path) -> None:
    loaded, info = load_enformer(folder)
    assert np.array_equal(outputs(loaded), outputs(module))
    assert (info.window, info.tf_gamma, info.tf_gamma_because) == (2048, False, "use_tf_gamma in config.json")
    assert not loaded.training and len(info.hash) == 64
    with safetensors_torch.safe_open(folder / "model.safetensors", "pt") as file:
        assert not [key for key in file.keys() if key.startswith("_trunk")]
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert len({p.stat().st_mode for p in folder.iterdir()}) == 1
    # the aliases still share memory: what is changed in one place is changed in the other
    assert loaded._trunk[1][0].weight is loaded.stem[0].weight


@pytest.mark.parametrize("kind", ["all keys", "no aliases", "aliases only"])
def test_pickled_weights_as_the_official_ones(module: Any, folder: Path, kind: str) -> None:
    (folder / "model.safetensors").unlink()
    state = module.state_dict()
    if kind != "all keys":
        state = {k: v for k, v in state.items() if k.startswith(("_trunk", "_heads")) == (kind == "aliases only")}
        state |= {k: v for k, v in module.state_dict().items() if k.startswith("_heads")}
    torch.save(state, folder / "pytorch_model.bin")
    assert np.array_equal(outputs(load_enformer(folder)[0]), outputs(module))


def test_pickles_that_run_code_are_not_run(folder: Path) -> None:
    class Bad:
        def __reduce__(self) -> Any:
            return (Path.touch, (folder / "ran",))

    (folder / "model.safetensors").unlink()
    torch.save({"stem.0.weight": Bad()}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be read as weights"):
        load_enformer(folder)
    assert not (folder / "ran").exists()


def edit(folder: Path, **changed: Any) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text()) | changed
    file.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def test_tf_gamma_from_checkpoint_and_flag_for_a_local_folder(tmp_path: Path) -> None:
    """1,536 tokens and 192 features: the sizes TensorFlow's table is made for."""
    torch.manual_seed(1)
    sizes = {"dim": 384, "depth": 1, "heads": 2, "num_downsamples": 3, "dim_divisible_by": 48, "target_length": 896}
    made = enformer_pytorch.Enformer.from_hparams(**sizes, output_heads={"human": 2}).eval()
    with torch.no_grad():
        made.transformer[0][0].fn[1].to_out.weight.normal_(0, 0.1)
    folder = save_enformer(made, tmp_path / "m", window=1536 * 8)
    plain, info = load_enformer(folder)
    assert not info.tf_gamma
    asked, asked_info = load_enformer(folder, tf_gamma=True)
    assert asked_info.tf_gamma_because == "--tf-gamma" and asked_info.hash != info.hash
    edit(folder, use_tf_gamma=True)
    said, said_info = load_enformer(folder)
    assert said_info.tf_gamma
    assert not load_enformer(folder, tf_gamma=False)[1].tf_gamma
    for part in made.modules():
        if hasattr(part, "use_tf_gamma"):
            part.use_tf_gamma = True
    want = outputs(made, 1536 * 8)
    assert np.array_equal(outputs(asked, 1536 * 8), want) and np.array_equal(outputs(said, 1536 * 8), want)
    assert np.abs(outputs(plain, 1536 * 8) - want).max() > 1e-6
    edit(folder, sequence_length=1000)
    with pytest.raises(ModelError, match="1536 tokens only"):
        load_enformer(folder)


def test_tf_gamma_of_the_official_weights() -> None:
    official = {
        "dim": 1536,
        "depth": 11,
        "heads": 8,
        "target_length": 896,
        "output_heads": {"human": 5313, "mouse": 1643},
    }
    assert _decide_gamma(None, official, "/data/enformer-local")[0]
    assert _decide_gamma(None, {}, OFFICIAL)[0]
    assert not _decide_gamma(None, official | {"target_length": 128}, "/data/enformer-preview")[0]
    assert not _decide_gamma(None, official | {"use_tf_gamma": False}, "/data/x")[0]
    assert not _decide_gamma(False, official, OFFICIAL)[0]


def test_hash_follows_weights_and_settings(folder: Path, module: Any, tmp_path: Path) -> None:
    before = load_enformer(folder)[1].hash
    assert load_enformer(save_enformer(module, tmp_path / "again", window=2048))[1].hash == before
    edit(folder, target_length=8)
    assert load_enformer(folder)[1].hash != before


def test_through_the_registry(folder: Path, module: Any) -> None:
    model = load_model(str(folder))
    assert isinstance(model, EnformerModel) and model.window == 2048 and model.name == f"enformer:{folder}"
    bases = np.random.default_rng(0).integers(0, 4, 2048)
    assert np.allclose(model.predict_onehot(np.eye(4, dtype=np.float32)[bases][None]), outputs(module), rtol=1e-6)
    with pytest.raises(ModelError, match="--device cuda:99"):
        EnformerModel.load(folder, device="cuda:99")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: edit(f, dim=192), r"another size .* needed \("),
        (lambda f: edit(f, depth=3), "weights are missing"),
        (lambda f: edit(f, depth=1), "are unknown"),
        (lambda f: edit(f, dim=100), "do not make an Enformer|another size"),
        (lambda f: edit(f, model_type="bert"), "model_type 'bert'"),
        (lambda f: edit(f, sequence_length=None), "does not say the input's length"),
        (lambda f: (f / "config.json").write_text("{"), "is not JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "needed an object"),
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "model.safetensors").unlink(), "no weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b"version https://git-lfs"), "cannot be read as weights"),
        (
            lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-100]),
            "cannot be read as weights",
        ),
    ],
)
def test_bad_checkpoints(folder: Path, harm: Any, message: str) -> None:
    harm(folder)
    with pytest.raises(ModelError, match=message):
        load_enformer(folder)


def test_weights_that_are_not_finite(module: Any, folder: Path) -> None:
    state = safetensors_torch.load_file(folder / "model.safetensors")
    state["stem.0.bias"][3] = float("nan")
    safetensors_torch.save_file(state, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"not finite \(stem.0.bias\)"):
        load_enformer(folder)


class Hub:
    """Stands for the hub's client: whether it can be reached, and what it has."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, folder: Path | None = None, files: tuple[str, ...] = ()
    ) -> None:
        import huggingface_hub

        self.folder, self.files, self.asked = folder, files, []
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", self.download)
        monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args: None)
        monkeypatch.setattr(huggingface_hub.utils, "get_session", lambda: self)

    def head(self, url: str, timeout: float) -> None:
        self.asked.append(url)
        if self.folder is None:
            try:
                raise OSError("no route to host")
            except OSError as bad:
                raise RuntimeError("a long tale of sockets") from bad

    def download(self, name: str, file: str) -> str:
        self.asked.append(file)
        if file not in self.files:
            raise RuntimeError(f"404 for {file}")
        return str(self.folder / file)


def test_the_hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    hub = Hub(monkeypatch, folder, ("config.json", "model.safetensors"))
    assert load_enformer("someone/model")[1].source == "someone/model"
    assert "someone/model" in hub.asked[0] and hub.asked[1:] == ["config.json", "model.safetensors"]
    Hub(monkeypatch, folder, ("config.json",))
    with pytest.raises(ModelError, match="404 for pytorch_model.bin"):
        load_enformer("someone/model")
    hub = Hub(monkeypatch, folder)
    with pytest.raises(ModelError, match="404 for config.json"):
        load_enformer("someone/absent")
    assert len(hub.asked) == 2


def test_no_network_says_what_to_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = Hub(monkeypatch)
    with pytest.raises(ModelError, match=r"no route to host.*config.json and pytorch_model.bin.*one folder"):
        load_enformer(OFFICIAL)
    # one question, not the client's own retries
    assert len(hub.asked) == 1
    with pytest.raises(ModelError, match="not a hub id"):
        load_enformer(tmp_path / "nowhere" / "at" / "all")
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="is a file"):
        load_enformer(tmp_path / "file")


def test_hub_id_in_the_cache_needs_no_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def cached(name: str, file: str) -> str | None:
        return str(folder / file) if (folder / file).exists() else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    assert load_enformer("someone/model")[1].source == "someone/model"
