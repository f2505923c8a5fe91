"""What a file is, told by its name and its beginning."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path

from genopred.io.text import by_spelling

#: Columns by which a table of variants is known, and what it then is.
_COLUMNS = {
    "alt": ("effect_allele", "a1", "alt", "ea", "effectallele", "eff_allele", "allele"),
    "place": ("chromosome", "chrom", "chr", "#chrom", "chr_name", "hm_chr", "rsid", "id", "snp", "variant_id",
              "markername"),
    "weight": ("effect_weight", "weight", "score"),
    "test": ("p_value", "p", "pval", "pvalue", "neg_log_10_p_value", "standard_error", "se", "stat", "beta",
             "odds_ratio"),
    "freq": ("effect_allele_frequency", "a1_freq", "eaf", "n", "obs_ct", "other_allele"),
}  # fmt: skip

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|NA|NaN|nan|na|\.|")

#: Files that lie beside the one that is meant.
_BESIDE = (".fai", ".gzi", ".tbi", ".csi", ".bgi", ".log")


def told(path: Path) -> tuple[str | None, Path]:
    """What a file is, and the path by which its reader opens it; no kind where that cannot be told.

    Parameters
    ----------
    path : Path
        A file, a folder of models, or the prefix of a fileset: of PLINK 2's where both are there, since it has phase.
    """
    name = path.name.lower()
    for end in _BESIDE:
        if name.endswith(end) and path.with_name(path.name[: -len(end)]).is_file():
            return told(path.with_name(path.name[: -len(end)]))
    if path.is_dir():
        there = (path / "models.json").is_file() or (path / "models" / "models.json").is_file()
        return ("models" if there else None), path
    if not path.is_file():
        for kind, end in (("pfile", ".pgen"), ("bfile", ".bed")):
            if path.with_name(path.name + end).is_file():
                return kind, path
        return None, path
    if name.endswith(".sample") and path.with_suffix(".bgen").is_file():
        return "bgen", path.with_suffix(".bgen")
    head = first_bytes(path)
    for pattern, kind in (
        (r"\.(pgen|pvar|psam|pvar\.zst)$", "pfile"), (r"\.(bim|fam)$", "bfile"), (r"\.(vcf|vcf\.b?gz|bcf)$", "vcf"),
        (r"\.bgen$", "bgen"),
        (r"\.(fa|fasta|fna)(\.b?gz)?$", "fasta"), (r"\.gtf(\.gz)?$", "gtf"), (r"\.chain(\.gz)?$", "chain"),
        (r"\.(db|pos)$", "models"),
    ):  # fmt: skip
        if re.search(pattern, name):
            stem = path.with_name(re.sub(r"\.(pgen|pvar|psam|bim|fam)$", "", path.name)) if kind[1:] == "file" else path
            return kind, stem
    if head[:2] == b"\x6c\x1b":
        return "bfile", path.with_suffix("")
    if head[16:20] == b"bgen":
        return "bgen", path
    return _by_content(head), path


def _by_content(head: bytes) -> str | None:
    """The kind of a text by its first lines."""
    if not head or b"\0" in head:
        return None
    lines = [line for line in head.decode("utf-8", "replace").splitlines() if line.strip()]
    if not lines:
        return None
    if lines[0].startswith("##fileformat=VCF"):
        return "vcf"
    if lines[0].startswith(">"):
        return "fasta"
    if lines[0].startswith("chain "):
        return "chain"
    if lines[0].lower().startswith(("###pgs catalog", "#format_version", "#pgs_id")):
        return "score"
    body = [line for line in lines if not line.startswith("##")]
    rows = [line for line in body if not line.startswith("#")]
    if rows and rows[0].count("\t") == 8 and 'gene_id "' in rows[0]:
        return "gtf"
    cells = [cell.strip().lower() for cell in re.split(r"[\t, ]+", body[0] if body else "")]
    if len(cells) > 4 and cells[0].lstrip("#").startswith("chr") and cells[1] == "start" and cells[2] == "end":
        return "expression"
    known = by_spelling(cells, _COLUMNS)
    if "alt" in known and ("place" in known or "weight" in known):
        return "score" if "weight" in known and "test" not in known else "sumstats"
    return "covariates" if _numbers_in(rows) else None


def _numbers_in(rows: list[str]) -> bool:
    """Whether rows are a name or two and then numbers, between tabs or blanks; the first may be a header."""
    for row in rows[1:3] or rows[:1]:
        cells = row.split("\t") if "\t" in row else row.split()
        values = cells[2:] if len(cells) > 2 else cells[1:]
        if not values or not all(_NUMBER.fullmatch(cell.strip()) for cell in values):
            return False
    return bool(rows)


def first_bytes(path: Path, size: int = 50_000) -> bytes:
    """The beginning of a file, expanded where it is gzipped; what can be had of a damaged one."""
    with path.open("rb") as handle:
        head = handle.read(size)
    if head[:2] != b"\x1f\x8b":
        return head
    found = b""
    try:
        with gzip.open(path, "rb") as handle:
            while len(found) < size and (piece := handle.read(4096)):
                found += piece
    except (OSError, EOFError, zlib.error):
        pass
    return found
