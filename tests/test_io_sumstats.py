"""Summary statistics in the columns of GWAS-SSF, plink 1.9 and plink2."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.errors import FormatError
from genopred.io.sumstats import SUMSTATS_SCHEMA, read_sumstats, sumstats_build

TINY = Path(__file__).parent / "data" / "tiny"

#: Column of the file -> ours, or one that the test adds.
STYLES = {
    "gwas-ssf": {
        "chromosome": "chrom",
        "base_pair_location": "pos",
        "effect_allele": "alt",
        "other_allele": "ref",
        "beta": "beta",
        "standard_error": "se",
        "effect_allele_frequency": "af",
        "p_value": "pval",
        "rsid": "id",
        "n": "n",
    },
    "plink2": {
        "#CHROM": "chrom",
        "POS": "pos",
        "ID": "id",
        "REF": "ref",
        "ALT": "alt",
        "A1": "A1",
        "A1_FREQ": "af",
        "TEST": "TEST",
        "OBS_CT": "n",
        "BETA": "beta",
        "SE": "se",
        "P": "pval",
    },
}


def test_gwas_ssf(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text(
        "chromosome\tbase_pair_location\teffect_allele\tother_allele\todds_ratio\tstandard_error\t"
        "effect_allele_frequency\tneg_log_10_p_value\trsid\tn\n"
        "22\t100\ta\tg\t2.0\t0.1\t0.25\t400\trs1\t1000\n22\t200\tC\tT\t#NA\t#NA\t#NA\t2\t#NA\t#NA\n"
    )
    table = read_sumstats(path)
    assert table.schema == SUMSTATS_SCHEMA
    first, second = table.rows()
    assert first[:5] == ("22", 100, "rs1", "G", "A")
    assert first[5] == pytest.approx(np.log(2)) and 0 < first[7] < 1e-300 and first[8:] == (0.25, 1000)
    assert second == ("22", 200, None, "T", "C", None, None, pytest.approx(0.01), None, None)


def test_plink19(shared):
    path = shared / "peers" / "plink_gene0" / "g0.assoc.linear"
    table = read_sumstats(path)
    rows = [line.split() for line in path.read_text().splitlines()[1:]]
    assert table["id"].to_list() == [row[1] for row in rows]
    assert table["alt"].to_list() == [row[3] for row in rows]
    assert table["ref"].null_count() == len(rows), "plink 1.9 does not write the other allele"
    assert table["beta"].to_list() == [float(row[6]) for row in rows]
    np.testing.assert_allclose(table["se"], [abs(float(row[6]) / float(row[7])) for row in rows], rtol=1e-12)
    assert table["pval"].to_list() == [float(row[8]) for row in rows]


@pytest.mark.skipif(shutil.which("plink2") is None, reason="plink2 is not installed")
def test_plink2(tmp_path):
    people = (TINY / "genotypes.psam").read_text().split("\n")[1:-1]
    rng = np.random.default_rng(0)
    lines = [f"{row.split()[0]} {y:.4f} {c:.4f}" for row, (y, c) in zip(people, rng.normal(size=(60, 2)))]
    (tmp_path / "y.txt").write_text("#IID y c\n" + "\n".join(lines) + "\n")
    command = f"plink2 --pfile {TINY}/genotypes --pheno y.txt --pheno-name y --covar y.txt --covar-name c --glm --out x"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    raw = [line.split("\t") for line in (tmp_path / "x.y.glm.linear").read_text().splitlines()]
    at = {name: j for j, name in enumerate(raw[0])}
    additive = [row for row in raw[1:] if row[at["TEST"]] == "ADD"]
    assert len(raw) - 1 > len(additive), "covariates have rows of their own"
    table = read_sumstats(tmp_path / "x.y.glm.linear")
    assert table.height == len(additive)
    for row, (_, pos, name, ref, alt, beta, _, pval, *_) in zip(additive, table.rows()):
        assert (name, alt, pos) == (row[at["ID"]], row[at["A1"]], int(row[at["POS"]]))
        assert {ref, alt} == {row[at["REF"]], row[at["ALT"]]}
        assert (beta, pval) == (float(row[at["BETA"]]), float(row[at["P"]]))


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_written_is_read(tmp_path_factory, data):
    m = data.draw(st.integers(1, 5))
    number = st.floats(-1e6, 1e6, allow_subnormal=False)

    def draw(values):
        return data.draw(st.lists(values, min_size=m, max_size=m))

    table = pl.DataFrame(
        {
            "chrom": ["22"] * m,
            "pos": draw(st.integers(1, 10**8)),
            "id": [f"rs{j}" for j in range(m)],
            "ref": draw(st.sampled_from("AC")),
            "alt": draw(st.sampled_from("GT")),
            "beta": draw(number),
            "se": draw(st.floats(1e-6, 10)),
            "pval": draw(st.floats(1e-300, 1)),
            "af": draw(st.one_of(st.floats(0, 1, allow_subnormal=False), st.none())),
            "n": draw(st.one_of(st.integers(1, 10**6).map(float), st.none())),
        },
        schema=SUMSTATS_SCHEMA,
    )
    folder = tmp_path_factory.mktemp("sumstats")
    for style, names in STYLES.items():
        out = table.with_columns(pl.col("n").cast(pl.Int64), A1="alt", TEST=pl.lit("ADD"))
        text = out.select(pl.col(ours).alias(theirs) for theirs, ours in names.items()).write_csv(
            separator="\t", null_value="NA" if style == "plink2" else "#NA"
        )
        (folder / "x.tsv.gz").write_bytes(gzip.compress(text.encode()))
        assert read_sumstats(folder / "x.tsv.gz").equals(table), style


def test_separators_and_needs(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("SNP,A1,BETA,P\nrs1,A,0.5,NA\n")
    assert read_sumstats(path)["pval"].to_list() == [None]
    path.write_text("A1,BETA,P\nA,0.5,0.1\n")
    with pytest.raises(FormatError, match="no column for id, or chrom and pos"):
        read_sumstats(path)


def test_the_build_stands_in_the_metadata_beside(tmp_path):
    path = tmp_path / "results.tsv.gz"
    assert sumstats_build(path) is None
    (tmp_path / "results.tsv-meta.yaml").write_text("# GWAS-SSF\ngenome_assembly: GRCh38\ncoordinate_system: 1-based\n")
    assert sumstats_build(path) == "GRCh38"
    (tmp_path / "results.tsv.gz-meta.yaml").write_text("genome_assembly: 'hg19'\n")
    assert sumstats_build(path) == "GRCh37"
