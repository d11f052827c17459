"""Model files on this machine's disk, named by their content. The database stays the truth."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

SHA256 = re.compile(r"[0-9a-f]{64}")


def sha256_hex(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class FileCache:
    """A folder of files named by their sha256. Where it cannot be used, there is no cache.

    A name says what the content must be, so every read checks it, and a file that somebody
    changed or that a crash cut short counts as absent.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, sha256: str) -> bytes | None:
        """The content of that hash, or None."""
        if not SHA256.fullmatch(sha256):
            return None
        file = self._folder / sha256
        try:
            content = file.read_bytes()
        except OSError:
            return None
        if sha256_hex(content) != sha256:
            log.warning("cached model file was changed", extra={"file": str(file)})
            with suppress(OSError):
                file.unlink()
            return None
        return content

    def write(self, sha256: str, content: bytes) -> None:
        """Keep ``content``; readers see the whole file or none. Failing is not an error."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # An older folder may be open to others, who could then fill it.
            self._folder.chmod(0o700)
            handle, name = tempfile.mkstemp(dir=self._folder, prefix=".writing-")
        except OSError as exc:
            log.info(
                "model cache not writable", extra={"folder": str(self._folder), "why": str(exc)}
            )
            return
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(name).replace(self._folder / sha256)
        except OSError as exc:
            log.info("model file not cached", extra={"folder": str(self._folder), "why": str(exc)})
            with suppress(OSError):
                Path(name).unlink()
