"""Every command once, as it should be, on the embedded people: for scripts that change one thing of each.

`tests/faults.py` makes an input bad, `benchmarks/kills.py` kills the run, `tests/before_after.py` compares two trees.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[1] / "genopred" / "data" / "example"

#: Option without its dashes -> value; "" is the argument. None leaves the option out.
Options = dict[str, Any]
#: Ends of files that say when or how long, and may differ.
LEFT_OUT = (".log", ".lock", "timing.tsv")


def good_runs(folder: Path) -> dict[str, Options]:
    """A small good run of each command that writes results: option -> value, files made in `folder`.

    `doctor` leaves nothing, and says on stdout what is wrong: tests/test_pipelines_doctor.py.
    """
    from training_data import CONFIG, write

    import genopred
    from genopred.cli import main

    example = genopred.load_example()
    gene = example.expression.genes["gene_id"][0]
    people, ids = example.expression.samples.tolist(), example.genotypes.variants["id"].to_list()
    cohort = {"bfile": EXAMPLE / "geuvadis", "expression": EXAMPLE / "expression.bed.gz"}
    covar = {"covar": EXAMPLE / "covariates.txt.gz"}

    def text(name: str, lines: list[str]) -> Path:
        path = folder / name
        path.write_text("".join(line + "\n" for line in lines))
        return path

    lists = {
        "keep": text("keep.txt", people[:200]),
        "remove": text("remove.txt", people[200:210]),
        "extract": text("extract.txt", ids),
        "exclude": text("exclude.txt", ids[:3]),
    }
    genes = {"genes": text("genes.txt", [gene])}
    folds = {"folds": text("folds.tsv", ["sample\tfold", *(f"{who}\t{i % 3}" for i, who in enumerate(people))])}
    groups = {"stratify": text("groups.tsv", ["sample\tgroup", *(f"{who}\t{i % 2}" for i, who in enumerate(people))])}
    table = example.genotypes.variants.rows(named=True)
    rows = [(v["chrom"], v["pos"], v["id"], v["ref"], v["alt"]) for v in table]
    draw = random.Random(1)
    stats = [
        f"{c}\t{p}\t{a}\t{r}\t{draw.gauss(0, 0.1):.4f}\t0.1\t{draw.uniform(0.001, 1):.4f}"
        for c, p, _, r, a in rows[:800]
    ]
    head = "chromosome\tbase_pair_location\teffect_allele\tother_allele\tbeta\tstandard_error\tp_value"
    sumstats = text("sumstats.tsv", [head, *stats])
    score = text("score.txt", [f"{i}\t{a}\t{draw.gauss(0, 1):.3f}" for c, p, i, r, a in rows[:300]])
    catalogue = text(
        "pgs.txt",
        [
            "#format_version=2.0",
            "#genome_build=GRCh37",
            "chr_name\tchr_position\teffect_allele\tother_allele\teffect_weight",
            *(f"{c}\t{p}\t{a}\t{r}\t{draw.gauss(0, 1):.3f}" for c, p, _, r, a in rows[:300]),
        ],
    )
    pheno = text("pheno.txt", ["FID\tIID\theight", *(f"{who}\t{who}\t{draw.gauss(0, 1):.4f}" for who in people)])
    ranges = text("ranges.txt", ["low 0 0.5", "all 0 1"])
    values = text("values.txt", ["id p", *(f"{row[2]} {draw.random():.3f}" for row in rows[:300])])
    effects = text("a.tsv", ["variant_id\teffect", *(f"{row[2]}\t{draw.gauss(0, 1):.4f}" for row in rows[:400])])
    eqtl = text("b.tsv", ["variant_id\tpval_nominal", *(f"{row[2]}\t{draw.random():.5f}" for row in rows[:400])])
    gtf = text("genes.gtf", list(_gtf(example.expression.genes.rows(named=True))))
    config = write(folder / "train", CONFIG.replace("epochs = 2", "epochs = 1"))
    few = text("few.txt", people[:4])
    tss = int(example.expression.genes["tss"][0])
    near = [row for row in rows if abs(row[1] - tss) < 3000]
    snps = text("snps.tsv", ["chrom\tpos\tid\tref\talt", *("\t".join(map(str, row)) for row in near)])

    chrom = example.expression.genes["chrom"][0]
    elements = text("open.bed", [f"{chrom}\t{tss + 100 * i}\t{tss + 100 * i + 50}" for i in range(-5, 6)])
    pwm = ["0.97 0.01 0.01 0.01", "0.01 0.01 0.97 0.01"] * 4
    motifs = text("motifs.meme", ["MEME version 4", "MOTIF M1 one", "letter-probability matrix: alength= 4 w= 8", *pwm])
    reference = {"fasta": EXAMPLE / "reference.fa.gz"}
    stack = {
        **cohort, **covar, **genes, **lists, **folds, "window": "100kb", "learners": "ridge,pt-prs", "inner-folds": 3,
        "threads": 1,
    }  # fmt: skip
    runs: dict[str, Options] = {
        "stack": stack,
        "stack --pfile": {**{k: v for k, v in stack.items() if k not in (*lists, *folds, "bfile")},
                          **groups, "pfile": EXAMPLE / "geuvadis", "outer-folds": 3},
        "benchmark": {**cohort, **covar, "gene": gene, "learners": "ridge", "peers": "none", "outer-folds": 3,
                      "inner-folds": 3, "threads": 1},
        "prs": {**cohort, **covar, **genes, **lists, "outer-folds": 3, "inner-folds": 3, "window": "50kb",
                "threads": 1, "train": text("train.txt", people[:150])},
        "prs --score": {"bfile": EXAMPLE / "geuvadis", "score": score, "q-score-range": ranges,
                        "q-score-file": values, "threads": 1},
        "prs --score PGS": {"pfile": EXAMPLE / "geuvadis", "score": catalogue, "threads": 1},
        "prs --sumstats": {"bfile": EXAMPLE / "geuvadis", "sumstats": sumstats, "threads": 1},
        "prs --pheno": {"bfile": EXAMPLE / "geuvadis", "pheno": pheno, "threads": 1},
        "eqtl": {**cohort, **covar, **genes, **lists, "window": "100kb", "permute": 100, "threads": 1},
        "features": {"pfile": EXAMPLE / "geuvadis", **reference, "expression": cohort["expression"], **genes,
                     "keep": few, "device": "cpu", "threads": 1},
        "features --gtf": {"pfile": EXAMPLE / "geuvadis", **reference, "gtf": gtf, "gene": gene, "keep": few,
                           "device": "cpu", "threads": 1},
        "effects": {"snps": snps, **reference, "gtf": gtf, "gene": gene, "device": "cpu", "threads": 1},
        "effects --bfile": {"bfile": EXAMPLE / "geuvadis", **reference, "expression": cohort["expression"],
                            "gene": gene, "extract": text("some.txt", [row[2] for row in near]), "device": "cpu",
                            "threads": 1},
        "attribute": {**reference, "gtf": gtf, "gene": gene, "method": "gradient-input", "controls": 2,
                      "motifs": motifs, "signal": elements, "eqtl": eqtl, "device": "cpu", "threads": 1,
                      "flank": 500, "draws": 100},
        "attribute --person": {"pfile": EXAMPLE / "geuvadis", **reference, "expression": cohort["expression"],
                               "gene": gene, "method": "ism", "ism-width": 10, "person": people[0], "steps": 4,
                               "device": "cpu", "threads": 1},
        "overlap": {"a": effects, "b": eqtl, "a-score": "abs:effect", "b-score": "p:pval_nominal",
                    "bfile": EXAMPLE / "geuvadis", "draws": 200, "resamples": 100, "figures": "none"},
        "train": {"": config, "device": "cpu"},
        "demo": {"gene": gene, "learners": "ridge", "threads": 1},
    }  # fmt: skip
    features, trained = folder / "features", folder / "trained"
    made = [
        ["features", *words(runs["features"] | {"keep": None, "gene": None}), "--out", str(features), "--quiet"],
        ["train", str(config), "--device", "cpu", "--out", str(trained), "--quiet"],
    ]
    for line in made:
        if main(line):
            raise SystemExit(f"a good run failed: genopred {' '.join(line)}")
    runs["stack --features"] = {**cohort, "gene": gene, "features": features, "learners": "ridge", "outer-folds": 3,
                                "inner-folds": 3, "inputs": "sequence", "threads": 1}  # fmt: skip
    stacked = folder / "stacked"
    if main(["stack", *words(stack | {"learners": "ridge,xgboost"}), "--out", str(stacked), "--quiet"]):
        raise SystemExit("a good run failed: genopred stack")
    plain = {"bfile": EXAMPLE / "geuvadis", "threads": 1}
    runs["predict"] = {"models": stacked, **plain, **lists, "min-match": 0.5}
    runs["predict --method"] = {"models": stacked, "pfile": EXAMPLE / "geuvadis", "method": "stack-xgboost",
                                "format": "bed", "threads": 1}  # fmt: skip
    runs["export"] = {"models": stacked, **plain}
    runs["export --to pgs"] = {"models": stacked, "to": "pgs", "threads": 1}
    runs["associate"] = {"models": stacked, **plain, "pheno": pheno}
    runs["associate --sumstats"] = {"models": stacked, **plain, "sumstats": sumstats, "min-match": 0}
    runs["evaluate"] = {"": trained, "device": "cpu", "resamples": 100, "threads": 1}
    return runs


def _gtf(genes: list[dict[str, Any]]) -> Iterator[str]:
    for gene in genes:
        start, end = (gene["tss"], gene["tss"] + 1000) if gene["strand"] == "+" else (gene["tss"] - 1000, gene["tss"])
        about = f'gene_id "{gene["gene_id"]}"; gene_name "g{gene["tss"]}";'
        yield f"{gene['chrom']}\tx\tgene\t{start}\t{end}\t.\t{gene['strand']}\t.\t{about}"


def words(options: Options) -> list[str]:
    """Options as words of a command line."""
    out = []
    for name, value in options.items():
        if value is not None:
            out += ([f"--{name}"] if name else []) + [str(value)]
    return out


def contents(place: Path) -> dict[str, bytes]:
    """All files of a run but those that say when, and what the run said."""
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.name != "stderr" and not path.name.endswith(LEFT_OUT)
    }
