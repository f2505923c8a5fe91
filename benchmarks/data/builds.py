"""Make genopred/data/builds.tsv: where GRCh37 and GRCh38 lie side by side, from UCSC's chain file.

Stretches of at least 100 kb in which GRCh38's positions are GRCh37's plus one number; gaps of less than 50 kb inside a
stretch are passed over. They hold 98 % of what the chain file aligns, and serve to recognise a build, not to lift over.

    python benchmarks/data/builds.py hg19ToHg38.over.chain.gz genopred/data/builds.tsv
"""

from __future__ import annotations

import sys
from pathlib import Path

from genopred.io.chain import read_chain

LENGTH, GAP, SCORE = 100_000, 50_000, 1e6


def main(chain: str, out: str) -> None:
    rows = []
    table = read_chain(chain)
    for chrom, to, sign, score, start, end, there in table.select(
        "chrom", "to_chrom", "sign", "score", "start", "end", "to_start"
    ).sort("chrom", "start").iter_rows():  # fmt: skip
        if chrom != to or sign < 0 or score < SCORE or "_" in chrom:
            continue
        by = there - start
        if rows and rows[-1][0] == chrom and rows[-1][3] == by and start - rows[-1][2] < GAP:
            rows[-1][2] = end
        else:
            rows.append([chrom, start, end, by])
    kept = [row for row in rows if row[2] - row[1] >= LENGTH]
    lines = ["chrom\tstart\tend\tby", *("\t".join(map(str, row)) for row in kept)]
    Path(out).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:3])
