"""genopred.sequence.models.xpresso."""

import copy
import gzip
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")
h5py = pytest.importorskip("h5py")

from genopred.errors import ModelError  # noqa: E402
from genopred.sequence.haplotypes import VariantWindow, window_around  # noqa: E402
from genopred.sequence.models.xpresso import TSS_OFFSET, WINDOW, XpressoModel  # noqa: E402
from genopred.sequence.onehot import encode, onehot, reverse_complement  # noqa: E402

SHARED = Path(os.environ.get("GENOPRED_SHARED", Path(__file__).parents[2] / "shared"))

#: Genes of the published table whose hg38 window differs from the hg19 one it was made from.
DIFFERENT = {"smc1b", "cyp2d6", "ribc2", "ensg00000198477", "apobec3d"}


def conv(name, filters, size, source):
    config = {
        "name": name,
        "filters": filters,
        "kernel_size": [size],
        "padding": "same",
        "strides": [1],
        "dilation_rate": [1],
        "activation": "relu",
        "use_bias": True,
    }
    return {"class_name": "Conv1D", "config": config, "name": name, "inbound_nodes": [[[source, 0, 0, {}]]]}


def pool(name, size, source):
    config = {"name": name, "pool_size": [size], "strides": [size], "padding": "valid"}
    return {"class_name": "MaxPooling1D", "config": config, "name": name, "inbound_nodes": [[[source, 0, 0, {}]]]}


def dense(name, units, source):
    config = {"name": name, "units": units, "activation": "linear", "use_bias": True}
    return {"class_name": "Dense", "config": config, "name": name, "inbound_nodes": [[[source, 0, 0, {}]]]}


def other(kind, name, source, **config):
    return {"class_name": kind, "config": {"name": name, **config}, "name": name, "inbound_nodes": [source]}


def network():
    """The published layers, narrower."""
    layers = [
        other("InputLayer", "promoter", [], batch_input_shape=[None, WINDOW, 4]),
        conv("c1", 5, 6, "promoter"),
        pool("p1", 30, "c1"),
        conv("c2", 3, 9, "p1"),
        pool("p2", 10, "c2"),
        other("Flatten", "flat", [["p2", 0, 0, {}]]),
        other("InputLayer", "halflife", [], batch_input_shape=[None, 6]),
        other("Concatenate", "join", [["flat", 0, 0, {}], ["halflife", 0, 0, {}]]),
        dense("d1", 4, "join"),
        other("Activation", "a1", [["d1", 0, 0, {}]], activation="relu"),
        other("Dropout", "x1", [["a1", 0, 0, {}]], rate=0.1),
        dense("d2", 2, "x1"),
        other("Activation", "a2", [["d2", 0, 0, {}]], activation="relu"),
        dense("d3", 1, "a2"),
    ]
    ends = {"input_layers": [["promoter", 0, 0], ["halflife", 0, 0]], "output_layers": [["d3", 0, 0]]}
    return {"class_name": "Model", "config": {"layers": layers, **ends}}


def random_weights(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"c1": (6, 4, 5), "c2": (9, 5, 3), "d1": (35 * 3 + 6, 4), "d2": (4, 2), "d3": (2, 1)}
    out = {}
    for name, shape in shapes.items():
        out[name] = (rng.normal(0, 0.4, shape).astype(np.float32), rng.normal(0.3, 0.2, shape[-1]).astype(np.float32))
    out["d2"] = (np.abs(out["d2"][0]), out["d2"][1])
    out["d1"] = (out["d1"][0] * 0.2, out["d1"][1] + 1)
    return out


def write(path, config, weights):
    with h5py.File(path, "w") as file:
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
        for name, (kernel, bias) in weights.items():
            file[f"model_weights/{name}/{name}/kernel:0"] = kernel
            file[f"model_weights/{name}/{name}/bias:0"] = bias
    return path


def keras_by_hand(window, weights):
    """The network written out with numpy, padding and pooling as Keras documents them."""

    def same(x, kernel, bias):
        size = len(kernel)
        padded = np.pad(x, (((size - 1) // 2, size // 2), (0, 0)))
        taps = np.lib.stride_tricks.sliding_window_view(padded, size, axis=0)  # (L, channels, size)
        return np.maximum(np.einsum("lcs,sco->lo", taps, kernel) + bias, 0)

    def pooled(x, size):
        return x[: len(x) // size * size].reshape(-1, size, x.shape[1]).max(axis=1)

    x = pooled(same(window.astype(np.float64), *weights["c1"]), 30)
    x = pooled(same(x, *weights["c2"]), 10)
    x = np.concatenate([x.reshape(-1), np.zeros(6)])
    x = np.maximum(x @ weights["d1"][0] + weights["d1"][1], 0)
    x = np.maximum(x @ weights["d2"][0] + weights["d2"][1], 0)
    return float((x @ weights["d3"][0] + weights["d3"][1])[0])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return XpressoModel.load(write(tmp_path_factory.mktemp("x") / "toy.h5", network(), random_weights()))


def random_windows(n, seed=1):
    rng = np.random.default_rng(seed)
    return onehot(rng.choice(5, (n, WINDOW), p=[0.24, 0.24, 0.24, 0.24, 0.04]).astype(np.int8))


def test_layers_are_keras_layers(model):
    windows = random_windows(3)
    expected = [keras_by_hand(window, random_weights()) for window in windows]
    assert len({round(v, 4) for v in expected}) == 3
    np.testing.assert_allclose(model.predict_onehot(windows)[:, 0, 0], expected, rtol=1e-4)


def test_shared_segments_equal_whole_windows(model):
    """Sites at the window's ends, on both sides of segment borders and in bunches; also half-and-half sites."""
    rng = np.random.default_rng(2)
    reference = random_windows(1)[0]
    fixed = [0, 1, 2, 29, 30, 31, 32, 33, 5398, 5399, 5400, 5401, 5402, 5403, WINDOW - 2, WINDOW - 1]
    sites = np.unique(np.concatenate([fixed, rng.choice(WINDOW, 60)]))
    sites = sites[reference[sites].sum(axis=1) == 1]
    ref = reference[sites].argmax(axis=1).astype(np.int8)
    alt = ((ref + rng.integers(1, 4, len(sites))) % 4).astype(np.int8)
    alleles = (rng.random((40, len(sites))) < 0.3).astype(np.int8)
    alleles[10:15] = np.where(rng.random((5, len(sites))) < 0.3, 2, alleles[10:15])
    alleles[20:30] = alleles[5]
    people = VariantWindow(reference, sites, ref, alt, alleles)
    ours = model.predict_haplotypes(people, batch_size=7)
    naive = model.predict_onehot(people.onehot())
    assert ours.shape == (40, 1, 1) and np.ptp(naive) > 1e-3
    np.testing.assert_allclose(ours, naive, rtol=1e-5, atol=1e-6)
    # a site moved by one position is seen
    moved = model.predict_haplotypes(replace(people, sites=sites - (sites > 0)))
    assert np.abs(moved - naive).max() > 1e-4
    assert model.predict_haplotypes(people, bins=[0], tracks=[0]).shape == (40, 1, 1)


def test_the_plain_network_is_the_same(model):
    """As modules, one a step: the same predictions, whatever way the work is shared."""
    import torch

    x = random_windows(3, seed=4)
    with torch.no_grad():
        plain = model.torch_module()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(plain, model.predict_onehot(x), atol=1e-5)
    assert plain.shape == (3, 1, 1) and not model.torch_module().training


def test_hash_tells_weights_apart(model, tmp_path):
    same = XpressoModel.load(write(tmp_path / "again.h5", network(), random_weights()))
    another = XpressoModel.load(write(tmp_path / "another.h5", network(), random_weights(1)))
    assert model.checkpoint_hash == same.checkpoint_hash != another.checkpoint_hash


def changed(path, **settings):
    config = copy.deepcopy(network())
    config["config"]["layers"][path]["config"].update(settings)
    return config


@pytest.mark.parametrize(
    "config, message",
    [
        (None, "no model_config"),
        (changed(1, padding="valid"), "c1 has padding valid; Xpresso has same"),
        (changed(1, activation="elu"), "c1 has activation elu"),
        (changed(0, batch_input_shape=[None, 5000, 4]), r"inputs are .*5000"),
        (changed(9, activation="tanh"), "activations of the dense layers"),
        (changed(2, strides=[15]), r"p1 has strides \[15\]"),
    ],
)
def test_another_network_is_refused(tmp_path, config, message):
    with pytest.raises(ModelError, match=message):
        XpressoModel.load(write(tmp_path / "bad.h5", config, random_weights()))


def test_damaged_files_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        XpressoModel.load(tmp_path / "missing.h5")
    (tmp_path / "text.h5").write_text("<html>not found</html>")
    with pytest.raises(ModelError, match="not a readable Keras HDF5"):
        XpressoModel.load(tmp_path / "text.h5")
    whole = write(tmp_path / "whole.h5", network(), random_weights()).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="not a readable Keras HDF5"):
        XpressoModel.load(tmp_path / "cut.h5")
    weights = random_weights()
    weights["d2"] = (weights["d2"][0][:3], weights["d2"][1])
    with pytest.raises(ModelError, match=r"dense2.kernel has shape \(3, 2\); needed \(4, 2\)"):
        XpressoModel.load(write(tmp_path / "shape.h5", network(), weights))
    weights = random_weights()
    weights["c1"][0][0, 0, 0] = np.nan
    with pytest.raises(ModelError, match="not finite"):
        XpressoModel.load(write(tmp_path / "nan.h5", network(), weights))
    weights = random_weights()
    del weights["d3"]
    with pytest.raises(ModelError, match="d3"):
        XpressoModel.load(write(tmp_path / "absent.h5", network(), weights))


def test_windows_of_another_length_are_refused(model):
    with pytest.raises(ModelError, match="needed"):
        model.predict_onehot(np.zeros((1, 1000, 4), dtype=np.float32))
    with pytest.raises(ModelError, match="--mode linear"):
        people = VariantWindow(random_windows(1)[0], *[np.zeros(0, int)] * 3, np.zeros((1, 0)))
        model.predict_haplotypes(people, mode="linear")


def test_published_predictions_are_reproduced():
    """43 of 48 published GM12878 predictions to 1e-4; the other genes' windows differ between hg19 and hg38."""
    data = SHARED / "data"
    if not data.is_dir():
        pytest.skip(f"no {data}; set GENOPRED_SHARED")
    model = XpressoModel.load(data / "xpresso" / "GM12878_trainepoch.06-0.5062.h5")
    with gzip.open(data / "reference" / "chr22.hg38.fa.gz", "rt") as file:
        chromosome = "".join(file.read().split("\n")[1:])
    table = pl.read_csv(data / "published" / "xpresso_chr22.tsv", separator="\t")
    windows = []
    for tss, strand in table.select("tss_hg38", "strand").iter_rows():
        place = window_around("22", tss, WINDOW, TSS_OFFSET, reverse=strand == "-")
        codes = encode(chromosome[place.start : place.end])
        windows.append(onehot(reverse_complement(codes) if strand == "-" else codes))
    found = model.predict_onehot(np.stack(windows))[:, 0, 0]
    error = np.abs(found - table["published_Xpresso_GM12878"].to_numpy())
    names = np.array(table["gene"].to_list())
    assert set(names[error > 1e-4]) == DIFFERENT
    assert error[error > 1e-4].max() < 0.05
