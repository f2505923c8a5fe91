"""Another study's marginal effects in place of its people: what is left of their worth, on GEUVADIS chr22.

The 358 people are halved at random. Of half A only z of every gene and variant are kept (`genopred eqtl`, 18
covariates); half B is the small cohort, with nested cross-validation among its people, and its genotypes are the LD
panel. Accuracy is that of B's held-out people, of

- learners of B alone,
- learners @sumstats: of A's z with the LD of B, choice and slope tuned in B's training people,
- learners @people: the same learners on A's people themselves, slope tuned in the same way: what z could be worth,
- stacks of B alone, and of B with @sumstats.

Then the alleles of 5 % of A's rows are swapped at random, and `sumstats_check.tsv` is held against the truth; accuracy
where the named rows are dropped, turned, or kept.

    python benchmarks/sumstats.py --out OUT [--seeds 1] [--genes-limit 120] [--threads 1] [--record]

Needs ../shared (or $GENOPRED_SHARED). The peers' 120 genes take about ten minutes of one core a seed. A stopped run
goes on where it was. With --record the table goes to benchmarks/results/sumstats.md.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from genopred import align
from genopred.genetics.scores import ClumpThresholdPRS
from genopred.io.covariates import read_covariates
from genopred.io.expression import read_expression
from genopred.io.vcf import read_vcf
from genopred.learning.elasticnet import ElasticNet
from genopred.learning.evaluate import Block, Outcome, nested_base, outer_folds, scores
from genopred.learning.fromsumstats import FromSumstats
from genopred.learning.learners import GeneContext, Learner, SuSiE
from genopred.learning.pooled import BaseTables, Pooled
from genopred.pipelines import eqtl, stack
from genopred.pipelines.stack_genes import base_path, gene_seed
from genopred.settings import Eqtl, Stack
from genopred.types import Genotypes, Interval

RESULTS = Path(__file__).parent / "results" / "sumstats.md"
SHARED = Path(os.environ.get("GENOPRED_SHARED", Path(__file__).parents[2] / "shared"))
DATA = SHARED / "data" / "geuvadis_chr22"
VCF, EXPRESSION = DATA / "genotypes.chr22.vcf.gz", DATA / "genes.50percent.chr22.bed.gz"
COVARIATES, N_COVARIATES = DATA / "genes.covariates.pc50.txt.gz", 18
WINDOW, MAF = 500_000, 0.05
OWN = ("pt-prs", "elastic-net", "susie", "elastic-net-tss", "susie-tss", "gblup-tss")
STUDY = ("pt-prs", "lassosum", "ridge", "elastic-net", "susie", "elastic-net-tss", "susie-tss", "prs-cs")
#: Share of rows whose alleles are swapped.
SWAPPED = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", default="1", help="of the halves, as 1,2")
    parser.add_argument("--genes-limit", type=int, default=120)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.name} under benchmarks/results")
    args = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    if not DATA.is_dir():
        raise SystemExit(f"{DATA} is not there; set GENOPRED_SHARED to the folder of the shared data.")
    genes = pl.read_csv(SHARED / "peers" / "genes120.tsv", separator="\t")["gene"].to_list()[: args.genes_limit]
    seeds = [int(cell) for cell in args.seeds.split(",")]
    accuracy, found = [], []
    for seed in seeds:
        one = Halves(args.out / str(seed), seed, genes, args.threads)
        accuracy.append(one.accuracy().with_columns(seed=pl.lit(seed)))
        found.append(one.flipped())
    text = words(pl.concat(accuracy), found, args)
    print(text)
    if args.record:
        RESULTS.write_text(text + "\n", encoding="utf-8")


class Halves:
    """The people halved, the study of A, and runs on B."""

    def __init__(self, folder: Path, seed: int, genes: list[str], threads: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.seed, self.genes, self.threads = folder, seed, genes, threads
        self.genotypes = read_vcf(VCF)
        samples = self.genotypes.samples
        order = np.random.default_rng(seed).permutation(len(samples))
        self.a, self.b = (samples[np.sort(part)] for part in np.split(order, [len(samples) // 2]))
        for name, part in (("a", self.a), ("b", self.b)):
            (folder / f"{name}.txt").write_text("\n".join(part.tolist()) + "\n", encoding="utf-8")
        write_bed(folder / "panel", self.genotypes.select(self.b))
        self.inputs = {
            "expression": EXPRESSION, "vcf": VCF, "covar": COVARIATES, "n_covariates": N_COVARIATES,
            "gene": tuple(genes), "window": WINDOW, "threads": threads,
        }  # fmt: skip
        self.clean = self._study()
        self.swapped, self.truth = self._swapped()

    def _study(self) -> Path:
        """z of A and nothing else: gene, place, alleles, z, n."""
        path = self.folder / "study.parquet"
        if not path.is_file():
            out = self.folder / "a"
            eqtl.run(Eqtl(**self.inputs, keep=self.folder / "a.txt", out=out, nominal=True, permute=0, maf=MAF))
            pairs = pl.read_parquet(f"{out}.cis_qtl_pairs.*.parquet")
            table = pairs.join(self.genotypes.variants, left_on="variant_id", right_on="id", maintain_order="left")
            z = pl.col("slope").cast(pl.Float64) / pl.col("slope_se")
            table.select(
                "phenotype_id", "chrom", "pos", "ref", "alt", z=z, n=pl.lit(len(self.a))
            ).write_parquet(path)  # fmt: skip
        return path

    def _swapped(self) -> tuple[Path, pl.DataFrame]:
        path = self.folder / "swapped.parquet"
        table = pl.read_parquet(self.clean)
        which = np.random.default_rng(self.seed).random(table.height) < SWAPPED
        table = table.with_columns(swapped=pl.Series(which))
        table = table.with_columns(z=pl.when("swapped").then(-pl.col("z")).otherwise("z"))
        table.drop("swapped").write_parquet(path)
        return path, table

    def run(self, name: str, study: Path, own: tuple[str, ...], of_study: tuple[str, ...], flipped: str) -> Stack:
        """A stack on B; returns its settings."""
        settings = Stack(
            **self.inputs, keep=self.folder / "b.txt", out=self.folder / name, learners=own, stack_weights="none",
            maf=MAF, models=False, sumstats=study, ld=self.folder / "panel", sumstats_learners=of_study,
            sumstats_flipped=flipped, command="python benchmarks/sumstats.py",
        )  # fmt: skip
        stack.run(settings, page=False)
        return settings

    def accuracy(self) -> pl.DataFrame:
        """gene_id, method, r2, of everything that is compared."""
        settings = self.run("clean", self.clean, OWN, STUDY, "drop")
        with_study = pl.read_parquet(settings.out / "scores.parquet").select("gene_id", "method", "r2")
        methods = [*OWN, *(f"{name}@sumstats" for name in STUDY), "stack-xgboost", "stack-nnls"]
        with_study = with_study.filter(pl.col("method").is_in(methods))
        with_study = with_study.with_columns(
            pl.col("method").str.replace("^stack-(.*)$", "stack-$1 of B and @sumstats")
        )
        genes = with_study["gene_id"].unique(maintain_order=True).to_list()
        columns = ["outer_fold", "inner_fold", "sample", "observed", *OWN]
        alone = Pooled(
            BaseTables(genes, lambda gene: pl.scan_parquet(base_path(settings.out, gene)).select(columns)),
            settings.seed, None,
        )  # fmt: skip
        rows = []
        for gene in genes:
            predicted = {
                f"{name} of B alone": values
                for name, values in alone.predict(gene).items()
                if name in ("stack-xgboost", "stack-nnls")
            }
            rows.append(scores(gene, alone.bases.held_out(gene)["observed"].to_numpy(), predicted, resamples=0))
        rows += list(self.people(settings, genes))
        return pl.concat([with_study, *(part.select("gene_id", "method", "r2") for part in rows)])

    def people(self, settings: Stack, genes: list[str]) -> Iterator[pl.DataFrame]:
        """Scores in B of learners fitted to A's people."""
        expression = read_expression(EXPRESSION)
        everyone = expression.samples
        covariates = read_covariates(COVARIATES, samples=set(everyone.tolist())).select(everyone)
        known = covariates.values[:, :N_COVARIATES]
        # the order of people is that of the expression, as in the stack, so that folds are the same
        in_b = np.isin(everyone, self.b)
        folds = outer_folds(int(in_b.sum()), settings.outer_folds, settings.seed)
        place = {gene: i for i, gene in enumerate(expression.genes["gene_id"].to_list())}
        for gene_id in genes:
            gene = expression.genes.row(place[gene_id], named=True)
            window = self.genotypes.select(everyone, Interval.around(gene["chrom"], gene["tss"], WINDOW))
            x, raw = window.dosage(), expression.values[:, place[gene_id]]
            use, _ = align.usable_variants(x[in_b], window.variants, maf=MAF)
            use &= x[~in_b].std(axis=0) > 0
            x = np.ascontiguousarray(x[:, use])
            seed = gene_seed(settings.seed, gene_id)
            context = GeneContext(window.variants["pos"].to_numpy()[use], gene["tss"], seed)
            y, _ = Outcome().split(raw[~in_b], known[~in_b], np.ones(int((~in_b).sum()), dtype=bool))
            with threadpool_limits(1):
                learners = [_fixed(name, model.fit(x[~in_b], y).coef_) for name, model in of_people(context)]
                block = Block("people", x[in_b], tuple(learners))
                made = nested_base([block], raw[in_b], known[in_b], folds, context)
            held = made.inner < 0
            predicted = dict(zip(made.names, made.base[held].T))
            yield scores(gene_id, made.observed[held], predicted, resamples=0)

    def flipped(self) -> tuple[dict[str, int], dict[str, float]]:
        """What the diagnostic named of the rows that were swapped, and mean R² of what was learned from them."""
        r2 = {}
        for what in ("drop", "flip", "keep"):
            settings = self.run(f"swapped-{what}", self.swapped, ("pt-prs",), ("lassosum", "susie-tss"), what)
            table = pl.read_parquet(settings.out / "scores.parquet")
            for method in ("lassosum@sumstats", "susie-tss@sumstats"):
                r2[f"{method}, {what}"] = float(table.filter(pl.col("method") == method)["r2"].mean())  # type: ignore[arg-type]
        clean = pl.read_parquet(self.folder / "clean" / "scores.parquet")
        for method in ("lassosum@sumstats", "susie-tss@sumstats"):
            r2[f"{method}, clean"] = float(clean.filter(pl.col("method") == method)["r2"].mean())  # type: ignore[arg-type]
        named = pl.read_csv(settings.out / "sumstats_check.tsv", separator="\t").select("gene_id", "variant")
        variant = pl.concat_str(pl.lit("22_"), "pos")
        truth = self.truth.with_columns(gene_id="phenotype_id", variant=variant).join(
            named.with_columns(named=True), on=["gene_id", "variant"], how="left"
        )
        truth = truth.with_columns(pl.col("named").fill_null(False))
        # rows that B leaves out by its own frequencies are never looked at
        in_b = self.genotypes.select(self.b)
        frequency = pl.DataFrame({"pos": in_b.variants["pos"], "freq": in_b.dosage().mean(axis=0) / 2})
        truth = truth.join(frequency, on="pos").filter(pl.min_horizontal("freq", 1 - pl.col("freq")) >= MAF)
        strong = pl.col("z").abs() > 2
        counts = {
            "rows": truth.height,
            "swapped": truth.filter("swapped").height,
            "swapped, z beyond 2": truth.filter(pl.col("swapped") & strong).height,
            "of these named": truth.filter(pl.col("swapped") & strong & pl.col("named")).height,
            "swapped, z beyond 3": truth.filter(pl.col("swapped") & (pl.col("z").abs() > 3)).height,
            "of these named (3)": truth.filter(pl.col("swapped") & (pl.col("z").abs() > 3) & pl.col("named")).height,
            "named that were not swapped": truth.filter(~pl.col("swapped") & pl.col("named")).height,
        }
        check = pl.read_csv(self.folder / "clean" / "sumstats_check.tsv", separator="\t")
        counts["named where nothing was swapped"] = check.height
        return counts, r2


def of_people(gene: GeneContext) -> list[tuple[str, object]]:
    """Learners of A's people, by the names of those of its z."""
    return [
        ("pt-prs", ClumpThresholdPRS(gene.positions, random_state=gene.seed)),
        ("elastic-net", ElasticNet(random_state=gene.seed)),
        ("susie", SuSiE()),
        ("elastic-net-tss", ElasticNet(penalty_factors=gene.penalty(), random_state=gene.seed)),
        ("susie-tss", SuSiE(prior_weights=gene.prior())),
    ]


def _fixed(name: str, coef: np.ndarray) -> Learner:
    return Learner(name, lambda gene: FromSumstats(coef[None], random_state=gene.seed), "", True, linear=True)


def write_bed(prefix: Path, genotypes: Genotypes) -> None:
    """A fileset of hard calls without gaps."""
    if Path(f"{prefix}.fam").is_file():
        return
    code = np.array([3, 2, 0], dtype=np.uint8)[genotypes.dosage().astype(np.int64).T]
    padded = np.zeros((code.shape[0], -(-code.shape[1] // 4) * 4), dtype=np.uint8)
    padded[:, : code.shape[1]] = code
    packed = sum(padded[:, i::4] << (2 * i) for i in range(4))
    Path(f"{prefix}.bed").write_bytes(b"\x6c\x1b\x01" + np.asarray(packed, dtype=np.uint8).tobytes())
    table = genotypes.variants.select("chrom", "id", pl.lit(0).alias("cm"), "pos", "alt", "ref")
    table.write_csv(f"{prefix}.bim", separator="\t", include_header=False)
    rows = "".join(f"0 {name} 0 0 0 -9\n" for name in genotypes.samples.tolist())
    Path(f"{prefix}.fam").write_text(rows, encoding="utf-8")


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of a mean, over genes."""
    draws = np.random.default_rng(0).multinomial(len(values), np.full(len(values), 1 / len(values)), size=10_000)
    low, high = np.quantile(draws @ values / len(values), [0.025, 0.975])
    return float(low), float(high)


def words(table: pl.DataFrame, found: list[tuple[dict[str, int], dict[str, float]]], args: argparse.Namespace) -> str:
    """All of it as markdown."""
    mean = table.group_by("gene_id", "method", maintain_order=True).agg(pl.col("r2").mean())
    genes = mean["gene_id"].n_unique()
    wide = mean.pivot(on="method", index="gene_id", values="r2")
    reference = wide["stack-nnls of B alone"].to_numpy()
    lines = [
        "# Another study's marginal effects in place of its people",
        "",
        f"`python benchmarks/sumstats.py --out OUT --seeds {args.seeds} --genes-limit {args.genes_limit} --record` "
        f"({platform.machine()}, {os.cpu_count()} cores)",
        "",
        f"GEUVADIS chr22, {genes} genes, random halves of 358 people (seeds {args.seeds}; R² of a gene is the mean "
        "over them): A is the study, of which only z is known; B the cohort, whose genotypes are the LD panel. R² of "
        "B's held-out people. No step sees A's people but for the rows @people.",
        "",
        "| method | mean R² | 95 % over genes | difference from the stack of B alone |",
        "|---|---|---|---|",
    ]
    for name in sorted((name for name in wide.columns if name != "gene_id"), key=lambda name: -wide[name].mean()):
        values = wide[name].to_numpy()
        low, high = interval(values)
        below, above = interval(values - reference)
        lines.append(
            f"| {name} | {values.mean():.4f} | {low:.4f} to {high:.4f} "
            f"| {(values - reference).mean():+.4f} ({below:+.4f} to {above:+.4f}) |"
        )
    lines += ["", "The same learner on A's z and on A's people, by the mean R² of both:", ""]
    lines += ["| learner | of z | of people | z - people (95 % over genes) |", "|---|---|---|---|"]
    for name in ("pt-prs", "elastic-net", "susie", "elastic-net-tss", "susie-tss"):
        z, people = (wide[f"{name}@{of}"].to_numpy() for of in ("sumstats", "people"))
        low, high = interval(z - people)
        apart = f"{(z - people).mean():+.4f} ({low:+.4f} to {high:+.4f})"
        lines.append(f"| {name} | {z.mean():.4f} | {people.mean():.4f} | {apart} |")
    lines += ["", f"## Alleles swapped in {SWAPPED:.0%} of the rows", "", "| | rows |", "|---|---|"]
    lines += [f"| {name} | {sum(counts[name] for counts, _ in found):,} |" for name in found[0][0]]
    lines += [
        "",
        "Mean R² of B's held-out people by what is done with the named rows (clean: none swapped):",
        "",
    ]
    lines += ["| | clean | drop | flip | keep |", "|---|---|---|---|---|"]
    for method in ("lassosum@sumstats", "susie-tss@sumstats"):
        cells = [np.mean([r2[f"{method}, {what}"] for _, r2 in found]) for what in ("clean", "drop", "flip", "keep")]
        lines.append(f"| {method} | {' | '.join(f'{cell:.4f}' for cell in cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
