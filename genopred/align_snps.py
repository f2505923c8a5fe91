"""Two tables of SNPs become one: the same SNPs, the same alleles, and their dosages where there are genotypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from genopred import align
from genopred.errors import AlignmentError, examples
from genopred.types import Genotypes, plain_chrom

#: A `genopred.io.snptable.SnpTable`, of which `data`, `has`, and name and path of its `spec` are looked at.
SnpTable = Any


def with_alleles(data: pl.DataFrame, genotypes: Genotypes) -> pl.DataFrame:
    """Alleles and positions of SNPs that the table only names, from the genotypes they were tested on."""
    if {"ref", "alt", "pos"} <= set(data.columns):
        return data
    known = genotypes.variants.unique("id", keep="none")
    plain = {name: plain_chrom(name) for name in known["chrom"].unique().to_list()}
    known = known.with_columns(pl.col("chrom").replace(plain))
    lacking = [name for name in ("chrom", "pos", "ref", "alt") if name not in data.columns]
    return data.join(known.select("id", *lacking), on="id", how="left", maintain_order="left")


def joined(a: SnpTable, b: SnpTable, tally: align.Tally) -> tuple[pl.DataFrame, bool]:
    """SNPs of both tables, with b's effect turned to a's ALT allele where the alleles are known."""
    grouped = "gene" in a.data.columns and "gene" in b.data.columns
    if grouped and not set(a.data["gene"].unique()) & set(b.data["gene"].unique()):
        raise AlignmentError(
            f"{a.spec.path} and {b.spec.path} share no gene ({examples(a.data['gene'].unique().sort().to_list())} "
            f"against {examples(b.data['gene'].unique().sort().to_list())}); names against Ensembl ids?"
        )
    right = b.data.rename(lambda name: f"{name}_b").with_columns(row_b=pl.int_range(pl.len()))
    pairs = a.data.with_columns(row_a=pl.int_range(pl.len()))
    pairs = pairs.join(_variants(a, b, tally), on="id", how="inner", maintain_order="left")
    on_left, on_right = (["gene", "id_b"], ["gene_b", "id_b"]) if grouped else (["id_b"], ["id_b"])
    pairs = pairs.join(right, left_on=on_left, right_on=on_right, how="inner", maintain_order="left")
    both = f"{a.spec.name} and {b.spec.name}"
    tally.come(both, "SNPs (of a gene) in both tables", pairs.height)
    for table, row in ((a, "row_a"), (b, "row_b")):
        gone = np.setdiff1d(np.arange(table.data.height), pairs[row].to_numpy())
        tally.come(both, f"SNPs (of a gene) of {table.spec.name} alone", len(gone))
        reason = f"only in {table.spec.name}, or alleles differ"
        tally.drop(both, reason, table.data["id"].gather(gone).to_list())
    if not pairs.height:
        raise AlignmentError(f"{a.spec.path} and {b.spec.path} share SNPs, but none of the same gene.")

    def of(*names: str, kind: type[pl.DataType] = pl.Float64) -> pl.Expr:
        """The first that is known."""
        found = [pl.col(name) for name in names if name in pairs.columns]
        return (pl.coalesce(found) if found else pl.lit(None)).cast(kind)

    out = pairs.select(
        gene=of("gene", "gene_b", kind=pl.String),
        id="id",
        chrom=of("chrom", "chrom_b", kind=pl.String),
        pos=of("pos", "pos_b", kind=pl.Int64),
        ref=of("ref", "ref_b", kind=pl.String),
        alt=of("alt", "alt_b", kind=pl.String),
        score_a="score",
        score_b="score_b",
        effect_a=of("effect"),
        effect_b=of("effect_b") * pl.col("sign"),
        p_a=of("p"),
        p_b=of("p_b"),
        se_b=of("se_b"),
        af=of("af", "af_b"),
        distance=of("distance", "distance_b"),
        id_b="id_b",
    )
    return out, grouped


def _variants(a: SnpTable, b: SnpTable, tally: align.Tally) -> pl.DataFrame:
    """Which id of b each id of a is, and the sign that turns b's effect to a's allele (null where unknown)."""
    known = cs.by_name("id", "chrom", "pos", "ref", "alt", require_all=False)
    left, right = (table.data.select(known).unique("id", maintain_order=True) for table in (a, b))
    alleles = {"ref", "alt"} <= a.has and {"ref", "alt"} <= b.has
    common = left.join(right.select("id"), on="id", how="semi").height
    if alleles:
        names = (str(a.spec.path), str(b.spec.path))
        found = align.harmonise(left, right, ambiguous="keep", by="id" if common else None, names=names)
        pairs = pl.DataFrame(
            {"id": left["id"].gather(found.a), "id_b": right["id"].gather(found.b), "sign": found.sign}
        )
        # of distinct SNPs, where the counts of this item are of SNPs of a gene
        said = [note for note in found.notes if note[1] not in ("matched", f"not in {names[0]}")]
        both = f"{a.spec.name} and {b.spec.name}"
        tally.add(both, [("note", f"alleles: {reason}", n, shown) for _, reason, n, shown in said])
        return pairs
    if common:
        pairs = left.join(right.select("id"), on="id", how="semi", maintain_order="left")
        return pairs.select("id", id_b="id", sign=pl.lit(None, pl.Float64))
    if all({"chrom", "pos"} <= set(t.columns) for t in (left, right)):
        pairs = left.join(right, on=["chrom", "pos"], how="inner", suffix="_b", maintain_order="left")
        pairs = pairs.unique("id", keep="none", maintain_order=True).unique("id_b", keep="none", maintain_order=True)
        if pairs.height:
            return pairs.select("id", "id_b", sign=pl.lit(None, pl.Float64))
    blank = [pl.lit(None, pl.String).alias(name) for name in ("ref", "alt")]
    left, right = (t.drop(["ref", "alt"], strict=False).with_columns(blank) for t in (left, right))
    align.harmonise(left, right, names=(str(a.spec.path), str(b.spec.path)))  # says why there is none
    raise AlignmentError(f"{a.spec.path} and {b.spec.path} share no SNP.")


def with_dosage(
    item: str, snps: pl.DataFrame, genotypes: Genotypes, tally: align.Tally
) -> tuple[pl.DataFrame, NDArray[np.float32]]:
    """Those of the SNPs that are among the genotypes, and their dosages (N, M); the tally learns of the others."""
    where = {x: i for i, x in enumerate(genotypes.variants["id"].to_list())}
    column = [where.get(x, where.get(y, -1)) for x, y in zip(snps["id"].to_list(), snps["id_b"].to_list())]
    if max(column) < 0 and snps["pos"].null_count() == 0 and snps["chrom"].null_count() == 0:
        table = genotypes.variants
        spots = {
            (plain_chrom(c), p): i for i, (c, p) in enumerate(zip(table["chrom"].to_list(), table["pos"].to_list()))
        }
        column = [spots.get(key, -1) for key in zip(snps["chrom"].to_list(), snps["pos"].to_list())]
    at = np.array(column, dtype=np.int64)
    if (at < 0).all():
        raise AlignmentError(
            f"none of the {snps.height} SNPs is in {genotypes.source} ({examples(snps['id'].head(4).to_list())} "
            f"against {examples(genotypes.variants['id'].head(4).to_list())}); give genotypes of the same build."
        )
    lost = at < 0
    if lost.any():
        tally.drop(item, f"not in {genotypes.source}", snps["id"].filter(pl.Series(lost)).to_list())
        snps, at = snps.filter(pl.Series(~lost)), at[~lost]
    unique, back = np.unique(at, return_inverse=True)
    found = genotypes.dosage(unique)
    if snps["af"].null_count() or snps["pos"].null_count():
        known = genotypes.variants[at]
        plain = pl.Series([plain_chrom(c) for c in known["chrom"].to_list()])
        snps = snps.with_columns(af=pl.Series(np.nanmean(found, axis=0)[back] / 2), chrom=plain, pos=known["pos"])
    return snps.with_columns(column=pl.Series(at)), found[:, back]
