"""One window of attribute: what each method says of the reference and of people, as tables."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.attribution.attention import attention_maps
from genopred.attribution.backgrounds import backgrounds
from genopred.attribution.methods import Contributions, contributions
from genopred.attribution.mutagenesis import in_silico_mutagenesis
from genopred.attribution.people import Difference, explain_difference
from genopred.attribution.seqlets import SEQLET_SCHEMA, find_seqlets
from genopred.pipelines.attribute_inputs import AttributeInputs, Place
from genopred.sequence.haplotypes import PersonalSequences, personal_sequences
from genopred.sequence.models.base import halving
from genopred.sequence.onehot import BASES, decode, encode, onehot, reverse_complement
from genopred.settings.attribute import COMPLETE, REFERENCE
from genopred.types import Genotypes, Interval

#: Whose sequence: reference (haplotype 0), or a person's first or second.
_WHO = {"window": pl.String, "person": pl.String, "haplotype": pl.Int64}
_WHAT = {"method": pl.String, "track_group": pl.String}
_NUMBERS = pl.Float64

#: Columns of the tables of a window. Positions are 1-based, of seqlets and bins both ends inside.
SCHEMAS: dict[str, dict[str, type[pl.DataType]]] = {
    "attributions": _WHO | _WHAT | {"chrom": pl.String, "pos": pl.Int64, "base": pl.String}
    | dict.fromkeys(("attribution", *BASES), _NUMBERS),
    "sums": _WHO | _WHAT | dict.fromkeys(("value", "background", "sum", "delta"), _NUMBERS),
    "seqlets": _WHO | _WHAT
    | {"chrom": pl.String, "start": pl.Int64, "end": pl.Int64, "sequence": pl.String}
    | dict.fromkeys(("attribution", "p", "q"), _NUMBERS),
    "control_seqlets": {"window": pl.String, **_WHAT, "control": pl.Int64, "sequence": pl.String,
                        "attribution": _NUMBERS, "p": _NUMBERS},
    "variants": {"window": pl.String, "person": pl.String, "against": pl.String, "track_group": pl.String,
                 "chrom": pl.String, "pos": pl.Int64, "id": pl.String, "ref": pl.String, "alt": pl.String,
                 "copies": pl.Int64, "path": _NUMBERS, "alone": _NUMBERS},
    "differences": {"window": pl.String, "person": pl.String, "against": pl.String, "track_group": pl.String,
                    **dict.fromkeys(("value", "value_against", "difference"), _NUMBERS), "sites": pl.Int64,
                    **dict.fromkeys(("sum_path", "residual", "sum_alone"), _NUMBERS)},
    "attention": _WHO | {"layer": pl.String, "head": pl.Int64, "start": pl.Int64, "end": pl.Int64,
                         "from_tss": _NUMBERS, "received": _NUMBERS},
    "attention_maps": _WHO | {"layer": pl.String, "query": pl.Int64, "key": pl.Int64, "weight": _NUMBERS},
}  # fmt: skip

Rows = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class _Subject:
    """A sequence to attribute: whose, the whole window as the model reads it, and its letters on the forward strand."""

    person: str
    haplotype: int
    window: NDArray[np.float32]
    letters: str


class _Haplotype:
    """A haplotype as a FASTA: N outside its window."""

    def __init__(self, letters: str, window: Interval) -> None:
        self.letters, self.window = letters, window

    def fetch(self, interval: Interval) -> str:
        """See `genopred.sequence.haplotypes.Reference`."""
        first, length = interval.start - self.window.start, len(self.letters)
        inside = self.letters[max(first, 0) : max(first + interval.length, 0)]
        before = min(max(-first, 0), interval.length)
        return ("N" * before + inside).ljust(interval.length, "N")[: interval.length] if length else ""


def window_tables(inputs: AttributeInputs, place: Place) -> tuple[dict[str, pl.DataFrame], dict[str, int]]:
    """All tables of a window, by name (columns as in `SCHEMAS`); and what became of the variants in it."""
    settings = inputs.settings
    reverse = inputs.model.reads_reverse(place.strand)
    sequences = _people(inputs, place, reverse)
    subjects = list(_subjects(inputs, place, reverse, sequences))
    rows: Rows = {name: [] for name in SCHEMAS}
    tables: dict[str, list[pl.DataFrame]] = {"attributions": []}
    for method in settings.method:
        if method in COMPLETE:
            _complete(inputs, place, method, reverse, subjects, rows, tables["attributions"])
        elif method == "ism":
            tables["attributions"] += [_mutated(inputs, place, subject) for subject in subjects]
        else:
            for subject in subjects:
                _attention(inputs, place, reverse, subject, rows)
    if sequences is not None:
        for person in settings.person:
            _difference(inputs, place, sequences, person, rows)
    out = {name: pl.DataFrame(rows[name], schema=schema, orient="row") for name, schema in SCHEMAS.items()}
    out["attributions"] = pl.concat([out["attributions"], *tables["attributions"]])
    return out, {} if sequences is None else sequences.counts


def _people(inputs: AttributeInputs, place: Place, reverse: bool) -> PersonalSequences | None:
    """Both sequences of everybody named, and the reference's last."""
    settings, genotypes = inputs.settings, inputs.genotypes
    if not settings.person or genotypes is None:
        return None
    named = [*settings.person, *([settings.against] if settings.against != REFERENCE else [])]
    sequences = personal_sequences(
        genotypes.select(samples=named), inputs.fasta, place.window, tss=place.tss, reverse=reverse, unphased="error",
        max_mismatch=settings.max_ref_mismatch, allow_swapped=settings.allow_swapped,
    )  # fmt: skip
    return sequences.with_reference()


def _subjects(
    inputs: AttributeInputs, place: Place, reverse: bool, sequences: PersonalSequences | None
) -> Iterator[_Subject]:
    codes = encode(inputs.fasta.fetch(place.window))
    if sequences is not None:  # where the FASTA has N, it has REF
        codes = reverse_complement(sequences.reference) if reverse else sequences.reference
    yield _Subject(REFERENCE, 0, onehot(reverse_complement(codes) if reverse else codes), decode(codes))
    if sequences is None:
        return
    for i, person in enumerate(inputs.settings.person):
        for h in range(2):
            read = sequences.codes([2 * i + h])[0]
            forward = reverse_complement(read) if reverse else read
            yield _Subject(person, h + 1, onehot(read), decode(forward))


def _complete(
    inputs: AttributeInputs, place: Place, method: str, reverse: bool, subjects: list[_Subject], rows: Rows,
    tables: list[pl.DataFrame],
) -> None:  # fmt: skip
    """One method's contributions of every base, and their seqlets beside those of shuffles."""
    settings, values = inputs.settings, inputs.values
    assert values is not None  # noqa: S101 - made where a method needs them
    first = place.stretch.start - place.window.start
    part = slice(first, first + place.stretch.length)
    seed = (settings.seed, zlib.crc32(place.name.encode()))

    def attributed(windows: NDArray[np.float32], shift: int) -> Contributions:
        """Windows (N, L, 4), each against backgrounds of its own."""
        kind = "uniform" if method == "gradient-input" else settings.background
        against = [backgrounds(x, kind, settings.backgrounds, (*seed, i + shift)) for i, x in enumerate(windows)]
        run: Callable[[int | None], Any] = lambda batch: _boxed(  # noqa: E731
            contributions(values, windows, np.stack(against), method, steps=settings.steps, batch_size=batch)
        )
        found: Contributions = halving(run, settings.batch_size, values.batch, inputs.model.name)[0].item()
        return found

    every = attributed(np.stack([subject.window for subject in subjects]), 0)
    turn = -1 if reverse else 1
    actual = every.actual[:, :, ::turn][:, :, part]
    other = every.hypothetical[:, :, ::turn, ::turn][:, :, part]
    shuffles = backgrounds(subjects[0].window, "shuffled", settings.controls, seed) if settings.controls else ()
    of_controls = [attributed(x[None], 1 + len(subjects) + i).actual[:, 0, ::turn] for i, x in enumerate(shuffles)]
    letters = [_forward(x, reverse)[part] for x in shuffles]
    for g, group in enumerate(inputs.chosen.names):
        for i, subject in enumerate(subjects):
            who = (place.name, subject.person, subject.haplotype, method, group)
            tables.append(_base_table(place, who, subject.letters[part], actual[g, i], other[g, i]))
            low, delta = every.background[g, i], every.delta[g, i]
            total = every.actual[g, i].sum()
            rows["sums"].append((*who, *map(float, (every.value[g, i], low, total, delta))))
        controls = np.stack([one[g] for one in of_controls])[:, part] if len(of_controls) else actual[g, :0]
        found, chance = find_seqlets(actual[g], controls)
        for i, start, end, height, p, q in found.select(list(SEQLET_SCHEMA)).iter_rows():
            subject, at = subjects[i], place.stretch.start
            text = subject.letters[part][start:end]
            who = (place.name, subject.person, subject.haplotype, method, group)
            rows["seqlets"].append((*who, place.chrom, at + start + 1, at + end, text, height, p, q))
        for i, start, end, height, p in chance.select("example", "start", "end", "attribution", "p").iter_rows():
            rows["control_seqlets"].append((place.name, method, group, i, letters[i][start:end], height, p))


def _boxed(found: Contributions) -> NDArray[Any]:
    """As an array of one, which `halving` hands through."""
    box = np.empty((), dtype=object)
    box[()] = found
    return box


def _forward(window: NDArray[np.float32], reverse: bool) -> str:
    """Letters on the forward strand of a window (L, 4) as read; N where it holds nothing."""
    codes = np.where(window.any(axis=1), window.argmax(axis=1), 4).astype(np.int8)
    return decode(reverse_complement(codes) if reverse else codes)


def _base_table(
    place: Place, who: tuple[Any, ...], letters: str, actual: NDArray[np.float64], other: NDArray[np.float64],
    first: int | None = None,
) -> pl.DataFrame:  # fmt: skip
    names = (*_WHO, *_WHAT)
    start = place.stretch.start if first is None else first
    table = pl.DataFrame({"pos": np.arange(start + 1, start + 1 + len(letters)), "base": list(letters)}).with_columns(
        *(pl.lit(value).alias(name) for name, value in zip(names, who)),
        chrom=pl.lit(place.chrom), attribution=pl.Series(actual),
        **{base: pl.Series(other[:, i]) for i, base in enumerate(BASES)},
    )  # fmt: skip
    return table.select(pl.col(name).cast(kind) for name, kind in SCHEMAS["attributions"].items())


def _mutated(inputs: AttributeInputs, place: Place, subject: _Subject) -> pl.DataFrame:
    """Every change of some bases: what each does, and as the base's own what is lost on average."""
    settings = inputs.settings
    found = in_silico_mutagenesis(
        inputs.model, _Haplotype(subject.letters, place.window), place.changed, inputs.chosen, tss=place.tss,
        strand=place.strand, batch_size=settings.batch_size,
    )  # fmt: skip
    tables = []
    for g, group in enumerate(inputs.chosen.names):
        matrix = found.matrix(g)
        who = (place.name, subject.person, subject.haplotype, "ism", group)
        lost = -matrix.sum(axis=1) / 3
        tables.append(_base_table(place, who, found.sequence, lost, matrix, place.changed.start))
    return pl.concat(tables).with_columns(pl.col("attribution", *BASES).fill_nan(None))


def _attention(inputs: AttributeInputs, place: Place, reverse: bool, subject: _Subject, rows: Rows) -> None:
    """What each layer looks at from the TSS, and what is looked at from everywhere; on the forward strand."""
    model, turn = inputs.model, -1 if reverse else 1
    who = (place.name, subject.person, subject.haplotype)
    share = (model.tss_offset + 0.5) / model.window
    for one in attention_maps(model, subject.window):
        towards, received = one.towards(share)[:, ::turn], one.received[:, ::turn]
        edges = place.window.start + np.linspace(0, model.window, towards.shape[1] + 1).round().astype(np.int64)
        for head in range(one.heads):
            for j, (a, b) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist())):
                numbers = (float(towards[head, j]), float(received[head, j]))
                rows["attention"].append((*who, one.name, head + 1, a + 1, b, *numbers))
        pooled = one.pooled()
        if pooled.ndim == 2:
            for q, line in enumerate(pooled[::turn, ::turn].tolist()):
                rows["attention_maps"] += [(*who, one.name, q, k, weight) for k, weight in enumerate(line)]


def _difference(inputs: AttributeInputs, place: Place, sequences: PersonalSequences, person: str, rows: Rows) -> None:
    """A person against another or the reference: variants that make the difference."""
    settings = inputs.settings
    assert inputs.values is not None and inputs.genotypes is not None  # noqa: S101 - made where people are named
    how: dict[str, Any] = {"steps": settings.steps, "batch_size": settings.batch_size}
    found = explain_difference(inputs.values, sequences, person, settings.against, **how)
    sites = list(named_sites(sequences, found, inputs.genotypes))
    for g, group in enumerate(inputs.chosen.names):
        who = (place.name, person, settings.against, group)
        for v, (pos, name, ref, alt) in enumerate(sites):
            numbers = (int(found.copies[v]), float(found.path[v, g]), float(found.alone[v, g]))
            rows["variants"].append((*who, place.chrom, pos, name, ref, alt, *numbers))
        value, low = float(found.value[g]), float(found.against[g])
        sums = (float(found.path[:, g].sum()), float(found.residual[g]), float(found.alone[:, g].sum()))
        rows["differences"].append((*who, value, low, value - low, len(sites), *sums))


def named_sites(
    sequences: PersonalSequences, found: Difference, genotypes: Genotypes
) -> Iterator[tuple[int, str, str, str]]:
    """Of each site at which two people differ: position, id, and both bases on the forward strand.

    A multi-base substitution has a site for each base that it changes, each with the variant's id.
    """
    interval = sequences.interval
    table = genotypes.variants[genotypes.index(Interval(interval.chrom, max(interval.start, 0), interval.end))]
    ids: dict[int, list[tuple[str, str]]] = {}
    for pos, name, ref, alt in table.select("pos", "id", "ref", "alt").iter_rows():
        if len(ref) == len(alt):
            for i, (a, b) in enumerate(zip(ref, alt)):
                ids.setdefault(pos + i, []).append((name, f"{a}{b}".upper()))
    for site in found.sites.tolist():
        offset, codes = int(sequences.sites[site]), (sequences.ref_codes[site], sequences.alt_codes[site])
        ref, alt = (BASES[3 - int(code) if sequences.reverse else int(code)] for code in codes)
        pos = interval.end - offset if sequences.reverse else interval.start + offset + 1
        here = ids.get(pos, [])
        both = {ref, alt}
        named = [name for name, pair in here if set(pair) == both] or [name for name, _ in here]
        yield pos, named[0] if named else f"{interval.chrom}:{pos}:{ref}:{alt}", ref, alt
