"""The words of the demonstration: they follow the numbers, whatever their sign."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from genopred.pipelines.demo import contrast
from genopred.report.pages import demo as demo_page
from genopred.types import SCORE_SCHEMA

REGIONS = [
    {"chrom": "chr22", "start": 0, "end": 1_000_000, "split": "train"},
    {"chrom": "chr22", "start": 1_010_000, "end": 2_000_000, "split": "test"},
]


def result(values, method="stack-xgboost"):
    """A stack's result with these R² of its genes."""
    rows = [{name: 0.1 for name in SCORE_SCHEMA} | {"method": method, "n": 358} for _ in values]
    for i, (row, r2) in enumerate(zip(rows, values)):
        row |= {"gene_id": f"g{i}", "r2": r2}
    scores = pl.DataFrame(rows, schema=SCORE_SCHEMA)
    summary = pl.DataFrame({"method": [method], "mean_r2": [float(np.mean(values))]})
    return SimpleNamespace(scores=scores, summary=summary, stack=method)


def found(both, alone=None, before=None, **other):
    base = {
        "card": {"split": {"regions": REGIONS}},
        "model": {"name": "m", "window": 8192, "bin_size": 128, "tracks": ("a", "b")},
        "features": pl.DataFrame(
            {
                "gene_id": ["g0", "g1"],
                "chrom": ["22", "22"],
                "tss": [500_000 + demo_page.SHIFT, 1_500_000 + demo_page.SHIFT],
                "haplotypes": [716, 716],
                "distinct": [1, 9],
                "spread": [0.0, 0.02],
            }
        ),
        "both": None if both is None else result(both),
        "alone": None if both is None else result(alone or both),
        "contrast": None if both is None else contrast(result(before or both), result(both)),
        "overlap": None,
        "eqtl": pl.DataFrame({"qval": [0.01, 0.5]}),
    }
    return SimpleNamespace(**(base | other))


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [
        (0.05, "the features add to what genotypes say"),
        (-0.05, "the features make the predictions worse"),
        (0.0, "do not show that the features add anything"),
    ],
)
def test_what_features_add_is_said_whatever_its_sign(shift, verdict):
    rng = np.random.default_rng(1)
    before = rng.uniform(0, 0.5, 28)
    after = before + shift + rng.normal(0, 0.01, 28)
    if shift == 0:
        after -= (after - before).mean()
    said = demo_page.added(found(after.tolist(), before=before.tolist()))
    assert verdict in said
    row = contrast(result(before.tolist()), result(after.tolist()))
    assert row["delta_r2"] == pytest.approx((after - before).mean()) and row["delta_low"] < row["delta_high"]


def test_few_genes_and_no_learner_are_said():
    assert "in 2 genes, too few to tell" in demo_page.added(found([0.2, 0.3], before=[0.1, 0.2]))
    assert "in 1 gene, too few" in demo_page.added(found([0.2], before=[0.1]))
    assert "None of the chosen learners" in demo_page.added(found(None))


def test_genes_are_placed_in_the_models_split_by_their_windows():
    def of(*places):
        table = pl.DataFrame({"chrom": ["22"] * len(places), "tss": [p + demo_page.SHIFT for p in places]})
        return demo_page.split_of({"split": {"regions": REGIONS}}, table, 8192)

    assert of(500_000, 1_500_000, 3_000_000) == ["train", "test", "none"]
    assert of(1_004_000, 1_006_000) == ["train", "test"]  # a window that touches training is training
    assert demo_page.split_of({}, pl.DataFrame({"chrom": ["22"], "tss": [1]}), 8192) == []


def test_lead_says_what_data_and_model_are_and_the_short_answers():
    lead = demo_page.lead(result([0.1] * 8), found([0.1] * 8))
    assert len(lead) == 3
    assert "358 people" in lead[0] and "GEUVADIS" in lead[0]
    assert "1 of these 2 genes lie in stretches it was trained on" in lead[1]
    assert "explain 10.0 %" in lead[2] and "cannot tell from none" in lead[2]
    assert len(demo_page.lead(result([0.1]), None)) == 1
    assert "does not say" in demo_page.lead(result([0.1]), found([0.1], card={}))[1]


@pytest.mark.parametrize(
    ("p", "value", "verdict"),
    [(0.01, 9, ": more than"), (0.01, 2, ": no more than"), (0.3, 9, ": no more than")],
)
def test_overlap_is_judged_by_the_null_that_keeps_linkage_best(p, value, verdict):
    rows = {
        "measure": ["overlap at k"] * 2 + ["Spearman rho"],
        "null": ["permutation", "phenotype", "phenotype"],
        "value": [9.0, float(value), 0.1],
        "expected": [4.0, 4.0, 0.0],
        "null_low": [2.0, 2.0, -0.1],
        "null_high": [6.0, 6.0, 0.1],
        "p": [1e-6, p, 0.9],
    }
    rankings = SimpleNamespace(n=40, sizes=np.array([20, 20]))
    overlap = SimpleNamespace(results=pl.DataFrame(rows), comparisons=[SimpleNamespace(rankings=rankings)])
    said = demo_page.overlapped(found([0.1], overlap=overlap))
    assert verdict in said and f"{value} are the same" in said and "40 SNPs" in said
    assert "Too few SNPs" in demo_page.overlapped(found([0.1]))


def test_features_line_names_genes_in_which_all_are_the_same():
    said = demo_page._features_line(found([0.1]))
    assert "1,432 in all, but only 10 different" in said and "In 1 gene all people have the same sequence" in said


def test_model_section_shows_the_cards_scores_where_it_has_some():
    pytest.importorskip("matplotlib")
    card = {
        "split": {"regions": REGIONS},
        "scores": {"pearson_log": {"model": {"a": [0.5, 0.4, 0.6], "b": [0.3, 0.2, 0.4]}}},
        "differences": {"ridge": {"a": [0.1, 0.0, 0.2], "b": [0.2, 0.1, 0.3]}},
    }
    section = demo_page.model_section(found([0.1], card=card))
    [(table, _)] = section.tables
    assert [row[0].text for row in table.rows] == ["a", "b"] and table.headings[-1] == "More than from base counts"
    assert [cell.whole for cell in table.rows[0][1:]] == ["0.500 [0.400, 0.600]", "+0.100 [0.000, +0.200]"]
    assert "1.0 million bases for training" in section.text[1]
    card.pop("differences")
    [(table, _)] = demo_page.model_section(found([0.1], card=card)).tables
    assert len(table.headings) == 2
    assert demo_page.model_section(found([0.1], card={})).tables == ()


def test_the_pages_order(done_page):
    titles = done_page
    wanted = [
        "The sequence model",
        "Sequence features",
        "Polygenic scores",
        "Methods compared",
        "Do sequence features add",
        "SNP effects",
        "Do the model's SNPs agree",
        "What was used",
        "How it was made",
    ]
    at = [next(i for i, title in enumerate(titles) if title.startswith(start)) for start in wanted]
    assert at == sorted(at)


@pytest.fixture(scope="module")
def done_page(tmp_path_factory):
    """Headings of the page of a small run."""
    pytest.importorskip("enformer_pytorch")
    import html
    import re

    from genopred.pipelines import demo
    from genopred.settings import Demo

    config = Demo(
        out=tmp_path_factory.mktemp("demo"), learners=("pt-prs", "ridge"), gene=("ENSG00000172404", "ENSG00000100147")
    )
    text = demo.run(config).stack.page.read_text(encoding="utf-8")
    assert "http://" not in re.sub(r"http://www\.w3\.org/\S+", "", text) and "https://" not in text
    assert "DNAJB7 (ENSG00000172404.4)" in text and "CCDC134 <small>ENSG00000100147.9</small>" in text
    assert "enformer-small" in text and text.count("<svg") >= 12
    return [html.unescape(title) for title in re.findall(r"<h2[^>]*>([^<]+)</h2>", text)]
