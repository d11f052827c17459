"""The worker of a scored stream: batches through the path, and what to do when one fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from django.conf import settings

from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection
from lepton_apps.common.metrics import (
    BATCH_REDONE,
    DEAD_LETTERS,
    RECORD_AGE_SECONDS,
    RECORDS,
)
from lepton_apps.streaming.batch import Batch, Origin, Rejected
from lepton_apps.streaming.budgets import services as budgets
from lepton_apps.streaming.drift import services as drift
from lepton_apps.streaming.loading import load_knowledge, shards_of
from lepton_apps.streaming.loop import OUTSIDE, Loop
from lepton_apps.streaming.path import IdleTick, StreamPath, Taken
from lepton_apps.streaming.pipeline import PartitionClock, floor
from lepton_apps.streaming.source import Raw, Source
from lepton_apps.streaming.store import ConflictError, Move

log = logging.getLogger(__name__)

CONFLICTS = 5  # in a row, before a batch is taken in halves


class Worker(Loop):
    """Scores the records of one stream."""

    def __init__(self, path: StreamPath, open_source: Callable[[], Source]) -> None:
        super().__init__(path.stream.name, open_source, settings.WORKER_BATCH_SIZE)
        self.path = path
        self._idle_since: dict[int, float] = {}
        self._review_at = 0.0  # of the monotonic clock
        self._drift_at = clock.monotonic() + settings.DRIFT_REVIEW_S
        self._reviewed: int | None = None  # version whose thresholds were looked at last

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

    def through(self, raws: Sequence[Raw]) -> None:
        """Decode, take through and save; again when another writer was faster."""
        assert self.positions.topic_id is not None
        with self.path.step("decode"):
            batch = self.path.decoder.batch(raws, self.positions.topic_id, clock.now())
        if self._watch.would_halt(len(batch.arrivals), len(batch.rejected)):
            self._halt(batch.rejected[-1])
            return
        try:
            self._save(raws, batch)
        except ConflictError:
            if len(raws) == 1:
                raise
            # The shorter a batch, the less there is that others can be faster on.
            half = len(raws) // 2
            self.process(raws[:half])
            if self.positions.topic_id is not None:
                self.process(raws[half:])
        else:
            self._watch.note(len(batch.arrivals), len(batch.rejected))

    def _save(self, raws: Sequence[Raw], batch: Batch) -> None:
        """Take through and save. Raises ConflictError when others were faster each time."""
        for attempt in range(CONFLICTS):
            try:
                taken = self._attempt(raws, batch, wary=attempt > 0)
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
        raise ConflictError(f"{self.stream}: a batch met other writers {CONFLICTS} times in a row.")

    def _attempt(self, raws: Sequence[Raw], batch: Batch, *, wary: bool) -> Taken:
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
        taken = self.path.take(raw_connection(), batch, clocks, moves, wary=wary)
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

    def set_aside(self, rejected: Rejected) -> None:
        self._save([rejected.raw], Batch(rejected=[rejected]))

    def look_after(self) -> None:
        """What a stream needs from time to time: thresholds that follow, and a look for drift."""
        self._review_thresholds()
        self._review_drift()

    def _review_drift(self) -> None:
        at = clock.monotonic()
        if not settings.DRIFT_REVIEW_S or at < self._drift_at:
            return
        self._drift_at = at + settings.DRIFT_REVIEW_S
        try:
            drift.review(self.path.stream, timedelta(seconds=settings.DRIFT_REVIEW_S / 2))
            drift.export(self.path.stream)
        except OUTSIDE:
            raise
        except Exception:
            log.exception("drift not reviewed", extra={"stream": self.stream})

    def _review_thresholds(self) -> None:
        """Let thresholds follow the stream's budget: from time to time, and for a new champion."""
        version = self.heartbeat.model_version
        at = clock.monotonic()
        if at < self._review_at and version == self._reviewed:
            return
        self._review_at, self._reviewed = at + settings.BUDGET_REVIEW_S, version
        try:
            budgets.review(self.path.stream)
            budgets.export(self.path.stream)
        except OUTSIDE:
            raise
        except Exception:  # records must go on, by the thresholds that hold
            log.exception("thresholds not reviewed", extra={"stream": self.stream})

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
