"""SNP effects with shared computation, beside two plain passes a SNP.

    python benchmarks/effects.py                 # a reduced Enformer, one core: measured
    python benchmarks/effects.py --full          # the published size too (64 to 131 s a plain pass): measured
    python benchmarks/effects.py --real          # trained weights: SNPs around the genes with the strongest eQTLs

A real window (GEUVADIS, chr22; $GENOPRED_SHARED or ../shared) of 196,608 bp around a gene's TSS and its SNPs. The plain
side is enformer-pytorch's own forward with REF and with ALT, timed on a few SNPs spread over the run; ours is
`genopred.sequence.effects.window_effects` on `--snps` of the window's SNPs, with everything it does. Both must agree on
the SNPs that both computed, or nothing is written. Weights are random, batch norm has the statistics of the reference
sequence: speed does not depend on them. Operations are counted for the size measured and for the published size.
Writes results/effects.md and results/effects.json.

`--real` runs `genopred effects` with Xpresso's GM12878 weights on the 50 chr22 genes with the smallest gene-level eQTL p
(QTLtools' permutation pass) and writes results/effects_xpresso_gm12878.tsv and results/effects_xpresso_gm12878.md.
"""

# ruff: noqa: E501  (lines of the report)
from __future__ import annotations

import argparse
import datetime
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from enformer_pytorch import Enformer

from genopred.io.fasta import open_fasta
from genopred.io.vcf import read_vcf
from genopred.pipelines.effects import run
from genopred.sequence.effects import EffectSettings, SnpWindow, snp_window, window_effects
from genopred.sequence.models.enformer.checkpoint import CheckpointInfo
from genopred.sequence.models.enformer.model import EnformerModel, naive_operations
from genopred.sequence.models.enformer.tower import Counter, ExactTower
from genopred.sequence.models.enformer.transformer import Transformer
from genopred.sequence.onehot import onehot
from genopred.settings import Effects
from genopred.types import Interval

HERE = Path(__file__).parent
SHARED = Path(os.environ.get("GENOPRED_SHARED", HERE.parent.parent / "shared")) / "data"
WINDOW = 196_608
#: dim, depth and heads of the network that is timed.
REDUCED = {"dim": 384, "depth": 4, "heads": 4}


def network(reference: np.ndarray, size: dict[str, int]) -> Any:
    """A random Enformer in which every base and attention matter."""
    torch.manual_seed(0)
    module = Enformer.from_hparams(**size).eval()
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, torch.nn.Conv1d | torch.nn.Linear | torch.nn.Conv2d):
                part.weight.normal_(0, part.weight[0].numel() ** -0.5)
                if part.bias is not None:
                    part.bias.normal_(0, 0.1)
        norms = [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm1d)]
        for part in norms:
            part.train()
            part.momentum = 1.0
        x = module.conv_tower(module.stem(torch.from_numpy(reference[: 128 * 128])[None].mT)).mT
        module.final_pointwise(module.transformer(x))
        for part in norms:
            part.eval()
    return module


def real_window(tss: int) -> SnpWindow:
    """The SNPs of the window around a TSS of chr22 (b37)."""
    genotypes = read_vcf(SHARED / "geuvadis_chr22" / "genotypes.chr22.vcf.gz")
    interval = Interval("22", tss - 1 - WINDOW // 2, tss - 1 + WINDOW // 2)
    snps = genotypes.variants[genotypes.index(interval)]
    return snp_window(snps, open_fasta(SHARED / "reference" / "chr22.b37.fa.gz"), interval)


def some_of(window: SnpWindow, n: int) -> SnpWindow:
    """Only `n` of the window's SNPs, evenly spread."""
    rows = np.unique(np.linspace(0, len(window.index) - 1, n).astype(int))
    sequences = window.sequences
    kept = replace(sequences, alleles=sequences.alleles[rows], samples=sequences.samples[rows])
    return SnpWindow(kept, window.index[rows], window.turned[rows], window.status, window.mismatched)


def operations(window: SnpWindow, size: dict[str, int], bins: str) -> dict[str, float]:
    """Operations of all SNPs of the window, ours (in one part) and two passes a SNP; nothing is computed."""
    with torch.device("meta"), torch.inference_mode():
        module = Enformer.from_hparams(**size).eval()
        tokens = WINDOW // 128
        transformer = Transformer(module, tokens, "human", torch.float32, queries=128)
        count, shared_count = Counter(), Counter()
        table = torch.empty((tokens, module.dim))
        shared = transformer.shared(table, shared_count)
        asked = torch.arange(896) if bins == "all" else torch.tensor([447, 448, 449])
        transformer.run(table, torch.empty((1, tokens), dtype=torch.int64), asked, torch.arange(5313), count, shared)
    work = ExactTower(module).plan(window.sequences.with_reference().window)
    tower, whole = naive_operations(module, WINDOW)
    n = len(window.index)
    # the first projections, once for each distinct token instead of the reference's alone
    first = shared_count.operations * work.tokens[-1] / tokens
    ours = work.tower_operations + first + (n + 1) * count.operations
    return {
        "snps": n,
        "pass_tflop": whole / 1e12,
        "tower_share": tower / whole,
        "tower_passes": work.tower_operations / tower,
        "ours_tflop": ours / 1e12,
        "two_passes_tflop": 2 * n * whole / 1e12,
        "fold_two_passes": 2 * n * whole / ours,
        "fold_one_pass": (n + 1) * whole / ours,
    }


def measure(window: SnpWindow, size: dict[str, int], snps: int, passes: int) -> dict[str, Any]:
    """Both sides on some SNPs of the window, one after the other in turns."""
    module = network(onehot(window.sequences.reference), size)
    info = CheckpointInfo(
        source="random", window=WINDOW, hash="random", tf_gamma=False, tf_gamma_because="random", config={}
    )
    model = EnformerModel(module, info)
    some = some_of(window, snps)
    settings = EffectSettings.of(model, over_tracks="mean")
    checked = np.linspace(0, len(some.index) - 1, passes).astype(int)
    plain, times = [], []

    def two_passes(row: int) -> None:
        onehots = [some.sequences.onehot([row])[0], onehot(some.sequences.reference)]
        started = time.process_time()
        with torch.inference_mode():
            alt, ref = (module(torch.from_numpy(x)[None], head="human")[0] for x in onehots)
            difference = (alt.double() - ref.double()).sum(0).mean()
        times.append(time.process_time() - started)
        sign = -1 if some.turned[row] else 1
        plain.append(sign * float(difference))
        print(f"two plain passes: {times[-1]:.1f} s", flush=True)

    half = len(checked) // 2 + 1
    for row in checked[:half]:
        two_passes(int(row))
    started = time.process_time()
    effects = window_effects(model, some, settings)
    ours = time.process_time() - started
    print(f"ours: {ours:.1f} s for {len(some.index)} SNPs", flush=True)
    for row in checked[half:]:
        two_passes(int(row))
    got = effects.effect[checked, 0]
    scale = float(np.abs(effects.abs_effect[:, 0]).max())
    error = float(np.abs(got - plain).max() / scale)
    print(f"largest difference: {error:.1e} of the largest absolute effect", flush=True)
    if error > 1e-3:
        raise SystemExit("the two sides do not agree")
    each = float(np.median(times))
    return {
        "size": size or {"dim": 1536, "depth": 11, "heads": 8},
        "snps": len(some.index),
        "two_pass_seconds": [round(t, 2) for t in times],
        "seconds_ours": ours,
        "seconds_ours_a_snp": ours / len(some.index),
        "fold_two_passes": each * len(some.index) / ours,
        "fold_one_pass": each / 2 * (len(some.index) + 1) / ours,
        "error_of_largest_absolute_effect": error,
        "load_average": os.getloadavg()[0],
    }


def report(measured: list[dict[str, Any]], counted: list[dict[str, Any]], head: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        "# SNP effects: shared computation beside two plain passes a SNP",
        "",
        f"Made by `{head['command']}` on {head['date']}, torch {head['torch']}, {head['threads']} thread, CPU; TSS "
        f"{head['tss']:,} (chr22, GRCh37), window 196,608 bp, all bins and all 5,313 tracks, SNPs of GEUVADIS. Weights are "
        "random: the published weights are not among the data, and neither time nor operations depend on them.",
        "",
        "## Measured",
        "",
        "| network | SNPs | two plain passes, CPU s a SNP | ours, CPU s a SNP | times faster | than the reference once and one pass a "
        "SNP | largest difference, of the largest absolute effect |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in measured:
        size = ", ".join(f"{key} {value}" for key, value in row["size"].items())
        lines.append(
            f"| {size} | {row['snps']} | {np.median(row['two_pass_seconds']):.1f} (of {len(row['two_pass_seconds'])}) | "
            f"{row['seconds_ours_a_snp']:.2f} | **{row['fold_two_passes']:.1f}** | {row['fold_one_pass']:.1f} | "
            f"{row['error_of_largest_absolute_effect']:.0e} |"
        )
    lines += [
        "",
        f"Load average of the machine meanwhile {', '.join(format(row['load_average'], '.1f') for row in measured)} on "
        f"{head['cores']} cores: seconds are CPU seconds of the process, in which both sides ran in turns.",
        "",
        "## Counted: multiplications and additions of matrix products, all SNPs of the window",
        "",
        "| network | bins asked for | SNPs | one pass, TFLOP | the tower's share | tower passes for all SNPs | times fewer "
        "than two passes a SNP | than the reference once and one pass a SNP |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in counted:
        lines.append(
            f"| {row['network']} | {row['bins']} | {row['snps']} | {row['pass_tflop']:.2f} | {row['tower_share']:.0%} | "
            f"{row['tower_passes']:.2f} | **{row['fold_two_passes']:.1f}** | {row['fold_one_pass']:.1f} |"
        )
    lines += [
        "",
        "With all bins and tracks, predictions of 25 SNPs at a time fit the default memory, and each part has its own tower "
        "of the reference: measured so, counted as one part.",
        "",
        "A SNP alone in its window (`--center snp` without `--share`) shares only the tower, between its two alleles: see "
        "the rows with 1 SNP. `--share` lets neighbours share a window.",
        "",
    ]
    return "\n".join(lines)


def real(out: Path, n: int = 50) -> str:
    """Xpresso on all SNPs in its window around the genes with the strongest eQTLs."""
    permuted = pl.read_csv(SHARED.parent / "peers" / "qtltools_permute1000.txt.gz", separator=" ", has_header=False)
    permuted.columns = [f"field_{i + 1}" for i in range(permuted.width)]
    top = permuted.sort("field_20").head(n).select(gene="field_1", lead="field_8", slope="field_18", p_beta="field_20")
    started = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        listed = Path(scratch) / "genes.txt"
        listed.write_text("\n".join(top["gene"].to_list()) + "\n")
        done = run(
            Effects(
                fasta=SHARED / "reference" / "chr22.b37.fa.gz",
                model=f"xpresso:{SHARED / 'xpresso' / 'GM12878_trainepoch.06-0.5062.h5'}",
                out=Path(scratch) / "effects",
                vcf=SHARED / "geuvadis_chr22" / "genotypes.chr22.vcf.gz",
                expression=SHARED / "geuvadis_chr22" / "genes.50percent.chr22.bed.gz",
                genes=listed,
                device="cpu",
                threads=1,
            )
        )
    seconds = time.process_time() - started
    table = done.table
    # log_fc is missing for a model of logarithms, abs_effect is |effect| for one bin and one track
    kept = table.select(
        "chrom", "pos", "id", "ref", "alt", "gene", "track_group", "effect", "reference", "tss_distance"
    )
    kept.with_columns(pl.col("effect", "reference").round_sig_figs(6)).write_csv(
        out / "effects_xpresso_gm12878.tsv", separator="\t"
    )
    per_gene = table.group_by("gene", maintain_order=True).agg(
        pl.len().alias("snps"),
        pl.col("effect").abs().max().alias("largest"),
        pl.col("effect").abs().median().alias("median"),
    )
    leads = top.join(table, left_on=["gene", "lead"], right_on=["gene", "id"])
    ranks = table.with_columns(rank=pl.col("effect").abs().rank(descending=True).over("gene"), of=pl.len().over("gene"))
    leads = leads.join(ranks.select("gene", "rank", "of", lead="id"), on=["gene", "lead"])
    from scipy.stats import binomtest

    same = int((leads["effect"].sign() == leads["slope"].sign()).sum())
    lines = [
        "# Xpresso-GM12878's effects of the SNPs around the 50 chr22 genes with the strongest eQTLs",
        "",
        "Made by `python benchmarks/effects.py --real`, which is",
        "",
        "```",
        "zcat ../shared/peers/qtltools_permute1000.txt.gz | sort -g -k20,20 | head -50 | cut -d' ' -f1 > genes.txt",
        "genopred effects --vcf ../shared/data/geuvadis_chr22/genotypes.chr22.vcf.gz \\",
        "    --fasta ../shared/data/reference/chr22.b37.fa.gz --genes genes.txt \\",
        "    --expression ../shared/data/geuvadis_chr22/genes.50percent.chr22.bed.gz \\",
        "    --model xpresso:../shared/data/xpresso/GM12878_trainepoch.06-0.5062.h5 --device cpu --threads 1",
        "```",
        "",
        f"{table.height:,} gene–SNP pairs (SNVs with MAF ≥ 0.05) in windows of 10,500 bp, GRCh37; {seconds:.1f} s of CPU. "
        "effects_xpresso_gm12878.tsv has the columns of docs/effects.md, numbers to six digits, without abs_effect (that is "
        "|effect| here), log_fc (missing: the model predicts logarithms) and ref_match (all `match`, as this FASTA was made with the REF alleles of this VCF). An effect is in "
        "standard deviations of log10 expression over genes.",
        "",
        f"SNPs a gene: {per_gene['snps'].min()} to {per_gene['snps'].max()}, median {per_gene['snps'].median():.0f}. "
        f"|effect|: median {table['effect'].abs().median():.4f}, 95 % below {table['effect'].abs().quantile(0.95):.3f}, largest "
        f"{table['effect'].abs().max():.2f}. Of {n} lead variants {leads.height} are inside the window; for {same} of these "
        f"the sign of the effect is that of the slope (binomial p {binomtest(same, leads.height).pvalue:.2f}); their |effect| stands at a median "
        f"{(leads['rank'] / leads['of']).median():.0%} of the gene's SNPs from the top (50 % would be chance). What overlaps "
        "with eQTLs and credible sets is in overlap.md.",
        "",
    ]
    assert set(table["ref_match"]) == {"match"}
    (out / "effects_xpresso_gm12878.md").write_text("\n".join(lines))
    return "\n".join(lines)


def main() -> None:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tss", type=int, default=24_979_718, help="1-based, chr22 b37")
    parser.add_argument("--snps", type=int, default=40, help="SNPs of the window to time")
    parser.add_argument("--passes", type=int, default=4, help="SNPs to time with two plain passes")
    parser.add_argument("--full", action="store_true", help="also measure the published size")
    parser.add_argument("--real", action="store_true", help="only Xpresso with its trained weights on real SNPs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.real:
        print(real(args.out))
        return
    window = real_window(args.tss)
    print(f"{len(window.index)} SNPs in the window", flush=True)
    counted = []
    for name, size in (("published", {}), ("reduced", REDUCED)):
        for bins in ("all", "3"):
            for part in (window, some_of(window, args.snps), some_of(window, 4), some_of(window, 1)):
                counted.append({"network": name, "bins": bins, **operations(part, size, bins)})
    for row in counted:
        print(json.dumps(row), flush=True)
    measured = [measure(window, REDUCED, args.snps, args.passes)]
    if args.full:
        measured.append(measure(window, {}, min(args.snps, 8), min(args.passes, 2)))
    head = {
        "command": f"python benchmarks/effects.py{' --full' if args.full else ''}",
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "threads": args.threads,
        "cores": os.cpu_count(),
        "tss": args.tss,
    }
    text = report(measured, counted, head)
    for name, content in (
        ("effects.json", json.dumps({"run": head, "measured": measured, "counted": counted}, indent=1) + "\n"),
        ("effects.md", text),
    ):
        temporary = args.out / f".{name}.part"
        temporary.write_text(content)
        temporary.replace(args.out / name)
    print(text)


if __name__ == "__main__":
    main()
