"""Stopping on purpose: a stream halts instead of draining its topic into dead letters."""

from __future__ import annotations

from collections import deque

from lepton_apps.common import clock
from lepton_apps.common.db import RawConnection
from lepton_apps.common.metrics import HALTED


class RejectionWatch:
    """Looks at the newest records and says when too many of them were set aside."""

    def __init__(self, window: int, ratio: float) -> None:
        self._window = window
        self._ratio = ratio
        self._newest: deque[bool] = deque(maxlen=window)

    def would_halt(self, accepted: int, rejected: int) -> bool:
        """Whether the window, with this batch in it, is full and past the ratio."""
        if not rejected:
            return False
        newest = deque(self._newest, maxlen=self._window)
        newest.extend([False] * min(accepted, self._window) + [True] * min(rejected, self._window))
        return len(newest) == self._window and sum(newest) > self._ratio * self._window

    def note(self, accepted: int, rejected: int) -> None:
        self._newest.extend([False] * min(accepted, self._window))
        self._newest.extend([True] * min(rejected, self._window))

    def forget(self) -> None:
        self._newest.clear()


def halt(raw: RawConnection, stream: str, reason: str) -> None:
    """Write the halt down. Every worker of the stream sees it and waits for ``resume``."""
    raw.execute(
        "INSERT INTO stream_halt (stream, reason, at, resumed_by) VALUES (%s, %s, %s, '')"
        " ON CONFLICT DO NOTHING",
        [stream, reason, clock.now()],
    )
    HALTED.labels(stream).set(1)


def halted(raw: RawConnection, stream: str) -> str | None:
    """Why the stream is halted; None when it is not."""
    row = raw.execute(
        "SELECT reason FROM stream_halt WHERE stream = %s AND resumed_at IS NULL",
        [stream],
    ).fetchone()
    HALTED.labels(stream).set(0 if row is None else 1)
    return None if row is None else str(row[0])
