"""The way in of tuning on people: sequences, expression, who and what is seen, and the model that is tuned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from genopred import align
from genopred.errors import AlignmentError, GenopredError, examples
from genopred.io.fasta import open_fasta
from genopred.io.folds import read_labels
from genopred.learning.evaluate import Outcome
from genopred.pipelines.inputs import open_cohort
from genopred.pipelines.run import Progress
from genopred.pipelines.sequence_inputs import GeneFiles, with_strands
from genopred.sequence.genes import check_ends
from genopred.sequence.haplotypes import check_reference, personal_sequences, window_around
from genopred.sequence.models.base import SequenceModel, devices
from genopred.sequence.models.bodies import Body
from genopred.sequence.models.registry import load_model
from genopred.sequence.models.tuned import tunable
from genopred.sequence.tracks import select_tracks
from genopred.settings import parts
from genopred.training.config_personal import PersonalConfig
from genopred.training.people import PersonalData, PersonalGene, gene_table, split_genes, split_people
from genopred.types import Cohort, Interval, MatchReport


@dataclass(frozen=True)
class PersonalInputs:
    """What a run works on.

    `model` is what is tuned, `tracks` what it predicts to begin with; `report` counts people, genes and variants.
    """

    data: PersonalData
    model: SequenceModel
    tracks: list[int]
    report: MatchReport


def open_people(config: PersonalConfig, step: Progress) -> PersonalInputs:
    """Open all files and the model, match them, and read everybody's sequences of every gene.

    Raises
    ------
    GenopredError
        If files do not fit each other, the model cannot be tuned, or no gene or nobody is left for a part.
    """
    model = load_model(config.start, said="model.start", device=devices(config.training.device)[0])
    tracks = select_tracks(model.tracks, list(config.model.tracks) or None).tolist()
    window = config.data.window
    body = tunable(model, config.model.start, bins=config.model.bins, tracks=tracks, window=window).body
    cohort = _cohort(config, body)
    tally = align.Tally(cohort.report)
    # sorted, so that the order of a file decides nothing
    order = np.argsort(cohort.samples)
    samples = cohort.samples[order]
    people = _people(config, samples)
    genes, intervals = _windows(config, model, body, cohort)
    fasta = open_fasta(config.paths["fasta"])
    check_ends(fasta, config.paths["fasta"], genes, "TSS")
    limits: dict[str, Any] = {"max_mismatch": config.data.max_ref_mismatch, "allow_swapped": config.data.allow_swapped}
    check_reference(cohort.genotypes, fasta, intervals, **limits)
    margin = max(body.window, config.split.margin or 0)
    outcome = Outcome(config.data.transform, config.data.residualize)
    covariates = None if cohort.covariates is None else cohort.covariates.values[order]
    genotypes = cohort.genotypes.select(samples=samples)
    columns = {name: i for i, name in enumerate(cohort.expression.genes["gene_id"].to_list())}
    kept, of_gene, few = [], [], []
    train = people == "train"
    for i, (row, interval) in enumerate(zip(genes.iter_rows(named=True), intervals)):
        reverse = body.strand_aware and row["strand"] == "-"
        options = limits | {"max_mismatch": 1.0, "unphased": config.data.unphased}
        found = personal_sequences(genotypes, fasta, interval, tss=row["tss"], reverse=reverse, **options)
        step(i + 1, genes.height, row["gene_id"])
        if found.alleles.shape[1] < config.data.min_variants or not found.alleles.any():
            few.append(row["gene_id"])
            continue
        raw = cohort.expression.values[order, columns[row["gene_id"]]]
        y = np.empty(len(samples))
        y[train], y[~train] = outcome.split(raw, covariates, train)
        kept.append(i)
        of_gene.append(PersonalGene.of(found.window, found.ploidy, y))
    tally.drop("genes", f"fewer than {config.data.min_variants} variants in the window", few)
    if not kept:
        raise AlignmentError(
            f"{config.source}: none of {genes.height:,} genes has {config.data.min_variants} variants within its "
            f"window of {body.window:,} bp ({examples(few)}); lower data.min_variants, or give denser genotypes."
        )
    genes = genes[kept]
    table = gene_table(genes, [intervals[i].start for i in kept], [intervals[i].end for i in kept])
    chosen = {"block": config.split.block, "fractions": config.split.fractions, "seed": config.split.seed}
    split = split_genes(table, margin=margin, **chosen)  # type: ignore[arg-type]
    for why in sorted({str(why) for why in split.why if why}):
        tally.note(
            "genes", f"not trained on: {why}", [table["gene_id"][int(i)] for i in np.flatnonzero(split.why == why)]
        )
    data = PersonalData(samples, table, tuple(of_gene), split, people)
    return PersonalInputs(data, model, tracks, tally.report())


def _cohort(config: PersonalConfig, body: Body) -> Cohort:
    """Genotypes, expression and covariates of the same people."""
    data, paths = config.data, config.paths
    named: dict[str, Any] = {key: paths.get(key) for key in ("vcf", "bfile", "pfile", "expression")}
    chosen = parts.Cohort(
        **named,
        covar=paths.get("covariates"),
        covar_name=data.covariate_names or None,
        n_covariates=data.n_covariates,
        gene=data.genes,
        genes=paths.get("gene_list"),
        all_genes=not (data.genes or data.gene_list),
        window=body.window,
        keep_overlap=data.keep_overlap,
    )
    return open_cohort(chosen)


def _people(config: PersonalConfig, samples: Any) -> Any:
    """Which part each person is for."""
    chosen = config.people
    test = None
    if chosen.folds:
        label = read_labels(config.paths["folds"], samples, "fold")
        test = label == str(chosen.test)
        if not test.any():
            raise GenopredError(
                f"{config.source}: people.test = {chosen.test}: {config.paths['folds']} has no such fold; its folds "
                f"are {examples(sorted(set(label.tolist())))}."
            )
    how = {"fraction": chosen.fraction, "validation": chosen.validation, "seed": chosen.seed}
    return split_people(len(samples), test=test, **how)  # type: ignore[arg-type]


def _windows(
    config: PersonalConfig, model: SequenceModel, body: Body, cohort: Cohort
) -> tuple[pl.DataFrame, list[Interval]]:
    """Genes by their places, and their windows on the genome."""
    files = GeneFiles(config.paths["expression"], config.paths.get("gtf"))
    genes = with_strands(files, model, cohort.expression.genes).sort("chrom", "tss", "gene_id")
    place = genes.select("chrom", "tss", "strand").iter_rows()
    windows = [
        window_around(chrom, tss, body.window, body.tss_offset, reverse=body.strand_aware and strand == "-")
        for chrom, tss, strand in place
    ]
    return genes, windows
