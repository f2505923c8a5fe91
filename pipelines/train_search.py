"""A search over settings: each trial a run of its own, judged by validation alone, the best one's network kept.

OUT/                     beside what a run of the best trial leaves:
  search.tsv               a row a trial: its settings, best epoch, validation loss, score, why it failed
  search.json              what is searched, so that a search that was killed goes on
  trials/001/ ...          the folder of each trial
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from genopred.errors import GenopredError
from genopred.files import atomic, write_json
from genopred.io.text import read_bytes
from genopred.pipelines.run import Run, write_tables
from genopred.report.tables import number
from genopred.sequence.models.config import NETWORK
from genopred.settings.declare import known_keys
from genopred.settings.training import ByRandom
from genopred.training.loop import TrainingRun
from genopred.training.search import Space, draw, grid, propose, read_space

log = logging.getLogger(__name__)

TABLE, RECORD, TRIALS = "search.tsv", "search.json", "trials"


@dataclass(frozen=True)
class Searched:
    """What a search asks of a task.

    Attributes
    ----------
    of : str
        What validation looks at: genes, or windows.
    parse : function
        Of a configuration's sections.
    networks : dict
        By kind.
    margin : function of a configuration
        That of a split by block which names none.
    depends : function of a configuration
        What reading depends on; trials that have it alike share what was read.
    read : function of a configuration
    train : function of (job, configuration, what was read, folder)
    leaves : tuple of str
        The files of a run; patterns end in *.
    """

    of: str
    parse: Callable[..., Any]
    networks: Mapping[str, Any]
    margin: Callable[[Any], int]
    depends: Callable[[Any], list[Any]]
    read: Callable[[Any], Any]
    train: Callable[[Run, Any, Any, Path], TrainingRun]
    leaves: tuple[str, ...]


@dataclass(frozen=True)
class SearchReport:
    """What a search came to.

    Attributes
    ----------
    out : Path
    trials : polars.DataFrame
        As search.tsv.
    best : int
        Number of the best trial, from 1.
    of : str
        What validation looked at.
    """

    out: Path
    trials: pl.DataFrame
    best: int
    of: str

    def lines(self) -> list[str]:
        """For the screen."""
        row = self.trials.row(self.best - 1, named=True)
        settings = ", ".join(f"{key} = {value}" for key, value in row.items() if "." in key)
        failed = self.trials["score"].null_count()
        return [
            f"{self.trials.height} trials{f', {failed} of them failed' if failed else ''}, in {self.out / TABLE}",
            f"best: trial {self.best} ({settings}), Pearson over validation {self.of} {number(row['score'], 3)}",
            f"its network in {self.out / NETWORK}; test {self.of} were not looked at",
        ]


def search(job: Run, config: Any, task: Searched) -> SearchReport:
    """Try settings as `--search` says.

    Raises
    ------
    GenopredError
        If [search] is none, the folder holds another search, or all trials fail.
    """
    if getattr(config, "folds", 0) or isinstance(config.split, ByRandom):
        raise GenopredError(
            f"{config.source}: --search needs one split by block or chromosome, whose validation {task.of} judge the "
            "trials; leave out split.folds, and by = 'random'."
        )
    space = read_space(config.search, config.source)
    method = job.settings.search
    planned = grid(space) if method == "grid" else None
    _check_settings(config, space, task)
    _settle(job, config, method)
    job.sweep()
    done: list[dict[str, Any]] = []
    held: dict[str, Any] = {}
    for trial in range(space.settings.trials if planned is None else len(planned)):
        if planned is not None:
            values = planned[trial]
        elif method == "random":
            values = draw(space, trial)
        else:
            before = [({key: row[key] for key in space.choices}, _score(row)) for row in done]
            values = propose(space, trial, before)
        done.append(_try(job, config, task, values, trial, held))
        write_tables({job.path(TABLE): _table(done, space)})
    table = _table(done, space)
    scores = [_score(row) for row in done]
    if not any(map(math.isfinite, scores)):
        raise GenopredError(f"all {len(done)} trials failed, the first: {done[0]['why']}")
    best = max(range(len(done)), key=lambda i: scores[i] if math.isfinite(scores[i]) else -math.inf)
    _keep(job.path(f"{TRIALS}/{best + 1:03d}"), job.out, task.leaves)
    return SearchReport(job.out, table, best + 1, task.of)


def _score(row: Mapping[str, Any]) -> float:
    return math.nan if row["score"] is None else float(row["score"])


def _table(rows: list[dict[str, Any]], space: Space) -> pl.DataFrame:
    columns = ("trial", *space.choices, "best_epoch", "validation_loss", "score", "why")
    # a list of choices may hold values of several types
    plain = [{key: _plain(row[key]) for key in columns} for row in rows]
    return pl.DataFrame(plain, infer_schema_length=None, strict=False)


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list) else value


def _try(
    job: Run, config: Any, task: Searched, values: dict[str, Any], trial: int, held: dict[str, Any]
) -> dict[str, Any]:
    """Train a trial, or read what it came to; it says itself why it failed."""
    folder = job.path(f"{TRIALS}/{trial + 1:03d}")
    record = folder / "trial.json"
    if job.settings.resume and record.is_file():
        return json.loads(read_bytes(record, "a trial of a search"))  # type: ignore[no-any-return]
    row: dict[str, Any] = {"trial": trial + 1} | values
    log.info("trial %d: %s", trial + 1, ", ".join(f"{key} = {value}" for key, value in values.items()))
    try:
        mine = with_settings(config, values, task)
        key = json.dumps(task.depends(mine))
        if key not in held:
            held.clear()
            held[key] = task.read(mine)
        run = task.train(job, mine, held[key], folder)
    except GenopredError as bad:
        log.warning("trial %d failed: %s", trial + 1, bad)
        row |= {"best_epoch": None, "validation_loss": None, "score": None, "why": str(bad)}
    else:
        best = run.history.row(run.best_epoch - 1, named=True)
        found = [value for name, value in best.items() if name.startswith("pearson_") and math.isfinite(value)]
        score = sum(found) / len(found) if found else None
        row |= {"best_epoch": run.best_epoch, "validation_loss": best["validation_loss"], "score": score}
        row["why"] = "" if found else "its predictions do not vary"
    write_json(record, row)
    return row


def with_settings(config: Any, values: Mapping[str, Any], task: Searched) -> Any:
    """A configuration with some settings changed, by `section.key`.

    Raises
    ------
    GenopredError
        If there is no such setting, or it cannot have such a value.
    """
    raw = config.resolved()
    raw.pop("search", None)
    if kind := values.get("network.kind"):
        known = task.networks[kind].SIZES if isinstance(kind, str) and kind in task.networks else {}
        raw["network"] = {key: value for key, value in raw["network"].items() if key in known}
    if raw["split"].get("margin") == task.margin(config):
        del raw["split"]["margin"]  # it follows from the window
    for where, value in values.items():
        section, _, key = where.partition(".")
        raw.setdefault(section, {})[key] = value
    return task.parse(raw, Path(config.source).parent, config.source)


def _check_settings(config: Any, space: Space, task: Searched) -> None:
    """Refuse a setting that there is not, before anything is trained."""
    for key, of in space.choices.items():
        if not isinstance(config.written.get(key.partition(".")[0]), dict):
            raise GenopredError(f"{config.source}: search.{key}: needed section.key of a section of this file.")
        if key.startswith("network.") and key != "network.kind" and "network.kind" in space.choices:
            # a size of any of the kinds; whether it suits each of them a trial says
            known = {name for network in task.networks.values() for name in network.SIZES}
            known_keys({key.partition(".")[2]: None}, known, f"{config.source}: search: network")
            continue
        first = of[0] if isinstance(of, tuple) else of.low
        with_settings(config, {key: first}, task)


def _settle(job: Run, config: Any, method: str) -> None:
    """Go on with a search that was begun, refuse another one, or start over."""
    written = config.written
    written.get("search", {}).pop("trials", None)  # more of them go on
    now = {"search": method, "config": written}
    record, there = job.path(RECORD), job.path(TRIALS)
    if job.settings.resume and record.is_file():
        try:
            before = json.loads(read_bytes(record, "what is searched"))
        except ValueError:
            before = None
        if before != now:
            raise GenopredError(
                f"{job.out} holds another search, or one of another configuration; choose another --out, or start over "
                "there with --no-resume."
            )
        return
    if job.settings.resume and job.path("last.pt").exists():
        raise GenopredError(f"{job.out} holds a run without --search; choose another --out, or use --no-resume.")
    shutil.rmtree(there, ignore_errors=True)
    write_json(record, now)


def _keep(trial: Path, out: Path, leaves: tuple[str, ...]) -> None:
    """Copy what the best trial left into the folder of the search, each file whole or not at all."""
    names = [name for name in leaves if not name.endswith("*")]
    files = [trial / name for name in names if (trial / name).is_file()]
    files += [file for file in sorted((trial / NETWORK).rglob("*")) if file.is_file()]
    for file in files:
        with atomic(out / file.relative_to(trial)) as temporary:
            shutil.copyfile(file, temporary)
