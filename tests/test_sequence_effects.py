"""genopred.sequence.effects against one pass with each allele, from characters."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.errors import AlignmentError, GenopredError, ModelError
from genopred.sequence.effects import (
    EFFECT_SCHEMA,
    INDEL,
    OTHER,
    OUTSIDE,
    REFERENCE_N,
    SAME,
    SYMBOLIC,
    EffectSettings,
    snp_centres,
    snp_effects,
    snp_window,
    track_groups,
    window_effects,
)
from genopred.sequence.models.base import SequenceModel
from genopred.sequence.onehot import encode, onehot
from genopred.types import VARIANT_SCHEMA, Interval

LENGTH = 300
RNG = np.random.default_rng(5)
SEQUENCE = "".join(RNG.choice(list("ACGT"), LENGTH))
TSS = 150


class Toy(SequenceModel):
    """64 bp, not linear, every place and channel differently; 4 bins, 3 tracks."""

    name = "toy"
    window, tss_offset, bin_size, n_bins = 64, 30, 8, 4
    tracks = ("DNASE:x", "CAGE:y", "CAGE:z")
    checkpoint_hash = "toy-1"
    origin = {"by": "tests"}

    def __init__(self, strand_aware=False):
        self.strand_aware = strand_aware
        self.kernel = np.random.default_rng(0).normal(size=(64 * 4, 12)).astype(np.float32) * 0.3

    def predict_onehot(self, onehot):
        return np.exp(np.tanh(onehot.reshape(len(onehot), -1) @ self.kernel)).reshape(-1, 4, 3)


class Text:
    """A FASTA of one chromosome, N over its ends."""

    def __init__(self, sequence=SEQUENCE):
        self.sequence = sequence

    def fetch(self, interval):
        padded = "N" * 1000 + self.sequence + "N" * 1000
        return padded[1000 + interval.start : 1000 + interval.end]


def table(positions, alts=None, swap=()):
    rows = []
    for k, pos in enumerate(positions):
        ref = SEQUENCE[pos - 1]
        alt = "CGTA"["ACGT".index(ref)] if alts is None else alts[k]
        if k in swap:
            ref, alt = alt, ref
        rows.append(("1", int(pos), f"v{pos}", ref, alt))
    return pl.DataFrame(rows, schema=VARIANT_SCHEMA, orient="row")


def turn(sequence):
    return sequence[::-1].translate(str.maketrans("ACGTN", "TGCAN"))


def by_hand(model, row, centre, strand="+", both=False):
    """Predictions (bins, tracks) with ALT and with REF, each from its own string of letters."""
    minus = model.strand_aware and strand == "-"
    start = centre - 1 - (model.window - 1 - model.tss_offset if minus else model.tss_offset)
    out = []
    for allele in (row["alt"], row["ref"]):
        changed = SEQUENCE[: row["pos"] - 1] + allele + SEQUENCE[row["pos"] - 1 + len(row["ref"]) :]
        window = ("N" * 100 + changed + "N" * 100)[100 + start : 100 + start + model.window]
        value = model.predict_onehot(onehot(encode(turn(window) if minus else window))[None])[0].astype(float)
        if both:
            value = (value + model.predict_onehot(onehot(encode(turn(window)))[None])[0][::-1].astype(float)) / 2
        out.append(value)
    return out


@pytest.mark.parametrize("strand, aware", [("+", False), ("-", False), ("-", True)])
@pytest.mark.parametrize("aggregate", ["sum", "mean"])
@pytest.mark.parametrize("over", ["mean", "sum", "each"])
def test_effect_is_a_pass_with_alt_minus_a_pass_with_ref(strand, aware, aggregate, over):
    model, snps = Toy(aware), table([125, 131, 150, 166], swap=(2,))
    found = snp_effects(
        model,
        snps,
        Text(),
        gene="G",
        tss=TSS,
        strand=strand,
        tracks=["all", "CAGE"],
        aggregate=aggregate,
        over_tracks=over,
        allow_swapped=True,
    )
    assert dict(found.schema) == {name: kind() for name, kind in EFFECT_SCHEMA.items()}
    bins, groups = (np.sum if aggregate == "sum" else np.mean), {"all": [0, 1, 2], "CAGE": [1, 2]}
    if over == "each":
        groups = {name: [i] for i, name in enumerate(model.tracks)}
    tracks = np.sum if over == "sum" else np.mean
    assert found["track_group"].to_list() == list(groups) * 4
    for row in found.iter_rows(named=True):
        alt, ref = (value[:, groups[row["track_group"]]] for value in by_hand(model, row, TSS, strand))
        assert row["effect"] == pytest.approx(tracks(bins(alt - ref, axis=0)), abs=2e-6)
        assert row["abs_effect"] == pytest.approx(tracks(bins(np.abs(alt - ref), axis=0)), abs=2e-6)
        assert row["reference"] == pytest.approx(tracks(bins(ref, axis=0)), rel=1e-5)
        a, r = bins(alt, axis=0), bins(ref, axis=0)
        fold = np.log2((a + 1) / (r + 1)).mean() if over != "sum" else np.log2((a.sum() + 1) / (r.sum() + 1))
        assert row["log_fc"] == pytest.approx(fold, abs=2e-6)
        assert row["tss_distance"] == (row["pos"] - TSS) * (-1 if strand == "-" else 1)
    assert (found["effect"].abs() > 1e-3).any() and (found["abs_effect"] >= found["effect"].abs() - 1e-9).all()


def test_both_strands_are_averaged():
    model = Toy()
    found = snp_effects(model, table([140, 155]), Text(), tss=TSS, strands="both", over_tracks="each")
    for row in found.iter_rows(named=True):
        alt, ref = (value[:, model.tracks.index(row["track_group"])] for value in by_hand(model, row, TSS, both=True))
        assert row["effect"] == pytest.approx((alt - ref).sum(), abs=2e-6)
    one = snp_effects(model, table([140, 155]), Text(), tss=TSS, over_tracks="each")
    assert not np.allclose(one["effect"], found["effect"], atol=1e-3)


def test_both_strands_swap_the_tracks_of_a_strand():
    model = Toy()
    model.reverse_tracks = (0, 2, 1)
    found = snp_effects(model, table([140]), Text(), tss=TSS, strands="both", tracks="CAGE:y", bins=1)
    row = found.row(0, named=True)
    snp = {"pos": 140, "ref": row["ref"], "alt": row["alt"]}
    forward = [value[1, 1] for value in by_hand(model, snp, TSS)]
    start = TSS - 1 - 30
    backward = []
    for allele in (snp["alt"], snp["ref"]):
        changed = SEQUENCE[:139] + allele + SEQUENCE[140:]
        backward.append(model.predict_onehot(onehot(encode(turn(changed[start : start + 64])))[None])[0][2, 2])
    assert row["effect"] == pytest.approx((forward[0] - forward[1] + backward[0] - backward[1]) / 2, abs=2e-6)


def test_a_snp_in_the_centre_has_its_own_window():
    model, snps = Toy(), table([60, 150, 260])
    found = snp_effects(model, snps, Text(), center="snp")
    for row in found.iter_rows(named=True):
        alt, ref = by_hand(model, row, row["pos"])
        assert row["effect"] == pytest.approx((alt - ref).sum(axis=0).mean(), abs=2e-6)
        assert row["gene"] is None and row["tss_distance"] is None


def test_neighbours_can_share_a_window():
    model, snps = Toy(), table([158, 60, 150])
    found = snp_effects(model, snps, Text(), center="snp", share=5)
    for row, centre in zip(found.iter_rows(named=True), [154, 60, 154]):
        alt, ref = by_hand(model, row, centre)
        assert row["effect"] == pytest.approx((alt - ref).sum(axis=0).mean(), abs=2e-6)
    assert [len(index) for _, index in snp_centres([1, 2, 3, 11], 1)] == [3, 1]
    assert max(abs(p - c) for c, i in snp_centres(range(50), 7) for p in np.arange(50)[i]) <= 7
    with pytest.raises(GenopredError, match="--share 40"):
        snp_effects(model, snps, Text(), center="snp", share=40)


@given(st.permutations([121, 133, 140, 149, 150, 152, 170]), st.integers(0, 7))
@settings(max_examples=12)
def test_order_and_company_do_not_matter(positions, cut):
    model = Toy()
    one = snp_effects(model, table(sorted(positions)), Text(), tss=TSS)
    other = snp_effects(model, table(positions), Text(), tss=TSS)
    assert other["pos"].to_list() == positions
    np.testing.assert_allclose(other.sort("pos")["effect"], one["effect"], atol=1e-6)
    if cut:
        some = snp_effects(model, table(positions[:cut]), Text(), tss=TSS)
        np.testing.assert_allclose(some["effect"], other["effect"][:cut], atol=1e-6)


@given(st.lists(st.integers(121, 183), min_size=1, max_size=6, unique=True), st.booleans(), st.booleans())
@settings(max_examples=12)
def test_swapping_alleles_negates(positions, aware, minus):
    model, strand = Toy(aware), "-" if minus else "+"
    everyone = range(len(positions))
    plain = snp_effects(model, table(positions), Text(), tss=TSS, strand=strand, max_mismatch=1.0, allow_swapped=True)
    turned = snp_effects(
        model, table(positions, swap=everyone), Text(), tss=TSS, strand=strand, max_mismatch=1.0, allow_swapped=True
    )
    assert set(plain["ref_match"]) == {"match"} and set(turned["ref_match"]) == {"swapped"}
    for column in ("effect", "log_fc"):
        np.testing.assert_array_equal(turned[column], -plain[column])
    np.testing.assert_array_equal(turned["abs_effect"], plain["abs_effect"])
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(turned["reference"] - plain["reference"], plain["effect"], atol=1e-5)


def test_alleles_on_the_other_strand_are_put_right():
    model = Toy()
    pos = next(i for i in range(130, 160) if SEQUENCE[i - 1] == "A")
    plain = snp_effects(model, table([pos], alts="C"), Text(), tss=TSS)
    flipped = pl.DataFrame([("1", pos, "x", "T", "G")], schema=VARIANT_SCHEMA, orient="row")
    found = snp_effects(model, flipped, Text(), tss=TSS, max_mismatch=1.0)
    assert found["ref_match"].to_list() == ["strand"] and found["effect"][0] == plain["effect"][0]


def test_a_multi_base_substitution_is_one_change():
    model = Toy()
    ref = SEQUENCE[139:142]
    alt = "".join("CGTA"["ACGT".index(base)] for base in ref)
    snps = pl.DataFrame([("1", 140, "mnv", ref, alt)], schema=VARIANT_SCHEMA, orient="row")
    snps = pl.concat([snps, table([141])])
    found = snp_effects(model, snps, Text(), tss=TSS)
    for row in found.iter_rows(named=True):
        a, r = by_hand(model, row, TSS)
        assert row["effect"] == pytest.approx((a - r).sum(axis=0).mean(), abs=2e-6)


def test_parts_that_fit_into_memory_give_the_same():
    model, snps = Toy(), table(range(121, 180))
    window = snp_window(snps, Text(), Interval("1", TSS - 31, TSS + 33))
    chosen = EffectSettings.of(model)
    whole = window_effects(model, window, chosen)
    parts = window_effects(model, window, chosen, memory=5 * 8 * 12)
    np.testing.assert_allclose(parts.effect, whole.effect, atol=1e-6)
    np.testing.assert_allclose(parts.log_fc, whole.log_fc, atol=1e-6)


def test_status_says_why_a_snp_is_not_used():
    sequence = SEQUENCE[:160] + "N" + SEQUENCE[161:]
    base = SEQUENCE[139]
    twin = "TGCA"["ACGT".index(base)]
    third = next(b for b in "ACGT" if b not in (base, twin))
    fourth = next(b for b in "ACGT" if b not in (base, twin, third))
    rows = [
        (140, base, third, "match"),
        (140, third, base, "swapped"),
        (140, twin, third, "strand"),
        (140, third, fourth, OTHER),
        (140, twin, base, OTHER),
        (140, base, base, SAME),
        (140, base, base + "A", INDEL),
        (140, base, "<DEL>", SYMBOLIC),
        (140, base, "*", SYMBOLIC),
        (161, "A", "C", REFERENCE_N),
        (119, SEQUENCE[118], "A", OUTSIDE),
        (183, SEQUENCE[182:185], "A", OUTSIDE),
    ]
    snps = pl.DataFrame(
        [("1", pos, f"v{i}", ref, alt) for i, (pos, ref, alt, _) in enumerate(rows)],
        schema=VARIANT_SCHEMA,
        orient="row",
    )
    window = snp_window(snps, Text(sequence), Interval("1", TSS - 31, TSS + 33))
    assert window.status == [row[-1] for row in rows]
    assert window.index.tolist() == [0, 1, 2] and len(window.mismatched) == 4
    again = snp_window(snps, Text(sequence), Interval("1", TSS - 31, TSS + 33), allow_swapped=True)
    assert again.status[4] == "swapped"


def test_log_fold_change_is_missing_where_it_means_nothing():
    model = Toy()
    model.log_scale = True
    assert snp_effects(model, table([150]), Text(), tss=TSS)["log_fc"].to_list() == [None]

    class Below(Toy):
        def predict_onehot(self, onehot):
            return super().predict_onehot(onehot) - 100

    assert snp_effects(Below(), table([150]), Text(), tss=TSS)["log_fc"].to_list() == [None]


def test_track_groups():
    names = Toy.tracks
    assert track_groups(names) == (("all", (0, 1, 2)),)
    assert track_groups(names, ["CAGE", "mine=DNASE"], [("list", ["0", "CAGE:z"])]) == (
        ("CAGE", (1, 2)),
        ("mine", (0,)),
        ("list", (0, 2)),
    )
    with pytest.raises(GenopredError, match="more than once"):
        track_groups(names, ["CAGE", "CAGE"])
    with pytest.raises(ModelError, match="matches none"):
        track_groups(names, ["x=ATACC"])


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"aggregate": "max"}, GenopredError, "--aggregate max"),
        ({"over_tracks": "max"}, GenopredError, "--over-tracks max"),
        ({"strands": "reverse"}, GenopredError, "--strands reverse"),
        ({"mode": "reference"}, GenopredError, "--mode reference"),
        ({"pseudocount": 0.0}, GenopredError, "--pseudocount"),
        ({"center": "gene"}, GenopredError, "--center gene"),
        ({"tss": None}, GenopredError, "--center tss needs a gene"),
        ({"tss": 20}, AlignmentError, "outside the model's window"),
        ({"bins": 9}, GenopredError, "--bins 9"),
        ({"mode": "linear"}, ModelError, "--mode linear"),
    ],
)
def test_bad_arguments(change, error, message):
    with pytest.raises(error) as caught:
        snp_effects(Toy(), table([150]), Text(), **{"tss": TSS, **change})
    assert message in str(caught.value)


def test_both_strands_mean_nothing_to_a_model_with_a_direction():
    with pytest.raises(ModelError, match="--strands both"):
        EffectSettings.of(Toy(True), strands="both")


def test_the_linear_mode_is_for_few_outputs():
    model = Toy()
    model.tracks = tuple(f"t{i}" for i in range(2000))
    with pytest.raises(GenopredError, match="backward pass for each of 8,000"):
        EffectSettings.of(model, mode="linear")
    assert EffectSettings.of(model, mode="linear", bins=1).mode == "linear"


def test_too_many_wrong_ref_alleles_are_refused_by_kind():
    wrong = table(range(130, 150), swap=range(20))
    with pytest.raises(AlignmentError) as caught:
        snp_effects(Toy(), wrong, Text(), tss=TSS)
    assert "swapped with ALT" in str(caught.value) and "--max-ref-mismatch" in str(caught.value)
    two = pl.concat([table([150]), table([151]).with_columns(chrom=pl.lit("2"))])
    with pytest.raises(GenopredError, match="several chromosomes"):
        snp_effects(Toy(), two, Text(), tss=TSS)


def test_the_key_changes_with_what_matters():
    model, snps = Toy(), table([140, 150])
    window = snp_window(snps, Text(), Interval("1", TSS - 31, TSS + 33))
    key = window.key(model, EffectSettings.of(model))
    assert key == snp_window(snps, Text(), window.interval).key(model, EffectSettings.of(model))
    other = [
        window.key(model, EffectSettings.of(model, bins=1)),
        snp_window(snps[:1], Text(), window.interval).key(model, EffectSettings.of(model)),
        snp_window(snps, Text(), window.interval, reverse=True).key(model, EffectSettings.of(model)),
    ]
    model.checkpoint_hash = "toy-2"
    other.append(window.key(model, EffectSettings.of(model)))
    assert len({key, *other}) == 5


@pytest.mark.parametrize("strand", ["+", "-"])
@pytest.mark.parametrize("strands", ["model", "both"])
def test_a_strand_aware_enformer_scores_a_gene_in_its_own_direction(tmp_path, strand, strands):
    """Against one plain pass with ALT less one with REF, from letters; bins count in the gene's direction."""
    from test_sequence_features import COMPLEMENT, Street, stranded, turned

    model, street, tss = stranded(tmp_path, window=2048, target=8), Street(), 6002
    near = street.table.filter((pl.col("pos") > tss - 1000) & (pl.col("pos") < tss + 1000))
    assert near.height > 3
    options = {"tss": tss, "strand": strand, "bins": 3, "over_tracks": "each", "strands": strands}
    found = snp_effects(model, near, street, **options)

    def predicted(text):
        letters = turned(text, tss, strand, 2048)
        own = model.predict_onehot(onehot(encode(letters))[None])[0].astype(float)
        if strands == "model":
            return own[3:6].sum(axis=0)
        back = model.predict_onehot(onehot(encode(letters[::-1].translate(COMPLEMENT)))[None])[0].astype(float)
        return ((own + back[::-1][:, [0, 2, 1, 4, 3]]) / 2)[3:6].sum(axis=0)

    reference = predicted(street.text)
    for row in near.iter_rows(named=True):
        changed = street.text[: row["pos"] - 1] + row["alt"] + street.text[row["pos"] :]
        of = found.filter(pl.col("id") == row["id"])
        assert of["track_group"].to_list() == list(model.tracks)
        np.testing.assert_allclose(of["effect"], predicted(changed) - reference, atol=2e-5)
        np.testing.assert_allclose(of["reference"], reference, rtol=1e-5)
        assert set(of["tss_distance"]) == {(row["pos"] - tss) * (1 if strand == "+" else -1)}
    assert found["abs_effect"].max() > 1e-3
