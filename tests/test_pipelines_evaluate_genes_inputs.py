"""The way in of evaluating genes: folders, folds and exons; the rest through tests/test_pipelines_evaluate_genes.py."""

from __future__ import annotations

import polars as pl
import pytest

pytest.importorskip("torch")

import test_pipelines_evaluate_genes as shared

from genopred.errors import FormatError, ModelError
from genopred.pipelines.evaluate_genes_inputs import exons_of, load_folds, open_gene_run

trained = shared.trained


def test_folders_of_runs(trained, tmp_path):
    one, folds = open_gene_run(str(trained / "run")), open_gene_run(str(trained / "cv"))
    assert len(one.folders) == 1 and [f.name for f in folds.folders] == ["fold1", "fold2", "fold3"]
    assert one.hash != folds.hash and one.hash == open_gene_run(str(trained / "run")).hash
    with pytest.raises(ModelError, match="--against .*: not the folder of a run that learned expression"):
        open_gene_run(str(tmp_path), "--against")


def test_genes_are_read_once_for_runs_of_one_configuration(trained):
    folds, loaded, made = load_folds(open_gene_run(str(trained / "cv")))
    assert [fold.name for fold in folds] == ["1", "2", "3"]
    assert all(fold.data.codes is loaded.data.codes for fold in folds)
    tests = [set(fold.split.rows("test").tolist()) for fold in folds]
    assert not tests[0] & tests[1] and not tests[1] & tests[2]
    assert (made.split.part == folds[0].split.part).all()


def test_a_list_of_genes_without_a_cell_type(trained, tmp_path):
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(trained / "run", folder)
    pl.read_csv(folder / "genes.tsv", separator="\t").drop("brain").write_csv(folder / "genes.tsv", separator="\t")
    with pytest.raises(FormatError, match="has no column brain"):
        load_folds(open_gene_run(str(folder)))


def test_exons_are_relative_to_the_tss_in_the_genes_direction(tmp_path):
    lines = [
        f'1\tx\texon\t{a}\t{b}\t.\t{strand}\t.\tgene_id "{gene}"; transcript_id "T"; gene_type "protein_coding";'
        for gene, strand, a, b in (
            ("ENSG00000000001.3", "+", 101, 150),
            ("ENSG00000000001.3", "+", 201, 220),
            ("E2", "-", 401, 500),
        )
    ]
    (tmp_path / "a.gtf").write_text("\n".join(lines) + "\n")
    genes = pl.DataFrame(
        {"gene_id": ["ENSG00000000001.4", "E2", "E3"], "tss": [101, 500, 9], "strand": ["+", "-", "+"]}
    )
    assert exons_of(tmp_path / "a.gtf", genes) == {
        "ENSG00000000001.4": [(0, 49), (100, 119)],
        "E2": [(0, 99)],
        "E3": [],
    }
    assert exons_of(None, genes) == {}
