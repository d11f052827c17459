"""The only module that asks for the time, so that tests can set it in one place."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The wall clock, aware, in UTC."""
    return datetime.now(tz=UTC)


def moment(at: datetime) -> str:
    """ISO 8601 in UTC with a Z, microseconds kept: ``2026-03-01T10:42:07.120000Z``."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def monotonic() -> float:
    """Seconds of a clock that never goes back. Only differences mean something."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    time.sleep(seconds)
