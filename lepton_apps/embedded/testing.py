"""Servers for one test or one benchmark: real ones, in a folder that goes with them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lepton_apps.embedded.broker import Broker, choose_broker
from lepton_apps.embedded.logs import RotatedFile
from lepton_apps.embedded.postgres import ADMIN, OWNER, EmbeddedPostgres, Sizing

SMALL = Sizing(shared_buffers="64MB", max_connections=100, sync_new_files=False)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder under the system's temporary one that any user may pass through.

    As root PostgreSQL runs as another user, who must reach its data.
    """
    folder = Path(tempfile.mkdtemp(prefix="lepton-"))
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class TemporaryPostgres:
    """A running server with an empty database ``lepton``."""

    server: EmbeddedPostgres
    log: Path

    @property
    def url(self) -> str:
        """As the owner of the database, who may create others."""
        return self.server.url(OWNER)

    @property
    def admin_url(self) -> str:
        return self.server.url(OWNER, ADMIN)

    def kill(self) -> None:
        """kill -9 of the postmaster alone; its back ends stay as orphans."""
        self.server.kill()

    def restart(self) -> None:
        """Start again on the same port, healing what ``kill`` left."""
        self.server.restart()


@dataclass(frozen=True)
class TemporaryBroker:
    """A running broker. The embedded one is empty after ``restart``, Apache Kafka is not."""

    server: Broker
    log: Path

    @property
    def bootstrap_servers(self) -> str:
        return self.server.bootstrap_servers

    @property
    def keeps_data(self) -> bool:
        return self.server.keeps_data

    @property
    def pid(self) -> int | None:
        return self.server.pid

    def kill(self) -> None:
        self.server.kill()

    def stop(self) -> None:
        self.server.stop()

    def restart(self) -> None:
        """Start again on the same port."""
        self.server.restart()


@contextmanager
def temporary_postgres(sizing: Sizing = SMALL) -> Iterator[TemporaryPostgres]:
    with temporary_folder() as folder:
        log = folder / "postgres.log"
        server = EmbeddedPostgres(folder, RotatedFile(log), sizing=sizing)
        server.start()
        try:
            yield TemporaryPostgres(server, log)
        finally:
            server.stop(is_discarded=True)


@contextmanager
def temporary_broker(
    kind: Literal["embedded", "kafka"] = "embedded",
    kafka_home: Path | str | None = None,
) -> Iterator[TemporaryBroker]:
    """``kind="kafka"`` needs ``kafka_home``, an unpacked Apache Kafka, and Java on PATH."""
    if kind == "kafka" and kafka_home is None:
        raise ValueError("temporary_broker('kafka') needs kafka_home.")
    home = Path(kafka_home) if kind == "kafka" and kafka_home is not None else None
    with temporary_folder() as folder:
        log = folder / "broker.log"
        server = choose_broker(home, folder, RotatedFile(log))
        server.start()
        try:
            yield TemporaryBroker(server, log)
        finally:
            server.stop()
