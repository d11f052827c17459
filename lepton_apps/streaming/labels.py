"""The worker of a label stream: keeps labels, and takes them into the entity state once.

Every label, by topic, REST or console, becomes a row of ``label`` first; here is the one place
where rows reach the state. A label waits until the record it names has been decided.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings

from lepton_apps.alerts.models import Label
from lepton_apps.alerts.services import GivenLabel, add_labels
from lepton_apps.common import clock
from lepton_apps.common.db import RawConnection, raw_connection, transaction
from lepton_apps.common.errors import LeptonError, RecordRefusedError
from lepton_apps.common.metrics import BATCH_REDONE, DEAD_LETTERS, LABELS_APPLIED, RECORDS
from lepton_apps.streaming import mirror, store
from lepton_apps.streaming.batch import (
    LABEL_AHEAD,
    LABEL_SHARD,
    Rejected,
    decode,
    json_of,
    key_of,
    refuse_absurd,
)
from lepton_apps.streaming.caches import StateCache
from lepton_apps.streaming.loading import load_states
from lepton_apps.streaming.loop import Loop
from lepton_apps.streaming.source import Raw, Source
from lepton_apps.streaming.store import ConflictError, Move
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import LabelledRecord, Message, Stream

log = logging.getLogger(__name__)

APPLY_AT_ONCE = 500  # labels in one transaction

ANY_WAITING = """
SELECT 1 FROM label l JOIN record_key k ON k.key = l.decision_key
WHERE l.stream = %s AND l.applied_at IS NULL LIMIT 1
"""
WAITING = """
SELECT l.id, l.decision_key, l.positive, least(l.labelled_at, l.received_at),
    CASE WHEN d.record_id LIKE 'tick:' || d.topic_id || ':%%' THEN NULL ELSE d.payload END,
    d.occurred_at
FROM (
    SELECT l.* FROM label l JOIN record_key k ON k.key = l.decision_key
    WHERE l.stream = %s AND l.applied_at IS NULL ORDER BY l.id LIMIT %s
) l
JOIN record_key k ON k.key = l.decision_key
LEFT JOIN decision d
    ON d.entity_key = k.entity_key AND d.decided_at = k.decided_at AND d.id = k.key
ORDER BY l.id
"""
# The truth of a record as it stands in the state: its newest applied label, and the moment that
# a positive one was counted at.
STANDING = """
SELECT DISTINCT ON (decision_key) decision_key, positive, counted_at FROM label
WHERE decision_key = ANY(%s) AND applied_at IS NOT NULL ORDER BY decision_key, applied_at DESC,
    id DESC
"""
APPLIED = """
UPDATE label AS l SET applied_at = %s, counted_at = a.counted_at
FROM unnest(%s::bigint[], %s::timestamptz[]) AS a (id, counted_at)
WHERE l.id = a.id AND l.applied_at IS NULL
"""


@dataclass(slots=True)
class Standing:
    """What the state holds of a record's truth."""

    positive: bool = False
    counted_at: datetime | None = None


class LabelWorker(Loop):
    """Reads one label stream and applies all labels of the stream that it labels."""

    def __init__(self, name: str, open_source: Callable[[], Source]) -> None:
        super().__init__(name, open_source, settings.WORKER_BATCH_SIZE)
        self.vertical, self.labels = registry.label_stream(name)
        self.scored: Stream = registry.stream(self.labels.labels)[1]
        self._read = json_of(self.labels.record_type)

    def through(self, raws: Sequence[Raw]) -> None:
        """Keep the labels and move the offsets in one transaction; then apply what can be."""
        given: list[GivenLabel] = []
        rejected: list[Rejected] = []
        for item in raws:
            try:
                given.append(self._given(item))
            except RecordRefusedError as exc:
                rejected.append(Rejected(item, exc.reason, exc.detail, exc.path))
        if self._watch.would_halt(len(given), len(rejected)):
            self._halt(rejected[-1])
            return
        self._save(raws, given, rejected)
        self._watch.note(len(given), len(rejected))
        RECORDS.labels(self.stream, "labelled").inc(len(given))
        self.idle()

    def set_aside(self, rejected: Rejected) -> None:
        self._save([rejected.raw], [], [rejected])

    def idle(self) -> None:
        """Apply what waits: labels of REST and console, and of records decided since."""
        while apply_labels(raw_connection(), self.scored) == APPLY_AT_ONCE and not self._stopping:
            pass

    def _given(self, item: Raw) -> GivenLabel:
        if item.value is None:
            raise RecordRefusedError("The message has no value.", reason="empty")
        record = decode(self._read, Message(item.value), settings.MAX_RECORD_BYTES)
        labels = self.labels
        record_id = labels.record_id(record)
        key_of(self.scored.name, record_id, record_id)
        labelled_at = labels.labelled_at(record)
        refuse_absurd(record, "label's time", labelled_at, clock.now(), LABEL_AHEAD)
        return GivenLabel(
            self.scored.name,
            record_id,
            labels.is_positive(record),
            labels.kind(record),
            labelled_at,
        )

    def _save(
        self, raws: Sequence[Raw], given: Sequence[GivenLabel], rejected: Sequence[Rejected]
    ) -> None:
        positions = self.positions
        topic_id = positions.topic_id
        assert topic_id is not None
        ends = {item.partition: item.offset + 1 for item in raws}
        waters = self._source.high_waters() if self._source is not None else {}
        moves = [
            Move(
                topic_id,
                partition,
                positions.next_offsets[partition],
                end,
                waters.get(partition, end),
                positions.clocks[partition],
            )
            for partition, end in ends.items()
        ]
        raw = raw_connection()
        with transaction(raw):
            store.move_offsets(raw, self.stream, clock.now(), moves)
            if given:
                add_labels(raw, given, source=Label.Source.TOPIC, by_id=None)
            store.add_dead_letters(
                raw, self.stream, self.labels.topic, topic_id, rejected, clock.now()
            )
        positions.next_offsets.update(ends)
        RECORDS.labels(self.stream, "rejected").inc(len(rejected))
        for refused in rejected:
            DEAD_LETTERS.labels(self.stream, refused.reason).inc()


def apply_labels(raw: RawConnection, stream: Stream) -> int:
    """Take waiting labels into the state of their entities, once each; returns how many.

    Redone when a state changed in between; the labels and the state move together or not at all.
    When one of them makes the extractor fail they are taken one by one, and that one is history
    only from then on.
    """
    limit = APPLY_AT_ONCE
    while True:
        rows: list[tuple[Any, ...]] = []
        try:
            with transaction(raw):
                rows = _waiting(raw, stream, limit)
                if rows:
                    _apply(raw, stream, rows)
        except ConflictError:
            BATCH_REDONE.labels(stream.name, "conflict").inc()
        except (LeptonError, psycopg.OperationalError, psycopg.InterfaceError, MemoryError):
            raise
        except Exception as exc:  # an extractor may raise anything
            if not rows:
                raise
            if len(rows) == 1:
                _set_aside(raw, stream, rows[0][0], exc)
            limit = 1
        else:
            LABELS_APPLIED.labels(stream.name).inc(len(rows))
            if limit == 1 and rows:
                continue
            return len(rows)


def _set_aside(raw: RawConnection, stream: Stream, label_id: int, error: Exception) -> None:
    """Stamp the label that failed without letting the state hear of it."""
    log.error("label set aside", extra={"stream": stream.name, "label": label_id}, exc_info=error)
    raw.execute(APPLIED, [clock.now(), [label_id], [None]])


def _waiting(raw: RawConnection, stream: Stream, limit: int) -> list[tuple[Any, ...]]:
    """The first labels that can be applied. Whoever has them has the stream's turn too.

    The turn comes before the look: two labels of one record that two workers read at once would
    each find the other one not applied yet, and both would count.
    """
    if raw.execute(ANY_WAITING, [stream.name]).fetchone() is None:
        return []
    mirror.take_turn(raw, stream.name)
    return raw.execute(WAITING, [stream.name, limit]).fetchall()


def _apply(raw: RawConnection, stream: Stream, rows: Sequence[tuple[Any, ...]]) -> None:
    keys = list({row[1] for row in rows})
    standing: dict[UUID, Standing] = {
        key: Standing(positive and counted_at is not None, counted_at)
        for key, positive, counted_at in raw.execute(STANDING, [keys])
    }
    read = stream.from_message or json_of(stream.record_type)
    changes: list[LabelledRecord] = []
    counted: dict[int, datetime | None] = {}
    for id_, key, positive, labelled_at, payload, occurred_at in rows:
        known = standing.setdefault(key, Standing())
        record = _record(read, payload)
        if record is None:
            counted[id_] = None
            continue
        change = int(positive) - int(known.positive)
        if change:
            at = max(occurred_at, labelled_at) if positive else known.counted_at
            changes.append(LabelledRecord(record, at or labelled_at, change))
            known.positive, known.counted_at = positive, at if positive else None
        counted[id_] = known.counted_at
    _save_states(raw, stream, changes)
    raw.execute(APPLIED, [clock.now(), list(counted), list(counted.values())])


def _record(read: Callable[[Message], Any], payload: bytes | None) -> Any:
    """The labelled record. None: the label is history only, and the state does not hear of it.

    So are labels of a record that retention has dropped, of a decision that a tick made, and of
    a record that an older form of its type had accepted.
    """
    if payload is None:
        return None
    try:
        return decode(read, Message(bytes(payload)), len(payload))
    except RecordRefusedError as exc:
        log.warning("labelled record no longer decodes", extra={"why": exc.detail})
        return None


def _save_states(raw: RawConnection, stream: Stream, changes: Sequence[LabelledRecord]) -> None:
    if not changes:
        return
    keys: set[Any] = set()
    for change in changes:
        keys.update(stream.extractor.label_keys(change.record))
    loaded = load_states(raw, stream, (), keys, StateCache(0), {}, {})
    extraction = stream.extractor.apply_labels(changes, LABEL_SHARD, loaded.working.states())
    loaded.working.take(extraction)
    store.save_states(raw, stream, loaded)
    mirror.stamp(raw, stream.name, [key for key, _ in extraction.secondary])
