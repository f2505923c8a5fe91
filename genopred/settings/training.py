"""What a network is trained on and how: the sections of the file that `genopred train` reads, and for Python users."""

import math
from typing import Annotated, Any, ClassVar, Literal

from genopred.errors import GenopredError
from genopred.settings.declare import Option, Settings

#: torch takes seeds of 64 bits.
_SEED = Option(low=0, high=2**63 - 1)
_MOST = 1_000_000_000
_COUNT = Option(low=1, high=_MOST)
_FROM_ZERO = Option(low=0, high=_MOST)
#: What single precision holds, with room to multiply.
_MOST_FLOAT = 1e30
_POSITIVE = Option(above=0, high=_MOST_FLOAT)
_NOT_NEGATIVE = Option(low=0, high=_MOST_FLOAT)
_BELOW_ONE = Option(low=0, below=1)

#: `assay` of a track that names none; `cell` is then the track's own name, and of a track with a strand this, because
#: its partner has the same.
SIGNAL, UNKNOWN = "signal", "unknown"


class Data(Settings, section="data"):
    """Which sequence, and the windows that are cut out of it.

    Attributes
    ----------
    fasta : The reference of the tracks' build.
    chromosomes : All of the FASTA by default.
    window : Input in bp, a multiple of `bin`.
    bin : Width of a predicted bin in bp.
    crop : Bins at each end that are read and not predicted.
    step : Resolution in bp at which signal is kept in memory; tilings start at multiples of it.
    max_n : Windows with a larger share of N are left out.
    """

    fasta: str
    chromosomes: tuple[str, ...] = ()
    window: Annotated[int, _COUNT] = 8192
    bin: Annotated[int, _COUNT] = 128
    crop: Annotated[int, _FROM_ZERO] = 4
    step: Annotated[int | None, _COUNT] = None
    max_n: Annotated[float, Option(low=0, high=1)] = 0.2

    def check(self) -> None:
        if self.step is None:
            object.__setattr__(self, "step", math.gcd(16, self.bin))
        if self.bin % (self.step or 1):
            raise GenopredError(f"data.step = {self.step}: needed a divisor of data.bin, {self.bin}.")


class Track(Settings, section="track"):
    """What a signal track measures, and how a bin's value is made of it.

    Attributes
    ----------
    name : Its name.
    assay : Tracks of one assay and cell with the strands + and - are each other's partners.
    cell : See assay.
    strand : `+`, `-`, or `.` where the signal has none.
    partner : Name of the track of the other strand; its own where there is none.
    aggregate : `mean` per bp of the bin, or `sum` over it.
    clip : Values x above c become c - 1 + sqrt(x - c + 1), so that a few very high bins do not rule the loss.
    """

    name: str
    assay: str = ""
    cell: str = ""
    strand: Literal["+", "-", "."] = "."
    partner: Annotated[str, Option(hidden=True)] = ""
    aggregate: Literal["mean", "sum"] = "mean"
    clip: Annotated[float | None, Option(low=1, high=_MOST_FLOAT)] = None

    def check(self) -> None:
        missing = {"assay": SIGNAL, "cell": self.name if self.strand == "." else UNKNOWN, "partner": self.name}
        for name, value in missing.items():
            if not getattr(self, name):
                object.__setattr__(self, name, value)


class TrackFile(Track):
    """A track and where its signal is.

    Attributes
    ----------
    file : A bigWig.
    """

    file: str


class Split(Settings, section="split"):
    """Which blocks of the genome are for what.

    Attributes
    ----------
    block : Width in bp.
    """

    BY: ClassVar[str] = ""

    block: Annotated[int, _COUNT] = 500_000

    @property
    def written(self) -> dict[str, Any]:
        """As in a file."""
        return {"by": self.BY} | dict(vars(self))


class Dealt(Split):
    """Dealt at random.

    Attributes
    ----------
    fractions : Shares of training, validation and test.
    seed : Of the deal.
    """

    fractions: tuple[float, ...] = (0.7, 0.15, 0.15)
    seed: Annotated[int, _SEED] = 1


class ByBlock(Dealt):
    """Blocks along the chromosomes.

    Attributes
    ----------
    margin : Least distance in bp between regions of different splits; the window by default.
    """

    BY: ClassVar[str] = "block"

    margin: Annotated[int | None, _FROM_ZERO] = None


class ByChromosome(Split):
    """Whole chromosomes.

    Attributes
    ----------
    train : Names.
    validation : Names.
    test : Names.
    """

    BY: ClassVar[str] = "chromosome"

    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


class ByRandom(Dealt):
    """Windows that overlap others of the training.

    Attributes
    ----------
    compare : Train a second network on the block split, to say how much this one flatters.
    """

    BY: ClassVar[str] = "random"

    compare: bool = True


#: What a split can be by.
SPLIT_KINDS: dict[str, type[Split]] = {kind.BY: kind for kind in (ByBlock, ByChromosome, ByRandom)}


class Training(Settings, section="training"):
    """How a network is trained.

    Attributes
    ----------
    epochs : Passes over the training regions.
    batch : Windows of a step.
    learning_rate : At its highest, after the warm-up; then it falls along a cosine to zero at the end of the last
        epoch.
    warmup : Steps over which it rises.
    weight_decay : AdamW's; not applied to biases and norms.
    gradient_clip : Longest gradient; 0 for no limit.
    patience : Epochs without a better validation loss after which training stops; 0 for never.
    shift : Inputs are shifted by up to so many bases, either way, against their targets.
    reverse_complement : Give half of the windows from the other strand.
    mutate : Bases of a training window that are replaced at random: a share between 0 and this, drawn for each window,
        and falling to nothing along the learning rate's cosine (after Lee et al. 2023, doi:10.1186/s13059-023-02941-w).
    average : Decay a step of the moving average of weights that is validated and kept; 0 for the weights themselves.
    choose : What makes an epoch the best one, for `patience` and for the network that is kept: `loss`, or `pearson`,
        the mean over tracks of the correlation of log(1 + value), which a few bins with very high counts do not rule.
    both_strands : Validate the mean of the predictions from both strands.
    precision : `fp32`, or `bf16` (mixed).
    seed : Of weights, windows and whatever else is drawn.
    threads : Cores; as many as torch takes by default.
    device : `auto` (a GPU where there is one), `cpu`, `cuda:0`.
    compile : Use torch.compile, which needs a C++ compiler on a CPU.
    checkpoint_minutes : Time between checkpoints within an epoch.
    """

    epochs: Annotated[int, _COUNT] = 30
    batch: Annotated[int, _COUNT] = 8
    learning_rate: Annotated[float, _POSITIVE] = 1e-3
    warmup: Annotated[int, _FROM_ZERO] = 200
    weight_decay: Annotated[float, _NOT_NEGATIVE] = 0.05
    gradient_clip: Annotated[float, _NOT_NEGATIVE] = 1.0
    patience: Annotated[int, _FROM_ZERO] = 0
    shift: Annotated[int, _FROM_ZERO] = 0
    reverse_complement: bool = True
    mutate: Annotated[float, _BELOW_ONE] = 0.0
    average: Annotated[float, _BELOW_ONE] = 0.998
    choose: Literal["loss", "pearson"] = "loss"
    both_strands: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: Annotated[int, _SEED] = 1
    threads: Annotated[int | None, _COUNT] = None
    device: str = "auto"
    compile: bool = False
    checkpoint_minutes: Annotated[float, _POSITIVE] = 10.0
