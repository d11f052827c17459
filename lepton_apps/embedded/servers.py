"""The database and the broker that a run uses: embedded ones, healed when they die, or named ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from lepton_apps.embedded.broker import Broker, choose_broker
from lepton_apps.embedded.children import Backoff
from lepton_apps.embedded.folder import DataFolder
from lepton_apps.embedded.logs import RotatedFile
from lepton_apps.embedded.postgres import EmbeddedPostgres
from lepton_apps.embedded.processes import EmbeddedServerError, Pause

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Named:
    """What the environment named instead of embedded servers. None: use the embedded one."""

    database_url: str | None = None
    bootstrap_servers: str | None = None
    secret_key: str | None = None
    kafka_home: Path | None = None


class _Server(Protocol):
    @property
    def pid(self) -> int | None: ...

    def start(self) -> None: ...

    def is_alive(self) -> bool: ...


class Servers:
    """Starts, heals and stops what is embedded; knows the addresses of both kinds."""

    def __init__(self, folder: DataFolder, named: Named, say: Say, pause: Pause) -> None:
        self._folder = folder
        self._named = named
        self._say = say
        self._backoff = Backoff()
        self.postgres: EmbeddedPostgres | None = None
        self.broker: Broker | None = None
        if named.database_url is None:
            log = RotatedFile(folder.logs / "postgres.log")
            self.postgres = EmbeddedPostgres(folder.path, log, pause=pause)
        if named.bootstrap_servers is None:
            log = RotatedFile(folder.logs / "broker.log")
            self.broker = choose_broker(named.kafka_home, folder.path, log, pause=pause)

    def start(self) -> None:
        """Raises EmbeddedServerError; what was started by then is left for ``stop``."""
        if self.postgres is not None:
            self._say("Starting PostgreSQL.")
            self._start("postgres", self.postgres)
        if self.broker is not None:
            self._say("Starting the broker.")
            self._start("broker", self.broker)

    def heal(self) -> tuple[bool, bool]:
        """Start again what died. Returns whether all run, and whether topics must be made anew."""
        topics_are_gone = False
        if not self._backoff.is_due:
            return False, False
        try:
            if self.postgres is not None and not self.postgres.is_alive():
                self._say("PostgreSQL has ended; healing and starting it.")
                self._start("postgres", self.postgres)
            if self.broker is not None and not self.broker.is_alive():
                self._say("The broker has ended; starting it.")
                self._start("broker", self.broker)
                topics_are_gone = not self.broker.keeps_data
        except EmbeddedServerError as exc:
            self._backoff.failed()
            self._say(f"{exc} Trying again in {self._backoff.delay_s:.0f} s.")
            return False, False
        self._backoff.reset()
        return True, topics_are_gone

    def stop(self) -> None:
        """The broker first: PostgreSQL keeps the truth, so it goes last."""
        if self.broker is not None:
            self.broker.stop()
            self._folder.register.remove("broker")
        if self.postgres is not None:
            self.postgres.stop()
            self._folder.register.remove("postgres")

    @property
    def pids(self) -> list[int]:
        """Of the embedded broker, to be killed at once; PostgreSQL has a way of its own."""
        pid = self.broker.pid if self.broker is not None else None
        return [pid] if pid is not None else []

    @property
    def settings(self) -> dict[str, str | bool]:
        """What the server's settings need: as environment of children, and in runtime.json."""
        database_url = self._named.database_url
        if self.postgres is not None:
            database_url = self.postgres.url()
        bootstrap_servers = self._named.bootstrap_servers
        if self.broker is not None:
            bootstrap_servers = self.broker.bootstrap_servers
        assert database_url is not None
        assert bootstrap_servers is not None
        return {
            "DATABASE_URL": database_url,
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
            "SECRET_KEY": self._named.secret_key or self._folder.secret_key(),
            "KAFKA_EMBEDDED": self.broker is not None and not self.broker.keeps_data,
        }

    def describe_database(self) -> str:
        if self.postgres is not None:
            return f"the embedded PostgreSQL on port {self.postgres.port}, in {self.postgres.data}"
        parts = urlsplit(self._named.database_url or "")
        return f"DATABASE_URL: {parts.path.lstrip('/')} on {parts.hostname}:{parts.port or 5432}"

    def describe_broker(self) -> str:
        if self.broker is not None:
            return self.broker.describe()
        return f"KAFKA_BOOTSTRAP_SERVERS: {self._named.bootstrap_servers}"

    def _start(self, name: str, server: _Server) -> None:
        server.start()
        if server.pid is not None:
            self._folder.register.add(name, server.pid)
