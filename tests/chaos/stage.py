"""A server of its own for each chaos module: processes that may be killed, and a load on them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psycopg
from kafka import KafkaProducer

from lepton_apps.embedded.testing import (
    TemporaryBroker,
    TemporaryPostgres,
    temporary_broker,
    temporary_postgres,
)
from tests.chaos.loads import Load, Payments, Sent

ROOT = Path(__file__).resolve().parents[2]
POISON = b'{"id": 7, "no": "record"}'
SESSION_S = 6.0


@dataclass
class Stage:
    """Servers, the processes that were started on them, and what was sent."""

    postgres: TemporaryPostgres
    broker: TemporaryBroker
    env: dict[str, str]
    folder: Path
    kind: Load
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    sent: dict[str, Sent] = field(default_factory=dict)
    poison: int = 0

    def manage(self, *arguments: str) -> None:
        """Run a command to its end; its output is shown when it fails."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command that goes on; its output is kept beside the data."""
        log = (self.folder / f"{arguments[0]}-{len(self.processes)}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=self.env, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        log.close()
        self.processes.append(process)
        return process

    def worker(self) -> subprocess.Popen[bytes]:
        return self.start("worker", self.kind.stream.name)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """kill -9, whether it runs, is stopped or is dead already."""
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        process.wait(10)

    def kill_all(self) -> None:
        for process in self.processes:
            self.kill(process)
        self.processes.clear()

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            return connection.execute(sql, parameters).fetchall()

    def taken(self) -> int:
        """How many messages that count are durable."""
        return int(self.query(self.kind.taken_sql)[0][0])

    def logs(self) -> str:
        """The ends of all logs, for the message of a failed test."""
        return "\n".join(
            f"--- {file.name}\n{file.read_text(errors='replace')[-3_000:]}"
            for file in sorted(self.folder.glob("*.log"))
        )

    def wait(self, what: str, condition: Any, timeout_s: float = 60.0) -> None:
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            with suppress(psycopg.OperationalError):
                if condition():
                    return
            time.sleep(0.1)
        raise AssertionError(f"Not within {timeout_s:.0f} s: {what}.\n{self.logs()}")

    def produce(self, count: int, *, entities: int = 50, rate: float = 1_000.0) -> None:
        """Send messages with ids of their own: every 10th is loud, every 97th is no record."""
        producer = KafkaProducer(
            bootstrap_servers=self.env["KAFKA_BOOTSTRAP_SERVERS"],
            acks="all", linger_ms=20, metrics_enabled=False,
        )  # fmt: skip
        begun = time.monotonic()
        for n in range(count):
            number = len(self.sent)
            sent = self.kind.message(number, entities)
            self.sent[sent.id] = sent
            at_ms = int(sent.at.timestamp() * 1000) if sent.at is not None else None
            producer.send(self.kind.stream.topic, sent.value, sent.key.encode(), timestamp_ms=at_ms)
            if number % 97 == 0:
                self.poison += 1
                producer.send(self.kind.stream.topic, POISON, sent.key.encode(), timestamp_ms=at_ms)
            behind_s = n / rate - (time.monotonic() - begun)
            if behind_s > 0.05:
                time.sleep(behind_s)
        producer.flush(30)
        producer.close()

    @contextmanager
    def load(self, count: int, **options: Any) -> Iterator[threading.Thread]:
        """Produce beside what the block does, and wait for all of it at the end."""
        failures: list[BaseException] = []

        def run() -> None:
            try:
                self.produce(count, **options)
            except BaseException as exc:  # noqa: BLE001 - raised again below
                failures.append(exc)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield thread
        finally:
            thread.join(120)
        if failures:
            raise failures[0]


@contextmanager
def stage(
    load: Load | None = None,
    broker_kind: Literal["embedded", "kafka"] = "embedded",
    home: Path | None = None,
) -> Iterator[Stage]:
    """Servers with topics, tables and a champion; everything goes with the block."""
    load = load or Payments()
    with ExitStack() as stack:
        postgres = stack.enter_context(temporary_postgres())
        broker = stack.enter_context(temporary_broker(broker_kind, home))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lepton-chaos-")))
        env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DATABASE_URL": postgres.url,
            "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "KAFKA_EMBEDDED": "true" if broker_kind == "embedded" else "false",
            "LEPTON_DATA_DIR": str(folder),
            "SECRET_KEY": "chaos",
            "LOG_LEVEL": "INFO",
            "LOG_FORMAT": "text",
            "WORKER_SESSION_TIMEOUT_MS": str(int(SESSION_S * 1000)),
            "WORKER_BATCH_SIZE": "200",
            "WORKER_HEARTBEAT_S": "0.5",
            "TRANSACTION_LIMIT_MS": "3000",
        }
        running = Stage(postgres, broker, env, folder, load)
        running.manage("migrate", "-v", "0")
        running.manage("setup")
        done = subprocess.run(
            [sys.executable, "-m", "tests.chaos.install", load.vertical],
            cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        try:
            yield running
        finally:
            running.kill_all()
