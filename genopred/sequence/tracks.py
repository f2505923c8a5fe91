"""Tracks by name: the table of Enformer's human tracks, named groups, and patterns -> indices."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import ModelError, examples, nearest

#: Named groups of tracks, as patterns on Enformer's descriptions. `founding` are the four assays that the study
#: this project grew from looked at; which 168 tracks of them it took was not published.
GROUPS = {
    "all": "",
    "CAGE": "^CAGE:",
    "DNase": "^DNASE:",
    "ATAC": "^ATAC:",
    "DNase/ATAC": "^(DNASE|ATAC):",
    "histone": r"^CHIP:H(1|2A|2B|3|4)",
    "TF": r"^CHIP:(?!H(1|2A|2B|3|4))",
    "founding": "^(CAGE|DNASE):|^CHIP:(H3K27me3|H3K9me3):",
}


@cache
def enformer_tracks() -> pl.DataFrame:
    """Enformer's 5,313 human tracks: index, identifier, description, and a unique name.

    The name is the description, with the identifier behind it where a description occurs more than once.
    Source: `targets_human.txt` of Basenji's manuscripts/cross2020 (Kelley 2020, Apache-2.0).

    >>> enformer_tracks().height, enformer_tracks()["name"].n_unique()
    (5313, 5313)
    """
    data = files("genopred").joinpath("data", "enformer_tracks.tsv.gz").read_bytes()
    table = pl.read_csv(data, separator="\t", quote_char=None)
    several = pl.col("description").is_duplicated()
    labelled = pl.format("{} ({})", "description", "identifier")
    table = table.with_columns(pl.when(several).then(labelled).otherwise(pl.col("description")).alias("name"))
    # one experiment can appear twice: number what is still the same
    again = pl.int_range(pl.len()).over("name")
    return table.with_columns(
        pl.when(again > 0).then(pl.format("{} #{}", "name", again + 1)).otherwise(pl.col("name")).alias("name")
    )


def select_tracks(names: Sequence[str], patterns: Iterable[str] | str | None = None) -> NDArray[np.int64]:
    """Indices of the tracks that any of the patterns picks, ascending.

    Parameters
    ----------
    names : sequence of str
        A model's tracks.
    patterns : str or iterable of str, optional
        Each one a group (`GROUPS`, case does not matter), an index, a whole name, or else a regular expression
        searched for in the names, case ignored. All tracks by default.

    Raises
    ------
    ModelError
        If a pattern matches nothing (the nearest names are given) or is no regular expression.

    Examples
    --------
    >>> names = ["DNASE:K562", "CAGE:B lymphoblastoid cell line: GM12878", "CHIP:H3K9me3:liver"]
    >>> select_tracks(names, "CAGE:.*lymphoblastoid").tolist(), select_tracks(names, ["histone", "dnase"]).tolist()
    ([1], [0, 2])
    """
    wanted = [patterns] if isinstance(patterns, str) else list(patterns or ["all"])
    place = {name: i for i, name in enumerate(names)}
    groups = {name.lower(): pattern for name, pattern in GROUPS.items()}
    picked: set[int] = set()
    for text in wanted:
        if text in place:
            picked.add(place[text])
            continue
        if text.isdecimal():
            if int(text) >= len(names):
                raise ModelError(f"--tracks {text}: the model has tracks 0 to {len(names) - 1}.")
            picked.add(int(text))
            continue
        try:
            pattern = re.compile(groups.get(text.lower(), text), re.IGNORECASE)
        except re.error as bad:
            raise ModelError(
                f"--tracks {text!r} is no regular expression ({bad}); put a backslash before ( ) [ ] + * ? where "
                "they are meant literally."
            ) from None
        found = [i for i, name in enumerate(names) if pattern.search(name)]
        if not found:
            raise ModelError(
                f"--tracks {text!r} matches none of the model's {len(names):,} tracks. Nearest: "
                f"{_nearest(text, names)}. Groups: {', '.join(GROUPS)}."
            )
        picked.update(found)
    return np.array(sorted(picked), dtype=np.int64)


def _nearest(text: str, names: Sequence[str]) -> str:
    """At most three names like `text`, by whole names and by their parts between colons."""
    known: dict[str, str] = {}
    for name in names:
        for part in (name, *name.split(":"), *re.split(r"[^\w]+", name)):
            known.setdefault(part, name)
    close = nearest(re.sub(r"[.*^$\\]+", " ", text).strip(), known, 6, 0.3)
    return examples([repr(name) for name in close or names])
