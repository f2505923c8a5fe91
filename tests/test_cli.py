"""The command line's frame: help, names, exit codes, one-line errors."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest
from fake_command import FAKE, Fake

import genopred.cli as cli
import genopred.pipelines
from genopred.cli import commands
from genopred.errors import FormatError
from genopred.io import text
from genopred.pipelines.run import Run


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch):
    """A command `fake` that does what the test tells it."""

    def install(action):
        module = types.ModuleType("genopred.pipelines.fake")

        def run(settings, progress):
            with Run(settings, ()):
                action(settings.window)
            return Fake.NOTHING

        module.run = run
        monkeypatch.setitem(sys.modules, "genopred.pipelines.fake", module)
        monkeypatch.setattr(genopred.pipelines, "fake", module, raising=False)
        known = commands.commands()
        monkeypatch.setattr(commands, "commands", lambda: known | {"fake": Fake})

    return install


def test_help_lists_all_commands_and_imports_nothing_that_computes():
    code = (
        "import sys; from genopred.cli import main; code = main(['--help']);"
        "heavy = {'polars', 'numpy', 'numba', 'torch', 'xgboost', 'matplotlib', 'scipy'} & set(sys.modules);"
        "print('heavy:', sorted(heavy)); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "heavy: []" in done.stdout
    for name, workflow in commands.commands().items():
        assert name in done.stdout
        assert workflow.__doc__.split()[0] in done.stdout


@pytest.mark.parametrize("name", sorted(commands.commands()))
def test_each_command_has_help(name, capsys):
    assert cli.main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert ("--out" in out or name == "doctor") and f"genopred {name}" in out


def test_version_and_no_arguments(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("genopred ")
    assert cli.main([]) == 0
    assert "stack" in capsys.readouterr().out


def test_a_typo_names_the_nearest_command(capsys):
    assert cli.main(["stak"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("UsageError: ") and "Did you mean 'stack'?" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["fake", "--windo", "1kb"], "--windo"),
        (["fake", "--window", "5 parsecs"], "not a length; needed one such as 500kb, 1Mb or 250000"),
        (["fake", "--seed", "x"], "--seed"),
        (["fake", "--seed", "-1"], "--seed"),
    ],
)
def test_wrong_options_are_one_line_and_exit_2(fake, capsys, args, message):
    fake(lambda window: pytest.fail("ran"))
    assert cli.main(args) == 2
    err = capsys.readouterr().err
    assert message in err and err.startswith("UsageError: ") and err.count("\n") == 1


def _raise(error):
    def action(window):
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FormatError("genes.bed line 12:\nend 4500 is not after start 5000."), "FormatError: genes.bed line 12: end"),
        (FileNotFoundError(2, "No such file", "cohort.bed"), "FileNotFoundError: cohort.bed does not exist"),
        (PermissionError(13, "Permission denied", "x.vcf"), "PermissionError: x.vcf may not be read"),
        (IsADirectoryError(21, "Is a directory", "data"), "IsADirectoryError: data is a folder"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "pip install 'genopred[sequence]'"),
        (OSError(28, "No space left on device"), "OSError: no space left"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(fake, capsys, tmp_path, error, line):
    fake(_raise(error))
    assert cli.main(["fake", "--out", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert line in err and err.count("\n") == 1 and "Traceback" not in err
    assert line in (tmp_path / "run.log").read_text()


def test_a_fault_of_the_program_is_exit_1_with_a_short_trace_and_the_long_one_in_the_log(fake, capsys, tmp_path):
    fake(_raise(KeyError("slope")))
    assert cli.main(["fake", "--out", str(tmp_path / "run")]) == 1
    err = capsys.readouterr().err
    assert "KeyError: 'slope'" in err and "Traceback" not in err and err.count("\n") < 8
    assert "Traceback (most recent call last)" in (tmp_path / "run.log").read_text()


def test_the_whole_traceback_on_request(fake, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("GENOPRED_TRACEBACK", "1")
    fake(_raise(KeyError("slope")))
    assert cli.main(["fake", "--out", str(tmp_path / "run")]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_an_interrupt_is_130_and_says_how_to_go_on(fake, capsys, tmp_path):
    fake(_raise(KeyboardInterrupt()))
    assert cli.main(["fake", "--out", str(tmp_path / "run")]) == 130
    assert "--resume" in capsys.readouterr().err
    assert "ERROR interrupted" in (tmp_path / "run.log").read_text()


def test_an_output_that_cannot_be_written_is_refused_before_work_begins(fake, capsys, tmp_path):
    (tmp_path / "file").write_text("x")
    fake(lambda window: pytest.fail("ran"))
    assert cli.main(["fake", "--out", str(tmp_path / "file" / "run")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("GenopredError: --out: ") and "cannot be written" in err


def test_sizes_reach_the_command_as_base_pairs(fake, tmp_path):
    seen = []
    fake(seen.append)
    assert cli.main(["fake", "--out", str(tmp_path / "a")]) == 0
    assert cli.main(["fake", "--window", "1Mb", "--out", str(tmp_path / "b")]) == 0
    assert seen == [500_000, 1_000_000]


def test_as_a_module_too():
    done = subprocess.run([sys.executable, "-m", "genopred.cli", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("genopred ") and not done.stderr


def test_a_reader_that_went_away_gets_no_traceback(tmp_path):
    with _process("for i in range(200_000):\n        print(i)", stdout=subprocess.PIPE, cwd=tmp_path) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 1


@pytest.mark.parametrize("out", ["", ".", "/", "/dev/null"])
def test_an_output_that_names_nothing_is_refused_before_anything_is_written(fake, capsys, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    fake(lambda window: pytest.fail("ran"))
    before = set(Path("/dev").iterdir()) if Path("/dev").exists() else set()
    assert cli.main(["fake", "--out", out]) == 2
    err = capsys.readouterr().err
    assert err.startswith("UsageError: --out ") and err.count("\n") == 1
    assert not list(tmp_path.iterdir())
    assert not [path for path in Path("/dev").glob("null*") if path not in before]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--seed 4294967296", "--seed"),
        ("--seed 99999999999999999999", "--seed"),
        ("--window 1000000000000000000000", "longer than any chromosome; needed at most 1,000,000,000 bases"),
        ("--window 1001Mb", "longer than any chromosome"),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_read(fake, capsys, words, message):
    fake(lambda window: pytest.fail("ran"))
    assert cli.main(["fake", *words.split()]) == 2
    err = capsys.readouterr().err
    assert message in err and err.startswith("UsageError: ") and err.count("\n") == 1


def _process(body, *, before="", **options):
    """A process whose only command does `body`."""
    return subprocess.Popen(
        [sys.executable, "-c", FAKE.format(body=body, before=before, tests=str(Path(__file__).parent))],
        stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def test_sigterm_is_an_interrupt_with_its_own_code(tmp_path):
    """What a scheduler sends before it kills: the same clean-up as Ctrl-C."""
    body = "print('up', flush=True); time.sleep(60)"
    with _process(body, stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout.readline() == "up\n"
        process.terminate()
        err = process.stderr.read()
        assert process.wait(timeout=30) == 143
    assert err == "Terminated. Finished work is kept: the same command with --resume goes on from there.\n"
    assert "ERROR interrupted" in (tmp_path / "run.log").read_text()


def test_sigterm_is_left_to_who_handles_it_already(tmp_path):
    before = "signal.signal(signal.SIGTERM, lambda *_: os._exit(7))"
    with _process("os.kill(os.getpid(), signal.SIGTERM)", before=before, cwd=tmp_path) as process:
        assert process.wait(timeout=60) == 7 and not process.stderr.read()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("body", ["print('some')", "print('x' * 1_000_000)"])
def test_output_into_a_full_disk_is_one_line_and_exit_2(tmp_path, body):
    with Path("/dev/full").open("w") as full, _process(body, stdout=full, cwd=tmp_path) as process:
        err = process.stderr.read()
        assert process.wait(timeout=60) == 2
    assert err.startswith("OSError: no space left for the output") and err.count("\n") == 1


def test_errors_of_libraries_about_a_full_disk(fake, capsys, tmp_path):
    from polars.exceptions import ComputeError

    fake(_raise(ComputeError("parquet: underlying IO error: No space left on device (os error 28)")))
    assert cli.main(["fake", "--out", str(tmp_path / "run")]) == 2
    assert "ComputeError: no space left for the output" in capsys.readouterr().err


def test_the_bound_on_text_reaches_the_readers_and_is_put_back(fake, capsys, tmp_path):
    (tmp_path / "x.txt").write_text(5000 * "gene\n")
    before = text.MAX_BYTES
    assert Fake(out="x").max_bytes == before

    def read(*_):
        text.read_bytes(tmp_path / "x.txt", "genes")

    fake(read)
    assert cli.main(["fake", "--out", str(tmp_path / "o"), "--max-bytes", "20kb"]) == 2
    assert "x.txt holds more than 20,000 bytes" in capsys.readouterr().err
    assert cli.main(["fake", "--out", str(tmp_path / "o"), "--max-bytes", "1MB"]) == 0
    assert cli.main(["fake", "--out", str(tmp_path / "o")]) == 0
    assert "--max-bytes 20000" in (tmp_path / "o.log").read_text()
    for size in ("0", "-1", "many", "1.5", "1e400MB", "9" * 30):
        assert cli.main(["fake", "--out", str(tmp_path / "o"), "--max-bytes", size]) == 2
        assert "no size; needed one such as 512MB" in capsys.readouterr().err
