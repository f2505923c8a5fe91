"""What models go by at real genes: the worked example of docs/attribution.md.

    python benchmarks/attribution.py --out OUT [--record]

1. enformer-small at the TSSs of CRKL and FAM118A (GRCh38): DeepLIFT and attention for GM12878's
   accessibility, seqlets beside shuffles of the windows, the consensus motifs of tests/attribution_data.py, and whether
   measured accessibility lies where contributions are high.
2. Xpresso (GM12878) at the same genes (GRCh37): what makes HG00096 differ from the reference, and whether the SNPs that
   contribute are those that an eQTL scan of the 358 people picks, beside nulls that keep LD.

--record writes benchmarks/results/attribution.md. Needs ../shared (or $GENOPRED_SHARED) and genopred[attribution].
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import polars as pl

from genopred.cli.progress import progress
from genopred.files import write_text
from genopred.pipelines import attribute, eqtl
from genopred.provenance import machine
from genopred.settings import Attribute, Eqtl

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
from attribution_data import meme  # noqa: E402

GENES = {"CRKL": "ENSG00000099942", "FAM118A": "ENSG00000100376"}
#: Columns of each table that are shown, and how many rows of it.
SHOWN = {
    "sums": (("window", "person", "method", "value", "background", "delta"), 12),
    "seqlets": (("window", "person", "method", "start", "end", "sequence", "attribution", "p", "q"), 4),
    "motifs": (("window", "sequence", "motif", "p", "q"), 4),
    "enrichment": (("window", "method", "elements", "top", "expected", "fold", "p"), 8),
    "differences": ((), 4),
    "overlap": ((), 12),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    shared = Path(os.environ.get("GENOPRED_SHARED", HERE.parents[1] / "shared"))
    data, people = shared / "data", shared / "data" / "geuvadis_chr22"
    if not data.is_dir():
        raise SystemExit(f"{data} is not there; set GENOPRED_SHARED to the folder of the shared data.")
    args.out.mkdir(parents=True, exist_ok=True)
    motifs = args.out / "consensus.meme"
    write_text(motifs, meme())
    with progress("windows") as step:
        attribute.run(
            Attribute(
                fasta=data / "reference" / "chr22.hg38.fa.gz",
                gtf=data / "reference" / "gencode.v24.annotation_chr22.gtf.gz",
                gene=tuple(GENES.values()),
                tracks=("GM12878 acc",),
                bins="3",
                method=("deeplift", "attention"),
                motifs=motifs,
                signal=(data / "tracks" / "acc.GM12878.chr22.bw",),
                out=args.out / "reference",
            ),
            step,
        )
    cohort = {
        "vcf": people / "genotypes.chr22.vcf.gz",
        "expression": people / "genes.50percent.chr22.bed.gz",
        "gene": tuple(GENES.values()),
    }
    with progress("genes") as step:
        covariates = {"covar": people / "genes.covariates.pc50.txt.gz", "n_covariates": 18}
        eqtl.run(Eqtl(**cohort, **covariates, permute=0, out=args.out / "eqtl"), step)
    (pairs,) = args.out.glob("eqtl.cis_qtl_pairs.*.parquet")
    with progress("windows") as step:
        attribute.run(
            Attribute(
                **cohort,
                fasta=data / "reference" / "chr22.b37.fa.gz",
                model=f"xpresso:{data / 'xpresso' / 'GM12878_trainepoch.06-0.5062.h5'}",
                person=("HG00096",),
                eqtl=pairs,
                out=args.out / "people",
            ),
            step,
        )
    text = "\n".join(
        [
            f"`python benchmarks/attribution.py --out OUT --record`. {machine()}.\n",
            "## enformer-small, GM12878 accessibility, GRCh38\n",
            *tables(args.out / "reference"),
            "## Xpresso (GM12878), HG00096 against the reference, eQTLs of 358 people, GRCh37\n",
            *tables(args.out / "people"),
        ]
    )
    write_text(args.out / "attribution.md", text)
    if args.record:
        write_text(HERE / "results" / "attribution.md", text)
    print(text)


def tables(folder: Path) -> list[str]:
    """The first rows of each table that is there."""
    out = []
    for name, (columns, most) in SHOWN.items():
        file = folder / f"{name}.tsv"
        if not file.is_file():
            continue
        table = pl.read_csv(file, separator="\t", infer_schema_length=None)
        picked = table.select([column for column in columns if column in table.columns] or table.columns)
        out += [f"{name}.tsv, {min(most, table.height)} of {table.height} rows:\n"]
        out += [f"| {' | '.join(picked.columns)} |", f"|{'---|' * picked.width}"]
        for row in picked.head(most).iter_rows():
            cells = ("" if v is None else f"{v:.4g}" if isinstance(v, float) else str(v) for v in row)
            out.append(f"| {' | '.join(cells)} |")
        out.append("")
    return out


if __name__ == "__main__":
    main()
