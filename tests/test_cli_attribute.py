"""genopred attribute, from the command line: what is wrong is one line, exit code 2."""

from __future__ import annotations

import gzip
import sys

import pytest

pytest.importorskip("captum")
pytest.importorskip("tangermeme")
pytest.importorskip("memelite")

import attribution_files as made

from genopred.cli import main
from genopred.sequence.models import registry
from genopred.settings import Attribute
from genopred.settings.attribute import COMPLETE


@pytest.fixture(autouse=True)
def packages(monkeypatch):
    monkeypatch.setattr(registry, "entry_points", lambda group: made.POINTS)


@pytest.fixture
def files(tmp_path):
    return made.write(tmp_path)


def words(files, *more, **changes):
    options = {
        "fasta": files / "ref.fa", "expression": files / "expression.bed", "model": "finder", "out": files / "out",
        "device": "cpu", "controls": 0, "backgrounds": 1, "figures": "none", "gene": "ENSG00000000001",
    } | changes  # fmt: skip
    pairs = [str(word) for name, value in options.items() if value is not None for word in (f"--{name}", value)]
    return ["attribute", *pairs, *more, "--quiet"]


def test_a_run_says_what_it_found(files, capsys):
    more = ["--tracks", "up", "--method", "deeplift", "--method", "attention", "--person", "ann", "--person", "bob"]
    assert (
        main(
            words(
                files,
                *more,
                "--vcf",
                str(files / "people.vcf"),
                model="attentive",
                figures="svg",
                gtf=files / "genes.gtf",
            )
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "deeplift, attention of attentive: 1 window" in said and "attribute.html" in said
    assert "ann is predicted" in said and "bob is predicted" in said
    page = (files / "out" / "attribute.html").read_text()
    assert page.count("<svg") >= 4 and "G1000" in page and "http://" not in page.replace("http://www.w3.org", "")
    assert (files / "out" / "matched.tsv").is_file() and "windows: 1 used" in (files / "out.log").read_text()
    drawn = {path.name for path in (files / "out" / "figures").iterdir()}
    assert "ENSG00000000001.2.along.svg" in drawn and "ENSG00000000001.2.variants.ann.svg" in drawn


def test_the_default_model_is_the_one_of_the_package():
    assert (
        Attribute.model == "enformer-small"
        and Attribute.method == ("deeplift",)
        and set(Attribute.method) <= set(COMPLETE)
    )


BAD = [
    (["--person", "zoe", "--vcf", "{}/people.vcf"], {}, "--person zoe: nobody of"),
    (["--person", "ann", "--against", "bop", "--vcf", "{}/people.vcf"], {}, "--against bop: nobody of"),
    (["--person", "ann"], {}, "--person needs genotypes with phase"),
    (["--person", "ann", "--against", "ann", "--vcf", "{}/people.vcf"], {}, "--against ann: is --person as well"),
    (["--against", "ann", "--vcf", "{}/people.vcf"], {}, "--against needs --person"),
    (["--person", "ann", "--vcf", "{}/unphased.vcf"], {}, "carries no phase, and --person needs two sequences"),
    (["--person", "ann", "--vcf", "{}/otherbuild.vcf"], {}, "probably of another genome build than the genotypes"),
    (["--region", "1:2900-3100"], {"gene": None}, "--region 1:2,900-3,100: "),
    (["--region", "7:100-200"], {"gene": None}, "7"),
    (["--region", "1:100-900"], {"gene": None}, "it has 801 bases, and finder sees"),
    (["--region", "1:200-100"], {"gene": None}, "not a region"),
    (["--region", "1:100-200"], {}, "Windows: --gene and --region given"),
    ([], {"gene": None}, "Windows: none given"),
    ([], {"gene": "ENSG00000000009"}, "ENSG00000000009"),
    ([], {"expression": None}, "neither --expression nor --gtf given"),
    ([], {"model": "nonsense:1"}, "no model 'nonsense'"),
    ([], {"fasta": "absent.fa"}, "absent.fa"),
    (["--method", "attention"], {}, "--method attention: finder has no attention"),
    (["--method", "magic"], {}, "--method magic"),
    (["--method", "ism", "--method", "ism"], {}, "--method ism is given twice"),
    (["--method", "ism", "--motifs", "{}/motifs.meme"], {}, "--motifs needs seqlets"),
    (["--motifs", "{}/empty"], {}, "empty; needed motifs"),
    (["--motifs", "{}/damaged.meme"], {}, "damaged.meme line 10: 3 numbers; needed 4"),
    (["--motifs", "{}/cut.gz"], {}, "damaged or cut off"),
    (["--signal", "{}/genes.gtf"], {}, "genes.gtf line 1"),
    (["--signal", "{}/far.bed"], {}, "of the FASTA's genome build"),
    (["--signal", "{}/absent.bw"], {}, "absent.bw: no such file"),
    (["--eqtl", "{}/motifs.meme"], {}, "motifs.meme"),
    (["--eqtl", "{}/nowhere.tsv"], {}, "no SNP has a chromosome and a position"),
    (["--tracks", "nothing"], {}, "--tracks 'nothing' matches none"),
    (["--strands", "both"], {"model": "finder"}, "--strands both"),
    (["--steps", "1"], {}, "--steps 1"),
    (["--flank", "50", "--region", "1:900-950"], {"gene": None}, "--flank is for genes"),
]


@pytest.mark.parametrize("more, changes, message", BAD, ids=[message for *_, message in BAD])
def test_bad_input_is_one_line_and_exit_code_2(files, capsys, more, changes, message):
    (files / "unphased.vcf").write_text((files / "people.vcf").read_text().replace("|", "/"))
    rows = (files / "people.vcf").read_text().split("\n")
    turned = str.maketrans("ACGT", "CATG")
    moved = [
        row
        if row.startswith("#")
        else "\t".join(
            [*row.split("\t")[:3], *(x.translate(turned) for x in row.split("\t")[3:5]), *row.split("\t")[5:]]
        )
        for row in rows
        if row
    ]
    (files / "otherbuild.vcf").write_text("\n".join(moved) + "\n")
    (files / "empty").write_text("")
    lines = (files / "motifs.meme").read_text().split("\n")
    lines[9] = lines[9].rsplit(" ", 1)[0]
    (files / "damaged.meme").write_text("\n".join(lines))
    (files / "cut.gz").write_bytes(gzip.compress((files / "motifs.meme").read_bytes())[:300])
    (files / "far.bed").write_text("1\t10\t9000\n")
    (files / "nowhere.tsv").write_text("variant_id\tpval_nominal\nrs1\t0.1\nrs2\t0.2\n")
    assert main(words(files, *(word.format(files) for word in more), **changes)) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said and len(said.strip().split("\n")) == 1, said


@pytest.mark.parametrize(
    "package, more",
    [
        ("captum", ["--method", "integrated-gradients"]),
        ("tangermeme", []),
        ("memelite", ["--motifs", "{}/motifs.meme"]),
    ],
)
def test_without_a_package_it_says_what_to_install(files, capsys, monkeypatch, package, more):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert main(words(files, *(word.format(files) for word in more))) == 2
    said = capsys.readouterr().err
    assert f"the package {package}" in said and "pip install 'genopred[attribution]'" in said
