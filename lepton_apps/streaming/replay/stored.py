"""Stored decisions of a span, in the order in which they were made. Reads only.

The span is cut into slices by the minutes that it has rows in, so that each query is short: no
snapshot is held over the whole of a replay, which would keep PostgreSQL from cleaning up the
states that workers rewrite meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import psycopg

from lepton_apps.common.db import RawConnection
from lepton_apps.model_registry.models import ModelVersion
from lepton_apps.streaming.batch import TICK_PREFIX
from lepton_apps.streaming.replay.question import Question
from lepton_apps.streaming.replay.rows import Made, Replayed
from lepton_apps.verticals.contract import Stream

SLICE = 10_000  # rows read at once
MINUTE = timedelta(minutes=1)
MINUTES = """
SELECT date_trunc('minute', decided_at), count(*), min(occurred_at) FROM decision
WHERE stream = %s AND decided_at >= %s AND decided_at < %s
    AND occurred_at >= %s AND occurred_at < %s
GROUP BY 1 ORDER BY 1
"""
MOMENTS = """
SELECT decided_at, count(*) FROM decision
WHERE stream = %s AND decided_at >= %s AND decided_at < %s
    AND occurred_at >= %s AND occurred_at < %s
GROUP BY 1 ORDER BY 1
"""
# Rows are never changed, so within one moment they lie as they were written: as they arrived.
ROWS = """
SELECT id, record_id, entity_key, occurred_at, features, decided_at, model_version, score,
    outcome, alert_id, CASE WHEN %s THEN payload END
FROM decision
WHERE stream = %s AND decided_at >= %s AND decided_at < %s
    AND occurred_at >= %s AND occurred_at < %s
ORDER BY decided_at, ctid
"""


@dataclass(slots=True)
class Slice:
    since: datetime  # of decided_at
    until: datetime
    rows: int


class StoredRows:
    """The rows of a span, with how many there are and where they begin."""

    def __init__(self, raw: RawConnection, stream: Stream, question: Question) -> None:
        assert question.since is not None
        assert question.until is not None
        self._raw = raw
        self._stream = stream
        self._limit = question.limit
        self.other_schema = 0  # rows that another extractor made; they cannot be scored
        since, until = question.since, question.until
        self._decided: tuple[datetime, datetime] = (since, until)
        self._occurred: tuple[Any, Any] = ("1970-01-01T00:00:00Z", "infinity")
        if question.by == "occurred_at":
            self._occurred = (since, until)
            # Nothing is decided much before it happens; how long after, nobody knows.
            self._decided = (since - stream.max_ahead, datetime.max.replace(tzinfo=since.tzinfo))
        versions = ModelVersion.objects.filter(
            model_name=stream.model_name, schema_hash=stream.extractor.schema.hash
        )
        self._readable = set(versions.values_list("number", flat=True))
        self.slices: list[Slice] = []
        self.oldest: datetime | None = None  # event time of the span
        self._cut()
        there = sum(part.rows for part in self.slices)
        self.total = there if self._limit is None else min(there, self._limit)

    @property
    def begins_at(self) -> datetime:
        """When the first of the rows was decided, to the minute."""
        return self.slices[0].since if self.slices else self._decided[0]

    def chunks(self) -> Iterator[tuple[Replayed, int]]:
        """Rows that can be scored, and how many were read for them."""
        left = self.total
        for part in self.slices:
            if left <= 0:
                return
            parameters = [
                self._stream.amount is not None, self._stream.name, part.since, part.until,
                *self._occurred,
            ]  # fmt: skip
            cursor = psycopg.Cursor(self._raw).execute(ROWS, parameters, binary=True)
            rows = cursor.fetchmany(left) if left < part.rows else cursor.fetchall()
            left -= len(rows)
            for start in range(0, len(rows), SLICE):
                some = rows[start : start + SLICE]
                yield self._chunk(some), len(some)

    def _cut(self) -> None:
        end = self._decided[1]
        for minute, count, oldest in self._counts(MINUTES, *self._decided):
            since, until = max(minute, self._decided[0]), min(minute + MINUTE, end)
            self.oldest = oldest if self.oldest is None else min(self.oldest, oldest)
            if count <= SLICE:
                self._put(since, until, count)
                continue
            for moment, rows in self._counts(MOMENTS, since, until):
                self._put(moment, min(moment + timedelta(microseconds=1), end), rows)

    def _put(self, since: datetime, until: datetime, rows: int) -> None:
        last = self.slices[-1] if self.slices else None
        if last is not None and last.rows + rows <= SLICE:
            last.until, last.rows = until, last.rows + rows
        else:
            self.slices.append(Slice(since, until, rows))

    def _counts(self, sql: str, since: datetime, until: datetime) -> list[tuple[Any, ...]]:
        parameters = [self._stream.name, since, until, *self._occurred]
        return self._raw.execute(sql, parameters).fetchall()

    def _chunk(self, rows: list[tuple[Any, ...]]) -> Replayed:
        good = [row for row in rows if row[6] in self._readable]
        self.other_schema += len(rows) - len(good)
        width = len(self._stream.extractor.schema.names)
        features = b"".join(row[4] for row in good)
        return Replayed(
            [row[0] for row in good],
            [row[1] for row in good],
            [row[2] for row in good],
            [row[3] for row in good],
            [None if row[1].startswith(TICK_PREFIX) else row[10] for row in good],
            np.frombuffer(features, "<f4").reshape(len(good), width),
            [Made(*row[5:10]) for row in good],
        )
