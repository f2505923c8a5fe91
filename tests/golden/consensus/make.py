"""Make the toy FASTA and VCF of tests/data/consensus and, with bcftools, the sequences it says they hold.

    python tests/golden/consensus/make.py

The variants crowd each other on purpose: SNVs, multi-base substitutions, insertions, deletions, several
records at one position, and indels at the last base of the record before.
"""

import hashlib
import os
import random
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
DATA = HERE.parent.parent / "data" / "consensus"
SHARED = Path(os.environ.get("GENOPRED_SHARED", HERE.parents[3] / "shared"))
PEOPLE = [f"P{i}" for i in range(8)]
LENGTH = 1500


def variants(rng: random.Random, sequence: str) -> list[tuple[int, str, str]]:
    out = []
    pos = 5
    while pos < LENGTH - 20:
        kind = rng.choice(["snv", "snv", "mnp", "ins", "del", "complex"])
        ref = sequence[pos]
        if kind == "snv":
            alt = rng.choice([b for b in "ACGT" if b != ref])
        elif kind == "mnp":
            ref = sequence[pos : pos + rng.randint(2, 4)]
            alt = "".join(rng.choice("ACGT") for _ in ref)
        elif kind == "ins":
            alt = ref + "".join(rng.choice("ACGT") for _ in range(rng.randint(1, 5)))
        elif kind == "del":
            ref = sequence[pos : pos + rng.randint(2, 6)]
            alt = ref[0]
        else:
            ref = sequence[pos : pos + rng.randint(2, 4)]
            alt = "".join(rng.choice("ACGT") for _ in range(rng.randint(1, 5)))
        if alt != ref:
            out.append((pos, ref, alt))
        pos += rng.choice([0, 0, 1, 1, 2, 3, 8, 15])
    return out


def main() -> None:
    rng = random.Random(3)
    sequence = "".join(rng.choice("ACGT") for _ in range(LENGTH))
    DATA.mkdir(parents=True, exist_ok=True)
    (DATA / "toy.fa").write_text(">1\n" + "\n".join(sequence[i : i + 60] for i in range(0, LENGTH, 60)) + "\n")
    lines = ["##fileformat=VCFv4.2", f"##contig=<ID=1,length={LENGTH}>"]
    lines.append('##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">')
    lines.append("\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *PEOPLE]))
    for i, (pos, ref, alt) in enumerate(variants(rng, sequence)):
        calls = [f"{int(rng.random() < 0.35)}|{int(rng.random() < 0.35)}" for _ in PEOPLE]
        lines.append("\t".join(["1", str(pos + 1), f"v{i}", ref, alt, ".", ".", ".", "GT", *calls]))
    vcf = DATA / "toy.vcf"
    vcf.write_text("\n".join(lines) + "\n")

    packed = HERE / "toy.vcf.gz"
    packed.write_bytes(subprocess.run(["bcftools", "view", "-Oz", str(vcf)], check=True, capture_output=True).stdout)
    subprocess.run(["bcftools", "index", "-t", str(packed)], check=True)
    rows = ["sample\thaplotype\twhat\tsequence"]
    for what, keep in (("indels", []), ("substitutions", ["-i", "strlen(REF)=strlen(ALT)"])):
        for person in PEOPLE:
            for hap in "12":
                rows.append("\t".join([person, hap, what, consensus(DATA / "toy.fa", packed, person, hap, keep)]))
    (HERE / "toy.tsv").write_text("\n".join(rows) + "\n")
    for left in HERE.glob("toy.vcf.gz*"):
        left.unlink()
    if SHARED.is_dir():
        real()


def consensus(fasta: Path, vcf: Path, person: str, hap: str, keep: list[str], region: str | None = None) -> str:
    source = fasta
    command = ["bcftools", "consensus", "-s", person, "-H", hap, *keep, str(vcf)]
    if region is None:
        text = subprocess.run([*command, "-f", str(source)], check=True, capture_output=True, text=True).stdout
    else:
        text = subprocess.run(command, input=region, check=True, capture_output=True, text=True).stdout
    return "".join(text.split("\n")[1:])


def real() -> None:
    """20 people x 5 genes of chr22, windows of 20 kb: SHA-256 of each haplotype."""
    import gzip

    folder = SHARED / "data" / "geuvadis_chr22"
    with gzip.open(SHARED / "data" / "reference" / "chr22.b37.fa.gz", "rt") as file:
        chromosome = "".join(file.read().split("\n")[1:])
    with gzip.open(folder / "genes.50percent.chr22.bed.gz", "rt") as file:
        header, *body = file.read().strip().split("\n")
    people = header.split("\t")[6:]
    rows = ["gene\tstart\tend\tsample\thaplotype\tsha256"]
    for line in body[60:600:110]:
        _, _, end, gene = line.split("\t")[:4]
        start, stop = int(end) - 10_000, int(end) + 10_000
        # bcftools takes the region from the name of the sequence; the records say chr22, the header 22
        region = f">chr22:{start + 1}-{stop}\n{chromosome[start:stop]}\n"
        changed = 0
        for person in people[::18][:20]:
            for hap in "12":
                text = consensus(Path(), folder / "genotypes.chr22.vcf.gz", person, hap, [], region)
                changed += text != chromosome[start:stop]
                digest = hashlib.sha256(text.upper().encode()).hexdigest()
                rows.append(f"{gene}\t{start}\t{stop}\t{person}\t{hap}\t{digest}")
        assert changed > 10, f"{gene}: bcftools applied next to nothing"
    (HERE / "chr22.tsv").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
