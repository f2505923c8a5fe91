"""`genopred associate` with traits of people: statsmodels gene by gene, covariates, missing people, bad tables."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from models_data import TRAIN, cohort, new_people

from genopred.errors import AlignmentError, FormatError, GenopredError
from genopred.learning.evaluate import benjamini_hochberg
from genopred.pipelines import associate
from genopred.pipelines.apply_models import load_models
from genopred.settings import Associate

SAMPLES = [f"P{i}" for i in range(120)]
GENES = ["g1", "g2.1", "flat", "g4"]


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Predicted expression, traits and covariates of 120 people, in files, and as arrays."""
    folder = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(4)
    x = rng.standard_normal((4, 120))
    x[2] = 1.5
    c = rng.standard_normal((120, 2))
    height = 0.5 * x[0] + c @ [1.0, -0.5] + rng.standard_normal(120)
    case = (0.8 * x[1] + rng.standard_normal(120) > 0).astype(int) + 1
    table = pl.DataFrame({"sample": SAMPLES, **dict(zip(GENES, x))})
    table.write_parquet(folder / "x.parquet")
    flat = table.select(pl.col("sample").alias("FID"), pl.col("sample").alias("IID"), pl.exclude("sample"))
    flat.write_csv(folder / "x.tsv", separator="\t")
    known = rng.permutation(120)[:100]  # the others have no height
    lines = ["FID IID height case"]
    lines += [f"{SAMPLES[i]} {SAMPLES[i]} {height[i] if i in known else 'NA'} {case[i]}" for i in rng.permutation(120)]
    (folder / "pheno.txt").write_text("\n".join(lines) + "\n")
    lines = ["id\tC1\tC2", *(f"{SAMPLES[i]}\t{c[i, 0]}\t{c[i, 1]}" for i in range(110))]
    (folder / "covar.txt").write_text("\n".join(lines) + "\n")
    height = np.where(np.isin(np.arange(120), known), height, np.nan)
    return folder, x, c, height, case


def run(people, out, **options):
    folder = people[0]
    settings = {"predicted": folder / "x.parquet", "pheno": folder / "pheno.txt", "out": out, "threads": 1}
    return associate.run(Associate(**settings | options))


def check(table, x, y, c, family):
    import statsmodels.api as sm
    from statsmodels.discrete.discrete_model import Logit

    used = ~np.isnan(y)
    for g, name in enumerate(GENES):
        row = table.filter(gene_id=name).row(0, named=True)
        if name == "flat":
            assert np.isnan(row["z"]) and row["pval"] == 1
            continue
        design = np.column_stack([x[g, used], np.ones(used.sum()), *(c[used].T if c is not None else [])])
        fit = sm.OLS(y[used], design).fit() if family == "linear" else Logit(y[used], design).fit(disp=0)
        expected = (fit.params[0], fit.bse[0], fit.tvalues[0], fit.pvalues[0])
        assert (row["effect"], row["se"], row["z"], row["pval"]) == pytest.approx(expected, rel=1e-4)
        assert row["n"] == used.sum()


@pytest.mark.parametrize("kind", ["x.parquet", "x.tsv"])
def test_every_trait_and_gene(people, tmp_path, kind):
    folder, x, c, height, case = people
    result = run(people, tmp_path / "out", predicted=folder / kind)
    assert result.table.columns == list(associate.COLUMNS)
    assert result.table["trait"].unique(maintain_order=True).to_list() == ["height", "case"]
    check(result.table.filter(trait="height"), x, height, None, "linear")
    check(result.table.filter(trait="case"), x, case - 1.0, None, "logistic")
    for trait in ("height", "case"):
        part = result.table.filter(trait=trait)
        assert part["pval"].is_sorted()
        np.testing.assert_allclose(part["qval"], benjamini_hochberg(part["pval"].to_numpy()))
    for item in result.report.table["item"].unique():
        n = {status: result.report.count(item, status) for status in ("in", "used", "dropped")}
        assert n["in"] == n["used"] + n["dropped"], item
    assert result.report.count("people with height", "dropped") == 20
    written = pl.read_parquet(tmp_path / "out" / "associations.parquet")
    assert written.equals(result.table)
    lines = result.lines()
    assert lines[0].startswith("height: ") and lines[-1].endswith("report.html")
    assert {path.name for path in (tmp_path / "out" / "figures").iterdir()} == {"height.qq.svg", "case.qq.svg"}


def test_covariates_and_one_trait(people, tmp_path):
    """Ten people have no covariates."""
    folder, x, c, height, _ = people
    result = run(people, tmp_path / "out", covar=folder / "covar.txt", pheno_name=("height",))
    y = height.copy()
    y[110:] = np.nan
    check(result.table, x, y, c, "linear")
    fewer = run(people, tmp_path / "one", covar=folder / "covar.txt", pheno_name=("height",), covar_name=("C2",))
    check(fewer.table, x, y, c[:, [1]], "linear")


def test_cases_as_numbers(people, tmp_path):
    folder, x, _, _, case = people
    result = run(people, tmp_path / "out", pheno_name=("case",), regression="linear")
    check(result.table, x, case.astype(float), None, "linear")
    assert "linear regression" in "\n".join(result.report.lines())
    with pytest.raises(GenopredError, match=r"--regression logistic: height has 100 values"):
        run(people, tmp_path / "two", pheno_name=("height",), regression="logistic")
    assert not (tmp_path / "two").exists()


def test_some_genes(people, tmp_path):
    result = run(people, tmp_path / "out", gene=("g4",), pheno_name=("height",))
    assert result.table["gene_id"].to_list() == ["g4"]
    with pytest.raises(AlignmentError, match=r"1 genes are not in .*x.parquet \(g9\)"):
        run(people, tmp_path / "no", gene=("g9",))


def test_a_null_trait_is_not_found_and_a_strong_one_is(people, tmp_path):
    folder = people[0]
    rng = np.random.default_rng(0)
    lines = ["FID IID null", *(f"{name} {name} {rng.standard_normal()}" for name in SAMPLES)]
    (tmp_path / "null.txt").write_text("\n".join(lines) + "\n")
    null = run(people, tmp_path / "out", pheno=tmp_path / "null.txt", predicted=folder / "x.parquet")
    assert null.table["qval"].min() > 1e-4
    real = run(people, tmp_path / "real", pheno_name=("case",))
    assert real.table["gene_id"][0] == "g2.1" and real.table["qval"][0] < 0.05


def test_a_trait_that_does_not_vary_and_strangers(people, tmp_path):
    folder = people[0]
    (tmp_path / "same.txt").write_text("FID IID t\n" + "".join(f"{s} {s} 3\n" for s in SAMPLES))
    with pytest.raises(GenopredError, match="t is the same for all 120 people; nothing to test"):
        run(people, tmp_path / "out", pheno=tmp_path / "same.txt")
    (tmp_path / "others.txt").write_text("FID IID t\n" + "".join(f"{s}-x {s}-x {i}\n" for i, s in enumerate(SAMPLES)))
    with pytest.raises(AlignmentError, match="nobody has both a predicted expression and t .*would match but for"):
        run(people, tmp_path / "out", pheno=tmp_path / "others.txt", predicted=folder / "x.tsv")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b"PAR1 no"), "cannot be read .*give expression.parquet of genopred predict"),
        (lambda path: pl.DataFrame({"sample": ["a"]}).write_parquet(path), "needed are a column sample"),
        (lambda path: pl.DataFrame({"g": [1.0]}).write_parquet(path), "needed are a column sample"),
        (lambda path: pl.DataFrame({"sample": ["a", "b"], "g": [1.0, None]}).write_parquet(path),
         "1 cells are no finite numbers"),
        (lambda path: pl.DataFrame({"sample": ["P1", "P1"], "g": [1.0, 2.0]}).write_parquet(path),
         r"1 samples are there more than once \(P1\); keep one"),
    ],
)  # fmt: skip
def test_bad_predictions_are_named(people, tmp_path, write, message):
    write(tmp_path / "bad.parquet")
    with pytest.raises(GenopredError, match=message):
        run(people, tmp_path / "out", predicted=tmp_path / "bad.parquet")


def test_a_table_whose_cell_is_no_number(people, tmp_path):
    (tmp_path / "bad.tsv").write_text("FID\tIID\tg\nP1\tP1\tmuch\n")
    with pytest.raises(FormatError, match="bad.tsv line 2"):
        run(people, tmp_path / "out", predicted=tmp_path / "bad.tsv")
    with pytest.raises(GenopredError, match="none.parquet"):
        run(people, tmp_path / "out", predicted=tmp_path / "none.parquet")


def test_models_and_genotypes_in_one_go(trained, tmp_path):
    """As predicting first: the same numbers, with what is known of the genes beside them."""
    found = load_models(trained.run).predict(new_people())
    rng = np.random.default_rng(1)
    y = found.values[1] + 0.3 * rng.standard_normal(found.values.shape[1])
    names = cohort().samples[TRAIN:].tolist()
    (tmp_path / "p.txt").write_text("FID IID t\n" + "".join(f"{n} {n} {v}\n" for n, v in zip(names, y)))
    found.table().write_parquet(tmp_path / "x.parquet")
    one = associate.run(Associate(models=trained.run, bfile=trained.folder / "new", pheno=tmp_path / "p.txt",
                                  out=tmp_path / "one", threads=1))  # fmt: skip
    two = associate.run(Associate(predicted=tmp_path / "x.parquet", pheno=tmp_path / "p.txt", out=tmp_path / "two",
                                  threads=1))  # fmt: skip
    for name in ("gene_id", "effect", "z", "pval"):
        assert one.table[name].to_list() == pytest.approx(two.table[name].to_list())
    assert one.table["gene_id"][0] == cohort().genes["gene_id"][1]
    assert one.table["variance_found"].to_list() == [1.0] * 3 and one.table["r2"].is_not_null().all()
    assert (one.table["used"] == one.table["variants"]).all() and two.table["used"].is_null().all()
    assert (tmp_path / "one" / "figures" / "t.manhattan.svg").is_file()


def test_cases_as_plink_writes_them_with_0_for_missing(people, tmp_path):
    folder, _, _, _, case = people
    lines = ["FID IID case", *(f"{name} {name} {0 if i < 10 else case[i]}" for i, name in enumerate(SAMPLES))]
    (tmp_path / "one.txt").write_text("\n".join(lines) + "\n")
    gaps = [line if i < 1 or i > 10 else line.rsplit(" ", 1)[0] + " NA" for i, line in enumerate(lines)]
    (tmp_path / "two.txt").write_text("\n".join(gaps) + "\n")
    one, two = (run(people, tmp_path / f"{name}-out", pheno=tmp_path / f"{name}.txt") for name in ("one", "two"))
    assert one.table["pval"].to_list() == two.table["pval"].to_list() and one.table["n"].to_list() == [110] * 4


def test_every_trait_of_a_file_without_a_header(people, tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{name} {name} {rng.normal():.4f} {rng.normal():.4f}" for name in SAMPLES]
    (tmp_path / "traits.txt").write_text("\n".join(lines) + "\n")
    assert set(run(people, tmp_path / "all", pheno=tmp_path / "traits.txt").table["trait"]) == {"P1", "P2"}
    with pytest.raises(FormatError, match="--pheno-name needs a header line"):
        run(people, tmp_path / "named", pheno=tmp_path / "traits.txt", pheno_name=("BMI",))


def test_genes_of_a_table_are_found_by_name_and_without_version(people, tmp_path):
    rng = np.random.default_rng(1)
    table = pl.DataFrame({"sample": SAMPLES, "ENSG00000130203.9": rng.normal(size=120), "g2.1": rng.normal(size=120)})
    table.write_parquet(tmp_path / "named.parquet")
    for gene in ("APOE", "ENSG00000130203", "ENSG00000130203.9"):
        found = run(people, tmp_path / gene, predicted=tmp_path / "named.parquet", gene=(gene,), pheno_name=("height",))
        assert found.table.select("gene_id", "gene_name").rows() == [("ENSG00000130203.9", "APOE")]
    with pytest.raises(AlignmentError, match="1 genes are not in .*none"):
        run(people, tmp_path / "none", predicted=tmp_path / "named.parquet", gene=("APOE", "none"))
