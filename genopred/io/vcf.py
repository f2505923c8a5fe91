"""VCF and BCF, through cyvcf2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import FormatError, GenopredError, examples, repeated, shortened
from genopred.io.bgzf import check_end, is_gzip
from genopred.io.spool import Spool
from genopred.io.text import BOM, PathLike, name_array, regular
from genopred.io.variants import alts_noted, header_build, one_each, screened
from genopred.types import VARIANT_SCHEMA, Genotypes, Note, plain_chrom, run_of

if TYPE_CHECKING:
    from genopred.io.vcfscan import Scan

#: Records nearer than this in the file are read in one sweep, since a jump costs about as much as 50 of them.
_GAP = 50

#: Bytes of genotypes that are kept at opening, where one pass can read them.
_KEEP = 5e8

#: Records that are decoded at a time, and the bytes that they may take.
_BATCH, _BATCH_BYTES = 256, 32_000_000

#: Records after the first by whose heterozygotes a file is judged phased.
_JUDGED = 1000


def read_vcf(
    path: PathLike,
    *,
    field: str | None = None,
    multiallelic: str = "skip",
    phased: bool | None = None,
    memory_limit: float = 4e9,
) -> Genotypes:
    """Open a VCF or BCF; with a .tbi or .csi beside it, only what is asked for is decoded.

    Without an index all genotypes are decoded once, on first use, and kept as one byte an allele. So they are at
    opening, index or not, from a bgzipped VCF of biallelic diploid calls whose genotypes take less than 500 MB.

    Parameters
    ----------
    path : str
        .vcf, .vcf.gz or .bcf.
    field : {"GT", "DS"}, optional
        Read called genotypes or imputed dosages; GT where the file has it, else DS.
    multiallelic : {"skip", "split"}
        Leave records with several ALT alleles out (counted in `notes`), or make one variant of each ALT.
        After splitting, allele 0 of a variant means "not this ALT".
    phased : bool, optional
        False treats a phased file as unphased. Without it the first heterozygotes decide.
    memory_limit : float
        Bytes that a file without index may take.

    Returns
    -------
    Genotypes
        Records without ALT allele are left out and counted in `notes`. Haploid calls count as homozygous.

    Raises
    ------
    FormatError
        If the file is missing, damaged, holds neither GT nor DS, or is too large to be read without index.
    """
    path = regular(path, "a VCF or BCF")
    check_end(path)
    if (index := _index(path)) is not None:  # before htslib opens it
        regular(index, "the index of a VCF")
    if field not in (None, "GT", "DS"):
        raise GenopredError(f"field {field!r} is unknown; choose 'GT' or 'DS'.")
    if multiallelic not in ("skip", "split"):
        raise GenopredError(f"multiallelic {multiallelic!r} is unknown; choose 'skip' or 'split'.")
    vcf = _open(path)
    samples = name_array(vcf.samples, path)
    field = _field(vcf, path, field)
    build = header_build(vcf.raw_header.encode())
    vcf.close()
    if not len(samples):
        raise FormatError(f"{path} has no sample columns; needed genotypes. Was it written with bcftools view -G?")
    if field == "GT" and is_gzip(path):
        from genopred.io.vcfscan import scan_vcf  # numba takes a while to import

        if (scan := scan_vcf(path, len(samples), min(memory_limit, _KEEP))) is not None:
            return screened(replace(_of_scan(path, samples, scan, phased), build=build))
    records = _Records.read(path)
    notes = _index_notes(path, len(records))
    variants, record, allele, skipped = _variants(records, multiallelic)
    is_phased = phased is not False and field == "GT" and _looks_phased(path)
    reader = VcfReader(path, len(samples), records, record, allele, field=field, phased=is_phased)
    if not reader.indexed and 2.0 * len(samples) * len(records) > memory_limit:
        raise FormatError(
            f"{path} has no index and {len(records):,} records of {len(samples):,} samples, too many for memory; "
            f"make one with: bcftools index {path} (a plain .vcf needs bgzip first)."
        )
    return screened(
        Genotypes(samples, variants, reader, str(path), phased=is_phased, notes=(*notes, *skipped), build=build)
    )


def _of_scan(path: Path, samples: NDArray[np.str_], scan: Scan, phased: bool | None) -> Genotypes:
    table = scan.table
    starts = np.flatnonzero(table["chrom"].ne_missing(table["chrom"].shift(1)).to_numpy())
    chroms = table["chrom"].gather(starts).to_list()
    records = _Records(path, chroms, starts.tolist(), table["pos"].to_numpy())
    n, judged = len(records), slice(_JUDGED + 1)
    is_phased = phased is not False and bool(scan.heterozygotes[judged].any()) and not scan.unphased[judged].any()
    one = np.ones(n, dtype=np.int8)
    reader = VcfReader(path, len(samples), records, np.arange(n), one, field="GT", phased=is_phased)
    reader.keep(scan.alleles, np.flatnonzero(scan.unphased))
    return Genotypes(samples, table, reader, str(path), phased=is_phased, notes=_index_notes(path, n))


def _open(path: Path, **options: Any) -> Any:
    from cyvcf2 import VCF

    regular(path, "a VCF or BCF")
    try:
        return VCF(str(path), **options)
    except Exception as problem:
        with path.open("rb") as handle:
            if handle.read(3) == BOM:
                raise FormatError(
                    f"{path} starts with a byte-order mark, which htslib cannot read; take it off: tail -c +4 FILE."
                ) from None
        raise FormatError(f"{path} could not be opened as VCF or BCF ({_one_line(problem)}).") from None


def _index(path: Path) -> Path | None:
    """The .tbi or .csi beside the file."""
    return next((file for end in (".tbi", ".csi") if (file := Path(f"{path}{end}")).exists()), None)


def _index_notes(path: Path, n_records: int) -> tuple[Note, ...]:
    """Refuse an index that speaks of another number of records; say so where it is only older than the file."""
    index = _index(path)
    if index is None:
        return ()
    vcf = _open(path)
    try:
        counted = int(vcf.num_records)
    except Exception:
        raise _foreign(path, f"{index.name} cannot be read") from None
    finally:
        vcf.close()
    if counted > 0 and counted != n_records:  # 0 where tabix of old wrote it, which did not count
        raise _foreign(path, f"{index.name} speaks of {counted:,} records, the file has {n_records:,}")
    if index.stat().st_mtime < path.stat().st_mtime:
        return (("note", "index older than the file", 1, index.name),)
    return ()


def _foreign(path: Path, why: str) -> FormatError:
    return FormatError(
        f"{path}: its index does not belong to this file ({why}). Make it again: bcftools index -f {path}."
    )


def _one_line(problem: BaseException) -> str:
    return " ".join(str(problem).split()) or type(problem).__name__


def _records(path: Path, source: Any, seen: int = 0) -> Iterator[Any]:
    """Iterate, turning htslib's complaints into ours."""
    try:
        for record in source:
            seen += 1
            yield record
    except GenopredError:
        raise
    except Exception as problem:
        raise FormatError(
            f"{path} record {seen + 1:,} could not be read ({_one_line(problem)}); "
            "the file is damaged or cut off: check it with bcftools view."
        ) from None


def _field(vcf: Any, path: Path, wanted: str | None) -> str:
    formats = {header["ID"] for header in vcf.header_iter() if header["HeaderType"] == "FORMAT"}
    for name in ("GT", "DS") if wanted is None else (wanted,):
        if name in formats:
            return name
    found = ", ".join(sorted(formats)) or "none"
    raise FormatError(f"{path}: FORMAT field {wanted or 'GT or DS'} is not in the header (found: {found}).")


class _Records:
    """Where every record of the file stands: what a region query's answers are numbered by."""

    @classmethod
    def read(cls, path: Path) -> _Records:
        chroms: list[str] = []
        starts: list[int] = []
        rows: list[tuple[int, str, str, list[str]]] = []
        vcf = _open(path, samples=[])
        declared = set(vcf.seqnames)
        for record in _records(path, vcf):
            if not chroms or record.CHROM != chroms[-1]:
                if record.CHROM not in declared:
                    # Here htslib hands over what it could not parse, and cyvcf2 crashes when asked for its REF.
                    cells = str(record).rstrip("\n").split("\t")
                    if not cells[0] or cells[3:4] == ["."]:
                        raise FormatError(
                            f"{path} record {len(rows) + 1:,} is no record (it starts with {shortened(cells[0])!r}, "
                            "and has no REF); were files put together with cat? Use bcftools concat."
                        )
                    declared.add(record.CHROM)
                chroms.append(record.CHROM)
                starts.append(len(rows))
            rows.append((record.POS, record.ID or ".", record.REF, record.ALT))
        vcf.close()
        if not rows:
            raise FormatError(f"{path} has a header but no records; needed genotypes.")
        pos = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
        records = cls(path, chroms, starts, pos)
        records.rows = rows
        return records

    def __init__(self, path: Path, chroms: list[str], starts: list[int], pos: NDArray[np.int64]) -> None:
        self.path = path
        self.pos = pos
        self.chroms = chroms
        self.starts = np.array([*starts, len(pos)])
        self.rows: list[tuple[int, str, str, list[str]]] = []
        self.sorted = not repeated(chroms) and all(
            bool((np.diff(self.pos[a:b]) >= 0).all()) for a, b in zip(self.starts[:-1], self.starts[1:])
        )

    def __len__(self) -> int:
        return len(self.pos)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "rows": None}


def _variants(
    records: _Records, multiallelic: str
) -> tuple[pl.DataFrame, NDArray[np.int64], NDArray[np.int8], tuple[Note, ...]]:
    counts = np.fromiter((len(row[3]) for row in records.rows), dtype=np.int64, count=len(records))
    keep = counts == 1 if multiallelic == "skip" else counts >= 1
    record, number = one_each(counts, keep)
    allele = number.astype(np.int8)
    rows = records.rows
    chrom = np.repeat(records.chroms, np.diff(records.starts))
    table = pl.DataFrame(
        {
            "chrom": chrom[record],
            "pos": records.pos[record],
            "id": [_identifier(rows[i], a) for i, a in zip(record.tolist(), allele.tolist())],
            "ref": [rows[i][2] for i in record.tolist()],
            "alt": [rows[i][3][a - 1] for i, a in zip(record.tolist(), allele.tolist())],
        },
        schema=VARIANT_SCHEMA,
    )
    odd = np.flatnonzero(counts != 1)
    places = [f"{plain_chrom(str(chrom[i]))}:{rows[i][0]}" for i in odd.tolist()]
    return table, record, allele, alts_noted("record", counts[odd] == 0, counts[odd] > 1, multiallelic, places)


def _identifier(row: tuple[int, str, str, list[str]], allele: int) -> str:
    _, name, _, alts = row
    return name if len(alts) == 1 or name == "." else f"{name}:{alts[allele - 1]}"


def _calls(record: Any) -> NDArray[Any] | None:
    """Alleles and phase of everybody, (N, ploidy + 1); None where the record has no GT (cyvcf2 would raise)."""
    return record.genotype.array() if "GT" in (record.FORMAT or ()) else None


def _looks_phased(path: Path, limit: int = _JUDGED) -> bool:
    """Whether the heterozygotes of the first records are all phased, and there are some."""
    heterozygotes = 0
    vcf = _open(path)
    try:
        for count, record in enumerate(_records(path, vcf)):
            calls = _calls(record)
            if calls is not None and calls.shape[1] == 3:
                het = (calls[:, 0] != calls[:, 1]) & (calls[:, :2] >= 0).all(axis=1)
                if (het & (calls[:, 2] == 0)).any():
                    return False
                heterozygotes += int(het.sum())
            if count >= limit:
                break
    finally:
        vcf.close()
    return heterozygotes > 0


@dataclass(eq=False, repr=False)
class VcfReader:
    """Genotypes of a VCF or BCF: by region where there is an index, else decoded once and kept in memory."""

    path: Path
    n_samples: int
    records: _Records
    record: NDArray[np.int64]
    allele: NDArray[np.int8]
    field: str
    phased: bool

    def __post_init__(self) -> None:
        self.indexed = self.records.sorted and _index(self.path) is not None
        self._file: Any = None
        self._cache: NDArray[Any] | None = None
        self._unphased = np.empty(0, dtype=np.int64)

    def keep(self, alleles: NDArray[np.int8], unphased: NDArray[np.int64]) -> None:
        """Answer from these alleles (M, N, 2) of all columns; `unphased` have heterozygotes without phase."""
        self._cache, self._unphased = alleles, unphased

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_cache": None}

    def dosage(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Copies of ALT, shape (rows, columns), NaN where missing."""
        part = self._read(columns, rows)
        if self.field == "DS":
            return np.asfortranarray(part.T)
        counts = part[:, :, 0] + part[:, :, 1]
        total = counts.astype(np.float32)
        total[counts < 0] = np.nan
        return total.T

    def alleles(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int8]:
        """Alleles, shape (rows, 2, columns): 0 REF, 1 ALT, -1 missing (both, also where one is missing)."""
        if self.field == "DS":
            raise FormatError(
                f"{self.path} is read by its dosages (DS), which have no alleles; genotypes (GT) are needed."
            )
        return np.ascontiguousarray(self._read(columns, rows).transpose(1, 2, 0))

    def blocks(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64], size: int
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """People and their dosages, as `Genotypes.blocks`, in one pass over the records."""
        if self._cache is not None or not self.indexed:
            for start in range(0, len(rows), size):
                people = slice(start, min(len(rows), start + size))
                yield people, self.dosage(rows[people], columns)
            return
        wanted, inverse = np.unique(np.asarray(columns, dtype=np.int64), return_inverse=True)
        spool = Spool((len(wanted), len(rows)), np.float32 if self.field == "DS" else np.int8, size)
        self._sweep(wanted, _Spooled(spool, rows))
        for people, block in spool.blocks():
            yield people, block if len(wanted) == len(columns) and run_of(inverse) else block[:, inverse]

    def _read(self, columns: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[Any]:
        """Alleles (columns, rows, 2) or dosages (columns, rows)."""
        columns = np.asarray(columns, dtype=np.int64)
        wanted, inverse = np.unique(columns, return_inverse=True)
        if self._cache is None and self.indexed:
            out = self._empty(len(wanted))
            self._sweep(wanted, out)
            return np.take(out[inverse], rows, axis=1)
        if self._cache is None:
            self._cache = self._scan()
        if self.phased and len(self._unphased):
            # Without an index the whole file is read, and complained of, whatever is asked for.
            bad = np.intersect1d(self._unphased, wanted) if self.indexed else self._unphased
            if len(bad):
                part = int(np.searchsorted(self.records.starts, bad[0], side="right")) - 1
                raise _unphased(self.path, f"{self.records.chroms[part]}:{self.records.pos[bad[0]]}")
        run = run_of(rows)
        return np.take(self._cache[columns], rows, axis=1) if run is None else self._cache[:, run][columns]

    def _empty(self, n: int) -> NDArray[Any]:
        if self.field == "DS":
            return np.empty((n, self.n_samples), dtype=np.float32)
        return np.empty((n, self.n_samples, 2), dtype=np.int8)

    def _scan(self) -> NDArray[Any]:
        """All columns."""
        vcf = _open(self.path)
        out = self._empty(len(self.record))
        batch = _Batch(self, out)
        first = np.searchsorted(self.record, np.arange(len(self.records) + 1)).tolist()
        for number, record in enumerate(_records(self.path, vcf)):
            for column in range(first[number], first[number + 1]):
                batch.add(column, record, int(self.allele[column]))
        batch.flush()
        vcf.close()
        return out

    def _sweep(self, wanted: NDArray[np.int64], out: NDArray[Any] | _Spooled) -> None:
        """Sorted columns into `out`, in as few region queries as are worth it."""
        if self._file is None:
            self._file = _open(self.path)
        record = self.record[wanted]
        starts = self.records.starts
        part = np.searchsorted(starts, record, side="right")
        breaks = np.flatnonzero((np.diff(record) > _GAP) | (np.diff(part) > 0)) + 1
        batch = _Batch(self, out)
        for group in np.split(np.arange(len(wanted)), breaks) if len(wanted) else ():
            chrom = int(part[group[0]]) - 1
            low, high = self.records.pos[record[group[0]]], self.records.pos[record[group[-1]]]
            begin, end = int(starts[chrom]), int(starts[chrom + 1])
            number = begin + int(np.searchsorted(self.records.pos[begin:end], low))
            region = f"{self.records.chroms[chrom]}:{low}-{high}"
            at = 0
            for found in _records(self.path, self._file(region), number):
                if found.POS < low:  # a deletion that starts before the region reaches into it
                    continue
                if number >= end or found.POS != self.records.pos[number]:
                    break
                while at < len(group) and record[group[at]] == number:
                    batch.add(int(group[at]), found, int(self.allele[wanted[group[at]]]))
                    at += 1
                number += 1
                if at == len(group):
                    break
            if at < len(group):
                raise _foreign(self.path, f"it gave {at} of {len(group)} records of {region}")
        batch.flush()


def _unphased(path: Path, place: str) -> FormatError:
    return FormatError(
        f"{path} {place} has unphased heterozygotes (0/1) though the first records are phased; "
        "phase the file, or read it with phased=False."
    )


class _Spooled:
    """Takes alleles (k, N, 2) or dosages (N,) of columns as an array would, and puts some people's into a spool."""

    def __init__(self, spool: Spool, rows: NDArray[np.int64]) -> None:
        self.spool, self.rows = spool, rows

    def __setitem__(self, columns: Any, values: Any) -> None:
        if np.ndim(values) == 3:
            values = np.take(values[:, :, 0] + values[:, :, 1], self.rows, axis=1)
        elif np.ndim(values) == 1:
            values = np.take(values, self.rows)
        else:  # a record without the field
            values = np.full(len(self.rows), values)
        self.spool[columns] = values


class _Batch:
    """Decodes records many at a time: numpy's overhead a call is ten times the work of one record."""

    def __init__(self, reader: VcfReader, out: NDArray[Any] | _Spooled) -> None:
        self.reader, self.out = reader, out
        self.held: list[tuple[int, int, NDArray[np.int16], str]] = []

    def add(self, column: int, record: Any, allele: int) -> None:
        """Decode `record` into a column, now or with the batch."""
        if self.reader.field == "DS":
            values = record.format("DS")
            missing = values is None or values.shape[1] < allele
            self.out[column] = np.nan if missing else values[:, allele - 1]
            return
        place, calls = f"{record.CHROM}:{record.POS}", _calls(record)
        if calls is None:
            self.out[column] = -1
            return
        if calls.shape[1] == 2:  # haploid: allele and phase
            calls = calls[:, [0, 0, 1]]
        elif calls.shape[1] != 3:
            raise FormatError(f"{self.reader.path} {place} has ploidy {calls.shape[1] - 1}; needed 1 or 2.")
        most = int(calls[:, :2].max(initial=-1))
        if most > 1 and most > len(record.ALT):
            raise FormatError(
                f"{self.reader.path} {place} has a genotype with allele {most}, but ALT lists only {len(record.ALT)} "
                f"({examples(record.ALT)}); the record is damaged: correct it or leave it out."
            )
        self.held.append((column, allele, calls, place))
        if len(self.held) >= max(1, min(_BATCH, _BATCH_BYTES // max(calls.nbytes, 1))):
            self.flush()

    def flush(self) -> None:
        """Write what has been collected."""
        if not self.held:
            return
        columns, allele, each, places = zip(*self.held)
        calls = np.stack(each)
        both = calls[:, :, :2]
        haploid = both[:, :, 1] == -2  # htslib's end of vector, where others of the record are diploid
        if haploid.any():
            both[:, :, 1][haploid] = both[:, :, 0][haploid]
        missing = (both < 0).any(axis=2)
        if self.reader.phased:
            bad = (both[:, :, 0] != both[:, :, 1]) & (calls[:, :, 2] == 0) & ~missing
            if bad.any():
                raise _unphased(self.reader.path, places[int(bad.any(axis=1).argmax())])
        alleles = (both == np.array(allele, dtype=np.int16)[:, None, None]).astype(np.int8)
        alleles[missing] = -1
        self.out[list(columns)] = alleles
        self.held = []
