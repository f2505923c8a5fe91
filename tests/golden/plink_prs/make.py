"""Make these goldens again: a simulated cohort, and what plink1.9 says of it. Needs plink1.9 on the path.

    python tests/golden/plink_prs/make.py

130 people (10 of them children of others, so no founders), 160 SNPs in LD over 400 kb, 3 % of genotypes missing.
The commands that ran are written to COMMANDS.txt.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from bed_reader import to_bed

HERE = Path(__file__).parent
P1 = ("1", "0.05", "0.01", "0.001", "0.00001")
R2 = ("0.1", "0.2", "0.5", "0.8")


def cohort(rng: np.random.Generator) -> dict[str, np.ndarray]:
    n, m = 130, 160
    pos = np.sort(rng.choice(400_000, m, replace=False)) + 20_000_000
    pool = (rng.random((12, m)) < rng.uniform(0.15, 0.6, m)).astype(int)
    source = np.zeros((2 * n, m), dtype=int)
    source[:, 0] = rng.integers(12, size=2 * n)
    for j in range(1, m):  # recombination between neighbours, one in 50 kb
        switch = rng.random(2 * n) < 1 - np.exp(-(pos[j] - pos[j - 1]) / 50_000)
        source[:, j] = np.where(switch, rng.integers(12, size=2 * n), source[:, j - 1])
    alleles = pool[source, np.arange(m)]
    dosage = (alleles[:n] + alleles[n:]).astype(np.float32)
    y = 0.6 * dosage[:, 40] - 0.5 * dosage[:, 120] + rng.normal(size=n)
    dosage[:, 5] = 0  # does not vary
    dosage[rng.random(dosage.shape) < 0.03] = np.nan
    return {"dosage": dosage, "pos": pos, "y": y, "covariates": rng.normal(size=(n, 2)) + 0.3 * y[:, None]}


def main() -> None:
    data = cohort(np.random.default_rng(20240501))
    n, m = data["dosage"].shape
    names = [f"s{i:03d}" for i in range(n)]
    father = ["0"] * (n - 10) + names[:10]
    mother = ["0"] * (n - 10) + names[10:20]
    properties = {
        "chromosome": ["22"] * m,
        "sid": [f"v{j:03d}" for j in range(m)],
        "bp_position": data["pos"],
        "allele_1": ["A"] * m,
        "allele_2": ["G"] * m,
        "fid": ["0"] * n,
        "iid": names,
        "father": father,
        "mother": mother,
    }
    to_bed(HERE / "cohort.bed", data["dosage"], properties=properties)
    (HERE / "y.phe").write_text("".join(f"0 {name} {value:.6f}\n" for name, value in zip(names, data["y"])))
    (HERE / "covar.txt").write_text(
        "FID IID c1 c2\n" + "".join(f"0 {s} {a:.6f} {b:.6f}\n" for s, (a, b) in zip(names, data["covariates"]))
    )
    (HERE / "ranges.txt").write_text("strict 0 0.001\nmiddle 0.001 0.2\nall 0 1\n")
    commands: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        run_all(Path(folder), commands)
    (HERE / "COMMANDS.txt").write_text("\n".join(commands) + "\n")


def run_all(folder: Path, commands: list[str]) -> None:
    def plink(arguments: str, *files: str) -> None:
        line = f"plink1.9 --bfile cohort --keep-allele-order --allow-no-sex --threads 1 {arguments} --out out"
        for old in folder.glob("out.*"):
            old.unlink()
        subprocess.run(shlex.split(line), cwd=folder, check=True, capture_output=True)
        commands.append(line)
        for name in files:
            source, target = name.split(">")
            (HERE / target).write_bytes((folder / source).read_bytes())
            commands[-1] += f" ; cp {source} {target}"

    for name in ("cohort.bed", "cohort.bim", "cohort.fam", "y.phe", "covar.txt", "ranges.txt"):
        (folder / name).write_bytes((HERE / name).read_bytes())
    plink("--pheno y.phe --linear", "out.assoc.linear>linear.txt")
    plink("--pheno y.phe --linear hide-covar --covar covar.txt", "out.assoc.linear>linear_covar.txt")
    rows = [line.split() for line in (HERE / "linear.txt").read_text().splitlines()[1:]]
    score = "".join(f"{r[1]} {'A' if i % 3 else 'G'} {r[6]}\n" for i, r in enumerate(rows) if r[6] != "NA")
    (HERE / "weights.txt").write_text(score)
    (HERE / "pval.txt").write_text("".join(f"{r[1]} {r[8]}\n" for r in rows if r[8] != "NA"))
    for name in ("linear.txt", "weights.txt", "pval.txt"):
        (folder / name).write_bytes((HERE / name).read_bytes())
    table = ["r2\tp1\tindex\tmembers"]
    for r2 in R2:
        for p1 in P1:
            plink(f"--clump linear.txt --clump-p1 {p1} --clump-p2 1 --clump-r2 {r2} --clump-kb 100")
            if (folder / "out.clumped").exists():
                for cells in map(str.split, (folder / "out.clumped").read_text().splitlines()[1:]):
                    if cells:
                        members = cells[-1].replace("(1)", "").replace("NONE", "-")
                        table.append(f"{r2}\t{p1}\t{cells[2]}\t{members}")
    plink("--clump linear.txt --clump-p1 0.01 --clump-p2 0.05 --clump-r2 0.3 --clump-kb 50")
    for cells in map(str.split, (folder / "out.clumped").read_text().splitlines()[1:]):
        if cells:
            table.append(f"0.3\t0.01\t{cells[2]}\t{cells[-1].replace('(1)', '').replace('NONE', '-')}")
    (HERE / "clumps.tsv").write_text("\n".join(table) + "\n")
    plink("--score weights.txt sum", "out.profile>score_sum.txt")
    plink("--score weights.txt", "out.profile>score_average.txt")
    plink("--score weights.txt no-mean-imputation", "out.profile>score_skip.txt")
    plink("--score weights.txt sum center", "out.profile>score_center.txt")
    ranges = [f"out.{name}.profile>score_range_{name}.txt" for name in ("strict", "middle")]
    plink("--score weights.txt sum --q-score-range ranges.txt pval.txt", *ranges)


if __name__ == "__main__":
    main()
