"""Linear learners and their stack on the sums of several sites, which never share people.

Files under `out`, each written whole or not at all:

====================  ==============================================================================================
genes/ID.json         of one gene: how many variants its sites had and share, and sums of held-out predictions
genes/ID.parquet      its variants, with the weights of each learner trained on everybody
scores.parquet, .tsv  accuracy per gene and method in folds held out (`genopred.types.SCORE_SCHEMA`; ranks and absolute
                      errors need people and are missing); intervals by jackknife over sites and folds
summary.parquet,      accuracy per method over genes (`genopred.learning.evaluate.summarise`)
and .tsv
loso.parquet, .tsv    of models trained without a site, in that site: site, gene_id, method, n, r2, pearson, slope, mse
matched.tsv           what came in, was used and was dropped, and why (`genopred.types.MatchReport`)
models/               models trained on everybody, for `genopred predict` (`genopred.io.genemodels`)
report.html           all of it on one page
run.json              the settings that the results depend on; another run with other settings is refused
====================  ==============================================================================================
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from genopred import align
from genopred.errors import AlignmentError, GenopredError, ModelError, did_you_mean, examples
from genopred.files import safe_name, write_json
from genopred.genetics.moments import Moments, Weights, total
from genopred.genetics.regression import marginal_sums
from genopred.io.annotation import known_symbols
from genopred.io.momentsfiles import MANIFEST, SiteGene
from genopred.io.text import read_bytes
from genopred.learning import learners as registry
from genopred.learning.evaluate import summarise
from genopred.learning.federated import Fits, Joining, centred, fit, products, split
from genopred.learning.fitted import LINEAR
from genopred.learning.stack import Shipped, load_weights, shipped
from genopred.pipelines.fit_moments_inputs import Sites, open_sites, read_together
from genopred.pipelines.fit_moments_models import Gene, Kept, Together, keep_models
from genopred.pipelines.run import Progress, Run, say, write_tables
from genopred.pipelines.stack_genes import gene_seed
from genopred.pipelines.stack_models import MODELS
from genopred.settings import FitMoments
from genopred.settings.moments import FEWEST_FOLDS
from genopred.types import VARIANT_SCHEMA, MatchReport

log = logging.getLogger("genopred.fit_moments")

OUTPUTS = ("genes/*", "scores.*", "summary.*", "loso.*", "matched.tsv", "report.html", *MODELS)


@dataclass(frozen=True)
class Federated:
    """What a run produced, besides its files.

    Attributes
    ----------
    summary, scores, loso : polars.DataFrame
    report : MatchReport
    page : Path
    notes : tuple of str
        What differs between the sites.
    symbols : dict
        What genes are called, by their ids without version.
    """

    summary: pl.DataFrame
    scores: pl.DataFrame
    loso: pl.DataFrame
    report: MatchReport
    page: Path
    notes: tuple[str, ...]
    symbols: dict[str, str]

    def lines(self) -> list[str]:
        """What came out, for the screen."""
        best = self.summary.filter(pl.col("method") == LINEAR).row(0, named=True)
        people = int(self.scores["n"].to_numpy().max())
        out = [f"{LINEAR}: mean R2 {best['mean_r2']:.4f} over {best['n_genes']:,} genes in {people:,} held-out people."]
        of = self.loso.filter(pl.col("method") == LINEAR).group_by("site", maintain_order=True)
        for site, r2, r in of.agg(pl.col("r2").mean(), pl.col("pearson").mean()).iter_rows():
            out.append(f"{LINEAR} trained without {site}, in {site}: mean R2 {r2:.4f}, mean r {r:.3f}.")
        return [*out, f"Page: {self.page}"]


def run(settings: FitMoments, progress: Progress | None = None) -> Federated:
    """Train on the sites' sums and write.

    Parameters
    ----------
    settings : genopred.settings.FitMoments
    progress : callable, optional
        Called with (genes done, genes in all, gene) after each gene.

    Raises
    ------
    GenopredError
        On bad input, or where the sites do not fit together.
    """
    with Run(settings, OUTPUTS, progress) as job:
        prior, tally = _prior(settings), align.Tally()
        sites = open_sites(settings, tally)
        learners = _learners(settings, sites)
        names = tuple(learner.name for learner in learners)
        manifests = [site.folder / MANIFEST for site in sites.sites]
        job.settle(sites=manifests, fold_count=sites.folds, learners=names)
        _compute(job, settings, sites, learners)
        together = Together(_collect(settings, sites, tally), names, prior)
        scores, loso, symbols = together.scores(), together.loso(sites.names), known_symbols()
        keep_models(job, settings, sites, together, scores, symbols)
        summary = summarise(scores, "elastic-net" if "elastic-net" in names else LINEAR, seed=settings.seed)
        report = tally.report()
        say(report)
        result = Federated(summary, scores, loso, report, job.path("report.html"), sites.notes, symbols)
        job.save(scores=scores, summary=summary, loso=loso)
        _page(settings, sites, result)
        job.matched(report)
    return result


def _prior(settings: FitMoments) -> Shipped | None:
    if settings.stack_weights in ("none", "shipped"):
        return shipped() if settings.stack_weights == "shipped" else None
    path = Path(settings.stack_weights)
    return load_weights(read_bytes(path, "stack weights").decode(errors="replace"), str(path))


# --- learners --------------------------------------------------------------------------------------------------------


def by_sums() -> list[str]:
    """Names of the linear learners that learn from sums."""
    gene = registry.GeneContext(np.array([1]), 1)
    return [
        name for name in registry.names()
        if registry.find(name).linear and hasattr(registry.find(name).make(gene), "fit_sums")
    ]  # fmt: skip


def tunes(learner: registry.Learner) -> bool:
    """Whether the learner needs folds to tune itself on: it refuses sums without."""
    x = np.array([[0, 1], [1, 2], [2, 0], [1, 0], [0, 2], [2, 1]])
    try:
        learner.make(registry.GeneContext(np.array([1, 2]), 1)).fit_sums(Moments.of(x, x[:, 0] + [0.1, -0.1] * 3))
    except GenopredError:
        return True
    return False


def _learners(settings: FitMoments, sites: Sites) -> list[registry.Learner]:
    able = by_sums()
    chosen = [registry.find(name) for name in settings.learners or able]
    for learner in chosen:
        if learner.name not in able:
            raise ModelError(
                f"learner '{learner.name}' does not learn one weight a variant from sums; there are: {', '.join(able)}."
                f"{did_you_mean(learner.name, able)}"
            )
    if sites.folds == 1:
        plain = [learner for learner in chosen if not tunes(learner)]
        if settings.learners is not None and len(plain) < len(chosen):
            tuned = [learner.name for learner in chosen if learner not in plain]
            raise ModelError(
                f"{examples(tuned)} must be tuned, which one fold does not allow; have sites write more folds, or "
                "leave them out of --learners."
            )
        chosen = plain
    if not chosen:
        raise ModelError("no linear learner that learns from sums is left; see --learners.")
    return chosen


# --- genes -----------------------------------------------------------------------------------------------------------


def _compute(job: Run, settings: FitMoments, sites: Sites, learners: Sequence[registry.Learner]) -> None:
    todo = [gene for gene in sites.genes if not _path(settings, gene).is_file()]

    def arguments(gene: tuple[SiteGene, ...]) -> tuple[Any, ...]:
        return settings, sites, gene, list(learners), _path(settings, gene).absolute()

    ready = len(sites.genes) - len(todo)
    for _ in job.each(_one_gene, todo, arguments, names=lambda gene: gene[0].gene_id, ready=ready):
        pass


def _path(settings: FitMoments, gene: Sequence[SiteGene]) -> Path:
    return settings.out / "genes" / f"{safe_name(gene[0].gene_id)}.json"


def _one_gene(
    settings: FitMoments, sites: Sites, gene: tuple[SiteGene, ...], learners: list[registry.Learner], place: Path
) -> None:
    """Train and write one gene; its JSON comes last and says that it is done."""
    info: dict[str, Any] = {"skipped": None, "shared": 0, "used": 0}
    with threadpool_limits(1):
        try:
            read = read_together(sites, gene, settings)
            info |= {"counts": read.counts, "matched": read.matched, "shared": read.variants.height}
            parts = [part for of in read.moments for part in of]
            freq = np.sum([part.sums for part in parts], axis=0) / sum(2 * part.n for part in parts)
            use = np.minimum(freq, 1 - freq) >= settings.maf
            info["used"] = int(use.sum())
            if not use.any():
                raise ModelError(f"no variant of all sites has a MAF of {settings.maf:g}")
            moments = [[part.select(use) for part in of] for of in read.moments]
            variants = read.variants.filter(pl.Series(use)).with_columns(pl.Series("freq", freq[use]))
            made, table = _trained(settings, moments, variants, gene[0], learners)
        except (ModelError, AlignmentError) as problem:
            write_json(place, info | {"skipped": str(problem)})
            return
    write_tables({place.with_suffix(".parquet"): table})
    write_json(place, info | made)


def _trained(
    settings: FitMoments,
    moments: list[list[Moments]],
    variants: pl.DataFrame,
    gene: SiteGene,
    learners: list[registry.Learner],
) -> tuple[dict[str, Any], pl.DataFrame]:
    """Learners without each fold, without each site, and of everybody: what is kept, and the last ones' weights."""
    joining = Joining(settings.scale, settings.covariates)
    context = registry.GeneContext(variants["pos"].to_numpy(), gene.tss, gene_seed(settings.seed, gene.gene_id))
    folds = len(moments[0])

    def without(**out: int) -> dict[str, Any]:
        return _kept(fit(split(moments, joining, **out), learners, context))

    made: dict[str, Any] = {
        "folds": [without(fold=k) for k in range(folds)] if folds > FEWEST_FOLDS else [],
        "sites": [without(site=s) for s in range(len(moments))],
    }
    whole = split(moments, joining)
    fits = fit(whole, learners, context)
    people = total(whole.folds)
    models = [Weights(*one) for one in zip(fits.coef.T, fits.intercept)]
    spread = centred(products(people, models))[1:, 1:]
    made |= {"n": people.n, "intercept": fits.intercept.tolist(), "spread": spread.tolist()}
    table = variants.with_columns(
        pl.Series("z", marginal_sums(people).tstat),
        *(pl.Series(name, coef) for name, coef in zip(fits.names, fits.coef.T)),
    )
    return made, table.select([*VARIANT_SCHEMA, "freq", "z", *fits.names])


def _kept(fits: Fits) -> dict[str, Any]:
    return {"held": fits.held.tolist(), "oof": fits.oof.tolist(), "mean": fits.mean, "n": fits.n}


def _collect(settings: FitMoments, sites: Sites, tally: align.Tally) -> list[Gene]:
    """Genes that were trained; the report learns what happened to the others and to variants."""
    done: list[Gene] = []
    reasons: list[str] = []
    every = "gene-variant pairs of all sites"
    for gene in sites.genes:
        info = json.loads(_path(settings, gene).read_text(encoding="utf-8"))
        name = gene[0].gene_id
        for site, of, i in zip(sites.names, gene, range(len(gene))):
            item = f"gene-variant pairs of {site}"
            tally.come(item, "in the windows of all genes together", of.variants)
            for reason, n in (info["counts"][i] if "counts" in info else {"gene left out": of.variants}).items():
                tally.drop(item, reason, n)
            for reason, n in (info["matched"][i] if "matched" in info else {}).items():
                tally.use(item, reason, n)
        tally.come(every, "that all sites have", info["shared"])
        if info["skipped"]:
            reasons.append(f"{name}: {info['skipped']}")
            tally.drop("genes", info["skipped"], [name])
            tally.drop(every, "gene left out", info["shared"])
            continue
        tally.drop(every, f"MAF below {settings.maf:g}", info["shared"] - info["used"])
        tally.use(every, "trained on", info["used"])
        about = {"gene_id": name, "chrom": gene[0].chrom, "tss": gene[0].tss, "strand": gene[0].strand}
        kept = {kind: [Kept.of(row) for row in info[kind]] for kind in ("folds", "sites")}
        arrays = {key: np.array(info[key]) for key in ("intercept", "spread")}
        done.append(Gene(about, kept["folds"], kept["sites"], info["n"], **arrays))
    if not done:
        raise AlignmentError(f"none of {len(reasons)} genes could be trained ({'; '.join(reasons[:3])}).")
    return done


def _page(settings: FitMoments, sites: Sites, result: Federated) -> None:
    from genopred.report.pages import fit_moments as page

    info = {
        "command": settings.command,
        "stack": LINEAR,
        "notes": list(result.notes),
        **{name: getattr(settings, name) for name in ("scale", "covariates", "maf", "seed")},
        "folds": sites.folds,
    }
    about = [(site.name, site.people, len(site.folds), len(site.covariates), len(site.genes)) for site in sites.sites]
    page.write(result, about, info)
