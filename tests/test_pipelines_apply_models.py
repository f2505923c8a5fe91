"""Models applied to genotypes in memory: naive refits as oracle, and any order, alleles and names of variants."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from models_data import LEARNERS, TRAIN, InMemory, cohort, dosage, in_memory, new_people

from genopred.errors import AlignmentError, ModelError
from genopred.learning import learners as registry
from genopred.learning.evaluate import Outcome
from genopred.learning.fitted import load_booster
from genopred.learning.stack import boosted
from genopred.pipelines.apply_models import load_models
from genopred.types import Genotypes

#: Each base in its complement.
COMPLEMENT = dict(zip("ACGT", "TGCA"))
CLOSE = {"rtol": 0, "atol": 1e-6}


def filled(x, means=None):
    """Dosages whose gaps are at the means, float32."""
    means = np.nanmean(x.astype(np.float64), axis=0) if means is None else means
    return np.where(np.isnan(x), means, x).astype(np.float32)


@pytest.fixture(scope="module")
def naive(trained):
    """Every base learner of every gene fitted again here, and its predictions of the new people: gene -> learner."""
    data, out = cohort(), {}
    covariates = data.covariates.round(6)
    outcome = Outcome("inverse-normal", "fold")
    for j, gene in enumerate(data.genes.iter_rows(named=True)):
        near = np.flatnonzero(np.abs(data.pos - gene["tss"]) <= 40_000)
        train = dosage()[:TRAIN, near]
        means = np.nanmean(train.astype(np.float64), axis=0)
        common = np.minimum(means / 2, 1 - means / 2) >= 0.05
        near, means = near[common], means[common]
        x, new = filled(train[:, common], means), filled(dosage()[TRAIN:, near], means)
        y, _ = outcome.split(data.expression[:TRAIN, j].round(6), covariates[:TRAIN], np.ones(TRAIN, dtype=bool))
        seed = int.from_bytes(hashlib.sha256(f"1 {gene['gene_id']}".encode()).digest()[:4], "little")
        context = registry.GeneContext(data.pos[near], gene["tss"], seed)
        made = {name: registry.find(name).make(context).fit(x, y) for name in LEARNERS}
        out[gene["gene_id"]] = {name: np.asarray(model.predict(new), dtype=np.float64) for name, model in made.items()}
    return out


def test_each_linear_method_is_what_its_learner_predicts(trained, naive):
    models = load_models(trained.run)
    for method in ("ridge", "elastic-net", "susie-tss"):
        found = models.predict(new_people(), method=method)
        for gene, values in zip(found.genes["gene_id"], found.values):
            np.testing.assert_allclose(values, naive[gene][method], **CLOSE)


def test_the_linear_stack_is_the_weighted_sum_of_its_learners(trained, naive):
    models = load_models(trained.run)
    weights = models.models.about["linear"]
    assert weights and set(weights) <= {"ridge", "elastic-net", "susie-tss"}
    found = models.predict(new_people())
    assert found.genes["method"].unique().to_list() == ["stack-linear"]
    for gene, values in zip(found.genes["gene_id"], found.values):
        naive_sum = sum(weight * naive[gene][name] for name, weight in weights.items())
        np.testing.assert_allclose(values, naive_sum, **CLOSE)


def test_the_boosted_stack_is_that_of_all_its_learners(trained, naive):
    """Trees and polynomials see everybody's genotypes, though linear learners have weights of the same variants."""
    models = load_models(trained.run)
    about = models.models.about
    booster = load_booster(about["booster"])
    assert {int(name[1:]) for name in booster.get_score()} & {3, 4, 5, 6}, "the trees of the stack read no tree learner"
    found = models.predict(new_people(), method="stack-xgboost")
    rows = models.genes.filter(method="stack-xgboost")
    for gene, values in zip(found.genes["gene_id"], found.values):
        row = rows.row(by_predicate=pl.col("gene_id") == gene, named=True)
        p = np.column_stack([naive[gene][name] for name in about["names"]])
        if about["weights"]:
            unused = [name for name, w in zip(about["names"], about["weights"]) if not w]
            assert unused  # so that trees alone read these
        naive_stack = boosted(booster, np.array(about["weights"]), p, np.array(row["summary"]), row["scale"])
        # xgboost works in single precision, and thresholds are met from one side or the other
        assert np.mean(np.abs(values - naive_stack) < 1e-4) > 0.97
    counts = found.report.table.filter(item="models' variants", status="dropped")
    assert counts.filter(reason="variant listed more than once").height == 0


def test_another_process_predicts_the_same_from_the_files_alone(trained):
    code = """
import sys
import numpy as np
from models_data import new_people
from genopred.pipelines.apply_models import load_models
models = load_models(sys.argv[1])
np.save(sys.argv[2], np.stack([models.predict(new_people(), method=name).values for name in models.methods]))
"""
    place = trained.folder / "other.npy"
    done = subprocess.run(
        [sys.executable, "-c", code, str(trained.models), str(place)],
        cwd=Path(__file__).parent, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    models = load_models(trained.models)
    here = np.stack([models.predict(new_people(), method=name).values for name in models.methods])
    np.testing.assert_array_equal(np.load(place), here)


@pytest.mark.parametrize("method", ["stack-linear", "stack-xgboost", "ridge"])
def test_what_the_file_looks_like_does_not_matter(trained, method):
    """Order of people and variants, counted alleles, strands, names of chromosomes and ids."""
    models = load_models(trained.run)
    first = models.predict(new_people(), method=method)
    rng = np.random.default_rng(11)
    x, variants = dosage()[TRAIN:], cohort().variants
    people, order = rng.permutation(len(x)), rng.permutation(variants.height)
    swap = rng.random(variants.height) < 0.5
    told = np.array([COMPLEMENT[a] != b for a, b in variants["ref", "alt"].iter_rows()])
    turn = (rng.random(variants.height) < 0.5) & told  # A/T and C/G cannot be told from their other strand
    rows = []
    for (chrom, pos, _, ref, alt), swapped, turned in zip(variants.iter_rows(), swap, turn):
        alleles = [COMPLEMENT[a] if turned else a for a in ((alt, ref) if swapped else (ref, alt))]
        rows.append((f"chr{chrom}", pos, f"v{pos}", *alleles))
    table = pl.DataFrame(rows, schema=variants.schema, orient="row")
    changed = np.where(swap, 2 - x, x)
    # ambiguous ones are believed: swapped as they stand they are matched by their letters
    names = cohort().samples[TRAIN:][people]
    second = models.predict(in_memory(changed[people][:, order], table[order], names), method=method)
    assert second.samples.tolist() == names.tolist()
    np.testing.assert_allclose(second.values, first.values[:, people], **CLOSE)
    genes = second.genes
    assert (genes["variance_found"] == 1).all() and (genes["found"] == genes["variants"]).all()
    assert genes["swapped"].sum() > 0 and genes["strand_flipped"].sum() > 0 and genes["matched"].sum() > 0


def test_missing_genotypes_take_the_frequency_of_the_training(trained):
    models = load_models(trained.run)
    weights = models.models.weights.filter(learner="stack-linear")
    x = np.full((1, cohort().variants.height), np.nan)
    x[0, 0] = 1.0
    found = models.predict(in_memory(np.vstack([x, np.full_like(x, 2.0)]), cohort().variants))
    place = {name: i for i, name in enumerate(cohort().variants["id"].to_list())}
    about = models.genes.filter(method="stack-linear")
    for gene, value in zip(found.genes["gene_id"], found.values[:, 0]):
        total = about.filter(gene_id=gene)["intercept"][0]
        for name, weight, freq in weights.filter(gene_id=gene)["id", "weight", "freq"].iter_rows():
            total += weight * (x[0, place[name]] if place[name] == 0 else 2 * freq)
        assert value == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize("method", ["stack-linear", "stack-xgboost"])
def test_a_variant_that_is_absent_counts_as_its_mean_in_the_training(trained, method):
    models = load_models(trained.run)
    people = new_people()
    gone = np.arange(people.n_variants) % 7 == 3
    with_gaps = people.dosage().copy()
    with_gaps[:, gone] = np.nan
    whole = models.predict(in_memory(with_gaps, people.variants), method=method, min_match=0)
    less = models.predict(people.select(variants=~gone), method=method, min_match=0)
    np.testing.assert_allclose(less.values, whole.values, **CLOSE)
    assert less.genes["absent"].sum() > 0 and (less.genes["variance_found"] < 1).any()
    assert (less.genes["found"] + less.genes["absent"] == less.genes["variants"]).all()


def test_counts_of_each_gene(trained):
    """A variant of each fate, by hand; ambiguous ones left out."""
    models = load_models(trained.run)
    weights = models.models.weights.filter(learner="stack-linear")
    gene = weights["gene_id"][0]
    told = weights.filter(gene_id=gene).filter(
        pl.Series([COMPLEMENT[a] != b for a, b in weights.filter(gene_id=gene)["ref", "alt"].iter_rows()])
    )
    picked = told["id"].head(5).to_list()
    rows = []
    for chrom, pos, name, ref, alt in cohort().variants.iter_rows():
        if name == picked[0]:
            ref, alt = alt, ref
        elif name == picked[1]:
            ref, alt = COMPLEMENT[ref], COMPLEMENT[alt]
        elif name == picked[2]:
            ref, alt = COMPLEMENT[alt], COMPLEMENT[ref]
        elif name == picked[3]:
            alt = (
                next(base for base in "ACGT" if base not in (ref, alt, COMPLEMENT[ref], COMPLEMENT[alt], ref))
                if len({ref, alt, COMPLEMENT[ref], COMPLEMENT[alt]}) < 4
                else f"{alt}A"
            )
        elif name == picked[4]:
            continue
        rows.append((chrom, pos, name, ref, alt))
    table = pl.DataFrame(rows, schema=cohort().variants.schema, orient="row")
    kept = cohort().variants["id"].is_in(table["id"].to_list()).to_numpy()
    people = in_memory(dosage()[TRAIN:][:, kept], table)
    found = models.predict(people, genes=[gene], ambiguous="drop", min_match=0)
    row = found.genes.row(0, named=True)
    mine = weights.filter(gene_id=gene)
    both_strands = sum(COMPLEMENT[a] == b for a, b in mine["ref", "alt"].iter_rows())
    assert row["variants"] == mine.height and row["ambiguous"] == both_strands > 0
    assert (row["alleles_differ"], row["absent"]) == (1, 1)
    assert row["matched"] == mine.height - both_strands - 5
    assert row["swapped"] == 2 and row["strand_flipped"] == 2  # one of them both
    assert row["found"] == mine.height - both_strands - 2
    size = 2 * mine["freq"] * (1 - mine["freq"]) * mine["weight"] ** 2
    lost = mine["id"].is_in(picked[3:]) | pl.Series([COMPLEMENT[a] == b for a, b in mine["ref", "alt"].iter_rows()])
    assert row["variance_found"] == pytest.approx(1 - size.filter(lost).sum() / size.sum())
    assert row["r2_left"] == pytest.approx(row["r2"] * row["variance_found"])
    for item in found.report.table["item"].unique():
        n = {s: found.report.count(item, s) for s in ("in", "used", "dropped")}
        assert n["in"] == n["used"] + n["dropped"], item


def test_genes_and_methods_that_are_asked_for(trained):
    models = load_models(trained.run)
    ids = models.genes["gene_id"].unique(maintain_order=True).to_list()
    one = models.predict(new_people(), genes=[ids[1]])
    assert one.genes["gene_id"].to_list() == [ids[1]]
    np.testing.assert_allclose(one.values[0], models.predict(new_people()).values[1], **CLOSE)
    assert one.report.count("genes", "dropped") == len(ids) - 1
    assert one.table().columns == ["sample", ids[1]] and "1 genes of 40 people predicted" in one.lines()[0]
    with pytest.raises(AlignmentError, match="1 of 1 genes have no model in .*ENSGnone.*its genes look like SIMG"):
        models.predict(new_people(), genes=["ENSGnone"])
    with pytest.raises(ModelError, match="--method stack-xgbost: .* has stack-linear.*Did you mean"):
        models.predict(new_people(), method="stack-xgbost")


def test_the_number_of_people_at_a_time_does_not_matter(trained, monkeypatch):
    from genopred.learning import fitted

    models = load_models(trained.run)
    whole = {name: models.predict(new_people(), method=name).values for name in ("stack-linear", "stack-xgboost")}
    monkeypatch.setattr(fitted, "PEOPLE", 7)
    monkeypatch.setattr(fitted, "BLOCK", 5)
    for name, values in whole.items():
        np.testing.assert_allclose(models.predict(new_people(), method=name).values, values, **CLOSE)
    alone = Genotypes(np.array(["x"]), cohort().variants, InMemory(dosage()[TRAIN : TRAIN + 1]), "memory")
    np.testing.assert_allclose(models.predict(alone).values[:, 0], whole["stack-linear"][:, 0], **CLOSE)


def test_one_variant_under_several_names_and_alleles_serves_all_genes(tmp_path):
    """Databases joined of several sources: the same SNP by its old name, and with its alleles the other way round."""
    from genopred.io import predictdb

    weights = [
        ("G1", "rs1", None, "A", "G", 1.0),
        ("G2", "rs1", None, "G", "A", 1.0),
        ("G3", "old1", "chr22_100_A_G", "A", "G", 1.0),
    ]
    genes = [(gene, gene, None, 1, 0.1, 0.01, None, None) for gene in ("G1", "G2", "G3")]
    held = predictdb.ModelDatabase(
        pl.DataFrame(weights, predictdb.WEIGHT_SCHEMA, orient="row"),
        pl.DataFrame(genes, predictdb.MODEL_GENE_SCHEMA, orient="row"),
    )
    predictdb.write_models(tmp_path / "x.db", held)
    variants = pl.DataFrame({"chrom": ["22"], "pos": [100], "id": ["rs1"], "ref": ["A"], "alt": ["G"]})
    found = load_models(tmp_path / "x.db").predict(in_memory([[0.0], [1.0], [2.0]], variants))
    values = dict(zip(found.genes["gene_id"].to_list(), found.values.tolist()))
    assert values == {"G1": [0, 1, 2], "G2": [2, 1, 0], "G3": [0, 1, 2]}
    assert found.genes["variance_found"].to_list() == [1, 1, 1]


def test_fusion_predictions_are_centred_on_the_people(trained, tmp_path):
    pytest.importorskip("rdata", reason="no rdata: FUSION's files cannot be written")
    from plink_data import write_plink

    from genopred.pipelines import export
    from genopred.settings import Export

    x = cohort().dosage[TRAIN:]
    write_plink(tmp_path / "new", x, cohort().samples[TRAIN:].tolist(), cohort().variants)
    export.run(Export(models=trained.run, to="fusion", bfile=tmp_path / "new", out=tmp_path / "fusion", threads=1))
    found = load_models(tmp_path / "fusion" / "models.pos").predict(in_memory(x, cohort().variants))
    assert np.allclose(found.values.mean(axis=1), 0)
