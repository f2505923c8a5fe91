"""Versions and machine, as logs and pages state them."""

from __future__ import annotations

import os
import platform
import socket
from importlib.metadata import PackageNotFoundError, version

import pytest

from genopred import provenance


def test_versions_are_those_installed():
    found = provenance.versions()
    assert found["genopred"] == version("genopred") and found["python"] == platform.python_version()
    assert {"numpy", "scipy", "polars", "scikit-learn", "numba", "lightgbm"} <= set(found)
    assert all(found[name] == version(name) for name in found if name != "python")


def test_what_is_not_installed_is_left_out(monkeypatch):
    def without_torch(name):
        if name in ("torch", "xgboost"):
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(provenance, "version", without_torch)
    found = provenance.versions()
    assert "torch" not in found and "xgboost" not in found and "numpy" in found


def test_the_machine_is_described_without_its_name():
    text = provenance.machine()
    assert text.startswith(f"{platform.system()} {platform.machine()}, ") and text.endswith(" cores")
    assert socket.gethostname() not in text.split()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind processes to cores")
def test_cores_are_those_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5, 7})
    assert provenance.machine().endswith(", 3 cores")
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert provenance.machine().endswith(", 1 cores")
