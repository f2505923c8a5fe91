"""`genopred prs`: from words on the command line to settings. What it computes is in test_pipelines_prs.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from genopred.cli import main
from genopred.genetics.scores import P_THRESHOLDS, R2_THRESHOLDS
from genopred.pipelines import prs
from genopred.settings import Prs


class Captured(Exception):
    pass


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """The settings that a command line turns into; nothing is run."""
    seen = []

    def run(config, progress):
        seen.append(config)
        raise Captured

    monkeypatch.setattr(prs, "run", run)
    monkeypatch.chdir(tmp_path)

    def of(words: str):
        main(["prs", *words.split()])
        return seen.pop()

    return of


def test_every_option_reaches_the_settings(settings):
    Path("genes.txt").write_text("ENSG1\nENSG2\n")
    config = settings(
        "--pfile p --expression e --covar c --covar-name PC1,PC2 --n-covariates 2 --transform zscore "
        "--residualize global --genes genes.txt --window 1Mb --maf 0.01 --train t --keep k --remove r --extract x "
        "--exclude y --min-overlap 0.5 --keep-overlap --outer-folds 3 --inner-folds 4 --folds f --no-calibrate "
        "--clump-p1 1,5e-8 --clump-p2 0.5 --clump-r2 0.3 --clump-kb 100 --ld em --average --no-mean-imputation "
        "--center --ambiguous drop --min-match 0.5 --seed 9 --threads 2 --no-resume --out o"
    )
    assert config == Prs(
        expression="e",
        pfile="p",
        covar="c",
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
        average=True,
        no_mean_imputation=True,
        center=True,
        ambiguous="drop",
        min_match=0.5,
        train="t",
        folds="f",
        clump_p1=(1.0, 5e-8),
        clump_p2=0.5,
        clump_r2=(0.3,),
        clump_kb=100.0,
        ld="em",
        maf=0.01,
        outer_folds=3,
        inner_folds=4,
        transform="zscore",
        residualize="global",
        calibrate=False,
        threads=2,
        seed=9,
        resume=False,
        command=config.command,
    )
    assert config.mode == "expression" and config.source == Path("e")


def test_defaults_are_those_of_the_settings(settings):
    config = settings("--bfile b --expression e --all")
    assert config == Prs(expression="e", bfile="b", all_genes=True, command=config.command)
    assert (config.clump_p1, config.clump_r2) == (P_THRESHOLDS, R2_THRESHOLDS)


@pytest.mark.parametrize(
    ("words", "mode", "others"),
    [
        ("--pheno y.phe --pheno-name height", "pheno", {"pheno_name": "height"}),
        ("--sumstats g.tsv", "sumstats", {}),
        ("--score w.txt --score-columns 2,4,6", "score", {"score_columns": (2, 4, 6)}),
        (
            "--score w --q-score-range r --q-score-file q",
            "score",
            {"q_score_range": Path("r"), "q_score_file": Path("q")},
        ),
    ],
)
def test_each_source_of_weights_has_its_mode(settings, words, mode, others):
    config = settings(f"--vcf v {words}")
    assert config.mode == mode and config.source == Path(words.split()[1])
    assert {name: getattr(config, name) for name in others} == others
    assert not config.names_genes and config.vcf == Path("v")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--bfile b", "none given; give exactly one of --expression, --pheno, --sumstats, --score"),
        ("--bfile b --pheno y --sumstats g", "--pheno and --sumstats given"),
        ("--score w", "give exactly one of --bfile, --pfile, --vcf and --bgen"),
        ("--bfile b --expression e", "give --gene ID"),
        ("--bfile b --pheno y --all", "--gene, --genes and --all go with --expression, not with --pheno"),
        ("--bfile b --pheno y --clump-r2 0.1;0.2", "--clump-r2 0.1;0.2: needed numbers between commas"),
        ("--bfile b --pheno y --clump-p1 ,", "--clump-p1 ,: names nothing"),
        ("--bfile b --score w --score-columns 1.5,2,3", "--score-columns 1.5,2,3: needed whole numbers"),
        ("--bfile b --score w --score-columns inf,2,3", "whole numbers"),
        ("--bfile b --pheno y --clump-kb 0", "--clump-kb"),
        ("--bfile b --pheno {tmp}/none.phe", "no such file"),
    ],
)
def test_contradictions_are_one_line_and_exit_2(words, message, capsys, tmp_path):
    assert main(["prs", *words.format(tmp=tmp_path).split(), "--out", str(tmp_path / "o")]) == 2
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err and err.count("\n") == 1
