"""Cut the embedded example (genopred/data/example) from the public originals.

    python benchmarks/data/cut_example.py --originals ../shared --out genopred/data/example
    python benchmarks/data/cut_example.py --fetch originals --originals originals --out genopred/data/example

`--originals` is any folder that holds, at whatever depth, the six files of `ORIGINALS`. `--fetch` gets four of
them from where they are published: the Debian package `qtltools-example` (needs apt-get and dpkg) and the source
archive of `deepdetails` on PyPI (needs pip). The chain file is UCSC's and the annotation GENCODE's (release 24, chr22);
both have to be put there by hand.

The slice: genes of chr22 whose TSS lies in 41.2 to 42.2 Mb, and the SNPs of 40.7 to 42.7 Mb, so that the ±500 kb
window of every gene lies wholly inside. Nothing is filtered, normalised or reordered. The reference is GRCh37 in
chr22's own coordinates, N outside the slice: it was lifted from GRCh38 as told in genopred/data/README.md.
"""

from __future__ import annotations

import argparse
import gzip
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bed_reader
import cyvcf2
import numpy as np
import pgenlib

CHROM = "22"
LENGTH = 51_304_566  # of chr22 in GRCh37
GENES = (41_200_000, 42_200_000)  # of the TSS, 0-based half-open
SLICE = (40_700_000, 42_700_000)  # of SNPs and reference
GENOTYPE_PCS, PHENOTYPE_PCS = 3, 15

GENOTYPES = "genotypes.chr22.vcf.gz"
EXPRESSION = "genes.50percent.chr22.bed.gz"
COVARIATES = "genes.covariates.pc50.txt.gz"
GRCH38 = "chr22.hg38.fa.gz"
CHAIN = "hg19ToHg38.over.chain.gz"
ANNOTATION = "gencode.v24.annotation_chr22.gtf.gz"
ORIGINALS = (GENOTYPES, EXPRESSION, COVARIATES, GRCH38, CHAIN, ANNOTATION)


@dataclass(frozen=True)
class Snps:
    """SNPs of one stretch: samples, positions, ids, alleles and the phased alleles (N, 2, M)."""

    samples: list[str]
    pos: list[int]
    ids: list[str]
    ref: list[str]
    alt: list[str]
    alleles: np.ndarray


def find(folder: Path, name: str) -> Path:
    """The file `name` anywhere under `folder`."""
    found = sorted(folder.rglob(name))
    if not found:
        sys.exit(f"{folder}: no {name} in it; see the first lines of {Path(__file__).name} for where it comes from.")
    return found[0]


def fetch(folder: Path) -> None:
    """Download the originals that a package manager serves and unpack them."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", "qtltools-example"], cwd=folder, check=True)
    for package in folder.glob("qtltools-example*.deb"):
        subprocess.run(["dpkg", "-x", package.name, "qtltools"], cwd=folder, check=True)
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*pip, "deepdetails==1.0.0rc2"], cwd=folder, check=True)
    archives = [*folder.rglob("examples.tar.xz"), *folder.glob("deepdetails-*.tar.gz")]
    for path in archives:
        with tarfile.open(path) as archive:
            wanted = [member for member in archive.getmembers() if wants(member)]
            archive.extractall(folder, members=wanted, filter="data")
    for path in folder.rglob("*.fa.gz"):
        if path.name != GRCH38 and "chr22" in path.name:
            path.rename(path.with_name(GRCH38))


def wants(member: tarfile.TarInfo) -> bool:
    """Whether an archive's member is one of the originals."""
    name = Path(member.name).name
    return member.isfile() and (name in ORIGINALS or (name.endswith(".fa.gz") and "chr22" in name))


def read_snps(path: Path, start: int = 0, end: int = LENGTH) -> Snps:
    """The SNPs of [start, end) with their phase; refuses what the slice may not hold."""
    vcf = cyvcf2.VCF(str(path), gts012=True, lazy=True)
    columns: list[tuple[int, str, str, str]] = []
    alleles = []
    for record in vcf:
        if not start <= record.start < end:
            continue
        calls = record.genotype.array()
        if len(record.ALT) != 1 or calls[:, 2].min() != 1 or calls[:, :2].min() < 0:
            sys.exit(f"{path}: {record.ID} is not a biallelic variant with every genotype phased.")
        columns.append((record.POS, record.ID, record.REF, record.ALT[0]))
        alleles.append(calls[:, :2].astype(np.int8))
    pos, ids, ref, alt = (list(column) for column in zip(*columns))
    return Snps(list(vcf.samples), pos, ids, ref, alt, np.stack(alleles, axis=2))


def read_sites(path: Path) -> Iterator[tuple[int, str]]:
    """0-based position and REF of every SNP of the chromosome."""
    with gzip.open(path, "rt") as lines:
        for line in lines:
            if not line.startswith("#"):
                _, pos, _, ref, _ = line.split("\t", 5)[:5]
                yield int(pos) - 1, ref


def read_fasta(path: Path) -> bytes:
    """The one sequence of a FASTA file, upper case."""
    with gzip.open(path, "rb") as handle:
        return b"".join(handle.read().split(b"\n")[1:]).upper()


def lift_reference(grch38: Path, chain: Path, vcf: Path) -> tuple[bytearray, int]:
    """chr22 in GRCh37 coordinates: GRCh38's bases along the chain, the VCF's REF at its sites, N in the gaps.

    Returns the sequence and how many sites differed from the VCF's REF.
    """
    forward = read_fasta(grch38)
    strands = {"+": forward, "-": forward[::-1].translate(bytes.maketrans(b"ACGT", b"TGCA"))}
    target = bytearray(b"N" * LENGTH)
    with gzip.open(chain, "rt") as lines:
        inside, query = False, forward
        t = q = 0
        for line in lines:
            fields = line.split()
            if line.startswith("chain"):
                inside = fields[2] == fields[7] == f"chr{CHROM}"
                query = strands[fields[9]]
                t, q = int(fields[5]), int(fields[10])
            elif inside and fields:
                size = int(fields[0])
                # Chains are sorted by score: where two overlap, the better one has already spoken.
                if target.count(b"N", t, t + size) == size:
                    target[t : t + size] = query[q : q + size]
                if len(fields) == 3:
                    t, q = t + size + int(fields[1]), q + size + int(fields[2])
    changed = 0
    for at, ref in read_sites(vcf):
        if target[at : at + len(ref)] != ref.encode():
            target[at : at + len(ref)] = ref.encode()
            changed += 1
    return target, changed


def bgzip(data: bytes, path: Path) -> list[tuple[int, int]]:
    """Write `data` in the BGZF format of the SAM specification; returns each block's offsets (file, data)."""
    offsets = []
    with path.open("wb") as out:
        for start in range(0, len(data), 65280):
            block = data[start : start + 65280]
            press = zlib.compressobj(9, zlib.DEFLATED, -15)
            body = press.compress(block) + press.flush()
            offsets.append((out.tell(), start))
            out.write(b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x06\x00BC\x02\x00" + struct.pack("<H", len(body) + 25))
            out.write(body + struct.pack("<II", zlib.crc32(block), len(block)))
        out.write(bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000"))  # the end-of-file block
    return offsets


def write_fasta(sequence: bytes, path: Path, width: int = 60) -> None:
    """FASTA with the .fai and .gzi that `samtools faidx` would write."""
    name = f">{CHROM}\n".encode()
    lines = (sequence[i : i + width] for i in range(0, len(sequence), width))
    offsets = bgzip(name + b"\n".join(lines) + b"\n", path)
    fai = f"{CHROM}\t{len(sequence)}\t{len(name)}\t{width}\t{width + 1}\n"
    Path(f"{path}.fai").write_text(fai)
    rest = offsets[1:]
    flat = [number for pair in rest for number in pair]
    Path(f"{path}.gzi").write_bytes(struct.pack(f"<{1 + len(flat)}Q", len(rest), *flat))


def write_genotypes(snps: Snps, prefix: Path) -> None:
    """PLINK 2 fileset with phase, and PLINK 1 fileset of the same genotypes (A1 = ALT)."""
    people, variants = len(snps.samples), len(snps.pos)
    writer = pgenlib.PgenWriter(
        bytes(prefix.with_suffix(".pgen")),
        people,
        variant_ct=variants,
        nonref_flags=False,
        hardcall_phase_present=True,
    )
    for j in range(variants):
        writer.append_alleles(np.ascontiguousarray(snps.alleles[:, :, j].ravel(), dtype=np.int32), all_phased=True)
    writer.close()
    rows = zip(snps.pos, snps.ids, snps.ref, snps.alt)
    table = "".join(f"{CHROM}\t{pos}\t{name}\t{ref}\t{alt}\n" for pos, name, ref, alt in rows)
    prefix.with_suffix(".pvar").write_text("#CHROM\tPOS\tID\tREF\tALT\n" + table)
    prefix.with_suffix(".psam").write_text("#IID\tSEX\n" + "".join(f"{name}\tNA\n" for name in snps.samples))

    dosage = snps.alleles.sum(axis=1, dtype=np.int8)
    bed_reader.to_bed(prefix.with_suffix(".bed"), dosage, count_A1=True, num_threads=1)
    fam = "".join(f"0\t{name}\t0\t0\t0\t-9\n" for name in snps.samples)
    prefix.with_suffix(".fam").write_text(fam)
    rows = zip(snps.pos, snps.ids, snps.ref, snps.alt)
    bim = "".join(f"{CHROM}\t{name}\t0\t{pos}\t{alt}\t{ref}\n" for pos, name, ref, alt in rows)
    prefix.with_suffix(".bim").write_text(bim)


def cut_expression(path: Path) -> str:
    """Header and lines of the genes whose TSS lies in `GENES`, cells as they are."""
    kept = []
    with gzip.open(path, "rt") as lines:
        for line in lines:
            if line.startswith("#") or GENES[0] <= int(line.split("\t", 2)[1]) < GENES[1]:
                kept.append(line)
    return "".join(kept)


def cut_covariates(path: Path) -> str:
    """The first genotype and phenotype principal components; their names, which are paths, made plain."""
    kinds = [("genotype_PC", GENOTYPE_PCS), ("phenotype_PC", PHENOTYPE_PCS)]
    names = [f"{kind}{i + 1}" for kind, n in kinds for i in range(n)]
    with gzip.open(path, "rt") as lines:
        kept = ["\t".join(next(lines).split())]
        for name in names:
            original, *cells = next(lines).split()
            number = name.removeprefix("genotype_").removeprefix("phenotype_")
            right_kind = ("/genotypes_" in original) == name.startswith("genotype")
            if not (original.endswith(f"_{number}") and right_kind):
                sys.exit(f"{path}: expected the row of {name}, found {original}.")
            kept.append("\t".join([name, *cells]))
    return "\n".join(kept) + "\n"


def cut_symbols(annotation: Path, expression: str) -> str:
    """gene_id as in the expression file, and what GENCODE calls the gene."""
    names = {}
    with gzip.open(annotation, "rt") as lines:
        for line in lines:
            if "\tgene\t" in line:
                gene, name = (line.partition(f'{key} "')[2].partition('"')[0] for key in ("gene_id", "gene_name"))
                names[gene.partition(".")[0]] = name
    genes = [line.split("\t", 4)[3] for line in expression.splitlines() if not line.startswith("#")]
    rows = [f"{gene}\t{names[gene.partition('.')[0]]}\n" for gene in genes if gene.partition(".")[0] in names]
    return "gene_id\tgene_name\n" + "".join(rows)


def cut(originals: Path, out: Path) -> None:
    """Write the example's files into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    vcf = find(originals, GENOTYPES)
    snps = read_snps(vcf, *SLICE)
    write_genotypes(snps, out / "geuvadis")
    expression = cut_expression(find(originals, EXPRESSION))
    bgzip(expression.encode(), out / "expression.bed.gz")
    (out / "symbols.tsv").write_text(cut_symbols(find(originals, ANNOTATION), expression))
    bgzip(cut_covariates(find(originals, COVARIATES)).encode(), out / "covariates.txt.gz")
    lifted, changed = lift_reference(find(originals, GRCH38), find(originals, CHAIN), vcf)
    print(f"reference: REF of the VCF put in at {changed} sites of chr{CHROM}")
    outside = bytearray(b"N" * LENGTH)
    outside[slice(*SLICE)] = lifted[slice(*SLICE)]
    write_fasta(bytes(outside), out / "reference.fa.gz")


def main() -> None:
    """Parse the arguments and cut."""
    parser = argparse.ArgumentParser(description="Cut the embedded example from the public originals.")
    parser.add_argument("--originals", type=Path, default=Path("../shared"), help="folder that holds the originals")
    parser.add_argument("--out", type=Path, default=Path("genopred/data/example"), help="folder to write into")
    parser.add_argument("--fetch", type=Path, metavar="DIR", help="first download what can be downloaded into DIR")
    given = parser.parse_args()
    if given.fetch:
        fetch(given.fetch)
    cut(given.originals, given.out)
    for path in sorted(given.out.iterdir()):
        print(f"{path.stat().st_size:>9,}  {path}")


if __name__ == "__main__":
    main()
