"""Enformer on a cohort's haplotypes: enformer-pytorch one pass a haplotype beside genopred's exact mode.

    python benchmarks/enformer.py                      # 358 people, full size, fp32 on one CPU thread: about 15 minutes
    python benchmarks/enformer.py --device cuda --dtypes fp32,tf32,bf16 --windows 0
    python benchmarks/enformer.py --growth             # operations for 50 to 5,000 simulated people; needs msprime

Haplotypes are real (GEUVADIS, chr22; $GENOPRED_SHARED or ../shared). Weights are random, batch norm has the statistics
of the reference sequence: neither speed nor what is shared depends on them. The plain passes are timed on a few
haplotypes, spread over the run, and scaled to all; so is the transformer on a sample of the distinct windows
(`--windows`, 0 all). The tower of all haplotypes is timed whole. The two sides must agree on the haplotypes that both
computed, or nothing is written.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from enformer_pytorch import Enformer

from genopred.io.fasta import open_fasta
from genopred.io.vcf import read_vcf
from genopred.sequence.haplotypes import VariantWindow, distinct_rows, personal_sequences
from genopred.sequence.models.enformer.model import naive_operations
from genopred.sequence.models.enformer.tower import Counter, ExactTower, full_precision
from genopred.sequence.models.enformer.transformer import Transformer, fitting_batch
from genopred.types import Interval

SHARED = Path(os.environ.get("GENOPRED_SHARED", Path(__file__).parents[1] / ".." / "shared")) / "data"
WINDOW = 196_608
#: The gene's TSS bin and its neighbours.
BINS = [446, 447, 448]
TRACKS = list(range(0, 5313, 83))
#: Windows simulated for each size of cohort; the table has their means.
REPLICATES = 3
PEOPLE = "50,100,358,1000,2500,5000"


def full_size(reference: np.ndarray, device: str, **changed: Any) -> Any:
    """A random Enformer in which every base and attention matter."""
    torch.manual_seed(0)
    module = Enformer.from_hparams(**changed).eval()
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, torch.nn.Conv1d | torch.nn.Linear | torch.nn.Conv2d):
                part.weight.normal_(0, part.weight[0].numel() ** -0.5)
                if part.bias is not None:
                    part.bias.normal_(0, 0.1)
        norms = [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm1d)]
        for part in norms:
            part.train()
            part.momentum = 1.0
        # statistics of a short stretch; the trunk's last norm is after the crop, so it gets the tokens themselves
        x = module.conv_tower(module.stem(torch.from_numpy(reference[: 128 * 128])[None].mT)).mT
        module.final_pointwise(module.transformer(x))
        for part in norms:
            part.eval()
    return module.to(device)


def real_haplotypes(tss: int, people: int) -> VariantWindow:
    """A window around a TSS of chr22 (b37) and the two haplotypes of the first people of GEUVADIS."""
    genotypes = read_vcf(SHARED / "geuvadis_chr22" / "genotypes.chr22.vcf.gz")
    genotypes = genotypes.select(samples=genotypes.samples[:people])
    fasta = open_fasta(SHARED / "reference" / "chr22.b37.fa.gz")
    return personal_sequences(genotypes, fasta, Interval("22", tss - WINDOW // 2, tss + WINDOW // 2)).window


def simulated_haplotypes(people: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Positions, and haplotypes (2 N, sites), under the European history of Tennessen et al. (2012), and its rate."""
    import msprime

    history = msprime.Demography()
    history.add_population(name="EUR", initial_size=512_000, growth_rate=0.0195)
    history.add_population_parameters_change(time=205, initial_size=9_300, growth_rate=0.00307)
    history.add_population_parameters_change(time=920, initial_size=1_861, growth_rate=0)
    history.add_population_parameters_change(time=2_040, initial_size=14_474)
    history.add_population_parameters_change(time=5_920, initial_size=7_310)
    trees = msprime.sim_ancestry(
        {"EUR": people}, demography=history, sequence_length=WINDOW, recombination_rate=1e-8, random_seed=seed
    )
    trees = msprime.sim_mutations(trees, rate=2.36e-8, random_seed=seed, model=msprime.BinaryMutationModel())
    position = trees.tables.sites.position.astype(np.int64)
    return position, (trees.genotype_matrix() > 0).astype(np.int8).T


def growth(sizes: str) -> list[dict[str, Any]]:
    """Operations for more and more people, common variants and all; nothing but distinct rows is computed."""
    rng = np.random.default_rng(0)
    reference = np.eye(4, dtype=np.float32)[rng.integers(0, 4, WINDOW)]
    with torch.device("meta"):
        module = Enformer.from_hparams().eval()
    tower = ExactTower(module)
    each = window_operations(module, 1536)
    naive_tower, naive = naive_operations(module, WINDOW)
    rows: list[dict[str, Any]] = []
    for people in map(int, sizes.split(",")):
        found: dict[str, list[dict[str, float]]] = {"common": [], "all": []}
        for seed in range(1, REPLICATES + 1):
            for name, row in one_simulation(people, seed, reference, tower, naive_tower).items():
                found[name].append(row)
        for name, replicates in found.items():
            mean = {key: float(np.mean([row[key] for row in replicates])) for key in replicates[0]}
            total = mean["tower_passes"] * naive_tower + mean["distinct_windows"] * each
            naive_total = 2 * people * naive
            costs = {"tflop_exact": total / 1e12, "tflop_naive": naive_total / 1e12}
            rows.append({"people": people, "variants": name} | mean | costs | {"fold_operations": naive_total / total})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def one_simulation(
    people: int, seed: int, reference: np.ndarray, tower: ExactTower, naive_tower: float
) -> dict[str, dict[str, float]]:
    """Distinct rows of one simulated window, common variants and all."""
    position, alleles = simulated_haplotypes(people, seed)
    frequency = alleles.mean(axis=0)
    out = {}
    for name, keep in (("common", np.minimum(frequency, 1 - frequency) >= 0.05), ("all", frequency > 0)):
        sites, some = position[keep], np.ascontiguousarray(alleles[:, keep])
        ref = reference[sites].argmax(axis=1)
        work = tower.plan(VariantWindow(reference, sites, ref, (ref + 1) % 4, some))
        empty = tower.plan(VariantWindow(reference, sites[:0], ref[:0], ref[:0], some[:1, :0]))
        windows = len(distinct_rows(some)[0])
        out[name] = {
            "sites": len(sites),
            "distinct_windows": windows,
            "share_windows": windows / (2 * people),
            "distinct_tokens": work.tokens[-1],
            "tower_passes": work.tower_operations / naive_tower,
            "tower_rows": work.tower_operations / empty.tower_operations,
            "table_gb": work.table_bytes / 1e9,
            "seconds_rows": work.seconds_rows,
        }
    return out


def window_operations(module: Any, n: int) -> float:
    """Operations of one distinct window after the tower, on tensors without memory."""
    with torch.device("meta"), torch.inference_mode():
        transformer = Transformer(module, n, "human", torch.float32, queries=128)
        count, c = Counter(), module.dim
        table = torch.empty((n, c))
        shared = transformer.shared(table, Counter())
        asked = torch.tensor(BINS), torch.tensor(TRACKS)
        transformer.run(table, torch.empty((1, n), dtype=torch.int64), *asked, count, shared)
    return count.operations


def now(device: str) -> np.ndarray:
    """Wall and processor seconds, after everything on the device is done.

    On a machine shared with others the processor's seconds are the steadier ones.
    """
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return np.array([time.perf_counter(), time.process_time()])


def memory(device: str) -> float:
    """Peak in GB: of the device, or of the process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def compare(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Both sides on one gene's window."""
    window = real_haplotypes(args.tss, args.people)
    alleles = window.alleles
    module = full_size(window.reference, args.device, **({"dim": 384, "depth": 3, "heads": 4} if args.small else {}))
    naive_tower, naive_all = naive_operations(module, WINDOW)
    bins, tracks = torch.tensor(BINS, device=args.device), torch.tensor(TRACKS, device=args.device)
    first, _ = window.distinct
    picked = first if not args.windows else first[np.linspace(0, len(first) - 1, args.windows).astype(int)]
    naive_at = [int(i) for i in picked[np.linspace(0, len(picked) - 1, args.passes).astype(int)]]
    plain: dict[int, np.ndarray] = {}
    times: list[np.ndarray] = []

    def plain_pass(h: int) -> None:
        x = torch.from_numpy(window.onehot([h])).to(args.device)
        with torch.inference_mode():
            started = now(args.device)
            out = module(x, head="human")
            times.append(now(args.device) - started)
        plain[h] = out[0][bins][:, tracks].float().cpu().numpy()
        print(f"plain pass {len(times)} of {args.passes}: {times[-1].round(2)} s (wall, processor)", flush=True)

    rows = []
    waiting = list(naive_at)
    plain_pass(waiting.pop(0))
    naive_memory = memory(args.device)
    for dtype in args.dtypes.split(","):
        with torch.inference_mode(), full_precision(dtype == "tf32"):
            tower = ExactTower(module)
            work = tower.plan(window)
            started = now(args.device)
            table, level = tower.tokens(window)
            tower_seconds = now(args.device) - started
            print(f"tower of {len(alleles)} haplotypes: {tower_seconds.round(1)} s", flush=True)
            if waiting:
                plain_pass(waiting.pop(0))
            transformer = Transformer(module, 1536, "human", torch.bfloat16 if dtype == "bf16" else torch.float32)
            batch = args.batch or fitting_batch(transformer)
            index = torch.from_numpy(level.index(picked.astype(np.int64), len(alleles))).to(args.device)
            count, out = Counter(), []
            started = now(args.device)
            shared = transformer.shared(table, count)
            shared_seconds, shared_operations = now(args.device) - started, count.operations
            started = now(args.device)
            for at in range(0, len(index), batch):
                out.append(transformer.run(table, index[at : at + batch], bins, tracks, count, shared).cpu())
            seconds = now(args.device) - started
            print(f"{dtype}: {len(index)} windows {seconds.round(1)} s", flush=True)
        while waiting and dtype == args.dtypes.split(",")[0]:
            plain_pass(waiting.pop(0))
        got = torch.cat(out).float().numpy()
        both = [list(picked).index(h) for h in plain]
        want = np.stack(list(plain.values()))
        scale = len(first) / len(index)
        operations = work.tower_operations + shared_operations + scale * (count.operations - shared_operations)
        exact_seconds = tower_seconds + shared_seconds + scale * seconds
        naive_seconds = len(alleles) * np.median(times, axis=0)
        got_centred, want_centred = (v[both] - v[both].mean(0) if v is got else v - v.mean(0) for v in (got, want))
        rows.append(
            {
                "tss": args.tss,
                "people": len(alleles) // 2,
                "haplotypes": len(alleles),
                "sites": len(window.sites),
                "dtype": dtype,
                "distinct_windows": len(first),
                "windows_timed": len(index),
                "distinct_tokens": work.tokens[-1],
                "plain_pass_seconds": np.round(times, 2).tolist(),
                "tower_seconds": tower_seconds.tolist(),
                "window_seconds": (seconds / len(index)).tolist(),
                "naive_hours": (naive_seconds / 3600).tolist(),
                "exact_hours": (exact_seconds / 3600).tolist(),
                "fold_time": (naive_seconds / exact_seconds).tolist(),
                "fold_operations": len(alleles) * naive_all / operations,
                "tower_passes": work.tower_operations / naive_tower,
                "tower_table_gb": work.table_bytes / 1e9,
                "naive_peak_gb": naive_memory,
                "peak_gb": memory(args.device),
                "batch": batch,
                "haplotypes_per_second_naive": len(alleles) / naive_seconds[0],
                "haplotypes_per_second": len(alleles) / exact_seconds[0],
                "error": float(np.abs(got[both] - want).max() / np.abs(want).max()),
                "between_people_error": float(np.abs(got_centred - want_centred).max() / np.abs(want_centred).max())
                if len(both) > 1
                else None,
            }
        )
        print(json.dumps(rows[-1], indent=1), flush=True)
        limit = 1e-4 if dtype == "fp32" else 0.05
        assert rows[-1]["error"] < limit, "the two sides do not agree"
    return rows


def main() -> None:
    """Parse, run, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=358)
    parser.add_argument("--tss", type=int, default=24_979_718, help="1-based, chr22 b37")
    parser.add_argument("--windows", type=int, default=12, help="distinct windows to time; 0 all")
    parser.add_argument("--passes", type=int, default=3, help="plain passes to time")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtypes", default="fp32")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="a small network, to try the script")
    parser.add_argument("--growth", action="store_true", help="operations for more and more simulated people")
    parser.add_argument("--sizes", default=PEOPLE, help="of --growth")
    parser.add_argument("--out", type=Path, help="JSON")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = growth(args.sizes) if args.growth else compare(args)
    machine = torch.cuda.get_device_name() if args.device.startswith("cuda") else platform.processor() or "CPU"
    head = {
        "date": datetime.date.today().isoformat(),
        "machine": machine,
        "threads": args.threads,
        "torch": torch.__version__,
        "load_average": os.getloadavg()[0],
    }
    if args.out:
        temporary = args.out.with_suffix(".tmp")
        temporary.write_text(json.dumps({"run": head, "rows": rows}, indent=1) + "\n")
        temporary.replace(args.out)


if __name__ == "__main__":
    main()
