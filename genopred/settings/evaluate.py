"""Settings of `genopred evaluate`."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from genopred.errors import GenopredError, no_choice, repeated, shortened
from genopred.settings.declare import MOST, Option
from genopred.settings.parts import RUN, Drawn, Seeded

#: Baselines by name; of tracks the first alone. Xpresso is followed by its weights.
BASELINES = ("ridge", "forest", "svm", "mlp", "mean")
XPRESSO = "xpresso:"

HELD = "What is predicted"
OTHERS = "What it is held against"


class Evaluate(Drawn, Seeded, panel=HELD, out=Path("evaluation")):
    """Score a trained model on tracks or genes that it has not seen, beside other models and baselines.

    Writes into the folder OUT: scores.tsv (each track or cell type and metric with its interval over blocks),
    differences.tsv, of expression tests.tsv and folds.tsv, predictions.parquet, figures, and the page evaluate.html.
    Each look at a split is a line in evaluations.tsv of the training run's folder (of OUT, where MODEL has none).

    Attributes
    ----------
    model : The folder of a training run, a model's folder or file, or a name such as enformer-small.
    config : Tracks, windows and split: the TOML file of a training, or a run's folder. MODEL's own by default.
    split : Which part. Looks at test are counted.
    strands : forward, or both: the mean of the predictions from both strands.
    against : Another model, on the same bins or genes; repeatable.
    baseline : ridge: on GC content and k-mers, fitted on the training windows. Of expression also forest, svm, mlp;
        mean: of the training genes, and of the gene's other cell types; xpresso:FILE.h5. Repeatable.
    resamples : Draws of blocks for the intervals.
    device : auto (a GPU, else CPU), cpu or cuda:0.
    """

    UNIT: ClassVar[str] = "windows"

    model: Annotated[str, Option(metavar="MODEL", argument=True)]
    config: Annotated[Path | None, Option(metavar="FILE")] = None
    split: Literal["train", "validation", "test"] = "test"
    strands: Literal["forward", "both"] = "forward"
    against: Annotated[tuple[str, ...], Option(metavar="MODEL", each=True, panel=OTHERS)] = ()
    baseline: Annotated[tuple[str, ...], Option(metavar="NAME", each=True, panel=OTHERS)] = ()
    resamples: Annotated[int, Option(metavar="N", low=0, high=MOST, panel=RUN)] = 1000
    device: Annotated[str, Option(panel=RUN, matters=False)] = "auto"

    def check(self) -> None:
        for name in self.baseline:
            if name not in BASELINES and not (name.startswith(XPRESSO) and name != XPRESSO):
                raise GenopredError(no_choice(f"--baseline {shortened(name)}", name, (*BASELINES, f"{XPRESSO}FILE.h5")))
        if twice := repeated(self.baseline):
            raise GenopredError(f"--baseline {shortened(twice[0])} is given twice; once is enough.")
