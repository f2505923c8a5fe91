"""Which settings a search tries: all of a grid, at random, or what Optuna proposes from the trials before."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genopred.errors import GenopredError, ModelError, examples, shortened
from genopred.settings.declare import from_table
from genopred.settings.expression import Search

#: What is never searched: it would change what trials are judged by.
_FIXED = ("split", "search", "task")
#: A grid of more is a slip.
MOST_TRIALS = 10_000


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included; whole ones where both are.

    Examples
    --------
    >>> Range(1e-4, 1e-2, True).at(0.5), Range(16, 64, False).at(0.999)
    (0.001, 64)
    """

    low: float
    high: float
    log: bool

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, share: float) -> float | int:
        """The number at a share, 0 to 1, of the way."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        if self.log:
            value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            value = low + share * (high - low)
        return self.rounded(value)

    def rounded(self, value: float) -> float | int:
        """A number as it is tried: whole or of six digits, and within the range."""
        if self.whole:
            return int(min(max(round(value), self.low), self.high))
        return min(max(float(f"{value:.6g}"), self.low), self.high)


@dataclass(frozen=True)
class Space:
    """What is searched.

    Attributes
    ----------
    settings : Search
    choices : dict
        By `section.key`: a tuple of values, or a `Range`.
    """

    settings: Search
    choices: dict[str, tuple[Any, ...] | Range]


def read_space(section: Mapping[str, Any], source: str) -> Space:
    """The space that [search] describes: trials, seed, and `"section.key"` = a list, or {low, high, log}.

    Raises
    ------
    GenopredError
        If nothing is searched, a key is no `section.key`, or a range is none.
    """
    plain = {key: value for key, value in section.items() if "." not in key and not isinstance(value, Mapping)}
    settings = from_table(Search, plain, source, "search")
    choices: dict[str, tuple[Any, ...] | Range] = {}
    for key, value in section.items():
        if "." in key:
            choices[key] = _choice(key, value, source)
        elif isinstance(value, Mapping):  # network.channels = ... without quotes is a table in TOML
            choices |= {f"{key}.{inner}": _choice(f"{key}.{inner}", one, source) for inner, one in value.items()}
    if not choices:
        raise GenopredError(
            f'{source}: [search] names no setting; needed such as "training.learning_rate" = {{low = 1e-4, high = '
            "1e-2, log = true}, or a list of values."
        )
    fixed = [key for key in choices if key.split(".")[0] in _FIXED]
    if fixed:
        raise GenopredError(
            f"{source}: search.{fixed[0]}: trials are judged on one validation set, so that [split] is not searched."
        )
    return Space(settings, choices)


def _choice(key: str, value: Any, source: str) -> tuple[Any, ...] | Range:
    said = f"{source}: search.{key} = {shortened(repr(value))}"
    if isinstance(value, list) and value:
        return tuple(value)
    if not isinstance(value, Mapping) or not {"low", "high"} <= set(value) <= {"low", "high", "log"}:
        raise GenopredError(f"{said}: needed a list of values, or {{low, high, log}}.")
    low, high, log = value["low"], value["high"], value.get("log", False)
    numbers = all(isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x) for x in (low, high))
    if not numbers or not isinstance(log, bool) or low >= high or (log and low <= 0):
        raise GenopredError(f"{said}: needed numbers, low below high, and low above 0 where log = true.")
    return Range(low, high, log)


def grid(space: Space) -> list[dict[str, Any]]:
    """Every combination of the lists, the last key running fastest.

    Raises
    ------
    GenopredError
        If a range is among them, or there are too many.
    """
    ranges = [key for key, of in space.choices.items() if isinstance(of, Range)]
    if ranges:
        raise GenopredError(
            f"--search grid: {len(ranges)} settings are ranges ({examples(ranges)}); give lists, or use --search "
            "random."
        )
    lists = [of for of in space.choices.values() if isinstance(of, tuple)]
    n = math.prod(map(len, lists))
    if n > MOST_TRIALS:
        raise GenopredError(f"--search grid: {n:,} trials; needed at most {MOST_TRIALS:,}: shorten the lists.")
    return [dict(zip(space.choices, values)) for values in itertools.product(*lists)]


def draw(space: Space, trial: int) -> dict[str, Any]:
    """The settings of a trial at random, from the seed and its number (from 0) alone."""
    rng = np.random.default_rng([space.settings.seed, trial])
    shares = rng.random(len(space.choices))
    return {
        key: of.at(share) if isinstance(of, Range) else of[min(int(share * len(of)), len(of) - 1)]
        for (key, of), share in zip(space.choices.items(), shares.tolist())
    }


def propose(space: Space, trial: int, before: Sequence[tuple[Mapping[str, Any], float]]) -> dict[str, Any]:
    """What Optuna's tree-structured Parzen estimator proposes after some trials, of which each has its score.

    It follows from the seed, the trial's number and the trials before, so that a search that was killed goes on as if
    it had not been. Trials without a score are left out.

    Raises
    ------
    ModelError
        If Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as bad:
        raise ModelError(
            f"--search tpe needs Optuna, which could not be imported ({bad}): pip install optuna, or use "
            "--search random."
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kinds = {key: _distribution(optuna.distributions, of) for key, of in space.choices.items()}
    seed = int(np.random.SeedSequence([space.settings.seed, trial]).generate_state(1)[0])
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    for values, score in before:
        if math.isfinite(score):
            # a list is proposed by its position, which any value has
            params = {
                key: value if isinstance(of := space.choices[key], Range) else of.index(value)
                for key, value in values.items()
            }
            study.add_trial(optuna.trial.create_trial(params=params, distributions=kinds, value=score))
    asked = study.ask(kinds).params
    out = {}
    for key, of in space.choices.items():
        value = asked[key]
        out[key] = of[value] if isinstance(of, tuple) else of.rounded(value)
    return out


def _distribution(kinds: Any, of: tuple[Any, ...] | Range) -> Any:
    if isinstance(of, tuple):
        return kinds.CategoricalDistribution(list(range(len(of))))
    made = kinds.IntDistribution if of.whole else kinds.FloatDistribution
    return made(of.low, of.high, log=of.log)
