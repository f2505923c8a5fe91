"""The tutorials run from top to bottom, and what they show is what a reader gets."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def text_outputs(cell) -> list[str]:
    """What a code cell shows, as text."""
    shown = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
    return [text for text in shown if text]


def shape(texts: list[str]) -> list[list[str]]:
    """Words of an output without its numbers, which may differ in their last digits, and without order."""
    return [sorted(word for word in text.split() if word.strip("()[],").isidentifier()) for text in texts]


def test_there_are_tutorials():
    assert [path.name for path in NOTEBOOKS][:1] == ["01_first_steps.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.delenv("MPLBACKEND")  # else the kernel draws nothing
    saved = nbformat.read(path, as_version=4)
    fresh = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(fresh, timeout=300, kernel_name="python3", resources=place).execute()
    for old, new in zip(saved.cells, fresh.cells):
        if new.cell_type == "code":
            assert not [output for output in new.outputs if output.get("name") == "stderr"], new.source
            assert len(old.outputs) == len(new.outputs), "the notebook was saved without its outputs; run it and save"
            assert shape(text_outputs(old)) == shape(text_outputs(new)), new.source
