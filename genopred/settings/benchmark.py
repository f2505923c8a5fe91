"""Settings of `genopred benchmark`."""

from pathlib import Path
from typing import Annotated, Any

from genopred.errors import check_choice
from genopred.settings.declare import Option, names
from genopred.settings.parts import LEARNING
from genopred.settings.stack import Stack


def _peers(text: Any) -> tuple[str, ...]:
    """Programs by name; `none` is none of them."""
    return tuple(name for name in (names(text) if isinstance(text, str) else text) if name != "none")


class Benchmark(Stack, panel=LEARNING, out=Path("genopred-benchmark")):
    """Run the stack and other programs on the same people and folds, and say what each costs.

    Takes the options of `genopred stack`. Besides its files the folder OUT gets benchmark.tsv (the comparison with the
    peers in it), benchmark_scores.tsv (per gene) and cost.tsv (CPU seconds per gene).

    Attributes
    ----------
    peers : Programs to run beside: glmnet (R's cv.glmnet, PrediXcan's recipe) or none.
    """

    peers: Annotated[tuple[str, ...], Option(metavar="A,B,...", read=_peers, matters=False)] = ("glmnet",)

    def check(self) -> None:
        for peer in self.peers:
            check_choice("peers", peer, ("glmnet",))
