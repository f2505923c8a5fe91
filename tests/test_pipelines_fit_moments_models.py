"""The stack and its accuracy over all genes, from what is kept of each, against people."""

from __future__ import annotations

import numpy as np
import pytest

from genopred.learning import evaluate, stack
from genopred.learning.federated import centred
from genopred.pipelines.fit_moments_models import LOSO_SCHEMA, Gene, Kept, Together
from genopred.types import SCORE_SCHEMA

NAMES = ("ridge", "gblup-tss")


def table_of(y, p):
    rows = np.column_stack([np.ones(len(y)), y, p])
    return rows.T @ rows


class Made:
    """A gene of 240 people at two sites whose base predictions are known, in outer and inner folds."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        n, self.fold, self.inner = 240, np.arange(240) % 4, rng.integers(0, 3, (4, 240))
        self.site = np.arange(n) // 120
        self.y = rng.standard_normal(n)
        self.oof = np.stack([self.guess(rng) for _ in range(4)])
        self.held = self.guess(rng)
        parts = []
        for k in range(4):
            out = self.fold == k
            blocks = [table_of(self.y[out & (self.site == s)], self.held[out & (self.site == s)]) for s in range(2)]
            rows = [~out & (self.inner[k] == i) for i in range(3)]
            oof = np.sum([centred(table_of(self.y[mask], self.oof[k][mask])) for mask in rows], axis=0)
            parts.append(Kept(np.stack(blocks), oof, float(self.y[~out].mean()), int((~out).sum())))
        self.gene = Gene({"gene_id": f"G{seed}"}, parts, [], n, np.zeros(2), np.eye(2))

    def guess(self, rng):
        return np.column_stack([0.3 * self.y + rng.standard_normal(240), 0.1 * self.y + rng.standard_normal(240)])

    def result(self):
        """The same as the stack of a cohort keeps it."""
        parts = []
        for k in range(4):
            out = self.fold == k
            order = np.concatenate([np.flatnonzero(~out), np.flatnonzero(out)])
            inner = np.where(out, -1, self.inner[k])[order]
            base = np.where(out[:, None], self.held, self.oof[k])[order]
            parts.append((np.full(240, k), inner, order, self.y[order], base))
        return evaluate.GeneResult(NAMES, *(np.concatenate(one) for one in zip(*parts)))


@pytest.mark.parametrize("prior", [None, stack.shipped()])
def test_weights_and_accuracy_are_those_of_the_stack_of_a_cohort(prior):
    made = [Made(seed) for seed in range(3)]
    together = Together([one.gene for one in made], NAMES, prior)
    results = [one.result() for one in made]
    last = stack.make_meta("linear", NAMES, prior=prior).fit(lambda: (one.everybody() for one in results))
    np.testing.assert_allclose(together.weights, last.weights_, rtol=1e-6, atol=1e-9)
    scores = together.scores()
    assert dict(scores.schema) == SCORE_SCHEMA and scores.height == 9
    fitted = []
    for k in range(4):
        fitted.append(
            stack.make_meta("linear", NAMES, prior=prior).fit(lambda k=k: (one.gene_fold(k) for one in results))
        )
    for one, result in zip(made, results):
        predicted, observed = [], []
        for k in range(4):
            predicted.append(fitted[k].predict(result.gene_fold(k)))
            observed.append(result.observed[(result.fold == k) & (result.inner < 0)])
        y = np.concatenate(observed)
        methods = {"stack-linear": np.concatenate(predicted)}
        expected = evaluate.scores("g", y, methods, resamples=10).row(0, named=True)
        ours = scores.filter(gene_id=one.gene.gene_id, method="stack-linear").row(0, named=True)
        for key in ("n", "r2", "pearson", "mse"):
            assert ours[key] == pytest.approx(expected[key], rel=1e-6, abs=1e-9)
        assert np.isnan(ours["spearman"]) and np.isnan(ours["mae"]) and ours["r2_low"] < ours["r2"] < ours["r2_high"]


def test_where_no_fold_is_held_out_sites_are():
    made = [Made(seed) for seed in range(2)]
    genes = [Gene(one.gene.about, [], one.gene.folds[:2], 240, one.gene.intercept, one.gene.spread) for one in made]
    together = Together(genes, NAMES, None)
    loso = together.loso(("A", "B"))
    assert dict(loso.schema) == LOSO_SCHEMA and loso["site"].to_list() == ["A"] * 6 + ["B"] * 6
    scores = together.scores()
    for gene in ("G0", "G1"):
        whole = scores.filter(gene_id=gene, method="ridge").row(0, named=True)
        parts = loso.filter(gene_id=gene, method="ridge")
        assert whole["n"] == parts["n"].sum()
        assert whole["mse"] == pytest.approx((parts["mse"] * parts["n"]).sum() / whole["n"])


def test_nothing_out_of_fold_is_the_plain_mean():
    one = Made(0).gene
    sites = [Kept(kept.held, np.zeros((3, 3)), kept.mean, kept.n) for kept in one.folds[:2]]
    together = Together([Gene(one.about, [], sites, 240, one.intercept, one.spread)], NAMES, None)
    row = together.loso(("A", "B")).filter(site="A", method="stack-linear").row(0, named=True)
    mean = Kept.of({"held": sites[0].held.tolist(), "oof": sites[0].oof.tolist(), "mean": sites[0].mean, "n": 180})
    whole = mean.held.sum(axis=0)
    w = np.array([0, -1, 0.5, 0.5])
    assert row["mse"] == pytest.approx(float(w @ whole @ w) / whole[0, 0])
