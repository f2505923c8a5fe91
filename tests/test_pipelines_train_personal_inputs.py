"""The way in of tuning on people: what does not fit is named, with what to do."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")
from personal_data import CONFIG, write
from test_pipelines_features import Toy

from genopred.errors import AlignmentError, GenopredError, ModelError
from genopred.learning.evaluate import Outcome
from genopred.pipelines.train_inputs import read_config
from genopred.pipelines.train_personal_inputs import open_people
from genopred.sequence.models import registry

__all__ = ["Toy"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("inputs")
    write(place)
    return place


def opened(folder, *changes, name="changed.toml"):
    text = CONFIG
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / name).write_text(text)
    return open_people(read_config(folder / name), lambda *said: None)


def test_what_a_run_works_on(folder):
    inputs = opened(folder)
    data = inputs.data
    assert data.samples.tolist() == sorted(data.samples.tolist()) and len(data.of_gene) == 30
    assert inputs.tracks == [0, 1] and {str(p) for p in data.people} == {"train", "validation", "test"}
    assert data.genes["end"].to_list() == [start + 1024 for start in data.genes["start"].to_list()]
    gene = data.of_gene[3]
    assert gene.window.alleles.shape[1] == 8 and gene.who.shape == (50, 2)
    # the gene on the reverse strand is read backwards: its SNPs' dosages are those of the file, in reverse
    lines = [line.split("\t") for line in (folder / "people.vcf").read_text().splitlines() if line[0] != "#"]
    calls = np.array([[sum(map(int, call.split("|"))) for call in line[9:]] for line in lines if line[2][:3] == "s3_"])
    np.testing.assert_array_equal(gene.dosage, calls[::-1].T)
    bed = [line.split("\t") for line in (folder / "expression.bed").read_text().splitlines()]
    raw = np.array(bed[4][6:], dtype=float)
    covariates = [line.split() for line in (folder / "covariates.txt").read_text().splitlines()]
    cov = np.array([row[1:] for row in covariates[1:]], dtype=float).T
    train = data.people == "train"
    y = Outcome().split(raw, cov, train)
    np.testing.assert_allclose(gene.y[train], y[0])
    np.testing.assert_allclose(gene.y[~train], y[1])


def test_a_shorter_window_has_fewer_snps(folder):
    inputs = opened(folder, ('expression = "expression.bed"', 'expression = "expression.bed"\nwindow = 512'))
    assert all(gene.window.reference.shape == (512, 4) for gene in inputs.data.of_gene)
    assert max(gene.window.alleles.shape[1] for gene in inputs.data.of_gene) <= 8


@pytest.mark.parametrize(("said", "margin"), [("", 1024), ("margin = 2000\n", 2000), ("margin = 3100\n", 3100)])
def test_genes_of_other_parts_lie_a_margin_apart(folder, monkeypatch, said, margin):
    """The window by default: of genes that overlap no sequence is seen twice."""
    from genopred.pipelines import train_personal_inputs

    real, given = train_personal_inputs.split_genes, []
    spy = lambda *table, **how: (given.append(how["margin"]), real(*table, **how))[1]  # noqa: E731
    monkeypatch.setattr(train_personal_inputs, "split_genes", spy)
    data = opened(folder, ("margin = 1024\n", said)).data
    assert given == [margin]
    # genes are 2,976 bp apart
    part, start = data.split.part, data.genes["start"].to_numpy()
    seen, other = start[np.isin(part, ["train", "validation"])], start[part == "test"]
    assert np.abs(seen[:, None] - other).min() - 1024 >= margin and (part == "").any() == (margin > 2976)


def test_folds(folder):
    rows = [f"P{i:02d}\t{i % 5}" for i in range(50)]
    (folder / "folds.tsv").write_text("sample\tfold\n" + "\n".join(rows) + "\n")
    data = opened(folder, ("fraction = 0.2", 'folds = "folds.tsv"\ntest = 3')).data
    assert [int(name[1:]) % 5 for name in data.samples[data.people == "test"]] == [3] * 10
    with pytest.raises(GenopredError, match="people.test = 9: .*folds.tsv has no such fold; its folds are 0, 1"):
        opened(folder, ("fraction = 0.2", 'folds = "folds.tsv"\ntest = 9'))


def test_people_without_expression(folder, tmp_path):
    write(tmp_path)
    bed = [line.split("\t")[:-3] for line in (tmp_path / "expression.bed").read_text().splitlines()]
    (tmp_path / "expression.bed").write_text("\n".join("\t".join(row) for row in bed) + "\n")
    assert len(opened(tmp_path).data.samples) == 47
    bed[0][6:] = [f"X{i}" for i in range(47)]
    (tmp_path / "expression.bed").write_text("\n".join("\t".join(row) for row in bed) + "\n")
    with pytest.raises(AlignmentError):
        opened(tmp_path)


def test_genes_without_variants(folder, tmp_path):
    write(tmp_path)
    lines = (tmp_path / "people.vcf").read_text().splitlines()
    kept = [line for line in lines if line[0] == "#" or not line.split("\t")[2].startswith(("s3_", "s4_"))]
    (tmp_path / "people.vcf").write_text("\n".join(kept) + "\n")
    assert len(opened(tmp_path).data.of_gene) == 28
    few = ("[people]", "min_variants = 9\n[people]")
    with pytest.raises(AlignmentError, match="none of 28 genes has 9 variants within its window of 1,024 bp"):
        opened(tmp_path, few)


def test_unphased_genotypes_are_averaged_or_refused(folder, tmp_path):
    write(tmp_path)
    text = (tmp_path / "people.vcf").read_text()
    (tmp_path / "people.vcf").write_text(text.replace("|", "/"))
    gene = opened(tmp_path).data.of_gene[0]
    assert gene.who.shape == (50, 1) and gene.window.alleles.max() == 2
    with pytest.raises(GenopredError, match="carries no phase"):
        opened(tmp_path, ("[people]", 'unphased = "error"\n[people]'))
    assert opened(tmp_path, ("[people]", 'unphased = "random"\n[people]')).data.of_gene[0].who.shape == (50, 2)


def test_another_build(folder, tmp_path):
    write(tmp_path)
    text = (tmp_path / "ref.fa").read_text().splitlines()
    (tmp_path / "ref.fa").write_text("\n".join([text[0], *text[1:-1][::-1], text[-1]]) + "\n")
    (tmp_path / "ref.fa.fai").unlink(missing_ok=True)
    with pytest.raises(AlignmentError, match="is not the FASTA's base.*another genome build"):
        opened(tmp_path)
    (tmp_path / "ref.fa").write_text("\n".join(text[:100]) + "\n")
    (tmp_path / "ref.fa.fai").unlink(missing_ok=True)
    with pytest.raises(AlignmentError, match="the FASTA is of another genome build than the TSSs"):
        opened(tmp_path)


def test_a_foreign_model(folder, monkeypatch):
    from importlib.metadata import EntryPoint

    monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint("toy", f"{__name__}:Toy", registry.GROUP)])
    with pytest.raises(ModelError, match="model.start = 'toy': toy does not give its network"):
        opened(folder, ('start = "start"', 'start = "toy"'))
    with pytest.raises(ModelError, match="model.start nothing: there is no model 'nothing'"):
        opened(folder, ('start = "start"', 'start = "nothing"'))
