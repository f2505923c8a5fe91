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

from genopred.sequence.models.enformer import checkpoint  # noqa: E402
from genopred.sequence.models.enformer.checkpoint import (  # noqa: E402
    OFFICIAL,
    _decide_gamma,
    embed,
    embedded_file,
    load_enformer,
    save_enformer,
)
from genopred.sequence.models.enformer.model import EnformerModel  # noqa: E402
from genopred.sequence.models.registry import load_model  # noqa: E402

SMALL = {
    "dim": 96,
    "depth": 2,
    "heads": 4,
    "output_heads": {"human": 5, "mouse": 2},
    "target_length": 10,
    "dim_divisible_by": 12,
    "attn_dim_key": 16,
}


#: One track of accessibility and two cell types' initiation by strand.
STRANDED: dict[str, Any] = {
    "track_names": ["ATAC:a", "CAGE:a:+", "CAGE:a:-", "CAGE:b:+", "CAGE:b:-"],
    "reverse_tracks": [0, 2, 1, 4, 3],
    "strand_aware": True,
}


def write_small(file: Path, *, window: int = 8192, target: int = 56, seed: int = 0, **changed: Any) -> Path:
    """A single-file model of the shape of `enformer-small`, with weights under which every base matters.

    Other test files use it: `from test_sequence_models_enformer_checkpoint import write_small`.
    """
    from enformer_data import small

    made = small(torch.float32, seed, depth=2, target_length=target, output_heads={"human": 5})
    folder = save_enformer(made, file.parent / f"{file.stem}.folder", window=window, extra=STRANDED | changed)
    return embed(folder, file, {"data": "random"}, training={"seed": seed})


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
    with pytest.raises(ModelError, match=r"cannot be read as weights \(more than tensors.*never runs code") as said:
        load_enformer(folder)
    assert not (folder / "ran").exists()
    # torch's own message advises to load it all the same
    assert "weights_only" not in str(said.value) and "\n" not in str(said.value)


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
        (lambda f: edit(f, sequence_length=10**9), "sequence_length is 1,000,000,000; needed .* from 1 to 2,097,152"),
        (lambda f: edit(f, sequence_length="long"), "sequence_length is 'long'; needed a whole number"),
        (lambda f: edit(f, sequence_length=-128), "sequence_length is -128; needed"),
        (lambda f: edit(f, dim=10**7), "dim is 10,000,000; needed a whole number from 1 to 8,192"),
        (lambda f: edit(f, depth=10**9), "depth is 1,000,000,000; needed a whole number from 1 to 64"),
        (lambda f: edit(f, heads=10**9), "heads is 1,000,000,000; needed"),
        (lambda f: edit(f, num_downsamples=10**6), "num_downsamples is 1,000,000; needed"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "is not JSON"),
        (lambda f: (f / "config.json").write_bytes(b" " * 4_000_001), "has 4,000,001 bytes; settings of a network"),
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


def test_a_single_file_is_the_folder_in_half_precision(tmp_path: Path) -> None:
    file = write_small(tmp_path / "one.safetensors")
    folder = tmp_path / "one.folder"
    single, info = load_enformer(file)
    whole, of_folder = load_enformer(folder)
    assert not single.training and {p.dtype for p in single.parameters()} == {torch.float32}
    rounded = outputs(whole.half().float(), 8192)
    assert rounded.shape == (1, 56, 5) and np.array_equal(outputs(single, 8192), rounded)
    assert (info.window, info.source, info.tf_gamma) == (8192, str(file), False)
    assert info.card == {"data": "random"} and info.training == {"seed": 0} and of_folder.card == {}
    assert {key: info.config[key] for key in STRANDED} == STRANDED
    with safetensors_torch.safe_open(file, "pt") as opened:
        about = json.loads(opened.metadata()["genopred"])
        names = list(opened.keys())
        assert {opened.get_tensor(name).dtype for name in names} == {torch.float16}
        assert opened.metadata()["format"] == "pt"
    assert sorted(about) == ["card", "config", "training"]
    assert not [name for name in names if name.startswith("_trunk") or "num_batches" in name]
    assert "return_dict" not in about["config"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.folder", "one.safetensors"]


def test_what_a_single_file_predicts_is_its_hash(tmp_path: Path) -> None:
    first = load_enformer(write_small(tmp_path / "a.safetensors"))[1].hash
    embed(tmp_path / "a.folder", tmp_path / "b.safetensors", {"scores": [1, 2]})
    assert load_enformer(tmp_path / "b.safetensors")[1].hash == first
    assert load_enformer(write_small(tmp_path / "c.safetensors", seed=1))[1].hash != first
    assert load_enformer(write_small(tmp_path / "d.safetensors", strand_aware=False))[1].hash != first


def test_the_settings_of_training_travel_along(tmp_path: Path) -> None:
    """As `genopred train` writes them into config.json."""
    write_small(tmp_path / "a.safetensors")
    folder = tmp_path / "a.folder"
    edit(folder, training={"epochs": 3}, validation={"loss": 0.5})
    info = load_enformer(embed(folder, tmp_path / "b.safetensors", {}))[1]
    assert info.training == {"epochs": 3} and "validation" not in info.config and "training" not in info.config
    edit(folder, model_type="genopred-cnn")
    with pytest.raises(ModelError, match="model_type 'genopred-cnn'"):
        embed(folder, tmp_path / "b.safetensors", {})


def test_embedding_refuses_what_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_small(tmp_path / "a.safetensors")
    before = file.read_bytes()
    monkeypatch.setattr(checkpoint, "MOST_BYTES", 1000)
    with pytest.raises(ModelError, match=r"bytes and may have .*smaller dim or depth"):
        embed(tmp_path / "a.folder", file, {})
    assert file.read_bytes() == before and not list(tmp_path.glob(".*"))
    weights = tmp_path / "a.folder" / "model.safetensors"
    state = safetensors_torch.load_file(weights)
    state["stem.0.bias"][2] = 1e5
    safetensors_torch.save_file(state, weights)
    with pytest.raises(ModelError, match=r"1 weights do not fit into half precision.*stem.0.bias"):
        embed(tmp_path / "a.folder", file, {})
    with pytest.raises(ModelError, match=r"ends in .safetensors"):
        embed(tmp_path / "a.folder", tmp_path / "a.pt", {})


@pytest.mark.parametrize(
    ("about", "message"),
    [
        (None, "weights without settings.*instead: enformer:"),
        ("{", "is not JSON"),
        ("[]", "no object 'config'"),
        ({"config": None}, "no object 'config'"),
        ({"dim": 192}, "another size"),
        ({"sequence_length": None}, "does not say the input's length"),
        ({"reverse_tracks": [0, 2, 1, 4, 4]}, "needed for each of 5 tracks"),
        ({"reverse_tracks": [0, 2, 1]}, "needed for each of 5 tracks"),
        ({"reverse_tracks": [1, 2, 0, 4, 3]}, "needed for each of 5 tracks"),
        ({"reverse_tracks": "swap"}, "needed for each of 5 tracks"),
    ],
)
def test_bad_single_files(tmp_path: Path, about: Any, message: str) -> None:
    file = write_small(tmp_path / "a.safetensors")
    with safetensors_torch.safe_open(file, "pt") as opened:
        good = json.loads(opened.metadata()["genopred"])
    state = safetensors_torch.load_file(file)
    if isinstance(about, dict):
        config = about["config"] if "config" in about else good["config"] | about
        if config is not None:
            config = {key: value for key, value in config.items() if value is not None}
        about = json.dumps(good | {"config": config})
    safetensors_torch.save_file(state, file, metadata={"genopred": about} if about else None)
    with pytest.raises(ModelError, match=message):
        load_enformer(file)


def test_damaged_or_missing_single_files(tmp_path: Path) -> None:
    file = write_small(tmp_path / "a.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be read as weights"):
        load_enformer(file)
    with pytest.raises(ModelError, match="no such file"):
        load_enformer(tmp_path / "absent.safetensors")


def test_a_package_without_its_model_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "files", lambda package: tmp_path)
    with pytest.raises(ModelError, match="enformer_small.safetensors is missing.*Install it again"):
        embedded_file()
    with pytest.raises(ModelError, match="installed without its own model"):
        load_model("enformer-small")


@pytest.fixture
def shipped() -> Path:
    try:
        return embedded_file()
    except ModelError:
        pytest.skip("the package has no model of its own yet")


def test_the_model_that_is_shipped(shipped: Path) -> None:
    assert shipped.stat().st_size <= checkpoint.MOST_BYTES
    model = load_model("enformer-small")
    info = model.info  # type: ignore[attr-defined]
    assert model.name == "enformer-small" and model.strand_aware and info.card and info.training
    assert model.window == info.config["sequence_length"] and model.tss_offset == model.window // 2
    pairs = [(a, model.tracks[b]) for a, b in zip(model.tracks, model.reverse_tracks)]  # type: ignore[attr-defined]
    assert any(a != b for a, b in pairs) and len(model.tracks) == len(set(model.tracks))
