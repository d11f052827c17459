"""The streams under test, and a memory that loads and keeps states as the database does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID
from zlib import crc32

import msgspec

from lepton_apps.streaming.batch import Arrival, Decoder, Origin
from lepton_apps.streaming.loading import keys_of
from lepton_apps.streaming.pipeline import PartitionClock, Rows, TickGiven, Working, extract
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Message, Stream, Vertical

TOPIC_ID = UUID("7f0b7c52-5f0c-4d0c-9c39-6a3b8d1c2e4f")
NOW = datetime(2100, 1, 1, tzinfo=UTC)  # after every fixture, of verticals to come as well
MAX_BYTES = 262_144

Scored = tuple[Vertical, Stream]


def scored_streams() -> list[Scored]:
    return [(vertical, stream) for vertical in registry.verticals() for stream in vertical.streams]


def arrivals_of(stream: Stream, payloads: Sequence[bytes | Message]) -> list[Arrival]:
    """Decoded records as a worker would meet them: an entity always in the same partition."""
    decoder = Decoder(stream, MAX_BYTES)
    ends: dict[int, int] = {}
    arrivals = []
    for payload in payloads:
        message = payload if isinstance(payload, Message) else Message(payload)
        entity_key = decoder.arrival(message, NOW, 0, None, "place").entity_key
        partition = crc32(entity_key.encode()) % stream.partitions
        offset = ends[partition] = ends.get(partition, -1) + 1
        origin = Origin(TOPIC_ID, partition, offset)
        place = f"{TOPIC_ID}:{partition}:{offset}"
        arrivals.append(decoder.arrival(message, NOW, partition, origin, place))
    return arrivals


def at_another_time(stream: Stream, payload: bytes, at: datetime) -> bytes:
    """The same record, but having occurred at ``at``."""
    body = msgspec.json.decode(payload)
    was = Decoder(stream, MAX_BYTES).arrival(Message(payload), NOW, 0, None, "place").occurred_at
    field_name = next(name for name, value in body.items() if is_time(value, was))
    return msgspec.json.encode({**body, field_name: at})


def is_time(value: object, at: datetime) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value) == at
    except (ValueError, TypeError):
        return False


@dataclass(slots=True)
class Memory:
    """All states of one stream. Batches taken through it see each other as saved batches do."""

    stream: Stream
    primary: dict[str, bytes] = field(default_factory=dict)
    secondary: dict[str, dict[int, bytes]] = field(default_factory=dict)
    knowledge: dict[str, bytes] = field(default_factory=dict)
    timers: dict[str, tuple[int | None, datetime]] = field(default_factory=dict)
    clocks: dict[int, PartitionClock] = field(default_factory=dict)

    def take(self, arrivals: Sequence[Arrival]) -> tuple[Rows, list[TickGiven]]:
        """One batch: load what it needs, extract, keep what changed."""
        working = self._load(arrivals)
        rows, ticks = extract(self.stream, arrivals, working, self.clocks)
        self.primary.update(working.changed_primary)
        for (key, shard), state in working.changed_secondary.items():
            self.secondary.setdefault(key, {})[shard] = state
        self.knowledge.update(working.learned)
        for key in working.changed_due:
            due_at = working.due_at[key]
            if due_at is None:
                self.timers.pop(key, None)
            else:
                self.timers[key] = (working.partitions.get(key), due_at)
        return rows, ticks

    def _load(self, arrivals: Sequence[Arrival]) -> Working:
        primary, secondary = keys_of(self.stream, arrivals, with_labels=True)
        newest: dict[int, datetime] = {}
        for arrival in arrivals:
            assert arrival.origin is not None
            partition = arrival.origin.partition
            newest[partition] = max(newest.get(partition, arrival.occurred_at), arrival.occurred_at)
        due = {
            key
            for key, (partition, due_at) in self.timers.items()
            if partition in newest and due_at <= newest[partition]
        }
        timers = {key: self.timers[key] for key in (primary | due) & self.timers.keys()}
        return Working(
            primary={key: self.primary[key] for key in (primary | due) & self.primary.keys()},
            secondary={key: dict(self.secondary[key]) for key in secondary & self.secondary.keys()},
            knowledge=dict(self.knowledge),
            due_at={key: due_at for key, (_, due_at) in timers.items()},
            partitions={key: partition for key, (partition, _) in timers.items()},
        )
