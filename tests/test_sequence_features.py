"""genopred.sequence.features."""

import inspect
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from genopred.errors import GenopredError, ModelError
from genopred.sequence.cost import backward_passes
from genopred.sequence.features import (
    AGREEMENT,
    FeatureSettings,
    agreement_with_exact,
    central_bins,
    content_key,
    features_for_gene,
    features_from_sequences,
    gene_sequences,
    predict_tracks,
    self_check,
)
from genopred.sequence.models.base import SequenceModel
from genopred.sequence.onehot import encode, onehot
from genopred.types import Genotypes

LENGTH = 400
RNG = np.random.default_rng(7)
SEQUENCE = "".join(RNG.choice(list("ACGT"), LENGTH))
SITES = np.sort(RNG.choice(np.arange(60, 340), 25, replace=False))
ALLELES = (RNG.random((12, 2, 25)) < 0.2).astype(np.int8)


class Toy(SequenceModel):
    """Position-specific, not linear, 4 bins of 8 bp in a window of 64."""

    name = "toy"
    window, tss_offset, strand_aware, bin_size, n_bins = 64, 32, False, 8, 4
    tracks = ("a", "b", "c")
    checkpoint_hash = "toy-1"
    origin = {"by": "tests"}

    def __init__(self, strand_aware=False):
        self.strand_aware = strand_aware
        self.kernel = np.random.default_rng(0).normal(size=(64 * 4, 12)).astype(np.float32) * 0.3
        self.seen = 0

    def predict_onehot(self, onehot):
        self.seen += len(onehot)
        return np.exp(np.tanh(onehot.reshape(len(onehot), -1) @ self.kernel)).reshape(-1, 4, 3)


class LinearToy(Toy):
    """Also has a linear mode: off by a factor that a correlation does not see and a slope does."""

    def predict_haplotypes(self, window, *, mode="exact", **rest):
        exact = super().predict_haplotypes(window, **rest)
        if mode == "exact":
            return exact
        base = super().predict_haplotypes(replace(window, alleles=window.alleles[:1] * 0), **rest)
        return base + (exact - base) / 2


class Text:
    def fetch(self, interval):
        assert 0 <= interval.start and interval.end <= LENGTH
        return SEQUENCE[interval.start : interval.end]


def genotypes(phased=True):
    table = pl.DataFrame(
        {
            "chrom": "1",
            "pos": SITES + 1,
            "id": [f"v{i}" for i in SITES],
            "ref": [SEQUENCE[i] for i in SITES],
            "alt": ["CGTA"["ACGT".index(SEQUENCE[i])] for i in SITES],
        }
    )
    reader = SimpleNamespace(alleles=lambda rows, columns: ALLELES[rows][:, :, columns])
    return Genotypes(np.array([f"P{i}" for i in range(12)]), table, reader, "toy.vcf", phased=phased)


def sequences(model=None, tss=200, strand="+", phased=True, **options):
    return gene_sequences(model or Toy(), genotypes(phased), Text(), "1", tss, strand, **options)


def by_hand(person, hap, tss=200):
    """One haplotype's window and its naive prediction."""
    bases = list(SEQUENCE)
    for site, allele in zip(SITES, ALLELES[person, hap]):
        if allele:
            bases[site] = "CGTA"["ACGT".index(SEQUENCE[site])]
    window = "".join(bases)[tss - 1 - 32 : tss - 1 + 32]
    return Toy().predict_onehot(onehot(encode(window))[None])[0]


def test_features_equal_one_naive_pass_a_haplotype():
    found = features_for_gene(Toy(), genotypes(), Text(), chrom="1", tss=200, tracks=["c", "a"], bins=3)
    assert found.names == ("a", "c") and found.values.dtype == np.float32
    naive = np.array([[by_hand(p, h)[1:4][:, [0, 2]].mean(axis=0) for h in range(2)] for p in range(12)])
    np.testing.assert_allclose(found.values, naive.mean(axis=1), rtol=1e-5)
    assert np.ptp(found.values, axis=0).min() > 1e-3
    reference = Toy().predict_onehot(onehot(encode(SEQUENCE[167:231]))[None])[0]
    np.testing.assert_allclose(found.origin["reference"], reference[1:4][:, [0, 2]].mean(axis=0), rtol=1e-5)


def test_aggregates_log_and_haplotypes():
    options = {"chrom": "1", "tss": 200, "bins": 2}
    mean = features_for_gene(Toy(), genotypes(), Text(), **options)
    total = features_for_gene(Toy(), genotypes(), Text(), aggregate="sum", **options)
    none = features_for_gene(Toy(), genotypes(), Text(), aggregate="none", **options)
    log = features_for_gene(Toy(), genotypes(), Text(), log1p=True, **options)
    apart = features_for_gene(Toy(), genotypes(), Text(), per_haplotype=True, **options)
    np.testing.assert_allclose(total.values, 2 * mean.values, rtol=1e-6)
    assert none.names == tuple(f"{t} | bin {b}" for t in "abc" for b in (1, 2))
    np.testing.assert_allclose(none.values.reshape(12, 3, 2).mean(axis=2), mean.values, rtol=1e-6)
    np.testing.assert_allclose(log.values, np.log1p(mean.values), rtol=1e-6)
    np.testing.assert_allclose(log.origin["reference"], np.log1p(mean.origin["reference"]), rtol=1e-6)
    assert apart.names[0] == "a | haplotype 1" and apart.names[3] == "a | haplotype 2"
    np.testing.assert_allclose(apart.values.reshape(12, 2, 3).mean(axis=1), mean.values, rtol=1e-6)
    np.testing.assert_allclose(apart.values[:, 3], [by_hand(p, 1)[1:3, 0].mean() for p in range(12)], rtol=1e-5)


def test_each_distinct_window_runs_once_and_the_reference_with_them():
    model = Toy()
    found = features_from_sequences(model, sequences(model), FeatureSettings.of(model))
    distinct = {tuple(row) for row in sequences().alleles.tolist()}
    assert model.seen == len(distinct | {(0,) * sequences().alleles.shape[1]})
    assert found.origin["distinct"] == len(distinct)


def test_reverse_genes_only_for_strand_aware_models():
    forward = sequences(strand="-")
    assert not forward.reverse and forward.tss_offset == 32
    aware = Toy(strand_aware=True)
    back = sequences(aware, strand="-")
    assert back.reverse and back.tss_offset == 32
    complement = str.maketrans("ACGT", "TGCA")
    # 32 bases behind the TSS on the genome, 31 before
    assert back.take([0]).with_reference().strings()[-1] == SEQUENCE[168:232].translate(complement)[::-1]


def test_both_strands_is_the_mean_of_forward_and_flipped():
    model = Toy()
    people = sequences(model)
    both = predict_tracks(model, people, bins=[0, 1], strands="both")
    windows = people.onehot()
    forward = model.predict_onehot(windows)
    backward = model.predict_onehot(np.ascontiguousarray(windows[:, ::-1, ::-1]))[:, ::-1]
    np.testing.assert_allclose(both, ((forward + backward) / 2)[:, :2], rtol=1e-5)
    model.reverse_tracks = (1, 0, 2)
    swapped = predict_tracks(model, people, bins=[0, 1], strands="both")
    np.testing.assert_allclose(swapped, ((forward + backward[:, :, [1, 0, 2]]) / 2)[:, :2], rtol=1e-5)
    settings = FeatureSettings.of(model, strands="both", bins=1)
    raw = predict_tracks(model, people, bins=settings.bins, strands="both")
    assert self_check(model, people, settings, raw)["error"] < 1e-5
    with pytest.raises(ModelError, match="--strands both"):
        FeatureSettings.of(Toy(strand_aware=True), strands="both")


def test_reference_mode_is_one_prediction_for_all():
    model = Toy()
    found = features_from_sequences(model, sequences(model), FeatureSettings.of(model, mode="reference"))
    assert model.seen == 1 and np.ptp(found.values, axis=0).max() == 0
    np.testing.assert_allclose(found.values[0], found.origin["reference"], rtol=1e-6)


def test_soft_equals_the_mean_for_a_linear_model():
    """On a model that is linear in its input, forgetting the phase costs nothing; on the toy it costs something."""

    class Linear(Toy):
        def predict_onehot(self, onehot):
            return (onehot.reshape(len(onehot), -1) @ self.kernel).reshape(-1, 4, 3)

    for model, same in ((Linear(), True), (Toy(), False)):
        soft = features_for_gene(model, genotypes(False), Text(), chrom="1", tss=200)
        phased = features_for_gene(model, genotypes(), Text(), chrom="1", tss=200)
        assert np.allclose(soft.values, phased.values, rtol=1e-4, atol=1e-5) == same


def test_indels_run_whole_sequences():
    model = Toy()
    plain = predict_tracks(model, sequences(model))
    applied = predict_tracks(model, sequences(model, indels="apply"))
    np.testing.assert_allclose(applied, plain, rtol=1e-5)


def test_bins_around_the_tss():
    assert central_bins(Toy(), "all").tolist() == [0, 1, 2, 3]
    assert central_bins(Toy(), 1).tolist() == [2] and central_bins(Toy(), "2").tolist() == [1, 2]
    for wrong in (0, 5, "many"):
        with pytest.raises(GenopredError, match=f"--bins {wrong}"):
            central_bins(Toy(), wrong)


@pytest.mark.parametrize(
    "settings", [{"mode": "fast"}, {"dtype": "fp8"}, {"aggregate": "max"}, {"strands": "three"}, {"tracks": "zzz"}]
)
def test_settings_that_do_not_exist(settings):
    with pytest.raises(GenopredError, match=f"--{next(iter(settings))}"):
        FeatureSettings.of(Toy(), **settings)


def test_log1p_where_it_makes_no_sense():
    model = Toy()
    model.log_scale = True
    with pytest.raises(ModelError, match="log scale already"):
        FeatureSettings.of(model, log1p=True)
    model = Toy()
    model.predict_onehot = lambda onehot: np.full((len(onehot), 4, 3), -2.0, dtype=np.float32)
    with pytest.raises(ModelError, match="values down to -2"):
        features_from_sequences(model, sequences(model), FeatureSettings.of(model, log1p=True))


def test_out_of_memory_halves_the_batch_and_then_says_so(caplog):
    class Greedy(Toy):
        limit = 3

        def predict_onehot(self, onehot):
            if len(onehot) > self.limit:
                raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
            return super().predict_onehot(onehot)

    people = sequences()
    np.testing.assert_array_equal(predict_tracks(Greedy(), people), predict_tracks(Toy(), people, batch_size=2))
    assert [record.args[1:] for record in caplog.records] == [(32, 16), (16, 8), (8, 4), (4, 2)]
    greedy = Greedy()
    greedy.limit = 0
    with pytest.raises(ModelError, match="out of memory with one window at a time"):
        predict_tracks(greedy, people)
    other = Greedy()
    other.predict_onehot = lambda onehot: (_ for _ in ()).throw(RuntimeError("mat1 and mat2 shapes"))
    with pytest.raises(RuntimeError, match="mat1"):
        predict_tracks(other, people)


def test_predictions_that_are_not_finite_or_of_another_shape_are_refused():
    model = Toy()
    model.predict_onehot = lambda onehot: np.full((len(onehot), 4, 3), np.nan, dtype=np.float32)
    with pytest.raises(ModelError, match="not finite"):
        predict_tracks(model, sequences())
    model = Toy()
    model.predict_haplotypes = lambda *args, **rest: np.zeros((1, 1, 1), dtype=np.float32)
    with pytest.raises(ModelError, match=r"shape \(1, 1, 1\); needed"):
        predict_tracks(model, sequences())
    model = Toy()
    model.window = 100
    with pytest.raises(ModelError, match="reads 100 bp"):
        predict_tracks(model, sequences())


def test_self_check_catches_a_shared_computation_that_is_off():
    class Wrong(Toy):
        def predict_haplotypes(self, window, **options):
            return super().predict_haplotypes(replace(window, sites=np.maximum(window.sites - 1, 0)), **options)

    good = features_from_sequences(Toy(), sequences(), FeatureSettings.of(Toy()), check=2)
    assert good.origin["self_check"]["haplotypes"] == 2 and good.origin["self_check"]["error"] < 1e-5
    with pytest.raises(ModelError, match="--self-check: 2 haplotypes.*differ from plain passes"):
        features_from_sequences(Wrong(), sequences(), FeatureSettings.of(Wrong()), check=2)
    model = Toy()
    raw = predict_tracks(model, sequences(), bins=[1, 2, 3])
    model.predict_onehot = lambda onehot: (_ for _ in ()).throw(RuntimeError("CUDA out of memory"))
    with pytest.raises(ModelError, match="out of memory with one window"):
        self_check(model, sequences(), FeatureSettings.of(model), raw)


def test_linear_agreement_is_a_correlation_over_haplotypes():
    model = LinearToy()
    settings = FeatureSettings.of(model, mode="linear")
    found = agreement_with_exact(model, sequences(), settings, n=10)
    assert found["haplotypes"] == 10
    assert found["median_r"] == pytest.approx(1, abs=1e-5) and found["median_slope"] == pytest.approx(2, abs=1e-3)
    features = features_from_sequences(model, sequences(), settings, agreement=10)
    kept = {name: found[name] for name in AGREEMENT["linear_agreement"]}
    assert features.origin["linear_agreement"] == pytest.approx(kept, rel=1e-5)
    exact = features_from_sequences(model, sequences(), FeatureSettings.of(model), agreement=10)
    assert "linear_agreement" not in exact.origin
    with pytest.raises(ModelError, match="--mode linear"):
        features_from_sequences(Toy(), sequences(), FeatureSettings.of(Toy(), mode="linear"))


class Rounding(Toy):
    """Lower precision: every value to two digits."""

    def predict_haplotypes(self, *args, dtype="fp32", **rest):
        out = super().predict_haplotypes(*args, **rest)
        return out if dtype == "fp32" else np.round(out, 1)


def test_a_lower_precision_is_held_against_fp32():
    model, people = Rounding(), sequences()
    settings = FeatureSettings.of(model, dtype="bf16", bins=1)
    found = features_from_sequences(model, people, settings, agreement=12).origin["precision"]
    again = agreement_with_exact(model, people, settings, n=12)
    assert found == pytest.approx({name: again[name] for name in AGREEMENT["precision"]}, rel=1e-6)
    first = people.distinct[0]
    fine = predict_tracks(model, people, bins=settings.bins)[first, 0]
    assert len(first) <= 24 and found["haplotypes"] == 12
    assert 1e-3 < found["error"] <= 0.05 / fine.max() * 1.5
    assert 0.5 < found["lowest_r"] <= found["median_r"] < 0.99999
    full = features_from_sequences(model, people, FeatureSettings.of(model), agreement=12)
    assert "precision" not in full.origin
    few = agreement_with_exact(model, people.take([0, 1]), settings, n=8)
    assert np.isnan(few["median_r"]) and few["haplotypes"] <= 2


class Aggregating(LinearToy):
    """Aggregates by itself, and keeps what it was asked for."""

    aggregates = True

    def __init__(self):
        super().__init__()
        self.asked = []

    def predict_haplotypes(self, *args, aggregate="none", **rest):
        self.asked.append((rest.get("mode"), aggregate))
        out = super().predict_haplotypes(*args, **rest)
        return out if aggregate == "none" else getattr(out, aggregate)(axis=1, keepdims=True)


@pytest.mark.parametrize("how", ["mean", "sum", "none"])
def test_only_linear_mode_hands_the_aggregate_to_the_model(how):
    model, people = Aggregating(), sequences()
    settings = FeatureSettings.of(model, mode="linear", aggregate=how)
    found = features_from_sequences(model, people, settings, agreement=10)
    assert model.asked == [("linear", how), ("exact", "none")]
    assert backward_passes(model, settings) == (9 if how == "none" else 3)
    assert backward_passes(Toy(), settings) == 9
    # a model that cannot aggregate gives the same numbers
    plain = features_from_sequences(LinearToy(), people, settings, agreement=10)
    np.testing.assert_allclose(found.values, plain.values, rtol=1e-6)
    assert found.origin["linear_agreement"] == pytest.approx(plain.origin["linear_agreement"], rel=1e-4)
    model.asked.clear()
    exact = features_from_sequences(model, people, FeatureSettings.of(model, aggregate=how), check=2)
    assert model.asked == [("exact", "none")]
    same = features_from_sequences(Toy(), people, FeatureSettings.of(Toy(), aggregate=how))
    np.testing.assert_array_equal(exact.values, same.values)


@pytest.mark.parametrize("options", [{}, {"mode": "linear"}, {"mode": "reference"}, {"strands": "both"}])
def test_aggregated_predictions_are_those_of_the_bins(options):
    people = sequences()
    bins = predict_tracks(Aggregating(), people, bins=[0, 2, 3], **options)
    for how in ("mean", "sum"):
        one = predict_tracks(Aggregating(), people, bins=[0, 2, 3], aggregate=how, **options)
        assert one.shape == (24, 1, 3)
        np.testing.assert_allclose(one, getattr(bins, how)(axis=1, keepdims=True), rtol=1e-6)


def test_the_content_key_knows_what_matters():
    model = Toy()
    people = sequences()
    base = content_key(model, people, FeatureSettings.of(model))
    assert base == content_key(Toy(), sequences(), FeatureSettings.of(model))
    others = [
        content_key(model, people, FeatureSettings.of(model, bins=1)),
        content_key(model, people, FeatureSettings.of(model, tracks="a")),
        content_key(model, people, FeatureSettings.of(model, log1p=True)),
        content_key(model, people, FeatureSettings.of(model, seed=3)),
        content_key(model, sequences(tss=201), FeatureSettings.of(model)),
        content_key(model, sequences(phased=False), FeatureSettings.of(model)),
        content_key(model, people.take(np.arange(24)), FeatureSettings.of(model)),
    ]
    model.checkpoint_hash = "toy-2"
    others.append(content_key(model, people, FeatureSettings.of(model)))
    assert len({base, *others}) == len(others) + 1


def test_per_haplotype_needs_two_haplotypes():
    with pytest.raises(GenopredError, match="--per-haplotype needs two sequences"):
        features_for_gene(Toy(), genotypes(False), Text(), chrom="1", tss=200, per_haplotype=True)


def test_settings_are_documented():
    text = inspect.getdoc(FeatureSettings)
    assert all(f"{name} : " in text for name in FeatureSettings.__dataclass_fields__)


def stranded(tmp_path, window=8192, target=56):
    """A strand-aware Enformer of the shipped model's shape, with other weights."""
    pytest.importorskip("torch")
    from test_sequence_models_enformer_checkpoint import write_small

    from genopred.sequence.models.registry import load_model

    return load_model(str(write_small(tmp_path / "small.safetensors", window=window, target=target)))


class Street:
    """A chromosome of 12,000 bases with 40 SNVs, three people, and what they are in letters."""

    def __init__(self):
        rng = np.random.default_rng(5)
        self.text = "".join(rng.choice(list("ACGT"), 12_000))
        self.sites = np.sort(rng.choice(np.arange(1000, 11_000), 40, replace=False))
        self.alleles = (rng.random((3, 2, 40)) < 0.4).astype(np.int8)
        table = {
            "chrom": "1",
            "pos": self.sites + 1,
            "id": [f"v{i}" for i in self.sites],
            "ref": [self.text[i] for i in self.sites],
            "alt": [self.other(i) for i in self.sites],
        }
        self.table = pl.DataFrame(table)
        reader = SimpleNamespace(alleles=lambda rows, columns: self.alleles[rows][:, :, columns])
        self.genotypes = Genotypes(np.array(["P0", "P1", "P2"]), self.table, reader, "street.vcf", phased=True)

    def other(self, site):
        return "CGTA"["ACGT".index(self.text[site])]

    def fetch(self, interval):
        return self.text[interval.start : interval.end]

    def letters(self, person, hap, tss, strand, length):
        """One haplotype's window in the gene's direction; its base `length // 2` is the TSS."""
        bases = list(self.text)
        for k, site in enumerate(self.sites):
            if self.alleles[person, hap, k]:
                bases[site] = self.other(site)
        return turned("".join(bases), tss, strand, length)


def turned(text, tss, strand, length):
    half = length // 2
    if strand == "+":
        return text[tss - 1 - half : tss - 1 + half]
    return text[tss - half : tss + half][::-1].translate(str.maketrans("ACGT", "TGCA"))


@pytest.mark.parametrize("strand", ["+", "-"])
@pytest.mark.parametrize("strands", ["model", "both"])
def test_a_strand_aware_enformer_reads_a_gene_in_its_own_direction(tmp_path, strand, strands):
    model, street, tss = stranded(tmp_path), Street(), 6002
    window = model.window
    assert (window, model.tss_offset, model.n_bins) == (8192, 4096, 56)
    people = gene_sequences(model, street.genotypes, street, "1", tss, strand)
    assert people.strings() == [street.letters(p, h, tss, strand, window) for p in range(3) for h in range(2)]
    base = street.text[tss - 1]
    assert people.with_reference().strings()[-1][4096] == (base if strand == "+" else base.translate(COMPLEMENT))
    settings = FeatureSettings.of(model, bins=3, aggregate="none", strands=strands)
    # the first 4 tokens are cropped, and base 4,096 is in token 32
    assert settings.bins == (27, 28, 29) and (28 + 4) * 128 <= 4096 < (29 + 4) * 128
    found = features_from_sequences(model, people, settings, check=2)
    want = np.zeros((3, 3, 5))
    for p in range(3):
        for h in range(2):
            letters = street.letters(p, h, tss, strand, window)
            own = model.predict_onehot(onehot(encode(letters))[None])[0]
            if strands == "both":
                back = letters[::-1].translate(COMPLEMENT)
                # the other strand's bins run the other way, and its + tracks are this strand's -
                other = model.predict_onehot(onehot(encode(back))[None])[0][::-1][:, [0, 2, 1, 4, 3]]
                own = (own + other) / 2
            want[p] += own[27:30] / 2
    np.testing.assert_allclose(found.values.reshape(3, 5, 3), want.transpose(0, 2, 1), rtol=2e-5)
    assert np.ptp(found.values, axis=0).max() > 1e-4
    assert found.names[0] == "ATAC:a | bin 27" and found.origin["self_check"]["error"] < 1e-5


COMPLEMENT = str.maketrans("ACGT", "TGCA")


def test_the_other_strand_of_a_gene_swaps_the_tracks_of_both(tmp_path):
    """A gene on + and one on - at mirrored places of mirrored chromosomes have the same features."""
    model, street = stranded(tmp_path, window=2048, target=8), Street()
    mirrored = Street()
    mirrored.text = street.text[::-1].translate(COMPLEMENT)
    plus = gene_sequences(model, street.genotypes, street, "1", 6002, "+").with_reference().take([6])
    minus = gene_sequences(model, mirrored.genotypes, mirrored, "1", 12_001 - 6002, "-", max_mismatch=1.0)
    minus = minus.with_reference().take([6])
    assert plus.strings() == minus.strings()
    np.testing.assert_array_equal(predict_tracks(model, plus), predict_tracks(model, minus))
