from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lepton_apps.embedded.processes import Register, has_ended
from lepton_apps.embedded.supervisor import ROOT
from tests.embedded.waiting import until

SPAWN_ONE = """
import os, sys, time
from lepton_apps.embedded.logs import Tail
from lepton_apps.embedded.processes import spawn
child = spawn(["sleep", "600"], Tail(), env=dict(os.environ))
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def test_a_child_dies_with_its_killed_parent() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", SPAWN_ONE], stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))

    parent.kill()
    parent.wait()

    until(lambda: has_ended(child), "the child has ended")


def test_what_an_earlier_run_left_is_ended(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    Register(tmp_path).add("web", sleeper.pid)

    assert Register(tmp_path).end_leftovers() == 1

    assert sleeper.wait() == -signal.SIGTERM
    assert Register(tmp_path).end_leftovers() == 0


def test_another_process_of_the_same_pid_is_left_alone(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    register = Register(tmp_path)
    register.add("web", sleeper.pid)
    file = tmp_path / "web.json"
    noted = json.loads(file.read_text())
    file.write_text(json.dumps({**noted, "created": noted["created"] - 60}))

    assert register.end_leftovers() == 0

    assert sleeper.poll() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 0}'])
def test_a_half_written_note_is_dropped(tmp_path: Path, text: str) -> None:
    (tmp_path / "web.json").write_text(text)
    assert Register(tmp_path).end_leftovers() == 0
    assert os.listdir(tmp_path) == []
