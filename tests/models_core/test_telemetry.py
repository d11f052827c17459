"""Nothing tells the makers of libraries what this server does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SWITCHES = {"ORT_DISABLE_TELEMETRY", "CI", "DO_NOT_TRACK", "XDG_CACHE_HOME"}
REPORT = """
import os, sys
import numpy
before = len(os.listdir("/proc/self/task"))
import {module}
assert "onnxruntime" in sys.modules
print(len(os.listdir("/proc/self/task")) - before)
"""


def threads_and_files(module: str, home: Path) -> tuple[int, list[Path]]:
    """What the import starts and writes in a home of its own, with no switch set from outside."""
    environment = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    told = subprocess.run(
        [sys.executable, "-c", REPORT.format(module=module)],
        env={**environment, "HOME": str(home)},
        check=True,
        capture_output=True,
        text=True,
    )
    return int(told.stdout), list(home.rglob("*"))


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_the_engine_reports_nothing_to_its_maker(tmp_path: Path) -> None:
    assert threads_and_files("models_core.engines", tmp_path) == (0, [])
