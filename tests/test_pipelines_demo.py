"""The demonstration run: its settings, and what it does with torch and without."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from genopred.errors import GenopredError
from genopred.io.example import load_example
from genopred.pipelines import demo, stack, stack_genes
from genopred.settings import Demo

GENES = ("ENSG00000172404.4", "ENSG00000100147.9")
LEARNERS = ("pt-prs", "ridge")


@pytest.fixture
def ran(monkeypatch):
    """Stands in for the stack and the page; what they were given."""
    seen = SimpleNamespace(stack=[], pages=[])

    def run(config, progress, page):
        seen.stack.append((config, progress))
        return SimpleNamespace(scores=pl.DataFrame({"gene_id": [g for g in GENES for _ in "ab"]}))

    monkeypatch.setattr(stack, "run", run)
    monkeypatch.setattr(demo, "_page", lambda config, result, found, lines, aside: seen.pages.append((found, lines)))
    monkeypatch.setattr(demo, "kept_aside", lambda config, progress: None)
    return seen


def without(monkeypatch, *names):
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name in names else find_spec(name))


def test_it_is_the_stack_on_the_example_without_weights_learned_on_these_people(monkeypatch, tmp_path, ran):
    without(monkeypatch, "torch")
    demo.run(Demo(out=tmp_path, learners=("ridge",), gene=("g",), threads=3, seed=5, resume=False), print)
    [(config, progress)] = ran.stack
    assert config.stack_weights == "none" and progress is print
    assert (config.out, config.learners, config.threads, config.seed, config.resume) == (
        tmp_path,
        ("ridge",),
        3,
        5,
        False,
    )
    inputs = demo.example_inputs(("g",))
    assert inputs["gene"] == ("g",) and not inputs["all_genes"]
    assert {name: getattr(config, name) for name in inputs} == inputs
    # the page's main table is of genotypes alone
    assert config.features is None and config.seen == "genotype"


@pytest.mark.parametrize(("absent", "named"), [(["torch"], "torch"), (["enformer_pytorch"], "enformer-pytorch")])
def test_without_torch_one_line_says_what_is_left_out(monkeypatch, tmp_path, ran, absent, named):
    without(monkeypatch, *absent)
    result = demo.run(Demo(out=tmp_path))
    [(line,)] = result.lines.values()
    assert result.sequence is None
    assert named in line and "genopred[sequence]" in line and "\n" not in line
    assert ran.pages == [(None, result.lines)]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run on two genes and two learners with the model that comes with the package."""
    pytest.importorskip("enformer_pytorch")
    out = tmp_path_factory.mktemp("demo")
    config = Demo(out=out, learners=LEARNERS, gene=GENES)
    return config, demo.run(config)


def test_every_part_is_there(done):
    config, result = done
    found = result.sequence
    assert found.model["name"] == demo.MODEL and demo.TRACK in found.model["tracks"]
    assert set(found.features["gene_id"]) == set(GENES) and found.eqtl.height == 2
    assert (found.eqtl["qval"] < 1e-6).all()  # two of the strongest eQTLs of the slice
    assert set(found.effects["gene"]) == set(GENES)
    assert found.overlap.comparisons[0].rankings.n == found.effects.height
    assert found.locus.gene["gene_id"] == GENES[0]
    assert found.locus.mutations.height == 3 * demo.MUTATED
    assert list(result.lines) == [
        "Sequence features",
        "What they add",
        "SNP effects and eQTLs",
        "Models for new people",
    ]
    assert result.stack.page == config.out / "report.html" and result.stack.page.is_file()
    assert [path.relative_to(config.out).as_posix() for path in config.out.rglob("report.html")] == ["report.html"]


def test_eqtls_are_looked_for_as_far_as_the_stack_looks(done):
    config, _ = done
    windows = [json.loads(path.read_text()).get("--window") for path in config.out.rglob("*run.json")]
    assert windows.count(500_000) == 5  # four stacks and the eQTLs
    pairs = pl.read_parquet(config.out / "eqtl" / "geuvadis.cis_qtl_pairs.chr22.parquet")
    assert pairs["start_distance"].abs().max() <= 500_000


def test_features_are_of_everyone_and_counted_as_a_plain_count_does(done):
    _, result = done
    example, window = load_example(), result.sequence.model["window"]
    pos = example.genotypes.variants["pos"].to_numpy()
    for row in result.sequence.features.iter_rows(named=True):
        # the TSS base lies at window // 2 of the sequence as it is read, and genes of the reverse strand are read back
        first = row["tss"] - window // 2 if row["strand"] == "+" else row["tss"] - window // 2 + 1
        inside = (pos >= first) & (pos < first + window)
        assert row["snvs"] == inside.sum() and row["haplotypes"] == 716
        whole = example.genotypes.select(variants=np.flatnonzero(inside)).haplotypes().alleles().reshape(716, -1)
        assert row["distinct"] == len(np.unique(whole, axis=0))
        of = result.sequence.values[row["gene_id"]]
        assert of.shape == (358,) and abs(of.mean()) < 1e-4
        np.testing.assert_allclose(of.std() / 100, row["spread"], rtol=1e-6)


def test_base_predictions_side_by_side_are_those_of_a_run_on_both(done, tmp_path):
    config, _ = done
    together = demo._sequence_settings(config, out=tmp_path, inputs="both")
    stack.run(together)
    for gene in GENES:
        joined, computed = (
            stack_genes.read_base(config.out / "with-sequence", gene),
            stack_genes.read_base(tmp_path, gene),
        )
        assert joined.columns == computed.columns
        assert joined.equals(computed)


def test_base_predictions_of_other_folds_are_not_joined(done, tmp_path):
    config, _ = done
    other = stack_genes.read_base(config.out / "sequence", GENES[0]).with_columns(pl.col("outer_fold").reverse())
    (tmp_path / "genes").mkdir()
    (tmp_path / "genes" / f"{GENES[0]}.json").write_text('{"skipped": null}')
    other.write_parquet(tmp_path / "genes" / f"{GENES[0]}.parquet")
    with pytest.raises(GenopredError, match="other people or folds"):
        stack_genes.join_base(config.out, tmp_path, tmp_path / "out", [GENES[0]])


def test_a_gene_that_one_run_left_out_stays_out(done, tmp_path):
    config, _ = done
    (tmp_path / "genes").mkdir()
    (tmp_path / "genes" / f"{GENES[0]}.json").write_text('{"skipped": "a reason"}')
    stack_genes.join_base(config.out, tmp_path, tmp_path / "out", [GENES[0]])
    assert [path.name for path in (tmp_path / "out" / "genes").iterdir()] == [f"{GENES[0]}.json"]


def test_the_lead_of_the_locus_is_the_best_snp_of_those_that_the_model_sees(done):
    _, result = done
    locus = result.sequence.locus
    seen = result.sequence.effects.filter(pl.col("gene") == locus.gene["gene_id"])["id"]
    inside = locus.snps.filter(pl.col("variant_id").is_in(seen.to_list()))
    assert locus.lead["pval_nominal"] == inside["pval_nominal"].min()
    variants = load_example().genotypes
    where = {name: i for i, name in enumerate(variants.variants["id"].to_list())}
    lead = variants.dosage(np.array([where[locus.lead["variant_id"]]]))[:, 0]
    for row in locus.snps.sample(20, seed=1).iter_rows(named=True):
        other = variants.dosage(np.array([where[row["variant_id"]]]))[:, 0]
        np.testing.assert_allclose(row["r2"], np.corrcoef(lead, other)[0, 1] ** 2, atol=1e-6)
        near = abs(row["pos"] - locus.gene["tss"]) <= demo.REACH
        assert (row["effect"] is not None) == near


def test_a_second_run_computes_nothing_and_writes_the_same_page(done):
    config, result = done
    page = result.stack.page.read_bytes()
    written = {
        path: path.stat().st_mtime_ns
        for part in ("genes", "sequence/genes", "with-sequence/genes", "effects")
        for path in (config.out / part).iterdir()
        if not path.name.startswith(".") and path.suffix == ".parquet" and "predictions" not in path.name
    }
    again = demo.run(config)
    assert again.lines == result.lines
    assert again.stack.page.read_bytes() == page
    changed = [path for path, time in written.items() if path.stat().st_mtime_ns != time]
    assert not [path for path in changed if "mutations" not in path.name]


def test_learners_of_genotypes_alone_leave_the_features_out_of_the_stack(done, tmp_path):
    result = demo.run(Demo(out=tmp_path, learners=("pt-prs",), gene=GENES[:1]))
    assert result.sequence.both is None and result.sequence.features.height == 1
    assert "None of the chosen learners" in result.lines["What they add"][0]
    assert "Too few" not in result.stack.page.read_text(encoding="utf-8")


def test_the_example_files_are_there():
    inputs = demo.example_inputs()
    assert inputs["all_genes"] and not inputs["gene"]
    assert inputs["expression"].is_file() and inputs["covar"].is_file() and isinstance(inputs["bfile"], Path)
    assert all(Path(f"{inputs['bfile']}{end}").is_file() for end in (".bed", ".bim", ".fam"))
