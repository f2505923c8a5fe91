"""From files to genes: windows in their direction, signal, tracks, contacts, and what is left out or refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")
pytest.importorskip("pyBigWig")

from gene_data import BEFORE, CONFIG, bedpe, bigwig, simulate, write

from genopred.errors import GenopredError
from genopred.io.fasta import open_fasta
from genopred.pipelines.train_genes import genes_table, load_genes, open_genes, prepare
from genopred.pipelines.train_inputs import read_config
from genopred.sequence.onehot import encode, reverse_complement
from genopred.types import Interval

DUAL = CONFIG.replace('kind = "hybrid"\nchannels = 8\nhidden = 4', 'kind = "dual-path"\nchannels = 8\ndistal = 4')
CONTACTS = '\n[contacts]\nfile = "contacts.bedpe"\nsegments = 3\nsegment = 200\nnearest = 1000\n'


def open_with(folder, config=CONFIG):
    return read_config(write(folder, config))


def dropped(loaded):
    table = loaded.tally.report().table.filter(pl.col("status") == "dropped")
    return {row[2]: row[3] for row in table.iter_rows()}


def test_windows_are_in_the_genes_direction(tmp_path):
    config = open_with(tmp_path)
    data = load_genes(config)
    made = simulate()
    assert len(data.codes) == len(made["genes"]) and data.flank == 4 and data.window == 400
    fasta = open_fasta(tmp_path / "ref.fa")
    for i in (0, 1, 2, 50, 159):
        name, chrom, tss, strand = made["genes"][i]
        row = data.genes.row(i, named=True)
        assert (row["gene_id"], row["gene"], row["tss"], row["strand"]) == (name, name[:-2], tss, strand)
        whole = encode(fasta.fetch(Interval(chrom, row["start"], row["end"])))
        whole = reverse_complement(whole) if strand == "-" else whole
        np.testing.assert_array_equal(data.codes[i, 4:-4], whole)
        # the TSS is the first base after `before`
        base = encode(fasta.fetch(Interval(chrom, tss - 1, tss)))
        assert data.codes[i, 4 + BEFORE] == (reverse_complement(base) if strand == "-" else base)[0]
    np.testing.assert_allclose(data.measured, made["values"], rtol=1e-5)


def test_a_gene_on_the_other_strand_of_a_turned_chromosome_is_the_same(tmp_path):
    """Sequence, signal, tracks and segments."""
    more = '\n[[signal]]\ncell = "s"\nplus = "plus.bw"\nminus = "minus.bw"\nradius = 50\n\n[inputs]\nstep = 7\n'
    more += '[[inputs.tracks]]\nname = "open"\nfile = "open.bw"\n' + CONTACTS
    one, two = tmp_path / "one", tmp_path / "two"
    write(one, DUAL + more)
    made, rng = simulate(), np.random.default_rng(4)
    values = {n: {c: rng.integers(0, 3, len(v)) for c, v in made["codes"].items()} for n in ("plus", "minus", "open")}
    for name, signal in values.items():
        bigwig(one / f"{name}.bw", signal)
    lines = bedpe(one).read_text().splitlines()
    first = load_genes(read_config(one / "train.toml"))
    # everything turned round
    write(two, DUAL + more)
    turned = {chrom: reverse_complement(codes) for chrom, codes in made["codes"].items()}
    text = "".join(f">{chrom}\n{''.join('ACGT'[b] for b in codes)}\n" for chrom, codes in turned.items())
    (two / "ref.fa").write_text(text)
    n = {chrom: len(codes) for chrom, codes in turned.items()}
    rows = []
    for line in (one / "genes.gtf").read_text().splitlines():
        chrom, source, feature, a, b, dot, strand, frame, about = line.split("\t")
        a, b = n[chrom] + 1 - int(b), n[chrom] + 1 - int(a)
        rows.append("\t".join(map(str, (chrom, source, feature, a, b, dot, "+-"[strand == "+"], frame, about))))
    (two / "genes.gtf").write_text("\n".join(rows) + "\n")
    for name, other in (("plus", "minus"), ("minus", "plus"), ("open", "open")):
        bigwig(two / f"{name}.bw", {chrom: v[::-1] for chrom, v in values[other].items()})
    out = []
    for line in lines:
        chrom, a, b, _, c, d, *rest = line.split("\t")
        ends = [n[chrom] - int(x) for x in (b, a, d, c)]
        out.append("\t".join(map(str, (chrom, ends[0], ends[1], chrom, ends[2], ends[3], *rest))))
    (two / "contacts.bedpe").write_text("\n".join(out) + "\n")
    second = load_genes(read_config(two / "train.toml"))
    assert second.genes["strand"].to_list() == ["+-"[s == "+"] for s in first.genes["strand"]]
    for name in ("codes", "measured", "tracks", "segments", "segment_tracks", "weights"):
        np.testing.assert_allclose(getattr(second, name), getattr(first, name), err_msg=name)
    assert first.tracks.shape == (160, 1, -(-408 // 7)) and (first.weights > 0).mean() > 0.5
    # signal of the gene's own strand, summed around the TSS
    for i in range(0, 160, 17):
        chrom, tss, strand = first.genes.row(i)[2:5]
        own = values["minus" if strand == "-" else "plus"][chrom]
        assert first.measured[i, 2] == own[max(0, tss - 51) : tss + 50].sum()
    assert first.cells == ("liver", "brain", "s")


def test_the_order_of_the_files_makes_no_difference(tmp_path):
    config = open_with(tmp_path / "one")
    first = load_genes(config)
    write(tmp_path / "two")
    for name, head in (("genes.gtf", 0), ("expression.tsv", 1)):
        lines = (tmp_path / "one" / name).read_text().splitlines()
        (tmp_path / "two" / name).write_text("\n".join(lines[:head] + lines[head:][::-1]) + "\n")
    second = load_genes(read_config(tmp_path / "two" / "train.toml"))
    order = [second.genes["gene_id"].to_list().index(name) for name in first.genes["gene_id"]]
    np.testing.assert_array_equal(second.codes[order], first.codes)
    np.testing.assert_array_equal(second.measured[order], first.measured)


def test_what_is_left_out_is_counted(tmp_path):
    config = open_with(tmp_path, CONFIG.replace("after = 80", 'after = 80\ntypes = ["protein_coding"]\nmax_n = 0.05'))
    text = (tmp_path / "ref.fa").read_text()
    (tmp_path / "ref.fa").write_text(text[:8000] + re.sub("[ACGT]", "N", text[8000:8600]) + text[8600:])
    gtf = (tmp_path / "genes.gtf").read_text()
    (tmp_path / "genes.gtf").write_text(
        gtf + gtf.splitlines()[3].replace("chr1", "chr9").replace("ENSG", "ENSX") + "\n"
    )
    table = (tmp_path / "expression.tsv").read_text().splitlines()
    (tmp_path / "expression.tsv").write_text("\n".join(table[:50] + table[53:] + ["OTHER\t1\t2"]) + "\n")
    (tmp_path / "ref.fa.fai").unlink(missing_ok=True)
    loaded = open_genes(config)
    why = dropped(loaded)
    assert why["of another type"] == 16 and why["no expression"] in (2, 3)
    assert why["no window: chromosome not among those of the FASTA"] == 1 and why["more than 5% N"] >= 1
    made = prepare(config, loaded)
    found = genes_table(made)
    assert {"split", "block", "why", "liver", "brain"} <= set(found.columns) and found.height == len(loaded.data.codes)
    counts = {row[2]: row[3] for row in made.report.table.iter_rows() if row[1] == "note"}
    assert counts["for train"] == (found["split"] == "train").sum()
    used = made.report.table.filter((pl.col("item") == "genes") & (pl.col("status") == "used"))["n"].sum()
    assert used == (found["split"] != "").sum()


def test_ids_without_version_or_names(tmp_path):
    config = open_with(tmp_path)
    first = load_genes(config)
    text = (tmp_path / "expression.tsv").read_text().splitlines()
    for how in ("name", "version"):
        rows = [line.split("\t") for line in text[1:]]
        named = [f"G{i}" if how == "name" else f"{row[0]}.7" for i, row in enumerate(rows)]
        lines = ["\t".join([name, *row[1:]]) for name, row in zip(named, rows)]
        (tmp_path / "expression.tsv").write_text("\n".join([text[0], *lines]) + "\n")
        np.testing.assert_array_equal(load_genes(config).measured, first.measured)


def test_an_expression_bed_is_genes_and_mean_expression(tmp_path):
    made = simulate()
    write(tmp_path)
    lines = ["#chr\tstart\tend\tgene\tlength\tstrand\ts1\ts2\ts3"]
    rng = np.random.default_rng(1)
    values = rng.gamma(2, 2, (160, 3)).round(4)
    for (name, chrom, tss, strand), row in zip(made["genes"], values):
        lines.append("\t".join([chrom, str(tss - 1), str(tss), name, "900", strand, *map(str, row)]))
    (tmp_path / "e.bed").write_text("\n".join(lines) + "\n")
    text = CONFIG.replace('gtf = "genes.gtf"', 'table = "e.bed"').replace('file = "expression.tsv"', 'file = "e.bed"')
    text = text.replace('unit = "tpm"', 'unit = "rpkm"\naverage = true\ncells = ["s1", "s3"]')
    (tmp_path / "train.toml").write_text(text)
    data = load_genes(read_config(tmp_path / "train.toml"))
    assert data.cells == ("mean",) and data.unit == "rpkm"
    np.testing.assert_allclose(data.measured[:, 0], values[:, [0, 2]].mean(axis=1), rtol=1e-5)
    assert data.genes["strand"].to_list() == [gene[3] for gene in made["genes"]]


def test_counts_take_lengths_from_exons(tmp_path):
    text = CONFIG.replace('unit = "tpm"', 'unit = "counts"\nmake = "rpkm"')
    data = load_genes(open_with(tmp_path, text))
    # two exons of 100 bases that share 50
    assert set(data.bases) == {150.0} and data.unit == "counts"


def test_families_and_batches_are_files(tmp_path):
    pytest.importorskip("inmoose")
    families = "gene\tfamily\n" + "".join(f"ENSG{i:011d}\tF{i % 60}\n" for i in range(120))
    text = CONFIG.replace("after = 80", 'after = 80\nfamilies = "f.tsv"')
    write(tmp_path, text)
    (tmp_path / "f.tsv").write_text(families)
    config = read_config(tmp_path / "train.toml")
    made = prepare(config, open_genes(config))
    assert made.data.families[0] == "F0" and made.data.families[130] == "" and (made.split.why != "").sum() > 10
    (tmp_path / "b.tsv").write_text("cell\tbatch\nliver\tx\n")
    text = CONFIG.replace('unit = "tpm"', 'unit = "tpm"\nbatches = "b.tsv"')
    (tmp_path / "train.toml").write_text(text)
    config = read_config(tmp_path / "train.toml")
    with pytest.raises(GenopredError, match=r"1 of 2 cell types have no batch \(brain\)"):
        prepare(config, open_genes(config))


def test_a_network_without_a_distal_path_reads_no_contacts(tmp_path, caplog, monkeypatch):
    import logging

    monkeypatch.setattr(logging.getLogger("genopred"), "propagate", True)
    write(tmp_path, CONFIG + CONTACTS)
    bedpe(tmp_path)
    config = read_config(tmp_path / "train.toml")
    data = load_genes(config)
    assert data.segments is None and "'hybrid' reads no distal segments" in caplog.text
    (tmp_path / "train.toml").write_text(DUAL + CONTACTS)
    config = read_config(tmp_path / "train.toml")
    made = prepare(config, open_genes(config))
    assert made.shape.segments == 3 and made.shape.segment == 200
    assert "read by another part of the split" in made.report.table["reason"].to_list()


BAD = [
    ({"expression.tsv": "gene\tliver\nNOBODY\t3\n"}, "none of its 1 genes (NOBODY) is among those with a TSS"),
    ({"expression.tsv": "gene\tliver\nG1\t-3\n"}, "line 2, column 'liver': a value below 0"),
    ({"expression.tsv": "gene\tliver\nG1\t0\nG2\t0\n"}, "1 of 1 cell types have no expression in any of 160 genes"),
    ({"ref.fa": ">chr7\nACGT\n"}, "no gene is on a chromosome of the FASTA (chr7); left out: 160 no window"),
    ({"ref.fa": ">chr1\nACGT\n>chr2\nACGT\n"}, "genes begin beyond the end of their chromosome"),
    ({"ref.fa": ">chr1\n" + "N" * 90000 + "\n>chr2\n" + "N" * 90000 + "\n"}, "no gene has at most 20% N in its window"),
    ({"genes.gtf": "chr1\tx\tgene\t1\n"}, "line 1: 4 fields; a GTF line has 9"),
    ({"contacts.bedpe": "chr1\t0\t1000\tchr1\t2000\t9999999\n"}, "beyond the chromosome's end in the FASTA"),
    ({"contacts.bedpe": "chr1\t0\t1000\tchr1\t1000\t1200\n"}, "none of 1 contacts has a TSS of 160 genes in one end"),
]


@pytest.mark.parametrize(("files", "said"), BAD)
def test_bad_input_names_what_is_wrong(tmp_path, files, said):
    write(tmp_path, DUAL + (CONTACTS if "contacts.bedpe" in files else ""))
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(GenopredError) as error:
        load_genes(read_config(tmp_path / "train.toml"))
    assert said in str(error.value) and "\n" not in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "train.toml"))


def test_unknown_cells_and_types(tmp_path):
    write(tmp_path, CONFIG.replace('unit = "tpm"', 'cells = ["livr"]'))
    with pytest.raises(GenopredError, match=r"expression\.cells: .*Did you mean 'liver'"):
        load_genes(read_config(tmp_path / "train.toml"))
    write(tmp_path, CONFIG.replace("after = 80", 'after = 80\ntypes = ["protein"]'))
    with pytest.raises(GenopredError, match=r"genes.types: protein.*Did you mean 'protein_coding'"):
        load_genes(read_config(tmp_path / "train.toml"))


def test_a_signal_may_stand_alone(tmp_path):
    write(tmp_path)
    made = simulate()
    bigwig(tmp_path / "a.bw", {c: np.arange(len(v)) % 5 for c, v in made["codes"].items()})
    text = CONFIG.replace(
        '[expression]\nfile = "expression.tsv"\nunit = "tpm"', '[[signal]]\ncell = "a"\nfile = "a.bw"'
    )
    (tmp_path / "train.toml").write_text(text)
    config = read_config(tmp_path / "train.toml")
    data = load_genes(config)
    assert data.cells == ("a",) and data.unit == "signal" and replace(config).expression.transform == ("log", "z")


def test_what_is_counted_of_a_window(tmp_path):
    meme = (
        "MEME version 4\n\nMOTIF M1 X\nletter-probability matrix: alength= 4 w= 3\n1 0 0 0\n0 0 0 1\n.25 .25 .25 .25\n"
    )
    write(tmp_path, CONFIG + '\n[inputs]\ngc = true\nkmers = 2\nmotifs = "m.meme"\n')
    (tmp_path / "m.meme").write_text(meme)
    config = read_config(tmp_path / "train.toml")
    what = prepare(config, open_genes(config)).shape.composition
    assert what.gc and what.kmers == 2 and what.names == ("M1",) and what.width == 1 + 16 + 1
    (odds,) = what.motifs
    np.testing.assert_allclose(odds[0], np.log(np.array([1, 0.01, 0.01, 0.01]) / 1.03 / 0.25), atol=1e-4)
    np.testing.assert_allclose(odds[2], 0, atol=1e-4)


@pytest.fixture
def benchmark(shared, monkeypatch):
    """The configurations of real genes of chr22."""
    monkeypatch.setenv("GENOPRED_SHARED", str(shared))
    return Path(__file__).parents[1] / "benchmarks" / "data"


def test_initiation_at_every_gene_of_chr22(benchmark, shared):
    import pyBigWig

    config = read_config(benchmark / "expression_chr22.toml")
    data = load_genes(config)
    assert data.codes.shape == (1364, 11_040) and data.cells == ("GM12878", "K562", "MCF7")
    folder = config.paths["signal.K562.plus"].parent
    with pyBigWig.open(str(folder / "K562.ds.chr22.pl.bw")) as plus:
        with pyBigWig.open(str(folder / "K562.ds.chr22.mn.bw")) as minus:
            for i in range(3, 1364, 97):
                tss, strand = data.genes.row(i)[3:5]
                values = (minus if strand == "-" else plus).values("chr22", tss - 251, tss + 250)
                np.testing.assert_allclose(data.measured[i, 1], np.abs(np.nan_to_num(values)).sum(), rtol=1e-5)
    made = prepare(config, open_genes(config))
    parts = [len(made.split.rows(name)) for name in ("train", "validation", "test")]
    assert parts == [899, 297, 144]


def test_mean_expression_of_geuvadis(benchmark):
    from genopred.io.expression import read_expression

    config = read_config(benchmark / "expression_geuvadis.toml")
    data = load_genes(config)
    found = read_expression(config.paths["expression.file"])
    expected = dict(zip(found.genes["gene_id"], found.values.mean(axis=0)))
    np.testing.assert_allclose(data.measured[:, 0], [expected[name] for name in data.genes["gene_id"]], rtol=1e-5)
    assert len(data.codes) > 550 and set(data.genes["strand"]) == {"+", "-"}
