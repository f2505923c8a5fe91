"""One name or path -> a sequence model, whatever library made it.

A model is a `SequenceModel`. genopred knows `enformer-small`, whose weights come with it, `enformer`, `xpresso` and
what `genopred train` wrote; a package of the user's adds its own through the entry point group `genopred.models`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genopred.errors import GenopredError, ModelError, did_you_mean, examples, repeated, shortened
from genopred.sequence.haplotypes import VariantWindow
from genopred.sequence.models.base import SequenceModel
from genopred.sequence.models.config import is_cnn, is_gene_network, is_tuned, network_folder

#: Entry point group in which other packages register `loader(path: str | None, **options) -> SequenceModel`.
GROUP = "genopred.models"

#: The model whose weights are in the package.
DEFAULT_MODEL = "enformer-small"
_CNN, _GENES, _TUNED = "cnn", "genes", "tuned"


def load_model(spec: str, *, said: str = "--model", **options: Any) -> SequenceModel:
    """Load a model by name and path.

    Parameters
    ----------
    spec : str
        `NAME:PATH` (`xpresso:GM12878_trainepoch.06-0.5062.h5`, `enformer:EleutherAI/enformer-official-rough`,
        `enformer:folder`), `NAME` alone where the model needs no path (`enformer-small`), or a path alone when it
        says which model it is: an .h5 file is Xpresso's, a .safetensors file is a trained enformer-small, a folder
        with a config.json is Enformer's, a trained `cnn`, a trained network of genes or a model tuned on people; the
        folder of a `genopred train` run is its network.
    said : str
        What the model was called by, for messages: an option, or an argument's name.
    **options
        Passed to the loader, e.g. `device="cuda:0"`.

    Raises
    ------
    ModelError
        If the name is unknown, the path is missing or holds no such model, or a package's model breaks.

    Notes
    -----
    A package offers its own model in its metadata, for instance in pyproject.toml::

        [project.entry-points."genopred.models"]
        mine = "my_package:load"

    where `load(path, **options)` returns a `SequenceModel`, or an object with its attributes and both methods.
    """
    loaders = _loaders()
    name, path = _split(spec, loaders)
    if name not in loaders:
        raise ModelError(
            f"{said} {shortened(spec)}: there is no model {shortened(repr(name))} and no such file or folder."
            f"{did_you_mean(name, loaders)} "
            f"Known: {', '.join(sorted(loaders))}; your own come through the entry point group {GROUP}."
        )
    return _adapted(loaders[name](path, **options), f"{said} {spec}")


def load_trained(folder: str | Path, *, device: str = "cpu") -> SequenceModel:
    """A network of `genopred train` of whatever kind, run by the forward pass that it was trained with.

    `load_model` runs a trained small Enformer as it runs the published one, which shares work between haplotypes;
    this is faster on windows that have nothing in common.
    """
    from genopred.sequence.models.trained import TrainedModel

    return _adapted(TrainedModel.load(folder, device=device), str(folder))


def is_model(spec: str) -> bool:
    """Whether `load_model` would know what to load, without loading it.

    >>> is_model("enformer-small"), is_model("xpresso:weights.h5"), is_model("features/")
    (True, True, False)
    """
    loaders = _loaders()
    return _split(spec, loaders)[0] in loaders


def _split(spec: str, known: Collection[str]) -> tuple[str, str | None]:
    name, colon, path = spec.partition(":")
    if name in known:
        return name, path if colon else None
    # a path alone, which may hold a colon itself
    whole = Path(spec)
    if whole.suffix in (".h5", ".hdf5") and (not colon or whole.exists()):
        return "xpresso", spec
    if whole.suffix == ".safetensors" and (not colon or whole.exists()):
        return DEFAULT_MODEL, spec
    folder = network_folder(whole)
    if folder is not None:
        kinds = {_CNN: is_cnn, _GENES: is_gene_network, _TUNED: is_tuned}
        kind = next((kind for kind, it_is in kinds.items() if it_is(folder)), "enformer")
        return kind, spec if folder == whole else str(folder)
    return name, path or None


def _loaders() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {
        "xpresso": _xpresso,
        "enformer": _enformer,
        DEFAULT_MODEL: _enformer_small,
        _CNN: _cnn,
        _GENES: _genes,
        _TUNED: _tuned,
    }
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, _from_package(point))
    return found


def _from_package(point: EntryPoint) -> Callable[..., Any]:
    def load(path: str | None, **options: Any) -> Any:
        try:
            loader = point.load()
        except Exception as bad:
            raise ModelError(f"{point.name}: its package could not be loaded ({point.value}: {bad}).") from bad
        try:
            return loader(path, **options)
        except GenopredError:
            raise
        except Exception as bad:
            said = f"{type(bad).__name__}: {bad}"
            raise ModelError(
                f"{point.name}{'' if path is None else ':' + path}: {point.value} could not make its model "
                f"({said}); this is for its authors."
            ) from bad

    return load


#: What stands behind the name of a model that needs it, and how one is called that has no gamma features.
_NEEDED = {
    "xpresso": ("its weights: xpresso:PATH.h5 (github.com/vagarwal87/Xpresso)", "--model xpresso"),
    "enformer": ("a checkpoint: enformer:FOLDER, or a hub id such as enformer:EleutherAI/enformer-official-rough", ""),
    _CNN: ("the folder of its network: cnn:FOLDER, the --out of genopred train", "a cnn"),
    _GENES: ("the folder of its network: genes:FOLDER, the --out of genopred train", "a network of genes"),
    _TUNED: ("a folder: tuned:FOLDER, the `model` in the --out of genopred train", "a tuned model"),
}


def _given(name: str, path: str | None, options: dict[str, Any]) -> str:
    """The path, if there is one; `tf_gamma` is taken from the options of what is no Enformer, where it is refused."""
    needed, called = _NEEDED[name]
    if path is None:
        raise ModelError(f"{name} needs {needed}.")
    if called and options.pop("tf_gamma", None) is not None:
        raise ModelError(f"--tf-gamma and --no-tf-gamma are for Enformer; leave them out with {called}.")
    return path


def _xpresso(path: str | None, **options: Any) -> Any:
    from genopred.sequence.models.xpresso import XpressoModel

    return XpressoModel.load(_given("xpresso", path, options), device=options.get("device") or "cpu")


def _enformer(path: str | None, **options: Any) -> Any:
    from genopred.sequence.models.enformer.model import EnformerModel

    path = _given("enformer", path, options)
    return EnformerModel.load(network_folder(Path(path)) or path, **options)


def _enformer_small(path: str | None, **options: Any) -> Any:
    from genopred.sequence.models.enformer.checkpoint import embedded_file
    from genopred.sequence.models.enformer.model import EnformerModel

    path = path or None
    model = EnformerModel.load(path or embedded_file(), **options)
    model.name = DEFAULT_MODEL if path is None else f"{DEFAULT_MODEL}:{path}"
    model.origin |= {"model": DEFAULT_MODEL, "checkpoint": path or "embedded"}
    return model


def _cnn(path: str | None, **options: Any) -> Any:
    from genopred.sequence.models.trained import TrainedModel

    path = _given(_CNN, path, options)
    return TrainedModel.load(network_folder(Path(path)) or path, kind=_CNN, **options)


def _genes(path: str | None, **options: Any) -> Any:
    from genopred.sequence.models.trained import TrainedGeneModel

    path = _given(_GENES, path, options)
    return TrainedGeneModel.load(network_folder(Path(path)) or path, **options)


def _tuned(path: str | None, **options: Any) -> Any:
    from genopred.sequence.models.tuned import TunedModel

    path = _given(_TUNED, path, options)
    return TunedModel.load(network_folder(Path(path)) or path, **options)


def _adapted(model: Any, named: str) -> SequenceModel:
    """Hold a loaded model against `SequenceModel`, so that a user's class fails here and not after an hour."""
    needed = [name for name in SequenceModel.__annotations__ if not hasattr(SequenceModel, name)]
    absent = [name for name in (*needed, "predict_onehot", "predict_haplotypes") if not hasattr(model, name)]
    if absent:
        raise ModelError(
            f"{named}: {type(model).__name__} lacks {', '.join(absent)} (see "
            "genopred.sequence.models.base.SequenceModel)."
        )
    if not isinstance(model, SequenceModel):
        model = _Adapted(model)
    twice = sorted(repeated(model.tracks))
    if twice:
        raise ModelError(f"{named}: track names occur twice ({examples(twice)}); they must be unique.")
    if not 0 <= model.tss_offset < model.window or model.n_bins * model.bin_size > model.window:
        raise ModelError(
            f"{named}: TSS offset {model.tss_offset} or {model.n_bins} bins of {model.bin_size} bp do not fit "
            f"its window of {model.window} bp."
        )
    return model


class _Adapted(SequenceModel):
    """A user's object that has the attributes and both methods, but not the base class.

    Its `predict_haplotypes` is given the five arrays of a `VariantWindow` one by one.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        for name in (*SequenceModel.__annotations__, "torch_forward", "torch_module"):
            if getattr(model, name, None) is not None:
                setattr(self, name, getattr(model, name))

    def predict_onehot(self, onehot: NDArray[np.float32]) -> NDArray[np.float32]:
        predicted: NDArray[np.float32] = self._model.predict_onehot(onehot)
        return predicted

    def predict_haplotypes(self, window: VariantWindow, **options: Any) -> NDArray[np.float32]:
        arrays = (window.reference, window.sites, window.ref_codes, window.alt_codes, window.alleles)
        predicted: NDArray[np.float32] = self._model.predict_haplotypes(*arrays, **options)
        return predicted
