"""The log of a run."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import pytest

from genopred.cli.runlog import RunLog, peak_memory_mb
from genopred.errors import FormatError
from genopred.settings import Demo, Overlap

log = logging.getLogger("genopred.anything")


def settings(out, **more) -> Demo:
    return Demo(out=out, **more)


def test_what_a_log_holds(tmp_path, capsys):
    with RunLog("stack", settings(tmp_path / "run", seed=7, quiet=False)):
        log.info("3 people dropped")
        for _ in range(3):
            warnings.warn("close to\nsingular", stacklevel=1)
        log.info("only for the file", extra={"file_only": True})
    text = (tmp_path / "run.log").read_text()
    for part in ("genopred", "command:", "--seed 7", "versions:", "numpy", "3 people dropped", "only for the file"):
        assert part in text
    assert "--learners" not in text
    assert text.count("UserWarning: close to singular") == 1  # said once, however often it happens
    assert "done after" in text and "1 warnings" in text
    err = capsys.readouterr().err
    assert err == "3 people dropped\nWarning: UserWarning: close to singular\n"


def test_values_are_written_as_they_are_typed(tmp_path):
    tables = Overlap(a=("one=a.tsv", "b.tsv"), b="eqtl=c.tsv", k=(5, 50), out=tmp_path / "run")
    with RunLog("overlap", tables):
        pass
    lines = [line.partition(" INFO   ")[2] for line in (tmp_path / "run.log").read_text().splitlines()]
    assert {"--a one=a.tsv,b=b.tsv", "--b eqtl=c.tsv", "--k 5,50", "--match maf,distance,ld"} <= set(lines)


def test_quiet_shows_warnings_only(tmp_path, capsys):
    with RunLog("stack", settings(tmp_path / "run", quiet=True)):
        log.info("3 people dropped")
        log.warning("watch out")
    assert capsys.readouterr().err == "Warning: watch out\n"
    assert "3 people dropped" in (tmp_path / "run.log").read_text()


def test_runs_are_appended_and_errors_kept(tmp_path):
    with RunLog("stack", settings(tmp_path / "deep" / "run")):
        pass
    with pytest.raises(FormatError), RunLog("stack", settings(tmp_path / "deep" / "run")):
        raise FormatError("cov.txt line 3: no number.")
    text = (tmp_path / "deep" / "run.log").read_text()
    assert text.count("command:") == 2
    assert "ERROR FormatError: cov.txt line 3: no number." in text and "stopped after" in text


def test_nothing_is_left_behind(tmp_path):
    logger = logging.getLogger("genopred")
    before = (list(logger.handlers), logger.level, logger.propagate, warnings.showwarning)
    with RunLog("stack", settings(tmp_path / "run")):
        assert len(logger.handlers) == len(before[0]) + 2
    assert (list(logger.handlers), logger.level, logger.propagate, warnings.showwarning) == before


def test_a_folder_with_a_slash_gets_its_log_beside_it(tmp_path):
    with RunLog("stack", settings(f"{tmp_path}/run/")):
        pass
    assert (tmp_path / "run.log").is_file()


def test_memory_is_plausible():
    memory = peak_memory_mb()
    assert memory is None or 10 < memory < 1e6


def test_a_log_that_cannot_be_written_any_more_is_said_once(tmp_path, capsys, monkeypatch):
    """logging itself prints a traceback for every record that fails, and stops the run when it closes the file."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    (tmp_path / "run.log").symlink_to("/dev/full")
    with RunLog("stack", settings(tmp_path / "run")):
        log.info("3 people dropped")
        log.info("only for the file", extra={"file_only": True})
    err = capsys.readouterr().err
    assert "run.log cannot be written (No space left on device); the log ends there.\n" in err
    assert err.count("\n") == 2 and "3 people dropped" in err and "Traceback" not in err
