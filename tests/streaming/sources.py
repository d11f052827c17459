"""A source in memory for unit tests of the worker; the broker's own behaviour is tested for real."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence

from lepton_apps.streaming.source import Raw

TOPIC_ID = uuid.UUID(int=7)


class InMemorySource:
    """A topic that ends where its list ends. ``first`` is what retention has left of it."""

    def __init__(self, raws: Sequence[Raw], topic_id: uuid.UUID = TOPIC_ID) -> None:
        self.raws = list(raws)
        self.id: uuid.UUID | None = topic_id
        self.generation = 1
        self.first: dict[int, int] = {}
        self.places: dict[int, int] = {}
        self.partitions = frozenset({raw.partition for raw in raws} | {0})

    def poll(self, max_records: int, timeout_s: float) -> list[Raw]:
        ends = self.high_waters()
        for partition, place in self.places.items():
            if place > ends.get(partition, 0):  # as a client does that is beyond the end
                self.places[partition] = self.first.get(partition, 0)
        found = [
            raw
            for raw in self.raws
            if raw.offset >= self.places.get(raw.partition, 0)
            and raw.offset >= self.first.get(raw.partition, 0)
        ][:max_records]
        for raw in found:
            self.places[raw.partition] = raw.offset + 1
        return found

    @property
    def num_partitions(self) -> int:
        return max(self.partitions) + 1

    def assignment(self) -> frozenset[int]:
        return self.partitions

    def topic_id(self) -> uuid.UUID | None:
        return self.id

    def seek(self, partition: int, offset: int) -> None:
        self.places[partition] = offset

    def first_offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        return {partition: self.first.get(partition, 0) for partition in partitions}

    def high_waters(self) -> dict[int, int]:
        ends: dict[int, int] = {}
        for raw in self.raws:
            ends[raw.partition] = max(ends.get(raw.partition, 0), raw.offset + 1)
        return ends

    def hint(self, next_offsets: Mapping[int, int]) -> None:
        pass

    def close(self) -> None:
        pass


def log(values: Iterable[bytes | dict[str, object] | None], partition: int = 0) -> list[Raw]:
    """Messages of one partition from offset 0 on; dictionaries become JSON."""
    return [
        Raw(
            partition,
            offset,
            b"key",
            json.dumps(value).encode() if isinstance(value, dict) else value,
        )
        for offset, value in enumerate(values)
    ]
