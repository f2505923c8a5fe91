"""Everything genopred does, once, on the people and genes that come with the package.

Files under `out`, where torch is installed; without it only the first:

================  ==================================================================================================
report.html       the page: all of it (`genopred.report.pages.demo`)
(the rest)        files of `genopred.pipelines.stack`, from genotypes alone
sequence/         the same from sequence features alone; the features themselves are in sequence/features
with-sequence/    the same from both; its base predictions are those of the two runs before, put side by side
eqtl/, effects/   tables of `genopred.pipelines.eqtl` and `genopred.pipelines.effects`
overlap/          what `genopred.pipelines.overlap` writes
================  ==================================================================================================
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from genopred.errors import GenopredError
from genopred.files import atomic, safe_name, write_json
from genopred.genetics.overlap.nulls import NULLS
from genopred.io.example import Example, load_example
from genopred.learning import learners as registry
from genopred.learning.evaluate import summarise
from genopred.pipelines import stack
from genopred.pipelines.cohort import CohortInputs
from genopred.report.pages import demo as page
from genopred.report.pages.demo import FDR, REACH, TOP, TRACK, Found, Locus
from genopred.sequence.registry import DEFAULT_MODEL
from genopred.types import Interval

log = logging.getLogger(__name__)

#: The sequence model, as `genopred.sequence.registry.load_model` takes it.
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
class DemoConfig:
    """What a demonstration run depends on.

    Attributes
    ----------
    out : Path
        Folder of the results.
    learners : tuple of str, optional
        Base learners; the default set when not given.
    genes : tuple of str, optional
        Genes; all of the example when not given.
    threads, seed : int
    resume : bool
    command : str
        For the page.
    """

    out: Path
    learners: tuple[str, ...] | None = None
    genes: tuple[str, ...] | None = None
    threads: int = 1
    seed: int = 1
    resume: bool = True
    command: str = ""


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


def example_inputs(genes: tuple[str, ...] | None = None) -> CohortInputs:
    """The embedded slice of GEUVADIS: 358 people, about 2 Mb of chromosome 22 (GRCh37).

    Parameters
    ----------
    genes : tuple of str, optional
        Genes to use; all without it.

    Returns
    -------
    CohortInputs

    Raises
    ------
    GenopredError
        If the package was installed without its data.

    Examples
    --------
    >>> example_inputs().expression.name
    'expression.bed.gz'
    """
    example = _example()
    return CohortInputs(
        expression=example.expression_file, bfile=example.bfile, covar=example.covariates_file, genes=genes
    )


def run(config: DemoConfig, progress: stack.Progress | None = None) -> DemoResult:
    """Run the stack on the example, then, with torch, the sequence model and what is built on it; write the page.

    The stack's weights that come with the package were learned on these very people, so the run starts without them.

    Parameters
    ----------
    config : DemoConfig
    progress : callable, optional
        Called with (genes or tables done, in all, name).

    Returns
    -------
    DemoResult
    """
    settings = _settings(config)
    result = stack.run(settings, progress)
    absent = [name for name in ("torch", "enformer_pytorch") if find_spec(name) is None]
    if absent:
        lines: dict[str, tuple[str, ...]] = {"Sequence": (WITHOUT_TORCH.format(absent[0].replace("_", "-")),)}
        _page(settings, result, None, lines)
        return DemoResult(result, None, lines)
    found = sequence(config, result, progress)
    lines = page.lines(found)
    _page(settings, result, found, lines)
    return DemoResult(result, found, lines)


def _page(
    settings: stack.StackConfig, result: stack.StackResult, found: Found | None, lines: Mapping[str, tuple[str, ...]]
) -> None:
    """Write the page over that of the stack."""
    predictions = pl.scan_parquet(settings.out / "predictions.parquet")
    first, last = page.sections(result, predictions, found, lines, NULLS)
    title = "genopred demo: gene expression from DNA"
    stack.write_report(settings, result, last, first=first, title=title, lead=page.lead(result, found))


def _settings(config: DemoConfig) -> stack.StackConfig:
    return stack.StackConfig(
        cohort=example_inputs(config.genes),
        out=config.out,
        learners=config.learners,
        threads=config.threads,
        seed=config.seed,
        stack_weights="none",
        resume=config.resume,
        command=config.command,
        page=False,
        symbols=_example().symbols_file,
    )


@cache
def _example() -> Example:
    return load_example()


def sequence(config: DemoConfig, result: stack.StackResult, progress: stack.Progress | None = None) -> Found:
    """Everything that needs the sequence model.

    Parameters
    ----------
    config : DemoConfig
    result : StackResult
        Of genotypes alone, in `config.out`.
    progress : callable, optional

    Returns
    -------
    Found
    """
    from genopred.sequence.registry import load_model

    loaded = load_model(MODEL, device="cpu")
    model = {"name": loaded.name, "window": loaded.window, "bin_size": loaded.bin_size, "tracks": loaded.tracks}
    card = getattr(getattr(loaded, "info", None), "card", {})
    features = _features(config, progress)
    alone, both = _with_sequence(config, result, progress)
    eqtl, nominal = _eqtl(config, progress)
    chosen = eqtl.filter(pl.col("qval") <= FDR)["phenotype_id"].to_list()
    effects = overlap = locus = None
    if chosen:
        effects = _effects(config, "genes", progress, gene=tuple(chosen)) if _near(chosen, nominal, loaded) else None
    if effects is not None:
        overlap = _overlap(config, effects, nominal, progress)
        locus = _locus(config, effects, nominal, progress)
    table, values = _spread(config, features)
    beside = compared = None
    if alone is not None and both is not None:
        beside = contrast(result, both)
        compared = summarise(page.side_by_side({"genotypes": result, "sequence": alone, "both": both}), "genotypes")
    return Found(card, model, table, values, alone, both, beside, compared, eqtl, effects, overlap, locus)


def contrast(without: stack.StackResult, with_features: stack.StackResult) -> dict[str, Any]:
    """The stack with sequence features against the one without, paired over genes: a row of `summarise`."""
    table = page.side_by_side({"genotype": without, "both": with_features})
    return summarise(table, "genotype").row(by_predicate=pl.col("method") == "both", named=True)


def _sequence_settings(config: DemoConfig, **other: Any) -> stack.StackConfig:
    """The stack's, with the model; genotypes with their phase, which the other run has no use for."""
    example = _example()
    settings = _settings(config)
    cohort = replace(settings.cohort, bfile=None, pfile=example.pfile)
    return replace(settings, cohort=cohort, features=MODEL, fasta=example.reference_file, **other)


def _features(config: DemoConfig, progress: stack.Progress | None) -> Any:
    """Features of all genes, where the stack looks for them."""
    from genopred.pipelines import features

    example = _example()
    settings = features.FeaturesConfig(
        genotypes=("pfile", example.pfile),
        fasta=example.reference_file,
        model=MODEL,
        out=config.out / "sequence" / "features",
        expression=example.expression_file,
        gene=tuple(_example().expression.genes["gene_id"].to_list() if config.genes is None else config.genes),
        device="cpu",
        threads=1,  # more of them wait for each other in so small a network
        resume=config.resume,
    )
    return features.run(settings, progress)


def _spread(config: DemoConfig, run: Any) -> tuple[pl.DataFrame, dict[str, Any]]:
    """How far the people lie apart in one feature of each gene."""
    from genopred.io.features import read_features

    values, rows = {}, []
    for gene in run.genes.iter_rows(named=True):
        of = read_features(config.out / "sequence" / "features", gene["gene_id"])
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
    config: DemoConfig, result: stack.StackResult, progress: stack.Progress | None
) -> tuple[stack.StackResult | None, stack.StackResult | None]:
    """The stack from sequence features alone and from both; the latter computes no base prediction again."""
    names = registry.DEFAULT_LEARNERS if config.learners is None else config.learners
    if all(registry.find(name).genotype_only for name in names):
        return None, None
    alone = _sequence_settings(config, out=config.out / "sequence", inputs="sequence")
    first = stack.run(alone, progress)
    both = replace(alone, out=config.out / "with-sequence", inputs="both", resume=True)
    if not config.resume:
        shutil.rmtree(both.out, ignore_errors=True)
    genes = result.scores["gene_id"].unique(maintain_order=True).to_list()

    def prepare() -> None:
        if not (both.out / "features").is_dir():
            shutil.copytree(alone.out / "features", both.out / "features", ignore=shutil.ignore_patterns(".*"))
        join_base(config.out, alone.out, both.out, genes)

    return first, stack.run(both, progress, prepare)


def join_base(first: Path, second: Path, out: Path, genes: list[str]) -> None:
    """Put the base predictions of two runs of the stack side by side, as a run on both inputs would write them.

    Learners of one block of inputs never see the other, and folds and seeds depend on people and gene alone.

    Parameters
    ----------
    first, second : Path
        Folders of two runs on the same people, folds and seed.
    out : Path
        Folder of a third run, which then finds its genes computed.
    genes : list of str
        Genes of both; those that are in `out` already are left alone.

    Raises
    ------
    GenopredError
        If the two runs are not of the same people and folds.
    """
    same = ["outer_fold", "inner_fold", "sample", "observed"]
    (out / "genes").mkdir(parents=True, exist_ok=True)
    for gene in genes:
        name = safe_name(gene)
        target = out / "genes" / f"{name}.json"
        if target.is_file():
            continue
        of_second = json.loads((second / "genes" / f"{name}.json").read_text(encoding="utf-8"))
        if of_second["skipped"]:  # then a run on both leaves the gene out as well
            write_json(target, of_second)
            continue
        a, b = stack.read_base(first, gene), stack.read_base(second, gene)
        if not a.select(same).equals(b.select(same)):
            raise GenopredError(f"{first} and {second}: {gene} has other people or folds; start over with --no-resume.")
        table = a.hstack(b.drop(same).get_columns())
        with atomic(target.with_name(f"{name}.parquet")) as temporary:
            table.write_parquet(temporary)
        write_json(target, json.loads((first / "genes" / f"{name}.json").read_text(encoding="utf-8")))


def _eqtl(config: DemoConfig, progress: stack.Progress | None) -> tuple[pl.DataFrame, Path]:
    """The permutation pass, and where the p-values of all SNPs are."""
    from genopred.pipelines import eqtl

    folder = config.out / "eqtl"
    folder.mkdir(parents=True, exist_ok=True)
    done = eqtl.run(
        eqtl.EqtlConfig(
            cohort=example_inputs(config.genes),
            out=folder / "geuvadis",
            threads=config.threads,
            seed=config.seed,
            resume=config.resume,
        ),
        progress,
    )
    if done.genes is None:
        raise GenopredError("eqtl: no permutation pass was made.")
    return done.genes, next(path for path in done.files if "cis_qtl_pairs" in path.name)


def _near(genes: list[str], nominal: Path, model: Any) -> bool:
    """Whether any SNP is in the model's window of one of the genes."""
    pairs = pl.scan_parquet(nominal).filter(pl.col("phenotype_id").is_in(genes))
    return bool(pairs.filter(pl.col("start_distance").abs() < model.window // 2).head(1).collect().height)


def _effects(config: DemoConfig, name: str, progress: stack.Progress | None, **other: Any) -> pl.DataFrame:
    from genopred.pipelines import effects

    example = _example()
    settings: dict[str, Any] = {
        "genotypes": ("pfile", example.pfile),
        "fasta": example.reference_file,
        "model": MODEL,
        "out": config.out / "effects" / name,
        "expression": example.expression_file,
        "tracks": (TRACK,),
        "device": "cpu",
        "threads": 1,
        "resume": config.resume,
    }
    settings["out"].parent.mkdir(parents=True, exist_ok=True)
    return effects.run(effects.EffectsConfig(**(settings | other)), progress).table


def _overlap(config: DemoConfig, effects: pl.DataFrame, nominal: Path, progress: stack.Progress | None) -> Any:
    """Do the model and the eQTLs put the same SNPs of each gene first? None where there is nothing to put in order."""
    from genopred.io.snptable import TableSpec
    from genopred.pipelines import overlap

    if max(effects.group_by("gene").len()["len"].to_list(), default=0) <= TOP:
        return None
    folder = config.out / "overlap"
    folder.mkdir(parents=True, exist_ok=True)
    settings = overlap.OverlapConfig(
        a=(TableSpec(config.out / "effects" / "genes.parquet", "model", score="abs:effect"),),
        b=TableSpec(nominal, "eQTL", score="p:pval_nominal"),
        out=folder / "model",
        k=(TOP,),
        pfile=_example().pfile,
        draws=2_000,
        resamples=500,
        seed=config.seed,
        figures="none",
    )
    return overlap.run(settings, progress)


def _locus(config: DemoConfig, effects: pl.DataFrame, nominal: Path, progress: stack.Progress | None) -> Locus | None:
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
    scored = _effects(config, "locus", progress, **around)
    half = MUTATED // 2
    stretch = Interval(gene["chrom"], lead["pos"] - 1 - half, lead["pos"] + half)
    mutations = _effects(config, "mutations", progress, gene=(gene["gene_id"],), ism=stretch)
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
