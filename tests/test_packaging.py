"""What an installation holds: all of the package, and nothing beside it."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> list[str]:
    """Names in a wheel, built in a copy of the sources so that nothing lands in the checkout."""
    pytest.importorskip("setuptools", minversion="77")
    copy = tmp_path_factory.mktemp("source")
    for name in ("genopred", "cli", "pipelines"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc"))
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, copy)
    code = "import setuptools.build_meta as backend; print(backend.build_wheel('dist'))"
    built = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(copy / "dist" / built.stdout.split()[-1]) as archive:
        return archive.namelist()


def test_wheel_holds_every_source_file(wheel):
    expected = {
        f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, package in (("genopred", "genopred"), ("cli", "genopred/cli"), ("pipelines", "genopred/pipelines"))
        for path in (ROOT / folder).rglob("*.py")
    }
    assert expected <= set(wheel)


def test_wheel_holds_data_and_template(wheel):
    expected = {
        path.relative_to(ROOT).as_posix()
        for folder in ("genopred/data", "genopred/report")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".nbi", ".nbc")
    }
    assert "genopred/data/example/geuvadis.pgen" in expected
    assert any(name.endswith(".html.j2") for name in expected)
    assert expected <= set(wheel)


def test_nothing_generic_lands_in_site_packages(wheel):
    assert {name.split("/")[0] for name in wheel if ".dist-info/" not in name} == {"genopred"}


def test_every_requirement_is_pinned():
    """`make` installs with constraints.txt: a requirement that it does not name would float."""
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    extras = metadata["options.extras_require"]
    named = ("sequence", "simulate", "bgen", "test")
    parts = [metadata["options"]["install_requires"], *(extras[name] for name in named)]
    required = [line.partition(";")[0].strip() for line in "\n".join(parts).splitlines() if line.strip()]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0] for line in lines if not line.startswith("#")}
    names = {line.partition(">=")[0].partition("==")[0].lower().replace("_", "-") for line in required}
    assert names <= pinned
    assert all("==" in line for line in lines if line and not line.startswith("#"))
