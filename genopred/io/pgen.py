"""PLINK 2 filesets: .pgen, .pvar and .psam, with phase and dosages."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import FormatError, GenopredError, examples
from genopred.io.plink import check_fileset, read_fam, sample_names
from genopred.io.text import PathLike, after_comments, check_bound, read_bytes, read_table, to_numbers
from genopred.io.variants import alts_noted, header_build, named, one_each, screened
from genopred.types import VARIANT_SCHEMA, Genotypes, run_of

#: Variants of one block of a .pgen's index.
BLOCK = 65_536


def read_pgen(
    prefix: PathLike, *, multiallelic: str = "skip", phased: bool | None = None, ids: str = "iid"
) -> Genotypes:
    """Open a PLINK 2 fileset; genotypes are read when asked for.

    Parameters
    ----------
    prefix : str
        The fileset's name without extension (`--pfile`). The .pvar may be zstd-compressed (.pvar.zst).
    multiallelic : {"skip", "split"}
        Leave variants with several ALT alleles out (counted in `notes`), or make one variant of each ALT.
        After splitting, allele 0 of a variant means "not this ALT".
    phased : bool, optional
        False treats a phased file as unphased. Without it the file says itself.
    ids : {"iid", "fid_iid"}
        Name samples by IID, or by FID_IID where one IID occurs in several families.

    Returns
    -------
    Genotypes
        Dosages are imputed dosages where the file stores them.

    Raises
    ------
    FormatError
        If a file is missing or damaged, the three do not fit together, or a sample occurs twice.
    """
    if multiallelic not in ("skip", "split"):
        raise GenopredError(f"multiallelic {multiallelic!r} is unknown; choose 'skip' or 'split'.")
    pgen, pvar, psam = _paths(prefix)
    samples = read_psam(psam, ids=ids)
    table, build = _pvar(pvar)
    n_alts = table["alt"].str.count_matches(",").to_numpy().astype(np.int64) + 1
    no_alt = (table["alt"] == ".").to_numpy()
    keep = ~no_alt & ((n_alts == 1) if multiallelic == "skip" else True)
    record, allele = one_each(n_alts, keep)
    variants = _split(table, record, allele) if (n_alts[keep] > 1).any() else table[record]
    reader = PgenReader(pgen, len(samples), table.height, n_alts, record, allele)
    reader.phased = reader.check() and phased is not False
    notes = alts_noted("variant", no_alt, n_alts > 1, multiallelic, named(table)["id"])
    return screened(Genotypes(samples, variants, reader, str(pgen), phased=reader.phased, notes=notes, build=build))


def _paths(prefix: PathLike) -> tuple[Path, Path, Path]:
    stem = re.sub(r"\.(pgen|pvar|psam)\Z", "", str(prefix))
    pgen, pvar, packed, psam = (Path(f"{stem}.{end}") for end in ("pgen", "pvar", "pvar.zst", "psam"))
    paths = (pgen, packed if packed.exists() and not pvar.exists() else pvar, psam)
    check_fileset(paths, f"a PLINK 2 fileset {stem} needs .pgen, .pvar and .psam")
    return paths


def _split(table: pl.DataFrame, record: NDArray[np.int64], allele: NDArray[np.int64]) -> pl.DataFrame:
    alt = pl.col("alt").str.split(",").list.get(pl.lit(pl.Series(allele - 1)))
    own = pl.col("alt").str.contains(",") & ~pl.col("id").is_in([".", ""])
    name = pl.when(own).then(pl.format("{}:{}", "id", alt)).otherwise("id")
    return table[record].select("chrom", "pos", name.alias("id"), "ref", alt.alias("alt"))


def read_psam(path: PathLike, *, ids: str = "iid") -> NDArray[np.str_]:
    """Sample names of a .psam (or of a .fam under that name), in its order; each exactly once."""
    data = read_bytes(path, "a PLINK 2 .psam")
    if not data.startswith(b"#"):
        return read_fam(path, ids=ids)
    table, first_row = read_table(data, path, comment=b"##")
    names = [name.lstrip("#") for name in table.columns]
    if "IID" not in names:
        raise FormatError(f"{path} line {first_row - 1}: no column IID (found {examples(names)}).")
    table.columns = names
    fid = table["FID"].to_list() if "FID" in names else ["0"] * table.height
    return sample_names(fid, table["IID"].to_list(), path, ids=ids, first_row=first_row)


def _pvar(path: PathLike) -> tuple[pl.DataFrame, str | None]:
    """The table as it is written, and the build that its header tells."""
    data = _decompress(path)
    if data.startswith(b"#"):
        table, first_row = read_table(data, path, comment=b"##", separator="\t")
        table.columns = [name.lstrip("#") for name in table.columns]
        if lacking := [name for name in ("CHROM", "POS", "ID", "REF", "ALT") if name not in table.columns]:
            raise FormatError(f"{path} line {first_row - 1}: no column {', '.join(lacking)}.")
        table = table.select(chrom="CHROM", pos="POS", id="ID", ref="REF", alt="ALT")
    else:
        table, first_row = read_table(data, path, columns=["chrom", "id", "cm", "pos", "alt", "ref"])
    table = to_numbers(table, ["pos"], path, first_row, kind=pl.Int64).select(list(VARIANT_SCHEMA))
    top = len(data) - len(after_comments(data, b"##")[0]) if data.startswith(b"##") else 0
    return table, header_build(data[:top])


def _decompress(path: PathLike) -> bytes:
    if not str(path).endswith(".zst"):
        return read_bytes(path, "a PLINK 2 .pvar")
    import pyarrow as pa

    held = io.BytesIO()
    try:
        with pa.input_stream(str(path), compression="zstd") as stream:
            while piece := stream.read(1 << 20):
                check_bound(held.tell() + len(piece), path)
                held.write(piece)
    except OSError as problem:
        raise FormatError(f"{path}: its zstd data are damaged or cut off ({problem}).") from None
    return held.getvalue()


class PgenReader:
    """Genotypes of a .pgen through pgenlib; opened on first use, and again after pickling."""

    def __init__(
        self,
        path: Path,
        n_samples: int,
        n_variants: int,
        n_alts: NDArray[np.int64],
        record: NDArray[np.int64],
        allele: NDArray[np.int64],
    ) -> None:
        self.path = path
        self.n_samples = n_samples
        self.n_variants = n_variants
        self.offsets = None if (n_alts == 1).all() else np.concatenate([[0], np.cumsum(n_alts + 1)]).astype(np.uintp)
        self.record = record.astype(np.uint32)
        self.allele = allele
        self.phased = False
        self._file: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def _open(self) -> Any:
        if self._file is None:
            import pgenlib

            try:
                self._file = pgenlib.PgenReader(
                    str(self.path).encode(),
                    raw_sample_ct=self.n_samples,
                    variant_ct=self.n_variants,
                    allele_idx_offsets=self.offsets,
                )
            except RuntimeError as problem:
                raise FormatError(f"{self.path} does not fit its .psam and .pvar: {_said(problem)}") from None
        return self._file

    def check(self) -> bool:
        """Open the file, and see that it ends where its own index says; whether it stores phase."""
        phased = bool(self._open().hardcall_phase_present())
        wanted, found = stored_bytes(self.path), self.path.stat().st_size
        if wanted is not None and wanted != found:
            raise FormatError(
                f"{self.path} is damaged or cut off: it has {found:,} bytes, its index ends at {wanted:,}; copy the "
                "file again."
            )
        return phased

    def _of(self, rows: NDArray[np.int64]) -> tuple[Any, int, NDArray[np.int64] | slice]:
        """The file, set to decode no more people than are asked for; how many; where each row then stands."""
        file = self._open()
        rows = np.asarray(rows, dtype=np.int64)
        people = np.unique(rows)  # in the file's order, as pgenlib wants them
        if len(people) in (0, self.n_samples):
            file.change_sample_subset(None)
            return file, self.n_samples, slice(None) if run_of(rows) == slice(0, self.n_samples) else rows
        file.change_sample_subset(people.astype(np.uint32))
        return file, len(people), slice(None) if np.array_equal(people, rows) else np.searchsorted(people, rows)

    def dosage(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Copies of ALT, shape (rows, columns), NaN where missing."""
        columns = np.asarray(columns, dtype=np.int64)
        file, n, where = self._of(rows)
        out = np.empty((len(columns), n), dtype=np.float32)
        try:
            file.read_dosages_list(self.record[columns], out)
            for j in np.flatnonzero(self.allele[columns] > 1).tolist():
                file.read_dosages(int(self.record[columns[j]]), out[j], allele_idx=int(self.allele[columns[j]]))
        except RuntimeError as problem:
            raise self._damaged(problem) from None
        out[out < 0] = np.nan
        return np.ascontiguousarray(out[:, where].T)

    def alleles(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int8]:
        """Alleles, shape (rows, 2, columns): 0 REF, 1 ALT, -1 missing."""
        columns = np.asarray(columns, dtype=np.int64)
        file, n, where = self._of(rows)
        shape = (len(columns), n)
        both = np.empty((shape[0], 2 * shape[1]), dtype=np.int32)
        phase = np.empty(shape, dtype=np.uint8)
        try:
            file.read_alleles_and_phasepresent_list(self.record[columns], both, phase)
        except RuntimeError as problem:
            raise self._damaged(problem) from None
        pairs = both.reshape(*shape, 2)[:, where]
        if self.phased:
            bad = (pairs[:, :, 0] != pairs[:, :, 1]) & (phase[:, where] == 0)
            if bad.any():
                variant = int(self.record[columns[int(bad.any(axis=1).argmax())]])
                raise FormatError(
                    f"{self.path} variant {variant + 1:,} of the .pvar has {int(bad.any(axis=0).sum())} unphased "
                    "heterozygotes though the file stores phase; phase it, or read it with phased=False."
                )
        out = (pairs == self.allele[columns].astype(np.int32)[:, None, None]).astype(np.int8)
        out[(pairs < 0).any(axis=2)] = -1
        return np.ascontiguousarray(out.transpose(1, 2, 0))

    def _damaged(self, problem: Exception) -> FormatError:
        return FormatError(f"{self.path} is damaged or cut off ({_said(problem)}); copy the fileset again.")


def _said(problem: BaseException) -> str:
    text = problem.args[0] if problem.args else str(problem)
    return " ".join((text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)).split())


def stored_bytes(path: Path) -> int | None:
    """How long a .pgen is by its own index: where its last record ends; None where it has none of the usual kind.

    Pgenlib, reading where the index says, notices a cut-off file only when asked for the last variants. The layout is
    that of plink 2's pgen_spec.pdf, storage mode 0x10.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if len(head) < 12 or head[:3] != b"\x6c\x1b\x10":
            return None
        variants, kinds = int.from_bytes(head[3:7], "little"), head[11]
        type_bits, length_bytes = (8 if kinds & 4 else 4), (kinds & 3) + 1
        if kinds & 8 or not variants:
            return None  # records of one or two bits a genotype, without lengths
        count_bytes, flags = kinds >> 4 & 3, kinds >> 6 == 3
        blocks = -(-variants // BLOCK)
        offsets = np.frombuffer(file.read(8 * blocks), dtype="<u8")
        last = variants - (blocks - 1) * BLOCK

        def before(n: int) -> int:
            return -(-n * type_bits // 8)

        each = before(BLOCK) + BLOCK * (length_bytes + count_bytes) + (BLOCK // 8 if flags else 0)
        file.seek(12 + 8 * blocks + (blocks - 1) * each + before(last))
        data = np.frombuffer(file.read(last * length_bytes), dtype=np.uint8)
    if len(offsets) < blocks or len(data) < last * length_bytes:
        return size + 1
    lengths = data.reshape(last, length_bytes).astype(np.int64) @ (256 ** np.arange(length_bytes))
    return int(offsets[-1]) + int(lengths.sum())
