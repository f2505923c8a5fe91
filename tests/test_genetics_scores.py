"""Polygenic scores: plink1.9's --score, and estimators against their definition written out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from bed_reader import open_bed
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import linregress
from sklearn.base import clone

from genopred.errors import GenopredError
from genopred.genetics.ld import Products, clump, clump_grid
from genopred.genetics.moments import Moments, total
from genopred.genetics.regression import marginal_association
from genopred.genetics.scores import BaselinePRS, ClumpThresholdPRS, polygenic_score, score_ranges

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "plink_prs"
SHARED = Path(os.environ.get("GENOPRED_SHARED", HERE.parent.parent / "shared"))
POS = np.arange(60) * 3000


def people(seed=0, n=120, m=60, effect=0.8, missing=0.0):
    rng = np.random.default_rng(seed)
    founders = rng.random((8, m)) < rng.uniform(0.2, 0.8, m)
    source = np.cumsum(rng.random((2 * n, m)) < 0.08, axis=1) * 3 + rng.integers(8, size=(2 * n, 1))
    alleles = founders[source % 8, np.arange(m)].astype(np.float32)
    x = alleles[:n] + alleles[n:]
    y = effect * (x[:, 10] - x[:, 45]) + rng.normal(size=n)
    x[rng.random(x.shape) < missing] = np.nan
    return x, y


# --- the sum ---------------------------------------------------------------------------------------------------------


def golden_score():
    """Dosages of the scored allele, weights, p-values and founders of the golden cohort."""
    bed = open_bed(GOLDEN / "cohort.bed", num_threads=1)
    x = bed.read(dtype="float32").astype(float)
    place = {name: j for j, name in enumerate(bed.sid)}
    rows = [line.split() for line in (GOLDEN / "weights.txt").read_text().splitlines()]
    columns = np.array([place[row[0]] for row in rows])
    counted = np.array([row[1] == "A" for row in rows])  # allele_1, which the .bed counts
    x = np.where(counted, x[:, columns], 2 - x[:, columns])
    p = dict(line.split() for line in (GOLDEN / "pval.txt").read_text().splitlines())
    return x, np.array([float(row[2]) for row in rows]), np.array([float(p[row[0]]) for row in rows]), bed.father == "0"


def profile(name):
    rows = [line.split() for line in (GOLDEN / name).read_text().splitlines()[1:]]
    return np.array([float(row[5]) for row in rows])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("score_sum.txt", {}),
        ("score_average.txt", {"average": True}),
        ("score_skip.txt", {"average": True, "missing": "skip"}),
        ("score_center.txt", {"center": True}),
    ],
)
def test_plinks_score(name, options):
    x, w, _, founders = golden_score()
    freq = np.nanmean(x[founders], axis=0) / 2
    golden = profile(name)
    assert np.isnan(x).sum() > 100
    # plink prints six significant digits.
    np.testing.assert_allclose(polygenic_score(x, w, freq=freq, **options), golden, rtol=5.1e-6, atol=1e-6)


def test_plinks_ranges():
    x, w, p, founders = golden_score()
    freq = np.nanmean(x[founders], axis=0) / 2
    ranges = {"strict": (0, 0.001), "middle": (0.001, 0.2), "none": (2, 3)}
    out = score_ranges(x, w, p, ranges, freq=freq)
    for name in ("strict", "middle"):
        np.testing.assert_allclose(out[name], profile(f"score_range_{name}.txt"), rtol=5.1e-6, atol=1e-6)
    assert (out["none"] == 0).all()


@pytest.mark.skipif(not (SHARED / "peers").exists(), reason="../shared is not there")
def test_a_real_genes_profiles():
    """plink_gene0's averages and sums over 2,758 SNPs, and over index SNPs (r² 0.2) with p <= 0.05."""
    cyvcf2 = pytest.importorskip("cyvcf2")
    folder = SHARED / "peers" / "plink_gene0"
    vcf = cyvcf2.VCF(str(SHARED / "data/geuvadis_chr22/genotypes.chr22.vcf.gz"), gts012=True)
    found = [(f"22:{v.POS}:{v.REF}:{v.ALT[0]}", v.gt_types.copy()) for v in vcf("chr22:46163858-47163858")]
    ids = [name for name, _ in found]
    x = np.array([g for _, g in found], dtype=float).T
    weights = {r[0]: (r[1], float(r[2])) for r in map(str.split, (folder / "g0.score").read_text().splitlines())}
    p = {r[0]: float(r[1]) for r in map(str.split, (folder / "g0.pval").read_text().splitlines())}
    alt = np.array([weights[name][0] == name.split(":")[3] for name in ids])
    x = np.where(alt, x, 2 - x)
    w = np.array([weights[name][1] for name in ids])
    index = set((folder / "g0_r0.2.idx").read_text().split())
    chosen = np.array([name in index and p[name] <= 0.05 for name in ids])
    for stem, keep in (("g0_baseline_{}.profile", np.ones(len(w), dtype=bool)), ("g0_r0.2_{}.p0.05.profile", chosen)):
        for kind, average in (("avg", True), ("sum", False)):
            rows = [line.split() for line in (folder / stem.format(kind)).read_text().splitlines()[1:]]
            out = dict(zip(vcf.samples, polygenic_score(x[:, keep], w[keep], average=average)))
            np.testing.assert_allclose(
                [out[row[1]] for row in rows], [float(row[5]) for row in rows], rtol=5.1e-6, atol=1e-6
            )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_a_score_is_linear_and_knows_no_order_of_variants(seed):
    rng = np.random.default_rng(seed)
    x, a, b = rng.integers(0, 3, (7, 9)).astype(float), rng.normal(size=9), rng.normal(size=9)
    x[rng.random(x.shape) < 0.1] = np.nan
    turn = rng.permutation(9)
    total = polygenic_score(x, a + 2 * b)
    np.testing.assert_allclose(polygenic_score(x, a) + 2 * polygenic_score(x, b), total, atol=1e-12)
    np.testing.assert_allclose(polygenic_score(x[:, turn], (a + 2 * b)[turn]), total, atol=1e-12)


def test_missing_everywhere_counts_nothing():
    x = np.array([[np.nan, 1.0], [np.nan, 2.0]])
    assert polygenic_score(x, [3.0, 1.0]).tolist() == [1.0, 2.0]
    assert polygenic_score([[np.nan], [1.0]], [1.0], average=True, missing="skip").tolist() == [0.0, 0.5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: polygenic_score([[1.0]], [1.0, 2.0]), "do not fit"),
        (lambda: polygenic_score([[1.0, 2.0]], [np.nan, 2.0]), r"1 weights are NaN .*columns 0"),
        (lambda: polygenic_score([[1.0]], [1.0], missing="zero"), "'mean' or 'skip'"),
        (lambda: polygenic_score([[1.0]], [1.0], freq=[0.1, 0.2]), "freq"),
        (lambda: score_ranges([[1.0]], [1.0], [0.1, 0.2], {}), "pval"),
    ],
)
def test_bad_input_to_the_sum_is_named(call, message):
    with pytest.raises(GenopredError, match=message):
        call()


# --- the estimators, written out -------------------------------------------------------------------------------------


def candidates(x, y, kind, r2="genotype"):
    """(weights, centre, mean) of each candidate score from some people, by the public functions."""
    marginal = marginal_association(x, y)
    slope = np.nan_to_num(marginal.slope)
    if kind == "baseline":
        columns = [np.arange(x.shape[1])]
    else:
        grid = [(p1, limit) for limit in (0.1, 0.2, 0.5, 0.8) for p1 in (1, 0.05, 0.01, 1e-3, 1e-5)]
        p = np.where(np.isnan(marginal.slope), np.nan, marginal.pval)
        columns = [clump(x, p, POS, p1=p1, p2=1, r2_threshold=limit, r2=r2) for p1, limit in grid]
    out = []
    for chosen in columns:
        weights = np.zeros(x.shape[1])
        weights[chosen] = slope[chosen]
        out.append(weights)
    return np.array(out), x.mean(axis=0), y.mean()


def by_hand(x, y, folds, kind, r2="genotype"):
    """Coefficients and intercept: thresholds and slope from out-of-fold scores, weights from everybody."""
    square = cross = 0.0
    for fold in np.unique(folds):
        weights, centre, mean = candidates(x[folds != fold], y[folds != fold], kind, r2)
        scores = (x[folds == fold] - centre) @ weights.T
        cross = cross + scores.T @ (y[folds == fold] - mean)
        square = square + (scores**2).sum(axis=0)
    gain = np.where(cross > 0, cross**2 / np.where(square > 0, square, np.inf), 0)
    best = int(np.argmax(gain))
    weights, centre, mean = candidates(x, y, kind, r2)
    coef = (cross[best] / square[best] if gain[best] > 0 else 0.0) * weights[best]
    return coef, mean - centre @ coef


def make(kind, **options):
    return BaselinePRS(**options) if kind == "baseline" else ClumpThresholdPRS(positions=POS, **options)


@pytest.mark.parametrize("kind", ["baseline", "clump", "em"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_fit_is_its_definition(kind, seed):
    x, y = people(seed, effect=0.4 * seed)
    folds = np.random.default_rng(seed).integers(0, 4, len(y)) * 10
    options = {"r2": "em"} if kind == "em" else {}
    model = make(kind, **options).fit(x, y, folds)
    coef, intercept = by_hand(x.astype(float), y, folds, kind, options.get("r2", "genotype"))
    np.testing.assert_allclose(model.coef_, coef, atol=1e-9)
    assert model.intercept_ == pytest.approx(intercept, abs=1e-9)
    np.testing.assert_allclose(model.predict(x), x @ coef + intercept, atol=1e-8)


@pytest.mark.parametrize("kind", ["baseline", "clump"])
def test_out_of_fold_predictions_are_those_of_models_that_never_saw_the_fold(kind):
    x, y = people(3)
    folds = np.random.default_rng(1).integers(0, 4, len(y))
    both = make(kind)
    out = both.fit_oof(x, y, folds)
    for fold in range(4):
        inside = folds != fold
        alone = make(kind).fit(x[inside], y[inside], folds[inside])
        np.testing.assert_allclose(out[~inside], alone.predict(x[~inside]), atol=1e-9)
    np.testing.assert_allclose(both.coef_, make(kind).fit(x, y, folds).coef_, atol=1e-12)


@pytest.mark.parametrize("kind", ["baseline", "clump"])
def test_a_held_out_persons_phenotype_does_not_reach_their_prediction(kind):
    x, y = people(4)
    folds = np.arange(len(y)) % 5
    before = make(kind).fit_oof(x, y, folds)
    changed = np.where(folds == 2, 50 * np.random.default_rng(0).normal(size=len(y)), y)
    after = make(kind).fit_oof(x, changed, folds)
    np.testing.assert_allclose(after[folds == 2], before[folds == 2], atol=1e-9)
    assert np.abs(after[folds != 2] - before[folds != 2]).max() > 0.1


def test_noise_predicts_about_the_mean_and_a_planted_effect_more():
    r2 = {"noise": [], "effect": []}
    for seed in range(12):
        x, y = people(seed)
        rng = np.random.default_rng(seed)
        folds = rng.permutation(len(y)) % 5
        for name, target in (("noise", rng.permutation(y)), ("effect", y)):
            for kind in ("baseline", "clump"):
                out = make(kind).fit_oof(x, target, folds)
                r2[name].append(1 - ((target - out) ** 2).sum() / ((target - target.mean()) ** 2).sum())
    assert -0.12 < np.mean(r2["noise"]) < 0.02
    assert np.mean(r2["effect"]) > 0.1


def test_the_slope_is_from_people_who_did_not_make_the_score():
    """In the training people the plain sum fits with a slope far above the honest one."""
    x, y = people(5, effect=0.6)
    plain = BaselinePRS(calibrate=False).fit(x, y)
    in_sample = linregress(plain.predict(x), y).slope
    assert BaselinePRS().fit(x, y).slope_ < in_sample


@pytest.mark.parametrize("kind", ["baseline", "clump"])
def test_what_predicts_nothing_predicts_the_training_mean(kind):
    x, y = people(6)
    for columns, target in ((x, np.full(len(y), 3.5)), (np.ones_like(x), y), (x[:, :0], y)):
        model = BaselinePRS() if kind == "baseline" else ClumpThresholdPRS(positions=POS[: columns.shape[1]])
        model.fit(columns, target)
        np.testing.assert_allclose(model.predict(columns), target.mean(), atol=1e-9)
        assert model.slope_ == 0 and getattr(model, "p_threshold_", None) is None
        out = model.fit_oof(columns, target, np.arange(len(y)) % 3)
        for fold in range(3):
            held = np.arange(len(y)) % 3 == fold
            np.testing.assert_allclose(out[held], target[~held].mean(), atol=1e-9)


def test_a_slope_below_zero_is_none():
    """With two people a fold and a sign that flips between halves the out-of-fold score points the wrong way."""
    x = np.tile([0.0, 1.0, 2.0], 4)[:, None]
    y = np.where(np.arange(12) < 6, x[:, 0], -x[:, 0])
    model = BaselinePRS().fit(x, y, np.arange(12) // 6)
    assert model.slope_ == 0 and model.predict(x).tolist() == [y.mean()] * 12


@pytest.mark.parametrize("kind", ["baseline", "clump"])
def test_missing_dosages_are_the_training_mean(kind):
    x, y = people(7, missing=0.1)
    model = make(kind).fit(x, y)
    filled = np.where(np.isnan(x), np.nanmean(x, axis=0), x)
    np.testing.assert_allclose(model.predict(x), model.predict(filled), atol=1e-6)
    assert np.isfinite(model.predict(np.full((2, 60), np.nan))).all()


def test_dosages_between_hard_calls_come_close_to_them():
    x, y = people(8)
    soft = x + np.float32(1e-6) * (x == 1)
    a, b = make("clump").fit(x, y), make("clump").fit(soft, y)
    assert (a.p_threshold_, a.r2_threshold_) == (b.p_threshold_, b.r2_threshold_)
    np.testing.assert_allclose(a.predict(x), b.predict(soft), atol=1e-4)


def test_a_p_value_too_small_for_a_float_still_leads():
    x, y = people(9)
    strong = x[:, 20] * 1.0 + 1e-12 * y
    model = make("clump").fit(x, strong)
    assert np.corrcoef(model.predict(x), strong)[0, 1] > 0.999


# --- by sums ---------------------------------------------------------------------------------------------------------


def folds_of(x, y, folds, fill=None):
    """Sums of each fold."""
    made = [Moments.of(x[folds == k], y[folds == k]) for k in range(folds.max() + 1)]
    return made if fill is None else [one.filled(fill) for one in made]


def many(seed, n=1500, m=300, missing=0.0):
    """Dosages with LD between neighbours, copies, a constant and a rare variant; phenotypes and folds."""
    x, _ = people(seed, n, m, missing=missing)
    x[:, 51], x[:, 61], x[:, 72] = x[:, 41], x[:, 40], 1
    x[1:, 73], x[0, 73] = 0, 2
    rng = np.random.default_rng(seed + 100)
    y = 0.25 * (np.nan_to_num(x[:, 10]) - np.nan_to_num(x[:, 245])) + 0.1 * seed + rng.normal(size=n)
    return x, y, rng.permutation(n) % 5


def estimator(kind, m, **options):
    return BaselinePRS(**options) if kind == "baseline" else ClumpThresholdPRS(positions=np.arange(m) * 3000, **options)


@pytest.mark.parametrize("calibrate", [True, False])
@pytest.mark.parametrize("kind", ["baseline", "clump"])
@pytest.mark.parametrize("seed", [0, 1])
def test_sums_give_the_models_of_the_people(kind, seed, calibrate, monkeypatch):
    monkeypatch.setattr(ClumpThresholdPRS, "_sums_are_faster", lambda self, x: False)
    x, y, folds = many(seed)
    mine, theirs = (estimator(kind, 300, calibrate=calibrate) for _ in range(2))
    out = theirs.fit_oof(x, y, folds)
    parts = folds_of(x, y, folds)
    models = mine.fit_sums(total(parts), parts)
    assert len(models) == 5
    for k, model in enumerate(models):
        held = folds == k
        np.testing.assert_allclose(x[held] @ model.coef + model.intercept, out[held], atol=1e-9)
    np.testing.assert_allclose(mine.predict(x), theirs.predict(x), atol=1e-9)
    np.testing.assert_allclose([mine.slope_, mine.intercept_], [theirs.slope_, theirs.intercept_], atol=1e-9)
    np.testing.assert_allclose(mine.coef_, theirs.coef_, atol=1e-9)
    np.testing.assert_allclose(mine.mean_, theirs.mean_, atol=1e-12)
    for name in ("p_threshold_", "r2_threshold_", "n_features_in_"):
        assert getattr(mine, name, None) == getattr(theirs, name, None)
    assert mine.coef_.any() and (kind == "baseline" or mine.p_threshold_ < 1)
    assert mine.coef_[72] == 0


def with_sums_of(x, y, folds, kind):
    """`by_hand` for every fold left out and for nobody: coefficients and intercept, LD by numpy's correlations."""
    grid = [(p1, limit) for limit in (0.1, 0.2, 0.5, 0.8) for p1 in (1, 0.05, 0.01, 1e-3, 1e-5)]
    known = {}

    def scored(keep):
        key = keep.tobytes()
        if key not in known:
            marginal = marginal_association(x[keep], y[keep])
            weights = np.nan_to_num(marginal.slope)[None]
            if kind == "clump":
                with np.errstate(invalid="ignore"):
                    products = Products.of(np.corrcoef(x[keep].T))
                chosen = clump_grid(
                    products, marginal.pval, np.arange(x.shape[1]) * 3000,
                    p_thresholds=(1, 0.05, 0.01, 1e-3, 1e-5), r2_thresholds=(0.1, 0.2, 0.5, 0.8),
                )  # fmt: skip
                weights = weights * np.array([np.isin(np.arange(x.shape[1]), chosen[pair]) for pair in grid])
            known[key] = weights, x[keep].mean(axis=0), y[keep].mean()
        return known[key]

    out = []
    for left_out in (*range(5), None):
        cross = square = 0.0
        for fold in set(range(5)) - {left_out}:
            weights, centre, mean = scored((folds != fold) & (folds != left_out))
            scores = (x[folds == fold] - centre) @ weights.T
            cross = cross + scores.T @ (y[folds == fold] - mean)
            square = square + (scores**2).sum(axis=0)
        best = int(np.argmax(np.where(cross > 0, cross**2 / np.where(square > 0, square, np.inf), 0)))
        weights, centre, mean = scored(folds != left_out)
        coef = cross[best] / square[best] * weights[best]
        out.append((coef, mean - centre @ coef))
    return out


@pytest.mark.parametrize("kind", ["baseline", "clump"])
@pytest.mark.parametrize("seed", [0, 1])
def test_sums_of_people_with_missing_dosages_give_the_models_of_filled_ones(kind, seed):
    x, _ = people(seed, 3000, 100, missing=0.03)
    rng = np.random.default_rng(seed)
    y = 0.2 * (np.nan_to_num(x[:, 10]) - np.nan_to_num(x[:, 70])) + rng.normal(size=3000)
    folds = rng.permutation(3000) % 5
    means = Moments.of(x, y).mean
    parts = folds_of(x, y, folds, means)
    models = estimator(kind, 100).fit_sums(total(parts), parts)
    own = estimator(kind, 100)
    own.fit_sums(total(parts), parts)
    filled = np.where(np.isnan(x), means, x)
    expected = with_sums_of(filled, y, folds, kind)
    for found, (coef, intercept) in zip([*models, (own.coef_, own.intercept_)], expected):
        np.testing.assert_allclose(found[0], coef, atol=1e-9)
        assert found[1] == pytest.approx(intercept, abs=1e-9)
    np.testing.assert_allclose(own.predict(x), own.predict(filled), atol=1e-9)


@pytest.mark.parametrize("kind", ["baseline", "clump"])
@pytest.mark.parametrize("seed", [2, 3])
def test_flipped_alleles_negate_weights_and_the_order_of_folds_is_nobodys(kind, seed):
    x, y, folds = many(seed, n=600, m=260)
    parts = folds_of(x, y, folds)
    first = estimator(kind, x.shape[1])
    models = first.fit_sums(total(parts), parts)
    rng = np.random.default_rng(seed)
    flip, order = rng.random(x.shape[1]) < 0.5, rng.permutation(5)
    turned = [parts[k].flipped(flip) for k in order]
    again = estimator(kind, x.shape[1])
    others = again.fit_sums(total(turned), turned)
    sign = np.where(flip, -1.0, 1.0)
    for k, other in zip(order, others):
        np.testing.assert_allclose(other.coef, sign * models[k].coef, atol=1e-9)
        assert other.intercept == pytest.approx(models[k].intercept + 2 * models[k].coef[flip].sum(), abs=1e-9)
    np.testing.assert_allclose(again.coef_, sign * first.coef_, atol=1e-9)
    np.testing.assert_allclose(again.predict(np.where(flip, 2 - x, x)), first.predict(x), atol=1e-9)
    assert first.coef_.any()


@pytest.mark.parametrize("seed", range(4))
def test_of_copies_the_first_leads_whichever_allele_they_count(seed):
    """Rounding of the sums makes one of them stronger; which one is no matter of chance."""
    x, y, folds = many(seed)
    y = y + x[:, 20]
    x[:, 21], x[:, 22] = 2 - x[:, 20], x[:, 20]
    parts = folds_of(x, y, folds)
    model = estimator("clump", 300)
    for one in (*model.fit_sums(total(parts), parts), model):
        coef = one.coef_ if one is model else one.coef
        assert coef[20] > 0.5 and coef[21] == coef[22] == 0


@pytest.mark.parametrize("kind", ["baseline", "clump"])
def test_sums_of_nothing_to_learn_give_the_mean(kind):
    x, y, folds = many(0, n=200, m=260)
    for columns, target in ((x, np.full(len(y), 3.7)), (np.ones_like(x), y), (x[:, :0], y)):
        parts = folds_of(columns, target, folds)
        model = estimator(kind, columns.shape[1])
        models = model.fit_sums(total(parts), parts)
        assert model.slope_ == 0 and not model.coef_.any() and model.intercept_ == pytest.approx(target.mean())
        for k, one in enumerate(models):
            assert not one.coef.any() and one.intercept == pytest.approx(target[folds != k].mean())


def test_many_people_go_by_their_sums_where_that_gives_the_same(monkeypatch):
    asked = []
    by_sums = ClumpThresholdPRS.fit_sums
    monkeypatch.setattr(ClumpThresholdPRS, "fit_sums", lambda self, *some: asked.append(1) or by_sums(self, *some))
    x, y, folds = many(1, n=1200, m=260)
    model = estimator("clump", 260)
    out = model.fit_oof(x, y, folds * 10 - 7)
    assert asked == [1]
    holed = x.copy()
    holed[0, 0] = np.nan
    for other, some in ((holed, {}), (x[:900], {}), (x, {"r2": "em"})):
        estimator("clump", 260, **some).fit_oof(other, y[: len(other)], folds[: len(other)])
    assert asked == [1]
    monkeypatch.setattr(ClumpThresholdPRS, "_sums_are_faster", lambda self, x: False)
    people_route = estimator("clump", 260)
    np.testing.assert_allclose(out, people_route.fit_oof(x, y, folds), atol=1e-9)
    np.testing.assert_allclose(model.predict(x), people_route.predict(x), atol=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, y, f: BaselinePRS().fit_sums(Moments.of(x, y)), "0 inner folds; .* at least 3"),
        (lambda x, y, f: BaselinePRS().fit_sums(Moments.of(x, y), folds_of(x, y, f)[:2]), "2 inner folds"),
        (lambda x, y, f: BaselinePRS().fit_sums(Moments.of(x, y), folds_of(x, y, f)[:3]), "do not add up"),
        (
            lambda x, y, f: ClumpThresholdPRS(positions=POS, r2="em").fit_sums(Moments.of(x, y), folds_of(x, y, f)),
            "'em' needs hard calls of people",
        ),
        (lambda x, y, f: ClumpThresholdPRS().fit_sums(Moments.of(x, y), folds_of(x, y, f)), "give the positions"),
        (
            lambda x, y, f: ClumpThresholdPRS(positions=POS[1:]).fit_sums(Moments.of(x, y), folds_of(x, y, f)),
            r"positions have shape \(59,\), the sums \(60,\)",
        ),
    ],
)
def test_sums_that_do_not_do_are_named(make, message):
    x, y = people()
    with pytest.raises(GenopredError, match=message):
        make(x, y, np.arange(len(y)) % 5)


@pytest.mark.parametrize("kind", ["baseline", "clump"])
def test_scikit_learns_conventions(kind):
    x, y = people(10)
    model = make(kind, cv=4, random_state=7)
    copy = clone(model)
    assert copy is not model and copy.get_params()["cv"] == 4
    first = copy.fit(x, y).coef_
    np.testing.assert_array_equal(first, clone(model).fit(x, y).coef_)
    assert copy.score(x, y) > 0
    assert copy.n_features_in_ == 60
    assert copy.set_params(cv=3).fit(x, y).coef_.shape == (60,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: ClumpThresholdPRS().fit(x, y), "give the positions"),
        (lambda x, y: ClumpThresholdPRS(positions=POS[:3]).fit(x, y), "one per column"),
        (lambda x, y: ClumpThresholdPRS(positions=POS[::-1]).fit(x, y), "must not decrease"),
        (lambda x, y: ClumpThresholdPRS(positions=POS, r2="d").fit(x, y), "choose one of"),
        (lambda x, y: ClumpThresholdPRS(positions=POS, p_thresholds=()).fit(x, y), "at least one"),
        (lambda x, y: ClumpThresholdPRS(positions=POS, r2="em").fit(x * 0.9, y), "hard calls"),
        (lambda x, y: BaselinePRS(cv=1).fit(x, y), "cv is 1 for 120 people"),
        (lambda x, y: BaselinePRS(cv=5).fit(x[:4], y[:4]), "cv is 5 for 4 people"),
        (lambda x, y: BaselinePRS().fit(x, y[:5]), "do not fit"),
        (lambda x, y: BaselinePRS().fit(x, y * np.nan), "y has 120 NaN"),
        (lambda x, y: BaselinePRS().fit(x, y, np.zeros(120)), "one label"),
        (lambda x, y: BaselinePRS().fit_oof(x, y, np.arange(120) % 2), "at least 3"),
        (lambda x, y: BaselinePRS().fit(x, y).predict(x[:, :5]), "60 columns are needed"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(GenopredError, match=message):
        call(*people())
