from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from lepton_apps.embedded.processes import free_port, has_ended
from lepton_apps.embedded.supervisor import ROOT
from lepton_apps.embedded.testing import temporary_folder
from tests.embedded.waiting import until

STAND_IN = Path(__file__).with_name("stand_in.py")
ELSEWHERE = {  # servers that the supervisor neither starts nor asks
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
}
# What the test run itself has set for its own servers must not reach a supervisor under test.
OURS = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("DATABASE_URL", "KAFKA_", "SECRET_KEY", "LEPTON_", "METRICS_"))
}
RUN_IT = """
import os, sys
from pathlib import Path
from lepton_apps.common.errors import LeptonError
from lepton_apps.embedded.folder import DataFolder
from lepton_apps.embedded.logs import Terminal
from lepton_apps.embedded.servers import Named
from lepton_apps.embedded.supervisor import RunOptions, Supervisor
data, manage, port = sys.argv[1:]
named = Named(
    database_url=os.environ.get("DATABASE_URL"),
    bootstrap_servers=os.environ.get("KAFKA_BOOTSTRAP_SERVERS"),
)
try:
    Supervisor(
        DataFolder(Path(data)), named, RunOptions(port=int(port)),
        env=os.environ, terminal=Terminal(), manage=Path(manage),
    ).run()
except LeptonError as exc:
    sys.exit(str(exc))
"""


class Run:
    """A supervisor in a process of its own, over the stand-in commands."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.data = folder / "data"
        self._diary = folder / "diary"
        self._out = folder / "out"
        self.port = free_port()
        with self._out.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUN_IT, str(self.data), str(STAND_IN), str(self.port)],
                env={**OURS, "DIARY": str(self._diary), **env},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def text(self) -> str:
        return self._out.read_text(encoding="utf-8")

    def diary(self) -> list[str]:
        """``start web``, ``end web``, ... in the order they happened."""
        return [line.rsplit(" ", 1)[0] for line in self._lines()]

    def pids(self, entry: str) -> list[int]:
        return [int(line.rsplit(" ", 1)[1]) for line in self._lines() if line.startswith(entry)]

    def until_it_runs(self) -> None:
        until(lambda: self.process.poll() is not None or "Lepton runs at" in self.text(), "it runs")
        assert self.process.poll() is None, self.text()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait()

    def runtime(self) -> dict[str, str]:
        settings: dict[str, str] = json.loads((self.data / "runtime.json").read_text())
        return settings

    def registered(self, name: str) -> psutil.Process:
        noted = json.loads((self.data / "run" / f"{name}.json").read_text())
        return psutil.Process(noted["pid"])

    def _lines(self) -> list[str]:
        return self._diary.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def folder() -> Iterator[Path]:
    with temporary_folder() as path:
        yield path


def test_it_comes_up_in_order_and_stops_in_order(folder: Path) -> None:
    run = Run(folder, **ELSEWHERE)
    run.until_it_runs()
    assert f"http://127.0.0.1:{run.port}" in run.text()
    assert run.runtime()["DATABASE_URL"] == ELSEWHERE["DATABASE_URL"]

    assert run.stop() == 0

    diary = run.diary()
    assert diary[:4] == ["start migrate", "start setup", "start train_starters", "start streams"]
    ends = [entry for entry in diary if entry.startswith("end")]
    assert ends[0] == "end simulate toy"
    assert sorted(ends[1:3]) == ["end worker toy.labels", "end worker toy.records"]
    assert ends[3:] == ["end web"]
    assert not (run.data / "runtime.json").exists()


def test_the_one_time_password_is_repeated_at_the_end_and_kept_in_no_file(folder: Path) -> None:
    run = Run(folder, **ELSEWHERE)
    run.until_it_runs()
    assert "Sign in   Operator ann, one-time password: opensesame" in run.text()
    assert run.stop() == 0
    kept = [path for path in run.data.rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if b"opensesame" in path.read_bytes()]


def test_a_killed_worker_is_started_again(folder: Path) -> None:
    run = Run(folder, **ELSEWHERE)
    run.until_it_runs()
    until(lambda: bool(run.pids("start worker toy.records")), "the worker has begun")
    [first] = run.pids("start worker toy.records")

    os.kill(first, signal.SIGKILL)

    until(lambda: len(run.pids("start worker toy.records")) == 2, "it is started again")
    assert run.stop() == 0
    assert "toy.records was ended by SIGKILL; it is started again in 1 s." in run.text()


def test_a_command_that_fails_stops_all_and_is_named(folder: Path) -> None:
    run = Run(folder, FAIL="migrate", **ELSEWHERE)
    assert run.process.wait() == 1
    assert "`manage.py migrate --verbosity 1` ended with code 1" in run.text()
    assert run.diary() == ["start migrate"]
    assert not (run.data / "runtime.json").exists()


def test_a_taken_port_is_said_before_anything_starts(folder: Path) -> None:
    first = Run(folder, **ELSEWHERE)
    first.until_it_runs()
    second = subprocess.run(
        [sys.executable, "-m", "lepton_apps.embedded", "run", "--port", str(first.port)],
        env={**OURS, **ELSEWHERE, "LEPTON_DATA_DIR": str(folder / "other")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    first.stop()
    assert second.returncode == 1
    assert f"Port {first.port} is taken by another program." in second.stderr


def test_a_second_run_on_the_same_data_is_refused(folder: Path) -> None:
    first = Run(folder, **ELSEWHERE)
    first.until_it_runs()
    second = Run(folder, **ELSEWHERE)
    assert second.process.wait() == 1
    assert f"in use by process {first.process.pid}" in second.text()
    assert first.stop() == 0


def test_nothing_outlives_a_killed_supervisor_and_the_next_run_heals(folder: Path) -> None:
    run = Run(folder)
    run.until_it_runs()
    children = psutil.Process(run.process.pid).children(recursive=True)
    assert len(children) > 5
    address = run.runtime()

    run.process.kill()
    run.process.wait()
    until(lambda: all(has_ended(child) for child in children), "all children have ended")

    again = Run(folder)
    until(lambda: again.text().count("Lepton runs at") == 2, "it runs again")
    assert again.runtime() == address
    assert again.stop() == 0


def test_killed_servers_come_back_at_their_addresses(folder: Path) -> None:
    run = Run(folder)
    run.until_it_runs()
    address = run.runtime()
    broker, postmaster = run.registered("broker"), run.registered("postgres")

    broker.kill()
    postmaster.kill()

    until(lambda: run.diary().count("start setup") == 2, "topics are made anew")
    until(lambda: run.diary().count("start simulate toy") == 2, "producers begin anew")
    assert run.runtime() == address
    with psycopg.connect(address["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert run.registered("broker").pid != broker.pid
    assert run.stop() == 0


def test_the_second_ctrl_c_kills_at_once(folder: Path) -> None:
    run = Run(folder)
    run.until_it_runs()
    children = psutil.Process(run.process.pid).children(recursive=True)
    # It ignores the first request, so an orderly stop would wait for it.
    until(lambda: bool(run.pids("start worker toy.records")), "the worker has begun")
    worker = run.pids("start worker toy.records")[0]
    os.kill(worker, signal.SIGSTOP)
    run.process.send_signal(signal.SIGINT)
    until(lambda: "Ctrl-C again" in run.text(), "it is stopping")
    until(lambda: "end simulate toy" in run.diary(), "the simulator has ended")

    def is_over() -> bool:
        run.process.send_signal(signal.SIGINT)
        return run.process.poll() is not None

    until(is_over, "the supervisor has ended")
    assert run.process.wait() == 130
    until(lambda: all(has_ended(child) for child in children), "all children have ended")
