"""genopred.pipelines.sequence_inputs: what features and effects have in common."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from genopred.errors import FormatError, GenopredError
from genopred.io.example import load_example
from genopred.pipelines.effects import EffectsConfig
from genopred.pipelines.features import FeaturesConfig
from genopred.pipelines.sequence_inputs import (
    SequenceConfig,
    genome_build,
    load_models,
    named_genes,
    open_genotypes,
    read_track_file,
    with_strands,
)

GENES = pl.DataFrame(
    {
        "gene_id": ["ENSG00000000001.4", "ENSG00000000002.1", "HAND"],
        "gene": ["ENSG00000000001", "ENSG00000000002", "HAND"],
        "strand": ["+", ".", None],
    }
)


def config(**changes):
    return SequenceConfig(**{"fasta": Path("ref.fa"), "out": Path("out")} | changes)


@pytest.mark.parametrize("name", ["features", "effects"])
def test_every_common_setting_is_an_option_of_both(name):
    __import__(f"genopred.cli.{name}")
    options = set(inspect.signature(sys.modules[f"genopred.cli.{name}"].command).parameters)
    known = set(SequenceConfig.__dataclass_fields__) - {"settings", "model_options"}
    assert known <= options
    kind = {"features": FeaturesConfig, "effects": EffectsConfig}[name]
    assert issubclass(kind, SequenceConfig) and kind.model == "enformer-small"


def test_genes_by_name_or_file(tmp_path):
    (tmp_path / "genes.txt").write_text("HAND\n")
    found = named_genes(config(gene=("ENSG00000000001",), genes=tmp_path / "genes.txt"), GENES, "table.bed")
    assert found["gene_id"].to_list() == ["ENSG00000000001.4", "HAND"]
    # another version of the same gene
    assert named_genes(config(gene=("ENSG00000000002.77",)), GENES, "table.bed")["gene_id"].to_list() == [
        "ENSG00000000002.1"
    ]
    with pytest.raises(GenopredError, match=r"2 of 3 genes are not in table.bed \(ENSG00000000007, OTHER\)"):
        named_genes(config(gene=("ENSG00000000007", "ENSG00000000001", "OTHER")), GENES, "table.bed")


def test_strands_are_asked_for_only_where_they_matter(tmp_path):
    forward, aware = (SimpleNamespace(name="m", strand_aware=aware) for aware in (False, True))
    base = config(expression=Path("e.bed"))
    assert with_strands(base, forward, GENES) is GENES
    with pytest.raises(
        GenopredError, match=r"e.bed has no strand for 2 of 3 genes \(ENSG00000000002.1, HAND\); give --gtf"
    ):
        with_strands(base, aware, GENES)
    lines = [
        f'1\tx\tgene\t1\t9\t.\t-\t.\tgene_id "{gene}";' for gene in ("ENSG00000000001.9", "ENSG00000000002.3", "HAND")
    ]
    (tmp_path / "genes.gtf").write_text("\n".join(lines) + "\n")
    both = config(expression=Path("e.bed"), gtf=tmp_path / "genes.gtf")
    # a strand that the expression file has is kept
    assert with_strands(both, aware, GENES)["strand"].to_list() == ["+", "-", "-"]
    (tmp_path / "genes.gtf").write_text(lines[0] + "\n")
    with pytest.raises(GenopredError, match=r"genes.gtf has no strand for 2 of 3"):
        with_strands(both, aware, GENES)


def test_a_model_for_each_device(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from test_sequence_models_enformer_checkpoint import write_small

    file = write_small(tmp_path / "small.safetensors", window=2048, target=8)
    models = load_models(config(model=str(file), device="cpu,cpu", threads=1), several=True)
    assert len(models) == 2 and models[0] is not models[1]
    assert len(load_models(config(model=str(file), device="cpu"))) == 1


def test_builds_are_known_by_their_lengths():
    assert genome_build([51_304_566, 249_250_621]) == "GRCh37" and genome_build([50_818_468]) == "GRCh38"
    assert genome_build([]) == genome_build([1200]) == genome_build([51_304_566, 50_818_468]) == "unknown"


def test_files_of_tracks(tmp_path):
    (tmp_path / "tracks.txt").write_text("# a comment\nDNASE:x\r\n\nz$\n")
    assert read_track_file(tmp_path / "tracks.txt") == ["DNASE:x", "z$"]
    (tmp_path / "table.txt").write_text("name\tdescription\tindex\na\tCAGE:z\t2\n")
    assert read_track_file(tmp_path / "table.txt") == ["2"]
    (tmp_path / "table.txt").write_text("name\tdescription\na\tCAGE:z\n")
    assert read_track_file(tmp_path / "table.txt") == ["CAGE:z"]
    with pytest.raises(FormatError, match="absent.txt"):
        read_track_file(tmp_path / "absent.txt")


def test_genotypes_of_two_formats_hold_the_same_people():
    example = load_example()
    plink, pgen = open_genotypes("bfile", example.bfile), open_genotypes("pfile", example.pfile)
    assert plink.samples.tolist() == pgen.samples.tolist() and pgen.phased and not plink.phased
