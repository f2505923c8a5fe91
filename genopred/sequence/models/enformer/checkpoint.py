"""Enformer checkpoints: a folder, a single file or a hub id -> the module with its weights, and what is known of them.

enformer-pytorch's own `from_pretrained` sets TensorFlow's gamma features only when the name is literally the official
hub id, so the same weights in a local folder compute other numbers; here the checkpoint decides (`tf_gamma_because`
says how). Its `save_pretrained` fails on tensors that the module holds twice (`_trunk.*`); here they are written once.

A single file is what a trained model is handed on in: half-precision weights, with the settings and the model card as
JSON under `genopred` in the metadata of the safetensors file (`embed` writes it).
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from genopred.errors import ModelError, examples
from genopred.files import write_files
from genopred.sequence.models.config import CONFIG, WEIGHTS, check_partners, check_sizes, enformer_class, read_settings

#: The weights of Avsec et al. (2021) as ported to PyTorch.
OFFICIAL = "EleutherAI/enformer-official-rough"
#: Key of a single file's metadata, and the most bytes that a file for the package may have.
METADATA = "genopred"
MOST_BYTES = 3_000_000
#: Tokens for which TensorFlow's gamma features are known.
TF_GAMMA_TOKENS = 1536
_ALIAS = "_trunk."
#: Settings that `embed` keeps; transformers adds sixty of its own.
_KEEP = (
    "model_type dim depth heads output_heads target_length attn_dim_key dropout_rate attn_dropout pos_dropout "
    "num_downsamples dim_divisible_by use_tf_gamma sequence_length track_names strand_aware reverse_tracks"
).split()


@dataclass(frozen=True)
class CheckpointInfo:
    """What is known of a loaded checkpoint.

    Attributes
    ----------
    source : str
        Folder, file or hub id.
    hash : str
        SHA-256 over the weights, the settings and `tf_gamma`: equal hashes predict equally.
    config : dict
        Settings as in config.json. Beside enformer-pytorch's own: `sequence_length` (bp), `track_names`,
        `strand_aware`, `reverse_tracks` (for each track its partner on the other strand).
    window : int
        Input length in bp.
    tf_gamma : bool
    tf_gamma_because : str
        What decided it.
    card, training : dict
        Of a single file: what is to be known of the model, and the settings it was trained with.
    """

    source: str
    hash: str
    config: dict[str, Any]
    window: int
    tf_gamma: bool
    tf_gamma_because: str
    card: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


def load_enformer(
    path: str | Path, *, tf_gamma: bool | None = None, window: int | None = None
) -> tuple[torch.nn.Module, CheckpointInfo]:
    """Load an enformer-pytorch checkpoint, in evaluation mode, on the CPU.

    Parameters
    ----------
    path : str or Path
        A folder with config.json and model.safetensors or pytorch_model.bin, such as `genopred train` writes; a single
        .safetensors file that `embed` wrote; or a hub id.
    tf_gamma : bool, optional
        Whether relative positions take their gamma features from TensorFlow's table; decided by the checkpoint by
        default: `use_tf_gamma` in config.json, else true for the official weights alone.
    window : int, optional
        Input length in bp, where config.json does not say (`sequence_length`) and the model is not of the published
        size.

    Raises
    ------
    ModelError
        If enformer-pytorch is not installed; a file is missing, corrupt, or of another size than config.json says;
        weights are not finite; or the hub cannot be reached.
    """
    kind = enformer_class()
    about: dict[str, Any] = {}
    if Path(path).suffix == ".safetensors":
        source, place = str(path), Path(path)
        weights, about = place, _read_metadata(place)
        config = about["config"]
    else:
        folder, source = _folder(path)
        place = folder / CONFIG
        config = read_settings(place, ("enformer",))
        found = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
        if found is None:
            raise ModelError(f"{folder}: no weights; needed {' or '.join(WEIGHTS)} beside {CONFIG}.")
        weights = found
    # before anything is built: what these ask for is taken from memory
    check_sizes(config, str(place))
    length = _window(config, window, place)
    module = _build(kind, config, place)
    state = read_weights(weights)
    _fill(module, state, weights)
    check_partners(config, place)
    gamma, because = _decide_gamma(tf_gamma, config, source)
    tokens = -(-length // 2 ** int(config.get("num_downsamples", 7)))
    if gamma and tokens != TF_GAMMA_TOKENS:
        raise ModelError(
            f"{source}: TensorFlow's gamma features exist for {TF_GAMMA_TOKENS} tokens only and a window of {length:,} "
            f'bp has {tokens}; pass --no-tf-gamma, or set "use_tf_gamma" to false in its settings.'
        )
    _set_gamma(module, gamma)
    digest = _digest(state if about else weights, config, gamma, length)
    said = (about.get(name) or {} for name in ("card", "training"))
    return module.eval(), CheckpointInfo(source, digest, config, length, gamma, because, *said)


def embedded_file() -> Path:
    """The model that comes with the package, `enformer-small`; ModelError if it was installed without."""
    file = Path(str(files("genopred"))) / "data" / "enformer_small.safetensors"
    if not file.is_file():
        raise ModelError(
            f"{file} is missing: this genopred was installed without its own model. Install it again, data included, "
            "or name another model, such as enformer:FOLDER."
        )
    return file


def embed(
    folder: str | Path, file: str | Path, card: dict[str, Any], *, training: dict[str, Any] | None = None
) -> Path:
    """Write a checkpoint as one file of half-precision weights, which `load_enformer` reads.

    Parameters
    ----------
    folder : str or Path
        A checkpoint; its config.json says `sequence_length`, `track_names`, `strand_aware` and `reverse_tracks`.
    file : str or Path
        A name that ends in .safetensors. It is replaced when the new one is whole and small enough.
    card : dict
        What is to be known of the model: data and their terms, split, scores, limits, command.
    training : dict, optional
        The settings it was trained with; those under `training` in config.json by default.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ModelError
        If a weight does not fit into half precision, or the file is larger than `MOST_BYTES`.
    """
    from safetensors.torch import save

    file = Path(file)
    if file.suffix != ".safetensors":
        raise ModelError(f"{file}: a single-file model needs a name that ends in .safetensors.")
    module, info = load_enformer(folder)
    # batch norm's counters are not used in prediction
    state = {
        key: value.detach().to(torch.float16).contiguous()
        for key, value in module.state_dict().items()
        if not key.startswith(_ALIAS) and not key.endswith("num_batches_tracked")
    }
    over = [key for key, value in state.items() if not bool(torch.isfinite(value).all())]
    if over:
        raise ModelError(
            f"{folder}: {len(over)} weights do not fit into half precision, which ends at 65,504 ({examples(over)}); "
            "train with more weight decay, or keep the folder."
        )
    config = {key: info.config[key] for key in _KEEP if key in info.config} | {"sequence_length": info.window}
    about = {"config": config, "card": card, "training": training or info.config.get("training") or {}}
    text = json.dumps(about, sort_keys=True)
    whole = save(state, metadata={"format": "pt", METADATA: text})
    if len(whole) > MOST_BYTES:
        raise ModelError(
            f"{folder}: as one file it has {len(whole):,} bytes and may have {MOST_BYTES:,}; train a network with a "
            f"smaller dim or depth (this one has {sum(value.numel() for value in state.values()):,} weights)."
        )
    write_files({file: whole})
    return file


def save_enformer(
    module: torch.nn.Module, folder: str | Path, *, window: int, extra: dict[str, Any] | None = None
) -> Path:
    """Write a module as config.json and model.safetensors, each weight once; `load_enformer` reads it.

    `window` (bp) and the module's own use of TensorFlow's gamma features go into config.json, and `extra` with them.
    """
    state = {key: value for key, value in module.state_dict().items() if key[:7] != _ALIAS}
    config = {key: value for key, value in module.config.to_dict().items() if not key.startswith("_")}  # type: ignore[union-attr, operator]
    gammas = [bool(m.use_tf_gamma) for m in module.modules() if hasattr(m, "to_rel_k")]
    config |= {"sequence_length": int(window), "use_tf_gamma": bool(gammas and gammas[0])} | (extra or {})
    return write_network(folder, config, state)


def _folder(path: str | Path) -> tuple[Path, str]:
    """The local folder of a checkpoint, downloaded when it is a hub id; and how to call it."""
    folder = Path(path)
    if folder.is_dir():
        return folder, str(path)
    if folder.is_file():
        raise ModelError(
            f"{path} is a file; needed the folder that holds {CONFIG} and {WEIGHTS[0]} or {WEIGHTS[1]}, or a single "
            "file that ends in .safetensors."
        )
    name = str(path)
    parts = name.split("/")
    if len(parts) != 2 or not all(parts) or name[0] in "./~":
        raise ModelError(f"{path}: no such folder, and not a hub id either (ORGANISATION/NAME, such as {OFFICIAL}).")
    return _from_hub(name), name


def _from_hub(name: str) -> Path:
    """The files of a hub id, from the local cache when they are there."""
    try:
        from huggingface_hub import hf_hub_download, hf_hub_url, try_to_load_from_cache
        from huggingface_hub.utils import get_session
    except ImportError as bad:
        raise _unreachable(name, str(bad)) from bad
    for weights in WEIGHTS:
        cached = [try_to_load_from_cache(name, file) for file in (CONFIG, weights)]
        if all(isinstance(file, str) for file in cached):
            return Path(str(cached[0])).parent
    # the hub's client raises a different type for every way a network can fail
    try:
        # one request without the client's own retries, which would take a minute to find that there is no network
        get_session().head(hf_hub_url(name, CONFIG), timeout=10)
        folder = Path(hf_hub_download(name, CONFIG)).parent
    except Exception as bad:
        raise _unreachable(name, _reason(bad)) from bad
    reason = ""
    for weights in WEIGHTS:
        try:
            hf_hub_download(name, weights)
            return folder
        except Exception as bad:
            reason = _reason(bad)
    raise _unreachable(name, reason)


def _reason(bad: BaseException) -> str:
    """The first line of what began it all."""
    while bad.__cause__ or bad.__context__:
        bad = bad.__cause__ or bad.__context__  # type: ignore[assignment]
    text = str(bad).strip()
    return text.splitlines()[0][:200] if text else type(bad).__name__


def _unreachable(name: str, reason: str) -> ModelError:
    return ModelError(
        f"{name} is neither a local folder nor in the local hub cache, and could not be downloaded ({reason}). Where "
        f"there is a network, download {CONFIG} and {WEIGHTS[1]} (or {WEIGHTS[0]}) of that model from huggingface.co, "
        "put them into one folder here, and name the folder as the model: enformer:FOLDER."
    )


def _read_metadata(file: Path) -> dict[str, Any]:
    """What a single file says of itself: config, card, training."""
    if not file.is_file():
        raise ModelError(f"{file}: no such file; needed a model in one .safetensors file.")
    from safetensors import safe_open

    try:
        with safe_open(file, "pt") as opened:
            text = (opened.metadata() or {}).get(METADATA)
    except Exception as bad:  # safetensors' own error type and those of the file system
        raise _damaged(file, bad) from bad
    if text is None:
        raise ModelError(
            f"{file} holds weights without settings (no {METADATA!r} in its metadata). Give the folder that holds it "
            f"and {CONFIG} instead: enformer:{file.parent}."
        )
    try:
        about = json.loads(text)
    except ValueError as bad:
        raise ModelError(f"{file}: {METADATA!r} in its metadata is not JSON ({bad}); download it again.") from bad
    if not isinstance(about, dict) or not isinstance(about.get("config"), dict):
        raise ModelError(f"{file}: {METADATA!r} in its metadata has no object 'config'; needed the network's settings.")
    return about


def _build(kind: Any, config: dict[str, Any], file: Path) -> torch.nn.Module:
    """The module without memory for its weights: they are put in as they are read."""
    known = {key: value for key, value in config.items() if key not in ("architectures", "transformers_version")}
    try:
        with torch.device("meta"):
            return kind.from_hparams(**known)  # type: ignore[no-any-return]
    except Exception as bad:
        raise ModelError(f"{file}: these settings do not make an Enformer ({type(bad).__name__}: {bad}).") from bad


def read_weights(file: Path) -> dict[str, torch.Tensor]:
    """Named tensors of a .safetensors file or of torch's own; whatever else is in a file is refused, and never run."""
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as bad:  # zip, pickle and safetensors each have their own errors for a damaged file
        raise _damaged(file, bad) from bad
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(f"{file} does not hold named tensors only; needed a state_dict.")
    return state


def own_weights(folder: Path, again: str) -> dict[str, torch.Tensor]:
    """The weights that genopred wrote into a folder; `again` says what makes damaged ones anew."""
    file = folder / WEIGHTS[0]
    if not file.is_file():
        raise ModelError(f"{folder}: no weights; needed {file.name} beside {CONFIG}.")
    state = read_weights(file)
    damaged = [key for key, value in state.items() if not bool(torch.isfinite(value).all())]
    if damaged:
        raise ModelError(f"{file}: {len(damaged)} weights hold values that are not finite; {again} or copy it again.")
    return state


def folder_hash(folder: str | Path, settings: dict[str, Any]) -> str:
    """SHA-256 over the weights that genopred wrote into a folder and the settings that predictions depend on."""
    digest = hashlib.sha256((Path(folder) / WEIGHTS[0]).read_bytes())
    digest.update(json.dumps(settings, sort_keys=True).encode())
    return digest.hexdigest()


def write_network(
    folder: str | Path, settings: Mapping[str, Any], state: Mapping[str, torch.Tensor],
    more: Mapping[Path, str] | None = None,
) -> Path:  # fmt: skip
    """Write config.json and model.safetensors, and `more` with them: all are whole before any takes its name."""
    from safetensors.torch import save

    folder = Path(folder)
    text = json.dumps(settings, indent=2, sort_keys=True, default=str) + "\n"
    plain = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
    weights = save(plain, metadata={"format": "pt"})
    contents: dict[Any, Any] = dict(more or {})
    write_files(contents | {folder / CONFIG: text, folder / WEIGHTS[0]: weights})
    return folder


def _damaged(file: Path, bad: Exception) -> ModelError:
    said = str(bad).strip().splitlines()
    reason = f"{type(bad).__name__}: {said[0][:200]}" if said else type(bad).__name__
    if isinstance(bad, pickle.UnpicklingError):
        # torch's own message advises to run what is in the file
        reason = "more than tensors is in it, or it is none of torch's files; genopred never runs code from a file"
    return ModelError(
        f"{file} ({file.stat().st_size:,} bytes) cannot be read as weights ({reason}). It is damaged, cut short, a Git "
        "LFS pointer, or holds more than tensors; download it again, or have its author save it as .safetensors."
    )


def _fill(module: torch.nn.Module, state: dict[str, torch.Tensor], file: Path) -> None:
    needed = {key: value for key, value in module.state_dict().items() if not key.startswith(_ALIAS)}
    # the module holds its trunk twice; a file may hold either or both
    names = {"0": "", "1": "stem", "2": "conv_tower", "4": "transformer", "6": "final_pointwise"}
    have: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        if key.startswith(_ALIAS):
            number, _, rest = key[len(_ALIAS) :].partition(".")
            if names.get(number):
                have.setdefault(f"{names[number]}.{rest}", value)
        else:
            have[key] = value
    # absent from files written before batch norm counted its batches; not used in prediction
    for key in needed:
        if key.endswith("num_batches_tracked"):
            have.setdefault(key, torch.tensor(0))
    missing = [key for key in needed if key not in have]
    unknown = [key for key in have if key not in needed]
    if missing or unknown:
        raise ModelError(
            f"{file} does not fit its settings: {len(missing)} weights are missing ({examples(missing) or 'none'}) and "
            f"{len(unknown)} are unknown ({examples(unknown) or 'none'})."
        )
    wrong = [
        f"{key} {tuple(have[key].shape)}, needed {tuple(value.shape)}"
        for key, value in needed.items()
        if have[key].shape != value.shape
    ]
    if wrong:
        raise ModelError(f"{file} is of another size than its settings say: {len(wrong)} weights ({examples(wrong)}).")
    damaged = [k for k in needed if have[k].is_floating_point() and not bool(torch.isfinite(have[k]).all())]
    if damaged:
        raise ModelError(
            f"{file}: {len(damaged)} weights hold values that are not finite ({examples(damaged)}); download it again."
        )
    full = {k: have[k].float() if have[k].dtype in (torch.float16, torch.bfloat16) else have[k] for k in needed}
    module.load_state_dict(full, strict=False, assign=True)
    left = [key for key, value in [*module.named_parameters(), *module.named_buffers()] if value.is_meta]
    if left:
        raise ModelError(f"{file}: {len(left)} weights were left empty ({examples(left)}).")


def _window(config: dict[str, Any], window: int | None, place: Path) -> int:
    if window is not None:
        check_sizes({"sequence_length": window}, "window")
        return int(window)
    if "sequence_length" in config:
        return int(config["sequence_length"])
    if int(config.get("num_downsamples", 7)) == 7 and config.get("dim", 1536) == 1536:
        return TF_GAMMA_TOKENS * 128
    raise ModelError(f'{place} does not say the input\'s length; add "sequence_length" (bp) to it.')


def _decide_gamma(flag: bool | None, config: dict[str, Any], source: str) -> tuple[bool, str]:
    if flag is not None:
        return bool(flag), "--tf-gamma" if flag else "--no-tf-gamma"
    if "use_tf_gamma" in config:
        return bool(config["use_tf_gamma"]), f"use_tf_gamma in {CONFIG}"
    if OFFICIAL in (source, config.get("_name_or_path")):
        return True, f"the name {OFFICIAL}"
    heads = config.get("output_heads") or {}
    sizes = {"dim": 1536, "depth": 11, "heads": 8, "target_length": 896}
    official = all(config.get(name, size) == size for name, size in sizes.items())
    if official and (heads.get("human"), heads.get("mouse")) == (5313, 1643):
        # the hub's config of the official weights lacks the key, and a folder has lost the name
        return True, f"no use_tf_gamma in {CONFIG}, and the sizes of {OFFICIAL}"
    return False, f"no use_tf_gamma in {CONFIG}, and other sizes than {OFFICIAL}"


def _set_gamma(module: Any, gamma: bool) -> None:
    module.use_tf_gamma = gamma
    module.config.use_tf_gamma = gamma
    for part in module.modules():
        if hasattr(part, "to_rel_k"):
            part.use_tf_gamma = gamma


def _digest(weights: Path | dict[str, torch.Tensor], config: dict[str, Any], gamma: bool, window: int) -> str:
    """Over the weights' file; of a single file over the weights alone, so that a new card changes nothing."""
    digest = hashlib.sha256()
    if isinstance(weights, dict):
        for key in sorted(weights):
            digest.update(f"{key} {tuple(weights[key].shape)}".encode() + weights[key].float().numpy().tobytes())
    else:
        with open(weights, "rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    keep = {k: v for k, v in config.items() if k not in ("_name_or_path", "architectures", "transformers_version")}
    digest.update(json.dumps([keep, gamma, window], sort_keys=True, default=str).encode())
    return digest.hexdigest()
