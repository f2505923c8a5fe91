"""Federated models against those of the pooled people; what may differ between sites and what may not; the files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from moments_data import LEARNERS, STRAND, as_written, genes, joined, people, write_site
from plink_data import write_plink

from genopred.cli import main
from genopred.errors import FormatError, GenopredError, ModelError
from genopred.genetics.moments import Moments, total
from genopred.genetics.transform import Residualiser
from genopred.io.genemodels import read_models
from genopred.learning import evaluate
from genopred.learning.learners import GeneContext, find
from genopred.pipelines import fit_moments, moments, predict
from genopred.pipelines.fit_moments import by_sums, tunes
from genopred.settings import Predict

FOLDS, LOOSE = 4, {"min_mac": 2, "maf": 0.0}
COMMON = {"scale": "common", "covariates": "common"}


def halves(seed=0):
    """A random split of 460 people in two."""
    whole = people(460, seed)
    order = np.random.default_rng(seed + 50).permutation(460)
    return whole.of(order[:220]), whole.of(order[220:])


@pytest.fixture(scope="module")
def split_in_two(tmp_path_factory):
    """Their sums in folders A and B, and a run that joins them as if pooled."""
    folder = tmp_path_factory.mktemp("split")
    both = halves()
    for name, who in zip("AB", both):
        moments.run(write_site(folder, who, name, **LOOSE))
    config = joined([folder / "A", folder / "B"], folder / "common", **COMMON)
    return folder, both, config, fit_moments.run(config)


@pytest.fixture(scope="module")
def far_apart(tmp_path_factory):
    """Two sites of other frequencies and levels of expression, one of them larger."""
    folder = tmp_path_factory.mktemp("apart")
    both = people(230, 11, tilt=-0.15), people(330, 12, tilt=0.2, start=1000)
    for name, who in zip("AB", both):
        moments.run(write_site(folder, who, name, **LOOSE))
    return folder, both


def weights(run, learner):
    table = read_models(run).weights.filter(learner=learner)
    return {(gene, name): weight for gene, name, weight in table.select("gene_id", "id", "weight").iter_rows()}


def same_weights(one, other, **tolerance):
    assert one.keys() == other.keys() and one
    np.testing.assert_allclose([one[key] for key in one], [other[key] for key in one], **tolerance)


class Pooled:
    """The people of both sites together, one gene: what a cohort that shares them would have."""

    def __init__(self, both, gene):
        self.used = np.abs(both[0].variants["pos"].to_numpy() - genes()["tss"][gene]) <= 25_000
        self.ids = np.array(both[0].variants["id"].to_list())[self.used]
        self.x = np.concatenate([who.dosage for who in both])[:, self.used].astype(np.float64)
        self.c = np.concatenate([who.covariates for who in both])
        self.y = as_written(np.concatenate([who.expression[:, gene] for who in both]))
        self.fold = np.concatenate([evaluate.outer_folds(len(who.names), FOLDS, 1) for who in both])
        self.context = GeneContext(both[0].variants["pos"].to_numpy()[self.used], genes()["tss"][gene], 0)

    def target(self, train):
        left = Residualiser().fit(self.y[train], self.c[train]).transform(self.y, self.c)
        return (left - left[train].mean()) / left[train].std()

    def fit(self, learner, train):
        """By the sums of the pooled people, which are one cohort's."""
        y, estimator = self.target(train), find(learner).make(self.context)
        parts = [Moments.of(self.x[rows], y[rows]) for rows in (train & (self.fold == k) for k in range(FOLDS))]
        parts = [part for part in parts if part.n]
        estimator.fit_sums(total(parts), parts)
        return estimator.coef_, estimator.intercept_


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("gene", range(2))
def test_federated_models_are_those_of_the_pooled_people(split_in_two, learner, gene):
    _, both, config, _ = split_in_two
    pool, everybody = Pooled(both, gene), np.ones(460, dtype=bool)
    coef, intercept = pool.fit(learner, everybody)
    gene_id = genes()["gene_id"][gene]
    ours = {name: weight for (of, name), weight in weights(config.out, learner).items() if of == gene_id}
    np.testing.assert_allclose([ours.get(name, 0.0) for name in pool.ids], coef, atol=1e-6)
    row = read_models(config.out).genes.filter(gene_id=gene_id, method=learner).row(0, named=True)
    assert row["intercept"] == pytest.approx(intercept, abs=1e-6) and row["variants"] == len(ours)
    # the people's own route, as far as single precision goes
    people_route = find(learner).make(pool.context)
    if tunes(find(learner)):  # on the same folds, which are everybody's
        people_route.fit_oof(pool.x, pool.target(everybody), pool.fold)
    else:
        people_route.fit(pool.x, pool.target(everybody))
    np.testing.assert_allclose(coef, people_route.coef_, atol=2e-3 * np.abs(coef).max())


@pytest.mark.parametrize("learner", LEARNERS)
def test_accuracy_is_that_of_pooled_people_held_out(split_in_two, learner):
    _, both, _, done = split_in_two
    for gene in range(2):
        pool, predicted, observed = Pooled(both, gene), np.empty(460), np.empty(460)
        for k in range(FOLDS):
            out = pool.fold == k
            coef, start = pool.fit(learner, ~out)
            predicted[out], observed[out] = pool.x[out] @ coef + start, pool.target(~out)[out]
        expected = evaluate.scores("g", observed, {"p": predicted}, resamples=500).row(0, named=True)
        ours = done.scores.filter(gene_id=genes()["gene_id"][gene], method=learner).row(0, named=True)
        for key in ("n", "r2", "pearson", "signed_r2", "mse"):
            assert ours[key] == pytest.approx(expected[key], abs=1e-6), key
        # intervals are of other kinds, and of about the same width
        width = [row["r2_high"] - row["r2_low"] for row in (ours, expected)]
        assert 0.3 < width[0] / width[1] < 3


def test_a_site_held_out_is_scored_in_its_people(split_in_two):
    """R², r and slope of models of the other site, from the people themselves."""
    _, both, _, done = split_in_two
    pool, site = Pooled(both, 0), np.repeat([0, 1], [220, 240])
    for out, name in enumerate("AB"):
        train = site != out
        coef, start = pool.fit("ridge", train)
        p, y = pool.x[~train] @ coef + start, pool.target(train)[~train]
        row = done.loso.filter(site=name, gene_id=genes()["gene_id"][0], method="ridge").row(0, named=True)
        assert row["n"] == len(y)
        assert row["r2"] == pytest.approx(1 - ((y - p) ** 2).sum() / ((y - y.mean()) ** 2).sum(), abs=1e-6)
        assert row["pearson"] == pytest.approx(np.corrcoef(y, p)[0, 1], abs=1e-6)
        assert row["slope"] == pytest.approx(np.polyfit(p, y, 1)[0], abs=1e-5)
    assert done.loso.height == 2 * 2 * (len(LEARNERS) + 1)


@pytest.mark.parametrize("how", [{}, COMMON])
def test_the_order_of_sites_changes_nothing(split_in_two, tmp_path, how):
    folder, _, _, _ = split_in_two
    runs = [fit_moments.run(joined([folder / a, folder / b], tmp_path / a, **how)) for a, b in ("AB", "BA")]
    assert runs[0].scores.equals(runs[1].scores) and runs[0].loso.equals(runs[1].loso)
    for learner in (*LEARNERS, "stack-linear"):
        assert weights(tmp_path / "A", learner) == weights(tmp_path / "B", learner)


def test_names_of_sites_decide_ids_and_rounding_alone(split_in_two, tmp_path):
    folder, both, config, done = split_in_two
    moments.run(write_site(tmp_path, both[0], "A", name="Z", **LOOSE))
    other = fit_moments.run(joined([tmp_path / "A", folder / "B"], tmp_path / "out", **COMMON))
    for learner in (*LEARNERS, "stack-linear"):
        same_weights(weights(config.out, learner), weights(tmp_path / "out", learner), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(other.scores["r2"], done.scores["r2"], atol=1e-8)


@pytest.mark.parametrize("how", [{}, COMMON])
def test_alleles_swapped_and_on_the_other_strand_change_nothing(split_in_two, tmp_path, how):
    """A third of B's variants count the other allele, a third are on the other strand, chromosomes are called chr22."""
    folder, both, _, _ = split_in_two
    swap, turn = np.arange(40) % 3 == 0, np.arange(40) % 4 == 1
    x = both[1].dosage.copy()
    x[:, swap] = 2 - x[:, swap]
    table = both[1].variants
    ref, alt = (np.array(table[name].to_list()) for name in ("ref", "alt"))
    ref, alt = np.where(swap, alt, ref), np.where(swap, ref, alt)
    ref, alt = ([w.translate(STRAND) if t else w for w, t in zip(words.tolist(), turn)] for words in (ref, alt))
    table = table.with_columns(ref=pl.Series(ref), alt=pl.Series(alt), chrom=pl.lit("chr22"), id=pl.lit("."))
    moments.run(write_site(tmp_path, replace(both[1], dosage=x, variants=table), "B", **LOOSE))
    plain = fit_moments.run(joined([folder / "A", folder / "B"], tmp_path / "plain", **how))
    other = fit_moments.run(joined([folder / "A", tmp_path / "B"], tmp_path / "other", **how))
    for learner in (*LEARNERS, "stack-linear"):
        same_weights(weights(tmp_path / "plain", learner), weights(tmp_path / "other", learner), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(other.scores["r2"], plain.scores["r2"], atol=1e-8)
    counts = {reason: n for _, status, reason, n, _ in other.report.table.iter_rows() if status == "used"}
    assert counts["swapped"] and counts["strand-flipped"] and counts["strand-flipped and swapped"]


# --- sites that differ -----------------------------------------------------------------------------------------------


def test_common_equals_pooled_with_other_frequencies(far_apart, tmp_path):
    folder, both = far_apart
    fit_moments.run(joined([folder / "A", folder / "B"], tmp_path / "out", **COMMON))
    pool = Pooled(both, 1)
    for learner in LEARNERS:
        coef, _ = pool.fit(learner, np.ones(560, dtype=bool))
        ours = {name: w for (of, name), w in weights(tmp_path / "out", learner).items() if of == genes()["gene_id"][1]}
        np.testing.assert_allclose([ours.get(name, 0.0) for name in pool.ids], coef, atol=1e-6)


def test_site_by_site_equals_people_centred_within_their_site(far_apart, tmp_path):
    folder, both = far_apart
    fit_moments.run(joined([folder / "A", folder / "B"], tmp_path / "out"))
    pool, site = Pooled(both, 0), np.repeat([0, 1], [230, 330])
    x, y = pool.x.copy(), np.empty(560)
    for s in range(2):
        rows = site == s
        x[rows] += pool.x.mean(axis=0) - pool.x[rows].mean(axis=0)
        left = Residualiser().fit(pool.y[rows], pool.c[rows]).transform(pool.y[rows], pool.c[rows])
        y[rows] = (left - left.mean()) / left.std()
    parts = [Moments.of(x[pool.fold == k], y[pool.fold == k]) for k in range(FOLDS)]
    for learner in LEARNERS:
        estimator = find(learner).make(pool.context)
        estimator.fit_sums(total(parts), parts)
        ours = {name: w for (of, name), w in weights(tmp_path / "out", learner).items() if of == genes()["gene_id"][0]}
        np.testing.assert_allclose([ours.get(name, 0.0) for name in pool.ids], estimator.coef_, atol=1e-6)


def test_levels_that_differ_between_sites_do_not_matter_site_by_site(far_apart, tmp_path):
    """Effects are the same at both and are found in the other; with a common scale its other level is an error."""
    folder, _ = far_apart
    sites = [folder / "A", folder / "B"]
    loso = [fit_moments.run(joined(sites, tmp_path / str(i), **how)).loso for i, how in enumerate(({}, COMMON))]
    own, common = (table.filter(method="stack-linear") for table in loso)
    assert own["pearson"].min() > 0.15 and own["r2"].mean() > 0.03 and own["slope"].min() > 0.3
    assert common["r2"].max() < own["r2"].min()


def test_one_site_with_one_fold_leaves_learners_that_tune_nothing(far_apart, tmp_path):
    folder, _ = far_apart
    moments.run(write_site(tmp_path, people(90, 13, start=2000), "C", folds=1, **LOOSE))
    sites = [folder / "A", folder / "B", tmp_path / "C"]
    done = fit_moments.run(joined(sites, tmp_path / "out", learners=None))
    methods = set(done.scores["method"])
    assert methods == {name for name in by_sums() if not tunes(find(name))} | {"stack-linear"}
    assert {"ridge", "gblup-tss"} <= methods and done.scores["n"].unique().to_list() == [650]
    assert any("C has one fold" in note for note in done.notes)
    tuned = [name for name in by_sums() if tunes(find(name))]
    if tuned:
        with pytest.raises(ModelError, match="must be tuned, which one fold does not allow"):
            fit_moments.run(joined(sites, tmp_path / "no", learners=("ridge", tuned[0])))


def test_three_folds_tune_and_sites_are_held_out(split_in_two, tmp_path):
    folder, _, _, _ = split_in_two
    tuned = next((name for name in by_sums() if tunes(find(name))), "ridge")
    names = tuple(dict.fromkeys(["ridge", tuned]))
    done = fit_moments.run(joined([folder / "A", folder / "B"], tmp_path / "out", fold_count=3, learners=names))
    assert set(done.scores["method"]) == {*names, "stack-linear"}
    assert done.scores["n"].unique().to_list() == [460] and done.scores["r2_low"].is_finite().all()
    ridge = done.scores.filter(method="ridge").sort("gene_id")
    parts = done.loso.filter(method="ridge").group_by("gene_id").agg(pl.col("mse").dot("n") / pl.col("n").sum())
    np.testing.assert_allclose(parts.sort("gene_id")["mse"], ridge["mse"], rtol=1e-9)


# --- the run ---------------------------------------------------------------------------------------------------------


def test_every_linear_learner_by_sums_is_trained(split_in_two, tmp_path):
    folder, _, _, _ = split_in_two
    done = fit_moments.run(joined([folder / "A", folder / "B"], tmp_path / "out", learners=None))
    assert set(done.summary["method"]) == {*by_sums(), "stack-linear"} and {"ridge", "gblup-tss"} <= set(by_sums())
    best = done.summary.row(by_predicate=pl.col("method") == "stack-linear", named=True)
    assert best["mean_r2"] > done.summary["mean_r2"].min()
    with pytest.raises(ModelError, match="'xgboost' does not learn one weight a variant from sums; there are"):
        fit_moments.run(joined([folder / "A", folder / "B"], tmp_path / "no", learners=("xgboost",)))


def test_what_is_written(split_in_two):
    _, _, config, done = split_in_two
    for name in ("scores", "summary", "loso"):
        table = pl.read_parquet(config.out / f"{name}.parquet")
        assert table.equals(getattr(done, name), null_equal=True) or table.height == getattr(done, name).height
    card = read_models(config.out).about
    assert card["made_by"] == "genopred fit-moments" and card["people"] == 460 and card["sites"] == {"A": 220, "B": 240}
    assert card["covariates"] == ["C1", "C2"] and card["names"] == list(LEARNERS) and card["transform"] == "none"
    page = (config.out / "report.html").read_text()
    assert "Sites left out" in page and "stack-linear" in page
    models = read_models(config.out)
    linear = sum(
        weights(config.out, name).get((genes()["gene_id"][0], "rs8"), 0) * w for name, w in card["linear"].items()
    )
    assert weights(config.out, "stack-linear")[genes()["gene_id"][0], "rs8"] == pytest.approx(linear)
    assert models.methods == ["stack-linear", *LEARNERS] and models.weights["freq"].is_between(0, 1).all()
    assert any("stack-linear trained without A, in A" in line for line in done.lines())


def test_a_stopped_run_goes_on_and_ends_alike(split_in_two, tmp_path):
    folder, _, config, _ = split_in_two
    mine = replace(config, out=tmp_path / "run")
    fit_moments.run(mine)
    kept = {path.relative_to(mine.out): path.read_bytes() for path in mine.out.rglob("*") if path.is_file()}
    (mine.out / "genes" / f"{genes()['gene_id'][0]}.json").unlink()
    shutil.rmtree(mine.out / "models")
    steps = []
    fit_moments.run(mine, lambda *step: steps.append(step[:2]))
    assert steps == [(1, 2), (2, 2)]
    assert {path.relative_to(mine.out): path.read_bytes() for path in mine.out.rglob("*") if path.is_file()} == kept
    with pytest.raises(GenopredError, match="with other settings .*--scale"):
        fit_moments.run(replace(mine, scale="site"))


def test_a_gene_without_a_variant_in_common_is_counted(split_in_two, tmp_path):
    folder, both, _, _ = split_in_two
    table = both[1].variants.with_columns(
        pos=pl.when(pl.col("pos") < 1_010_000).then(pl.col("pos") + 7).otherwise("pos")
    )
    moments.run(write_site(tmp_path, replace(both[1], variants=table), "B", window=9_000, **LOOSE))
    moments.run(write_site(tmp_path, both[0], "A", window=9_000, **LOOSE))
    done = fit_moments.run(joined([tmp_path / "A", tmp_path / "B"], tmp_path / "out"))
    assert done.scores["gene_id"].unique().to_list() == [genes()["gene_id"][1]]
    assert done.report.count("genes", "dropped") == 1


def test_nothing_in_common_at_all_says_why(split_in_two, tmp_path):
    folder, both, _, _ = split_in_two
    table = both[1].variants.with_columns(pos=pl.col("pos") + 500)
    moments.run(write_site(tmp_path, replace(both[1], variants=table), "B", **LOOSE))
    with pytest.raises(GenopredError, match="none of 2 genes could be trained .*probably different genome builds"):
        fit_moments.run(joined([folder / "A", tmp_path / "B"], tmp_path / "out"))


def test_rare_variants_are_left_out_by_all_people_together(far_apart, tmp_path):
    folder, both = far_apart
    done = fit_moments.run(joined([folder / "A", folder / "B"], tmp_path / "out", maf=0.3))
    x = np.concatenate([who.dosage for who in both])
    freq = dict(zip(both[0].variants["id"].to_list(), x.mean(axis=0) / 2))
    used = read_models(tmp_path / "out").weights.filter(learner="ridge")
    assert all(0.3 <= freq[name] <= 0.7 for name in used["id"])
    np.testing.assert_allclose(used["freq"], [freq[name] for name in used["id"]], rtol=1e-6)
    assert done.report.count("gene-variant pairs of all sites", "dropped") > 0


def test_damage_stops_the_run_with_the_files_name(split_in_two, tmp_path, capsys):
    folder, _, _, _ = split_in_two
    shutil.copytree(folder / "B", tmp_path / "B")
    path = tmp_path / "B" / "genes" / f"{genes()['gene_id'][0]}.npz"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(FormatError, match=r"\.npz is damaged"):
        fit_moments.run(joined([folder / "A", tmp_path / "B"], tmp_path / "out"))
    words = ["fit-moments", str(folder / "A"), str(tmp_path / "B"), "--threads", "1", "--out", str(tmp_path / "two")]
    assert main(words) == 2
    assert "npz is damaged" in capsys.readouterr().err


def test_new_people_are_predicted_from_the_models(split_in_two, tmp_path):
    """And as well as held-out people were promised."""
    _, _, config, done = split_in_two
    new = people(300, 77, start=9000)
    write_plink(tmp_path / "new", new.dosage, new.names, new.variants)
    made = predict.run(Predict(models=config.out, bfile=tmp_path / "new", threads=1, out=tmp_path / "predicted"))
    table = pl.read_parquet(tmp_path / "predicted" / "expression.parquet")
    models = read_models(config.out)
    assert made is not None and models.about["default"] == "stack-linear"
    for g, gene in enumerate(genes()["gene_id"].to_list()):
        coef = weights(config.out, "stack-linear")
        intercept = models.genes.filter(gene_id=gene, method="stack-linear")["intercept"][0]
        mine = [coef.get((gene, name), 0.0) for name in new.variants["id"].to_list()]
        np.testing.assert_allclose(table[gene], new.dosage @ mine + intercept, atol=1e-5)
        y = Residualiser().fit(new.expression[:, g], new.covariates).transform(new.expression[:, g], new.covariates)
        promised = done.scores.filter(gene_id=gene, method="stack-linear")["pearson"][0]
        assert np.corrcoef(table[gene], y)[0, 1] == pytest.approx(promised, abs=0.2)


def test_from_the_command_line_on_the_embedded_people(tmp_path, capsys):
    """Two sites of real people, covariates of their own, then models, new predictions, and no name of anybody."""
    import genopred

    example = genopred.load_example()
    names = example.expression.samples.tolist()
    chosen = "".join(f"{gene}\n" for gene in example.expression.genes["gene_id"].to_list()[:2])
    (tmp_path / "genes.txt").write_text(chosen)
    for site, who in (("north", names[::2]), ("south", names[1::2])):
        (tmp_path / f"{site}.txt").write_text("\n".join(who) + "\n")
        words = [
            "moments", "--bfile", example.bfile, "--expression", example.expression_file, "--covar",
            example.covariates_file, "--n-covariates", "5" if site == "north" else "3", "--genes",
            tmp_path / "genes.txt", "--keep", tmp_path / f"{site}.txt", "--window", "20kb", "--threads", "1", "--quiet",
            "--out", tmp_path / site,
        ]  # fmt: skip
        assert main([str(word) for word in words]) == 0
    out = tmp_path / "both"
    words = ["fit-moments", tmp_path / "north", tmp_path / "south", "--threads", "1", "--quiet", "--out", out]
    assert main([*map(str, words), "--learners", "ridge,gblup-tss"]) == 0
    said = capsys.readouterr().out
    assert "stack-linear trained without north, in north: mean R2" in said
    assert main(["predict", "--models", str(out), "--bfile", str(example.bfile), "--threads", "1", "--quiet",
                 "--out", str(tmp_path / "new")]) == 0  # fmt: skip
    table = pl.read_parquet(tmp_path / "new" / "expression.parquet")
    assert table.height == 358 and table.width == 3
    card = json.loads((out / "models" / "models.json").read_text())
    assert card["people"] == 358 and len(card["covariates"]) == 5
    for place in ("north", "south", "both"):
        for path in (tmp_path / place).rglob("*"):
            assert not path.is_file() or not any(name.encode() in path.read_bytes() for name in names[:50]), path
