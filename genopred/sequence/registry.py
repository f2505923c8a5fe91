"""One name or path -> a sequence model, whatever library made it.

A model is anything with the attributes and the two methods of `SequenceModel`. genopred knows `enformer-small`, whose
weights come with it, `enformer` and `xpresso`; a package of the user's adds its own through the entry point group
`genopred.models`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from genopred.errors import GenopredError, ModelError, examples, shortened
from genopred.sequence.checkpoint import is_cnn, network_folder
from genopred.sequence.haplotypes import distinct_rows, haplotype_onehot

#: Entry point group in which other packages register `loader(path: str | None, **options) -> SequenceModel`.
GROUP = "genopred.models"

#: The model whose weights are in the package.
DEFAULT_MODEL = "enformer-small"
_CNN = "cnn"


@runtime_checkable
class SequenceModel(Protocol):
    """What a model offers to the rest of genopred.

    Attributes
    ----------
    name : str
        As the user calls it, e.g. `xpresso:GM12878`.
    window : int
        Length L of its input in bp.
    tss_offset : int
        0-based place of the TSS base within the window, read in the direction the model reads.
    strand_aware : bool
        True: a gene on the reverse strand is given as the reverse complement. False: always the forward strand.
    bin_size, n_bins : int
        Its output: `n_bins` bins of `bin_size` bp, centred in the window.
    tracks : tuple of str
        T unique names.
    checkpoint_hash : str
        SHA-256 of the weights: two checkpoints with the same hash predict the same.
    origin : dict
        Where it came from, as it goes into manifests.

    Notes
    -----
    A model may also have: `default_batch` (windows at a time); `log_scale` (True where its tracks are logarithms);
    `reverse_tracks` (for each track its partner on the other strand, for `--strands both`; a strand-aware model that
    has them predicts along any stretch, one that has none only from a TSS); `device`; `aggregates`
    (True where `predict_haplotypes` also takes aggregate="mean" or "sum" and then returns one bin: asked for in linear
    mode, where it saves backward passes); and for the estimate of `--dry-run` of models with a shared tower
    `token_size` (bp), `token_reach` (bases before a token's first and behind it that it sees, (before, after)) and
    `tower_share` (the tower's share of a pass).
    """

    name: str
    window: int
    tss_offset: int
    strand_aware: bool
    bin_size: int
    n_bins: int
    tracks: tuple[str, ...]
    checkpoint_hash: str
    origin: dict[str, Any]

    def predict_onehot(self, onehot: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predictions (B, n_bins, T) float32 of one-hot windows (B, L, 4)."""
        ...

    def predict_haplotypes(
        self,
        reference: NDArray[np.float32],
        sites: NDArray[np.int64],
        ref_codes: NDArray[np.int8],
        alt_codes: NDArray[np.int8],
        alleles: NDArray[np.int8],
        *,
        bins: Sequence[int] | NDArray[np.int64] | None = None,
        tracks: Sequence[int] | NDArray[np.int64] | None = None,
        batch_size: int | None = None,
        dtype: str = "fp32",
        mode: str = "exact",
    ) -> NDArray[np.float32]:
        """Predictions (H, len(bins), len(tracks)) float32 of H haplotypes of one window.

        Parameters
        ----------
        reference : array, shape (L, 4)
            One-hot reference, A C G T, N all zero.
        sites : array, shape (V,)
            Offsets in the window, ascending. A site may repeat (several ALT alleles, or a multi-base
            substitution beside a SNV); then at most one of the repeats is 1 in any haplotype, or two are 2.
        ref_codes, alt_codes : array, shape (V,)
            0 A, 1 C, 2 G, 3 T. `reference` holds `ref_codes` at `sites`.
        alleles : array, shape (H, V)
            0 REF, 1 ALT, 2 the mean of the two one-hot bases (a heterozygous site of unknown phase): the input
            is reference + sum of weight × (ALT − REF), weight 1 or ½. Rows need not be distinct.
        bins, tracks : indices, optional
            Which bins and tracks to return; all by default.
        batch_size : int, optional
            Windows at a time; by default chosen by the model.
        dtype : {"fp32", "tf32", "bf16"}
        mode : {"exact", "linear"}
            `linear`: first order around the reference, where the model has it.
        """
        ...


def load_model(spec: str, *, said: str = "--model", **options: Any) -> SequenceModel:
    """Load a model by name and path.

    Parameters
    ----------
    spec : str
        `NAME:PATH` (`xpresso:GM12878_trainepoch.06-0.5062.h5`, `enformer:EleutherAI/enformer-official-rough`,
        `enformer:folder`), `NAME` alone where the model needs no path (`enformer-small`), or a path alone when it
        says which model it is: an .h5 file is Xpresso's, a .safetensors file is a trained enformer-small, a folder
        with a config.json is Enformer's or a trained `cnn`; the folder of a `genopred train` run is its network.
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

    where `load(path, **options)` returns an object with the attributes of `SequenceModel`. With
    `WholeWindowModel` as its base, `predict_onehot` is all it has to add.
    """
    loaders = _loaders()
    name, path = _split(spec, loaders)
    if name not in loaders:
        near = difflib.get_close_matches(name, loaders, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ModelError(
            f"{said} {shortened(spec)}: there is no model {shortened(repr(name))} and no such file or folder.{hint} "
            f"Known: {', '.join(sorted(loaders))}; your own come through the entry point group {GROUP}."
        )
    model = loaders[name](path, **options)
    _check(model, f"{said} {spec}")
    return model


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
        return (_CNN if is_cnn(folder) else "enformer"), spec if folder == whole else str(folder)
    return name, path or None


def _loaders() -> dict[str, Callable[..., Any]]:
    found: dict[str, Callable[..., Any]] = {
        "xpresso": _xpresso,
        "enformer": _enformer,
        DEFAULT_MODEL: _enformer_small,
        _CNN: _cnn,
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


def _xpresso(path: str | None, **options: Any) -> Any:
    if path is None:
        raise ModelError("xpresso needs its weights: xpresso:PATH.h5 (github.com/vagarwal87/Xpresso).")
    if options.get("tf_gamma") is not None:
        raise ModelError("--tf-gamma and --no-tf-gamma are for Enformer; leave them out with --model xpresso.")
    from genopred.sequence.xpresso import XpressoModel

    return XpressoModel.load(path, device=options.get("device") or "cpu")


def _enformer(path: str | None, **options: Any) -> Any:
    if path is None:
        raise ModelError(
            "enformer needs a checkpoint: enformer:FOLDER, or a hub id such as "
            "enformer:EleutherAI/enformer-official-rough."
        )
    from genopred.sequence.enformer import EnformerModel

    return EnformerModel.load(network_folder(Path(path)) or path, **options)


def _enformer_small(path: str | None, **options: Any) -> Any:
    from genopred.sequence.checkpoint import embedded_file
    from genopred.sequence.enformer import EnformerModel

    path = path or None
    model = EnformerModel.load(path or embedded_file(), **options)
    model.name = DEFAULT_MODEL if path is None else f"{DEFAULT_MODEL}:{path}"
    model.origin |= {"model": DEFAULT_MODEL, "checkpoint": path or "embedded"}
    return model


def _cnn(path: str | None, **options: Any) -> Any:
    if path is None:
        raise ModelError("cnn needs the folder of its network: cnn:FOLDER, the --out of genopred train.")
    if options.pop("tf_gamma", None) is not None:
        raise ModelError("--tf-gamma and --no-tf-gamma are for Enformer; leave them out with a cnn.")
    from genopred.sequence.trained import TrainedCnn

    return TrainedCnn.load(network_folder(Path(path)) or path, **options)


def _check(model: Any, named: str) -> None:
    """Hold a loaded model against the protocol, so that a user's class fails here and not after an hour."""
    needed = (*SequenceModel.__annotations__, "predict_onehot", "predict_haplotypes")
    absent = [name for name in needed if not hasattr(model, name)]
    if absent:
        raise ModelError(
            f"{named}: {type(model).__name__} lacks {', '.join(absent)} (see genopred.sequence.registry.SequenceModel)."
        )
    if len(set(model.tracks)) != len(model.tracks):
        twice = sorted({name for name in model.tracks if model.tracks.count(name) > 1})
        raise ModelError(f"{named}: track names occur twice ({examples(twice)}); they must be unique.")
    if not 0 <= model.tss_offset < model.window or model.n_bins * model.bin_size > model.window:
        raise ModelError(
            f"{named}: TSS offset {model.tss_offset} or {model.n_bins} bins of {model.bin_size} bp do not fit "
            f"its window of {model.window} bp."
        )


class WholeWindowModel:
    """Base of models without a shared tower: distinct windows once, in batches, through `predict_onehot`.

    A user's own model needs the attributes of `SequenceModel` and `predict_onehot`; the rest is here.
    `default_batch` may be set to what fits.
    """

    window: int
    n_bins: int
    tracks: tuple[str, ...]
    default_batch: int = 32

    def predict_onehot(self, onehot: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predictions (B, n_bins, T) of one-hot windows (B, L, 4)."""
        raise NotImplementedError

    def predict_haplotypes(
        self,
        reference: NDArray[np.float32],
        sites: NDArray[np.int64],
        ref_codes: NDArray[np.int8],
        alt_codes: NDArray[np.int8],
        alleles: NDArray[np.int8],
        *,
        bins: Sequence[int] | NDArray[np.int64] | None = None,
        tracks: Sequence[int] | NDArray[np.int64] | None = None,
        batch_size: int | None = None,
        dtype: str = "fp32",
        mode: str = "exact",
    ) -> NDArray[np.float32]:
        """See `SequenceModel.predict_haplotypes`."""
        self._only_exact(mode, dtype)
        which_bins = np.arange(self.n_bins) if bins is None else np.asarray(bins, dtype=np.int64)
        which_tracks = np.arange(len(self.tracks)) if tracks is None else np.asarray(tracks, dtype=np.int64)
        first, inverse = distinct_rows(alleles)
        step = batch_size or self.default_batch
        out = np.empty((len(first), len(which_bins), len(which_tracks)), dtype=np.float32)
        for start in range(0, len(first), step):
            rows = alleles[first[start : start + step]]
            whole = self.predict_onehot(haplotype_onehot(reference, sites, ref_codes, alt_codes, rows))
            out[start : start + len(rows)] = whole[:, which_bins][:, :, which_tracks]
        return out[inverse]

    def _only_exact(self, mode: str, dtype: str) -> None:
        if mode != "exact":
            raise ModelError(f"--mode {mode}: {type(self).__name__} has only exact; use --mode exact.")
        if dtype != "fp32":
            raise ModelError(f"--dtype {dtype}: {type(self).__name__} has only fp32; use --dtype fp32.")
