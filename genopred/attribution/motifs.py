"""Which known motifs seqlets look like, by memelite's Tomtom, and how many more of each there are than in shuffles."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.attribution.target import package
from genopred.types import Motif

#: Of one seqlet and motif: p for one motif, q over all motifs (Benjamini and Hochberg), how they lie together.
MATCH_SCHEMA = {
    "seqlet": pl.Int64, "motif": pl.String, "name": pl.String, "p": pl.Float64, "q": pl.Float64,
    "offset": pl.Int64, "overlap": pl.Int64, "strand": pl.String,
}  # fmt: skip

#: Of each motif: seqlets that look like it, how many of a shuffle do, and the chance of as many.
COUNT_SCHEMA = {
    "motif": pl.String, "name": pl.String, "seqlets": pl.Int64, "expected": pl.Float64, "p": pl.Float64,
    "q": pl.Float64,
}  # fmt: skip

#: With fewer motifs Tomtom's p-values depend on which they are (memelite warns of the same).
FEW = 25


def match_motifs(pieces: Sequence[NDArray[np.floating]], motifs: Sequence[Motif], *, nearest: int = 3) -> pl.DataFrame:
    """The motifs that are most like each sequence.

    Parameters
    ----------
    pieces : sequence of array, shape (w, 4)
        One-hot, N all zero; lengths may differ.
    motifs : sequence of Motif
    nearest : int
        How many motifs to name of each piece.

    Returns
    -------
    polars.DataFrame
        Columns of `MATCH_SCHEMA`: each piece's motifs, most alike first. Both strands of a motif are tried.

    References
    ----------
    Gupta et al. (2007), doi:10.1186/gb-2007-8-2-r24; memelite's `tomtom`.
    """
    known = [i for i, piece in enumerate(pieces) if np.any(piece)]
    if not known or not motifs:
        return pl.DataFrame(schema=MATCH_SCHEMA)
    queries = [np.ascontiguousarray(np.asarray(pieces[i], dtype=np.float64).T) for i in known]
    targets = [np.ascontiguousarray(motif.matrix.T) for motif in motifs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few motifs: whoever reads them says so
        p, _, offset, overlap, strand = package("memelite.tomtom").tomtom(queries, targets)[:5]
    p = np.clip(p, 0.0, 1.0)
    from scipy.stats import false_discovery_control

    rows = []
    for row, seqlet in enumerate(known):
        q = false_discovery_control(p[row])
        for t in np.argsort(p[row], kind="stable")[:nearest].tolist():
            motif = motifs[t]
            at = (int(offset[row, t]), int(overlap[row, t]), "-" if strand[row, t] else "+")
            rows.append((seqlet, motif.id, motif.name, float(p[row, t]), float(q[t]), *at))
    return pl.DataFrame(rows, schema=MATCH_SCHEMA, orient="row")


def count_motifs(
    found: pl.DataFrame, controls: pl.DataFrame, n_windows: int, n_controls: int, *, most: float = 0.05
) -> pl.DataFrame:
    """Motifs by the seqlets that look like them: of some windows and of so many shuffles of theirs.

    `found` and `controls` are of `match_motifs`; each seqlet counts for its best motif if that has q <= `most`. The
    chance of as many is that of a negative binomial with the shuffles' rate: shuffles are few, and their rate is known
    no better than that.
    """
    from scipy.stats import false_discovery_control, nbinom

    def best(table: pl.DataFrame) -> pl.DataFrame:
        first = table.group_by("seqlet", maintain_order=True).first()
        return first.filter(pl.col("q") <= most).group_by("motif", "name", maintain_order=True).len()

    counts = best(found).join(best(controls).rename({"len": "of_controls"}).drop("name"), on="motif", how="left")
    counts = counts.with_columns(pl.col("of_controls").fill_null(0))
    many, other = counts["len"].to_numpy().astype(np.int64), counts["of_controls"].to_numpy()
    if n_controls:
        # a rate with a flat prior, seen in n_controls shuffles, then n_windows windows
        p = nbinom.sf(many - 1, other + 1, n_controls / (n_controls + n_windows))
        expected = other * n_windows / n_controls
    else:
        p = expected = np.full(len(many), np.nan)
    q = false_discovery_control(p) if n_controls and len(p) else p
    out = counts.with_columns(
        seqlets=pl.Series(many, dtype=pl.Int64), expected=pl.Series(expected, dtype=pl.Float64).fill_nan(None),
        p=pl.Series(p, dtype=pl.Float64).fill_nan(None), q=pl.Series(q, dtype=pl.Float64).fill_nan(None),
    )  # fmt: skip
    return out.select(list(COUNT_SCHEMA)).sort("seqlets", "motif", descending=[True, False])
