"""SuSiE credible sets of a gene's window, as a table."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.genetics.eqtl.scan import CisModel, residual_dosage
from genopred.genetics.finemap import credible_sets, susie

#: One row per variant of a credible set, as tensorQTL's SuSiE summary, with three columns more.
CREDIBLE_SCHEMA = {
    "phenotype_id": pl.String,
    "variant_id": pl.String,
    "pip": pl.Float64,
    "af": pl.Float32,
    "cs_id": pl.Int32,
    "cs_size": pl.Int32,
    "cs_coverage": pl.Float64,
    "cs_min_abs_corr": pl.Float64,
}


def credible_variants(
    dosage: NDArray[np.float32],
    model: CisModel,
    gene_id: str,
    variant_ids: pl.Series,
    maf: float = 0.0,
    max_effects: int = 10,
    coverage: float = 0.95,
    min_abs_corr: float = 0.5,
) -> pl.DataFrame:
    """Variants of the credible sets of one gene, in the columns of `CREDIBLE_SCHEMA`.

    `dosage` (N, M) are copies of ALT in the gene's window, NaN where missing; variants rarer than `maf` are left out.
    `model` is of this gene alone; the rest as in `genopred.genetics.finemap`.
    """
    frequency = np.nanmean(np.where(np.isnan(dosage).all(axis=0), 0.0, dosage), axis=0) / 2
    use = np.minimum(frequency, 1 - frequency) >= maf
    x = residual_dosage(dosage[:, use], model)
    fit = susie(x, model.residuals[:, 0], max_effects)
    ids, af = variant_ids.to_numpy()[use], frequency[use]
    rows = []
    for number, found in enumerate(credible_sets(fit, x, coverage, min_abs_corr), start=1):
        of_set = (number, len(found.variants), found.coverage, found.min_abs_corr)
        for variant in np.sort(found.variants).tolist():
            rows.append((gene_id, ids[variant], float(fit.pip[variant]), float(af[variant]), *of_set))
    return pl.DataFrame(rows, schema=CREDIBLE_SCHEMA, orient="row")
