"""genopred.attribution.motifs: planted motifs are found by name, and shuffled sequence has them at the nominal rate."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

pytest.importorskip("memelite")
pytest.importorskip("tangermeme")

from attribution_data import CONSENSUS, PLANTED, Finder, Model, letters, matrix, random_windows, turned, values_of
from scipy.stats import nbinom

from genopred.attribution.backgrounds import backgrounds
from genopred.attribution.methods import contributions
from genopred.attribution.motifs import COUNT_SCHEMA, MATCH_SCHEMA, count_motifs, match_motifs
from genopred.attribution.seqlets import find_seqlets
from genopred.learning.evaluate import benjamini_hochberg
from genopred.sequence.onehot import encode, onehot
from genopred.types import Motif

MOTIFS = [Motif(name, name, matrix(text)) for name, text in CONSENSUS.items()]


def pieces(*texts):
    return [onehot(encode(text)) for text in texts]


def test_a_consensus_is_like_its_own_motif_on_either_strand():
    names = ["ETS", "NRF1", "GC", "OCT"]
    plain = {name: CONSENSUS[name].replace("Y", "C") for name in names}
    found = match_motifs(pieces(*plain.values(), *map(turned, plain.values())), MOTIFS, nearest=1)
    assert dict(found.schema) == MATCH_SCHEMA and found["motif"].to_list() == 2 * names
    assert found["strand"].to_list()[:4] == ["+"] * 4 and found["strand"].to_list()[4:] == ["-"] * 4
    assert (found["q"] < 0.01).all() and (found["overlap"] >= 8).all() and (found["offset"] == 0).all()


def test_the_nearest_come_first_and_q_is_over_all_motifs():
    found = match_motifs(pieces("ACCGGAAGTG", "NNNNN"), MOTIFS, nearest=len(MOTIFS))
    assert found["seqlet"].unique().to_list() == [0]  # there is nothing to say of N
    assert found["p"].is_sorted() and found.height == len(MOTIFS)
    np.testing.assert_allclose(found["q"], benjamini_hochberg(found["p"].to_numpy()))
    assert not match_motifs([], MOTIFS).height and not match_motifs(pieces("ACGT"), []).height


def test_counts_are_set_against_those_of_shuffles():
    def table(names, q=0.01):
        rows = [(i, name, name, 0.001, q, 0, 8, "+") for i, name in enumerate(names)]
        return pl.DataFrame(rows, schema=MATCH_SCHEMA, orient="row")

    found = pl.concat([table(["ETS"] * 6 + ["GC"]), table(["ETS"], q=0.5).with_columns(seqlet=pl.lit(99, pl.Int64))])
    counts = count_motifs(found, table(["GC"] * 40 + ["ETS"] * 2), 1, 20)
    assert dict(counts.schema) == COUNT_SCHEMA
    assert counts.select("motif", "seqlets", "expected").rows() == [("ETS", 6, 0.1), ("GC", 1, 2.0)]
    assert counts["p"][0] == pytest.approx(nbinom.sf(5, 3, 20 / 21)) and counts["p"][0] < 1e-4 and counts["p"][1] > 0.5
    without = count_motifs(found, table([]), 1, 0)
    assert without["p"].null_count() == without["expected"].null_count() == 2
    assert count_motifs(table([]), table([]), 1, 5).height == 0


def test_the_chance_of_counts_is_nominal():
    """As many in windows as in shuffles: p <= 0.05 in no more than that share."""
    rng = np.random.default_rng(1)
    p = []
    for _ in range(2000):
        rate = rng.exponential(2)
        own, other = rng.poisson(rate), rng.poisson(rate * 19)
        p.append(nbinom.sf(own - 1, other + 1, 19 / 20))
    assert np.mean(np.array(p) <= 0.05) <= 0.06


#: What is planted, 8 windows of 600 bp with three sites each.
LENGTH, SITES = 600, (90, 280, 470)


def hits(windows, model, seed):
    """Seqlets (window, start, end) no shuffle has that are like the planted motif: p <= 0.05 and Tomtom's q <= 0.05."""
    values, out = values_of(model, tracks="up"), []

    def actual(several):
        against = np.stack([backgrounds(one, "shuffled", 2, seed + i) for i, one in enumerate(several)])
        return contributions(values, several, against, "deeplift", batch_size=128).actual[0]

    for i, window in enumerate(windows):
        shuffles = backgrounds(window, "shuffled", 19, seed + 1000 * i)
        found, _ = find_seqlets(actual(window[None]), actual(shuffles))
        strong = found.filter(pl.col("p") <= 0.05)
        cut = [window[start:end] for start, end in strong.select("start", "end").iter_rows()]
        like = match_motifs(cut, MOTIFS, nearest=1).filter((pl.col("motif") == "ETS") & (pl.col("q") <= 0.05))
        out += [(i, *strong.select("start", "end").row(k)) for k in like["seqlet"].to_list()]
    return out


@pytest.mark.parametrize("seed", [1, 2])
def test_planted_motifs_are_found_by_name(seed):
    windows = random_windows(8, LENGTH, seed)
    for i, window in enumerate(windows):
        for j, site in enumerate(SITES):
            text = PLANTED if (i + j) % 2 else turned(PLANTED)
            window[site : site + len(text)] = onehot(encode(text))
    found = hits(windows, Model(Finder(LENGTH), LENGTH), seed)
    planted = [(i, site, site + len(PLANTED)) for i in range(8) for site in SITES]
    meets = [[a == i and start < last and end > first for i, first, last in planted] for a, start, end in found]
    precision, recall = np.mean([any(row) for row in meets]), np.mean(np.any(meets, axis=0))
    assert precision >= 0.95 and recall >= 0.9, (precision, recall)


def test_shuffled_windows_have_hits_at_the_nominal_rate():
    windows = random_windows(40, 200, 5)
    assert "ACCGGAAGT" not in "".join(letters(one) for one in windows)
    found = hits(windows, Model(Finder(200, misses=4.5), 200), 3)
    assert len({i for i, _, _ in found}) <= 5  # 2 of 40 are expected at 5 %; 5 or fewer with a chance of 0.99
