"""What the model that comes with genopred says of people's genes: chr22, 608 genes, 358 GEUVADIS people.

    python benchmarks/enformer_small.py --out OUT [--step STEP] [--threads 1] [--record]

Steps, in this order; without --step all of them:

genotype   the genotype-only stack of every gene, which needs no model (protocol of benchmarks/accuracy.py)
features   `genopred features` on everybody's two haplotypes, and its time beside plain passes
genes      over genes: the reference's prediction at the TSS against mean expression, Xpresso beside it; apart for genes
           in the training, validation and test blocks of the model
people     over people, gene by gene: the feature against expression, with its sign
stack      features alone, and beside genotypes, in the stack; base predictions of `genotype` are used again

A killed step goes on where it was. What depends on the model lies in OUT/HASH, so that other weights can use the same
OUT. --record copies pages, tables and picture of the steps that ran to benchmarks/results/enformer_small/. Needs
../shared (or $GENOPRED_SHARED).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from xpresso_chr22 import protein_coding

from genopred.align import count_cis
from genopred.cli.progress import progress
from genopred.files import safe_name, write_files, write_json, write_text
from genopred.genetics.transform import inverse_normal, residualise, zscore
from genopred.io.bigwig import read_signal
from genopred.io.covariates import read_covariates
from genopred.io.expression import read_expression
from genopred.io.fasta import open_fasta
from genopred.io.features import MANIFEST, REFERENCE, feature_genes, read_features, read_manifest
from genopred.io.vcf import read_vcf
from genopred.learning.evaluate import summarise
from genopred.pipelines import features, stack, stack_genes
from genopred.provenance import machine, versions
from genopred.sequence.features import central_bins, gene_sequences, predict_tracks
from genopred.sequence.models.base import SequenceModel
from genopred.sequence.models.enformer.checkpoint import embedded_file, load_enformer
from genopred.sequence.models.registry import load_model
from genopred.settings import Features, Stack

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results" / "enformer_small"
SHARED = Path(os.environ.get("GENOPRED_SHARED", Path(__file__).parents[2] / "shared")).resolve()
GEUVADIS = SHARED / "data" / "geuvadis_chr22"
EXPRESSION = GEUVADIS / "genes.50percent.chr22.bed.gz"
GENOTYPES = GEUVADIS / "genotypes.chr22.vcf.gz"
COVARIATES = GEUVADIS / "genes.covariates.pc50.txt.gz"
FASTA = SHARED / "data" / "reference" / "chr22.b37.fa.gz"
CHAIN = SHARED / "data" / "reference" / "hg19ToHg38.over.chain.gz"
GENES = SHARED / "data" / "reference" / "gencode.v24.annotation_chr22.gtf.gz"
TRACKS = SHARED / "data" / "tracks"
XPRESSO = SHARED / "data" / "xpresso" / "GM12878_trainepoch.06-0.5062.h5"
CHR22 = 50_818_468  # bp in GRCh38
STEPS = ("genotype", "features", "genes", "people", "stack")

#: As in benchmarks/sequence_stack.py: 2 CPU seconds a gene, and the stack is as good as with all twelve.
LEARNERS = ("baseline-prs", "pt-prs", "ridge", "elastic-net", "susie-tss", "gblup-tss", "xgboost")
META = "stack-xgboost"
N_COVARIATES = 18  # 3 genotype and 15 phenotype PCs, as in the peers' protocol
MIN_SNPS = 50

ACCESSIBILITY = "GM12878 accessibility"
SENSE, ANTISENSE = "GM12878 initiation +", "GM12878 initiation -"
BOTH_STRANDS = "GM12878 initiation, both strands"
#: What is held against expression over people, fixed before the first run.
PEOPLE = {SENSE: "GM12878 initiation on the gene's strand", ACCESSIBILITY: "GM12878 accessibility"}
MEASURED = {
    "measured GM12878 accessibility": ("acc.GM12878.chr22.bw",),
    "measured GM12878 initiation, both strands": ("GM12878.ds.chr22.pl.bw", "GM12878.ds.chr22.mn.bw"),
}
XPRESSO_NAME = "Xpresso GM12878"
SPLITS = {"train": "training", "validation": "validation", "test": "test"}
RESAMPLES = 2_000


@dataclass(frozen=True)
class Setting:
    """What was asked for, and what every step needs of it."""

    out: Path
    spec: str
    regions: Path | None
    genes: int | None
    threads: int

    @cached_property
    def sets(self) -> dict[str, list[str]]:
        """Genes with SNPs enough: the 120 that the peers were measured on, and all others."""
        table = read_expression(EXPRESSION).genes
        enough = count_cis(read_vcf(GENOTYPES), table, 500_000) >= MIN_SNPS
        names = [gene for gene, good in zip(table["gene_id"].to_list(), enough) if good]
        looked_at = set(pl.read_csv(SHARED / "peers" / "genes120.tsv", separator="\t")["gene"].to_list())
        return {
            "120": [gene for gene in names if gene in looked_at][: self.genes],
            "others": [gene for gene in names if gene not in looked_at][: self.genes],
        }

    @cached_property
    def model(self) -> SequenceModel:
        """The model, on the CPU."""
        model = load_model(self.spec, device="cpu")
        absent = [name for name in (*PEOPLE, ANTISENSE) if name not in model.tracks]
        if absent:
            raise SystemExit(f"--model {self.spec} has no track {', '.join(absent)}; this script is about those.")
        return model

    @property
    def folder(self) -> Path:
        """Where the results of these weights are."""
        return self.out / self.model.checkpoint_hash[:12]

    @property
    def features(self) -> Path:
        return self.folder / "features"

    def ready(self) -> dict[str, Any]:
        """The manifest of the finished features."""
        manifest = read_manifest(self.features) if (self.features / MANIFEST).is_file() else {}
        if not manifest.get("complete"):
            raise SystemExit(f"{self.features} is not finished; run --step features first.")
        if manifest["checkpoint_hash"] != self.model.checkpoint_hash:
            raise SystemExit(f"{self.features} is of other weights: they changed during the run; delete that folder.")
        return manifest

    def blocks(self) -> pl.DataFrame:
        """The stretches of GRCh38 that the model was trained, chosen and tested on: chrom, start, end, split."""
        if self.regions is not None:
            return pl.read_csv(self.regions, separator="\t")
        path = self.spec.partition(":")[2]
        _, info = load_enformer(path or embedded_file())
        regions = info.card.get("split", {}).get("regions")
        if not regions:
            raise SystemExit(
                f"--model {self.spec} does not say what it was trained on; give --regions RUN/regions.tsv."
            )
        return pl.DataFrame(regions, infer_schema_length=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--step", choices=STEPS, help="this step alone")
    parser.add_argument("--model", default="enformer-small")
    parser.add_argument("--regions", type=Path, help="regions.tsv of the training run, where the model has none")
    parser.add_argument("--genes", type=int, help="only the first so many genes of either set, to try the script")
    parser.add_argument("--threads", type=int, default=1, help="of the stacks; features are timed on one")
    parser.add_argument("--record", action="store_true", help="copy what the steps say to benchmarks/results/")
    args = parser.parse_args()
    if not GEUVADIS.is_dir():
        raise SystemExit(f"{GEUVADIS} is not there; set GENOPRED_SHARED to the folder of the shared data.")
    setting = Setting(args.out, args.model, args.regions, args.genes, args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    steps = {
        "genotype": lambda: step_genotype(setting),
        "features": lambda: step_features(setting),
        "genes": lambda: step_genes(setting),
        "people": lambda: step_people(setting),
        "stack": lambda: step_stack(setting),
    }
    for name in (args.step,) if args.step else STEPS:
        for file in steps[name]():
            if file.suffix == ".md":
                print(file.read_text(encoding="utf-8"))
            if args.record:
                RESULTS.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, RESULTS / file.name)


def write_page(setting: Setting, step: str, title: str, lines: Sequence[str]) -> Path:
    """A page of one step, with what it was made with."""
    made = ", ".join(f"{name} {value}" for name, value in versions().items() if name in ("genopred", "python", "torch"))
    model = setting.model
    head = [
        f"# {title}",
        "",
        f"Made by `python benchmarks/enformer_small.py --out OUT --step {step} --record` on "
        f"{date.today().isoformat()} ({machine()}; {made}). Model: {setting.spec}, weights "
        f"{model.checkpoint_hash[:12]}, window {model.window:,} bp, {len(model.tracks)} tracks.",
        "",
    ]
    path = setting.folder / f"{step}.md"
    write_text(path, "\n".join([*head, *lines]) + "\n")
    return path


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in markdown, with an empty line behind it."""
    return [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)] + [""]


# --- genotype ---------------------------------------------------------------------------------------------------


def stack_config(setting: Setting, name: str, out: Path, **changes: Any) -> Stack:
    """The protocol of benchmarks/accuracy.py for one set of genes."""
    settings = Stack(
        expression=EXPRESSION,
        vcf=GENOTYPES,
        covar=COVARIATES,
        n_covariates=N_COVARIATES,
        gene=tuple(setting.sets[name]),
        window=500_000,
        out=out,
        learners=LEARNERS,
        folds=SHARED / "peers" / "folds.tsv",
        residualize="global",
        stack_weights="none",
        threads=setting.threads,
        command="python benchmarks/enformer_small.py",
    )
    return replace(settings, **changes)


def step_genotype(setting: Setting) -> list[Path]:
    """The genotype-only stack of both sets."""
    for name in setting.sets:
        with progress("genes") as step:
            done = stack.run(stack_config(setting, name, setting.out / f"genotype-{name}"), step)
        best = done.summary.filter(pl.col("method") == META).row(0, named=True)
        print(f"genotype, {name}: {best['n_genes']} genes, {META} mean R² {best['mean_r2']:.4f}; {done.cost}")
    return []


# --- features ---------------------------------------------------------------------------------------------------


def step_features(setting: Setting) -> list[Path]:
    """`genopred features` on all genes, and what a pass costs."""
    wanted = [gene for genes in setting.sets.values() for gene in genes]
    spent = compute_features(setting, wanted)
    origins = [read_features(setting.features, gene).origin for gene in wanted]
    timing = time_passes(setting)
    error = check_passes(setting, wanted)
    haplotypes = sum(origin["haplotypes"] for origin in origins)
    distinct = sum(origin["distinct"] for origin in origins)
    seconds = spent["predicting"]
    naive, batch = timing["naive"] * haplotypes, timing["exact"] * 1000
    lines = [
        "All tracks, the three bins around the TSS, both haplotypes of everybody (SNVs with MAF ≥ 0.05, phased, "
        "GRCh37), fp32, one thread. CPU seconds, because the machine has other work.",
        "",
        *markdown(
            ("", ""),
            [
                ("genes, people", f"{len(wanted)}, {len(setting.ready()['samples'])}"),
                ("haplotypes × windows", f"{haplotypes:,}"),
                ("distinct windows", f"{distinct:,} ({distinct / haplotypes:.1%})"),
                ("`genopred features`, all of it", f"{spent['cpu']:.0f} CPU s ({spent['wall']:.0f} s by the clock)"),
                ("of that the model's passes", f"{seconds:.0f} s by the clock"),
                ("plain pass of one window", f"{timing['naive'] * 1000:.1f} ms"),
                ("exact engine, per distinct window", f"{batch:.2f} ms ({timing['windows']:,} windows timed)"),
                ("exact engine, per haplotype", f"{batch * timing['windows'] / timing['haplotypes']:.3f} ms"),
                ("plain passes of every haplotype would take", f"{naive / 3600:.2f} h"),
                ("plain passes of the distinct windows alone", f"{timing['naive'] * distinct / 60:.1f} min"),
                ("largest relative error against plain passes", f"{error['error']:.0e} ({error['genes']} genes)"),
            ],
        ),
    ]
    return [write_page(setting, "features", "The shipped model on everybody's haplotypes: cost", lines)]


def compute_features(setting: Setting, wanted: Sequence[str]) -> dict[str, float]:
    """Run `genopred features` where something is missing; the seconds of all runs together."""
    cost = setting.folder / "cost.json"
    spent = {"cpu": 0.0, "wall": 0.0, "predicting": 0.0} | (json.loads(cost.read_text()) if cost.is_file() else {})
    # a finished folder is left alone: its manifest is part of what the stack's runs know it by
    if (setting.features / MANIFEST).is_file() and set(wanted) <= set(feature_genes(setting.features)):
        setting.ready()
        return spent
    setting.folder.mkdir(parents=True, exist_ok=True)
    before, cpu, wall = dict(spent), time.process_time(), time.perf_counter()
    settings = Features(
        vcf=GENOTYPES,
        fasta=FASTA,
        model=setting.spec,
        out=setting.features,
        expression=EXPRESSION,
        gene=tuple(wanted),
        device="cpu",
        threads=1,
    )
    with progress("genes") as step:

        def count(done: int, total: int, label: str) -> None:
            spent["cpu"] = before["cpu"] + time.process_time() - cpu
            spent["wall"] = before["wall"] + time.perf_counter() - wall
            write_json(cost, spent)  # a killed run's seconds count as well
            step(done, total, label)

        done = features.run(settings, count)
    spent["predicting"] = before["predicting"] + float(done.genes["predicting"].sum())
    write_json(cost, spent)
    setting.ready()
    return spent


def time_passes(setting: Setting) -> dict[str, float]:
    """CPU seconds on one core of a plain pass, and of the exact engine per distinct window, on a few genes."""
    import torch

    known = setting.folder / "timing.json"
    if known.is_file():
        return json.loads(known.read_text())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    genotypes, fasta, model = read_vcf(GENOTYPES), open_fasta(FASTA), setting.model
    table = read_expression(EXPRESSION).genes
    chosen = [table.row(int(i), named=True) for i in np.linspace(0, table.height - 1, 14).astype(int)[1:-1]]
    plain, exact, windows, haplotypes = [], 0.0, 0, 0
    for gene in chosen:
        sequences = gene_sequences(
            model, genotypes, fasta, gene["chrom"], gene["tss"], gene["strand"], max_mismatch=1.0
        )
        first = sequences.distinct[0]
        for row in first[:3]:
            window = sequences.onehot([row])
            before = time.process_time()
            model.predict_onehot(window)
            plain.append(time.process_time() - before)
        before = time.process_time()
        predict_tracks(model, sequences, bins=central_bins(model, 3))
        exact += time.process_time() - before
        windows += len(first)
        haplotypes += sequences.n_haplotypes
    torch.set_num_threads(threads)
    # the first pass warms up
    found = {
        "naive": float(np.median(plain[1:])),
        "exact": exact / windows,
        "windows": windows,
        "haplotypes": haplotypes,
    }
    write_json(known, found)
    return found


def check_passes(setting: Setting, wanted: Sequence[str]) -> dict[str, float]:
    """`--self-check` on every 30th gene: two haplotypes each through plain passes."""
    run = features.run(
        Features(
            vcf=GENOTYPES,
            fasta=FASTA,
            model=setting.spec,
            out=setting.folder / "checked",
            expression=EXPRESSION,
            gene=tuple(wanted[::30]),
            device="cpu",
            threads=1,
            self_check=True,
        )
    )
    return {"genes": run.genes.height, "error": float(run.genes["self_check_error"].max())}  # type: ignore[arg-type]


# --- genes ------------------------------------------------------------------------------------------------------


def lift(chain: Path, chrom: str, positions: ArrayLike) -> NDArray[np.int64]:
    """0-based positions on the same chromosome of the other build; -1 where no chain leads there."""
    at = np.asarray(positions, dtype=np.int64)
    out = np.full(len(at), -1, dtype=np.int64)
    with gzip.open(chain, "rt") as lines:
        inside = forward = False
        t = q = length = 0
        for line in lines:
            fields = line.split()
            if line.startswith("chain"):
                inside = fields[2] == fields[7] == chrom
                length, forward = int(fields[8]), fields[9] == "+"
                t, q = int(fields[5]), int(fields[10])
            elif inside and fields:
                size = int(fields[0])
                # Chains are sorted by score: where two overlap, the better one has already spoken.
                here = (out < 0) & (at >= t) & (at < t + size)
                there = q + at[here] - t
                out[here] = there if forward else length - 1 - there
                if len(fields) == 3:
                    t, q = t + size + int(fields[1]), q + size + int(fields[2])
    return out


def split_of(blocks: pl.DataFrame, positions: NDArray[np.int64]) -> list[str]:
    """Where each 0-based position of chr22 lies: train, validation, test, between (two of them), not lifted."""
    out = np.where(positions < 0, "not lifted", "between").astype(object)
    for row in blocks.filter(pl.col("chrom").str.strip_prefix("chr") == "22").iter_rows(named=True):
        out[(positions >= row["start"]) & (positions < row["end"])] = row["split"]
    return out.tolist()


def genes_table(setting: Setting) -> pl.DataFrame:
    """One row a gene: its place and split, expression, and the reference's score by every model and measured track."""
    expression = read_expression(EXPRESSION).select(samples=np.array(setting.ready()["samples"]))
    table = expression.genes.select("gene_id", "strand", "tss").with_columns(
        pl.Series("mean_log10_expression", np.log10(expression.values + 0.1).mean(axis=0))
    )
    known = set(feature_genes(setting.features))
    table = table.filter(pl.col("gene_id").is_in(list(known)))
    lifted = lift(CHAIN, "chr22", table["tss"].to_numpy() - 1)
    coding = protein_coding(GENES)
    table = table.with_columns(
        pl.Series("tss_grch38", np.where(lifted < 0, 0, lifted + 1)).replace(0, None),
        pl.Series("split", split_of(setting.blocks(), lifted)),
        pl.Series("protein_coding", [gene.split(".")[0] in coding for gene in table["gene_id"].to_list()]),
    )
    scores = pl.read_parquet(setting.features / REFERENCE).with_columns(
        (pl.col(SENSE) + pl.col(ANTISENSE)).alias(BOTH_STRANDS)
    )
    table = table.join(scores, on="gene_id", how="left", maintain_order="left")
    table = table.join(xpresso(setting, table), on="gene_id", how="left", maintain_order="left")
    return table.hstack(measured(setting.model, lifted, table["strand"].to_list()))


def xpresso(setting: Setting, table: pl.DataFrame) -> pl.DataFrame:
    """Xpresso's prediction of the reference at the same genes."""
    out = setting.out / "xpresso"
    wanted = table["gene_id"].to_list()
    if not (out / REFERENCE).is_file() or not set(wanted) <= set(feature_genes(out)):
        features.run(
            Features(
                vcf=GENOTYPES,
                fasta=FASTA,
                model=f"xpresso:{XPRESSO}",
                out=out,
                expression=EXPRESSION,
                gene=tuple(wanted),
                mode="reference",
                device="cpu",
                threads=1,
            )
        )
    found = pl.read_parquet(out / REFERENCE)
    (name,) = [column for column in found.columns if column != "gene_id"]
    return found.rename({name: XPRESSO_NAME})


def measured(model: SequenceModel, lifted: NDArray[np.int64], strands: Sequence[str]) -> pl.DataFrame:
    """What the experiments show in the three bins whose prediction is taken; null where the gene was not lifted."""
    step = 16
    before = int((model.window - model.n_bins * model.bin_size) // 2 + central_bins(model, 3)[0] * model.bin_size)
    before = model.tss_offset - before  # bases of the three bins before the TSS, in the gene's direction
    width = 3 * model.bin_size
    forward = np.array(strands) != "-"
    start = np.where(forward, lifted - before, lifted + before + 1 - width)
    columns = {}
    for name, files in MEASURED.items():
        total = sum(read_signal(TRACKS / file, {"chr22": CHR22}, step)["chr22"] for file in files)
        sums = np.concatenate([[0.0], np.cumsum(total, dtype=np.float64)])
        first = np.rint(np.maximum(start, 0) / step).astype(int)
        value = (sums[first + width // step] - sums[first]) / (width if "acc." in files[0] else 3)
        columns[name] = pl.Series(np.where(lifted < 0, np.nan, value)).fill_nan(None)
    return pl.DataFrame(columns)


def correlations(
    score: NDArray[np.float64], level: NDArray[np.float64], draws: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Pearson and Spearman, the estimate first and then one value a resample of genes."""
    every = np.vstack([np.arange(len(score)), draws])
    out = {"pearson": np.empty(len(every)), "spearman": np.empty(len(every))}
    for low in range(0, len(every), 250):
        a, b = score[every[low : low + 250]], level[every[low : low + 250]]
        out["pearson"][low : low + 250] = pearson_rows(a, b)
        out["spearman"][low : low + 250] = pearson_rows(stats.rankdata(a, axis=1), stats.rankdata(b, axis=1))
    return out


def pearson_rows(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation of each row of `a` with that of `b`; NaN where one does not vary."""
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))


def cell(values: NDArray[np.float64], sign: bool = False) -> str:
    """Estimate and 95 % interval of what `correlations` gives."""
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return f"{values[0]:{'+' if sign else ''}.3f} ({low:.3f} to {high:.3f})"


def step_genes(setting: Setting) -> list[Path]:
    """Over genes: the reference's score against mean expression."""
    table = genes_table(setting)
    path = setting.folder / "genes.tsv"
    write_text(path, table.with_columns(pl.col(pl.Float64, pl.Float32).round(5)).write_csv(separator="\t"))
    count = dict(table["split"].value_counts().iter_rows())
    groups = {f"{word} blocks": table.filter(pl.col("split") == split) for split, word in SPLITS.items()}
    groups = {"all genes": table, **groups, "protein coding": table.filter("protein_coding")}
    groups = {name: part for name, part in groups.items() if part.height > 2}
    names = [*setting.model.tracks, BOTH_STRANDS, XPRESSO_NAME, *MEASURED]
    found = {name: over_genes(part, names) for name, part in groups.items()}
    lines = [
        f"Correlation over genes of the reference sequence's score at the TSS with the mean over 358 people of "
        "log10(expression + 0.1). The score is what `genopred features` gives for the reference: the mean of the three "
        "bins around the TSS; Pearson takes log(1 + score). In brackets 95 % of "
        f"{RESAMPLES:,} resamples of genes.",
        "",
        f"The model never saw expression. It was trained on the tracks of three cell lines along chr22, in blocks: "
        "at genes of the training blocks it has seen the tracks at the very TSS, at those of the validation blocks it "
        "was chosen by them, at those of the test blocks neither. TSSs were lifted from GRCh37 to GRCh38: "
        f"{count.get('not lifted', 0)} of {table.height} do not lift, {count.get('between', 0)} lie between blocks. "
        "Xpresso was trained on expression itself, GM12878's in other data, most of these genes among its training "
        "genes. `measured` is the experiment in the same bins: about as far as such tracks can go. + and - are the "
        "gene's own strand and the other.",
        "",
    ]
    for kind in ("pearson", "spearman"):
        lines += [f"## {kind.capitalize()}", ""]
        rows = [[name, *(cell(of[name][kind]) for of in found.values())] for name in names]
        for name in (BOTH_STRANDS, SENSE, ACCESSIBILITY):
            difference = [cell(of[name][kind] - of[XPRESSO_NAME][kind], sign=True) for of in found.values()]
            rows.append([f"{name}, more than Xpresso", *difference])
        heads = [f"{name} ({part.height})" for name, part in groups.items()]
        lines += markdown(["score", *heads], rows)
    return [write_page(setting, "genes", "The shipped model over genes: score against mean expression", lines), path]


def over_genes(part: pl.DataFrame, names: Sequence[str]) -> dict[str, dict[str, NDArray[np.float64]]]:
    """`correlations` of every score, all with the same resamples of genes."""
    draws = np.random.default_rng(0).integers(0, part.height, (RESAMPLES, part.height))
    level = part["mean_log10_expression"].to_numpy()
    out = {}
    for name in names:
        score = part[name].cast(pl.Float64).to_numpy()
        if name != XPRESSO_NAME:
            score = np.log1p(score)
        there = np.isfinite(score)
        if there.all():
            out[name] = correlations(score, level, draws)
        else:  # genes that do not lift have no measured value
            few = np.random.default_rng(0).integers(0, int(there.sum()), (RESAMPLES, int(there.sum())))
            out[name] = correlations(score[there], level[there], few)
    return out


# --- people -----------------------------------------------------------------------------------------------------


def people_table(setting: Setting) -> pl.DataFrame:
    """One row a gene and feature: the correlation over people with expression, its p and FDR."""
    samples = np.array(setting.ready()["samples"])
    expression = read_expression(EXPRESSION).select(samples=samples)
    confounders = read_covariates(COVARIATES).select(samples=samples).values[:, :N_COVARIATES]
    phenotype = zscore(residualise(inverse_normal(expression.values), confounders))
    table = expression.genes.select("gene_id", "strand", "tss")
    lifted = lift(CHAIN, "chr22", table["tss"].to_numpy() - 1)
    table = table.with_columns(pl.Series("split", split_of(setting.blocks(), lifted)), pl.Series("y", phenotype.T))
    known = set(feature_genes(setting.features))
    df = len(samples) - 2 - N_COVARIATES
    rows = []
    for gene in table.filter(pl.col("gene_id").is_in(list(known))).iter_rows(named=True):
        found = read_features(setting.features, gene["gene_id"])
        values = found.select(samples).values.astype(float)
        for name in PEOPLE:
            x, r, p = values[:, found.names.index(name)], None, None
            if np.ptp(x) > 1e-6 * max(abs(x.mean()), 1e-12):
                r = float(np.corrcoef(x, gene["y"])[0, 1])
                p = float(2 * stats.t.sf(abs(r) * np.sqrt(df / (1 - r**2)), df))
            place = {key: gene[key] for key in ("gene_id", "strand", "split")}
            spread = {"mean": float(x.mean()), "sd_over_people": float(x.std())}
            rows.append({**place, "feature": name, **spread, "r_over_people": r, "p": p})
    table = pl.DataFrame(rows, infer_schema_length=None)
    return pl.concat([with_fdr(part) for part in table.partition_by("feature", maintain_order=True)])


def with_fdr(table: pl.DataFrame) -> pl.DataFrame:
    """Benjamini-Hochberg over the genes whose feature varies."""
    q = np.full(table.height, np.nan)
    q[table["p"].is_not_null().to_numpy()] = stats.false_discovery_control(table["p"].drop_nulls().to_numpy())
    return table.with_columns(pl.Series("fdr", q).fill_nan(None))


def step_people(setting: Setting) -> list[Path]:
    """Over people: each gene's feature against its expression."""
    from genopred.report.figures import save_figure

    table = people_table(setting)
    path = setting.folder / "people.tsv"
    rounded = table.with_columns(pl.col("r_over_people").round(5), pl.col("mean", "sd_over_people").round(7))
    write_text(path, rounded.write_csv(separator="\t"))
    n_people = len(setting.ready()["samples"])
    columns: dict[tuple[str, str], pl.DataFrame] = {}
    for name in PEOPLE:
        own = table.filter(pl.col("feature") == name)
        columns[name, "all genes"] = own
        for split, word in SPLITS.items():
            columns[name, f"{word} blocks"] = own.filter(pl.col("split") == split)
    columns = {key: part for key, part in columns.items() if part["p"].is_not_null().sum() > 1}
    recorded = RESULTS.parent / "xpresso_chr22.tsv"
    if recorded.is_file():
        columns[XPRESSO_NAME, "all genes"] = pl.read_csv(recorded, separator="\t")
    df = n_people - 2 - N_COVARIATES
    null = float(stats.t.expect(lambda t: abs(t) / np.sqrt(df + t * t), args=(df,)))
    told = {key: signs(part) for key, part in columns.items()}
    lines = [
        f"Per gene, over {n_people} people: Pearson r of the feature (mean of both haplotypes, three bins around the "
        "TSS) with expression (rank-based inverse normal, residualised on 3 genotype and 15 phenotype PCs). The two "
        "features were fixed before the first run. FDR is over all genes whose feature varies; binomial tests take "
        "genes as independent, and neighbours share variants, so the true p values are larger still. Without any "
        f"relation the mean absolute r would be {null:.3f}. Xpresso: benchmarks/results/xpresso_chr22.tsv.",
        "",
    ]
    for name in dict.fromkeys(feature for feature, _ in told):
        rows = {group: of for (feature, group), of in told.items() if feature == name}
        lines += [f"## {PEOPLE.get(name, name)}", ""]
        lines += markdown(["", *rows], [[row, *(of[row] for of in rows.values())] for row in next(iter(rows.values()))])
    lines += ["![r over people, gene by gene](people.svg)"]
    picture = save_figure(histogram(columns, df), setting.folder / "people.svg")
    return [write_page(setting, "people", "The shipped model over people, gene by gene", lines), path, picture]


def signs(part: pl.DataFrame) -> dict[str, str]:
    """The rows of the table over people for one column."""
    varying = part.filter(pl.col("r_over_people").is_not_null())
    r = varying["r_over_people"].to_numpy()
    up, down = int((r > 0).sum()), int((r < 0).sum())
    nominal, sure = varying.filter(pl.col("p") < 0.05)["r_over_people"], varying.filter(pl.col("fdr") < 0.05)
    sure_r = sure["r_over_people"].to_numpy()
    yes, no = int((sure_r > 0).sum()), int((sure_r < 0).sum())
    return {
        "genes whose feature varies": f"{len(r)} of {part.height}",
        "r positive / negative": f"{up} / {down}",
        "binomial p of that": f"{stats.binomtest(up, up + down).pvalue:.2g}",
        "median r": f"{np.median(r):+.4f}",
        "mean r": f"{r.mean():+.4f}",
        "quantiles 5, 25, 75, 95 %": ", ".join(f"{v:+.3f}" for v in np.quantile(r, [0.05, 0.25, 0.75, 0.95])),
        "mean absolute r": f"{np.abs(r).mean():.3f}",
        "p < 0.05, positive / negative": f"{int((nominal > 0).sum())} / {int((nominal < 0).sum())}",
        "FDR < 5 %, positive / negative": f"{yes} / {no}",
        "binomial p of those": f"{stats.binomtest(yes, yes + no).pvalue:.2g}" if yes + no else "–",
    }


def histogram(columns: Mapping[tuple[str, str], pl.DataFrame], df: int) -> Figure:
    """How many genes have which r: a row a feature, all genes and those of test blocks."""
    from genopred.report.figures import COLOURS, _figure

    groups = ("all genes", "test blocks")
    edges = np.arange(-0.975, 0.9751, 0.05)
    widest = max(float(part["r_over_people"].abs().max() or 0) for part in columns.values()) + 0.05  # type: ignore[arg-type]
    with _figure(900, 270 * len(PEOPLE)) as figure:
        axes = figure.subplots(len(PEOPLE), len(groups), squeeze=False)
        for row, name in zip(axes, PEOPLE):
            for ax, group in zip(row, groups):
                if (name, group) not in columns:
                    ax.set_axis_off()
                    continue
                part = columns[name, group].filter(pl.col("r_over_people").is_not_null())
                r, sure = part["r_over_people"].to_numpy(), (part["fdr"] < 0.05).to_numpy()
                ax.hist(
                    [r[~sure], r[sure & (r > 0)], r[sure & (r < 0)]],
                    edges,
                    stacked=True,
                    color=[COLOURS["rule"], COLOURS["main"], COLOURS["worse"]],
                    label=["other genes", "FDR < 5 %, positive", "FDR < 5 %, negative"],
                    edgecolor="white",
                    linewidth=0.5,
                )
                at = np.linspace(-widest, widest, 281)
                # of the correlation of two unrelated normal vectors
                density = stats.t.pdf(at * np.sqrt(df / (1 - at**2)), df) * np.sqrt(df) / (1 - at**2) ** 1.5
                none = density * 0.05 * len(r)
                ax.plot(at, none, color=COLOURS["soft"], linewidth=1, label="without any relation")
                ax.axvline(0, color=COLOURS["ink"], linewidth=0.8)
                ax.set_ylim(0, 1.05 * max(np.histogram(r, edges)[0].max(), none.max()))
                ax.set_xlim(-widest, widest)
                ax.yaxis.get_major_locator().set_params(integer=True)
                ax.set_title(f"{PEOPLE[name]}, {group}", fontsize=11)
                ax.set_ylabel("genes")
        for ax in axes[-1]:
            ax.set_xlabel("r over people of feature and expression")
        axes[0, 0].legend(fontsize=9.5, loc="upper left")
    return figure


# --- stack ------------------------------------------------------------------------------------------------------


def step_stack(setting: Setting) -> list[Path]:
    """Features alone, and beside genotypes, against genotypes alone."""
    scores = {name: stack_scores(setting, name) for name in setting.sets}
    for name, table in scores.items():
        write_text(
            setting.folder / f"stack_{name}_r2.tsv",
            table.with_columns(pl.col("r2").round(5))
            .pivot(on="method", index="gene_id", values="r2")
            .write_csv(separator="\t"),
        )
    both = pl.concat(scores.values())
    place = read_expression(EXPRESSION).genes.select("gene_id", "tss")
    splits = split_of(setting.blocks(), lift(CHAIN, "chr22", place["tss"].to_numpy() - 1))
    test = place.filter(pl.Series(splits) == "test")["gene_id"].to_list()
    parts = {
        "The 120 genes": scores["120"],
        "All other genes": scores["others"],
        "All genes of test blocks, of both sets": both.filter(pl.col("gene_id").is_in(test)),
    }
    lines = [
        "Protocol of benchmarks/accuracy.py: five outer folds over people, everything tuned and fitted inside the "
        f"training people, R² of held-out people; genes with at least {MIN_SNPS} SNPs. Learners on genotypes: "
        f"{', '.join(LEARNERS)}; `@sequence`: the same, where they can, on the gene's {len(setting.model.tracks)} "
        "features and nothing else. The pooled meta-learners of each set are fitted on that set. Differences are "
        "paired by gene, 95 % intervals from resampled genes.",
        "",
    ]
    for title, table in parts.items():
        if table.height:
            lines += [f"## {title}", "", *stack_table(table)]
    files = [setting.folder / f"stack_{name}_r2.tsv" for name in scores]
    return [write_page(setting, "stack", "What the shipped model's features add to genotypes", lines), *files]


def stack_scores(setting: Setting, name: str) -> pl.DataFrame:
    """Scores of the three stacks of one set, each method under a name that says what it saw."""
    setting.ready()
    genotype = stack_config(setting, name, setting.out / f"genotype-{name}")
    sequence = stack_config(
        setting, name, setting.folder / f"sequence-{name}", inputs="sequence", features=setting.features
    )
    with progress("genes") as step:
        done = {"genotype": stack.run(genotype, step), "sequence": stack.run(sequence, step)}
    together = replace(sequence, out=setting.folder / f"both-{name}", inputs="both")
    for gene in setting.sets[name]:
        join_base(genotype.out, sequence.out, together.out, gene)
    # every gene has its base predictions, so what is left to do is the meta-learners
    done["genotype + sequence"] = stack.run(together)
    tables = []
    for inputs, result in done.items():
        table = result.scores
        if inputs == "genotype + sequence":
            table = table.filter(pl.col("method").str.starts_with("stack-"))  # base learners are in the other two
        renamed = (
            pl.when(pl.col("method").str.starts_with("stack-"))
            .then(pl.col("method") + f" ({inputs})")
            .otherwise(pl.col("method"))
        )
        tables.append(table.with_columns(renamed.alias("method")))
    scored = pl.concat(tables)
    counts = scored.group_by("gene_id").len()
    whole = counts.filter(pl.col("len") == scored["method"].n_unique())["gene_id"].to_list()
    return scored.filter(pl.col("gene_id").is_in(whole))


def join_base(genotype: Path, sequence: Path, out: Path, gene: str) -> None:
    """Base predictions of both kinds side by side, as a run with inputs="both" writes them.

    A base learner sees its own block alone, and inner folds and seeds are the gene's own: they are the same numbers.
    """
    name = safe_name(gene)
    infos = [json.loads((folder / "genes" / f"{name}.json").read_text()) for folder in (genotype, sequence)]
    (out / "genes").mkdir(parents=True, exist_ok=True)
    skipped = next((info["skipped"] for info in infos if info["skipped"]), None)
    if skipped is None:
        tables = [stack_genes.read_base(folder, gene) for folder in (genotype, sequence)]
        shared = ["outer_fold", "inner_fold", "sample", "observed"]
        assert tables[0].select(shared).equals(tables[1].select(shared)), f"{gene}: not the same people and folds"
        table = tables[0].hstack(tables[1].drop(shared))
        write_files({out / "genes" / f"{name}.parquet": lambda path: table.write_parquet(path)})
    write_json(out / "genes" / f"{name}.json", infos[0] | {"skipped": skipped})


def stack_table(scores: pl.DataFrame) -> list[str]:
    """Each method beside the genotype-only stack, and what features add for each meta-learner."""
    summary = summarise(scores, f"{META} (genotype)")
    rows = [
        [
            row["method"],
            f"{row['mean_r2']:.4f} ({row['mean_r2_low']:.4f} to {row['mean_r2_high']:.4f})",
            f"{row['delta_r2']:+.4f} ({row['delta_low']:+.4f} to {row['delta_high']:+.4f})",
            f"{row['p_wilcoxon']:.2g}",
            f"{row['mean_signed_r2']:.4f}",
        ]
        for row in summary.iter_rows(named=True)
        if "per-gene" not in row["method"]
    ]
    lines = [f"{summary['n_genes'][0]} genes."]
    for meta in ("stack-xgboost", "stack-nnls", "stack-ridge"):
        paired = summarise(scores, f"{meta} (genotype)")
        row = paired.filter(pl.col("method") == f"{meta} (genotype + sequence)").row(0, named=True)
        lines.append(
            f"**{meta}: both − genotype {row['delta_r2']:+.4f} ({row['delta_low']:+.4f} to {row['delta_high']:+.4f}), "
            f"p {row['p_wilcoxon']:.2g}.**"
        )
    own = scores.filter(pl.col("method") == f"{META} (sequence)")["pearson"].to_numpy()
    lines.append(f"Features alone: held-out r above 0 in {int((own > 0).sum())} genes, median {np.median(own):+.3f}.")
    head = ["method", "mean R²", f"difference from {META} (genotype)", "p (Wilcoxon)", "signed r²"]
    return [" ".join(lines), "", *markdown(head, rows)]


if __name__ == "__main__":
    main()
