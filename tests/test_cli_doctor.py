"""genopred doctor, from the command line."""

from __future__ import annotations

import json

import genopred
from genopred.cli import main


def files():
    example = genopred.load_example()
    return [str(path) for path in (example.pfile, example.expression_file, example.covariates_file)]


def test_one_screen_and_nothing_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", *files(), "--no-forecast"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) < 25 and all(line.startswith("green  ") for line in out[:-1])
    assert out[-1] == f"0 red, 0 amber, {len(out) - 1} green."
    assert list(tmp_path.iterdir()) == []


def test_the_worst_comes_first_with_its_remedy(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "nothing.bed", *files(), "--no-forecast", "--quiet", "--json", "found.json"]) == 2
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "red    nothing.bed: no such file, nor a fileset of that name. -> Check the path."
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["exit_code"] == 2 and found["command"].startswith("genopred")
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]


def test_options_may_stand_between_files(tmp_path, capsys):
    a, *rest = files()
    assert main(["doctor", a, "--no-forecast", "--window", "1Mb", *rest, "--quiet"]) == 0
    assert "358 people are in all of them" in capsys.readouterr().out


def test_no_files_are_refused(capsys):
    assert main(["doctor"]) == 2
    assert "FILES: none given; name the files" in capsys.readouterr().err
