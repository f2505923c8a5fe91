"""Write constraints.txt from pip's own resolution under two Pythons.

    python3.10 -m pip install --dry-run --ignore-installed --report old.json '.[all,test]' torch==2.13.0
    python3.11 -m pip install --dry-run --ignore-installed --report new.json '.[all,test]' torch==2.13.0
    python .ci/pin.py old.json new.json > constraints.txt

The first report serves Python 3.10, for which several libraries have ceased to make releases, the second 3.11 to
3.13. What torch brings for CUDA is left to torch, which pins it itself.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HEAD = """# Versions the tests run with; written by .ci/pin.py, which tells how.
# torch is pinned to one release so that a CPU build of it, where pip is offered one, is the one taken.
"""
LEFT_OUT = ("genopred", "nvidia-", "cuda-", "triton")


def versions(report: str) -> dict[str, str]:
    """Name and version of everything in a pip installation report."""
    installed = json.loads(Path(report).read_text())["install"]
    pairs = [(item["metadata"]["name"].lower().replace("_", "-"), item["metadata"]["version"]) for item in installed]
    return {name: version.partition("+")[0] for name, version in pairs if not name.startswith(LEFT_OUT)}


def main(old_report: str, new_report: str) -> None:
    """Print the constraints."""
    old, new = versions(old_report), versions(new_report)
    lines = []
    for name in sorted({*old, *new}):
        if old.get(name) == new.get(name):
            lines.append(f"{name}=={new[name]}")
            continue
        if name in old:
            lines.append(f'{name}=={old[name]} ; python_version < "3.11"')
        if name in new:
            lines.append(f'{name}=={new[name]} ; python_version >= "3.11"')
    sys.stdout.write(HEAD + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
