"""What a worker keeps of the states it wrote last. Nothing here is ever the truth.

A stale entry cannot hurt: saving finds another version in the database, nothing is written, the
entries of the batch are dropped and the batch is taken again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple


class CachedState(NamedTuple):
    version: int
    due_at: datetime | None
    partition: int | None
    state: bytes


class StateCache:
    """Main-entity states this worker wrote last, so that a hot entity is not read again.

    When it is full, the half that was written longest ago goes.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._fresh: dict[str, CachedState] = {}
        self._older: dict[str, CachedState] = {}

    def get(self, key: str) -> CachedState | None:
        return self._fresh.get(key) or self._older.get(key)

    def put(self, states: Mapping[str, CachedState]) -> None:
        if len(self._fresh) + len(states) > self._capacity // 2:
            self._older, self._fresh = self._fresh, {}
        if len(states) <= self._capacity:
            self._fresh.update(states)

    def drop(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._fresh.pop(key, None)
            self._older.pop(key, None)

    def clear(self) -> None:
        self._fresh.clear()
        self._older.clear()


class ShardCache:
    """The shards of secondary entities that this worker alone writes: those of its partitions.

    Only the shards of ``others`` have to be read for an entity that is in here. The states are
    shared with the batch in hand, which changes them; a batch that fails drops them.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.others: tuple[int, ...] = ()
        self.states: dict[str, dict[int, bytes]] = {}
        self.versions: dict[tuple[str, int], int] = {}

    def take_up(self, others: Collection[int]) -> None:
        """Start anew; ``others`` are the shards that other writers may have."""
        self.clear()
        self.others = tuple(sorted(others))

    def trim(self) -> None:
        if len(self.states) > self._capacity:
            self.clear()

    def drop(self, keys: Iterable[str]) -> None:
        for key in keys:
            for shard in self.states.pop(key, ()):
                self.versions.pop((key, shard), None)

    def clear(self) -> None:
        self.states.clear()
        self.versions.clear()
