"""A worker's row: that it lives, what it reads, how far behind it is and how fast it goes."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from lepton_apps.common import clock
from lepton_apps.common.db import RawConnection

BEAT = """
INSERT INTO worker_heartbeat (worker_id, stream, host, pid, started_at, beat_at, condition, detail,
    assignment, lag, rates, model_version)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (worker_id) DO UPDATE SET beat_at = excluded.beat_at,
    condition = excluded.condition, detail = excluded.detail, assignment = excluded.assignment,
    lag = excluded.lag, rates = excluded.rates, model_version = excluded.model_version
"""
MINUTE = """
INSERT INTO stream_minute AS m (stream, minute, worker_id, records, lag)
VALUES (%s, date_trunc('minute', %s::timestamptz), %s, %s, %s)
ON CONFLICT (stream, minute, worker_id) DO UPDATE
SET records = m.records + excluded.records, lag = excluded.lag
"""
FORGET = "DELETE FROM worker_heartbeat WHERE stream = %s AND beat_at < %s - interval '1 day'"


@dataclass(slots=True)
class Heartbeat:
    """Counts between two beats, writes one row over and over, and adds to that of the minute."""

    stream: str
    every_s: float
    worker_id: UUID = field(default_factory=uuid4)
    started_at: datetime = field(default_factory=clock.now)
    condition: str = "waiting"
    detail: str = ""
    model_version: int | None = None
    _records: int = 0
    _batches: int = 0
    _busy_s: float = 0.0
    _beat_at: float = 0.0
    _counted_from: float = field(default_factory=clock.monotonic)

    def count(self, records: int, busy_s: float) -> None:
        self._records += records
        self._batches += 1
        self._busy_s += busy_s

    def due(self) -> bool:
        return clock.monotonic() >= self._beat_at

    def beat(self, raw: RawConnection, assignment: list[int], lag: Mapping[int, int]) -> None:
        """Write the row and start to count anew."""
        at = clock.monotonic()
        span = max(at - self._counted_from, 1e-9)
        rates = {
            "records_per_s": round(self._records / span, 1),
            "batch_s": round(self._busy_s / self._batches, 4) if self._batches else 0.0,
            "busy_ratio": round(min(1.0, self._busy_s / span), 3),
        }
        now = clock.now()
        raw.execute(
            BEAT,
            [
                self.worker_id,
                self.stream,
                socket.gethostname(),
                os.getpid(),
                self.started_at,
                now,
                self.condition,
                self.detail,
                Jsonb(sorted(assignment)),
                Jsonb({str(partition): records for partition, records in sorted(lag.items())}),
                Jsonb(rates),
                self.model_version,
            ],
        )
        raw.execute(FORGET, [self.stream, now])
        # Last: whatever fails before, these records are counted by the next beat, and once.
        behind = sum(lag.values()) if assignment else None
        raw.execute(MINUTE, [self.stream, now, self.worker_id, self._records, behind])
        self._records = self._batches = 0
        self._busy_s = 0.0
        self._counted_from = at
        self._beat_at = at + self.every_s
