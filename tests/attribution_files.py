"""Files for tests of `genopred attribute`: a chromosome with planted motifs, people, genes, elements and eQTLs."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import numpy as np
from attribution_data import PLANTED, Finder, Model, meme, smooth_model, turned

LENGTH, WINDOW = 3000, 300
#: 1-based TSS and strand; both windows hold a planted motif 40 bp after the TSS in the gene's direction.
GENES = (("ENSG00000000001.2", 1000, "+"), ("ENSG00000000002", 2000, "-"))
PEOPLE = ("ann", "bob", "eve")


def finder(path=None, **options):
    """A model that knows where PLANTED stands, and reads genes on the reverse strand backwards."""
    return Model(Finder(WINDOW), WINDOW, name="finder", strand_aware=True)


def attentive(path=None, **options):
    """The same with attention: every position to the next."""
    import torch

    model = finder()
    model.name = "attentive"
    model.module.attention_maps = lambda x: [("only", torch.eye(30).roll(1, 1).expand(len(x), 2, 30, 30))]
    return model


def bare(path=None, **options):
    """A model that cannot be differentiated."""
    model = smooth_model()
    model.name, model.torch_module = "bare", lambda: type(model).__mro__[1].torch_module(model)
    return model


#: For `genopred.sequence.models.registry.entry_points`.
POINTS = [EntryPoint(name, f"{__name__}:{name}", "g") for name in ("finder", "attentive", "bare")]


def sequence():
    bases = np.random.default_rng(11).choice(list("ACGT"), LENGTH)
    text = "".join(bases)
    for (_, tss, strand), motif in zip(GENES, (PLANTED, turned(PLANTED))):
        at = tss - 1 + 40 if strand == "+" else tss - 40 - len(motif)
        text = text[:at] + motif + text[at + len(motif) :]
    return text


def site_of(gene):
    """1-based first base of the gene's planted motif."""
    _, tss, strand = GENES[gene]
    return tss + 40 if strand == "+" else tss - 40 - len(PLANTED) + 1


#: SNPs: position -> alleles of ann, bob, eve; in both motifs, and elsewhere.
CALLS = {
    900: "0|1 1|1 0|0", 960: "1|0 0|0 0|1", site_of(0) + 3: "1|0 0|0 1|1", 1100: "0|0 0|1 1|0",
    site_of(1) + 5: "1|1 0|1 0|0", 1990: "0|1 0|0 1|1", 2050: "0|0 1|1 0|1",
}  # fmt: skip


def write(folder, *, phased=True):
    """ref.fa, people.vcf, expression.bed, genes.gtf, motifs.meme, open.bed, eqtl.tsv."""
    text = sequence()
    (folder / "ref.fa").write_text(">1\n" + "\n".join(text[i : i + 60] for i in range(0, LENGTH, 60)) + "\n")
    head = [
        "##fileformat=VCFv4.2",
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="x">',
        f"##contig=<ID=1,length={LENGTH}>",
    ]
    rows = ["#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t" + "\t".join(PEOPLE)]
    eqtl = ["variant_id\tchrom\tpos\tpval_nominal"]
    for k, (pos, calls) in enumerate(sorted(CALLS.items())):
        ref = text[pos - 1]
        alt = "CGTA"["ACGT".index(ref)]
        calls = calls if phased else calls.replace("|", "/")
        rows.append(f"1\t{pos}\trs{k}\t{ref}\t{alt}\t.\t.\t.\tGT\t" + "\t".join(calls.split()))
        in_motif = any(site_of(g) <= pos < site_of(g) + len(PLANTED) for g in range(2))
        eqtl.append(f"rs{k}\t1\t{pos}\t{1e-6 if in_motif else 0.1 + 0.05 * k:g}")
    rows.append("1\t970\tindel\t" + text[969] + "\t" + text[969] + "AA\t.\t.\t.\tGT\t0|1\t0|0\t0|0")
    (folder / "people.vcf").write_text("\n".join([*head, *rows]) + "\n")
    (folder / "eqtl.tsv").write_text("\n".join(eqtl) + "\n")
    bed = ["\t".join(["#chr", "start", "end", "gene", "length", "strand", *PEOPLE])]
    bed += ["\t".join(map(str, ["1", tss - 1, tss, gene, 100, strand, 1.0, 2.0, 1.5])) for gene, tss, strand in GENES]
    (folder / "expression.bed").write_text("\n".join(bed) + "\n")
    gtf = []
    for gene, tss, strand in GENES:
        start, end = (tss, tss + 300) if strand == "+" else (tss - 300, tss)
        about = f'gene_id "{gene}"; gene_name "G{tss}"; transcript_id "T{tss}";'
        for feature, a, b in (("gene", start, end), ("exon", start, start + 50), ("exon", end - 60, end)):
            gtf.append("\t".join(map(str, ["1", "x", feature, a, b, ".", strand, ".", about])))
    (folder / "genes.gtf").write_text("\n".join(gtf) + "\n")
    (folder / "motifs.meme").write_text(meme())
    (folder / "open.bed").write_text("".join(f"chr1\t{site_of(g) - 20}\t{site_of(g) + 30}\n" for g in range(2)))
    return folder
