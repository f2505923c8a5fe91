"""SNP effects: what a sequence model predicts with a SNP's ALT allele, minus with its REF, all else the reference.

All SNPs of a window are haplotypes with one changed site, so `SequenceModel.predict_haplotypes` computes what they
share once: of Enformer's tower only the tokens around each SNP, of its transformer one pass a SNP.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from genopred.errors import AlignmentError, GenopredError, check_choice, examples, repeated
from genopred.sequence.features import DTYPES, STRANDS, HowPredicted, central_bins, check_strands, predict_tracks
from genopred.sequence.haplotypes import (
    ALT,
    MAX_MISMATCH,
    PersonalSequences,
    Reference,
    changed_bases,
    compare_alleles,
    hash_arrays,
    is_sequence,
    refuse_mismatches,
)
from genopred.sequence.models.base import SequenceModel
from genopred.sequence.onehot import N_CODE, decode, encode
from genopred.sequence.tracks import select_tracks
from genopred.types import VARIANT_SCHEMA, Interval

AGGREGATES = ("sum", "mean")
OVER_TRACKS = ("mean", "sum", "each")
CENTERS = ("tss", "snp")
MODES = ("exact", "linear")

_MEASURES = ("effect", "abs_effect", "log_fc", "reference")
#: Columns of a table of effects; see docs/effects.md.
EFFECT_SCHEMA = (
    VARIANT_SCHEMA
    | dict.fromkeys(("gene", "track_group"), pl.String)
    | dict.fromkeys(_MEASURES, pl.Float64)
    | {"tss_distance": pl.Int64, "ref_match": pl.String}
)

#: Why a SNP has no effect in a window, and how the REF of one that has compares with the FASTA.
OUTSIDE, INDEL, SYMBOLIC = "outside the model's window", "indel", "symbolic or missing allele"
OTHER, REFERENCE_N, SAME = "REF is not the FASTA's base", "FASTA has N", "REF and ALT are the same"
MATCH, SWAPPED, STRAND = "match", "swapped", "strand"
_USED = (MATCH, SWAPPED, STRAND)

#: Bins times tracks of the linear mode.
MOST_LINEAR = 5000

#: Bytes of predictions held at a time.
MEMORY = 1e9


@dataclass(frozen=True)
class EffectSettings(HowPredicted):
    """All that decides which numbers a SNP's effect is, beside model, SNP and window.

    Attributes
    ----------
    groups : tuple of (str, tuple of int)
        Name of each track group, and its tracks as indices into the model's.
    bins : tuple of int
        Indices into the model's bins.
    aggregate : {"sum", "mean"}
        Over bins.
    over_tracks : {"mean", "sum", "each"}
        Over the tracks of a group; `each` makes every track a group of its own.
    pseudocount : float
        Added to both sides of the fold change.
    strands : {"model", "both"}
    mode : {"exact", "linear"}
    dtype : {"fp32", "tf32", "bf16"}
    """

    groups: tuple[tuple[str, tuple[int, ...]], ...]
    bins: tuple[int, ...]
    aggregate: str = "sum"
    over_tracks: str = "mean"
    pseudocount: float = 1.0
    strands: str = "model"
    mode: str = "exact"
    dtype: str = "fp32"

    @classmethod
    def of(
        cls, model: SequenceModel, *, tracks: Sequence[str] | str | None = None,
        files: Sequence[tuple[str, Sequence[str]]] = (), bins: int | str = "all", **rest: Any,
    ) -> EffectSettings:  # fmt: skip
        """Settings for a model, from tracks and files as in `track_groups` and a number of bins around the TSS."""
        groups = track_groups(model.tracks, tracks, files)
        settings = cls(groups, tuple(central_bins(model, bins).tolist()), **rest)
        settings.check_choices(aggregate=AGGREGATES, over_tracks=OVER_TRACKS, strands=STRANDS, mode=MODES, dtype=DTYPES)
        if not 0 < settings.pseudocount < np.inf:
            raise GenopredError(f"--pseudocount {settings.pseudocount}: needed a number above 0.")
        check_strands(model, settings.strands)
        outputs = len(settings.bins) * len(settings.tracks)
        if settings.mode == "linear" and outputs > MOST_LINEAR:
            raise GenopredError(
                f"--mode linear takes a backward pass for each of {outputs:,} bins and tracks; give fewer --bins or "
                f"--tracks (up to {MOST_LINEAR:,} together), or use --mode exact."
            )
        if settings.over_tracks == "each":
            singles = {i: ((model.tracks[i], (i,))) for _, tracks_ in groups for i in tracks_}
            settings = replace(settings, groups=tuple(singles[i] for i in sorted(singles)))
        return settings

    @property
    def tracks(self) -> NDArray[np.int64]:
        """Every track of any group, ascending."""
        return np.unique(np.concatenate([np.array(tracks, dtype=np.int64) for _, tracks in self.groups]))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the G groups."""
        return tuple(name for name, _ in self.groups)


def track_groups(
    names: Sequence[str],
    patterns: Sequence[str] | str | None = None,
    files: Sequence[tuple[str, Sequence[str]]] = (),
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Groups of a model's tracks, by name: one a pattern, and one a (name, patterns) of `files`; or one of all.

    A pattern is one of `select_tracks`, with `NAME=` before it where its group should be called otherwise.

    >>> names = ["DNASE:K562", "CAGE:GM12878", "CHIP:H3K9me3:liver"]
    >>> track_groups(names, ["all", "open=dnase|CAGE", "H3K9me3"])
    (('all', (0, 1, 2)), ('open', (0, 1)), ('H3K9me3', (2,)))
    """
    wanted = [patterns] if isinstance(patterns, str) else list(patterns or ())
    if not wanted and not files:
        wanted = ["all"]
    out: list[tuple[str, tuple[int, ...]]] = []
    for text in wanted:
        named = None if text in names else re.match(r"([\w .+-]+)=(.+)", text)
        label, pattern = (named[1].strip(), named[2]) if named else (text, text)
        out.append((label, tuple(select_tracks(names, pattern).tolist())))
    out += [(label, tuple(select_tracks(names, list(several)).tolist())) for label, several in files]
    twice = sorted(repeated(label for label, _ in out))
    if twice:
        raise GenopredError(
            f"--tracks: the group {examples(twice)} is given more than once; name them apart, as in NAME=PATTERN."
        )
    return tuple(out)


@dataclass(frozen=True)
class SnpWindow:
    """Some SNPs over one window of a model.

    Attributes
    ----------
    sequences : PersonalSequences
        One row a SNP that is used, S of them: the FASTA's sequence with the other allele.
    index : array, shape (S,)
        Which SNPs of the list they are, ascending.
    turned : array of bool, shape (S,)
        Whether the other allele is REF, because the FASTA has ALT.
    status : list of str, one a SNP of the list
        `match`, `swapped`, `strand`, or why it is not used.
    mismatched : list of str
        SNPs whose REF is not the FASTA's base, for messages.
    """

    sequences: PersonalSequences
    index: NDArray[np.int64]
    turned: NDArray[np.bool_]
    status: list[str]
    mismatched: list[str]

    @property
    def interval(self) -> Interval:
        """The window on the genome."""
        return self.sequences.interval

    def key(self, model: SequenceModel, settings: EffectSettings) -> str:
        """SHA-256 of everything the effects depend on."""
        digest = hashlib.sha256()
        head = [model.checkpoint_hash, settings.key(), model.window, model.tss_offset, str(self.interval)]
        digest.update(json.dumps([*head, self.sequences.reverse, self.status]).encode())
        hash_arrays(digest, [*self.sequences.arrays, self.turned])
        return digest.hexdigest()


def snp_window(
    snps: pl.DataFrame, reference: Reference, interval: Interval, *, reverse: bool = False, allow_swapped: bool = False
) -> SnpWindow:
    """Put each SNP into the reference of a window, by itself; `reverse` reads everything on the reverse strand.

    Parameters
    ----------
    snps : polars.DataFrame, M rows
        Columns of `genopred.types.VARIANT_SCHEMA`, all on the window's chromosome. Multi-base substitutions are
        fine; what changes the length is not used.
    reference : object with `fetch(Interval) -> str`
    allow_swapped : bool
        Take A/T and C/G SNPs whose ALT is the FASTA's base for swapped, not for `other`.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> table = pl.DataFrame({"chrom": "1", "pos": [2, 4, 9], "id": ["a", "b", "c"], "ref": ["C", "G", "A"],
    ...                       "alt": ["G", "T", "C"]})
    >>> fasta = SimpleNamespace(fetch=lambda interval: "ACGTA"[interval.start : interval.end])
    >>> window = snp_window(table, fasta, Interval("1", 0, 5))
    >>> window.sequences.strings(), window.turned.tolist(), window.status
    (['AGGTA', 'ACGGA'], [False, True], ['match', 'swapped', "outside the model's window"])
    """
    codes = encode(reference.fetch(interval))
    status: list[str] = []
    mismatched: list[str] = []
    used: list[tuple[int, bool, int, NDArray[np.int8], NDArray[np.int8]]] = []  # row, turned, offset, own, other
    for i, (pos, ref_text, alt_text) in enumerate(snps.select("pos", "ref", "alt").iter_rows()):
        start = pos - 1 - interval.start
        unfit = _unfit(codes, start, ref_text, alt_text)
        if unfit:
            status.append(unfit)
            continue
        ref, alt = encode(ref_text), encode(alt_text)
        here = codes[start : start + len(ref)]
        base, other, kind, flip = compare_alleles(here, ref, alt, allow_swapped)
        if kind:
            mismatched.append(f"{interval.chrom}:{pos} {ref_text}>{alt_text}, FASTA {decode(here)}")
        if kind == "other":
            status.append(OTHER)
            continue
        status.append(kind or MATCH)
        used.append((i, flip, start, base, other))
    rows, flips, starts, own, others = zip(*used) if used else ((),) * 5
    sites, row, own_codes, other_codes = changed_bases(starts, own, others)
    alleles = np.zeros((len(used), len(sites)), dtype=np.int8)
    alleles[row, np.arange(len(row))] = ALT
    index, turned = np.array(rows, dtype=np.int64), np.array(flips, dtype=bool)
    ids = np.array(snps["id"].to_list(), dtype=str)[index]
    sequences = PersonalSequences(ids, interval, False, 0, codes, sites, own_codes, other_codes, alleles, ploidy=1)
    return SnpWindow(sequences.other_strand() if reverse else sequences, index, turned, status, mismatched)


def _unfit(codes: NDArray[np.int8], start: int, ref: str, alt: str) -> str | None:
    """Why a SNP whose REF begins at `start` of a window cannot be scored, before its REF is held against the FASTA."""
    if start < 0 or start + len(ref) > len(codes):
        return OUTSIDE
    if not (is_sequence(ref) and is_sequence(alt)):
        return SYMBOLIC
    if len(ref) != len(alt):
        return INDEL
    if ref.upper() == alt.upper():
        return SAME
    return REFERENCE_N if (codes[start : start + len(ref)] == N_CODE).any() else None


def check_reference_alleles(
    status: Sequence[str], shown: Sequence[str], source: str, max_mismatch: float, allow_swapped: bool
) -> None:
    """AlignmentError where too many SNPs of a file have a REF that is not the FASTA's base; each SNP's status once."""
    tally = {name: status.count(name) for name in (*_USED, OTHER)}
    counts = {"checked": sum(tally.values()), "swapped": tally[SWAPPED], "strand": tally[STRAND], "other": tally[OTHER]}
    refuse_mismatches(counts, list(shown), max_mismatch, allow_swapped, source)


@dataclass(frozen=True)
class Effects:
    """Effects of S SNPs on G track groups: arrays (S, G) float64; `log_fc` is NaN where undefined."""

    effect: NDArray[np.float64]
    abs_effect: NDArray[np.float64]
    log_fc: NDArray[np.float64]
    reference: NDArray[np.float64]


def window_effects(
    model: SequenceModel, window: SnpWindow, settings: EffectSettings, *,
    batch_size: int | None = None, memory: float = MEMORY,
) -> Effects:  # fmt: skip
    """Effects of the S SNPs of one window; ModelError if the model lacks the mode or predicts what is not finite.

    Parameters
    ----------
    batch_size : int, optional
        Windows at a time in the model.
    memory : float
        Bytes of predictions at a time; SNPs are taken in parts that fit, each with the reference beside them.
    """
    place = {int(track): i for i, track in enumerate(settings.tracks)}
    columns = [np.array([place[i] for i in group], dtype=np.int64) for _, group in settings.groups]
    n, size = len(window.index), len(settings.bins) * len(place)
    out = Effects(*np.empty((4, n, len(columns))))
    step = max(1, int(memory // (8 * size)) - 1)
    for start in range(0, n, step):
        part = _only(window.sequences, np.arange(start, min(start + step, n)))
        raw = predict_tracks(model, part.with_reference(), batch_size=batch_size, **settings.how)
        _put_together(raw, columns, window.turned[start : start + step], settings, not model.log_scale, out, start)
    return out


def _only(sequences: PersonalSequences, rows: NDArray[np.int64]) -> PersonalSequences:
    """Some rows, and only the sites at which one of them differs."""
    some = sequences.take(rows)
    used = some.alleles.any(axis=0)
    at = {name: getattr(some, name)[used] for name in ("sites", "ref_codes", "alt_codes")}
    return replace(some, alleles=np.ascontiguousarray(some.alleles[:, used]), **at)


def _put_together(
    raw: NDArray[np.float32], columns: list[NDArray[np.int64]], turned: NDArray[np.bool_], settings: EffectSettings,
    logs: bool, out: Effects, at: int,
) -> None:  # fmt: skip
    """Predictions (S + 1, bins, tracks), the FASTA's own last -> rows `at` and on of `out`."""
    base = raw[-1].astype(np.float64)
    over_bins = np.sum if settings.aggregate == "sum" else np.mean
    over_tracks = np.sum if settings.over_tracks == "sum" else np.mean
    base_track = over_bins(base, axis=0)
    block = max(1, (1 << 22) // base.size)  # float64 copies stay small
    for begin in range(0, len(raw) - 1, block):
        here = slice(begin, min(begin + block, len(raw) - 1))
        to = slice(at + here.start, at + here.stop)
        flip = turned[here]
        changed = raw[here].astype(np.float64)
        changed_track = over_bins(changed, axis=1)
        difference = over_bins(changed - base, axis=1)
        absolute = over_bins(np.abs(changed - base), axis=1)
        # the FASTA has ALT: what was changed to is REF
        sign = np.where(flip, -1.0, 1.0)
        ref = np.where(flip[:, None], changed_track, base_track)
        alt = np.where(flip[:, None], base_track, changed_track)
        for g, group in enumerate(columns):
            out.effect[to, g] = over_tracks(difference[:, group], axis=1) * sign
            out.abs_effect[to, g] = over_tracks(absolute[:, group], axis=1)
            out.reference[to, g] = over_tracks(ref[:, group], axis=1)
            if not logs:
                out.log_fc[to, g] = np.nan
            elif settings.over_tracks == "sum":
                out.log_fc[to, g] = _log_fc(alt[:, group].sum(axis=1), ref[:, group].sum(axis=1), settings.pseudocount)
            else:
                out.log_fc[to, g] = _log_fc(alt[:, group], ref[:, group], settings.pseudocount).mean(axis=1)


def _log_fc(alt: NDArray[np.float64], ref: NDArray[np.float64], pseudocount: float) -> NDArray[np.float64]:
    good = (alt > -pseudocount) & (ref > -pseudocount)
    a, r = np.where(good, alt, 0.0) + pseudocount, np.where(good, ref, 0.0) + pseudocount
    return np.where(good, np.log2(a) - np.log2(r), np.nan)


def effect_rows(
    snps: pl.DataFrame, window: SnpWindow, effects: Effects, settings: EffectSettings, *,
    gene: str | None = None, tss: int | None = None, strand: str = "+",
) -> pl.DataFrame:  # fmt: skip
    """The table of one window's effects, columns of `EFFECT_SCHEMA`; a SNP's groups stand next to each other."""
    rows = snps[np.repeat(window.index, len(settings.groups))]
    status = np.repeat(np.array(window.status, dtype=object)[window.index], len(settings.groups)).tolist()
    direction = -1 if strand == "-" else 1
    rows = rows.with_columns(
        pl.lit(gene).alias("gene"),
        (pl.lit(None) if tss is None else (pl.col("pos") - tss) * direction).alias("tss_distance"),
        pl.Series("ref_match", status, dtype=pl.String),
        pl.Series("track_group", list(settings.names) * len(window.index), dtype=pl.String),
        *(pl.Series(name, getattr(effects, name).ravel()).fill_nan(None) for name in _MEASURES),
    )
    return rows.select(pl.col(name).cast(kind) for name, kind in EFFECT_SCHEMA.items())


def snp_centres(positions: ArrayLike, share: int = 0) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Windows for SNPs of one chromosome in the centre: 1-based centre of each, and which SNPs it is for.

    `positions` are 1-based, in any order. SNPs share a window where none is further than `share` from its centre.

    >>> [(centre, index.tolist()) for centre, index in snp_centres([500, 100, 110], share=5)]
    [(105, [1, 2]), (500, [0])]
    """
    pos = np.asarray(positions, dtype=np.int64)
    order = np.argsort(pos, kind="stable")
    begin = 0
    while begin < len(order):
        end = int(np.searchsorted(pos[order], pos[order[begin]] + 2 * share, side="right"))
        members = order[begin:end]
        low, high = int(pos[members[0]]), int(pos[members[-1]])
        yield (low + high) // 2, np.sort(members)
        begin = end


def snp_effects(  # eleven parameters: three say which gene, two how windows lie, three how SNPs and model are handled
    model: SequenceModel, snps: pl.DataFrame, reference: Reference, *,
    gene: str | None = None, tss: int | None = None, strand: str = "+", center: str = "tss", share: int = 0,
    batch_size: int | None = None, max_mismatch: float = MAX_MISMATCH, allow_swapped: bool = False, **settings: Any,
) -> pl.DataFrame:  # fmt: skip
    """Effects of the SNPs of one chromosome.

    Parameters
    ----------
    model : SequenceModel
        From `genopred.sequence.models.registry.load_model`.
    snps : polars.DataFrame
        Columns of `genopred.types.VARIANT_SCHEMA`.
    reference : object with `fetch(Interval) -> str`
        From `genopred.io.fasta.open_fasta`, of the SNPs' build.
    gene, tss, strand
        `tss` is 1-based.
    center : {"tss", "snp"}
        What stands where the model has its TSS.
    share : int
        With center `snp`: see `snp_centres`.
    max_mismatch, allow_swapped
        See `genopred.sequence.haplotypes.personal_sequences`.
    **settings
        As `EffectSettings.of` takes them: tracks, bins, and the other fields of `EffectSettings`.

    Returns
    -------
    polars.DataFrame
        Columns of `EFFECT_SCHEMA`, in the order of `snps`; without SNPs that have no effect here (outside the
        window, indels, REF not the FASTA's base).

    Raises
    ------
    AlignmentError
        If too many REF are not the FASTA's base, or no SNP is in the window.
    """
    chosen = EffectSettings.of(model, **settings)
    if snps["chrom"].n_unique() > 1:
        raise GenopredError(
            f"SNPs of several chromosomes ({examples(sorted(snps['chrom'].unique().to_list()))}) were given for one "
            "window; give one chromosome at a time."
        )
    reverse = model.reads_reverse(strand)
    windows = [
        (snp_window(snps[index], reference, interval, reverse=reverse, allow_swapped=allow_swapped), index)
        for interval, index in windows_of(model, snps, tss=tss, strand=strand, center=center, share=share)
    ]
    status = [status for window, _ in windows for status in window.status]
    shown = [text for window, _ in windows for text in window.mismatched]
    check_reference_alleles(status, shown, "the SNPs", max_mismatch, allow_swapped)
    if not any(len(window.index) for window, _ in windows):
        reasons = ", ".join(f"{status.count(name)} {name}" for name in dict.fromkeys(status))
        raise AlignmentError(
            f"None of {snps.height} SNPs can be scored: {reasons or 'none given'}. The window of {model.name} has "
            f"{model.window:,} bp; --center snp gives each SNP its own."
        )
    tables, order = [], []
    for window, index in windows:
        if not len(window.index):
            continue
        effects = window_effects(model, window, chosen, batch_size=batch_size)
        tables.append(effect_rows(snps[index], window, effects, chosen, gene=gene, tss=tss, strand=strand))
        order.append(np.repeat(index[window.index], len(chosen.groups)))
    return pl.concat(tables)[np.argsort(np.concatenate(order), kind="stable")]


def windows_of(
    model: SequenceModel, snps: pl.DataFrame, *,
    tss: int | None = None, strand: str = "+", center: str = "tss", share: int = 0,
) -> Iterator[tuple[Interval, NDArray[np.int64]]]:  # fmt: skip
    """The windows in which SNPs of one chromosome are scored, and which SNPs each is for."""
    check_choice("center", center, CENTERS)
    if not snps.height:
        return
    chrom = snps["chrom"][0]
    if center == "tss":
        if tss is None:
            raise GenopredError("--center tss needs a gene; give one, or use --center snp.")
        yield model.gene_window(chrom, tss, strand), np.arange(snps.height)
        return
    reach = min(model.tss_offset, model.window - 1 - model.tss_offset)
    if not 0 <= share <= reach:
        raise GenopredError(f"--share {share}: needed 0 to {reach:,} bp, so that the SNPs are inside the window.")
    for centre, index in snp_centres(snps["pos"].to_numpy(), share):
        yield model.gene_window(chrom, centre, strand), index
