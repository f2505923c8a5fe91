"""genopred.attribution.mutagenesis against a naive loop."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from test_sequence_effects import SEQUENCE, TSS, Text, Toy, by_hand

from genopred.attribution.mutagenesis import in_silico_mutagenesis, mutations
from genopred.errors import GenopredError
from genopred.sequence.effects import EffectSettings
from genopred.types import Interval


@pytest.mark.parametrize("strand, aware, tss", [("+", False, TSS), ("-", True, TSS), ("+", False, None)])
def test_mutagenesis_is_a_loop_over_mutations(strand, aware, tss):
    model, stretch = Toy(aware), Interval("1", 139, 152)
    chosen = EffectSettings.of(model, tracks=["all", "CAGE"])
    found = in_silico_mutagenesis(model, Text(), stretch, chosen, tss=tss, strand=strand)
    assert found.sequence == SEQUENCE[139:152]
    centre = tss or 146
    for g, tracks in enumerate(([0, 1, 2], [1, 2])):
        matrix = found.matrix(g)
        for i, ref in enumerate(found.sequence):
            for c, alt in enumerate("ACGT"):
                if alt == ref:
                    assert matrix[i, c] == 0
                    continue
                a, r = by_hand(model, {"pos": 140 + i, "ref": ref, "alt": alt}, centre, strand)
                assert matrix[i, c] == pytest.approx((a - r)[:, tracks].sum(axis=0).mean(), abs=2e-6)


def test_nothing_is_said_of_n():
    text = Text(SEQUENCE[:141] + "N" + SEQUENCE[142:])
    found = in_silico_mutagenesis(Toy(), text, Interval("1", 139, 145), EffectSettings.of(Toy()), tss=TSS)
    matrix = found.matrix()
    assert np.isnan(matrix[2]).all() and np.isfinite(np.delete(matrix, 2, axis=0)).all()
    assert mutations("1", 1, "NNa")["id"].to_list() == ["1:3:A:C", "1:3:A:G", "1:3:A:T"]


def test_a_stretch_outside_the_window_or_of_n_only_is_refused():
    model = Toy()
    with pytest.raises(GenopredError, match="--ism 1:200-210: toy sees 120-183"):
        in_silico_mutagenesis(model, Text(), Interval("1", 199, 210), EffectSettings.of(model), tss=TSS)
    with pytest.raises(GenopredError, match="nothing but N"):
        in_silico_mutagenesis(model, Text("N" * 300), Interval("1", 140, 145), EffectSettings.of(model), tss=TSS)
