"""The only module that asks for the time, so that tests can set it in one place."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The wall clock, aware, in UTC."""
    return datetime.now(tz=UTC)


def monotonic() -> float:
    """Seconds of a clock that never goes back. Only differences mean something."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    time.sleep(seconds)
