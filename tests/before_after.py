"""Every command on two trees: are the files that they write the same, byte for byte?

    python tests/before_after.py --out OUT --before ../old/.venv/bin/python --after .venv/bin/python

Both Pythons have genopred installed in place (`pip install --editable`), each from its own tree. Every command of
`tests/every_command.py` runs under both on the same inputs, and all files but logs and `timing.tsv` are compared.
Writes OUT/before_after.md; exit code 1 where a file differs. A few minutes; needs torch and pyBigWig.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from every_command import contents, good_runs, words

from genopred.files import write_text


def run(python: str, command: str, line: list[str], place: Path) -> tuple[int, float, dict[str, bytes]]:
    """Exit code, CPU seconds and files of one command under one Python."""
    place.mkdir(parents=True)
    before = os.times()
    with (place / "stderr").open("wb") as errors:
        done = subprocess.run(
            [python, "-m", "genopred.cli", command.split()[0], *line, "--out", "run"],
            cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, check=False,
        )  # fmt: skip
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return done.returncode, seconds, contents(place)


def main() -> int:
    """Run all commands twice and compare."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--before", required=True)
    parser.add_argument("--after", default=sys.executable)
    args = parser.parse_args()
    shutil.rmtree(args.out, ignore_errors=True)
    (args.out / "inputs").mkdir(parents=True)
    lines = ["| command | files | different | CPU seconds before | after |", "|---|---|---|---|---|"]
    wrong = 0
    for number, (command, options) in enumerate(good_runs((args.out / "inputs").resolve()).items()):
        results = [
            run(str(Path(python).absolute()), command, words(options), args.out.resolve() / name / str(number))
            for name, python in (("before", args.before), ("after", args.after))
        ]
        (code, cpu, old), (new_code, new_cpu, new) = results
        differ = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
        said = ", ".join(differ) or "none"
        if code or new_code:
            said += f" (exit codes {code} and {new_code})"
        wrong += bool(differ or code or new_code)
        lines.append(f"| {command} | {len(new)} | {said} | {cpu:.1f} | {new_cpu:.1f} |")
        sys.stderr.write(lines[-1] + "\n")
    write_text(args.out / "before_after.md", "\n".join(lines) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
