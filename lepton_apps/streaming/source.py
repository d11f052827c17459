"""What a worker reads, and reads from, without the client that brings it.

Whoever handles messages needs this alone; ``kafka.py`` is the one that talks to a broker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

ORIGIN_HEADER = "lepton-origin"  # a redriven record keeps the place it came from


class Raw(NamedTuple):
    """A message as it lies in the log."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    sent_ms: int | None = None  # the message's time, ms since 1970; the producer's unless it lies


class TopicFacts(NamedTuple):
    """A topic as the broker describes it."""

    topic_id: UUID
    partitions: int
    replicas: int  # of the partition with the fewest
    leaderless: int  # partitions that nobody can read or write now
    lagging: int  # partitions of which a replica is behind


class Source(Protocol):
    """What a worker reads from. The generation changes whenever positions must be set again."""

    @property
    def generation(self) -> int: ...

    @property
    def num_partitions(self) -> int: ...

    def poll(self, max_records: int, timeout_s: float) -> list[Raw]: ...

    def assignment(self) -> frozenset[int]: ...

    def topic_id(self) -> UUID | None: ...

    def seek(self, partition: int, offset: int) -> None: ...

    def first_offsets(self, partitions: Iterable[int]) -> dict[int, int]: ...

    def high_waters(self) -> dict[int, int]: ...

    def hint(self, next_offsets: Mapping[int, int]) -> None: ...

    def close(self) -> None: ...
