"""Base predictions gene by gene: what is written, and that a gene does not depend on the others."""

from __future__ import annotations

import json

import polars as pl

from genopred.learning import learners
from genopred.learning.evaluate import outer_folds
from genopred.pipelines import stack_genes
from genopred.pipelines.demo import example_inputs
from genopred.pipelines.inputs import open_cohort
from genopred.pipelines.run import Run
from genopred.settings import Stack

GENES = ("ENSG00000172404.4", "ENSG00000100387.8")


def compute(out, genes=GENES, **more):
    settings = Stack(**example_inputs(genes), out=out, inner_folds=3, threads=1, **more)
    chosen = tuple(learners.find(name) for name in ("ridge", "pt-prs"))
    with Run(settings, ("genes/*",)) as job:
        cohort = open_cohort(settings)
        folds = outer_folds(len(cohort.samples), 3, 1)
        return stack_genes.compute_genes(job, settings, cohort, folds, chosen), cohort, folds


def test_a_table_and_its_counts_for_each_gene(tmp_path):
    taken, cohort, folds = compute(tmp_path / "run")
    assert len(taken) == 2 and set(taken[0]) == {"ridge", "pt-prs", stack_genes.REST}
    for gene in GENES:
        table = stack_genes.read_base(tmp_path / "run", gene)
        assert table.columns == ["outer_fold", "inner_fold", "sample", "observed", "ridge", "pt-prs"]
        held = table.filter(pl.col("inner_fold") < 0)
        assert held["sample"].n_unique() == held.height == len(cohort.samples)
        fold = dict(zip(cohort.samples.tolist(), folds.tolist()))
        assert [fold[name] for name in held["sample"]] == held["outer_fold"].to_list()
        info = json.loads(stack_genes.info_path(tmp_path / "run", gene).read_text())
        dropped = sum(n for _, _, n, _ in info["dropped"])
        assert info["variants_used"] + dropped == info["variants_in_window"] and info["skipped"] is None


def test_genes_that_are_done_are_not_computed_again_and_do_not_depend_on_others(tmp_path):
    compute(tmp_path / "both")
    compute(tmp_path / "one", GENES[1:])
    whole, alone = (stack_genes.read_base(tmp_path / name, GENES[1]) for name in ("both", "one"))
    assert whole.equals(alone)
    assert compute(tmp_path / "both")[0] == []


def test_a_gene_without_variants_is_skipped_with_its_reason(tmp_path):
    taken, _, _ = compute(tmp_path / "run", GENES[:1], maf=0.5)
    info = json.loads(stack_genes.info_path(tmp_path / "run", GENES[0]).read_text())
    assert taken == [] and info["skipped"] == "no usable variant in the cis window" and info["variants_used"] == 0
