"""Predict gene expression from genotype, and say honestly how well.

The public names are here; each is loaded from its module when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# ruff: noqa: F401
if TYPE_CHECKING:  # the names of `_HOME`, for editors and type checkers
    from genopred.align import match
    from genopred.errors import AlignmentError, FormatError, GenopredError, ModelError
    from genopred.genetics.finemap import credible_sets, susie
    from genopred.genetics.ld import clump, em_r2, r2_matrix
    from genopred.genetics.regression import marginal_association
    from genopred.genetics.scores import BaselinePRS, ClumpThresholdPRS, polygenic_score
    from genopred.genetics.simulate import simulate_cohort
    from genopred.genetics.transform import (
        fpkm,
        inverse_normal,
        log1p,
        quantile_normalise,
        residualise,
        rpkm,
        tpm,
        zscore,
    )
    from genopred.io.annotation import read_gtf
    from genopred.io.bgen import read_bgen
    from genopred.io.covariates import read_covariates
    from genopred.io.example import load_example
    from genopred.io.expression import read_expression
    from genopred.io.fasta import open_fasta
    from genopred.io.pgen import read_pgen
    from genopred.io.plink import read_plink
    from genopred.io.sumstats import read_sumstats
    from genopred.io.vcf import read_vcf
    from genopred.learning.elasticnet import ElasticNet
    from genopred.learning.kernel import GBLUP, PolynomialRegression, Ridge
    from genopred.learning.learners import SuSiE, register
    from genopred.pipelines.apply_models import load_models
    from genopred.sequence.features import features_for_gene, predict_tracks
    from genopred.sequence.haplotypes import personal_sequences
    from genopred.sequence.models.registry import load_model
    from genopred.types import Cohort, Covariates, Expression, Features, Genotypes, Haplotypes, Interval, MatchReport

_HOME = {
    "align": ("match",),
    "errors": ("AlignmentError", "FormatError", "GenopredError", "ModelError"),
    "genetics.finemap": ("credible_sets", "susie"),
    "genetics.ld": ("clump", "em_r2", "r2_matrix"),
    "genetics.regression": ("marginal_association",),
    "genetics.scores": ("BaselinePRS", "ClumpThresholdPRS", "polygenic_score"),
    "genetics.simulate": ("simulate_cohort",),
    "genetics.transform": (
        "fpkm",
        "inverse_normal",
        "log1p",
        "quantile_normalise",
        "residualise",
        "rpkm",
        "tpm",
        "zscore",
    ),
    "io.annotation": ("read_gtf",),
    "io.bgen": ("read_bgen",),
    "io.covariates": ("read_covariates",),
    "io.example": ("load_example",),
    "io.expression": ("read_expression",),
    "io.fasta": ("open_fasta",),
    "io.pgen": ("read_pgen",),
    "io.plink": ("read_plink",),
    "io.sumstats": ("read_sumstats",),
    "io.vcf": ("read_vcf",),
    "learning.elasticnet": ("ElasticNet",),
    "learning.kernel": ("GBLUP", "PolynomialRegression", "Ridge"),
    "learning.learners": ("SuSiE", "register"),
    "pipelines.apply_models": ("load_models",),
    "sequence.features": ("features_for_gene", "predict_tracks"),
    "sequence.haplotypes": ("personal_sequences",),
    "sequence.models.registry": ("load_model",),
    "types": ("Cohort", "Covariates", "Expression", "Features", "Genotypes", "Haplotypes", "Interval", "MatchReport"),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = sorted(["__version__", *_MODULE])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("genopred")
    if name not in _MODULE:
        raise AttributeError(f"module 'genopred' has no attribute {name!r}")
    value = getattr(import_module(f"genopred.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
