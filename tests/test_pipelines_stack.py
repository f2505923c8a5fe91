"""The main job on real people: killed and resumed, in any number of threads, and with every kind of bad input."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import resize_disk
from plink_data import write_plink
from sklearn.metrics import r2_score

from genopred.cli import main
from genopred.errors import GenopredError
from genopred.io.example import load_example
from genopred.io.features import write_features, write_manifest
from genopred.learning import stack as pooled
from genopred.learning.learners import DEFAULT_LEARNERS
from genopred.learning.stack import METAS, MIN_GENES_POOLED
from genopred.pipelines import stack, stack_genes
from genopred.pipelines.demo import example_inputs
from genopred.settings import Features as FeatureSettings
from genopred.settings import Stack
from genopred.types import PREDICTION_SCHEMA, SCORE_SCHEMA, Features

FEW = ("elastic-net", "susie-tss", "pt-prs", "xgboost")


@pytest.fixture(scope="module")
def example():
    return load_example()


def settings(out, genes=3, **others):
    names = load_example().expression.genes["gene_id"].to_list()[:genes]
    few = {"learners": FEW, "stack_weights": "none", "outer_folds": 3, "inner_folds": 3, "threads": 1}
    return Stack(**example_inputs(names) | few | {"out": out} | others)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".log", ".lock") and path.name != ".lock"
    }


def test_files_and_numbers_of_a_run(tmp_path):
    result = stack.run(settings(tmp_path / "run"))
    methods = [*FEW, *(f"stack-{name}" for name in METAS)]
    predictions = pl.read_parquet(tmp_path / "run" / "predictions.parquet")
    assert dict(predictions.schema) == PREDICTION_SCHEMA and predictions.height == 3 * 358 * len(methods)
    assert not predictions.select(pl.col("predicted").is_nan().any()).item()
    scores = pl.read_parquet(tmp_path / "run" / "scores.parquet")
    assert dict(scores.drop("gene_name").schema) == SCORE_SCHEMA and set(scores["method"]) == set(methods)
    assert scores["gene_name"].null_count() < scores.height  # HGNC's
    for row in scores.iter_rows(named=True):
        of = predictions.filter(gene_id=row["gene_id"], method=row["method"])
        assert of["sample"].n_unique() == 358  # each person is predicted once
        assert row["r2"] == pytest.approx(r2_score(of["observed"], of["predicted"]))
    assert set(result.summary["method"]) == set(methods) and result.stack == "stack-xgboost"
    compared = pl.read_parquet(tmp_path / "run" / "comparisons.parquet")
    assert compared.height == 3 * (len(methods) - 1) and compared["reference"].unique().to_list() == ["elastic-net"]
    assert compared.select((pl.col("delta_low") <= pl.col("delta_r2")).all()).item() and compared["qval"].max() <= 1
    assert result.cost["elastic-net"] > 0 and stack_genes.REST in result.cost
    assert {"report.html", "matched.tsv", "weights.json", "run.json", "summary.tsv"} <= set(contents(tmp_path / "run"))
    example = load_example()
    pos, dosage = example.genotypes.variants["pos"].to_numpy(), example.genotypes.dosage()
    frequency = dosage.mean(axis=0) / 2
    common = np.minimum(frequency, 1 - frequency) >= 0.05
    near = [np.abs(pos - tss) <= 500_000 for tss in example.expression.genes["tss"][:3]]
    assert result.report.count("gene-variant pairs", "in") == sum(int(window.sum()) for window in near)
    assert result.report.count("gene-variant pairs", "used") == sum(int((window & common).sum()) for window in near)


def test_results_do_not_depend_on_threads_or_on_the_genes_beside(tmp_path, monkeypatch):
    monkeypatch.setattr(pooled, "MIN_GENES_POOLED", 2)  # so that three genes grow the pooled trees
    one = stack.run(settings(tmp_path / "one", threads=1))
    stack.run(settings(tmp_path / "two", threads=2))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    xgboost, nnls = (one.scores.filter(method=f"stack-{name}")["r2"].to_list() for name in ("xgboost", "nnls"))
    assert xgboost != nnls  # the trees were there
    alone = stack.run(settings(tmp_path / "alone", genes=1))
    base = [name for name in FEW if name != "stack"]
    gene = alone.scores["gene_id"][0]
    a = one.scores.filter(pl.col("gene_id") == gene, pl.col("method").is_in(base))
    assert a.equals(alone.scores.filter(pl.col("method").is_in(base)))


def test_format_of_the_genotypes_does_not_matter(tmp_path):
    bed = stack.run(settings(tmp_path / "bed"))
    config = settings(tmp_path / "pgen")
    pgen = stack.run(replace(config, bfile=None, pfile=load_example().pfile))
    assert bed.scores.equals(pgen.scores)


def test_killed_and_resumed_is_the_same_file_for_file(tmp_path):
    """Killed while genes are computed, and while the meta-learners combine them; the third run finishes."""
    example = load_example()
    genes = tmp_path / "genes.txt"
    genes.write_text("\n".join(example.expression.genes["gene_id"].to_list()[:MIN_GENES_POOLED]) + "\n")
    words = [
        "stack", "--bfile", str(example.bfile), "--expression", str(example.expression_file), "--covar",
        str(example.covariates_file), "--genes", str(genes), "--learners", "ridge,gblup-tss", "--outer-folds", "3",
        "--stack-weights", "none", "--threads", "1", "--out", "run",
    ]  # fmt: skip
    command = [sys.executable, "-m", "genopred.cli", *words]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    subprocess.run(command, cwd=whole, check=True, capture_output=True)
    interrupted = 0
    for pattern, wanted in (("*.json", 5), ("*.predictions.parquet", 2)):
        process = subprocess.Popen(command, cwd=killed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 200
        while process.poll() is None and time.monotonic() < deadline:
            if len(list((killed / "run" / "genes").glob(pattern))) >= wanted:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        interrupted += process.wait() == -signal.SIGKILL
    assert interrupted
    subprocess.run(command, cwd=killed, check=True, capture_output=True)
    assert contents(whole / "run") == contents(killed / "run")


def test_other_settings_are_not_mixed(tmp_path):
    stack.run(settings(tmp_path / "run", genes=1, learners=("ridge",)))
    with pytest.raises(GenopredError, match=r"run with other settings \(--maf, --folds, --seed\).*--no-resume"):
        stack.run(settings(tmp_path / "run", genes=1, learners=("ridge",), seed=2, maf=0.1))
    same = settings(tmp_path / "run", genes=1, learners=("ridge",))
    for change, named in (
        ({"window": 50_000}, "--window"),
        ({"covar": None}, "--covar"),
        ({"bfile": None, "pfile": load_example().pfile}, "--bfile, --pfile"),
        ({"inner_folds": 4}, "--inner-folds"),
    ):
        with pytest.raises(GenopredError, match=rf"other settings \({named}\)"):
            stack.run(replace(same, **change))
    fresh = stack.run(settings(tmp_path / "run", genes=1, learners=("ridge",), seed=2, resume=False))
    assert fresh.cost
    more = stack.run(settings(tmp_path / "run", genes=2, learners=("ridge",), seed=2))  # more genes: goes on
    assert more.scores["gene_id"].n_unique() == 2


def test_changed_genotypes_are_noticed(tmp_path, example):
    prefix = copied_bfile(example, tmp_path)
    config = settings(tmp_path / "copy_run", genes=1, learners=("ridge",))  # beside the prefix, and named like it
    config = replace(config, bfile=prefix)
    stack.run(config)
    stack.run(config)  # its own output beside the prefix does not count as a change
    os.utime(f"{prefix}.bed", ns=(1, 1))  # copied back: the same
    assert stack.run(config).cost == {}
    bed = Path(f"{prefix}.bed")
    data = bytearray(bed.read_bytes())
    data[1000] ^= 0b11
    bed.write_bytes(data)
    with pytest.raises(GenopredError, match=r"other settings \(--bfile\)"):
        stack.run(config)


def test_starting_over_removes_what_the_earlier_run_wrote(tmp_path):
    """A page, tables and a peer's predictions of other settings stayed beside the new ones."""
    stack.run(settings(tmp_path / "run", genes=2, learners=("ridge",)))
    old = [tmp_path / "run" / name for name in ("benchmark.tsv", "glmnet/x.tsv", "genes/.x.abcdefgh.part.json")]
    mine = tmp_path / "run" / "notes.txt"
    (tmp_path / "run" / "glmnet").mkdir()
    for file in (*old, mine):
        file.write_text("")
    first = contents(tmp_path / "run")
    stack.run(settings(tmp_path / "run", genes=1, learners=("ridge",), seed=2, resume=False), page=False)
    left = contents(tmp_path / "run")
    assert mine.exists() and not any(file.exists() for file in old) and "report.html" in first
    assert set(first) - set(left) == {
        "report.html", "benchmark.tsv", "glmnet/x.tsv", "genes/.x.abcdefgh.part.json",
        *(name for name in first if name.startswith("genes/E") and name not in left),
    }  # fmt: skip
    assert len([name for name in left if name.startswith("genes/")]) == 2


def test_results_without_their_settings_are_not_gone_on_with(tmp_path):
    stack.run(settings(tmp_path / "run", genes=1, learners=("ridge",)))
    (tmp_path / "run" / "run.json").unlink()
    with pytest.raises(GenopredError, match=r"settings are not known \(no run.json\).*--no-resume"):
        stack.run(settings(tmp_path / "run", genes=1, learners=("ridge",)))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file|does not exist"), ("{half", "weights"), ("{}", "weights")],
)
def test_bad_weights_are_refused_before_anything_is_learned(tmp_path, monkeypatch, content, message):
    file = tmp_path / "weights.json"
    if content is not None:
        file.write_text(content)
    monkeypatch.setattr(stack, "open_cohort", lambda *_: pytest.fail("went on"))
    with pytest.raises(GenopredError, match=message):
        stack.run(settings(tmp_path / "run", stack_weights=str(file)))
    assert not (tmp_path / "run").exists()


def test_no_learner_is_not_all_of_them(tmp_path, example, capsys):
    with pytest.raises(GenopredError, match="--learners: names nothing"):
        settings(tmp_path / "run", learners=())
    code, err = _run(command(example, tmp_path / "run", learners=","), capsys)
    assert code == 2 and "--learners ,: names nothing" in err


def test_quantile_normalisation_is_over_all_genes_and_only_without_folds(tmp_path):
    with pytest.raises(GenopredError, match="--residualize global or none"):
        stack.run(settings(tmp_path / "x", transform="quantile"))
    few = stack.run(
        settings(tmp_path / "few", genes=1, learners=("ridge",), transform="quantile", residualize="global")
    )
    more = stack.run(
        settings(tmp_path / "more", genes=2, learners=("ridge",), transform="quantile", residualize="global")
    )
    r2 = [t.scores.filter(gene_id=few.scores["gene_id"][0], method="ridge")["r2"][0] for t in (few, more)]
    assert r2[0] == r2[1]


def test_two_runs_on_one_folder(tmp_path):
    from genopred.files import lock_output

    (tmp_path / "run").mkdir()
    with lock_output(tmp_path / "run"), pytest.raises(GenopredError, match="another run writes to"):
        stack.run(settings(tmp_path / "run", genes=1))


def test_unusable_genes_are_counted_and_the_others_go_on(tmp_path, example):
    """A gene that is constant in training people, one without usable variants, one that works."""
    genes = example.expression.genes.filter(pl.col("gene_id").is_in(example.expression.genes["gene_id"][:2].implode()))
    people = example.expression.samples.tolist()
    rng = np.random.default_rng(0)
    rows = [(*genes.row(0), rng.random(358)), (*genes.row(1), np.r_[np.zeros(357), 1.0])]
    path = tmp_path / "e.bed"
    with path.open("w") as file:
        file.write("\t".join(["#chr", "start", "end", "gene", *people]) + "\n")
        for gene_id, _, chrom, tss, _, values in sorted(rows, key=lambda row: row[3]):
            file.write("\t".join([chrom, str(tss - 1), str(tss), gene_id, *map(repr, values.tolist())]) + "\n")
    config = settings(tmp_path / "run", learners=("ridge",), transform="zscore", residualize="none")
    config = replace(config, expression=path, covar=None, gene=(), all_genes=True)
    result = stack.run(config)
    dropped = result.report.table.filter(item="genes", status="dropped")
    assert dropped["reason"].to_list() == ["expression does not vary among the training people."]
    assert dropped["examples"].to_list() == [genes["gene_id"][1]]
    assert result.report.count("genes", "used") == 1
    with pytest.raises(GenopredError, match="none of 2 genes could be used.*no usable variant"):
        stack.run(replace(config, out=tmp_path / "rare", maf=0.5))


def test_sequence_features_are_a_second_block(tmp_path, example):
    """A feature that carries expression lifts the learners of its block and the stack of both."""
    gene = example.expression.genes["gene_id"][0]
    rng = np.random.default_rng(0)
    raw = example.expression.values[:, 0]
    values = np.column_stack([np.argsort(np.argsort(raw)) / 358 + 0.1 * rng.standard_normal(358), rng.random((358, 4))])
    features = Features(values.astype(np.float32), example.expression.samples, tuple("abcde"))
    write_features(tmp_path / "features", gene, features, key="k")
    write_manifest(tmp_path / "features", {"settings": {}, "genes": {gene: "k"}})
    config = settings(tmp_path / "both", genes=1, learners=("ridge", "xgboost", "pt-prs"), residualize="none")
    result = stack.run(replace(config, features=tmp_path / "features"))
    r2 = dict(zip(result.scores["method"].to_list(), result.scores["r2"].to_list()))
    assert {"ridge", "xgboost", "pt-prs", "ridge@sequence", "xgboost@sequence"} <= set(r2)
    assert "pt-prs@sequence" not in r2
    assert r2["xgboost@sequence"] > 0.6 > r2["xgboost"] and r2["stack-nnls"] > 0.6
    shaped = replace(config, out=tmp_path / "shaped", feature_transform="quantile", feature_components=3)
    shaped = stack.run(replace(shaped, features=tmp_path / "features", inputs="both"))
    assert shaped.scores.filter(method="ridge@sequence")["r2"][0] != r2["ridge@sequence"]
    with pytest.raises(GenopredError, match="--feature-transform rank"):
        stack.run(replace(config, features=tmp_path / "features", inputs="both", feature_transform="rank"))
    only = stack.run(replace(config, out=tmp_path / "only", features=tmp_path / "features", inputs="sequence"))
    assert "ridge" not in set(only.scores["method"])
    with pytest.raises(GenopredError, match="--inputs both and --features go together"):
        stack.run(replace(config, out=tmp_path / "x", inputs="both"))


@pytest.fixture
def embedded(tmp_path, monkeypatch):
    """Stands for the model that comes with the package, in small."""
    pytest.importorskip("torch")
    from test_sequence_models_enformer_checkpoint import write_small

    from genopred.sequence.models.enformer import checkpoint

    file = write_small(tmp_path / "embedded.safetensors", window=2048, target=8)
    monkeypatch.setattr(checkpoint, "embedded_file", lambda: file)
    return file


def with_model(out, **others):
    few = {"genes": 2, "learners": ("ridge", "pt-prs"), "features": "enformer-small", "inputs": "both"}
    config = settings(out, **few | {"fasta": load_example().reference_file} | others)
    return replace(config, bfile=None, pfile=load_example().pfile)


def test_features_of_a_model_are_computed_first(tmp_path, embedded):
    """As if `genopred features` had run before with the same people and genes; resumed it computes nothing again."""
    from genopred.io.features import read_features, read_manifest
    from genopred.pipelines import features

    steps = []  # features, base predictions, models of everybody
    result = stack.run(with_model(tmp_path / "one"), lambda *args: steps.append(args))
    genes = result.scores["gene_id"].unique(maintain_order=True).to_list()
    assert [step for step in steps if step[0]] == [(i, 2, gene) for _ in range(3) for i, gene in enumerate(genes, 1)]
    assert "ridge@sequence" in set(result.scores["method"])
    manifest = read_manifest(tmp_path / "one" / "features")
    assert manifest["model"] == "enformer-small" and list(manifest["genes"]) == genes and manifest["phased"]
    example = load_example()
    apart = FeatureSettings(
        pfile=example.pfile,
        fasta=example.reference_file,
        out=tmp_path / "apart",
        expression=example.expression_file,
        gene=tuple(genes),
    )
    features.run(apart)
    for gene in genes:
        ours, theirs = (read_features(folder, gene) for folder in (tmp_path / "one" / "features", tmp_path / "apart"))
        np.testing.assert_array_equal(ours.values, theirs.values)
    two = stack.run(with_model(tmp_path / "two", features=tmp_path / "apart", fasta=None))
    assert two.scores.equals(result.scores)
    # once more: what a killed run had of features is kept
    shutil.rmtree(tmp_path / "one" / "genes")
    files = [tmp_path / "one" / "features" / f"{gene}.parquet" for gene in genes]
    before = [file.stat().st_mtime_ns for file in files]
    again = stack.run(with_model(tmp_path / "one"))
    assert again.scores.equals(result.scores) and [file.stat().st_mtime_ns for file in files] == before
    # and a finished one is resumed, though the manifest was written anew
    assert stack.run(with_model(tmp_path / "one")).cost == {}


#: A block of bgzip that holds nothing.
EMPTY_BGZF = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def test_features_of_another_model_or_reference_do_not_mix(tmp_path, embedded):
    from test_sequence_models_enformer_checkpoint import write_small

    stack.run(with_model(tmp_path / "run"))
    fasta = load_example().reference_file
    for end in ("", ".fai", ".gzi"):
        shutil.copy(f"{fasta}{end}", tmp_path / f"{fasta.name}{end}")
    stack.run(with_model(tmp_path / "run", fasta=tmp_path / fasta.name))  # a copy is the same
    with (tmp_path / fasta.name).open("ab") as file:
        file.write(EMPTY_BGZF)
    with pytest.raises(GenopredError, match=r"results of a run with other settings \(--fasta\)"):
        stack.run(with_model(tmp_path / "run", fasta=tmp_path / fasta.name))
    # the weights behind the name are others now
    write_small(embedded, window=2048, target=8, seed=1)
    with pytest.raises(GenopredError, match="--features enformer-small: .*another checkpoint_hash.*--no-resume"):
        stack.run(with_model(tmp_path / "run"))
    assert stack.run(with_model(tmp_path / "run", resume=False)).cost


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fasta": None}, "--features enformer-small needs --fasta FILE"),
        ({"features": "enformer-smal"}, "--features enformer-smal: no such folder, and no model of that name"),
        ({"features": None, "inputs": "genotype"}, "--fasta goes with --features MODEL"),
        ({"inputs": "genotype"}, "--inputs genotype and --features go together"),
        ({"fasta": Path("absent.fa")}, "absent.fa"),
    ],
)
def test_bad_choices_of_features(tmp_path, changes, message):
    pytest.importorskip("torch")
    with pytest.raises(GenopredError, match=message):
        stack.run(with_model(tmp_path / "run", **changes))


def _run(words, capsys):
    code = main(words)
    return code, capsys.readouterr().err


def command(example, out, **changes):
    """Words of a run on the example; a change to None leaves an option out."""
    options = {
        "bfile": example.bfile,
        "expression": example.expression_file,
        "covar": example.covariates_file,
        "gene": example.expression.genes["gene_id"][0],
        "learners": "ridge",
        "threads": 1,
        "out": out,
    } | changes
    return [
        "stack",
        *(word for key, value in options.items() if value is not None for word in (f"--{key}", str(value))),
    ]


def edited(path: Path, target: Path, change) -> Path:
    """A text file (gzipped or not) with its lines changed."""
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    target.write_text("\n".join(change(text.rstrip("\n").split("\n"))) + "\n")
    return target


def copied_bfile(example, folder, **change):
    for suffix in (".bed", ".bim", ".fam"):
        shutil.copy(f"{example.bfile}{suffix}", folder / f"copy{suffix}")
    for suffix, how in change.items():
        path = folder / f"copy.{suffix}"
        how(path)
    return folder / "copy"


def _cell(lines, row, column, text, separator="\t"):
    cells = lines[row].split(separator)
    cells[column] = text
    return [*lines[:row], separator.join(cells), *lines[row + 1 :]]


def strangers(lines):
    return [lines[0].replace("HG", "XX").replace("NA", "YY"), *lines[1:]]


def on_chromosome_1(lines):
    return [lines[0], *("chr1\t" + line.split("\t", 1)[1] for line in lines[1:])]


def first_gene_constant(lines):
    return [lines[0], "\t".join([*lines[1].split("\t")[:6], *["1.5"] * 358]), *lines[2:]]


def first_row_twice(lines):
    return [*lines, "twice" + lines[1][lines[1].index(lines[0][8]) :]]


BAD = {
    "truncated bed": (
        lambda e, d: {"bfile": copied_bfile(e, d, bed=lambda p: os.truncate(p, 100_000))},
        r"copy\.bed.*100,?000.*bytes",
    ),
    "sample twice in fam": (
        lambda e, d: {
            "bfile": copied_bfile(
                e, d, fam=lambda p: p.write_text(p.read_text().replace("HG00097", "HG00096", 2))
            )
        },
        r"copy\.fam.*HG00096",
    ),
    "text in expression": (
        lambda e, d: {"expression": edited(e.expression_file, d / "e.bed", lambda t: _cell(t, 3, 9, "high"))},
        r"e\.bed line 4.*'high'",
    ),
    "expression unsorted": (
        lambda e, d: {"expression": edited(e.expression_file, d / "e.bed", lambda t: [t[0], *t[:0:-1]])},
        r"e\.bed.*sort",
    ),
    "no common samples": (
        lambda e, d: {
            "expression": edited(e.expression_file, d / "e.bed", strangers)
        },
        r"no sample is in both",
    ),
    "chromosomes differ": (
        lambda e, d: {
            "expression": edited(e.expression_file, d / "e.bed", on_chromosome_1)
        },
        r"genes are on chr1 .*genotypes on (chr)?22",
    ),
    "gene absent": (lambda e, d: {"gene": "ENSG00000000000"}, r"1 of 1 genes are not in .*ENSG00000000000"),
    "gene without SNPs": (lambda e, d: {"window": "1"}, r"no variant within 1 bases"),
    "constant expression": (
        lambda e, d: {
            "expression": edited(
                e.expression_file, d / "e.bed", first_gene_constant
            )
        },
        r"constant expression",
    ),
    "NaN covariate": (
        lambda e, d: {"covar": edited(e.covariates_file, d / "c.txt", lambda t: _cell(t, 2, 5, "NaN", t[0][8]))},
        r"c\.txt.*missing",
    ),
    "collinear covariates": (
        lambda e, d: {"covar": edited(e.covariates_file, d / "c.txt", first_row_twice)},
        r"c\.txt: covariates are collinear",
    ),
    "fewer people than folds": (
        lambda e, d: {"outer-folds": "400"},
        r"358 people cannot be split into 400 outer folds",
    ),
    "unknown learner": (lambda e, d: {"learners": "elasticnet"}, r"Did you mean 'elastic-net'"),
    "symbols of another kind": (
        lambda e, d: {"symbols": e.covariates_file},
        r"covariates\.txt\.gz: found the header SampleID, HG00096, HG00097, .*; gene symbols need a GTF",
    ),
    "output is a file": (lambda e, d: {"out": _touch(d / "taken")}, r"taken.* is a file"),
}  # fmt: skip


def _touch(path):
    path.write_text("")
    return path


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_2(case, tmp_path, example, capsys):
    make, message = BAD[case]
    code, err = _run(command(example, **{"out": tmp_path / "run"} | make(example, tmp_path)), capsys)
    last = err.strip().splitlines()[-1]
    assert code == 2, err
    assert "Traceback" not in err
    assert re.search(message, last), last


def test_unwritable_output(tmp_path, example, capsys):
    if os.geteuid() == 0:
        blocked = Path("/proc/genopred")  # even root cannot write there
    else:
        blocked = tmp_path / "locked"
        blocked.mkdir(mode=0o500)
    code, err = _run(command(example, blocked / "run"), capsys)
    assert code == 2 and "Traceback" not in err and "write" in err


@pytest.mark.parametrize(("threads", "size"), [(1, "4k"), (1, "64k"), (2, "64k"), (1, "200k")])
def test_a_full_disk_is_one_line_and_the_run_goes_on_once_there_is_room(
    tmp_path, example, capsys, small_disk, threads, size
):
    """At the lock, in a worker's parquet, and at the end."""
    genes = example.expression.genes["gene_id"].to_list()[:3]
    words = command(example, "OUT", threads=threads, learners="ridge,gblup-tss")
    words += [word for gene in genes[1:] for word in ("--gene", gene)]
    whole, small = (
        [str(folder / "run") if word == "OUT" else word for word in words] for folder in (tmp_path, small_disk)
    )
    assert _run(whole, capsys)[0] == 0
    resize_disk(small_disk, size)
    code, err = _run(small, capsys)
    last = err.strip().splitlines()[-1]
    assert code == 2 and "Traceback" not in err and "fault of genopred" not in err, err
    assert last.startswith("GenopredError: ") and "No space left on device" in last and str(small_disk) in last
    left = [path.name for path in small_disk.rglob("*")]
    assert not [name for name in left if ".part" in name or name.endswith("lock")]
    resize_disk(small_disk, "20m")
    assert _run(small, capsys)[0] == 0
    assert contents(tmp_path / "run") == contents(small_disk / "run")


def test_no_space_at_any_write(tmp_path, failing_write):
    config = settings(tmp_path / "run", genes=1, learners=("ridge",))
    stack.run(replace(config, out=tmp_path / "whole"))
    for n in range(1, 100):
        count = failing_write(n)
        try:
            stack.run(config)
        except GenopredError as bad:
            assert "No space left on device" in str(bad) or "cannot be written" in str(bad)
            assert not [path for path in tmp_path.rglob("*") if ".part" in path.name or path.name.endswith("lock")]
        else:
            break
    assert n > count[0] > 8  # models that are whole are not written again, so that the last run writes less
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_all_missing_variant_is_dropped_and_counted(tmp_path, example, capsys):
    """Through plink's own format: one variant without a single call, one monomorphic."""
    genotypes = example.genotypes
    dosage = genotypes.dosage(np.arange(300)).copy()
    dosage[:, 5] = np.nan
    dosage[:, 6] = 0
    write_plink(tmp_path / "holes", dosage, genotypes.samples, genotypes.variants[:300])
    tss = genotypes.variants["pos"][150]
    lines = gzip.decompress(example.expression_file.read_bytes()).decode().splitlines()
    cells = lines[1].split("\t")
    cells[1:3] = [str(tss - 1), str(tss)]
    (tmp_path / "e.bed").write_text(lines[0] + "\n" + "\t".join(cells) + "\n")
    words = command(example, tmp_path / "run", bfile=tmp_path / "holes", expression=tmp_path / "e.bed", gene=cells[3])
    assert _run(words, capsys)[0] == 0
    table = pl.read_csv(tmp_path / "run" / "matched.tsv", separator="\t")
    dropped = dict(table.filter(status="dropped", item="gene-variant pairs").select("reason", "n").iter_rows())
    assert dropped["genotype of everybody missing"] == 1 and dropped["monomorphic"] == 1
    counted = dict(table.filter(item="gene-variant pairs").group_by("status").agg(pl.col("n").sum()).iter_rows())
    near = int((np.abs(genotypes.variants["pos"][:300].to_numpy() - tss) <= 500_000).sum())
    assert counted == {"in": near, "used": near - 2, "dropped": 2}


def test_default_learners_are_all_registered():
    assert len(DEFAULT_LEARNERS) == 12 and {"ridge", "random-forest", "lightgbm", "pt-prs"} <= set(DEFAULT_LEARNERS)
