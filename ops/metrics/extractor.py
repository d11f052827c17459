"""Turns metric samples into one vector a minute for each entity, against what is usual for it.

Samples of a minute are averaged; a counter counts by its rise a second, from a reset on as if it
had begun at 0. The vector is made when a sample of a later minute comes, or when event time has
passed it. Each value is told as the distance from its own mean in its own standard deviations,
smoothed over some minutes, in a place that follows from the metric's name alone. Beside it stands
how far it is from what this hour of the day usually brings.

Suffixes: B = rows, F = features, M = metrics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from lepton_apps.verticals.contract import (
    Extraction,
    FeatureSchema,
    LabelledRecord,
    States,
)
from ops.metrics.records import MAX_METRICS, MetricSample, is_counter
from ops.metrics.states import Entity, pack, unpack

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ONE_MS: Final = timedelta(milliseconds=1)
MINUTE_MS: Final = 60_000
PLACES: Final = 256
SMOOTHING: Final = 0.4  # the weight of the newest minute
MEMORY: Final = 40_320  # minutes: four weeks; older ones count less and less
WARM: Final = 30  # vectors before a metric can be called unusual
LARGEST_Z: Final = 20.0
SILENT_MS: Final = 300_000  # an entity that has sent vectors is missed after so long
MANY_LATE: Final = 10  # records in a row that are late by more than
JUMP_MS: Final = 600_000  # so much say that it was the newest one that was wrong
LEAST_SHARE: Final = 0.01  # of the mean: a metric that hardly moves is not called wild for a trifle

NAMES: Final = (
    *(f"z_{place:03d}" for place in range(PLACES)),
    "missing",  # share of the usual metrics that this minute lacks
    "resets",  # log1p of counters that began again
    "hour_most",  # the largest distance from what the hour usually brings, standard deviations
    "hour_mean",  # the mean of the three largest
    "silence",  # log1p of minutes without any sample, in rows that tell of it
)
# Disks fill and queues grow: how far one metric is from its usual wanders. The score says when it
# matters.
MOVING: Final = frozenset(n for n in NAMES if n.startswith(("z_", "hour_")))
REASONS: Final = (
    *("together" for _ in range(PLACES)),
    "missing",
    "resets",
    "hour",
    "hour",
    "silence",
)
REASON_TEXTS: Final = {
    "together": "These metrics do not go together as they usually do.",
    "missing": "Metrics that usually come are missing.",
    "resets": "Counters began again: it was restarted.",
    "hour": "Far from what is usual at this hour of the day.",
    "silence": "No metrics come any more.",
}


class Vector(NamedTuple):
    """What a person may see of a row."""

    names: tuple[str, ...]
    seen: NDArray[np.float64]  # NaN: a gap
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    hour: NDArray[np.float64]  # what this hour usually brings
    kept: NDArray[np.float32]  # (M, KEPT), newest last
    minute: int
    silent_min: float


def place_of(name: str) -> int:
    """The column of a metric: the same in every process, two names may share one."""
    return crc32(name.encode()) % PLACES


class MetricExtractor:
    """One row a minute for each entity. There are no secondary entities."""

    def __init__(self) -> None:
        self._schema = FeatureSchema(1, NAMES, REASONS, {"minute_ms": MINUTE_MS}, moving=MOVING)

    @property
    def schema(self) -> FeatureSchema:
        return self._schema

    def entity_keys(self, record: MetricSample) -> tuple[str, tuple[str, ...]]:
        return record.entity, ()

    def label_keys(self, record: MetricSample) -> tuple[str, ...]:
        return ()

    def apply_labels(
        self, labelled: Sequence[LabelledRecord], shard: int, states: States
    ) -> Extraction:
        """Labels of vectors change no memory."""
        return Extraction(np.empty((0, len(NAMES)), np.float32), np.empty(0, np.int64))

    def extract(
        self, records: Sequence[MetricSample], shards: Sequence[int], states: States
    ) -> Extraction:
        """Take samples in; a row for each minute that one of them ends."""
        made = _Made()
        entities: dict[str, Entity] = {}
        for index, record in enumerate(records):
            entity = entities.get(record.entity)
            if entity is None:
                entity = entities[record.entity] = unpack(states.primary.get(record.entity))
            at = (record.time - EPOCH) // ONE_MS
            minute = at // MINUTE_MS * MINUTE_MS
            if entity.minute and minute > entity.minute:
                made.row(index, entity)
                _end_minute(entity)
            if not entity.minute and minute > entity.newest // MINUTE_MS * MINUTE_MS:
                entity.minute = minute
            if not entity.minute or minute < entity.minute:
                entity.late += 1
                if entity.late < MANY_LATE or at > entity.newest - JUMP_MS:
                    continue
                _set_back(entity, minute, at)
            _take_in(entity, record, at)
        for key, entity in entities.items():
            made.keep(key, entity)
        return made.extraction()

    def on_tick(self, at: datetime, due: Sequence[str], states: States) -> Extraction:
        """A row for each minute that has passed, and for each entity that has fallen silent."""
        made = _Made()
        now = (at - EPOCH) // ONE_MS
        for index, key in enumerate(due):
            entity = unpack(states.primary.get(key))
            if entity.minute:
                made.row(index, entity)
                _end_minute(entity)
                made.keep(key, entity)
            else:
                made.row(index, entity, silent_ms=max(now - entity.newest, 1))
                made.due_at[key] = None  # its next sample sets the timer again
        return made.extraction()


class _Made:
    """What an extraction has made so far."""

    def __init__(self) -> None:
        self.due_at: dict[str, datetime | None] = {}
        self._primary: dict[str, bytes] = {}
        self._rows: list[NDArray[np.float32]] = []
        self._sources: list[int] = []
        self._vectors: list[Vector] = []

    def row(self, source: int, entity: Entity, silent_ms: int = 0) -> None:
        x_F = np.zeros(len(NAMES), np.float32)
        vector = _silent(entity, silent_ms) if silent_ms else _told(entity, x_F)
        x_F[-1] = math.log1p(silent_ms / MINUTE_MS)
        self._rows.append(x_F)
        self._sources.append(source)
        self._vectors.append(vector)

    def keep(self, key: str, entity: Entity) -> None:
        self._primary[key] = pack(entity)
        if entity.minute:
            due = entity.minute + 2 * MINUTE_MS  # a minute's grace for samples under way
        elif entity.vectors >= WARM:
            due = entity.newest // MINUTE_MS * MINUTE_MS + SILENT_MS
        else:
            self.due_at[key] = None
            return
        self.due_at[key] = EPOCH + due * ONE_MS

    def extraction(self) -> Extraction:
        x_BF = np.array(self._rows, np.float32).reshape(len(self._rows), len(NAMES))
        return Extraction(
            x_BF,
            np.array(self._sources, np.int64),
            primary=self._primary,
            due_at=self.due_at,
            evidence=self._vectors,
        )


def _set_back(entity: Entity, minute: int, at: int) -> None:
    """Its clock was far ahead and is right again: the present is now, and what is usual stays."""
    entity.minute, entity.newest, entity.late = minute, at, 0
    rows = entity.known
    rows["sum"] = rows["count"] = 0.0
    rows["last_at"] = 0


def _take_in(entity: Entity, record: MetricSample, at: int) -> None:
    """Add a record's samples to the minute. Metrics beyond the limit are left out."""
    for name, value in record.samples():
        place = entity.row(name, MAX_METRICS) if value is not None else None
        if place is None or value is None:
            continue
        row = entity.rows[place]
        if not is_counter(name):
            row["sum"] += value
            row["count"] += 1
            continue
        before, before_at = row["last"], row["last_at"]
        row["last"], row["last_at"] = value, at
        if not before_at or at <= before_at:
            continue
        if value < before:
            entity.resets += 1
            before = 0.0
        row["sum"] += (value - before) / (at - before_at) * 1000
        row["count"] += 1
    entity.newest = max(entity.newest, at)


def _told(entity: Entity, x_F: NDArray[np.float32]) -> Vector:
    """Write the minute into ``x_F``; the memory goes on afterwards."""
    rows = entity.known
    hour = _hour(entity.minute)
    with np.errstate(invalid="ignore", divide="ignore"):
        seen_M = np.where(rows["count"] > 0, rows["sum"] / rows["count"], np.nan)
    deviation_M = np.maximum(np.sqrt(rows["variance"]), LEAST_SHARE * np.abs(rows["mean"]) + 1e-9)
    warm_M = (rows["known"] >= WARM) & ~np.isnan(seen_M)
    z_M = np.clip((seen_M - rows["mean"]) / deviation_M, -LARGEST_Z, LARGEST_Z)
    smooth_M = np.where(warm_M, rows["smooth"] + SMOOTHING * (z_M - rows["smooth"]), 0.0)
    for name, place in entity.place.items():
        column = place_of(name)
        if abs(smooth_M[place]) > abs(x_F[column]):
            x_F[column] = smooth_M[place]
    hourly_M = warm_M & (rows["hour_known"][:, hour] >= WARM)
    from_hour_M = np.abs(np.where(hourly_M, (seen_M - rows["hour_mean"][:, hour]) / deviation_M, 0))
    largest = np.sort(np.minimum(from_hour_M, LARGEST_Z))[-3:]
    usual = int((rows["known"] >= WARM).sum())
    x_F[PLACES : PLACES + 4] = (
        1.0 - float(warm_M.sum()) / usual if usual else 0.0,
        math.log1p(entity.resets),
        largest[-1] if len(largest) else 0.0,
        largest.mean() if len(largest) else 0.0,
    )
    return Vector(
        tuple(entity.place),
        seen_M,
        rows["mean"].copy(),
        deviation_M,
        np.where(rows["hour_known"][:, hour] >= WARM, rows["hour_mean"][:, hour], np.nan),
        np.concatenate([rows["kept"][:, 1:], seen_M[:, None]], axis=1, dtype=np.float32),
        entity.minute,
        0.0,
    )


def _silent(entity: Entity, silent_ms: int) -> Vector:
    rows = entity.known
    gap_M: NDArray[Any] = np.full(len(rows), np.nan)
    return Vector(
        tuple(entity.place),
        gap_M,
        rows["mean"].copy(),
        np.sqrt(rows["variance"]),
        gap_M,
        rows["kept"].copy(),
        entity.newest,
        silent_ms / MINUTE_MS,
    )


def _end_minute(entity: Entity) -> None:
    """The minute becomes part of what is usual; an unusual one only a little."""
    rows = entity.known
    hour = _hour(entity.minute)
    has_M = rows["count"] > 0
    seen_M = np.where(has_M, rows["sum"] / np.maximum(rows["count"], 1), 0.0)
    deviation_M = np.maximum(np.sqrt(rows["variance"]), LEAST_SHARE * np.abs(rows["mean"]) + 1e-9)
    warm_M = rows["known"] >= WARM
    from_mean_M = seen_M - rows["mean"]
    z_M = np.clip(from_mean_M / deviation_M, -LARGEST_Z, LARGEST_Z)
    # What lies far out moves the memory as if it lay five deviations away.
    step_M = np.where(warm_M, np.clip(from_mean_M, -5 * deviation_M, 5 * deviation_M), from_mean_M)
    rows["smooth"] = np.where(
        has_M & warm_M, rows["smooth"] + SMOOTHING * (z_M - rows["smooth"]), rows["smooth"]
    )
    rows["known"] += has_M
    weight_M = np.where(has_M, 1.0 / np.clip(rows["known"], 1.0, MEMORY), 0.0)
    rows["variance"] += weight_M * ((1 - weight_M) * step_M**2 - rows["variance"])
    rows["mean"] += weight_M * step_M
    known_M = rows["hour_known"][:, hour]
    rows["hour_known"][:, hour] = np.minimum(known_M + has_M, 60_000)
    slow_M = np.where(has_M, 1.0 / np.clip(rows["hour_known"][:, hour], 1, 420), 0.0)
    rows["hour_mean"][:, hour] += slow_M * (
        np.clip(seen_M, rows["mean"] - 6 * deviation_M, rows["mean"] + 6 * deviation_M)
        - rows["hour_mean"][:, hour]
    )
    rows["kept"][:, :-1] = rows["kept"][:, 1:]
    rows["kept"][:, -1] = np.where(has_M, seen_M, np.nan)
    rows["sum"] = rows["count"] = 0.0
    entity.vectors += 1
    entity.resets = entity.late = 0
    entity.minute = 0


def _hour(minute: int) -> int:
    return minute // 3_600_000 % 24
