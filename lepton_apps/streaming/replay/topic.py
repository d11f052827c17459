"""A topic read from a place on, up to the end it had when the replay began.

Records go through the decoder, the extractor and the model as in a worker, from empty states and
in memory. Partitions are merged by the time of their messages, so that two replays see one order.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

import numpy as np
from django.conf import settings

from lepton_apps.common import clock
from lepton_apps.common.db import RawConnection
from lepton_apps.common.errors import UnavailableError
from lepton_apps.streaming import pipeline
from lepton_apps.streaming.batch import Arrival, Decoder, Origin
from lepton_apps.streaming.kafka import Admin, BrokerError, Reader, unavailable
from lepton_apps.streaming.pipeline import Rows
from lepton_apps.streaming.replay.question import Question, refused
from lepton_apps.streaming.replay.rows import Made, Replayed
from lepton_apps.streaming.replay.states import MemoryStates
from lepton_apps.streaming.source import Raw
from lepton_apps.verticals.contract import Stream

CHUNK = 2_000  # records taken through together
AHEAD = 5_000  # messages of one partition that wait for those of others
SILENCE_S = 30.0  # without a message before the end: the broker has lost what it promised
DECIDED = """
SELECT d.id, d.decided_at, d.model_version, d.score, d.outcome, d.alert_id
FROM record_key k JOIN decision d
    ON d.entity_key = k.entity_key AND d.decided_at = k.decided_at AND d.id = k.key
WHERE k.key = ANY(%s)
"""
IDLE_TICKS = """
SELECT partition, before_offset, at FROM tick
WHERE stream = %s AND topic_id = %s AND by_clock ORDER BY partition, before_offset, at
"""
KNOWLEDGE = "SELECT id, body FROM knowledge WHERE stream = %s AND learned_at < %s"


class TopicSilentError(UnavailableError):
    """Messages that the broker says it has did not come."""

    code = "topic_silent"


class Log(Protocol):
    """What is asked of a reader of a topic."""

    def bounds(self) -> dict[int, tuple[int, int]]: ...
    def offsets_at(self, at_ms: int) -> dict[int, int | None]: ...
    def begin(self, offsets: Mapping[int, int]) -> None: ...
    def poll(self, timeout_ms: int, paused: Sequence[int] = ()) -> list[Raw]: ...
    def positions(self) -> dict[int, int]: ...
    def close(self) -> None: ...


def open_log(stream: Stream) -> tuple[Log, UUID]:
    """The stream's topic and its identity, or why it cannot be read."""
    admin = Admin()
    try:
        found = admin.topic(stream.topic)
    finally:
        admin.close()
    if found is None:
        raise refused(
            "from_offset", f"There is no topic {stream.topic}. `manage.py setup` makes it."
        )
    return Reader(stream.topic, found[1]), found[0]


@dataclass(slots=True)
class TopicRows:
    """The records of a topic from a place on, as rows."""

    raw: RawConnection
    stream: Stream
    question: Question
    log: Log
    topic_id: UUID
    states: MemoryStates = field(init=False)
    starts: dict[int, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)  # exclusive
    gone: int = 0  # records before the oldest one there, which were asked for
    repeats: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    total: int = 0
    _seen: set[bytes] = field(default_factory=set)
    _idle: dict[int, deque[tuple[int, datetime]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.states = MemoryStates(self.stream, settings.REPLAY_STATE_BYTES)
        try:
            self._begin()
        except BrokerError as exc:
            raise unavailable(f"Reading {self.stream.topic}", exc) from exc

    def _begin(self) -> None:
        bounds = self.log.bounds()
        asked = self._asked(bounds)
        for partition, offset in sorted(asked.items()):
            first, end = bounds[partition]
            if offset > end:
                raise refused(
                    "from_offset",
                    f"Partition {partition} ends at {end}, before the offset {offset}.",
                )
            self.gone += max(0, first - offset)
            self.starts[partition], self.ends[partition] = max(first, offset), end
        there = sum(self.ends.values()) - sum(self.starts.values())
        self.total = there if self.question.limit is None else min(there, self.question.limit)
        most = settings.REPLAY_TOPIC_RECORDS
        if self.total > most:
            raise refused(
                "limit",
                f"{self.total:,} records wait from there; a replay of a topic takes at most "
                f"{most:,} (REPLAY_TOPIC_RECORDS). Begin later, or set a limit.",
            )
        self.log.begin(self.starts)
        for partition, before, at in self.raw.execute(
            IDLE_TICKS, [self.stream.name, self.topic_id]
        ):
            if before > self.starts.get(partition, before):
                self._idle.setdefault(partition, deque()).append((before, at))

    def _asked(self, bounds: Mapping[int, tuple[int, int]]) -> dict[int, int]:
        question = self.question
        if question.from_offset is not None:
            return dict.fromkeys(bounds, question.from_offset)
        if question.from_offsets is not None:
            unknown = sorted(question.from_offsets.keys() - bounds.keys())
            if unknown:
                raise refused(
                    "from_offsets",
                    f"{self.stream.topic} has no partition {unknown[0]}; it has "
                    f"0 to {max(bounds)}.",
                )
            return dict(question.from_offsets)
        assert question.from_time is not None
        found = self.log.offsets_at(int(question.from_time.timestamp() * 1000))
        return {p: bounds[p][1] if at is None else at for p, at in found.items()}

    def chunks(self) -> Iterator[tuple[Replayed, int]]:
        """Rows, and how many messages were read for them."""
        decoder = Decoder(self.stream, settings.MAX_RECORD_BYTES)
        waiting: list[Raw] = []
        left = self.total
        for message in self._from_time(self._merged()):
            if left == self.total:  # the first
                self._take_up_knowledge(message)
            waiting.append(message)
            left -= 1
            if len(waiting) == CHUNK or not left:
                yield self._through(decoder, waiting), len(waiting)
                waiting = []
            if not left:
                break
        if waiting:
            yield self._through(decoder, waiting), len(waiting)

    def _from_time(self, messages: Iterator[Raw]) -> Iterator[Raw]:
        """Without what lies before the first message of that time.

        Kafka answers with its offset; the embedded broker with an earlier one.
        """
        at = self.question.from_time
        early = set(self.starts) if at is not None else set()
        for message in messages:
            if message.partition in early:
                if at is not None and (message.sent_ms or 0) < at.timestamp() * 1000:
                    continue
                early.discard(message.partition)
                self.starts[message.partition] = message.offset
            yield message

    def _take_up_knowledge(self, message: Raw) -> None:
        """What the stream had learned before the first message was sent, and nothing later."""
        if message.sent_ms is None or message.sent_ms < 0:
            return
        sent_at = datetime.fromtimestamp(message.sent_ms / 1000, tz=UTC)
        known = self.raw.execute(KNOWLEDGE, [self.stream.name, sent_at])
        self.states.knowledge = {id_: bytes(body) for id_, body in known}

    def _merged(self) -> Iterator[Raw]:
        """Messages of all partitions by their time; of one partition, by their offset."""
        queues: dict[int, deque[Raw]] = {partition: deque() for partition in self.starts}
        places = dict(self.starts)
        heard_at = clock.monotonic()
        while True:
            unread = [p for p in queues if places[p] < self.ends[p]]
            while all(queues[p] for p in unread) and any(queues.values()):
                queue = min((q for q in queues.values() if q), key=lambda q: _turn(q[0]))
                yield queue.popleft()
                heard_at = clock.monotonic()
            if not unread:
                return
            full = [p for p, queue in queues.items() if len(queue) >= AHEAD or p not in unread]
            try:
                for message in self.log.poll(200, full):
                    if message.offset < self.ends[message.partition]:
                        queues[message.partition].append(message)
                    heard_at = clock.monotonic()
                places.update(self.log.positions())
            except BrokerError as exc:
                raise unavailable(f"Reading {self.stream.topic}", exc) from exc
            empty = [p for p in unread if not queues[p]]
            if empty and clock.monotonic() - heard_at > SILENCE_S:
                raise TopicSilentError(
                    f"{self.stream.topic}: partition {empty[0]} gave nothing for {SILENCE_S:.0f} s "
                    f"at offset {places[empty[0]]}, before its end {self.ends[empty[0]]}."
                )

    def _through(self, decoder: Decoder, messages: Sequence[Raw]) -> Replayed:
        batch = decoder.batch(messages, self.topic_id, clock.now())
        self.rejected.update(item.reason for item in batch.rejected)
        first, again = pipeline.repeats(batch.arrivals, self._seen)
        self._seen.update(arrival.key for arrival in first)
        self.repeats += len(again)
        rows: list[Rows] = []
        start = 0
        for index, arrival in enumerate(first):
            due = self._due(arrival.origin)
            if due:
                rows += self.states.take(first[start:index])
                start = index
                assert arrival.origin is not None
                for at in due:
                    rows += self.states.tick(at, arrival.origin)
        rows += self.states.take(first[start:])
        return self._beside(rows)

    def _due(self, origin: Origin | None) -> list[datetime]:
        """Ticks that the clock gave before this record, when its partition was silent."""
        idle = self._idle.get(origin.partition) if origin else None
        found = []
        while idle and origin and idle[0][0] <= origin.offset:
            found.append(idle.popleft()[1])
        return found

    def _beside(self, rows: Sequence[Rows]) -> Replayed:
        about: list[Arrival] = [arrival for part in rows for arrival in part.about]
        keys = [arrival.decision_id for arrival in about]
        made = {row[0]: Made(*row[1:]) for row in self.raw.execute(DECIDED, [keys])}
        width = len(self.stream.extractor.schema.names)
        return Replayed(
            keys,
            [arrival.record_id for arrival in about],
            [arrival.entity_key for arrival in about],
            [arrival.occurred_at for arrival in about],
            [None if arrival.record is None else arrival.payload for arrival in about],
            np.concatenate([part.x_BF for part in rows] or [np.zeros((0, width), np.float32)]),
            [made.get(key) for key in keys],
        )

    def facts(self) -> dict[str, Any]:
        """What a reader of the result must know of where it came from."""
        return {
            "starts": {str(p): offset for p, offset in sorted(self.starts.items())},
            "ends": {str(p): offset for p, offset in sorted(self.ends.items())},
            "gone": self.gone,
            "repeats": self.repeats,
            "rejected": dict(self.rejected),
            "failed": self.states.failed,
            "entities": self.states.entities,
            "state_bytes": self.states.size,
        }


def _turn(message: Raw) -> tuple[int, int]:
    return (message.sent_ms or 0, message.partition)
