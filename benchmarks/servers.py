"""Servers and processes of one benchmark run: its own database, broker, web and workers."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psycopg

from lepton_apps.common import clock
from lepton_apps.embedded.postgres import Sizing
from lepton_apps.embedded.testing import temporary_broker, temporary_folder, temporary_postgres

ROOT = Path(__file__).resolve().parent.parent
START_LIMIT_S = 120.0
STOP_LIMIT_S = 20.0


class BenchmarkError(Exception):
    """A run that cannot give a number. Says why."""


def note(text: str) -> None:
    """What a run is doing, on standard error; standard output ends with the JSON line."""
    sys.stderr.write(f"{clock.now():%H:%M:%S} {text}\n")
    sys.stderr.flush()


def command(main: Callable[[], None]) -> None:
    """Run a benchmark; what it cannot do is said in a line instead of a traceback."""
    # Ended from outside, a run still stops the servers that it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        main()
    except BenchmarkError as exc:
        sys.exit(str(exc))


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """The options that every benchmark of the server takes."""
    parser.add_argument("--broker", choices=["embedded", "kafka"], default="embedded")
    parser.add_argument(
        "--kafka-home",
        type=Path,
        default=os.environ.get("LEPTON_KAFKA_HOME") or os.environ.get("LEPTON_TEST_KAFKA_HOME"),
        help="An unpacked Apache Kafka (default: LEPTON_KAFKA_HOME or LEPTON_TEST_KAFKA_HOME).",
    )
    parser.add_argument(
        "--model-cache",
        type=Path,
        help="Folder of trained starters (default: one under the system's temporary folder).",
    )
    parser.add_argument("--save", metavar="NAME", help="Keep the line as benchmarks/results/NAME.")


@dataclass
class Process:
    """A running `manage.py` command and its log."""

    popen: subprocess.Popen[bytes]
    log: Path
    name: str

    def require_alive(self) -> None:
        if self.popen.poll() is not None:
            raise BenchmarkError(
                f"{self.name} ended with {self.popen.returncode}:\n{self.log_tail()}"
            )

    def log_tail(self, size: int = 4000) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-size:]

    def stop(self) -> None:
        if self.popen.poll() is not None:
            return
        self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


@dataclass
class Servers:
    """A database and a broker of this run alone, and what runs against them."""

    folder: Path
    database_url: str
    bootstrap_servers: str
    broker: str
    secret_key: str = field(default_factory=lambda: secrets.token_urlsafe(48))

    @property
    def environment(self) -> dict[str, str]:
        """What this project's processes need; settings of the caller's shell stay outside."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return kept | {
            "DJANGO_SETTINGS_MODULE": "lepton_apps.settings",
            "DATABASE_URL": self.database_url,
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "KAFKA_EMBEDDED": "true" if self.broker == "embedded" else "false",
            "SECRET_KEY": self.secret_key,
            "LEPTON_DATA_DIR": str(self.folder),
            "LOG_LEVEL": "WARNING",
            "LOG_FORMAT": "text",
        }

    def manage(self, *arguments: str) -> None:
        """Run a command to its end; raises with its output when it fails."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )
        if done.returncode != 0:
            output = done.stdout.decode(errors="replace")[-4000:]
            raise BenchmarkError(f"manage.py {' '.join(arguments)} failed:\n{output}")

    @contextmanager
    def running(self, name: str, *arguments: str, **settings: object) -> Iterator[Process]:
        """A command in the background, with more settings; stopped when the block ends."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=self.environment | {key: str(value) for key, value in settings.items()},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        process = Process(popen, log, name)
        try:
            yield process
        finally:
            process.stop()

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of the benchmark's own, to look at what is durable."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            yield connection


@contextmanager
def servers(options: argparse.Namespace) -> Iterator[Servers]:
    """A migrated database with topics, as ``--broker`` says. Sets up Django in this process."""
    kind: Literal["embedded", "kafka"] = options.broker
    if kind == "kafka" and not options.kafka_home:
        raise BenchmarkError("--broker kafka needs --kafka-home or LEPTON_KAFKA_HOME.")
    with ExitStack() as stack:
        database = stack.enter_context(temporary_postgres(Sizing()))
        broker = stack.enter_context(temporary_broker(kind, options.kafka_home))
        folder = stack.enter_context(temporary_folder())
        run = Servers(folder, database.url, broker.bootstrap_servers, kind)
        note(f"PostgreSQL and the {kind} broker run; migrating")
        run.manage("migrate", "--verbosity", "0")
        run.manage("setup")
        os.environ.update(run.environment)
        import django

        django.setup()
        yield run


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(
    ready: Callable[[], bool], processes: Sequence[Process], what: str, limit_s: float
) -> None:
    """Ask ``ready()`` 20 times a second until it is true; every process must stay alive."""
    end = clock.monotonic() + limit_s
    while not ready():
        for process in processes:
            process.require_alive()
        if clock.monotonic() > end:
            tails = "\n".join(process.log_tail(1500) for process in processes)
            raise BenchmarkError(f"{what} took more than {limit_s:.0f} s.\n{tails}")
        clock.sleep(0.05)


def wait_for_assignment(connection: psycopg.Connection[Any], workers: Sequence[Process]) -> None:
    """Until every worker says that it has partitions."""
    wait_until(
        lambda: all_assigned(connection, workers), workers, "The workers' start", START_LIMIT_S
    )


def all_assigned(connection: psycopg.Connection[Any], workers: Sequence[Process]) -> bool:
    """Whether every worker says that it has partitions."""
    pids = [worker.popen.pid for worker in workers]
    row = connection.execute(
        "SELECT count(*) FROM worker_heartbeat WHERE pid = ANY(%s)"
        " AND jsonb_array_length(assignment) > 0",
        (pids,),
    ).fetchone()
    return row is not None and row[0] == len(pids)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
