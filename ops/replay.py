"""Records through an extractor in event time, with ticks, in memory: for training sets.

One writer, one clock. What a worker does between the database and the extractor, and nothing else.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_apps.verticals.contract import Extraction, Extractor, States

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BATCH = 4096


@dataclass(slots=True)
class Row:
    """A feature row, and what it is about."""

    entity_key: str
    at: datetime  # event time
    x_F: NDArray[np.float32]
    evidence: Any


@dataclass(slots=True)
class Replay:
    """The memory of one stream.

    Args:
        extractor: of the stream.
        tick: event time between ticks.
        occurred_at: of a record.
    """

    extractor: Extractor
    tick: timedelta
    occurred_at: Callable[[Any], datetime]
    primary: dict[str, bytes] = field(default_factory=dict)
    knowledge: dict[str, bytes] = field(default_factory=dict)
    due_at: dict[str, datetime] = field(default_factory=dict)
    _timers: list[tuple[datetime, str]] = field(default_factory=list)
    _watermark: datetime | None = None
    _last_tick: datetime | None = None

    def take(self, records: Sequence[Any]) -> list[Row]:
        """Rows of these records and of the ticks between them, in order."""
        rows: list[Row] = []
        start = 0
        for index, record in enumerate(records):
            at = self._advance(self.occurred_at(record))
            if at is None and index - start < BATCH:
                continue
            self._run(records[start:index], rows)
            start = index
            if at is not None:
                self._give(at, rows)
        self._run(records[start:], rows)
        return rows

    def finish(self, at: datetime) -> list[Row]:
        """Rows of what is still due by ``at``."""
        rows: list[Row] = []
        self._give(at, rows)
        return rows

    def _advance(self, at: datetime) -> datetime | None:
        if self._watermark is not None and at <= self._watermark:
            return None
        self._watermark = at
        floor = EPOCH + (at - EPOCH) // self.tick * self.tick
        if self._last_tick is None or floor <= self._last_tick:
            self._last_tick = self._last_tick or floor
            return None
        self._last_tick = floor
        return floor

    def _run(self, records: Sequence[Any], rows: list[Row]) -> None:
        if not records:
            return
        made = self.extractor.extract(records, [0] * len(records), self._states())
        keys = [self.extractor.entity_keys(record)[0] for record in records]
        times = [self.occurred_at(record) for record in records]
        self._keep(made, keys, times, rows)

    def _give(self, at: datetime, rows: list[Row]) -> None:
        due = []
        while self._timers and self._timers[0][0] <= at:
            due_at, key = heapq.heappop(self._timers)
            if self.due_at.get(key) == due_at:  # others were set anew meanwhile
                due.append(key)
                del self.due_at[key]
        made = self.extractor.on_tick(at, due, self._states())
        self._keep(made, due, [at] * len(due), rows)

    def _states(self) -> States:
        return States(self.primary, {}, self.knowledge)

    def _keep(
        self, made: Extraction, keys: Sequence[str], times: Sequence[datetime], rows: list[Row]
    ) -> None:
        self.primary.update(made.primary)
        self.knowledge.update(made.knowledge)
        for key, due_at in made.due_at.items():
            if due_at is None:
                self.due_at.pop(key, None)
            elif self.due_at.get(key) != due_at:
                self.due_at[key] = due_at
                heapq.heappush(self._timers, (due_at, key))
        evidence = made.evidence or [None] * len(made.source_B)
        for place, source in enumerate(made.source_B.tolist()):
            rows.append(Row(keys[source], times[source], made.x_BF[place], evidence[place]))
