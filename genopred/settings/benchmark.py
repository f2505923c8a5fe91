"""Settings of `genopred benchmark`."""

from pathlib import Path
from typing import Annotated, ClassVar

from genopred.errors import GenopredError
from genopred.settings.declare import Option, names, settings
from genopred.settings.parts import LEARNING
from genopred.settings.stack import Stack


@settings(out=Path("genopred-benchmark"))
class Benchmark(Stack):
    """Run the stack and other programs on the same people and folds, and say what each costs.

    Takes the options of `genopred stack`. Besides its files the folder OUT gets benchmark.tsv (the comparison with the
    peers in it), benchmark_scores.tsv (per gene) and cost.tsv (CPU seconds per gene).

    Attributes
    ----------
    peers
        Programs to run beside: glmnet (R's cv.glmnet, PrediXcan's recipe) or none.
    """

    PANEL: ClassVar[str] = LEARNING

    peers: Annotated[tuple[str, ...], Option(metavar="A,B,...", read=names, matters=False)] = ("glmnet",)

    def check(self) -> None:
        object.__setattr__(self, "peers", tuple(peer for peer in self.peers if peer != "none"))
        unknown = [peer for peer in self.peers if peer != "glmnet"]
        if unknown:
            raise GenopredError(f"--peers {', '.join(unknown)}: there is glmnet.")
