"""Conditionally independent signals of a gene."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from genopred.genetics.eqtl.beta import PERMUTATION_SCHEMA, top_row
from genopred.genetics.eqtl.scan import cis_model, cis_scan
from genopred.genetics.transform import mean_filled

#: One row per independent signal, as tensorQTL's `cis_independent`.
INDEPENDENT_SCHEMA = {**PERMUTATION_SCHEMA, "rank": pl.Int32}

#: The forward selection stops at so many signals.
MOST = 20


# Eleven parameters: the arrays of one gene's window, its names, and how each scan of it is made.
def independent_signals(
    dosage: ArrayLike,
    pos: ArrayLike,
    tss: int,
    phenotype: ArrayLike,
    covariates: ArrayLike | None,
    threshold: float,
    permutations: NDArray[np.intp],
    *,
    gene_id: str = "gene",
    variant_ids: pl.Series | None = None,
    normalise: bool = True,
    maf: float = 0.0,
) -> pl.DataFrame:
    """Conditionally independent signals of one gene by forward selection and backward checks, as GTEx did.

    Forward: the top variant is added to the covariates until the permutation p-value of the next one exceeds
    `threshold`, the gene-level one of the permutation pass (on `pval_beta`). Backward: each signal is mapped again with
    all others as covariates, and kept if it still passes. GTEx Consortium (2017), doi:10.1038/nature24277, supplement.

    `dosage` (N, M) is the gene's window, NaN where missing, `pos` (M,) sorted; without `variant_ids` they are column
    numbers. The table has the columns of `INDEPENDENT_SCHEMA`, by rank; no rows where the first variant does not pass.
    """
    x = np.asarray(dosage, dtype=np.float32)
    y = np.asarray(phenotype, dtype=np.float64)
    positions = np.asarray(pos, dtype=np.int64)
    base = np.empty((len(y), 0)) if covariates is None else np.asarray(covariates, dtype=np.float64)
    names = pl.Series([str(i) for i in range(x.shape[1])]) if variant_ids is None else variant_ids
    sites = np.array([tss])
    # A window as wide as the data: the caller has cut it.
    reach = int(np.abs(positions - tss).max(initial=0))

    def best(extra: list[int]) -> tuple[int, dict[str, Any]] | None:
        model = cis_model(y, np.column_stack([base, mean_filled(x[:, extra])]), normalise=normalise)
        scan = cis_scan(x, positions, sites, model, reach, permutations=permutations, maf=maf)
        if scan.top[0] < 0 or scan.perm_r2 is None:
            return None
        row = top_row(scan, scan.perm_r2[0], 0, gene_id, names, positions, tss)
        return (int(scan.top[0]), row) if row["pval_beta"] <= threshold else None

    forward: list[int] = []
    rows: list[dict[str, Any]] = []
    while len(forward) < MOST and (found := best(forward)):
        forward.append(found[0])
        rows.append({**found[1], "rank": len(forward)})
    if len(forward) > 1:
        rows, seen = [], set()
        for rank, own in enumerate(forward, start=1):
            found = best([other for other in forward if other != own])
            if found and found[0] not in seen:
                seen.add(found[0])
                rows.append({**found[1], "rank": rank})
    return pl.DataFrame(rows, schema=INDEPENDENT_SCHEMA, orient="row")
