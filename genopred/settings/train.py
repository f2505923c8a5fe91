"""Settings of `genopred train`."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from genopred.settings.declare import MOST, MOST_SEED, Option
from genopred.settings.parts import RUN, Output


class Train(Output, panel=RUN, out=Path("trained")):
    """Train a sequence model on a FASTA and bigWig tracks.

    CONFIG has the sections data, tracks (one each), split, network and training; relative paths in it start at its own
    folder, and ${NAME} is a variable of the environment. The chromosomes are split into blocks for training, validation
    and test, at least a window apart; training never looks at the test blocks.

    OUT/model is the network of the best epoch on the validation blocks so far, history.tsv and curves.svg show how it
    went, and regions.tsv has the split. Stopped or killed, the same command goes on from the last checkpoint (last.pt)
    and, on a CPU, ends with the same weights.

    Attributes
    ----------
    config : What to train on and how, in TOML.
    epochs : Instead of training.epochs.
    threads : Cores, instead of training.threads.
    device : auto, cpu or cuda:0, instead of training.device.
    seed : Instead of training.seed; the split stays.
    search : Try settings of the section search, judged by validation alone: all of a grid, at random, or as Optuna's
        tpe proposes. OUT/search.tsv has every trial, OUT/model the best one's network.
    """

    UNIT: ClassVar[str] = "batches"

    config: Annotated[Path, Option(metavar="CONFIG", argument=True)]
    epochs: Annotated[int | None, Option(metavar="N", low=1, high=MOST)] = None
    device: str | None = None
    seed: Annotated[int | None, Option(metavar="N", low=0, high=MOST_SEED)] = None
    search: Annotated[Literal["grid", "random", "tpe"] | None, Option(matters=False)] = None
