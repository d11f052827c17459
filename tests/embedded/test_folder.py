from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lepton_apps.embedded.folder import DataFolder
from lepton_apps.embedded.processes import EmbeddedServerError
from lepton_apps.embedded.supervisor import ROOT
from tests.embedded.waiting import until

HOLD_IT = """
import sys, time
from pathlib import Path
from lepton_apps.embedded.folder import DataFolder
folder = DataFolder(Path(sys.argv[1]))
folder.lock()
(folder.path / "held").touch()
time.sleep(600)
"""


def test_a_second_start_is_refused_and_names_the_first(tmp_path: Path) -> None:
    first = DataFolder(tmp_path / "data")
    first.lock()
    second = DataFolder(tmp_path / "data")
    with pytest.raises(EmbeddedServerError, match=f"in use by process {os.getpid()}"):
        second.lock()

    first.release()

    second.lock()
    second.release()


def test_a_killed_holder_leaves_the_folder_free(tmp_path: Path) -> None:
    data = tmp_path / "data"
    holder = subprocess.Popen([sys.executable, "-c", HOLD_IT, str(data)], cwd=ROOT)
    until((data / "held").exists, "the other process holds the folder")
    with pytest.raises(EmbeddedServerError, match=f"process {holder.pid}"):
        DataFolder(data).lock()

    holder.kill()
    holder.wait()

    folder = DataFolder(data)
    folder.lock()
    folder.release()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedServerError, match=r"file/data cannot be used: Not a directory"):
        DataFolder(tmp_path / "file" / "data").lock()


def test_the_secret_key_stays_and_is_private(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    assert len(folder.secret_key()) >= 50
    assert DataFolder(tmp_path).secret_key() == folder.secret_key()
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600


def test_runtime_settings_are_private_and_go_away(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.write_runtime({"DATABASE_URL": "postgresql://x", "KAFKA_EMBEDDED": True})
    file = tmp_path / "runtime.json"
    assert json.loads(file.read_text())["KAFKA_EMBEDDED"] is True
    assert file.stat().st_mode & 0o777 == 0o600

    folder.remove_runtime()

    assert not file.exists()
