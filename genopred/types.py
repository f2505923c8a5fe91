"""The data types every layer speaks: frozen dataclasses over numpy arrays and polars tables.

Samples are always rows. Dosage counts copies of the ALT allele. Positions in tables are 1-based;
an `Interval` is 0-based half-open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from genopred.errors import AlignmentError, GenopredError, examples

#: Columns of `Genotypes.variants`. `pos` is 1-based.
VARIANT_SCHEMA = {"chrom": pl.String, "pos": pl.Int64, "id": pl.String, "ref": pl.String, "alt": pl.String}

#: What tells one variant from another in a table.
VARIANT = list(VARIANT_SCHEMA)

#: Columns of `Expression.genes`. `gene_id` keeps its version, `gene` has none; `tss` is 1-based.
GENE_SCHEMA = {"gene_id": pl.String, "gene": pl.String, "chrom": pl.String, "tss": pl.Int64, "strand": pl.String}

#: One held-out prediction: of `method`, for one person and gene, made when the person was in outer fold `fold`.
PREDICTION_SCHEMA = {
    "gene_id": pl.String,
    "sample": pl.String,
    "fold": pl.Int32,
    "method": pl.String,
    "observed": pl.Float64,
    "predicted": pl.Float64,
}

#: How well one method predicts one gene, on pooled held-out predictions.
SCORE_SCHEMA = {"gene_id": pl.String, "method": pl.String, "n": pl.Int64} | dict.fromkeys(
    ("r2", "r2_low", "r2_high", "pearson", "spearman", "signed_r2", "mse", "mae"), pl.Float64
)

#: What a reader has to say about a file: (status, reason, n, examples), the last four columns of a `MatchReport`.
Note = tuple[str, str, int, str]


def noted(status: str, reason: str, which: ArrayLike, names: Any) -> list[Note]:
    """A note on those that a mask marks, with the first of their names; none where it marks nothing."""
    rows = np.flatnonzero(which)
    return [(status, reason, len(rows), examples([names[i] for i in rows[:4].tolist()]))] if len(rows) else []


def plain_chrom(name: str) -> str:
    """A chromosome's name without its `chr` prefix, mitochondria as `MT`, plink's codes 23 to 26 as letters.

    >>> plain_chrom("chr22"), plain_chrom("22"), plain_chrom("chrM"), plain_chrom("23")
    ('22', '22', 'MT', 'X')
    """
    bare = name[3:] if name[:3].lower() == "chr" else name
    return _CHROM_ALIASES.get(bare, bare)


_CHROM_ALIASES = {"M": "MT", "m": "MT", "mt": "MT", "x": "X", "y": "Y", "23": "X", "24": "Y", "25": "X", "26": "MT"}


#: Lengths in bp of the chromosomes of the two builds in use, by which a file's build is known.
CHROM_LENGTHS: dict[str, dict[str, int]] = {
    build: dict(zip([*(str(number) for number in range(1, 23)), "X", "Y"], map(int, lengths.split())))
    for build, lengths in {
        "GRCh37": (
            "249250621 243199373 198022430 191154276 180915260 171115067 159138663 146364022 141213431 135534747 "
            "135006516 133851895 115169878 107349540 102531392 90354753 81195210 78077248 59128983 63025520 48129895 "
            "51304566 155270560 59373566"
        ),
        "GRCh38": (
            "248956422 242193529 198295559 190214555 181538259 170805979 159345973 145138636 138394717 133797422 "
            "135086622 133275309 114364328 107043718 101991189 90338345 83257441 80373285 58617616 64444167 46709983 "
            "50818468 156040895 57227415"
        ),
    }.items()
}


def builds_with(table: pl.DataFrame) -> frozenset[str]:
    """The builds that have room for all positions: those in which none lies beyond its chromosome's end.

    >>> sorted(builds_with(pl.DataFrame({"chrom": ["chr17", "22"], "pos": [83_000_000, 100]})))
    ['GRCh38']
    """
    far = dict(table.group_by("chrom").agg(pl.col("pos").max()).iter_rows())
    return frozenset(
        build
        for build, lengths in CHROM_LENGTHS.items()
        if all(pos is None or pos <= lengths.get(plain_chrom(str(chrom)), pos) for chrom, pos in far.items())
    )


def plain_gene(name: str) -> str:
    """A gene's identifier without its Ensembl version, for matching only.

    Only Ensembl identifiers lose what follows the dot: `AC004151.3` is a gene's whole name.

    >>> plain_gene("ENSG00000100376.12"), plain_gene("ENSG00000182378.13_PAR_Y"), plain_gene("AC004151.3")
    ('ENSG00000100376', 'ENSG00000182378_PAR_Y', 'AC004151.3')
    """
    return _ENSEMBL.sub(r"\1\2", name)


_ENSEMBL = re.compile(r"^(ENS[A-Z]*\d{11})\.\d+(.*)$")


@dataclass(frozen=True)
class Interval:
    """A stretch of a chromosome, 0-based half-open.

    >>> Interval("chr22", 100, 300).length
    200
    """

    chrom: str
    start: int
    end: int

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise GenopredError(f"Interval {self.chrom}:{self.start}-{self.end}: end must be after start.")

    @property
    def length(self) -> int:
        """Number of bases."""
        return self.end - self.start

    @classmethod
    def around(cls, chrom: str, position: int, flank: int) -> Interval:
        """All bases at most `flank` away from a 1-based `position`, cut at the chromosome's start.

        >>> Interval.around("22", 1000, 500)
        Interval(chrom='22', start=499, end=1500)
        """
        return cls(chrom, max(0, position - 1 - flank), position + flank)


@dataclass(frozen=True)
class Motif:
    """What a protein binds: probabilities of A, C, G, T at each of w positions.

    Attributes
    ----------
    id, name : str
        As `MA0139.1` and `CTCF`.
    matrix : array, shape (w, 4)
        Each row sums to 1.

    Examples
    --------
    >>> Motif("M1", "TATA", np.eye(4)[[3, 0, 3, 0]]).consensus
    'TATA'
    """

    id: str
    name: str
    matrix: NDArray[np.float64] = field(repr=False)

    @property
    def consensus(self) -> str:
        """The likeliest base of each position."""
        return "".join("ACGT"[i] for i in self.matrix.argmax(axis=1).tolist())

    @property
    def information(self) -> NDArray[np.float64]:
        """Bits (w, 4): each base's probability times the position's information, for logos."""
        p = np.clip(self.matrix, 1e-9, 1.0)
        bits: NDArray[np.float64] = self.matrix * (2 + (p * np.log2(p)).sum(axis=1))[:, None]
        return bits


class GenotypeReader(Protocol):
    """What an opened genotype file offers. Implementations in `genopred.io` reopen lazily after pickling.

    `dosage` takes memory for the rows asked for. One whose format must be decoded for everybody at once offers
    `blocks(rows, columns, size)`, too, as `Genotypes.blocks` is.
    """

    def dosage(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """ALT dosages (rows, columns), NaN where missing."""
        ...

    def alleles(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int8]:
        """Alleles (rows, 2, columns): 0 REF, 1 ALT, -1 missing."""
        ...


Where = Interval | ArrayLike | None


@dataclass(frozen=True)
class Genotypes:
    """Genotypes of N samples at M variants, read from their file only when asked for.

    Attributes
    ----------
    samples : array of str, shape (N,)
    variants : polars.DataFrame, M rows
        Columns of `VARIANT_SCHEMA`; `pos` is 1-based.
    reader : GenotypeReader
    source : str
        The file, as it should be named in messages.
    phased : bool
        Whether the order of a person's two alleles means something.
    rows, columns : array of int
        Which rows and columns of the file these are.
    notes : tuple of Note
        What the reader skipped or decided, for the `MatchReport`.
    build : str, optional
        GRCh37 or GRCh38, where the file's header gives the lengths of chromosomes.
    """

    samples: NDArray[np.str_]
    variants: pl.DataFrame
    reader: GenotypeReader = field(repr=False)
    source: str
    phased: bool = False
    rows: NDArray[np.int64] | None = field(default=None, repr=False)
    columns: NDArray[np.int64] | None = field(default=None, repr=False)
    notes: tuple[Note, ...] = field(default=(), repr=False)
    build: str | None = None

    @property
    def n_samples(self) -> int:
        """N."""
        return len(self.samples)

    @property
    def n_variants(self) -> int:
        """M."""
        return self.variants.height

    def _rows(self) -> NDArray[np.int64]:
        return np.arange(len(self.samples)) if self.rows is None else self.rows

    def _columns(self) -> NDArray[np.int64]:
        return np.arange(self.variants.height) if self.columns is None else self.columns

    def index(self, where: Where = None) -> NDArray[np.int64]:
        """Indices (into `variants`) of an interval, of an index or boolean array, or of everything."""
        if where is None:
            return np.arange(self.n_variants)
        if isinstance(where, Interval):
            chrom, pos = self.variants["chrom"], self.variants["pos"].to_numpy()
            same = [name for name in chrom.unique().to_list() if plain_chrom(name) == plain_chrom(where.chrom)]
            return np.flatnonzero(chrom.is_in(same).to_numpy() & (pos > where.start) & (pos <= where.end))
        picked = np.asarray(where)
        return np.flatnonzero(picked) if picked.dtype == bool else picked.astype(np.int64)

    def dosage(self, where: Where = None) -> NDArray[np.float32]:
        """Copies of ALT, shape (N, len(where)), float32, NaN where missing."""
        return self.reader.dosage(self._rows(), self._columns()[self.index(where)])

    def blocks(self, size: int, where: Where = None) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Dosages of `size` people at a time, in their order; memory grows with a block, not with N.

        Formats whose variants can only be decoded for everybody (a VCF, BGEN) go once through a temporary file.

        Parameters
        ----------
        size : int
            People of a block; of the last one, what is left.
        where : Interval, index array or boolean array, optional

        Yields
        ------
        people : slice
            Which rows these are.
        dosage : array, shape (n, len(where))
            As `dosage` has them.

        Examples
        --------
        >>> table = pl.DataFrame({"chrom": ["22"], "pos": [100], "id": ["rs1"], "ref": ["A"], "alt": ["G"]})
        >>> three = Genotypes.from_arrays(["a", "b", "c"], table, dosage=[[0.0], [1.0], [2.0]])
        >>> [(people.start, block.ravel().tolist()) for people, block in three.blocks(2)]
        [(0, [0.0, 1.0]), (2, [2.0])]
        """
        if size < 1:
            raise GenopredError(f"Genotypes.blocks: {size} people at a time; needed is at least 1.")
        rows, columns = self._rows(), self._columns()[self.index(where)]
        own = getattr(self.reader, "blocks", None)
        if own is not None and len(rows) > size:
            yield from own(rows, columns, size)
            return
        for start in range(0, len(rows), size):
            people = slice(start, min(len(rows), start + size))
            yield people, self.reader.dosage(rows[people], columns)

    def compact(self, where: Where = None) -> NDArray[np.int8] | NDArray[np.float32]:
        """Copies of ALT, shape (N, len(where)), in the least memory: int8, -127 where missing, if the file has hard
        calls and says them as such; else what `dosage` returns."""
        calls = getattr(self.reader, "hardcalls", None)
        return self.dosage(where) if calls is None else calls(self._rows(), self._columns()[self.index(where)])

    @classmethod
    def from_arrays(
        cls,
        samples: ArrayLike,
        variants: pl.DataFrame,
        *,
        dosage: Any = None,
        alleles: ArrayLike | None = None,
        phased: bool = True,
        source: str = "arrays in memory",
    ) -> Genotypes:
        """Genotypes held in memory.

        Parameters
        ----------
        samples : array of str, shape (N,)
        variants : polars.DataFrame, M rows
            Columns of `VARIANT_SCHEMA`.
        dosage : array, shape (N, M), optional
            Copies of ALT, NaN where missing; may be a lazy (dask) array. They carry no phase.
        alleles : array, shape (N, 2, M), optional
            0 REF, 1 ALT, -1 missing; instead of `dosage`.
        phased : bool
            Whether `alleles` are two haplotypes.

        Examples
        --------
        >>> table = pl.DataFrame({"chrom": ["22"], "pos": [100], "id": ["rs1"], "ref": ["A"], "alt": ["G"]})
        >>> Genotypes.from_arrays(["a", "b"], table, alleles=[[[0], [1]], [[1], [1]]]).dosage().ravel()
        array([1., 2.], dtype=float32)
        """
        names = np.asarray(samples, dtype=str)
        if (dosage is None) == (alleles is None):
            raise GenopredError("Genotypes.from_arrays needs either dosage or alleles.")
        reader = _ArrayReader(dosage, None if alleles is None else np.asarray(alleles, dtype=np.int8))
        held = reader.held
        _check_shape("genotypes", held, (len(names), *held.shape[1:-1], variants.height))
        return cls(names, variants.select(list(VARIANT_SCHEMA)), reader, source, phased and alleles is not None)

    @classmethod
    def from_xarray(cls, array: Any, *, counted: str = "a1") -> Genotypes:
        """Genotypes from the DataArray of pandas-plink's `read_plink1_bin`; it stays lazy.

        pandas-plink calls the .bim's fifth column (plink's allele 1) `a0` and its sixth `a1`, and by default its
        values count `a1`: the other allele than plink, and than `read_plink` here. The DataArray does not record
        which was chosen, so say `counted="a0"` if it was read with `ref="a0"`. Either way the result is that of
        `read_plink` on the same files: `alt` is `a0`, `ref` is `a1`, and a dosage counts `alt`.

        Parameters
        ----------
        array : xarray.DataArray, shape (N, M)
            Dimensions sample and variant; coordinates iid (or sample), chrom, pos, snp, a0 and a1.
        counted : {"a1", "a0"}
            Which allele its values count: the `ref` given to pandas-plink.

        Returns
        -------
        Genotypes
            Unphased.
        """
        if counted not in ("a0", "a1"):
            raise GenopredError(f"counted {counted!r} is unknown; choose 'a1' (pandas-plink's default) or 'a0'.")
        try:
            array = array.transpose("sample", "variant")
            names = array.coords["iid" if "iid" in array.coords else "sample"].values.astype(str)
            columns = {"chrom": "chrom", "pos": "pos", "id": "snp", "ref": "a1", "alt": "a0"}
            table = {name: np.asarray(array.coords[coord].values) for name, coord in columns.items()}
        except (AttributeError, KeyError, TypeError, ValueError) as problem:
            raise GenopredError(
                "from_xarray needs the DataArray of pandas_plink.read_plink1_bin, with dimensions sample and variant "
                f"and coordinates chrom, pos, snp, a0, a1 ({problem})."
            ) from None
        listed = {name: values.tolist() for name, values in table.items()}
        variants = pl.DataFrame(listed, VARIANT_SCHEMA, strict=False).with_columns(
            pl.col("ref", "alt").replace("0", ".")
        )
        values = array.data if counted == "a0" else 2 - array.data
        return cls.from_arrays(names, variants, dosage=values, source="DataArray")

    def haplotypes(self) -> Haplotypes:
        """The same genotypes, allele by allele."""
        return Haplotypes(self, self.phased)

    def select(self, samples: ArrayLike | None = None, variants: Where = None) -> Genotypes:
        """The same file seen through fewer (or reordered) samples and variants; nothing is read.

        Parameters
        ----------
        samples : array of str, optional
            Sample names in the order wanted.
        variants : Interval, index array or boolean array, optional
        """
        out = self
        if samples is not None:
            take = _rows_of(self.samples, samples, self.source)
            out = replace(out, samples=np.asarray(samples, dtype=str), rows=out._rows()[take])
        if variants is not None:
            picked = self.index(variants)
            out = replace(out, variants=self.variants[picked], columns=out._columns()[picked])
        return out


class _ArrayReader:
    """A GenotypeReader over an array in memory, or a lazy one with `.compute()`."""

    def __init__(self, dosage: Any, alleles: NDArray[np.int8] | None) -> None:
        lazy = hasattr(dosage, "compute") or dosage is None
        self._dosage = dosage if lazy else np.asarray(dosage, dtype=np.float32)
        self._alleles = alleles

    @property
    def held(self) -> Any:
        return self._dosage if self._alleles is None else self._alleles

    def dosage(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        if self._alleles is not None:
            both = _picked(self._alleles, rows, columns)
            total = both.sum(axis=1, dtype=np.float32)
            total[(both < 0).any(axis=1)] = np.nan
            return total
        part = _picked(self._dosage, rows, columns)
        return np.asarray(part.compute() if hasattr(part, "compute") else part, dtype=np.float32)

    def alleles(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int8]:
        if self._alleles is not None:
            return _picked(self._alleles, rows, columns)  # type: ignore[no-any-return]
        dosage = self.dosage(rows, columns)
        known = dosage[~np.isnan(dosage)]
        if not np.isin(known, (0, 1, 2)).all():
            raise GenopredError("dosages between 0, 1 and 2 have no alleles; genotypes are needed.")
        return split_hardcalls(np.nan_to_num(dosage, nan=-1).astype(np.int8))


def _picked(array: Any, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Any:
    """Rows and last columns of an array; people first, where they are few."""
    if hasattr(array, "compute"):
        return array[:, columns][rows]
    run = run_of(rows)
    if run is None and len(rows) >= len(array):
        return np.take(array, columns, axis=-1)[rows]
    return np.take(array[rows if run is None else run], columns, axis=-1)


def run_of(rows: NDArray[np.int64]) -> slice | None:
    """The slice that rows are if each follows the one before, which needs no copy; else None.

    >>> run_of(np.array([3, 4, 5])), run_of(np.array([3, 5]))
    (slice(3, 6, None), None)
    """
    if not len(rows):
        return slice(0, 0)
    return slice(int(rows[0]), int(rows[0]) + len(rows)) if (np.diff(rows) == 1).all() else None


def split_hardcalls(calls: NDArray[np.int8]) -> NDArray[np.int8]:
    """Unordered alleles (N, 2, M) of genotypes 0, 1, 2 or negative for missing, shape (N, M)."""
    both = np.stack([calls >= 2, calls >= 1], axis=1).astype(np.int8)
    both[np.broadcast_to((calls < 0)[:, None, :], both.shape)] = -1
    return both


@dataclass(frozen=True)
class Haplotypes:
    """The two alleles of each person. `phased` says whether they are two haplotypes or in no order."""

    genotypes: Genotypes
    phased: bool

    @property
    def samples(self) -> NDArray[np.str_]:
        """Sample names, shape (N,)."""
        return self.genotypes.samples

    @property
    def variants(self) -> pl.DataFrame:
        """The variant table."""
        return self.genotypes.variants

    def alleles(self, where: Where = None) -> NDArray[np.int8]:
        """Alleles, shape (N, 2, len(where)): 0 REF, 1 ALT, -1 missing."""
        inner = self.genotypes
        return inner.reader.alleles(inner._rows(), inner._columns()[inner.index(where)])


@dataclass(frozen=True)
class Expression:
    """Expression of G genes in N samples.

    Attributes
    ----------
    values : array, shape (N, G)
    samples : array of str, shape (N,)
    genes : polars.DataFrame, G rows
        Columns of `GENE_SCHEMA`; `tss` is 1-based.
    source : str
    """

    values: NDArray[np.float64]
    samples: NDArray[np.str_]
    genes: pl.DataFrame
    source: str = "expression"
    notes: tuple[Note, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        _check_shape("Expression.values", self.values, (len(self.samples), self.genes.height))

    def select(self, samples: ArrayLike | None = None, genes: ArrayLike | None = None) -> Expression:
        """Fewer or reordered samples (by name) and genes (by index)."""
        rows = _rows_of(self.samples, samples, self.source)
        cols = np.arange(self.genes.height) if genes is None else np.asarray(genes, dtype=np.int64)
        return replace(self, values=self.values[np.ix_(rows, cols)], samples=self.samples[rows], genes=self.genes[cols])


@dataclass(frozen=True)
class Covariates:
    """K covariates of N samples: `values` (N, K), `samples`, `names`."""

    values: NDArray[np.float64]
    samples: NDArray[np.str_]
    names: tuple[str, ...]
    source: str = "covariates"
    notes: tuple[Note, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        _check_shape("Covariates.values", self.values, (len(self.samples), len(self.names)))

    def select(self, samples: ArrayLike | None = None) -> Covariates:
        """Fewer or reordered samples, by name."""
        rows = _rows_of(self.samples, samples, self.source)
        return replace(self, values=self.values[rows], samples=self.samples[rows])


@dataclass(frozen=True)
class Features:
    """F features of N samples for one gene: `values` (N, F), `samples`, `names`.

    `origin` records where they came from: model, checkpoint hash, window, build, mode, dtype.
    """

    values: NDArray[np.float32]
    samples: NDArray[np.str_]
    names: tuple[str, ...]
    origin: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_shape("Features.values", self.values, (len(self.samples), len(self.names)))

    def select(self, samples: ArrayLike | None = None) -> Features:
        """Fewer or reordered samples, by name."""
        rows = _rows_of(self.samples, samples, "features")
        return replace(self, values=self.values[rows], samples=self.samples[rows])


@dataclass(frozen=True)
class MatchReport:
    """How many samples, genes and variants came in, were used and were dropped, and why.

    Attributes
    ----------
    table : polars.DataFrame
        Columns: item (samples, genes, variants), status (in, used, dropped, note), reason, n,
        examples (at most three, comma separated). Of each item, used + dropped = in; `genopred.align.Tally` makes
        them so.

    Raises
    ------
    RuntimeError
        If the counts of an item do not add up: a fault of genopred, not of any input.
    """

    table: pl.DataFrame

    SCHEMA = {"item": pl.String, "status": pl.String, "reason": pl.String, "n": pl.Int64, "examples": pl.String}

    def __post_init__(self) -> None:
        for item in self.table["item"].unique(maintain_order=True).to_list():
            came, used, dropped = (self.count(item, status) for status in ("in", "used", "dropped"))
            if used + dropped != came or used < 0:
                raise RuntimeError(f"counts of {item} do not add up: {came} in, {used} used, {dropped} dropped")

    def count(self, item: str, status: str) -> int:
        """Sum of `n` over the rows of one item and status."""
        return int(self.table.filter((pl.col("item") == item) & (pl.col("status") == status))["n"].sum())

    def lines(self) -> list[str]:
        """One readable line a row, for logs and messages."""
        return [
            f"{item}: {n:,} {status}: {reason}" + f" ({shown})" * bool(shown)
            for item, status, reason, n, shown in self.table.select(list(self.SCHEMA)).iter_rows()
        ]


@dataclass(frozen=True)
class Cohort:
    """Genotypes, expression, covariates and features of the same N samples in the same order."""

    genotypes: Genotypes
    expression: Expression
    covariates: Covariates | None
    report: MatchReport

    @property
    def samples(self) -> NDArray[np.str_]:
        """Sample names, shape (N,)."""
        return self.expression.samples


def _check_shape(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise GenopredError(f"{name} has shape {array.shape}; its labels say {shape}.")


def _rows_of(have: NDArray[np.str_], wanted: ArrayLike | None, source: str) -> NDArray[np.int64]:
    if wanted is None:
        return np.arange(len(have))
    where = {name: i for i, name in enumerate(have.tolist())}
    names = np.asarray(wanted, dtype=str).tolist()
    if absent := [name for name in names if name not in where]:
        raise AlignmentError(f"{len(absent)} of {len(names)} samples are not in {source} ({examples(absent)}).")
    return np.array([where[name] for name in names], dtype=np.int64)


#: Weights of gene models: per copy of `alt`, in units of the models' outcome. `freq` is that of ALT among the people of
#: the training (half the mean dosage), `z` that of the variant's own association with the outcome there; both are null
#: where the models do not say. `learner` is a base learner, or a method whose weights are sums over them.
MODEL_WEIGHT_SCHEMA = {
    "gene_id": pl.String,
    **VARIANT_SCHEMA,
    "learner": pl.String,
    "weight": pl.Float64,
    "freq": pl.Float64,
    "z": pl.Float64,
}

#: What gene models say of themselves, a row per gene and method: how many variants have a weight, and how well people
#: held out of the training (`n` of them) were predicted. `pval` is of a correlation above 0, `qval` over genes. What
#: S-PrediXcan's correction for a polygenic trait reads is `phi`, where the models have it.
MODEL_GENE_SCHEMA = {
    "gene_id": pl.String,
    "gene_name": pl.String,
    "chrom": pl.String,
    "tss": pl.Int64,
    "strand": pl.String,
    "method": pl.String,
    "variants": pl.Int64,
    "intercept": pl.Float64,
    "n": pl.Int64,
    "r2": pl.Float64,
    "r2_low": pl.Float64,
    "r2_high": pl.Float64,
    "pearson": pl.Float64,
    "pval": pl.Float64,
    "qval": pl.Float64,
    "phi": pl.Float64,
}

#: Base learners that the weights do not hold: `kind` says how `payload` is to be read, `variants` (as
#: `chrom:pos:ref:alt`) what its columns are, `means` their mean dosages in training, which stand in for missing ones.
MODEL_LEARNER_SCHEMA: dict[str, Any] = {
    "gene_id": pl.String,
    "learner": pl.String,
    "kind": pl.String,
    "intercept": pl.Float64,
    "payload": pl.Binary,
    "variants": pl.List(pl.String),
    "means": pl.List(pl.Float64),
}


@dataclass(frozen=True)
class GeneModels:
    """Models of the expression of genes that can be applied to new people.

    Attributes
    ----------
    weights : polars.DataFrame
        Columns of `MODEL_WEIGHT_SCHEMA`.
    genes : polars.DataFrame
        Columns of `MODEL_GENE_SCHEMA`.
    about : dict
        What else is known: `build`, `people`, `outcome`, `methods`, how base learners are combined, and the like.
    learners : polars.DataFrame, optional
        Columns of `MODEL_LEARNER_SCHEMA`.
    source : str
        Where they come from, for messages.
    notes : tuple of Note
        What the reader left out.
    """

    weights: pl.DataFrame
    genes: pl.DataFrame
    about: dict[str, Any]
    learners: pl.DataFrame | None = None
    source: str = "models"
    notes: tuple[Note, ...] = field(default=(), repr=False)

    @property
    def methods(self) -> list[str]:
        """The methods that genes have, the one to be used by default first."""
        return self.genes["method"].unique(maintain_order=True).to_list()  # type: ignore[no-any-return]

    @property
    def build(self) -> str | None:
        """GRCh37, GRCh38, or None where it is not known."""
        return self.about.get("build")


#: Blocks of a chain file: bases `start` to `end` of `chrom` are those from `to_start` on of `to_chrom`, ascending where
#: `sign` is 1, descending (the other strand) where it is -1. 0-based half-open; chromosome names without chr.
CHAIN_SCHEMA: dict[str, Any] = {
    "chrom": pl.String,
    "to_chrom": pl.String,
    "sign": pl.Int8,
    "score": pl.Float64,
    "start": pl.Int64,
    "end": pl.Int64,
    "to_start": pl.Int64,
}
