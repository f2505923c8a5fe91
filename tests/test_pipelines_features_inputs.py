"""The way in of genopred features: people, genes, strands, tracks, and files that do not fit."""

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")

import test_pipelines_features as shared
from test_pipelines_features import GENES, SEQUENCE, settings, write_vcf

from genopred.errors import AlignmentError, FormatError, GenopredError, ModelError
from genopred.io.features import read_features
from genopred.pipelines.features import run

files, packages = shared.files, shared.packages


def gtf_of(files, shift):
    """The genes of the expression, moved."""
    rows = [
        f"1\tx\tgene\t{tss + shift - 50 * (strand == '-')}\t{tss + shift + 50 * (strand == '+')}\t.\t{strand}\t.\t"
        f'gene_id "{gene}";'
        for (gene, tss, strand), shift in zip(GENES, shift)
    ]
    (files / "genes.gtf").write_text("\n".join(rows) + "\n")
    return files / "genes.gtf"


def test_people_kept_and_removed(files):
    (files / "keep.txt").write_text("P1\nP2\nP3\n")
    (files / "remove.txt").write_text("P2 P2\n")
    done = run(settings(files, keep=files / "keep.txt", remove=files / "remove.txt"))
    assert done.manifest["samples"] == ["P1", "P3"]
    done = run(settings(files, all_samples=True, out=files / "all"))
    assert len(done.manifest["samples"]) == 10
    (files / "keep.txt").write_text("nobody\n")
    with pytest.raises(AlignmentError, match="No people are left"):
        run(settings(files, keep=files / "keep.txt"))


def test_an_annotation_of_another_build_is_refused(files, caplog):
    both = {"gtf": gtf_of(files, [396_000, 396_000, 398_000, 0])}
    wanted = (
        r"expression.bed and .*genes.gtf are of different genome builds: the TSSs of 3 of 4 genes .*10,000 bp apart"
    )
    with pytest.raises(AlignmentError, match=wanted + r" \(ENSG00000000001.1 100 and 396,100, .*\.\.\.\)|" + wanted):
        run(settings(files, **both))
    assert not (files / "out").exists()
    # some genes move between releases
    with caplog.at_level("WARNING", logger="genopred"):
        run(settings(files, gtf=gtf_of(files, [396_000, 20_000, 0, 900])))
    assert "2 of 4 genes have their TSS more than 10,000 bp away" in caplog.text


def test_tracks_by_pattern_and_file(files):
    done = run(settings(files, tracks=("cage",), aggregate="sum"))
    assert done.manifest["tracks"] == ["CAGE:y", "CAGE:z"]
    (files / "table.txt").write_text("index\tdescription\n2\tCAGE:z\n")
    done = run(settings(files, tracks_file=files / "table.txt", out=files / "other"))
    assert done.manifest["tracks"] == ["CAGE:z"]
    with pytest.raises(ModelError, match="matches none of the model's 3 tracks"):
        run(settings(files, tracks=("H3K27ac",), out=files / "none"))
    assert not (files / "none").exists()


def test_genes_by_name_and_from_a_gtf(files):
    done = run(settings(files, gene=("ENSG00000000002", "ENSG00000000003.9")))
    assert done.genes["gene_id"].to_list() == ["ENSG00000000002.4", "ENSG00000000003.1"]
    with pytest.raises(GenopredError, match=r"1 of 2 genes are not in .*expression.bed \(ENSG00000000099\)"):
        run(settings(files, gene=("ENSG00000000002", "ENSG00000000099")))
    line = (
        '1\tx\tgene\t500\t700\t.\t+\t.\tgene_id "ENSG00000000007.1"; gene_name "SEVEN"; gene_type "protein_coding";\n'
    )
    (files / "genes.gtf").write_text(line)
    done = run(settings(files, expression=None, gtf=files / "genes.gtf", out=files / "gtf"))
    assert done.genes["tss"].to_list() == [500] and len(done.manifest["samples"]) == 10
    with pytest.raises(GenopredError, match="neither --expression nor --gtf"):
        run(settings(files, expression=None))


def test_unphased_genotypes(files):
    write_vcf(files / "people.vcf", mark="/")
    soft = run(settings(files))
    assert soft.manifest["phased"] is False and soft.genes["haplotypes"].to_list() == [9] * 4
    with pytest.raises(GenopredError, match="carries no phase.*--unphased soft or random"):
        run(settings(files, unphased="error", out=files / "no"))
    with pytest.raises(GenopredError, match="--per-haplotype needs two"):
        run(settings(files, per_haplotype=True, out=files / "no"))
    with pytest.raises(GenopredError, match="--indels apply needs two sequences a person"):
        run(settings(files, indels="apply", out=files / "no"))
    assert not (files / "no").exists()
    random = run(settings(files, unphased="random", per_haplotype=True, out=files / "random"))
    assert random.genes["haplotypes"].to_list() == [18] * 4


def test_files_that_do_not_belong_together(files):
    text = (files / "ref.fa").read_text()
    (files / "ref.fa").write_text(text.replace(">1", ">7"))
    with pytest.raises(FormatError, match="no sequence chr1"):
        run(settings(files, out=files / "a"))
    (files / "other").mkdir()
    (files / "other" / "ref.fa").write_text(">1\n" + SEQUENCE[1:] + "\n")
    with pytest.raises(AlignmentError, match="another genome build"):
        run(settings(files, fasta=files / "other" / "ref.fa", out=files / "b"))
    (files / "short").mkdir()
    (files / "short" / "ref.fa").write_text(">1\n" + SEQUENCE[:600] + "\n")
    with pytest.raises(AlignmentError, match="chr1 has 600 bases, and a TSS is at 1,190"):
        run(settings(files, fasta=files / "short" / "ref.fa", out=files / "c"))
    bed = (files / "expression.bed").read_text()
    (files / "expression.bed").write_text(bed.replace("chr1\t", "chr2\t"))
    with pytest.raises(AlignmentError, match="None of the 4 genes is on a chromosome"):
        run(settings(files, fasta=files / "other" / "ref.fa", out=files / "d"))
    (files / "expression.bed").write_text("\n".join(line.replace("\tP", "\tQ") for line in bed.splitlines()) + "\n")
    with pytest.raises(AlignmentError, match=r"None of the 10 people.*has expression"):
        run(settings(files, out=files / "e"))
    assert not any((files / name).exists() for name in "abcde")


def test_what_was_matched_is_written_and_adds_up(files):
    text = (files / "people.vcf").read_text()
    extra = "\t".join(["1", "105", "del", SEQUENCE[104:107], SEQUENCE[104], ".", ".", ".", "GT", *["0|1"] * 10])
    (files / "people.vcf").write_text(text + extra + "\n")
    (files / "keep.txt").write_text("P0\nP1\nP2\nP3\n")
    done = run(settings(files, gene=("ENSG00000000001",), keep=files / "keep.txt"))
    table = pl.read_csv(files / "out" / "matched.tsv", separator="\t")
    totals = table.group_by("item", "status").agg(pl.col("n").sum())
    counts = {(item, status): n for item, status, n in totals.iter_rows()}
    for item, came, used in (("samples", 10, 3), ("genes", 4, 1), ("gene-variant pairs", None, None)):
        assert counts[item, "in"] == counts[item, "used"] + counts[item, "dropped"]
        assert came is None or (counts[item, "in"], counts[item, "used"]) == (came, used)
    assert counts["gene-variant pairs", "dropped"] == 1 == done.manifest["counts"]["windows_indels_skipped"]
    reasons = table.filter(pl.col("status") == "dropped")["reason"].to_list()
    assert reasons == ["no expression", "not in --keep", "not asked for", "indel"]


def test_genes_without_strand_need_one_for_a_model_with_a_direction(files):
    lines = [line.split("\t") for line in (files / "expression.bed").read_text().splitlines()]
    short = "\n".join("\t".join(row[:4] + row[6:]) for row in lines) + "\n"
    (files / "gtex.bed").write_text(short)
    with pytest.raises(GenopredError, match=r"toy reads each gene.*gtex.bed has no strand for 4 of 4 genes.*--gtf"):
        run(settings(files, expression=files / "gtex.bed"))
    gtf = [f'1\tx\tgene\t{tss - 50}\t{tss + 50}\t.\t{strand}\t.\tgene_id "{gene}";' for gene, tss, strand in GENES]
    (files / "genes.gtf").write_text("\n".join(gtf) + "\n")
    run(settings(files, expression=files / "gtex.bed", gtf=files / "genes.gtf"))
    run(settings(files, out=files / "six"))
    for gene, _, _ in GENES:
        ours, theirs = read_features(files / "out", gene), read_features(files / "six", gene)
        np.testing.assert_array_equal(ours.values, theirs.values)
    (files / "genes.gtf").write_text("\n".join(gtf[:2]) + "\n")
    with pytest.raises(GenopredError, match=r"genes.gtf has no strand for 2 of 4 genes \(ENSG00000000003.1"):
        run(settings(files, expression=files / "gtex.bed", gtf=files / "genes.gtf", out=files / "no"))
