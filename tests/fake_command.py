"""A command for tests of what surrounds every command."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

from genopred.settings.parts import Cis, Seeded


class Fake(Cis, Seeded, out=Path("fake")):
    """Do what the test says."""

    NOTHING: ClassVar = SimpleNamespace(lines=lambda: [])


#: A script whose only command `fake` does `body`.
FAKE = """
import os, signal, sys, time, types
sys.path.insert(0, {tests!r})
import genopred.cli as cli
import genopred.pipelines
from genopred.cli import commands
from fake_command import Fake

def run(settings, progress):
    {body}
    return Fake.NOTHING

module = genopred.pipelines.fake = types.ModuleType("genopred.pipelines.fake")
module.run = run
sys.modules["genopred.pipelines.fake"] = module
commands.commands = lambda: {{"fake": Fake}}
{before}
sys.exit(cli.main(["fake", "--out", "run"]))
"""
