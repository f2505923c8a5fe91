"""The overlap analysis three times: the founding study's tables, simulations without any overlap, and chr22.

    python benchmarks/overlap.py [apoe] [simulation] [chr22]

All three by default; needs ../shared (or $GENOPRED_SHARED), the simulation msprime instead. Writes
benchmarks/results/overlap_apoe.tsv, overlap_simulation.tsv, overlap_chr22*.tsv and overlap.md, and with --figures the
pictures of docs/overlap.md. About five minutes on one core.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from genopred.genetics import loci
from genopred.genetics.overlap.nulls import NULLS, null_draws
from genopred.genetics.overlap.rankings import Rankings, hypergeometric, rank_correlation, rankings, shared_at
from genopred.genetics.simulate import simulate_alleles
from genopred.pipelines import overlap
from genopred.report.pages.overlap import reading
from genopred.settings import Overlap
from genopred.settings.overlap import NamedFile

HERE = Path(__file__).parent
SHARED = Path(os.environ.get("GENOPRED_SHARED", HERE.parent.parent / "shared"))
RESULTS = HERE / "results"
WEIGHTS = "GM12878_trainepoch.06-0.5062.h5"
#: Genes with a strong eQTL: gene-level p of the permutation pass, and SNPs that Xpresso can see.
STRONG, VISIBLE = 1e-5, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["apoe", "simulation", "chr22"])
    parser.add_argument("--figures", type=Path, help="copy the pictures here")
    parser.add_argument("--work", type=Path, help="keep the intermediate files in this folder")
    parser.add_argument("--pairs", type=int, default=300, help="of the simulation, each kind")
    args = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        work = args.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        for part in args.parts:
            text = {"apoe": apoe, "simulation": simulation, "chr22": chr22}[part](work, args)
            (RESULTS / f"overlap_{part}.md").write_text(text)
            print(text)


def apoe(work: Path, args: argparse.Namespace) -> str:
    """The founding study: its 41, 33 and 40, and what is left of them."""
    folder = SHARED / "data" / "apoe"
    result = overlap.run(
        Overlap(
            a=(
                NamedFile("full", folder / "chr19_numer_1402_result.csv"),
                NamedFile("tracks", folder / "chr19_numer_1402_tracks_result.csv"),
            ),
            b=NamedFile("eqtl", folder / "eQTL_APOE_result.csv"),
            out=work / "apoe",
            recipe="founding-study",
        )
    )
    result.results.write_csv(RESULTS / "overlap_apoe.tsv", separator="\t", float_precision=5)
    _copy(
        work,
        args.figures,
        {"apoe.full.founding.png": "overlap_founding.png", "apoe.full.curve.png": "overlap_curve.png"},
    )
    lines = [
        "# The founding study's tables",
        "",
        "Made by `python benchmarks/overlap.py apoe`; all rows in overlap_apoe.tsv.",
        "",
        *reading(result.results, (50,)),
    ]
    return "\n\n".join(x for x in lines if x) + "\n\n" + _table(result.results.filter(pl.col("k") == 50))


def simulation(work: Path, args: argparse.Namespace) -> str:
    """How often each test calls an overlap of two phenotypes that share nothing."""
    table = level(args.pairs)
    table.write_csv(RESULTS / "overlap_simulation.tsv", separator="\t", float_precision=4)
    lines = [
        "# Two phenotypes that share nothing",
        "",
        f"Made by `python benchmarks/overlap.py simulation`. {args.pairs} pairs of each kind on ten simulated "
        "stretches of 700 kb (msprime, 300 people, MAF ≥ 5 %, about 1,000 SNPs). The rankings have nothing to do with "
        "each other: a test at 5 % should call 5 % of the pairs. “noise”: two phenotypes without any genetic effect, "
        "tested on the "
        "same genotypes, so that both rankings follow the same LD; “causal”: the same, each phenotype with one causal "
        "SNP of its own, drawn anywhere, with an expected z of 6; “smooth”: ranking b is such a causal phenotype, "
        "ranking a a score that runs on over 25 SNPs but knows no LD, as a model's might; “single”: the same with a "
        "score drawn for each SNP by itself. k = 50, 199 draws.",
        "",
        "| pairs | statistic | null | share with p ≤ 0.05 | p ≤ 0.01 |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['pairs']} | {r['statistic']} | {r['null']} | {r['at_5']:.3f} | {r['at_1']:.3f} |"
        for r in table.iter_rows(named=True)
    ]
    error = 1.96 * np.sqrt(0.05 * 0.95 / args.pairs)
    lines += ["", f"95 % of exact tests at 5 % would lie within 0.05 ± {error:.3f}, if the pairs were independent."]
    return "\n".join(lines) + "\n"


def level(pairs: int, *, stretches: int = 10, people: int = 300, length: int = 700_000, k: int = 50) -> pl.DataFrame:
    """Share of pairs of unrelated rankings that each test calls."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for stretch in range(stretches):
        alleles, variants = simulate_alleles(people, length, maf=0.05, seed=stretch + 1)
        dosage = alleles.sum(axis=1)
        x = dosage - dosage.mean(axis=0)
        x = x / np.linalg.norm(x, axis=0)
        block = loci.ld_blocks(dosage)
        rng = np.random.default_rng(stretch)

        for _ in range(pairs // stretches):
            for kind in ("noise", "causal", "smooth", "single"):
                b = _scores(x, rng, kind != "noise")
                if kind in ("smooth", "single"):
                    a = rng.random(len(b) + 24)
                    a = np.convolve(a, np.ones(25), "valid") if kind == "smooth" else a[: len(b)]
                else:
                    a = _scores(x, rng, kind == "causal")
                r = rankings(a, b, pos=variants["pos"], block=block, dosage=dosage, z_b=b)
                found.setdefault((kind, f"overlap at {k}", "hypergeometric"), []).append(hypergeometric(r, k)[0])
                for null in NULLS:
                    draws = [_both(draw, k) for draw in null_draws(r, null, 199, seed=int(rng.integers(2**31)))]
                    p = (1 + np.sum(np.array(draws) >= np.array(_both(r, k)) - 1e-12, axis=0)) / (len(draws) + 1)
                    for statistic, value in zip((f"overlap at {k}", "Spearman rho"), p.tolist()):
                        found.setdefault((kind, statistic, null), []).append(value)
    rows = [
        {
            "pairs": a,
            "statistic": b,
            "null": c,
            "n": len(p),
            "at_5": np.mean(np.array(p) <= 0.05),
            "at_1": np.mean(np.array(p) <= 0.01),
        }
        for (a, b, c), p in found.items()
    ]
    return pl.DataFrame(rows).sort("pairs", "statistic", maintain_order=True)


def _scores(x: np.ndarray, rng: np.random.Generator, causal: bool) -> np.ndarray:
    """|z| of all SNPs for a phenotype of noise, or with one causal SNP anywhere."""
    y = rng.standard_normal(len(x)) + (6 * x[:, rng.integers(x.shape[1])] if causal else 0)
    return np.abs(x.T @ (y - y.mean())) / y.std()


def _both(r: Rankings, k: int) -> tuple[float, float]:
    return float(shared_at(r, k)), rank_correlation(r)


def chr22(work: Path, args: argparse.Namespace) -> str:
    """Xpresso's effects of the SNPs around genes with a strong eQTL, against our own eQTL map of 358 people."""
    data = SHARED / "data"
    cohort = data / "geuvadis_chr22"
    vcf, bed = cohort / "genotypes.chr22.vcf.gz", cohort / "genes.50percent.chr22.bed.gz"
    mapping = ["--vcf", vcf, "--expression", bed, "--covar", cohort / "genes.covariates.pc50.txt.gz"]
    mapping += ["--n-covariates", 18, "--window", "500kb", "--susie", "--all", "--threads", 1]
    if not (work / "map.cis_qtl.parquet").is_file():
        genopred("eqtl", *mapping, "--out", work / "map")
    genes = pl.read_parquet(work / "map.cis_qtl.parquet").filter(pl.col("pval_beta") <= STRONG)
    (work / "genes.txt").write_text("\n".join(genes["phenotype_id"].to_list()) + "\n")
    model = ["--model", f"xpresso:{data / 'xpresso' / WEIGHTS}", "--fasta", data / "reference" / "chr22.b37.fa.gz"]
    if not (work / "effects.parquet").is_file():
        genopred(
            "effects",
            "--vcf",
            vcf,
            "--expression",
            bed,
            "--genes",
            work / "genes.txt",
            *model,
            "--out",
            work / "effects",
        )
    effects = pl.read_parquet(work / "effects.parquet")
    seen = effects.filter(pl.col("effect") != 0).group_by("gene").len().filter(pl.col("len") >= VISIBLE)
    effects.filter(pl.col("gene").is_in(seen["gene"].to_list())).write_parquet(work / "seen.parquet")
    pl.read_parquet(work / "map.SuSiE_summary.parquet").filter(
        pl.col("phenotype_id").is_in(seen["gene"].to_list())
    ).write_parquet(work / "sets.parquet")
    result = overlap.run(
        Overlap(
            a=(NamedFile("xpresso", work / "seen.parquet"),),
            a_score="abs:effect",
            b=NamedFile("eqtl", work / "map.cis_qtl_pairs.*.parquet"),
            out=work / "chr22",
            k=(3, 5, 10),
            set_file=NamedFile("credible-sets", work / "sets.parquet"),
            vcf=vcf,
            draws=5000,
        )
    )
    result.results.write_csv(RESULTS / "overlap_chr22.tsv", separator="\t", float_precision=5)
    columns = ["gene", "id", "pos", "score_a", "score_b", "effect_a", "effect_b", "rank_a", "rank_b", "member", "locus"]
    result.comparisons[0].snps.select(columns).write_csv(
        RESULTS / "overlap_chr22_snps.tsv", separator="\t", float_precision=5
    )
    _copy(work, args.figures, {"chr22.xpresso.curve.png": "overlap_chr22.png"})
    inside = result.comparisons[0].snps
    lines = [
        "# Xpresso against chr22's eQTLs",
        "Made by `python benchmarks/overlap.py chr22` (genopred eqtl, effects and overlap on the 358 GEUVADIS "
        "people); all rows in overlap_chr22.tsv, all SNPs in overlap_chr22_snps.tsv. "
        f"{genes.height} of 608 genes have a strong eQTL (beta-approximated permutation p ≤ {STRONG:g}); "
        f"{inside['gene'].n_unique()} of them have at least {VISIBLE} SNPs with an effect within the 10,500 bases "
        f"that Xpresso sees, together {inside.height:,} SNPs. Everything Xpresso cannot see, most eQTL SNPs among it, "
        "is outside this comparison.",
        "Counts: " + "; ".join(result.report.lines()) + ".",
        *reading(result.results, (3, 5, 10)),
    ]
    return "\n\n".join(lines) + "\n\n" + _table(result.results)


def genopred(*arguments: object) -> None:
    """One command of genopred in a process of its own."""
    command = [
        sys.executable,
        "-c",
        "import sys; from genopred.cli import main; sys.exit(main())",
        *map(str, arguments),
    ]
    subprocess.run(command, check=True)


def _copy(work: Path, target: Path | None, names: dict[str, str]) -> None:
    if target is not None:
        target.mkdir(parents=True, exist_ok=True)
        for name, new in names.items():
            shutil.copyfile(work / name, target / new)


def _table(results: pl.DataFrame) -> str:
    def cell(value: object) -> str:
        return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)

    columns = ["a", "b", "measure", "k", "value", "low", "high", "null", "expected", "null_low", "null_high", "p", "n"]
    lines = ["| " + " | ".join(columns) + " | note |", "|---" * (len(columns) + 1) + "|"]
    for row in results.iter_rows(named=True):
        lines.append("| " + " | ".join(cell(row[c]) for c in columns) + f" | {row['note']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
