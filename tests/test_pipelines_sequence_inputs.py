"""genopred.pipelines.sequence_inputs: what features and effects have in common."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from genopred.errors import GenopredError
from genopred.pipelines.sequence_inputs import inside, load_models, named_genes, open_genes, said, with_strands
from genopred.settings import Features
from genopred.settings.effects import parse_region

GENES = pl.DataFrame(
    {
        "gene_id": ["ENSG00000000001.4", "ENSG00000000002.1", "HAND"],
        "gene": ["ENSG00000000001", "ENSG00000000002", "HAND"],
        "strand": ["+", ".", None],
    }
)


def settings(**changes):
    base = {"fasta": Path("ref.fa"), "out": Path("out"), "vcf": Path("people.vcf")}
    return Features(**base | {"all_genes": not {"gene", "genes"} & set(changes)} | changes)


def test_genes_by_name_or_file(tmp_path):
    (tmp_path / "genes.txt").write_text("HAND\nENSG00000000001\n")
    base = {"expression": Path("table.bed")}
    found = named_genes(settings(**base, genes=tmp_path / "genes.txt"), GENES)
    assert found["gene_id"].to_list() == ["ENSG00000000001.4", "HAND"]
    assert named_genes(settings(**base), GENES) is GENES
    # another version of the same gene
    assert named_genes(settings(**base, gene=("ENSG00000000002.77",)), GENES)["gene_id"].to_list() == [
        "ENSG00000000002.1"
    ]
    with pytest.raises(GenopredError, match=r"2 of 3 genes are not in table.bed \(ENSG00000000007, OTHER\)"):
        named_genes(settings(**base, gene=("ENSG00000000007", "ENSG00000000001", "OTHER")), GENES)


def test_genes_of_an_annotation_have_another_end(tmp_path):
    lines = [f'1\tx\tgene\t11\t90\t.\t{strand}\t.\tgene_id "{gene}";' for gene, strand in (("A", "+"), ("B", "-"))]
    (tmp_path / "genes.gtf").write_text("\n".join(lines) + "\n")
    genes, people, notes = open_genes(settings(gtf=tmp_path / "genes.gtf"))
    assert genes.select("gene_id", "tss", "far").rows() == [("A", 11, 90), ("B", 90, 11)]
    assert people is None and not notes
    with pytest.raises(GenopredError, match="neither --expression nor --gtf given"):
        open_genes(settings())


def test_strands_are_asked_for_only_where_they_matter(tmp_path):
    forward, aware = (SimpleNamespace(name="m", strand_aware=aware) for aware in (False, True))
    base = settings(expression=Path("e.bed"))
    assert with_strands(base, forward, GENES) is GENES
    with pytest.raises(
        GenopredError, match=r"e.bed has no strand for 2 of 3 genes \(ENSG00000000002.1, HAND\); give --gtf"
    ):
        with_strands(base, aware, GENES)
    lines = [
        f'1\tx\tgene\t1\t9\t.\t-\t.\tgene_id "{gene}";' for gene in ("ENSG00000000001.9", "ENSG00000000002.3", "HAND")
    ]
    (tmp_path / "genes.gtf").write_text("\n".join(lines) + "\n")
    both = settings(expression=Path("e.bed"), gtf=tmp_path / "genes.gtf")
    # a strand that the expression file has is kept
    assert with_strands(both, aware, GENES)["strand"].to_list() == ["+", "-", "-"]
    (tmp_path / "genes.gtf").write_text(lines[0] + "\n")
    with pytest.raises(GenopredError, match=r"genes.gtf has no strand for 2 of 3"):
        with_strands(both, aware, GENES)


def test_a_model_for_each_device(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from test_sequence_models_enformer_checkpoint import write_small

    file = write_small(tmp_path / "small.safetensors", window=2048, target=8)
    models = load_models(settings(model=str(file), device="cpu,cpu", threads=1), several=True)
    assert len(models) == 2 and models[0] is not models[1]
    assert len(load_models(settings(model=str(file), device="cpu"))) == 1


def test_a_stretch_holds_both_its_ends_whatever_the_chromosome_is_called():
    region = parse_region("chr22:1,000-1,003")
    assert said(region) == "chr22:1,000-1,003"
    rows = [("22", 999), ("22", 1000), ("chr22", 1003), ("22", 1004), ("21", 1001), (None, 1001)]
    table = pl.DataFrame(rows, schema={"chrom": pl.String, "pos": pl.Int64}, orient="row")
    assert table.filter(inside(table, region))["pos"].to_list() == [1000, 1003]
