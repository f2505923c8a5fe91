"""What each workflow can be told: frozen dataclasses, each field written once, for Python, TOML and the command line.

A workflow `genopred NAME` is the class `Name` here (`fit-moments`: `FitMoments`), made of the parts in
`genopred.settings.parts`; Python users give it to `genopred.pipelines.NAME.run`.
"""

import re

from genopred.settings.associate import Associate
from genopred.settings.attribute import Attribute
from genopred.settings.benchmark import Benchmark
from genopred.settings.declare import Option, Settings, declared
from genopred.settings.demo import Demo
from genopred.settings.doctor import Doctor
from genopred.settings.effects import Effects
from genopred.settings.eqtl import Eqtl
from genopred.settings.evaluate import Evaluate
from genopred.settings.export import Export
from genopred.settings.features import Features
from genopred.settings.fit_moments import FitMoments
from genopred.settings.moments import Moments
from genopred.settings.overlap import Overlap
from genopred.settings.parts import Command
from genopred.settings.predict import Predict
from genopred.settings.prs import Prs
from genopred.settings.stack import Stack
from genopred.settings.train import Train

#: Every workflow, in the order of `genopred --help`.
WORKFLOWS: tuple[type[Command], ...] = (
    Demo, Stack, Predict, Associate, Export, Prs, Benchmark, Features, Effects, Attribute, Eqtl, Overlap, Train,
    Evaluate, Moments, FitMoments, Doctor,
)  # fmt: skip


def command_name(workflow: type[Command]) -> str:
    """What the command line calls a workflow; its pipeline's name has `_` for `-`.

    >>> command_name(FitMoments)
    'fit-moments'
    """
    return re.sub("(?<=[a-z])(?=[A-Z])", "-", workflow.__name__).lower()


__all__ = [
    "WORKFLOWS",
    "Associate",
    "Attribute",
    "Benchmark",
    "Demo",
    "Doctor",
    "Effects",
    "Eqtl",
    "Evaluate",
    "Export",
    "Features",
    "FitMoments",
    "Moments",
    "Option",
    "Overlap",
    "Predict",
    "Prs",
    "Settings",
    "Stack",
    "Train",
    "command_name",
    "declared",
]
