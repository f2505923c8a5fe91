"""The eQTL workflow: files in and out, formats, resume after a kill, counts, refused input."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import resize_disk

from genopred import resume
from genopred.errors import AlignmentError, GenopredError
from genopred.genetics.eqtl.beta import PERMUTATION_SCHEMA
from genopred.genetics.eqtl.scan import NOMINAL_SCHEMA
from genopred.genetics.eqtl.signals import INDEPENDENT_SCHEMA
from genopred.pipelines import eqtl, run
from genopred.settings import Eqtl

GOLDEN = Path(__file__).parent / "golden" / "eqtl"


def config(tmp_path, **other):
    given = {
        "expression": GOLDEN / "tiny.bed.gz",
        "vcf": GOLDEN / "tiny.vcf.gz",
        "covar": GOLDEN / "tiny.cov.txt",
        "window": 150_000,
        "all_genes": True,
        "permute": 200,
        "out": tmp_path / "run",
        "threads": 1,
    }
    return Eqtl(**(given | other))


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    folder = tmp_path_factory.mktemp("full")
    result = eqtl.run(config(folder, independent=True, susie=True))
    return folder, result


def read_all(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".parquet", ".tsv")}


def test_files_and_columns(full):
    folder, result = full
    assert sorted(read_all(folder)) == [
        "run.SuSiE_summary.parquet",
        "run.SuSiE_summary.tsv",
        "run.cis_independent_qtl.parquet",
        "run.cis_independent_qtl.tsv",
        "run.cis_qtl.parquet",
        "run.cis_qtl.tsv",
        "run.cis_qtl_pairs.chr22.parquet",
        "run.matched.tsv",
    ]
    assert {path.name for path in folder.iterdir()} == {*read_all(folder), "run.run.json"}  # no parts, no lock
    pairs = pl.read_parquet(folder / "run.cis_qtl_pairs.chr22.parquet")
    assert pairs.schema == NOMINAL_SCHEMA and pairs.height == result.pairs
    genes = pl.read_parquet(folder / "run.cis_qtl.parquet")
    assert genes.schema == {**PERMUTATION_SCHEMA, "qval": pl.Float64, "pval_nominal_threshold": pl.Float64}
    assert pl.read_csv(folder / "run.cis_qtl.tsv", separator="\t").height == genes.height == 4
    sets = pl.read_parquet(folder / "run.SuSiE_summary.parquet")
    assert sets.schema == eqtl.CREDIBLE_SCHEMA and result.susie is not None
    signals = pl.read_parquet(folder / "run.cis_independent_qtl.parquet")
    assert signals.schema == INDEPENDENT_SCHEMA


def test_the_strong_gene_has_two_signals_and_its_sets_hold_them(full):
    _, result = full
    gene = "ENSG00000100347.10"
    signals = result.independent.filter(pl.col("phenotype_id") == gene)
    sets = result.susie.filter(pl.col("phenotype_id") == gene)
    assert signals.height == 2 and sets["cs_id"].n_unique() == 2
    for (_,), one in sets.group_by("cs_id"):
        assert one["cs_coverage"][0] >= 0.95 and one["pip"].sum() >= 0.95
        assert one.height == one["cs_size"][0]
    assert set(result.independent["phenotype_id"]) <= set(
        result.genes.filter(pl.col("qval") <= 0.05)["phenotype_id"].to_list()
    )


def test_top_of_the_permutation_pass_is_the_smallest_nominal_p(full):
    folder, result = full
    pairs = pl.read_parquet(folder / "run.cis_qtl_pairs.chr22.parquet")
    for row in result.genes.iter_rows(named=True):
        mine = pairs.filter(pl.col("phenotype_id") == row["phenotype_id"])
        assert row["num_var"] == mine.height
        assert row["pval_nominal"] == pytest.approx(mine["pval_nominal"].min(), rel=1e-9)
        own = mine.filter(pl.col("variant_id") == row["variant_id"])
        assert own["slope"][0] == pytest.approx(row["slope"], rel=1e-6)


def test_threads_change_nothing(full, tmp_path):
    eqtl.run(config(tmp_path, independent=True, susie=True, threads=3))
    assert read_all(tmp_path) == read_all(full[0])


class Killed(BaseException):
    pass


@pytest.mark.parametrize("victim", ["_scan", "permutation_table", "independent", "susie", "write_table"])
def test_killed_and_resumed_gives_the_same_files(full, tmp_path, monkeypatch, victim):
    again = config(tmp_path, independent=True, susie=True)

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        if victim == "_scan":
            patch.setattr(eqtl._Work, "_scan", die)
        elif victim == "permutation_table":
            patch.setattr(eqtl, "permutation_table", die)
        elif victim == "write_table":
            patch.setattr(run, "write_table", die)
        else:
            patch.setattr(eqtl._Work, f"_{victim}", die)
        with pytest.raises(Killed):
            eqtl.run(again)
    assert (tmp_path / "run.run.json").is_file()
    if victim in ("susie", "write_table"):  # what was done is not done again
        monkeypatch.setattr(eqtl._Work, "_scan", die)
        monkeypatch.setattr(eqtl._Work, "_independent", die)
    eqtl.run(again)
    assert read_all(tmp_path) == read_all(full[0])


@pytest.mark.parametrize("size", ["4k", "16k", "40k"])
def test_a_full_disk_is_refused_and_the_run_goes_on_once_there_is_room(full, small_disk, size):
    resize_disk(small_disk, size)
    again = config(small_disk, independent=True, susie=True)
    if size == "4k":
        (small_disk / "filler").write_bytes(bytes(4096))
    with pytest.raises(GenopredError, match=r"cannot write .*run\S*: No space left on device, [\d,]+ bytes"):
        eqtl.run(again)
    assert not [path for path in small_disk.rglob("*") if ".part." in path.name or path.suffix == ".lock"]
    resize_disk(small_disk, "20m")
    eqtl.run(again)
    assert read_all(small_disk) == read_all(full[0])


def test_no_space_at_any_write(full, tmp_path, failing_write):
    for n in range(1, 100):
        count, folder = failing_write(n), tmp_path / str(n)
        try:
            eqtl.run(config(folder, independent=True, susie=True))
        except GenopredError as bad:
            assert "No space left on device" in str(bad)
            assert not [path for path in folder.rglob("*") if ".part." in path.name or path.suffix == ".lock"]
        else:
            break
        failing_write(0)
        eqtl.run(config(folder, independent=True, susie=True))
        assert read_all(folder) == read_all(full[0]), n
    assert n == count[0] + 1 > 10


def test_other_settings_do_not_mix_with_old_parts(tmp_path, monkeypatch):
    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(run, "write_table", die)
        with pytest.raises(Killed):
            eqtl.run(config(tmp_path))
    with pytest.raises(GenopredError, match=r"other settings \(--seed\)"):
        eqtl.run(config(tmp_path, seed=2))
    eqtl.run(config(tmp_path, seed=2, resume=False))
    assert not (tmp_path / "run.parts").exists()


def test_a_finished_run_is_not_replaced_by_another_nor_mixed_with_it(tmp_path):
    eqtl.run(config(tmp_path, independent=True, susie=True))
    before = read_all(tmp_path)
    eqtl.run(config(tmp_path, independent=True, susie=True))
    assert read_all(tmp_path) == before
    with pytest.raises(GenopredError, match=r"other settings \(--covar\).*--no-resume"):
        eqtl.run(config(tmp_path, covar=None, independent=True, susie=True))
    assert read_all(tmp_path) == before
    neighbour = tmp_path / "run.other.cis_qtl.tsv"
    neighbour.write_text("")
    eqtl.run(config(tmp_path, covar=None, permute=0, resume=False))
    assert set(read_all(tmp_path)) == {"run.cis_qtl_pairs.chr22.parquet", "run.matched.tsv", neighbour.name}
    (tmp_path / "run.run.json").unlink()
    with pytest.raises(GenopredError, match="settings are not known"):
        eqtl.run(config(tmp_path, permute=0))


def test_version_and_compressed_variants_count(tmp_path, monkeypatch):
    """Their change went unnoticed, and parts of both runs were put together."""
    eqtl.run(config(tmp_path, permute=0))
    monkeypatch.setattr(resume, "versions", lambda: {"genopred": "0.0.1"})
    with pytest.raises(GenopredError, match=r"other settings \(version\)"):
        eqtl.run(config(tmp_path, permute=0))
    prefix = tmp_path / "people"
    for end in (".pgen", ".pvar.zst", ".psam"):
        Path(f"{prefix}{end}").write_text("1")
    one = resume.fingerprint(config(tmp_path, vcf=None, pfile=prefix).that_matter())
    Path(f"{prefix}.pvar.zst").write_text("2")
    two = resume.fingerprint(config(tmp_path, vcf=None, pfile=prefix).that_matter())
    assert resume.difference(one, two) == ["--pfile"]


def blank(path, target, wanted, cell):
    """The VCF with the calls of the wanted positions replaced."""
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    out = []
    for line in lines:
        cells = line.split("\t")
        if not line.startswith("#") and wanted(int(cells[1])):
            cells[8] = "GT"
            cells[9:] = [cell] * len(cells[9:])
        out.append("\t".join(cells))
    target.write_text("\n".join(out) + "\n")
    return target


@pytest.mark.parametrize("permute", [0, 200])
@pytest.mark.parametrize(("cell", "reason"), [("./.", "missing"), ("0/0", "monomorphic")])
def test_nothing_to_test_is_said_and_leaves_no_empty_tables(tmp_path, permute, cell, reason):
    vcf = blank(GOLDEN / "tiny.vcf.gz", tmp_path / "blank.vcf", lambda pos: True, cell)
    with pytest.raises(AlignmentError, match=rf"nothing was tested: none of 4 genes .*{reason}.*--window"):
        eqtl.run(config(tmp_path, vcf=vcf, permute=permute))
    assert [path.name for path in tmp_path.iterdir()] == ["blank.vcf"]


def test_genes_with_nothing_to_test_are_counted(full, tmp_path):
    lines = gzip.decompress((GOLDEN / "tiny.bed.gz").read_bytes()).decode().splitlines()
    tss = [int(line.split("\t")[2]) for line in lines[1:]]
    far = max(tss)
    vcf = blank(GOLDEN / "tiny.vcf.gz", tmp_path / "blank.vcf", lambda pos: pos >= far - 10_000, "0/0")
    result = eqtl.run(config(tmp_path, vcf=vcf, window=10_000))
    table = pl.read_csv(tmp_path / "run.matched.tsv", separator="\t")
    assert table.drop("examples").equals(result.report.table.drop("examples"))
    dropped = table.filter(item="genes", status="dropped", reason=eqtl.NOTHING)
    tested = result.genes["phenotype_id"].to_list()
    assert dropped["n"].sum() >= 1 and dropped["n"].sum() + len(tested) == 4
    assert result.report.count("genes", "used") == len(tested)
    for item in ("genes", "variants"):
        used, lost, came = (result.report.count(item, status) for status in ("used", "dropped", "in"))
        assert used + lost == came, item
    pairs = pl.read_parquet(tmp_path / "run.cis_qtl_pairs.chr22.parquet")
    assert result.report.count("variants", "used") == pairs["variant_id"].n_unique()


def test_plink_and_vcf_give_the_same(full, tmp_path):
    from plink_data import write_plink

    from genopred.io.vcf import read_vcf

    genotypes = read_vcf(GOLDEN / "tiny.vcf.gz")
    write_plink(tmp_path / "tiny", genotypes.dosage(), genotypes.samples, genotypes.variants)
    out = tmp_path / "out"
    out.mkdir()
    eqtl.run(config(out, vcf=None, bfile=tmp_path / "tiny", independent=True, susie=True))
    tables, others = read_all(out), read_all(full[0])
    assert tables.pop("run.matched.tsv") != others.pop("run.matched.tsv")  # it names the files
    assert tables == others


def test_permutations_only_and_nominal_only(tmp_path):
    one = eqtl.run(config(tmp_path, nominal=False, out=tmp_path / "p"))
    two = eqtl.run(config(tmp_path, permute=0, out=tmp_path / "n"))
    assert {path.name for path in one.files} == {"p.cis_qtl.parquet", "p.cis_qtl.tsv"}
    assert [path.name for path in two.files] == ["n.cis_qtl_pairs.chr22.parquet"] and two.genes is None


def test_maf_filter_is_counted(tmp_path):
    result = eqtl.run(config(tmp_path, permute=0, maf=0.2))
    pairs = pl.read_parquet(tmp_path / "run.cis_qtl_pairs.chr22.parquet")
    assert np.minimum(pairs["af"], 1 - pairs["af"].to_numpy()).min() >= 0.2 - 1e-6
    rows = result.report.table.filter((pl.col("item") == "variants") & (pl.col("reason") == "MAF below 0.2"))
    assert rows["n"].sum() > 10 and result.report.count("variants", "used") + rows["n"].sum() <= 400


def test_several_chromosomes(tmp_path):
    # The same region twice, as chromosomes 21 and 22.
    text = gzip.decompress((GOLDEN / "tiny.vcf.gz").read_bytes()).decode()
    body = [line for line in text.splitlines() if not line.startswith("#")]
    head = [line for line in text.splitlines() if line.startswith("#") and not line.startswith("##contig")]
    head.insert(1, "##contig=<ID=chr21>\n##contig=<ID=chr22>")
    other = [line.replace("chr22", "chr21", 1).replace("\t22_", "\t21_", 1) for line in body]
    (tmp_path / "two.vcf").write_text("\n".join([*head, *other, *body]) + "\n")
    rows = gzip.decompress((GOLDEN / "tiny.bed.gz").read_bytes()).decode().splitlines()
    twin = [row.replace("chr22", "chr21", 1).replace("ENSG", "TWIN", 1) for row in rows[1:]]
    (tmp_path / "two.bed").write_text("\n".join([rows[0], *twin, *rows[1:]]) + "\n")
    result = eqtl.run(config(tmp_path, vcf=tmp_path / "two.vcf", expression=tmp_path / "two.bed"))
    assert {path.name for path in result.files} >= {f"run.cis_qtl_pairs.chr{c}.parquet" for c in (21, 22)}
    one, two = result.genes[:4], result.genes[4:]
    assert one["phenotype_id"].str.starts_with("TWIN").all()
    assert one["pval_beta"].to_list() == two["pval_beta"].to_list()
    assert one["variant_id"].str.starts_with("21_").all() and two["variant_id"].str.starts_with("22_").all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compat": "matrixeqtl"}, "--compat matrixeqtl: there are tensorqtl, qtltools"),
        ({"transform": "log"}, "--transform log: there are inverse-normal, none"),
        ({"nominal": False, "permute": 0}, "nothing to do"),
        ({"permute": 10}, "at least 100"),
        ({"permute": 0, "susie": True}, "--susie works on the genes of the permutation pass"),
        ({"compat": "qtltools", "independent": True}, "no QTLtools version"),
        ({"fdr": 5.0}, "--fdr 5.0: needed a number above 0, below 1"),
        ({"fdr": 0}, "--fdr 0: needed a number above 0, below 1."),
        ({"coverage": 1.5}, "--coverage 1.5: needed a number from 0.01 to 0.9999"),
        ({"min_abs_corr": 5.0}, "--min-abs-corr 5.0: needed a number from 0 to 1"),
        ({"maf": 0.6}, "--maf 0.6: needed a number from 0 to 0.5"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_read(tmp_path, options, message):
    with pytest.raises(GenopredError, match=message):
        config(tmp_path, expression=tmp_path / "absent.bed", **options)


def test_settings_know_their_files(tmp_path, monkeypatch):
    def die(*args, **kwargs):
        raise Killed

    monkeypatch.setattr(run, "write_table", die)
    with pytest.raises(Killed):
        eqtl.run(config(tmp_path))
    settings = json.loads((tmp_path / "run.run.json").read_text())
    assert settings["--expression"] == [["tiny.bed.gz", resume.digest(GOLDEN / "tiny.bed.gz")]]


def test_parts_of_other_genes_are_not_taken(tmp_path, monkeypatch):
    """Parts are of a chromosome, whatever genes it had."""
    ids = pl.read_csv(GOLDEN / "tiny.bed.gz", separator="\t").get_column("gene").to_list()

    def die(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(run, "write_table", die)
        with pytest.raises(Killed):
            eqtl.run(config(tmp_path, gene=ids[:1], all_genes=False))
    with pytest.raises(GenopredError, match=r"other settings \(--gene\)"):
        eqtl.run(config(tmp_path, gene=ids[1:2], all_genes=False))
    (tmp_path / "genes.txt").write_text(f"{ids[0]}\n")
    assert eqtl.run(config(tmp_path, genes=tmp_path / "genes.txt", all_genes=False)).genes.height == 1


def test_what_is_said_at_the_end(full):
    _, result = full
    lines = result.lines()
    assert lines[0] == f"{result.pairs:,} gene-variant pairs tested"
    assert re.fullmatch(r"\d of 4 genes with an eQTL at FDR 0.05 \(pi0 [01]\.\d{3}\)", lines[1])
    assert lines[2] == f"{result.independent.height} independent signals" and "credible sets of" in lines[3]
    assert lines[4:] == [f"  {file}" for file in result.files]
