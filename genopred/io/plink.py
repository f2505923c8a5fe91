"""PLINK 1 filesets: .bed, .bim and .fam."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import FormatError, GenopredError, examples, repeated
from genopred.io.text import PathLike, name_array, read_bytes, read_table, regular, to_numbers
from genopred.io.variants import screened
from genopred.types import VARIANT_SCHEMA, Genotypes, split_hardcalls

_MAGIC = b"\x6c\x1b"


def read_plink(prefix: PathLike, engine: str = "bed-reader", *, ids: str = "iid") -> Genotypes:
    """Open a PLINK 1 fileset; genotypes are read when asked for.

    `alt` is the .bim's allele 1 and `ref` its allele 2, so that a dosage counts allele 1, as plink's own
    `--score` and `--linear` do. plink 1.9 makes the minor allele allele 1 unless told `--keep-allele-order`;
    `align.harmonise` finds such swaps against another table.

    Parameters
    ----------
    prefix : str
        The fileset's name without extension (`--bfile`); with `.bed` is understood too.
    engine : {"bed-reader", "pandas-plink"}
        Library that decodes the .bed. pandas-plink needs the extra `genopred[pandas-plink]`.
    ids : {"iid", "fid_iid"}
        Name samples by IID, or by FID_IID where one IID occurs in several families.

    Returns
    -------
    Genotypes
        Unphased. Variants without id are named `chrom:pos:ref:alt`; for what is left out or odd see `notes`.

    Raises
    ------
    FormatError
        If a file is missing, truncated, not a .bed, or names a sample twice.
    """
    if engine not in ("bed-reader", "pandas-plink"):
        raise GenopredError(f"engine {engine!r} is unknown; choose 'bed-reader' or 'pandas-plink'.")
    bed, bim, fam = _paths(prefix)
    samples = read_fam(fam, ids=ids)
    variants = read_bim(bim)
    _check_bed(bed, len(samples), variants.height)
    reader = (BedReader if engine == "bed-reader" else PandasPlinkReader)(bed, len(samples), variants.height)
    return screened(Genotypes(samples, variants, reader, str(bed)))


def _paths(prefix: PathLike) -> tuple[Path, Path, Path]:
    stem = re.sub(r"\.(bed|bim|fam)\Z", "", str(prefix))
    bed, bim, fam = (Path(stem + end) for end in (".bed", ".bim", ".fam"))
    check_fileset((bed, bim, fam), f"a PLINK fileset {stem} needs .bed, .bim and .fam")
    return bed, bim, fam


def check_fileset(paths: Sequence[Path], needs: str) -> None:
    """Refuse a fileset of which a file is missing (all of them are named), or is not regular."""
    if missing := [str(path) for path in paths if not path.exists()]:
        raise FormatError(f"{', '.join(missing)}: no such file; {needs}.")
    for path in paths:
        regular(path, f"the {path.suffix} of a fileset")


def _check_bed(path: Path, n_samples: int, n_variants: int) -> None:
    with path.open("rb") as handle:
        head = handle.read(3)
    if head[:2] != _MAGIC:
        raise FormatError(
            f"{path} does not start with the bytes 6c 1b of a PLINK .bed (found {head[:2].hex(' ') or 'nothing'}); "
            "give the genotypes, not e.g. an expression BED."
        )
    if head[2:] != b"\x01":
        raise FormatError(
            f"{path} is sample-major (third byte {head[2:].hex() or 'missing'}, needed 01); "
            "rewrite it with plink --make-bed."
        )
    needed = 3 + ((n_samples + 3) // 4) * n_variants
    found = path.stat().st_size
    if found != needed:
        state = "is truncated" if found < needed else "is too long"
        raise FormatError(
            f"{path} {state}: {found:,} bytes where {n_samples:,} samples (.fam) and {n_variants:,} variants (.bim) "
            f"need {needed:,}; copy the three files again from the same source."
        )


def read_fam(path: PathLike, *, ids: str = "iid") -> NDArray[np.str_]:
    """Sample names of a .fam, in its order: IIDs or, by `ids="fid_iid"`, FID_IIDs; each exactly once."""
    columns = ["fid", "iid", "father", "mother", "sex", "phenotype"]
    table, _ = read_table(read_bytes(path, "a PLINK .fam"), path, columns=columns)
    return sample_names(table["fid"].to_list(), table["iid"].to_list(), path, ids=ids)


def sample_names(
    fid: Sequence[str], iid: Sequence[str], path: PathLike, *, ids: str = "iid", first_row: int = 1
) -> NDArray[np.str_]:
    """Names of samples from their family and individual ids, refused where one stands for two people."""
    if ids not in ("iid", "fid_iid"):
        raise GenopredError(f"ids {ids!r} is unknown; choose 'iid' or 'fid_iid'.")
    seen: dict[tuple[str, str], int] = {}
    for number, pair in enumerate(zip(fid, iid), start=first_row):
        if pair in seen:
            raise FormatError(
                f"{path} line {number}: sample {pair[1]} (family {pair[0]}) is already on line {seen[pair]}; "
                "each sample may occur once. Remove one of the two from the genotypes."
            )
        seen[pair] = number
    if ids == "fid_iid":
        return name_array([f"{a}_{b}" for a, b in zip(fid, iid)], path)
    if twice := repeated(iid):
        raise FormatError(
            f"{path}: {len(twice)} IIDs occur in more than one family ({examples(twice)}), so an IID does not name one "
            "person, though FID_IID does. Give them unique IIDs (plink2 --update-ids), or read with ids='fid_iid' and "
            "name samples FID_IID in the other files."
        )
    return name_array(list(iid), path)


def read_bim(path: PathLike) -> pl.DataFrame:
    """The variant table of a .bim: `alt` is its allele 1, `ref` its allele 2; a missing allele 0 becomes `.`."""
    columns = ["chrom", "id", "cm", "pos", "alt", "ref"]
    table, first_row = read_table(read_bytes(path, "a PLINK .bim"), path, columns=columns)
    table = to_numbers(table, ["pos"], path, first_row, kind=pl.Int64)
    return table.with_columns(pl.col("ref", "alt").replace("0", ".")).select(list(VARIANT_SCHEMA))


class BedReader:
    """Genotypes of a .bed through bed-reader; opened on first use, and again after pickling."""

    def __init__(self, path: Path, n_samples: int, n_variants: int) -> None:
        self.path = Path(path)
        self.shape = (n_samples, n_variants)
        self._file: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def hardcalls(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int8]:
        """Copies of allele 1, shape (rows, columns), int8, -127 where missing."""
        from bed_reader import open_bed

        try:
            if self._file is None:
                self._file = open_bed(self.path, iid_count=self.shape[0], sid_count=self.shape[1], num_threads=1)
            return self._file.read((rows, columns), dtype="int8")
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as problem:
            raise FormatError(
                f"{self.path} could not be read ({problem}); was it changed or moved meanwhile?"
            ) from None

    def dosage(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Copies of ALT, shape (rows, columns), NaN where missing."""
        return _CALL_TO_DOSAGE[self.hardcalls(rows, columns).view(np.uint8)]

    def alleles(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int8]:
        """Alleles, shape (rows, 2, columns), in no meaningful order: a heterozygote is 0, 1."""
        return split_hardcalls(self.hardcalls(rows, columns))


_CALL_TO_DOSAGE = np.full(256, np.nan, dtype=np.float32)
_CALL_TO_DOSAGE[:3] = (0, 1, 2)


class PandasPlinkReader(BedReader):
    """The same through pandas-plink."""

    def __init__(self, path: Path, n_samples: int, n_variants: int) -> None:
        super().__init__(path, n_samples, n_variants)
        _import_pandas_plink()

    def hardcalls(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int8]:
        """Copies of allele 1, shape (rows, columns), int8, -127 where missing."""
        if self._file is None:
            read = _import_pandas_plink()
            stem = self.path.with_suffix("")
            # pandas-plink names the .bim's allele 1 a0 and counts a1, the other one, unless told ref="a0".
            self._file = read(self.path, Path(f"{stem}.bim"), Path(f"{stem}.fam"), verbose=False, ref="a0")
        values = self._file.data[:, columns][rows].compute(scheduler="single-threaded")
        return np.nan_to_num(values, nan=-127).astype(np.int8)


def _import_pandas_plink() -> Any:
    try:
        from pandas_plink import read_plink1_bin
    except ImportError as problem:
        raise GenopredError(
            f"engine='pandas-plink' needs pandas-plink ({problem}); install genopred[pandas-plink] in an environment "
            "of its own (it pins numpy<2 and pandas<3), or keep the default engine, bed-reader."
        ) from None
    return read_plink1_bin
