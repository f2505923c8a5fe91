"""`genopred.pipelines.train_inputs`: files to sequence and signal, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("pyBigWig")

from test_pipelines_train import config, start
from training_data import data as simulated

from genopred.errors import FormatError
from genopred.pipelines.train_inputs import load_data

__all__ = ["config"]


def test_files_hold_what_was_simulated(config):
    loaded, expected = load_data(config), simulated()
    np.testing.assert_array_equal(loaded.codes["chr1"], expected.codes["chr1"])
    np.testing.assert_allclose(loaded.sums["chr1"], expected.sums["chr1"], rtol=1e-6)
    assert loaded.tracks == expected.tracks and loaded.step == 16
    assert loaded.partners.tolist() == [0, 2, 1]


def test_a_track_of_another_build(config, tmp_path):
    import pyBigWig

    path = tmp_path / "other.bw"
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader([("chr1", 299_000)])
        file.addEntries("chr1", [5], values=[1.0], span=1)
    tracks = config.resolved()["tracks"]
    tracks[0]["file"] = str(path)
    with pytest.raises(FormatError, match=r"299,000 bp here, 300,000 in the FASTA"):
        start(config, tmp_path / "out", tracks=tracks)
