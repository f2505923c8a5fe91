"""`genopred stack` and `genopred benchmark`: from words on the command line to settings, files and a table."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from genopred.cli import main
from genopred.io.example import load_example
from genopred.pipelines import benchmark, stack
from genopred.settings import Stack


class Captured(Exception):
    pass


@pytest.fixture
def settings(monkeypatch):
    """The settings that a command line turns into; nothing is run."""
    seen = []

    def run(config, progress):
        seen.append(config)
        raise Captured

    monkeypatch.setattr(stack, "run", run)
    monkeypatch.setattr(benchmark, "run", run)

    def of(*args: str):
        main(list(args))
        return seen.pop()

    return of


def test_every_option_reaches_the_settings(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("genes.txt").write_text("ENSG1\nENSG2\n")
    words = (
        "stack --pfile p --expression e.bed --covar c.txt --covar-name PC1,PC2 --n-covariates 2 --transform zscore "
        "--residualize global --genes genes.txt --window 1Mb --maf 0.01 --keep k --remove r --extract x --exclude y "
        "--min-overlap 0.5 --keep-overlap --learners susie,ridge --meta nnls --outer-folds 3 --inner-folds 4 "
        "--folds f --stratify s --stack-weights none --features d --inputs both "
        "--feature-transform quantile --feature-components 7 "
        "--symbols t --seed 9 --threads 2 --no-resume --out o"
    )
    config = settings(*words.split())
    assert config.command.split()[0] == "genopred"
    assert config == Stack(
        expression="e.bed",
        pfile="p",
        covar="c.txt",
        covar_name=("PC1", "PC2"),
        n_covariates=2,
        keep="k",
        remove="r",
        extract="x",
        exclude="y",
        genes="genes.txt",
        window=1_000_000,
        min_overlap=0.5,
        keep_overlap=True,
        out="o",
        learners=("susie", "ridge"),
        meta="nnls",
        maf=0.01,
        folds="f",
        stratify="s",
        outer_folds=3,
        inner_folds=4,
        transform="zscore",
        residualize="global",
        features="d",
        inputs="both",
        feature_transform="quantile",
        feature_components=7,
        stack_weights="none",
        threads=2,
        seed=9,
        resume=False,
        command=config.command,
        symbols="t",
    )


def test_defaults_are_those_of_the_settings(settings, tmp_path):
    config = settings("stack", "--vcf", "v", "--expression", "e", "--all", "--out", f"{tmp_path}/o")
    assert config == Stack(expression="e", vcf="v", all_genes=True, out=tmp_path / "o", command=config.command)


def test_features_of_a_model_are_used_beside_genotypes_by_default(settings, tmp_path):
    words = f"--vcf v --expression e --all --features enformer-small --fasta ref.fa --out {tmp_path}/o".split()
    for name in ("stack", "benchmark"):
        config = settings(name, *words)
        assert (config.features, config.fasta, config.seen) == ("enformer-small", Path("ref.fa"), "both")
    assert settings("stack", *words, "--inputs", "sequence").inputs == "sequence"


def test_benchmark_takes_the_same_options_and_peers(settings, tmp_path):
    words = ["--vcf", "v", "--expression", "e", "--gene", "a", "--gene", "b", "--out", f"{tmp_path}/o"]
    done = settings("benchmark", *words)
    assert isinstance(done, Stack) and done.gene == ("a", "b") and done.peers == ("glmnet",)
    assert done.given() == settings("stack", *words).given() | {"--peers": ("glmnet",)}
    assert settings("benchmark", *words, "--peers", "none").peers == ()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--expression e --all", "none given; give exactly one of --bfile, --pfile, --vcf and --bgen"),
        ("--expression e --vcf v --bfile b --all", "--bfile and --vcf given"),
        ("--expression e --vcf v", "give --gene ID (as often as you like), --genes FILE or --all"),
        ("--expression e --vcf v --gene a --all", "--gene and --all given"),
        ("--vcf v --all", "UsageError: --expression is missing"),
        ("--expression e --vcf v --genes {tmp}/none.txt", "none.txt"),
        ("--expression e --vcf v --all --meta magic", "--meta magic"),
        ("--expression e --vcf v --all --learners elastik-net", "Did you mean 'elastic-net'?"),
        ("--expression e --vcf v --all --features enformer-small", "needs --fasta FILE"),
        ("--expression e --vcf v --all --features nothing", "no such folder, and no model of that name"),
        ("--expression e --vcf {tmp}/none.vcf --all", "none.vcf: no such file"),
        ("--expression e --vcf v --all --symbols {tmp}/none.gtf", "none.gtf: no such file; needed gene symbols: a GTF"),
    ],
)
def test_contradictions_are_one_line_and_exit_2(words, message, capsys, tmp_path):
    args = ["stack", *words.format(tmp=tmp_path).split(), "--out", str(tmp_path / "o")]
    assert main(args) == 2
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err and err.count("\n") == 1


def test_a_run_on_real_people(tmp_path, capsys, monkeypatch):
    example = load_example()
    out = tmp_path / "run"
    args = (
        f"stack --bfile {example.bfile} --expression {example.expression_file} --covar {example.covariates_file} "
        f"--gene ENSG00000172404 --learners pt-prs,elastic-net,susie-tss --threads 1 --symbols {example.symbols_file} "
        f"--out {out}"
    ).split()
    assert main(args) == 0
    said = capsys.readouterr()
    for part in ("Method", "stack-xgboost", "elastic-net", "DNAJB7 (ENSG00000172404.4)", f"Page: {out}/report.html"):
        assert part in said.out
    assert "27 dropped" in said.err
    summary = pl.read_csv(out / "summary.tsv", separator="\t")
    r2 = dict(zip(summary["method"], summary["mean_r2"]))
    assert r2["elastic-net"] > 0.5  # this gene has a strong eQTL
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "DNAJB7 (ENSG00000172404.4)" in page and "not asked for" in page
    log = (tmp_path / "run.log").read_text()
    assert "27 dropped" in log and "done after" in log and "mean_r2" in log

    # once more: nothing is computed again, and the words are the same
    assert main([*args, "--quiet"]) == 0
    again = capsys.readouterr()
    assert again.out == said.out


def test_an_unknown_gene_is_named(tmp_path, capsys):
    example = load_example()
    args = f"stack --bfile {example.bfile} --expression {example.expression_file} --gene ENSG00000000001 --quiet"
    assert main([*args.split(), "--out", str(tmp_path / "o")]) == 2
    err = capsys.readouterr().err
    assert "AlignmentError" in err and "ENSG00000000001" in err and err.count("\n") == 1
