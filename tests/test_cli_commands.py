"""Words become settings: options, panels and messages as the settings declare them."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genopred.cli.commands import UsageError, commands, parse
from genopred.settings import Stack, declared

LINE = "genopred as it was typed"
WORDS = {
    "stack": "--bfile b --expression e --all",
    "features": "--bfile b --fasta f --expression e --gene g",
    "evaluate": "run",
    "train": "a.toml",
}


def settings_of(words):
    name, settings = parse(words.split(), LINE)
    assert name == words.split()[0] and settings.command == LINE
    return settings


def test_commands_are_the_workflows_in_their_order():
    known = commands()
    assert list(known)[:3] == ["demo", "stack", "predict"] and known["stack"] is Stack


@pytest.mark.parametrize("name", sorted(commands()))
def test_the_help_shows_every_option_with_its_panel_choices_and_default(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    assert parse([name, "--help"], LINE) is None
    out = capsys.readouterr().out
    flat = " ".join(re.sub(r"[│╭╮╰╯─]", " ", out).split())
    for field in declared(commands()[name]).values():
        if field.option.hidden:
            assert field.flag not in out.split()
            continue
        assert (field.name.upper() if field.option.argument else field.flag) in out
        assert field.panel in flat and field.help in flat
        for choice in field.choices:
            assert choice in flat
    assert "<out>" in flat or name == "doctor"  # nothing is taken for markup


def test_help_answers_at_once():
    """Half a second of CPU at the most, of which a slow machine may take three times as much."""
    started = time.process_time()
    for name in ("", "stack"):
        subprocess.run([sys.executable, "-m", "genopred.cli", *name.split(), "--help"], check=True, capture_output=True)
    assert time.process_time() - started < 3


def test_values_reach_the_settings():
    one = settings_of(f"stack {WORDS['stack']} --window 1Mb --learners ridge,susie --no-resume --keep-overlap")
    assert (one.window, one.learners, one.resume, one.keep_overlap) == (1_000_000, ("ridge", "susie"), False, True)
    assert settings_of(f"stack {WORDS['stack']} --maf=0.1").maf == 0.1
    features = settings_of(f"features {WORDS['features']} --gene h --no-tf-gamma --tracks CAGE --tracks DNase")
    assert features.gene == ("g", "h") and features.tf_gamma is False and features.tracks == ("CAGE", "DNase")
    assert settings_of(f"features {WORDS['features']}").tf_gamma is None
    assert settings_of(f"evaluate {WORDS['evaluate']} --against a --against b").against == ("a", "b")
    assert settings_of(f"train {WORDS['train']} --seed 3").config == Path("a.toml")


def test_the_last_of_an_option_counts():
    """So that a script's options can be overridden by what is added to them."""
    assert settings_of(f"stack {WORDS['stack']} --maf 0.1 --maf 0.2 --quiet --quiet").maf == 0.2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("stak", "there is no command 'stak'. Did you mean 'stack'? The commands are: demo, stack"),
        (f"--quiet stack {WORDS['stack']}", "--quiet: options follow the command: genopred stack --quiet."),
        (f"stack {WORDS['stack']} --maff 1", "there is no option --maff. Did you mean '--maf'? See --help."),
        ("stack --bfle b", "there is no option --bfle. Did you mean '--bfile'?"),
        ("stack --bfile b --all", "--expression is missing: Expression BED"),
        (f"stack {WORDS['stack']} --maf", "--maf needs a value."),
        (f"stack {WORDS['stack']} a b", "unexpected 'a', 'b': options start with --"),
        (f"stack {WORDS['stack']} --quiet=maybe", "--quiet is a switch; give no value with it."),
        (f"stack {WORDS['stack']} --maf -1", "--maf -1: needed a number from 0 to 0.5."),
        (f"stack {WORDS['stack']} --command x", "there is no option --command."),
        ("train", "CONFIG is missing: What to train on and how, in TOML."),
        ("train a b", "unexpected 'b'"),
        ("evaluate", "MODEL is missing"),
        (f"features {WORDS['features']} --mode fast", "--mode fast: there are exact, linear, reference."),
    ],
)
def test_wrong_words_are_told_in_the_style_of_the_house(words, message):
    with pytest.raises(UsageError) as wrong:
        parse(words.split(), LINE)
    assert message in str(wrong.value)
