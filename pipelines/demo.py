"""Everything genopred does, once, on the people and genes that come with the package.

Files under `out`, where torch is installed; without it only the first:

================  ==================================================================================================
report.html       the page: all of it (`genopred.report.pages.demo`)
(the rest)        files of `genopred.pipelines.stack`, from genotypes alone
sequence/         the same from sequence features alone; the features themselves are in sequence/features
with-sequence/    the same from both; its base predictions are those of the two runs before, put side by side
eqtl/, effects/   tables of `genopred.pipelines.eqtl` and `genopred.pipelines.effects`
overlap/          what `genopred.pipelines.overlap` writes
kept-aside/       models trained without every sixth person, and their predictions of these (`kept-aside.txt`)
================  ==================================================================================================
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from genopred.errors import GenopredError
from genopred.genetics.overlap.nulls import NULLS
from genopred.io.example import Example, load_example
from genopred.learning import learners as registry
from genopred.learning.evaluate import summarise
from genopred.pipelines import stack, stack_genes
from genopred.pipelines.demo_aside import Aside, kept_aside
from genopred.pipelines.run import Progress
from genopred.report.pages import demo as page
from genopred.report.pages.demo import FDR, REACH, TOP, TRACK, Found, Locus
from genopred.report.pages.predict import aside_line, aside_section
from genopred.report.tables import GeneNames
from genopred.sequence.models.registry import DEFAULT_MODEL
from genopred.settings import Demo, Effects, Eqtl, Features, Overlap, Stack
from genopred.settings.overlap import NamedFile
from genopred.types import Interval

#: The sequence model, as `genopred.sequence.models.registry.load_model` takes it.
MODEL = DEFAULT_MODEL
#: Of how many bases around a SNP every change is scored.
MUTATED = 61
#: Neighbours within this many bp share a window in the picture of the locus.
SHARE = 3_000

WITHOUT_TORCH = (
    "Sequence features, SNP effects and their overlap with eQTLs are left out, because {} is not installed: "
    'pip install "genopred[sequence]" (in a clone: make demo EXTRAS=sequence) adds them.'
)


@dataclass(frozen=True)
class DemoResult:
    """What a demonstration run produced.

    Attributes
    ----------
    stack : StackResult
        Of genotypes alone.
    sequence : Found or None
        None without torch.
    lines : dict of str to tuple of str
        What to say on the screen of all but the stack, by heading.
    """

    stack: stack.StackResult
    sequence: Found | None
    lines: Mapping[str, tuple[str, ...]]


def example_inputs(genes: Sequence[str] = ()) -> dict[str, Any]:
    """Settings that name the embedded slice of GEUVADIS: 358 people, about 2 Mb of chromosome 22 (GRCh37).

    They name all genes, or those given.

    >>> example_inputs()["expression"].name
    'expression.bed.gz'
    """
    example = _example()
    return {
        "expression": example.expression_file,
        "bfile": example.bfile,
        "covar": example.covariates_file,
        "gene": tuple(genes),
        "all_genes": not genes,
    }


def run(settings: Demo, progress: Progress | None = None) -> DemoResult:
    """Run the stack on the example, then, with torch, the sequence model and what is built on it; write the page.

    The stack's weights that come with the package were learned on these very people, so the run starts without them.
    Last, models are trained without some people, and applied to them.

    """
    of_stack = _stack_settings(settings)
    result = stack.run(of_stack, progress, page=False)
    absent = [name for name in ("torch", "enformer_pytorch") if find_spec(name) is None]
    found, lines = None, dict[str, tuple[str, ...]]()
    if absent:
        lines["Sequence"] = (WITHOUT_TORCH.format(absent[0].replace("_", "-")),)
    else:
        found = sequence(settings, result, progress)
        lines |= page.lines(found)
    aside = kept_aside(of_stack, progress)
    _page(of_stack, result, found, lines, aside)
    if aside is not None:
        lines["Models for new people"] = (aside_line(aside.genes, aside.people), f"They are in {aside.folder}.")
    return DemoResult(result, found, lines)


def _page(
    settings: Stack,
    result: stack.StackResult,
    found: Found | None,
    lines: Mapping[str, tuple[str, ...]],
    aside: Aside | None,
) -> None:
    """Write the page over that of the stack."""
    predictions = pl.scan_parquet(settings.out / "predictions.parquet")
    first, last = page.sections(result, predictions, found, lines, NULLS)
    if aside is not None:
        names = GeneNames(result.symbols)
        last.append(aside_section(aside.genes, aside.predictions, aside.people, str(aside.folder), names))
    title = "genopred demo: gene expression from DNA"
    stack.write_report(settings, result, last, first=first, title=title, lead=page.lead(result, found))


def _same(settings: Demo) -> dict[str, Any]:
    """What every part of the demonstration is told alike."""
    return {name: getattr(settings, name) for name in ("threads", "resume", "max_bytes")}


def _stack_settings(settings: Demo, **other: Any) -> Stack:
    named = {"out": settings.out, "learners": settings.learners, "seed": settings.seed, "command": settings.command}
    example = {**example_inputs(settings.gene), "symbols": _example().symbols_file, "stack_weights": "none"}
    return Stack(**(example | named | _same(settings) | other))


@cache
def _example() -> Example:
    return load_example()


def sequence(settings: Demo, result: stack.StackResult, progress: Progress | None = None) -> Found:
    """Everything that needs the sequence model; `result` is of genotypes alone, in `settings.out`."""
    from genopred.sequence.models.registry import load_model

    loaded = load_model(MODEL, device="cpu")
    model = {"name": loaded.name, "window": loaded.window, "bin_size": loaded.bin_size, "tracks": loaded.tracks}
    card = getattr(getattr(loaded, "info", None), "card", {})
    features = _features(settings, progress)
    alone, both = _with_sequence(settings, result, progress)
    eqtl, nominal = _eqtl(settings, progress)
    chosen = eqtl.filter(pl.col("qval") <= FDR)["phenotype_id"].to_list()
    effects = overlap = locus = None
    if chosen:
        effects = _effects(settings, "genes", progress, gene=tuple(chosen)) if _near(chosen, nominal, loaded) else None
    if effects is not None:
        overlap = _overlap(settings, effects, nominal, progress)
        locus = _locus(settings, effects, nominal, progress)
    table, values = _spread(settings, features)
    beside = compared = None
    if alone is not None and both is not None:
        beside = contrast(result, both)
        compared = summarise(page.side_by_side({"genotypes": result, "sequence": alone, "both": both}), "genotypes")
    return Found(card, model, table, values, alone, both, beside, compared, eqtl, effects, overlap, locus)


def contrast(without: stack.StackResult, with_features: stack.StackResult) -> dict[str, Any]:
    """The stack with sequence features against the one without, paired over genes: a row of `summarise`."""
    table = page.side_by_side({"genotype": without, "both": with_features})
    return summarise(table, "genotype").row(by_predicate=pl.col("method") == "both", named=True)


def _sequence_settings(settings: Demo, **other: Any) -> Stack:
    """The stack's, with the model; genotypes with their phase, which the other run has no use for."""
    example = _example()
    with_phase = {"bfile": None, "pfile": example.pfile}
    return _stack_settings(settings, **with_phase, features=MODEL, fasta=example.reference_file, **other)


def _on_the_model(settings: Demo, **other: Any) -> dict[str, Any]:
    """Settings of what the model computes; more threads wait for each other in so small a network."""
    example = _example()
    files = {"pfile": example.pfile, "fasta": example.reference_file, "expression": example.expression_file}
    return {**_same(settings), **files, "model": MODEL, "device": "cpu", "threads": 1, **other}


def _features(settings: Demo, progress: Progress | None) -> Any:
    """Features of all genes, where the stack looks for them."""
    from genopred.pipelines import features

    genes = settings.gene or tuple(_example().expression.genes["gene_id"].to_list())
    out = settings.out / "sequence" / "features"
    return features.run(Features(**_on_the_model(settings, gene=genes, out=out, seed=0)), progress)


def _spread(settings: Demo, run: Any) -> tuple[pl.DataFrame, dict[str, Any]]:
    """How far the people lie apart in one feature of each gene."""
    from genopred.io.features import read_features

    values, rows = {}, []
    for gene in run.genes.iter_rows(named=True):
        of = read_features(settings.out / "sequence" / "features", gene["gene_id"])
        names = list(of.names)
        column = of.values[:, names.index(TRACK) if TRACK in names else 0].astype(float)
        values[gene["gene_id"]] = 100 * (column / column.mean() - 1)
        rows.append(
            {
                **{key: gene[key] for key in ("gene_id", "chrom", "tss", "strand", "haplotypes", "distinct")},
                "snvs": gene["variants"],
                "spread": float(column.std() / column.mean()),
            }
        )
    return pl.DataFrame(rows), values


def _with_sequence(
    settings: Demo, result: stack.StackResult, progress: Progress | None
) -> tuple[stack.StackResult | None, stack.StackResult | None]:
    """The stack from sequence features alone and from both; the latter computes no base prediction again."""
    names = registry.DEFAULT_LEARNERS if settings.learners is None else settings.learners
    if all(registry.find(name).genotype_only for name in names):
        return None, None
    alone = _sequence_settings(settings, out=settings.out / "sequence", inputs="sequence")
    first = stack.run(alone, progress, page=False)
    both = replace(alone, out=settings.out / "with-sequence", inputs="both", resume=True)
    if not settings.resume:
        shutil.rmtree(both.out, ignore_errors=True)
    genes = result.scores["gene_id"].unique(maintain_order=True).to_list()

    def prepare() -> None:
        if not (both.out / "features").is_dir():
            shutil.copytree(alone.out / "features", both.out / "features", ignore=shutil.ignore_patterns(".*"))
        stack_genes.join_base(settings.out, alone.out, both.out, genes)

    return first, stack.run(both, progress, prepare, page=False)


def _eqtl(settings: Demo, progress: Progress | None) -> tuple[pl.DataFrame, Path]:
    """The permutation pass, and where the p-values of all SNPs are."""
    from genopred.pipelines import eqtl

    folder = settings.out / "eqtl"
    folder.mkdir(parents=True, exist_ok=True)
    # as far around each gene as the stack looks
    inputs = {**example_inputs(settings.gene), "window": _stack_settings(settings).window}
    done = eqtl.run(Eqtl(**inputs, out=folder / "geuvadis", seed=settings.seed, **_same(settings)), progress)
    if done.genes is None:
        raise GenopredError("eqtl: no permutation pass was made.")
    return done.genes, next(path for path in done.files if "cis_qtl_pairs" in path.name)


def _near(genes: list[str], nominal: Path, model: Any) -> bool:
    """Whether any SNP is in the model's window of one of the genes."""
    pairs = pl.scan_parquet(nominal).filter(pl.col("phenotype_id").is_in(genes))
    return bool(pairs.filter(pl.col("start_distance").abs() < model.window // 2).head(1).collect().height)


def _effects(settings: Demo, name: str, progress: Progress | None, **other: Any) -> pl.DataFrame:
    from genopred.pipelines import effects

    out = settings.out / "effects" / name
    out.parent.mkdir(parents=True, exist_ok=True)
    wanted = Effects(**_on_the_model(settings, tracks=(TRACK,), out=out, **other))
    return effects.run(wanted, progress).table


def _overlap(settings: Demo, effects: pl.DataFrame, nominal: Path, progress: Progress | None) -> Any:
    """Do the model and the eQTLs put the same SNPs of each gene first? None where there is nothing to put in order."""
    from genopred.pipelines import overlap

    if max(effects.group_by("gene").len()["len"].to_list(), default=0) <= TOP:
        return None
    folder = settings.out / "overlap"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = Overlap(
        a=(NamedFile("model", settings.out / "effects" / "genes.parquet"),),
        a_score="abs:effect",
        b=NamedFile("eQTL", nominal),
        b_score="p:pval_nominal",
        out=folder / "model",
        k=(TOP,),
        pfile=_example().pfile,
        draws=2_000,
        resamples=500,
        seed=settings.seed,
        figures="none",
        max_bytes=settings.max_bytes,
    )
    return overlap.run(wanted, progress)


def _locus(settings: Demo, effects: pl.DataFrame, nominal: Path, progress: Progress | None) -> Locus | None:
    """The gene with the smallest p-value of a SNP that the model sees from its TSS, and what the model says there."""
    pairs = pl.read_parquet(nominal)
    seen = effects.select("gene", pl.col("id").alias("variant_id"), "pos")
    inside = pairs.join(seen, left_on=["phenotype_id", "variant_id"], right_on=["gene", "variant_id"], how="inner")
    if not inside.height:
        return None
    lead = inside.sort("pval_nominal", "variant_id").row(0, named=True)
    example = _example()
    genes = example.expression.genes
    gene = genes.row(by_predicate=pl.col("gene_id") == lead["phenotype_id"], named=True)
    around = {"gene": (gene["gene_id"],), "center": "snp", "upstream": REACH, "downstream": REACH, "share": SHARE}
    scored = _effects(settings, "locus", progress, **around)
    half = MUTATED // 2
    stretch = Interval(gene["chrom"], lead["pos"] - 1 - half, lead["pos"] + half)
    mutations = _effects(settings, "mutations", progress, gene=(gene["gene_id"],), ism=stretch)
    variants = example.genotypes.variants.select(pl.col("id").alias("variant_id"), "pos").with_row_index("column")
    of = pairs.filter(pl.col("phenotype_id") == gene["gene_id"]).join(variants, on="variant_id", how="inner")
    dosage = example.genotypes.dosage(of["column"].to_numpy().astype(np.int64)).astype(np.float64)
    dosage -= dosage.mean(axis=0)
    dosage /= np.linalg.norm(dosage, axis=0)
    at = of["variant_id"].to_list().index(lead["variant_id"])
    snps = of.select("variant_id", "pos", "pval_nominal", "slope", r2=pl.Series((dosage.T @ dosage[:, at]) ** 2)).join(
        scored.select(pl.col("id").alias("variant_id"), "effect"), on="variant_id", how="left"
    )
    row = snps.row(by_predicate=pl.col("variant_id") == lead["variant_id"], named=True)
    return Locus(gene, row, snps.sort("pos"), mutations)
