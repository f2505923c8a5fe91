"""Tables of one label per sample: outer folds, strata."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from genopred.errors import AlignmentError, FormatError, examples, repeated
from genopred.io.text import PathLike, find_separator, name_array, read_bytes, read_table


def read_labels(path: PathLike, samples: ArrayLike, column: str) -> NDArray[np.str_]:
    """The label of each of N samples, which needs one, from a table with a header; others in the file are ignored.

    The table is separated by tabs, or by blanks where the header has no tabs. One column is `sample` (or `IID`), the
    other `column`: `fold` for `--folds`, `group` for `--stratify`.
    """
    data = read_bytes(path, f"a table of sample and {column}")
    table, _ = read_table(data, path, separator=find_separator(data))
    table = table.with_columns(pl.all().str.strip_chars())
    names = {name.strip().lower().lstrip("#"): name for name in table.columns}
    key = names.get("sample", names.get("iid"))
    if key is None or column not in names:
        raise FormatError(
            f"{path}: columns are {examples(table.columns)}; needed are 'sample' (or 'IID') and '{column}'."
        )
    if twice := repeated(table[key].to_list()):
        raise FormatError(
            f"{path}: {len(twice)} samples are listed more than once ({examples(twice)}); keep one of each."
        )
    label = dict(zip(table[key].to_list(), table[names[column]].to_list()))
    wanted = np.asarray(samples, dtype=str).tolist()
    if absent := [name for name in wanted if label.get(name) in (None, "")]:
        raise AlignmentError(f"{path}: {len(absent)} of {len(wanted)} samples have no {column} ({examples(absent)}).")
    return name_array([label[name] for name in wanted], path)


def read_folds(path: PathLike, samples: ArrayLike) -> NDArray[np.int64]:
    """Outer fold of each sample from a file with columns `sample` and `fold`, shape (N,); any labels, at least two.

    Folds are numbered in the order of their sorted labels.
    """
    labels = read_labels(path, samples, "fold")
    found, folds = np.unique(labels, return_inverse=True)
    if len(found) < 2:
        raise AlignmentError(f"{path}: all {len(labels)} samples used are in fold {found[0]}; at least two are needed.")
    return folds.astype(np.int64)
