"""Entity states in memory: what a topic replay has instead of the tables, and starts without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar

from lepton_apps.common.errors import LeptonError
from lepton_apps.streaming import pipeline
from lepton_apps.streaming.batch import Arrival, Origin
from lepton_apps.streaming.loading import keys_of
from lepton_apps.streaming.pipeline import PartitionClock, Rows, Working
from lepton_apps.verticals.contract import Stream


class TooMuchStateError(LeptonError):
    """The entities that a topic replay has met do not fit into the memory it may use."""

    code: ClassVar[str] = "replay_too_much_state"
    status: ClassVar[int] = 422


@dataclass(slots=True)
class MemoryStates:
    """States of one stream. A batch sees a copy and is kept when all of it went through."""

    stream: Stream
    most_bytes: int
    knowledge: dict[str, bytes] = field(default_factory=dict)
    clocks: dict[int, PartitionClock] = field(default_factory=dict)
    size: int = 0  # bytes of packed states; Python's own come on top
    failed: int = 0  # records that made the extractor raise
    _primary: dict[str, bytes] = field(default_factory=dict)
    _secondary: dict[str, dict[int, bytes]] = field(default_factory=dict)
    _due_at: dict[str, datetime] = field(default_factory=dict)
    _partitions: dict[str, int | None] = field(default_factory=dict)

    @property
    def entities(self) -> int:
        return len(self._primary) + len(self._secondary)

    def take(self, arrivals: Sequence[Arrival]) -> list[Rows]:
        """Extract in order; a record that fails alone is left out, as a worker leaves it out.

        Raises:
            TooMuchStateError: the states have outgrown ``most_bytes``.
        """
        if not arrivals:
            return []
        working = self._working(arrivals)
        clocks = {partition: replace(each) for partition, each in self.clocks.items()}
        try:
            rows, _ = pipeline.extract(self.stream, arrivals, working, clocks)
        except Exception:  # noqa: BLE001 - an extractor may raise anything; a worker isolates it too
            if len(arrivals) == 1:
                self.failed += 1
                return []
            return [rows for arrival in arrivals for rows in self.take([arrival])]
        self.clocks = clocks
        self._keep(working)
        return [rows]

    def tick(self, at: datetime, origin: Origin) -> list[Rows]:
        """A tick that the clock gave to an idle partition then, before the record at ``origin``."""
        clock = self.clocks.setdefault(origin.partition, PartitionClock())
        if clock.last_tick is not None and at <= clock.last_tick:
            return []
        working = self._working((), at)
        extraction, due = pipeline.tick(self.stream, at, origin.partition, working)
        pipeline.check(self.stream, extraction)
        working.take(extraction)
        clock.last_tick = at
        self._keep(working)
        sources = [pipeline.tick_arrival(self.stream, key, at, origin) for key in due]
        about = [sources[source] for source in extraction.source_B.tolist()]
        return [Rows(about, extraction.x_BF, list(pipeline.evidence_of(extraction)))]

    def _working(self, arrivals: Sequence[Arrival], until: datetime | None = None) -> Working:
        primary, secondary = keys_of(self.stream, arrivals, with_labels=True)
        if self.stream.tick is not None:
            until = max((arrival.occurred_at for arrival in arrivals), default=until)
            primary |= {key for key, at in self._due_at.items() if until and at <= until}
        known = self._primary.keys() & primary
        return Working(
            primary={key: self._primary[key] for key in known},
            secondary={
                key: dict(self._secondary[key]) for key in self._secondary.keys() & secondary
            },
            knowledge=dict(self.knowledge),
            due_at={key: self._due_at.get(key) for key in known},
            partitions={key: self._partitions.get(key) for key in known},
        )

    def _keep(self, working: Working) -> None:
        for key, state in working.changed_primary.items():
            self.size += len(state) - len(self._primary.get(key, b""))
            self._primary[key] = state
        for (key, shard), state in working.changed_secondary.items():
            shards = self._secondary.setdefault(key, {})
            self.size += len(state) - len(shards.get(shard, b""))
            shards[shard] = state
        for key in working.changed_due:
            due_at = working.due_at.get(key)
            if due_at is None:
                self._due_at.pop(key, None)
            else:
                self._due_at[key] = due_at
        self._partitions.update(working.partitions)
        for id_, body in working.learned.items():
            self.size += len(body)
            self.knowledge[id_] = body
        if self.size > self.most_bytes:
            raise TooMuchStateError(
                f"The states of {self.entities:,} entities take more than "
                f"{self.most_bytes:,} bytes (REPLAY_STATE_BYTES): begin later, set a limit of "
                "records, or replay stored decisions, which need no states.",
                limit=self.most_bytes,
            )
