"""The worker of a scored stream: batches through the path, and what to do when one fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import psycopg
from django.conf import settings
from django.db import Error as DjangoDatabaseError

from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection
from lepton_apps.common.errors import LeptonError
from lepton_apps.common.metrics import (
    BATCH_REDONE,
    DEAD_LETTERS,
    RECORD_AGE_SECONDS,
    RECORDS,
)
from lepton_apps.streaming.batch import Batch, Origin, Rejected
from lepton_apps.streaming.halting import RejectionWatch, halt
from lepton_apps.streaming.kafka import Raw, Source
from lepton_apps.streaming.loading import load_knowledge, shards_of
from lepton_apps.streaming.loop import Loop
from lepton_apps.streaming.path import IdleTick, StreamPath, Taken
from lepton_apps.streaming.pipeline import PartitionClock, floor
from lepton_apps.streaming.store import ConflictError, Move

log = logging.getLogger(__name__)

# What no record can be blamed for; the loop waits it out. DataError and IntegrityError are not
# among them: a value that PostgreSQL refuses came from a record.
RECORD_FAULTS = (psycopg.DataError, psycopg.IntegrityError)
OUTSIDE = (LeptonError, psycopg.Error, DjangoDatabaseError, MemoryError)


class Worker(Loop):
    """Scores the records of one stream."""

    def __init__(self, path: StreamPath, open_source: Callable[[], Source]) -> None:
        super().__init__(path.stream.name, open_source, settings.WORKER_BATCH_SIZE)
        self.path = path
        self._watch = RejectionWatch(settings.DEAD_LETTER_WINDOW, settings.DEAD_LETTER_RATIO)
        self._idle_since: dict[int, float] = {}

    def lost_track(self) -> None:
        if self.positions.topic_id is None:
            self.path.forget({}, ())
            return
        raw = raw_connection()
        # All partitions of the topic, also those that nobody has written down yet.
        partitions = self._source.num_partitions if self._source is not None else 0
        shards = shards_of(raw, self.stream) | set(range(partitions))
        others = shards - self.positions.next_offsets.keys()
        self.path.forget(load_knowledge(raw, self.path.stream), others)

    def process(self, raws: Sequence[Raw]) -> None:
        try:
            self._through(raws)
        except RECORD_FAULTS as exc:
            self._isolate(raws, exc)
        except OUTSIDE:
            raise
        except Exception as exc:  # noqa: BLE001 - extractors and models may raise anything
            self._isolate(raws, exc)

    def _through(self, raws: Sequence[Raw]) -> None:
        """Decode, take through and save; again when another writer was faster."""
        assert self.positions.topic_id is not None
        with self.path.step("decode"):
            batch = self.path.decoder.batch(raws, self.positions.topic_id, clock.now())
        if self._watch.would_halt(len(batch.arrivals), len(batch.rejected)):
            self._halt(batch.rejected[-1])
            return
        self._save(raws, batch)
        self._watch.note(len(batch.arrivals), len(batch.rejected))

    def _save(self, raws: Sequence[Raw], batch: Batch) -> None:
        for attempt in range(10):
            try:
                taken = self._attempt(raws, batch)
            except ConflictError as exc:
                BATCH_REDONE.labels(self.stream, "conflict").inc()
                log.info(
                    "batch taken again",
                    extra={"stream": self.stream, "why": exc.detail},
                )
                clock.sleep(0.002 * attempt)
            else:
                self._count(taken, batch)
                return
        raise ConflictError(f"{self.stream}: a batch met other writers ten times in a row.")

    def _attempt(self, raws: Sequence[Raw], batch: Batch) -> Taken:
        positions = self.positions
        ends = {item.partition: item.offset + 1 for item in raws}  # the last of each wins
        clocks = {p: replace(positions.clocks[p]) for p in ends}
        waters = self._source.high_waters() if self._source is not None else {}
        assert positions.topic_id is not None
        moves = [
            Move(
                positions.topic_id,
                partition,
                positions.next_offsets[partition],
                end,
                waters.get(partition, end),
                clocks[partition],
            )
            for partition, end in ends.items()
        ]
        taken = self.path.take(raw_connection(), batch, clocks, moves)
        positions.next_offsets.update(ends)
        positions.clocks.update(clocks)
        self._idle_since.update(dict.fromkeys(ends, clock.monotonic()))
        return taken

    def _count(self, taken: Taken, batch: Batch) -> None:
        self.heartbeat.model_version = (
            taken.result.decided.model_version if taken.result.decided else None
        )
        RECORDS.labels(self.stream, "decided").inc(len(batch.arrivals) - len(taken.repeated))
        RECORDS.labels(self.stream, "repeated").inc(len(taken.repeated))
        for rejected in batch.rejected:
            DEAD_LETTERS.labels(self.stream, rejected.reason).inc()
        RECORDS.labels(self.stream, "rejected").inc(len(batch.rejected))
        if batch.arrivals:
            newest = max(arrival.occurred_at for arrival in batch.arrivals)
            RECORD_AGE_SECONDS.labels(self.stream).set((clock.now() - newest).total_seconds())

    def _isolate(self, raws: Sequence[Raw], error: Exception) -> None:
        """Something in this batch fails: take it record by record and set the culprit aside."""
        if len(raws) > 1:
            BATCH_REDONE.labels(self.stream, "isolate").inc()
            for item in raws:
                if self.positions.topic_id is None:  # one of them made the stream halt
                    return
                self.process([item])
            return
        log.error(
            "record set aside",
            extra={
                "stream": self.stream,
                "partition": raws[0].partition,
                "offset": raws[0].offset,
            },
            exc_info=error,
        )
        detail = f"{type(error).__name__}: {error}"
        rejected = Rejected(raws[0], "processing_failed", detail, "$")
        if self._watch.would_halt(0, 1):
            self._halt(rejected)
            return
        self._save(raws, Batch(rejected=[rejected]))
        self._watch.note(0, 1)

    def _halt(self, newest: Rejected) -> None:
        reason = (
            f"More than {settings.DEAD_LETTER_RATIO:.0%} of the newest "
            f"{settings.DEAD_LETTER_WINDOW} records cannot be used. The last one, at partition "
            f"{newest.raw.partition} offset {newest.raw.offset}: {newest.detail} "
            f"See its producer, then `manage.py resume {self.stream}`."
        )
        log.critical("stream halted", extra={"stream": self.stream, "why": reason})
        halt(raw_connection(), self.stream, reason)
        self._watch.forget()
        self.leave()

    def idle(self) -> None:
        """Let the clock drive event time in partitions that have been silent for a while."""
        every = self.path.stream.tick
        if every is None or self.positions.topic_id is None:
            return
        at = clock.monotonic()
        waiting = self.lag(self._source.high_waters() if self._source is not None else {})
        for partition, time in list(self.positions.clocks.items()):
            silent_s = at - self._idle_since.setdefault(partition, at)
            if time.watermark is None or silent_s < settings.WORKER_IDLE_TICK_S:
                continue
            if waiting.get(partition):  # records are there: an empty poll is no silence
                continue
            tick_at = floor(time.watermark + timedelta(seconds=silent_s), every)
            if time.last_tick is None or tick_at > time.last_tick:
                self._give_tick(partition, tick_at)

    def _give_tick(self, partition: int, at: datetime) -> None:
        """A tick of an idle partition. One that the extractor cannot take is passed over."""
        try:
            self._idle_tick(partition, IdleTick(partition, at, self._next(partition)))
        except ConflictError as exc:  # the next idle poll tries again
            log.info("tick put off", extra={"stream": self.stream, "why": exc.detail})
        except OUTSIDE:
            raise
        except Exception:
            log.exception("tick passed over", extra={"stream": self.stream, "at": at.isoformat()})
            self.positions.clocks[partition].last_tick = at

    def _next(self, partition: int) -> Origin:
        assert self.positions.topic_id is not None
        return Origin(self.positions.topic_id, partition, self.positions.next_offsets[partition])

    def _idle_tick(self, partition: int, tick: IdleTick) -> None:
        origin = self._next(partition)
        clocks: dict[int, PartitionClock] = {partition: replace(self.positions.clocks[partition])}
        move = Move(
            origin.topic_id, partition, origin.offset, origin.offset, origin.offset,
            clocks[partition],
        )  # fmt: skip
        self.path.take(raw_connection(), Batch(), clocks, [move], [tick])
        self.positions.clocks.update(clocks)
