"""Gene annotation: GTF, and what genes are called."""

from __future__ import annotations

import gzip
import io
from collections import Counter
from functools import cache
from importlib.resources import files

import polars as pl

from genopred.errors import FormatError, examples
from genopred.io.text import PathLike, check_bound, decode, read_bytes, read_table, whole_lines
from genopred.types import plain_gene

_PLACE = {"chrom": pl.String, "start": pl.Int64, "end": pl.Int64, "strand": pl.String}

#: Columns of `read_gtf`. Positions are 1-based; `start` and `end` are both inside the gene.
GTF_GENE_SCHEMA = dict.fromkeys(("gene_id", "gene", "gene_name", "gene_type"), pl.String) | _PLACE | {"tss": pl.Int64}

#: Columns of `read_exons`. Positions are 1-based, both ends inside.
GTF_EXON_SCHEMA = dict.fromkeys(("gene_id", "gene", "transcript_id"), pl.String) | _PLACE

#: Bytes of text that a gene or exon line is counted as: what is used of it.
_ROW = 150

_FIELDS = ["chrom", "source", "feature", "start", "end", "score", "strand", "frame", "attributes"]


def read_gtf(path: PathLike) -> pl.DataFrame:
    """Genes of a GTF (GENCODE, Ensembl), gzipped or not.

    The TSS is the gene's start, or its end on the minus strand. A file without gene lines gets them from its exons.

    Returns
    -------
    polars.DataFrame
        Columns of `GTF_GENE_SCHEMA`, sorted as the file is.

    Raises
    ------
    FormatError
        If a line is no GTF line, or starts after its end.
    """
    table = _read(path)
    genes = table.filter(pl.col("feature") == "gene")
    if genes.height:
        genes = genes.unique("gene_id", keep="first", maintain_order=True)
    else:
        exons = table.filter((pl.col("feature") == "exon") & pl.col("gene_id").is_not_null())
        if not exons.height:
            raise FormatError(f"{path} has neither gene nor exon lines with a gene_id; needed a GTF annotation.")
        genes = exons.group_by("gene_id", "chrom", "strand", maintain_order=True).agg(
            pl.col("start").min(), pl.col("end").max(), pl.col("gene_name", "gene_type").first()
        )
    return _finish(genes, GTF_GENE_SCHEMA)


def read_exons(path: PathLike) -> pl.DataFrame:
    """Exons of a GTF, one row per exon of each transcript: columns of `GTF_EXON_SCHEMA`."""
    exons = _read(path).filter(pl.col("feature") == "exon")
    if not exons.height:
        raise FormatError(f"{path} has no exon lines.")
    return _finish(exons, GTF_EXON_SCHEMA)


#: Names that a column of symbols has in an expression BED or a table, in lower case.
SYMBOL_COLUMNS = ("gene_name", "symbol", "gene_symbol", "hgnc_symbol")


def read_symbols(path: PathLike) -> dict[str, str]:
    """What genes are called, by their id without version, in a GTF, a table or an expression BED, gzipped or not.

    A table has the columns `gene_id` and `gene_name` (or another of `SYMBOL_COLUMNS`); a BED one of these as its fifth,
    or no symbols. Left out are genes without a symbol, and symbols that several genes share, such as `Y_RNA`: they name
    none of them.
    """
    what = "gene symbols: a GTF, or a table with the columns gene_id and gene_name"
    # The start alone, so that a large expression BED without symbols is not read twice.
    head = next(whole_lines(path, what), b"").split(b"\n", 1000)
    first = next((line for line in head if line.strip() and not line.startswith(b"##")), b"")
    header = first.decode("utf-8", "replace").rstrip("\r").split("\t")
    lower = [name.lower() for name in header]
    named = [i for i, name in enumerate(lower) if name in SYMBOL_COLUMNS]
    bed = lower[0].lstrip("#").startswith("chr") and len(header) > 4
    if bed and named != [4] and not (named and "gene_id" in lower):
        return {}
    data = read_bytes(path, what)
    if bed and named == [4]:
        rows = [line.split("\t", 5) for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
        pairs = [(row[3], row[4]) for row in rows if not row[0].startswith("#") and row != header and len(row) > 4]
    elif named and "gene_id" in lower:
        table, _ = read_table(data, path, separator="\t", comment=b"##")
        pairs = list(table.select(header[lower.index("gene_id")], header[named[0]]).iter_rows())
    elif len(header) == 9 or first.startswith(b"#"):
        pairs = list(read_gtf(path).select("gene_id", "gene_name").iter_rows())
    else:
        raise FormatError(
            f"{path}: found the header {examples(header)}; gene symbols need a GTF, or a table with the columns "
            "gene_id and gene_name, separated by tabs."
        )
    found = {plain_gene(gene): name for gene, name in pairs if name not in ("", ".", "NA", None)}
    found = {gene: name for gene, name in found.items() if gene != plain_gene(name)}
    times = Counter(found.values())
    return {gene: name for gene, name in found.items() if times[name] == 1}


def _finish(table: pl.DataFrame, schema: dict[str, type[pl.DataType]]) -> pl.DataFrame:
    plain = {name: plain_gene(name) for name in table["gene_id"].unique().drop_nulls().to_list()}
    tss = pl.when(pl.col("strand") == "-").then(pl.col("end")).otherwise(pl.col("start"))
    table = table.with_columns(gene=pl.col("gene_id").replace(plain), tss=tss)
    return table.select(pl.col(name).cast(kind) for name, kind in schema.items())


def _read(path: PathLike) -> pl.DataFrame:
    """The gene and exon lines, with the attributes that are used; part by part, since a whole GTF is over 1 GB."""
    parts: list[pl.DataFrame] = []
    line = held = 0
    for part in whole_lines(path, "a GTF annotation"):
        body, numbers, before = [], [], line
        for line, text in enumerate(part.split(b"\n")[:-1], start=before + 1):
            if text and not text.startswith(b"#"):
                if text.count(b"\t") != 8:
                    found = text.count(b"\t") + 1
                    raise FormatError(f"{path} line {line}: {found} fields; a GTF line has 9, separated by tabs.")
                body.append(text)
                numbers.append(line)
        if not body:
            continue
        if not parts and b"gene_id" not in body[0] and b"ID=" in body[0]:
            raise FormatError(
                f'{path} looks like GFF3 (ID=...); needed GTF (gene_id "..."): convert it with gffread -T.'
            )
        decode(part, path, before + 1)
        parts.append(_parse(b"\n".join(body), numbers, path))
        held += _ROW * parts[-1].height
        check_bound(held, path)
    if not parts:
        raise FormatError(f"{path} has no lines but comments; needed a GTF annotation.")
    return pl.concat(parts).with_columns(pl.col(pl.Categorical).cast(pl.String))


def _parse(body: bytes, numbers: list[int], path: PathLike) -> pl.DataFrame:
    """The gene and exon lines among some lines, of these numbers in the file."""
    schema = {name: pl.String for name in _FIELDS}
    table = pl.read_csv(io.BytesIO(body), has_header=False, separator="\t", quote_char=None, schema=schema)
    table = table.with_columns(line=pl.Series(numbers)).filter(pl.col("feature").is_in(["gene", "exon"]))
    found = table.with_columns(pl.col("start", "end").cast(pl.Int64, strict=False))

    def refuse(bad: pl.Series, said: str) -> None:
        if bad.any():
            rows = table.filter(bad)
            shown = examples(rows.select(pl.format("{}-{}", "start", "end")).to_series().to_list())
            raise FormatError(f"{path} line {rows['line'][0]}: {rows.height} lines {said} ({shown}).")

    refuse(found["start"].is_null() | found["end"].is_null(), "lack whole numbers as start and end")
    refuse(found["start"] > found["end"], "start after their end; needed start <= end, both counted from 1")
    refuse(found["start"] < 1, "start before the first base; positions count from 1")

    def attribute(*names: str) -> pl.Expr:
        return pl.coalesce(pl.col("attributes").str.extract(rf'(?:^|[;\s]){name} "([^"]*)"') for name in names)

    found = found.select(
        "feature",
        *_PLACE,
        gene_id=attribute("gene_id"),
        gene_name=attribute("gene_name", "gene_id"),
        gene_type=attribute("gene_type", "gene_biotype"),
        transcript_id=attribute("transcript_id"),
    )
    return found.with_columns(pl.col(pl.String).cast(pl.Categorical))  # each text once: a tenth of the memory


@cache
def known_symbols() -> dict[str, str]:
    """What Ensembl's human genes are called (HGNC), by their id without version; comes with the package."""
    text = gzip.decompress((files("genopred") / "data" / "gene_symbols.tsv.gz").read_bytes())
    return dict(pl.read_csv(text, separator="\t").iter_rows())
