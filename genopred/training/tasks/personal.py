"""Tuning a sequence model on people: differences between people within a gene are what is learned."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genopred.sequence.models.base import SequenceModel
from genopred.sequence.models.bodies import Begun, EnformerBody, reference_windows
from genopred.sequence.models.tuned import TunedNetwork, add_lora, merged, predict_window, tunable
from genopred.settings.personal import Start
from genopred.settings.training import Training
from genopred.training.loop import Validation, digest
from genopred.training.people import PersonalData, PersonalGene, within
from genopred.training.tasks.tracks import on_plateau

log = logging.getLogger(__name__)

#: Training genes whose validation people are looked at after an epoch.
MOST_VALIDATED = 128
#: Training genes that tell a network its units, and one with fresh weights its batch norms.
_CALIBRATION = 32
#: Standard deviation within genes of what is predicted to begin with; expression has one of 1.
START_SPREAD = 0.1
#: A run has learned nothing while its validation loss is not by this below that of predicting nothing (1),
PLATEAU_GAIN = 0.001
#: and the mean correlation within genes is below this.
PLATEAU_PEARSON = 0.02


def variance_loss(predicted: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
    """Variance of (prediction - measurement) over the N people of a gene.

    It is half the mean over all pairs of people (a person with oneself too) of the squared error of the difference
    between the two: what all people have in common does not count.

    >>> p, y = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([11.0, 12.0, 14.0])
    >>> float(variance_loss(p, y))
    0.0
    """
    error = predicted - measured
    return ((error - error.mean()) ** 2).mean()


class PersonalTask:
    """Tune a model on the training people of the training genes.

    A step takes `settings.batch` genes with all training people; its loss is the mean of the genes' variances. What is
    frozen is computed once for each gene. The epoch is chosen by validation people of training genes and of validation
    genes, alike; test people and test genes are not looked at.

    Parameters
    ----------
    data : PersonalData
    model : SequenceModel
        What is tuned.
    how : Start
    settings : Training
    tracks : sequence of int
        What the network predicts to begin with.
    window : int, optional
        Shorter than the model's.
    """

    score = "Pearson within genes"

    def __init__(
        self, data: PersonalData, model: SequenceModel, how: Start, settings: Training, tracks: Sequence[int],
        window: int | None = None,
    ) -> None:  # fmt: skip
        self.data, self.model, self.how, self.settings = data, model, how, settings
        self.tracks, self.window = list(tracks), window
        # what is distinct does not depend on weights
        self._body = tunable(model, how.start, bins=how.bins, window=window).body
        self.training = data.split.rows("train")
        self.per_epoch = max(1, len(self.training) // settings.batch)
        picked = np.random.default_rng([settings.seed, 1]).permutation(self.training)[:MOST_VALIDATED]
        self.validated = [(int(row), "seen") for row in np.sort(picked)]
        self.validated += [(int(row), "unseen") for row in data.split.rows("validation")]
        self._kept: dict[tuple[int, str], tuple[PersonalGene, Any]] = {}
        self._frozen: dict[tuple[int, str], Begun] = {}

    def identity(self) -> dict[str, str]:
        """What the run depends on beside its settings: values as they are, data as digests."""
        how = {name: getattr(self.how, name) for name in ("weights", "tune", "rank", "bins")}
        out = {f"model.{key}": repr(value) for key, value in how.items()}
        out |= {"model.start": self.model.checkpoint_hash, "model.tracks": str(self.tracks), "task": "personal"}
        out["data.window"] = str(self.window or self.model.window)
        out["people"] = digest("\0".join([*self.data.samples, *self.data.people]).encode())
        parts = [*self.data.genes["gene_id"].to_list(), *self.data.split.part]
        out["genes"] = digest("\0".join(parts).encode())
        # what test people and test genes have is no part of a run
        fit = np.concatenate([self.data.rows("train"), self.data.rows("validation")])
        used = [self.data.of_gene[row].take(fit) for row in np.flatnonzero(self.data.split.part != "test")]
        parts_of: dict[str, list[NDArray[Any]]] = {
            "sequences": [a for g in used for a in (g.window.reference, g.window.sites, g.window.alt_codes)],
            "haplotypes": [a for g in used for a in (g.window.alleles, g.who)],
            "expression": [g.y for g in used],
        }
        for name, arrays in parts_of.items():
            out[name] = digest(*arrays)
        return out

    def build(self) -> TunedNetwork:
        """The model's body and a head that says what the model says; or fresh weights."""
        fresh = self.how.weights == "random"
        options: dict[str, Any] = {"bins": self.how.bins, "tracks": self.tracks, "window": self.window}
        network = tunable(self.model, self.how.start, fresh=fresh, **options)
        if fresh:
            self._settle(network)
        self._calibrate(network)
        if self.how.tune == "lora":
            return add_lora(network, self.how.rank)
        if self.how.tune == "head":
            for module in network.body.first_part():
                module.requires_grad_(False)
        return network

    def _calibrate(self, network: TunedNetwork) -> None:
        """Let the head begin in units of what differs between the training people of some training genes."""
        said = []
        for row in self._some(_CALIBRATION):
            gene, plan = self._gene((int(row), "train"))
            with torch.no_grad():
                haplotypes = network.body.end(network.body.begin(plan).rows())
            said.append(haplotypes[torch.from_numpy(gene.who)].mean(dim=1))
        network.calibrate(said, START_SPREAD)

    def _some(self, n: int) -> NDArray[np.int64]:
        """Some of the training genes, from all along the chromosomes."""
        return self.training[:: max(1, len(self.training) // n)][:n]

    def _settle(self, network: TunedNetwork) -> None:
        """Give fresh weights the small Enformer's start, and the batch norms that reference sequences have there."""
        if isinstance(network.body, EnformerBody):
            from genopred.training.networks.enformer_small import start_local, start_sharp, start_through

            for start in (start_sharp, start_through, start_local):
                start(network.body.module)
        norms = [m for m in network.modules() if isinstance(m, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d))]
        if not norms:
            return
        x = reference_windows([self.data.of_gene[int(row)].window for row in self._some(_CALIBRATION)])
        for norm in norms:
            norm.train()
        momenta = [norm.momentum for norm in norms]
        with torch.no_grad():
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # the mean over all that is given
            for part in x.split(4):
                network(part)
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
        network.train(False)

    def forward(self, network: TunedNetwork) -> Callable[[Any], torch.Tensor]:
        """A gene's distinct haplotypes of some people (`key`) -> their predictions."""

        def predicted(key: Any) -> torch.Tensor:
            return network.end(self._begun(network, key))

        return predicted

    def longer_steps(self, network: TunedNetwork) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """None."""
        return []

    def batches(self, seed: Sequence[int]) -> tuple[int, Callable[[int], NDArray[np.int64]]]:
        """How many batches an epoch has, and what makes the i-th of them: rows of its genes."""
        order = np.random.default_rng(seed).permutation(self.training)
        size = self.settings.batch

        def make(i: int) -> NDArray[np.int64]:
            rows = order[i * size : (i + 1) * size]
            for row in rows:
                self._gene((int(row), "train"))
            return rows

        return max(1, len(order) // size), make

    def loss(
        self, forward: Callable[[Any], torch.Tensor], made: NDArray[np.int64], device: torch.device, rate: float
    ) -> torch.Tensor:
        """Mean of the genes' variances."""
        return torch.stack([self._loss(forward, (int(row), "train"), device)[0] for row in made]).mean()

    def _loss(
        self, forward: Callable[[Any], torch.Tensor], key: tuple[int, str], device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A gene's loss, and the predictions (N,) of its people."""
        gene = self._gene(key)[0]
        people = forward(key)[torch.from_numpy(gene.who).to(device)].mean(dim=1)
        return variance_loss(people, torch.from_numpy(gene.y).to(device, people.dtype)), people

    def _gene(self, key: tuple[int, str]) -> tuple[PersonalGene, Any]:
        """A gene of one part of people, and what does not depend on weights there."""
        if key not in self._kept:
            gene = self.data.of_gene[key[0]].take(self.data.rows(key[1]))
            self._kept[key] = (gene, self._body.plan(gene.window))
        return self._kept[key]

    def _begun(self, network: TunedNetwork, key: tuple[int, str]) -> Begun:
        """The first part of the network on a gene; computed once where it is frozen."""
        plan = self._gene(key)[1]
        if self.how.tune != "head":
            return network.body.begin(plan)
        if key not in self._frozen:
            with torch.no_grad():
                self._frozen[key] = network.body.begin(plan).detached()
        return self._frozen[key]

    def validate(self, network: TunedNetwork, device: torch.device) -> Validation:
        """Loss and correlations of the validation people, in training genes and in validation genes."""
        forward = self.forward(network)
        losses: dict[str, list[float]] = {"seen": [], "unseen": []}
        pearson: dict[str, list[float]] = {"seen": [], "unseen": []}
        flat = []
        with torch.no_grad():
            for row, kind in self.validated:
                key = (row, "validation")
                gene = self._gene(key)[0]
                if len(gene.y) < 3:
                    continue
                loss, people = self._loss(forward, key, device)
                losses[kind].append(float(loss))
                pearson[kind].append(within(people.cpu().numpy(), gene.y))
                flat.append(float(gene.y.var()))
        mean = float(np.mean([*losses["seen"], *losses["unseen"]]))
        columns = {f"{what}_{kind}": float(np.mean(values[kind])) if values[kind] else math.nan
                   for what, values in (("loss", losses), ("pearson", pearson)) for kind in losses}  # fmt: skip
        score = float(np.mean([*pearson["seen"], *pearson["unseen"]]))
        plateau = on_plateau(mean, score, float(np.mean(flat)), PLATEAU_GAIN, PLATEAU_PEARSON)
        return Validation(mean, score, columns, plateau)

    def advice(self, row: dict[str, Any]) -> str:
        """What to do about an epoch that is on the plateau."""
        return (
            f"epoch {row['epoch']}, step {row['step']:,}: nothing learned that holds in validation people, with a loss "
            f"of {row['validation_loss']:.4f} there and a Pearson of {row['pearson_seen']:+.3f} within training genes. "
            "With few people or a short window that is what there is; else try, into another --out, another "
            f"training.learning_rate (now {self.settings.learning_rate:g}), more epochs or another model.start."
        )

    def predict(self, network: TunedNetwork) -> NDArray[np.float64]:
        """Predictions (N, G) of all people, on the CPU."""
        plain = merged(network)
        return np.column_stack([g.per_person(predict_window(plain, g.window)) for g in self.data.of_gene])
