"""The data folder of the embedded servers: whose it is, its secrets, and what others may read."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import IO

from lepton_apps.embedded.processes import EmbeddedServerError, Register, write_private


class DataFolder:
    """One folder, one supervisor: ``lock`` refuses a second one.

    As root the folder can be passed through by others, for PostgreSQL runs as another user; the
    files in it stay private.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.logs = self.path / "log"
        self.register = Register(self.path / "run")
        self._lock: IO[str] | None = None

    def lock(self) -> None:
        """Take the folder until ``release`` or our end, however we end.

        Raises EmbeddedServerError that names who has it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.path.chmod(0o711 if os.geteuid() == 0 else 0o700)
            lock = (self.path / "lock").open("a+", encoding="ascii")
        except OSError as exc:
            raise EmbeddedServerError(
                f"The data folder {self.path} cannot be used: {exc.strerror}. Choose another with "
                "--data or LEPTON_DATA_DIR."
            ) from exc
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            with lock:
                lock.seek(0)
                pid = lock.read().strip() or "unknown"
            raise EmbeddedServerError(
                f"The data folder {self.path} is in use by process {pid}. Stop that one first, or "
                "choose another folder with --data.",
                pid=pid,
            ) from exc
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def secret_key(self) -> str:
        """The key that signs sessions, made once, so that a restart signs nobody out."""
        file = self.path / "secret_key"
        if not file.exists():
            write_private(file, secrets.token_urlsafe(50))
        return file.read_text(encoding="utf-8").strip()

    def write_runtime(self, settings: dict[str, str | bool]) -> None:
        """Tell commands that are started by hand where the servers are."""
        write_private(self.path / "runtime.json", json.dumps(settings, indent=2) + "\n")

    def remove_runtime(self) -> None:
        (self.path / "runtime.json").unlink(missing_ok=True)

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.path).free
