"""What `genopred features --dry-run` says: the work of every gene, and what it would cost here."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from genopred.pipelines.features_inputs import FeatureInputs
from genopred.pipelines.run import Progress
from genopred.report.tables import duration
from genopred.sequence.cost import Cost, cost, work


@dataclass(frozen=True)
class Estimate:
    """What `--dry-run` says."""

    cost: Cost

    def lines(self) -> list[str]:
        """For the screen."""
        cost, t = self.cost, self.cost.genes
        h, d = int(t["haplotypes"].sum()), int(t["distinct"].sum())
        out = [
            f"genes: {t.height:,}",
            f"haplotypes: {h:,}, of which distinct windows: {d:,} ({d / max(h, 1):.1%})",
        ]
        if t["naive_tokens"].sum():
            tokens, naive = int(t["tokens"].sum()), int(t["naive_tokens"].sum())
            out.append(f"distinct tokens in the tower: {tokens:,} of {naive:,} ({tokens / naive:.2%})")
        out += [
            f"work: about {float(t['passes'].sum()):,.0f} passes, where one a haplotype would be {h:,}",
            f"one pass: {1000 * cost.seconds_per_pass:,.2f} ms on {cost.device}; one a haplotype would take "
            f"{_duration(cost.naive_hours)}",
            f"estimated: {_duration(cost.hours)}, {_size(cost.memory_gb)} of memory, {_size(cost.output_gb)} on disk",
        ]
        return out


def _duration(hours: float) -> str:
    return duration(3600 * hours) if 3600 * hours >= 1 else "less than 1 s"


def _size(gb: float) -> str:
    for factor, unit in ((1, "GB"), (1e3, "MB")):
        if gb * factor >= 1:
            return f"{gb * factor:,.1f} {unit}"
    return f"{gb * 1e6:,.1f} kB"


def estimate(inputs: FeatureInputs, step: Progress) -> Estimate:
    """Count the work of every gene and time one pass, without computing features."""
    rows = []
    for i, gene in enumerate(inputs.genes.iter_rows(named=True), start=1):
        rows.append({"gene_id": gene["gene_id"], **work(inputs.models[0], inputs.sequences(gene))})
        step(i, inputs.genes.height, gene["gene_id"])
    table = pl.DataFrame(rows, infer_schema_length=None)
    return Estimate(cost(table, inputs.models, inputs.settings, inputs.genotypes.n_samples))
