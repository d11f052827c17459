"""The one transaction of a batch: offsets, keys, states, decisions, alerts, dead letters, events.

Everything a batch does to the world is written here, together or not at all. Three fences make
it exactly-once in effect; each is a conditional write that must hit as many rows as it names:

* ``stream_offset``: still where this worker left it, or the partition has another owner;
* ``record_key``: no record of the batch was decided in between;
* ``entity_state``, ``secondary_state``, ``alert``: still the versions that were loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from lepton_apps.alerts.models import Alert
from lepton_apps.alerts.summary import alert_summary
from lepton_apps.common.db import RawConnection, undone_on_error
from lepton_apps.common.errors import UnavailableError
from lepton_apps.realtime.feed import Event, commit_with_events
from lepton_apps.streaming import alerting
from lepton_apps.streaming.alerting import AlertChanges
from lepton_apps.streaming.batch import Arrival, Rejected
from lepton_apps.streaming.binary import (
    BigArray,
    BytesArray,
    HotCursor,
    IntArray,
    TextArray,
    TimeArray,
    UuidArray,
)
from lepton_apps.streaming.copying import FEW, copy_decisions, insert_decisions
from lepton_apps.streaming.knowing import add_knowledge, send_tallies
from lepton_apps.streaming.loading import Loaded
from lepton_apps.streaming.pipeline import Decided, PartitionClock, TickGiven
from lepton_apps.streaming.shadow.scoring import Shadowed, send_shadow
from lepton_apps.streaming.tallying import send_scores
from lepton_apps.verticals.contract import Stream

MOVE = """
UPDATE stream_offset AS o SET next_offset = m.next_offset, updated_at = %b,
    high_water = greatest(o.high_water, m.high_water, m.next_offset),
    watermark = m.watermark, last_tick = m.last_tick
FROM unnest(%b, %b, %b, %b, %b, %b, %b)
    AS m (topic_id, partition, expected, next_offset, high_water, watermark, last_tick)
WHERE o.stream = %b AND o.topic_id = m.topic_id AND o.partition = m.partition
    AND o.next_offset = m.expected
"""
# Sorted by key everywhere: two writers that meet wait for each other and never deadlock.
KEYS = """
INSERT INTO record_key (key, decided_at, entity_key)
SELECT key, %b, entity_key FROM unnest(%b, %b) AS k (key, entity_key)
ON CONFLICT DO NOTHING
"""
PRIMARY = """
INSERT INTO entity_state AS s (stream, entity_key, version, schema, partition, due_at, state)
SELECT %b, entity_key, version, %b, partition, due_at, state
FROM unnest(%b, %b, %b, %b, %b)
    AS u (entity_key, version, partition, due_at, state)
ON CONFLICT (stream, entity_key) DO UPDATE
SET version = excluded.version, schema = excluded.schema, partition = excluded.partition,
    due_at = excluded.due_at, state = excluded.state
WHERE s.version = excluded.version - 1
"""
SECONDARY = """
INSERT INTO secondary_state AS s (stream, entity_key, shard, version, schema, state)
SELECT %b, entity_key, shard, version, %b, state
FROM unnest(%b, %b, %b, %b)
    AS u (entity_key, shard, version, state)
ON CONFLICT (stream, entity_key, shard) DO UPDATE
SET version = excluded.version, schema = excluded.schema, state = excluded.state
WHERE s.version = excluded.version - 1
"""
FOLD = """
UPDATE alert SET record_count = %s, first_occurred_at = %s, last_occurred_at = %s, score = %s,
    severity = %s, outcome = %s, updated_at = %s, version = %s
WHERE id = %s AND version = %s AND status IN ('open', 'acknowledged')
"""
DEAD_LETTER = """
INSERT INTO dead_letter (failed_at, stream, topic, topic_id, partition, "offset", key, payload,
    headers, reason, detail, path)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


class StaleAssignmentError(UnavailableError):
    """Another worker has moved the partition on; nothing of the batch was written."""

    code = "assignment_stale"


class ConflictError(UnavailableError):
    """Another writer was faster on a state, a record or an alert; take the batch again."""

    code = "write_conflicted"


@dataclass(slots=True)
class Move:
    """How far a batch takes one partition."""

    topic_id: UUID
    partition: int
    expected: int
    next_offset: int
    high_water: int
    clock: PartitionClock


@dataclass(slots=True)
class BatchResult:
    """All that one batch writes."""

    now: datetime
    loaded: Loaded
    decided: Decided | None = None
    alerts: AlertChanges = field(default_factory=lambda: AlertChanges([], {}, {}))
    rejected: Sequence[Rejected] = ()
    moves: Sequence[Move] = ()
    ticks: Sequence[TickGiven] = ()
    shadowed: Shadowed | None = None


def save(raw: RawConnection, stream: Stream, vertical: str, result: BatchResult) -> None:
    """Write a batch. Raises, having written nothing, when a fence does not hold."""
    fences = Fences(raw, stream.name)
    decided = result.decided
    about = decided.about if decided else []
    with undone_on_error(raw):
        with raw.pipeline():
            raw.execute("BEGIN")
            _send_moves(fences, stream.name, result.now, result.moves)
            _send_keys(fences, about, result.now)
            _send_states(fences, stream, result.loaded)
            send_tallies(raw, stream.name, result.loaded.working.tallies, result.moves)
            _send_alerts(fences, raw, result.alerts)
            if decided and len(about) <= FEW:
                insert_decisions(raw, stream, decided, result.alerts.alert_of_row, result.now)
            if decided and about:
                send_scores(raw, stream, decided, result.now)
                if result.shadowed is not None:
                    send_shadow(raw, stream, decided, result.shadowed, result.now)
        fences.check()
        if decided and len(about) > FEW:
            copy_decisions(raw, stream, decided, result.alerts.alert_of_row, result.now)
        _write_rest(raw, stream, result)
        events = _events(result.alerts)
        if events:
            commit_with_events(raw, {vertical: events})
        else:
            raw.execute("COMMIT")


class Fences:
    """Conditional writes that go out in one message, each held against what it should hit."""

    def __init__(self, raw: RawConnection, stream: str) -> None:
        self._raw = raw
        self._stream = stream
        self._sent: list[tuple[HotCursor, int, type[UnavailableError], str]] = []

    def send(
        self,
        sql: str,
        parameters: Sequence[Any],
        rows: int,
        error: type[UnavailableError],
        what: str,
    ) -> None:
        cursor = HotCursor(self._raw).hot(sql, parameters)
        self._sent.append((cursor, rows, error, what))

    def check(self) -> None:
        """Raise for the first write that hit another number of rows than it names."""
        for cursor, rows, error, what in self._sent:
            if cursor.rowcount != rows:
                raise error(f"{self._stream}: {what} ({cursor.rowcount} of {rows} rows).")


def _send_keys(fences: Fences, about: Sequence[Arrival], now: datetime) -> None:
    if not about:
        return
    parameters = key_parameters(about, now)
    fences.send(KEYS, parameters, len(about), ConflictError, "a record was decided in between")


def key_parameters(about: Sequence[Arrival], now: datetime) -> list[Any]:
    """What ``KEYS`` takes."""
    keyed = sorted((arrival.key, arrival.entity_key) for arrival in about)
    keys = UuidArray([key for key, _ in keyed])
    return [now, keys, TextArray([entity for _, entity in keyed])]


def move_offsets(raw: RawConnection, stream: str, now: datetime, moves: Sequence[Move]) -> None:
    """Move the offsets of partitions that are still ours, inside the caller's transaction."""
    fences = Fences(raw, stream)
    _send_moves(fences, stream, now, moves)
    fences.check()


def save_states(raw: RawConnection, stream: Stream, loaded: Loaded) -> None:
    """Write changed states, inside the caller's transaction."""
    fences = Fences(raw, stream.name)
    _send_states(fences, stream, loaded)
    fences.check()


def _send_moves(fences: Fences, stream: str, now: datetime, moves: Sequence[Move]) -> None:
    if not moves:
        return
    ordered = sorted(moves, key=lambda move: move.partition)
    parameters = [
        now,
        UuidArray([move.topic_id.bytes for move in ordered]),
        IntArray([move.partition for move in ordered]),
        BigArray([move.expected for move in ordered]),
        BigArray([move.next_offset for move in ordered]),
        BigArray([move.high_water for move in ordered]),
        TimeArray([move.clock.watermark for move in ordered]),
        TimeArray([move.clock.last_tick for move in ordered]),
        stream,
    ]
    what = "a partition is no longer at the offset this worker left it at"
    fences.send(MOVE, parameters, len(ordered), StaleAssignmentError, what)


def _send_states(fences: Fences, stream: Stream, loaded: Loaded) -> None:
    """Send the upserts of what the batch changed."""
    parameters, rows = state_parameters(stream, loaded)
    if rows:
        fences.send(PRIMARY, parameters, rows, ConflictError, "an entity changed in between")
    parameters, rows = shard_parameters(stream, loaded)
    if rows:
        fences.send(SECONDARY, parameters, rows, ConflictError, "a shard changed in between")


def state_parameters(stream: Stream, loaded: Loaded) -> tuple[list[Any], int]:
    """What ``PRIMARY`` takes, in the order of keys, and its number of rows."""
    working = loaded.working
    keys = sorted(working.changed_primary.keys() | working.changed_due)
    parameters = [
        stream.name,
        stream.extractor.schema.hash,
        TextArray(keys),
        BigArray([loaded.primary_versions.get(key, 0) + 1 for key in keys]),
        IntArray([working.partitions.get(key) for key in keys]),
        TimeArray([working.due_at.get(key) for key in keys]),
        BytesArray([working.primary[key] for key in keys]),
    ]
    return parameters, len(keys)


def shard_parameters(stream: Stream, loaded: Loaded) -> tuple[list[Any], int]:
    """What ``SECONDARY`` takes, in the order of keys, and its number of rows."""
    changed = loaded.working.changed_secondary
    shards = sorted(changed)
    parameters = [
        stream.name,
        stream.extractor.schema.hash,
        TextArray([key for key, _ in shards]),
        IntArray([shard for _, shard in shards]),
        BigArray([loaded.secondary_versions.get(shard, 0) + 1 for shard in shards]),
        BytesArray([changed[shard] for shard in shards]),
    ]
    return parameters, len(shards)


def _send_alerts(fences: Fences, raw: RawConnection, changes: AlertChanges) -> None:
    """Send the alerts that the batch opens, then those it folds into, in the order of ids."""
    if changes.opened:
        columns = ", ".join(alerting.COLUMNS)
        places = ", ".join(["%s"] * len(alerting.COLUMNS))
        sql = f"INSERT INTO alert ({columns}) VALUES ({places})"  # noqa: S608 - columns of ours
        rows = [
            [
                Jsonb(v) if isinstance(v, (list, dict)) else v
                for v in alerting.values(alert).values()
            ]
            for alert in changes.opened
        ]
        psycopg.Cursor(raw).executemany(sql, rows)
    for alert, version in (changes.folded[id_] for id_ in sorted(changes.folded)):
        parameters = [
            alert.record_count,
            alert.first_occurred_at,
            alert.last_occurred_at,
            alert.score,
            alert.severity,
            alert.outcome,
            alert.updated_at,
            alert.version,
            alert.id,
            version,
        ]
        fences.send(FOLD, parameters, 1, ConflictError, f"alert {alert.id} changed in between")


def _write_rest(raw: RawConnection, stream: Stream, result: BatchResult) -> None:
    """Dead letters, knowledge and ticks: rare, so one by one."""
    cursor = psycopg.Cursor(raw)
    topic_ids = {move.partition: move.topic_id for move in result.moves}
    for partition, topic_id in topic_ids.items():
        mine = [item for item in result.rejected if item.raw.partition == partition]
        add_dead_letters(raw, stream.name, stream.topic, topic_id, mine, result.now)
    add_knowledge(raw, stream.name, result.loaded.working.learned, result.now)
    if result.ticks:
        cursor.executemany(
            "INSERT INTO tick (stream, topic_id, partition, at, before_offset, by_clock)"
            " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [
                (
                    stream.name,
                    topic_ids[t.partition],
                    t.partition,
                    t.at,
                    t.before_offset,
                    t.by_clock,
                )
                for t in result.ticks
            ],
        )


def add_dead_letters(
    raw: RawConnection,
    stream: str,
    topic: str,
    topic_id: UUID,
    rejected: Sequence[Rejected],
    now: datetime,
) -> None:
    """Set messages aside with their bytes as they came, inside the caller's transaction."""
    if not rejected:
        return
    rows = [
        (
            now,
            stream,
            topic,
            topic_id,
            item.raw.partition,
            item.raw.offset,
            item.raw.key,
            item.raw.value,
            Jsonb([[_storable(name), (value or b"").hex()] for name, value in item.raw.headers]),
            item.reason,
            _storable(item.detail)[:2_000],
            _storable(item.path)[:500],
        )
        for item in rejected
    ]
    psycopg.Cursor(raw).executemany(DEAD_LETTER, rows)


def _storable(text: str) -> str:
    """A text that PostgreSQL takes: it refuses NUL, and lone surrogates are no Unicode."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _events(changes: AlertChanges) -> list[Event]:
    events = [Event("alert.opened", alert_summary(alert, None)) for alert in changes.opened]
    events += [
        Event("alert.updated", alert_summary(alert, alert_assignee(alert)))
        for alert, _ in (changes.folded[id_] for id_ in sorted(changes.folded))
    ]
    return events


def alert_assignee(alert: Alert) -> str | None:
    """The assignee's name as it was read with the alert."""
    return None if alert.assigned_to is None else alert.assigned_to.get_username()


def add_partition(
    raw: RawConnection, stream: str, topic_id: UUID, partition: int, start: int, now: datetime
) -> None:
    """Start to remember a partition. A second worker that does the same changes nothing."""
    psycopg.Cursor(raw).execute(
        "INSERT INTO stream_offset (stream, topic_id, partition, next_offset, high_water,"
        " updated_at) VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        [stream, topic_id, partition, start, start, now],
    )
