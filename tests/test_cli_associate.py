"""`genopred associate`: from words to settings, and one line for whatever is wrong with an option."""

from __future__ import annotations

from pathlib import Path

import pytest
from models_data import cohort

from genopred.cli import main
from genopred.pipelines import associate
from genopred.settings import Associate


class Captured(Exception):
    pass


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """The settings that a command line turns into; nothing is run."""
    seen = []

    def run(config, progress):
        seen.append(config)
        raise Captured

    monkeypatch.setattr(associate, "run", run)
    monkeypatch.chdir(tmp_path)

    def of(words: str):
        main(["associate", *words.split()])
        return seen.pop()

    return of


def refused(capsys, words):
    """What a bad command says: one line, exit code 2, nothing written."""
    code = main(["associate", *words])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert code == 2 and len(lines) == 1, (code, lines)
    assert not Path(words[words.index("--out") + 1]).exists()
    return lines[0]


def test_every_option_reaches_the_settings(settings):
    config = settings(
        "--pheno p --pheno-name a,b --models m --method ridge --bfile f --keep k --remove r --extract x --exclude y "
        "--covar c --covar-name C1 --n-covariates 3 --gene a --genes g --ambiguous drop --min-match 0.5 "
        "--regression linear --threads 2 --no-resume --quiet --out o"
    )
    assert config == Associate(
        pheno="p", pheno_name=("a", "b"), models="m", method="ridge", bfile="f", keep="k", remove="r", extract="x",
        exclude="y", covar="c", covar_name=("C1",), n_covariates=3, gene=("a",), genes="g", ambiguous="drop",
        min_match=0.5, regression="linear", threads=2, resume=False, quiet=True, out="o", command=config.command,
    )  # fmt: skip
    config = settings("--sumstats s --models m --covariances c --gwas-n 1000 --gwas-h2 0.2 --out o")
    assert config == Associate(
        sumstats="s", models="m", covariances="c", gwas_n=1000.0, gwas_h2=0.2, out="o", command=config.command
    )


PEOPLE = {"pheno": "pheno.txt", "predicted": "x.tsv"}
SUMMARY = {"sumstats": "gwas.tsv", "models": "MODELS", "bfile": "NEW"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Traits: none given; give exactly one of --pheno and --sumstats"),
        (PEOPLE | {"sumstats": "s"}, "--pheno and --sumstats given"),
        ({"pheno": "pheno.txt"}, "Expression: none given; give exactly one of --predicted and --models"),
        (PEOPLE | {"models": "MODELS"}, "--predicted and --models given"),
        ({"pheno": "pheno.txt", "models": "MODELS"}, "--models with --pheno needs the people's genotypes"),
        (PEOPLE | {"covariances": "c"}, "--covariances goes with --sumstats; leave it out"),
        (PEOPLE | {"gwas-n": "5", "gwas-h2": "0.1"}, "--gwas-n goes with --sumstats"),
        (SUMMARY | {"gwas-n": "5"}, "--gwas-n and --gwas-h2 go together"),
        (SUMMARY | {"gwas-h2": "0.5"}, "--gwas-n and --gwas-h2 go together"),
        (SUMMARY | {"gwas-n": "0", "gwas-h2": "0.5"}, "--gwas-n 0"),
        (SUMMARY | {"gwas-n": "5", "gwas-h2": "1.5"}, "--gwas-h2 1.5"),
        (SUMMARY | {"predicted": "x.tsv"}, "--predicted goes with --pheno"),
        (SUMMARY | {"covar": "c"}, "--covar goes with --pheno"),
        (SUMMARY | {"pheno-name": "c"}, "--pheno-name goes with --pheno"),
        (SUMMARY | {"models": None}, "--sumstats needs --models"),
        (SUMMARY | {"bfile": None}, "--sumstats needs LD between the models' variants"),
        (SUMMARY | {"covariances": "c"}, "--sumstats needs LD between the models' variants"),
        (SUMMARY | {"sumstats": "none"}, "none"),
        (SUMMARY | {"sumstats": "pheno.txt"}, "pheno.txt has no column for"),
        (SUMMARY | {"models": "none"}, "none holds no models"),
        (SUMMARY | {"bfile": "none"}, "none.b"),
        (SUMMARY | {"method": "stack-xgboost"}, "holds it as more than one weight per variant"),
        (SUMMARY | {"bfile": None, "covariances": "none"}, "none"),
        (SUMMARY | {"bfile": None, "covariances": "pheno.txt"}, "needed GENE RSID1 RSID2 VALUE"),
        (SUMMARY | {"sumstats": "strange.tsv"}, "strange.tsv and .* share no variant: their chromosomes differ"),
        (PEOPLE | {"pheno": "none"}, "none"),
        (PEOPLE | {"pheno-name": "weight"}, "weight"),
        (PEOPLE | {"predicted": "none"}, "none"),
        (PEOPLE | {"covar": "none"}, "none"),
        (PEOPLE | {"covar": "covar.txt", "covar-name": "C9"}, "--covar-name: C9 not in"),
        (PEOPLE | {"gene": "ENSG9"}, "1 genes are not in x.tsv"),
        (PEOPLE | {"genes": "none"}, "none"),
        (PEOPLE | {"regression": "probit"}, "--regression"),
        (PEOPLE | {"regression": "logistic"}, "--regression logistic: height has 30 values"),
        (PEOPLE | {"min-match": "-1"}, "--min-match -1"),
        (PEOPLE | {"ambiguous": "x"}, "--ambiguous"),
        (PEOPLE | {"threads": "0"}, "--threads 0"),
    ],
    ids=str,
)
def test_a_bad_option_is_one_line(trained, tmp_path, monkeypatch, capsys, options, message):
    import re

    monkeypatch.chdir(tmp_path)
    people = [f"P{i}" for i in range(30)]
    Path("pheno.txt").write_text("FID IID height\n" + "".join(f"{p} {p} {i}\n" for i, p in enumerate(people)))
    Path("covar.txt").write_text("id\tC1\n" + "".join(f"{p}\t{i % 7}\n" for i, p in enumerate(people)))
    Path("x.tsv").write_text("FID\tIID\tg\n" + "".join(f"{p}\t{p}\t{i % 5}\n" for i, p in enumerate(people)))
    head = "chromosome\tbase_pair_location\teffect_allele\tother_allele\tbeta\tstandard_error\tp_value\n"
    Path("strange.tsv").write_text(f"{head}1\t5\tA\tG\t0.1\t0.1\t0.5\n")
    rows = cohort().variants.select("chrom", "pos", "alt", "ref").rows()
    Path("gwas.tsv").write_text(head + "".join(f"{c}\t{p}\t{a}\t{r}\t0.1\t0.1\t0.5\n" for c, p, a, r in rows))
    places = {"MODELS": trained.run, "NEW": trained.folder / "new"}
    given = {"out": "out", "quiet": ""} | options
    words = [
        word for name, value in given.items() if value is not None
        for word in (f"--{name}", str(places.get(value, value))) if word
    ]  # fmt: skip
    line = refused(capsys, words)
    assert re.search(message, line), line
