"""What attribute holds contributions against: elements, eQTLs, known motifs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.align_snps import with_dosage
from genopred.attribution.elements import Enrichment, enrichment
from genopred.attribution.motifs import COUNT_SCHEMA, MATCH_SCHEMA, count_motifs, match_motifs
from genopred.errors import GenopredError
from genopred.genetics.overlap.comparison import RESULT_SCHEMA, Asked, compare, possible_nulls, rank_snps
from genopred.pipelines.attribute_inputs import AttributeInputs, Place
from genopred.pipelines.sequence_inputs import inside
from genopred.sequence.onehot import encode, onehot
from genopred.settings.attribute import REFERENCE
from genopred.types import plain_gene

Floats = NDArray[np.float64]

#: What `enrichment.tsv` has: mean signal at the top bases, and at the same bases with the signal shifted.
ENRICHMENT_SCHEMA = (
    dict.fromkeys(("window", "method", "track_group", "signal"), pl.String)
    | {"top": pl.Int64, "bases": pl.Int64}
    | dict.fromkeys(("observed", "expected", "low", "high", "fold", "p"), pl.Float64)
    | {"shifts": pl.Int64}
)
MOTIF_SCHEMA = {
    "window": pl.String, "person": pl.String, "haplotype": pl.Int64, "method": pl.String, "track_group": pl.String,
    "chrom": pl.String, "start": pl.Int64, "end": pl.Int64, "sequence": pl.String, "seqlet_p": pl.Float64,
    **{name: kind for name, kind in MATCH_SCHEMA.items() if name != "seqlet"},
}  # fmt: skip
MOTIF_COUNT_SCHEMA = {"method": pl.String, "track_group": pl.String} | COUNT_SCHEMA
OVERLAP_SCHEMA = {"method": pl.String, "track_group": pl.String} | RESULT_SCHEMA

#: All windows of a run together, in tables.
ALL = "all windows"


def of_reference(attributions: pl.DataFrame) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """Method, track group and contributions of the reference's bases."""
    own = attributions.filter((pl.col("person") == REFERENCE) & pl.col("method").is_not_null())
    for (method, group), rows in own.group_by("method", "track_group", maintain_order=True):
        yield str(method), str(group), rows


def signal_enrichment(inputs: AttributeInputs, attributions: pl.DataFrame) -> pl.DataFrame:
    """Whether the bases with the highest contributions lie where signals are high: each window, and all together."""
    settings, rows = inputs.settings, []
    places = {place.name: place for place in inputs.places}
    signals: dict[tuple[str, str], Floats] = {}
    for elements in inputs.elements:
        for name, place in places.items():
            length = inputs.fasta.length(place.chrom)
            signals[elements.name, name] = elements.within(place.stretch, length)
    for method, group, bases in of_reference(attributions):
        several = bases.partition_by("window", as_dict=True, maintain_order=True)
        for elements in inputs.elements:
            pairs: list[tuple[str, Floats, Floats]] = []
            for (window,), table in several.items():
                at = table["pos"].to_numpy() - 1 - places[window].stretch.start
                if len(at) < places[window].stretch.length:  # of mutagenesis a part: too little to move signals along
                    continue
                size = table["attribution"].to_numpy().astype(np.float64)
                size = np.where(table["base"].to_numpy() == "N", np.nan, size)
                pairs.append((window, size, signals[elements.name, window][at]))
            asked = [(window, [size], [signal]) for window, size, signal in pairs]
            if len(pairs) > 1:
                asked.append((ALL, [size for _, size, _ in pairs], [signal for *_, signal in pairs]))
            for window, sizes, heights in asked:
                found = enrichment(sizes, heights, settings.top_fraction, draws=settings.draws, seed=settings.seed)
                rows.append((window, method, group, elements.name, *_numbers(found)))
    return pl.DataFrame(rows, schema=ENRICHMENT_SCHEMA, orient="row").with_columns(pl.col("fold").fill_nan(None))


def _numbers(found: Enrichment) -> tuple[Any, ...]:
    few = (found.observed, found.expected, found.low, found.high, found.fold, found.p, found.shifts)
    return (found.top, found.n, *few)


def eqtl_overlap(inputs: AttributeInputs, attributions: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Whether eQTLs are where contributions are high: ranks of SNPs in each window, against nulls that keep LD.

    Returns
    -------
    answers, snps : polars.DataFrame
        Columns of `OVERLAP_SCHEMA`; and the SNPs that were ranked.
    """
    settings, tally = inputs.settings, inputs.tally
    answers: list[dict[str, Any]] = []
    ranked_snps: list[pl.DataFrame] = []
    if inputs.eqtl is None:
        return pl.DataFrame(schema=OVERLAP_SCHEMA), pl.DataFrame()
    tested = pl.concat([_tested(inputs, place) for place in inputs.places])
    tally.drop("eQTL", "in no window (or of another gene)", inputs.eqtl.data.height - tested["row"].n_unique())
    tally.use("eQTL", "in a window", tested["row"].n_unique())
    for method, group, bases in of_reference(attributions):
        scored = bases.filter(pl.col("base") != "N").select("window", "pos", score_a=pl.col("attribution").abs())
        snps = tested.join(scored, left_on=["gene", "pos"], right_on=["window", "pos"], maintain_order="left")
        item = f"SNPs with {method} of {group}"
        snps = snps.filter(pl.len().over("gene") > 1)
        tally.come(item, "in the windows", tested.height)
        tally.drop(item, "no contribution there, or the one SNP of its window", tested.height - snps.height)
        if not snps.height:
            tally.note(item, "no window has two SNPs of --eqtl: nothing to compare", tested.height)
            continue
        dosage = None
        if inputs.genotypes is not None:
            snps, dosage = with_dosage(item, snps, inputs.genotypes, tally)
        try:
            ranked = rank_snps((method, "eQTL"), snps, dosage, grouped=True, seed=settings.seed)
        except GenopredError as cannot:
            tally.note(item, f"not compared: {cannot}", snps.height)
            continue
        tally.drop(item, "the one SNP of its window in the genotypes", snps.height - ranked.snps.height)
        k = min(settings.top_snps, int(ranked.rankings.sizes.max()))
        resamples = min(1000, settings.draws)
        asked = Asked((k,), tuple(possible_nulls(ranked)), settings.draws, resamples, settings.seed)
        found = compare(ranked, asked, match={}, distance="within 250 kb" if dosage is None else "in LD")
        answers += [{"method": method, "track_group": group, **row} for row in found.rows]
        keep = ("gene", "id", "chrom", "pos", "score_a", "score_b", "p_b", "rank_a", "rank_b")
        named = {"gene": "window", "score_a": "attribution", "score_b": "eqtl"}
        ranked_snps.append(
            found.snps.select(pl.lit(method).alias("method"), pl.lit(group).alias("track_group"), *keep).rename(named)
        )
    rows = pl.DataFrame(answers, schema=OVERLAP_SCHEMA, orient="row")
    return rows, pl.concat(ranked_snps) if ranked_snps else pl.DataFrame()


def _tested(inputs: AttributeInputs, place: Place) -> pl.DataFrame:
    """SNPs of the eQTL table in a stretch, of its gene where the table has genes; each base once, the best of it."""
    assert inputs.eqtl is not None  # noqa: S101 - asked before
    data = inputs.eqtl.data.with_row_index("row")
    here = data.filter(inside(data, place.stretch))
    if place.gene and "gene" in here.columns:
        here = here.filter(pl.col("gene") == plain_gene(place.name))
    here = here.sort("score", descending=True, maintain_order=True).unique("pos", keep="first", maintain_order=True)
    here = here.with_columns(gene=pl.lit(place.name), score_b="score", id_b="id").sort("pos")
    kinds = {"ref": pl.String, "alt": pl.String, "p": pl.Float64, "se": pl.Float64, "af": pl.Float64}
    kinds |= {"effect": pl.Float64, "distance": pl.Float64}
    lacking = [pl.lit(None, kind).alias(name) for name, kind in kinds.items() if name not in here.columns]
    here = here.with_columns(lacking)
    return here.select(
        "row", "gene", "id", "chrom", "pos", "ref", "alt", "score_b", "id_b", "af", "distance", p_b="p", se_b="se",
        effect_a=pl.lit(None, pl.Float64), effect_b="effect", p_a=pl.lit(None, pl.Float64),
    )  # fmt: skip


def known_motifs(
    inputs: AttributeInputs, seqlets: pl.DataFrame, controls: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The motifs that seqlets look like, and how many more of each the reference has than its shuffles.

    Returns
    -------
    matches, counts : polars.DataFrame
        Columns of `MOTIF_SCHEMA` and `MOTIF_COUNT_SCHEMA`.
    """
    settings = inputs.settings
    if not inputs.motifs:
        return pl.DataFrame(schema=MOTIF_SCHEMA), pl.DataFrame(schema=MOTIF_COUNT_SCHEMA)
    pieces = [onehot(encode(text)) for text in seqlets["sequence"].to_list()]
    found = match_motifs(pieces, inputs.motifs)
    about = seqlets.with_columns(seqlet_p="p").drop("p", "q", "attribution").with_row_index("seqlet")
    about = about.with_columns(pl.col("seqlet").cast(pl.Int64))
    matches = found.join(about, on="seqlet", maintain_order="left").select(
        pl.col(name).cast(kind) for name, kind in MOTIF_SCHEMA.items()
    )
    # as strong as few shuffles have one, in the windows as in the shuffles themselves
    strong = pl.col("p").is_null() | (pl.col("p") <= settings.alpha + 1e-9)
    controls = controls.filter(strong)
    other = match_motifs([onehot(encode(text)) for text in controls["sequence"].to_list()], inputs.motifs, nearest=1)
    tables = [pl.DataFrame(schema=MOTIF_COUNT_SCHEMA)]
    own = about.filter((pl.col("person") == REFERENCE) & seqlets.select(strong).to_series())
    own = own.select("seqlet", "method", "track_group")
    of_controls = controls.with_row_index("seqlet").select(pl.col("seqlet").cast(pl.Int64), "method", "track_group")
    for (method, group), rows in own.group_by("method", "track_group", maintain_order=True):
        same = (pl.col("method") == method) & (pl.col("track_group") == group)
        counted = count_motifs(
            found.filter(pl.col("seqlet").is_in(rows["seqlet"].implode())),
            other.filter(pl.col("seqlet").is_in(of_controls.filter(same)["seqlet"].implode())),
            len(inputs.places), len(inputs.places) * settings.controls, most=settings.alpha,
        )  # fmt: skip
        named = counted.with_columns(method=pl.lit(method), track_group=pl.lit(group))
        tables.append(named.select(list(MOTIF_COUNT_SCHEMA)))
    return matches, pl.concat(tables)


def count_variants(tally: align.Tally, counts: list[dict[str, int]]) -> None:
    """What became of the variants in the windows, all windows together."""
    total = {key: sum(one.get(key, 0) for one in counts) for key in set().union(*counts)} if counts else {}
    if not total:
        return
    pairs = "window-variant pairs"
    tally.come(pairs, "in the windows", total["variants"])
    for key, reason in (
        ("indels_skipped", "indel"), ("symbolic_skipped", "symbolic or missing allele"),
        ("other", "REF is not the FASTA's base"),
    ):  # fmt: skip
        tally.drop(pairs, reason, total[key])
    tally.use(pairs, "in people's sequences", total["used"])
    for key, reason in (("swapped", "REF and ALT swapped, put right"), ("strand", "on the other strand, put right"),
                        ("missing_alleles", "missing alleles, read as REF")):  # fmt: skip
        if total[key]:
            tally.note(pairs, reason, total[key])
