"""The page of `genopred attribute`: figures of each window, and in words what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.files import safe_name
from genopred.report.locus import GeneTrack
from genopred.report.tables import GeneNames, count, number, p_value
from genopred.types import MatchReport, Motif, plain_gene

#: Windows with figures; all are in the tables. Rows of a table of the page.
MOST_WINDOWS, MOST_ROWS = 6, 40
#: Bases around the strongest seqlet that are shown as letters; motifs drawn beside seqlets, of a window.
_AROUND, _PAIRS = 60, 3

#: A name, the figure drawn for wide to narrow screens, and its caption.
Drawn = tuple[str, tuple[Any, ...], str]


@dataclass(frozen=True)
class Place:
    """Where a window is, and what lies there."""

    name: str
    chrom: str
    #: Of the stretch, both ends inside.
    start: int
    end: int
    tss: int
    strand: str
    gene: bool
    #: The model's window, both ends inside.
    window: tuple[int, int]
    #: By the file's name, a value a base of the stretch.
    elements: Mapping[str, NDArray[np.float64]] = field(repr=False)


@dataclass(frozen=True)
class Shown:
    """What the page is made of: tables as they are written, all windows together."""

    places: Sequence[Place]
    model: str
    groups: tuple[str, ...]
    methods: tuple[str, ...]
    tables: Mapping[str, pl.DataFrame] = field(repr=False)
    motifs: Sequence[Motif] = field(repr=False)
    annotation: GeneTrack | None = field(repr=False)
    alpha: float = 0.05
    kind: str = "svg"
    #: Methods that are complete, and those that are drawn as letters.
    complete: tuple[str, ...] = ("integrated-gradients", "deeplift")


def write(out: Path, shown: Shown, report: MatchReport, info: Mapping[str, Any]) -> list[Path]:
    """Draw the figures and write the page; the files."""
    from genopred.report.figures import save_figures
    from genopred.report.page import Section, render_page, write_page

    names = GeneNames(_symbols(shown))
    files: list[Path] = []
    first = [Section("What was found", text=tuple(reading(shown, names)))]
    sections = []
    for place in shown.places[:MOST_WINDOWS]:
        drawn = list(_figures(shown, place, names))
        named = {f"{safe_name(place.name)}.{name}": figures for name, figures, _ in drawn}
        files += save_figures(named, out / "figures", shown.kind)
        figures = tuple((*figures, text) for name, figures, text in drawn if not name.startswith("motif"))
        tables = tuple(_window_tables(shown, place))
        sections.append(Section(names.full(place.name), figures=figures, tables=tables))
        pairs = tuple((*figures, text) for name, figures, text in drawn if name.startswith("motif"))
        if pairs:
            sections.append(Section(f"Seqlets and motifs at {names.short(place.name)}", figures=pairs, wide=False))
    sections += _sections(shown)
    html = render_page(
        title=f"genopred attribute: {shown.model}", report=report, info=dict(info), first=first, sections=sections,
        names=names,
    )  # fmt: skip
    return [*files, write_page(out / "attribute.html", html)]


def _symbols(shown: Shown) -> dict[str, str]:
    if shown.annotation is None:
        return {}
    named = shown.annotation.genes.select("gene_id", "gene_name").iter_rows()
    return {plain_gene(gene): name for gene, name in named if name and name != gene}


def reading(shown: Shown, names: GeneNames | None = None) -> list[str]:
    """What was found, in plain sentences."""
    tables = shown.tables
    places, methods = len(shown.places), ", ".join(shown.methods)
    out = [
        f"{methods} of {shown.model}: {places:,} window{'s' if places != 1 else ''}, "
        f"track group{'s' if len(shown.groups) != 1 else ''} {', '.join(shown.groups)}."
    ]
    sums = tables["sums"].filter(pl.col("method").is_in(list(shown.complete)))
    for (method,), rows in sums.group_by("method", maintain_order=True):
        share = (rows["delta"].abs() / (rows["value"] - rows["background"]).abs()).filter(rows["delta"].is_finite())
        out.append(
            f"{method}: contributions add up to the difference of predictions from the backgrounds' within "
            f"{number(100 * float(share.median() or 0.0), 2)} % of it (median; at most "  # type: ignore[arg-type]
            f"{number(100 * float(share.max() or 0.0), 2)} %)."  # type: ignore[arg-type]
        )
    if "gradient-input" in shown.methods:
        out.append(
            "gradient-input is the first order around the sequence: its contributions need not add up to anything."
        )
    out += _of_seqlets(shown)
    for row in tables["motif_counts"].head(3).iter_rows(named=True):
        chance = "" if row["p"] is None else f"; a shuffle has {number(row['expected'], 2)}, p = {p_value(row['p'])}"
        many = f"{row['seqlets']} seqlet{'s' if row['seqlets'] != 1 else ''}"
        out.append(f"{row['name']}: {many} of the reference ({row['method']}) like it{chance}.")
    for row in tables["differences"].head(6).iter_rows(named=True):
        called = row["window"] if names is None else names.short(row["window"])
        out.append(
            f"{called}, {row['track_group']}: {row['person']} is predicted {number(row['value'], 3)}, {row['against']} "
            f"{number(row['value_against'], 3)}: a difference of {number(row['difference'], 3, sign=True)} over "
            f"{row['sites']:,} variants, whose contributions along the path add up to "
            f"{number(row['sum_path'], 3, sign=True)}; each alone, to {number(row['sum_alone'], 3, sign=True)}."
        )
    return [*out, *_of_elements(shown)]


def _of_seqlets(shown: Shown) -> Iterator[str]:
    own = shown.tables["seqlets"].filter(pl.col("haplotype") == 0)
    for (method,), rows in own.group_by("method", maintain_order=True):
        if rows["p"].null_count():
            yield f"{method}: {rows.height:,} seqlets; how strong they are by chance was not asked (--controls 0)."
            continue
        found = rows.filter(pl.col("p") <= shown.alpha + 1e-9).height
        yield (
            f"{method}: {found:,} of {rows.height:,} candidate seqlets of the reference are stronger than any of a "
            f"shuffled window in all but {100 * shown.alpha:g} % of shuffles."
        )


def _of_elements(shown: Shown) -> Iterator[str]:
    table = shown.tables["enrichment"]
    together = table.filter(pl.col("window") == "all windows") if len(shown.places) > 1 else table
    for row in together.head(6).iter_rows(named=True):
        if row["fold"] is not None:
            yield (
                f"{row['signal']}: at the bases with the highest contributions ({row['method']}, {row['track_group']}) "
                f"it is {number(row['fold'], 2)} times what shifts of it give (p = {p_value(row['p'])})."
            )
    plain = shown.tables["overlap"].filter(
        (pl.col("measure") == "overlap at k") if shown.tables["overlap"].height else True
    )
    for (method, group), rows in plain.group_by("method", "track_group", maintain_order=True):
        order = ["phenotype", "blocks", "shift", "permutation", "hypergeometric"]
        row = min(rows.iter_rows(named=True), key=lambda row: order.index(row["null"]))
        yield (
            f"eQTLs ({method}, {group}): of the top {row['k']} SNPs of a window by contribution {row['value']:.0f} are "
            f"among the top {row['k']} by eQTL; {number(row['expected'], 1)} are expected under the null "
            f"“{row['null']}” (p = {p_value(row['p'])})."
        )


# --- a window --------------------------------------------------------------------------------------------------


def _figures(shown: Shown, place: Place, names: GeneNames) -> Iterator[Drawn]:
    from genopred.report import figures_attribution as draw
    from genopred.report.figures import in_widths

    group = shown.groups[0]
    bases = _of(shown.tables["attributions"], place, group)
    lanes = _lanes(shown, place, bases)
    genes = None if shown.annotation is None else shown.annotation.within(place.chrom, place.start - 1, place.end)
    if genes is not None:  # of an expression BED only TSSs are known
        genes = GeneTrack(genes.genes.filter(pl.col("end") > pl.col("start")), genes.exons)
    found = _found(shown, place, group)
    if lanes:
        marks = [
            (row["start"], row["end"], f"{row['sequence']} {_named(shown, row)}".strip())
            for row in found.iter_rows(named=True)
        ]
        tss = (place.tss, place.strand) if place.gene else None
        how: dict[str, Any] = {"chrom": place.chrom, "start": place.start, "end": place.end, "tss": tss}
        drawn = in_widths(draw.along_sequence, lanes, genes=genes, marks=marks, **how)
        marked = "; triangles: seqlets, stronger than those of shuffles where these were made" if marks else ""
        of = f" of {group}" if len(shown.groups) > 1 else ""
        yield "along", drawn, f"{names.full(place.name)}: contributions{of} along the sequence, reference{marked}."
    yield from _logos(shown, place, bases, found)
    for method in shown.methods:
        if method == "ism" and bases.filter(pl.col("method") == "ism").height:
            yield _mutagenesis(place, bases.filter(pl.col("method") == "ism"), group)
    yield from _attention(shown, place)
    for (person,), rows in _differences(shown, place, group):
        drawn = in_widths(draw.variant_contributions, rows, tss=place.tss if place.gene else None)
        against = rows["against"][0]
        yield (
            f"variants.{safe_name(str(person))}", drawn,
            f"{names.full(place.name)}: what makes {person} unlike {against} ({group}). Bars: along the path from the "
            "one's sequences to the other's, which add up; rings: each variant by itself.",
        )  # fmt: skip


def _of(table: pl.DataFrame, place: Place, group: str | None = None) -> pl.DataFrame:
    """Rows of a window and of the reference."""
    here = table.filter((pl.col("window") == place.name) & (pl.col("haplotype") == 0))
    return here if group is None else here.filter(pl.col("track_group") == group)


def _lanes(shown: Shown, place: Place, bases: pl.DataFrame) -> list[Any]:
    from genopred.report.figures_attribution import Lane

    lanes = []
    for (method,), rows in bases.group_by("method", maintain_order=True):
        pos = rows["pos"].to_numpy()
        edges = np.append(pos - 0.5, pos[-1] + 0.5)
        lanes.append(Lane(f"{method}", edges, rows["attribution"].fill_null(0.0).to_numpy()))
    attention = _of(shown.tables["attention"], place)
    for (layer,), rows in attention.group_by("layer", maintain_order=True):
        if len(lanes) > 6:  # of deep networks the first ones
            break
        mean = rows.group_by("start", "end", maintain_order=True).agg(pl.col("from_tss").mean()).sort("start")
        edges = np.append(mean["start"].to_numpy() - 0.5, mean["end"][-1] + 0.5)
        what = "from the TSS" if place.gene else "from the middle"
        lanes.append(Lane(f"attention {what}, {layer}", edges, mean["from_tss"].to_numpy(), "attention"))
    for name, values in place.elements.items():
        lanes.append(Lane(name, np.arange(place.start - 0.5, place.end + 1.0), values, "element"))
    return lanes


def _found(shown: Shown, place: Place, group: str) -> pl.DataFrame:
    """Seqlets of the reference by the first method that has them; those that shuffles have not where that was asked."""
    own = _of(shown.tables["seqlets"], place, group)
    if not own.height:
        return own
    own = own.filter(pl.col("method") == own["method"][0])
    if own["p"].null_count():
        return own.head(12)
    return own.filter(pl.col("p") <= shown.alpha + 1e-9).head(30)


def _named(shown: Shown, seqlet: Mapping[str, Any]) -> str:
    """What a seqlet is called: its best motif, where it is like it."""
    match = _match(shown, seqlet)
    return str(match["name"]) if match is not None and match["q"] <= shown.alpha else ""


def _match(shown: Shown, seqlet: Mapping[str, Any]) -> dict[str, Any] | None:
    keys = ("window", "person", "haplotype", "method", "track_group", "start", "end")
    rows = shown.tables["motifs"]
    for key in keys:
        rows = rows.filter(pl.col(key) == seqlet[key])
    return rows.row(0, named=True) if rows.height else None


def _logos(shown: Shown, place: Place, bases: pl.DataFrame, found: pl.DataFrame) -> Iterator[Drawn]:
    """The letters around the strongest seqlet, and some seqlets beside their motifs."""
    from genopred.report import figures_attribution as draw
    from genopred.report.figures import in_widths

    if not found.height:
        return
    rows = bases.filter(pl.col("method") == found["method"][0]).sort("pos")
    best = found.row(0, named=True)
    middle = (best["start"] + best["end"]) // 2
    near = rows.filter((pl.col("pos") > middle - _AROUND) & (pl.col("pos") <= middle + _AROUND))
    spans = [(row["start"], row["end"], _named(shown, row)) for row in found.iter_rows(named=True)]
    letters, start = "".join(near["base"].to_list()), near["pos"][0]
    how: dict[str, Any] = {"chrom": place.chrom, "start": start, "spans": spans}
    drawn = in_widths(draw.contribution_logo, letters, near["attribution"].to_numpy(), **how)
    yield "logo", drawn, f"The bases around the strongest seqlet ({best['method']}); shaded: seqlets, motifs by name."
    known = {motif.id: motif for motif in shown.motifs}
    matched = [
        (seqlet, match) for seqlet in found.iter_rows(named=True) if (match := _match(shown, seqlet)) is not None
    ]
    matched = [(seqlet, match) for seqlet, match in matched if match["q"] <= shown.alpha]
    for i, (seqlet, match) in enumerate(matched[:_PAIRS]):
        part = rows.filter((pl.col("pos") >= seqlet["start"]) & (pl.col("pos") <= seqlet["end"]))
        heights = np.zeros((part.height, 4))
        heights[np.arange(part.height), ["ACGT".index(b) if b in "ACGT" else 0 for b in part["base"]]] = part[
            "attribution"
        ]
        place_of = {"offset": match["offset"], "strand": match["strand"]}
        figure = draw.motif_pair(
            heights, known[match["motif"]], **place_of, title=f"{match['name']}, q {p_value(match['q'])}"
        )
        text = f"{place.chrom}:{seqlet['start']:,}-{seqlet['end']:,} above {match['name']} ({match['motif']})."
        yield f"motif{i + 1}", (figure,), text


def _mutagenesis(place: Place, rows: pl.DataFrame, group: str) -> Drawn:
    from genopred.report.figures import in_widths
    from genopred.report.figures_ism import mutagenesis

    rows = rows.sort("pos")
    matrix = rows.select("A", "C", "G", "T").cast(pl.Float64).to_numpy()
    letters = "".join(rows["base"].to_list())
    drawn = in_widths(mutagenesis, matrix, letters, chrom=place.chrom, start=rows["pos"][0])
    return "ism", drawn, f"In-silico mutagenesis ({group}): what each change of a base does to the prediction."


def _attention(shown: Shown, place: Place) -> Iterator[Drawn]:
    from genopred.report.figures import in_widths
    from genopred.report.figures_attribution import attention_layers

    maps = {}
    for (layer,), rows in _of(shown.tables["attention_maps"], place).group_by("layer", maintain_order=True):
        n = int(rows["query"].max()) + 1  # type: ignore[arg-type]
        maps[str(layer)] = rows.sort("query", "key")["weight"].to_numpy().reshape(n, -1)
    if maps:
        start, end = place.window
        how: dict[str, Any] = {
            "chrom": place.chrom,
            "start": start,
            "end": end,
            "tss": place.tss if place.gene else None,
        }
        yield "attention", in_widths(attention_layers, maps, **how), "Attention of each layer, mean over its heads."


def _differences(shown: Shown, place: Place, group: str) -> Iterator[tuple[tuple[Any, ...], pl.DataFrame]]:
    variants = shown.tables["variants"]
    here = variants.filter((pl.col("window") == place.name) & (pl.col("track_group") == group))
    yield from here.group_by("person", maintain_order=True)


# --- tables ----------------------------------------------------------------------------------------------------


def _window_tables(shown: Shown, place: Place) -> Iterator[tuple[pl.DataFrame, str]]:
    seqlets = _of(shown.tables["seqlets"], place).sort("p", pl.col("attribution").abs(), descending=[False, True])
    if seqlets.height:
        several = [name for name in ("method", "track_group") if seqlets[name].n_unique() > 1]
        named = seqlets.head(MOST_ROWS).with_columns(
            pl.Series("motif", [_said(_match(shown, row)) for row in seqlets.head(MOST_ROWS).iter_rows(named=True)])
        )
        columns = [*several, "start", "end", "sequence", "attribution", "p", "q"]
        columns += ["motif"] if shown.motifs else []
        caption = (
            f"Seqlets of the reference{_of_all(seqlets)}. p: share of shuffles of the window with one as strong; q: "
            "how many a shuffle has, over how many there are."
        )
        yield named.select(columns), caption
    variants = shown.tables["variants"].filter(pl.col("window") == place.name)
    if variants.height:
        top = variants.sort(pl.col("path").abs(), descending=True)
        several = [name for name in ("person", "track_group") if variants[name].n_unique() > 1]
        people = ", ".join(variants["person"].unique(maintain_order=True))
        caption = (
            f"Variants between {people} and {variants['against'][0]}{_of_all(variants)}, largest first. Copies: of "
            "ALT, more than the other."
        )
        yield top.head(MOST_ROWS).select(*several, "id", "pos", "ref", "alt", "copies", "path", "alone"), caption


def _said(match: Mapping[str, Any] | None) -> str:
    return "" if match is None else f"{match['name']} (q {p_value(match['q'])})"


def _of_all(table: pl.DataFrame) -> str:
    return f" (the first {MOST_ROWS} of {count(table.height)})" if table.height > MOST_ROWS else ""


def _sections(shown: Shown) -> Iterator[Any]:
    from genopred.report.page import Section

    for name, (title, caption) in _TABLES.items():
        table = shown.tables[name]
        if not table.height:
            continue
        alone = [n for n in ("method", "track_group", "person", "haplotype", "signal") if n in table.columns]
        same = [str(n) for n in alone if table[n].n_unique() == 1 and table.height > 1]
        if name == "motif_counts" and (table["motif"] == table["name"]).all():
            same.append("name")
        if name == "overlap":
            same += [n for n in ("a", "b", "low", "high", "circular", "note") if n in table.columns]
        yield Section(title, tables=((table.drop(same).head(MOST_ROWS), caption + _of_all(table)),))


#: What the tables of all windows are called, and what their columns are.
_TABLES = {
    "motif_counts": (
        "Known motifs",
        "Seqlets of the reference that are like a motif, and how many shuffles have on average; p and q: of as many.",
    ),
    "enrichment": (
        "Elements",
        "Mean signal at the top bases; expected, low and high: of all shifts of the signal along the window. Fold: "
        "observed over expected.",
    ),
    "overlap": (
        "eQTLs",
        "SNPs of each window ranked by |contribution| of their base and by eQTL. What the nulls keep is said in "
        "docs/overlap.md.",
    ),
    "sums": (
        "Do contributions add up",
        "Value: of the sequence; background: mean of what it is compared with; delta: the sum of contributions less "
        "the difference of the two.",
    ),
}
