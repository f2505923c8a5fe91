"""genopred.sequence.models.config; more of it in the tests of the checkpoints and trained networks."""

import json

import pytest

from genopred.errors import ModelError
from genopred.sequence.models.config import (
    CNN,
    LIMITS,
    check_partners,
    check_sizes,
    is_cnn,
    is_run,
    network_folder,
    read_settings,
)


def test_a_run_and_a_folder_of_a_network(tmp_path):
    assert network_folder(tmp_path) is None
    (tmp_path / "config.json").write_text(json.dumps({"model_type": CNN}))
    assert network_folder(tmp_path) == tmp_path and is_cnn(tmp_path)
    assert not is_run(tmp_path)
    (tmp_path / "regions.tsv").write_text("")
    assert is_run(tmp_path)
    with pytest.raises(ModelError, match="has no network yet"):
        network_folder(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert network_folder(tmp_path) == tmp_path / "model" and not is_cnn(tmp_path / "model")
    with pytest.raises(ModelError, match="model_type 'genopred-cnn'; needed 'enformer'"):
        read_settings(tmp_path / "config.json", ("enformer",))


@pytest.mark.parametrize("key", LIMITS)
def test_sizes_beyond_reason(key):
    check_sizes({key: LIMITS[key]}, "here")
    for wrong in (0, LIMITS[key] + 1, 1.5, True, "4"):
        with pytest.raises(ModelError, match=f"here: {key} is .*whole number"):
            check_sizes({key: wrong}, "here")


def test_partners_are_each_others(tmp_path):
    check_partners({"reverse_tracks": [0, 2, 1]}, tmp_path)
    for wrong in ([1, 2, 0], [0, 1, 9], "swap"):
        with pytest.raises(ModelError, match="reverse_tracks is"):
            check_partners({"reverse_tracks": wrong}, tmp_path)
