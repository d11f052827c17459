"""What every worker's loop shares: reading in order, beating, waiting out what will pass.

A worker of scored records and a worker of labels differ only in what they do with a batch.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import psycopg
from django.conf import settings
from django.db import Error as DjangoDatabaseError
from django.db import connection

from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection
from lepton_apps.common.errors import LeptonError
from lepton_apps.common.metrics import (
    BATCH_RECORDS,
    BATCH_REDONE,
    BATCH_SECONDS,
    LAG_RECORDS,
    SOURCE_STALLED,
)
from lepton_apps.streaming import offsets
from lepton_apps.streaming.batch import Rejected
from lepton_apps.streaming.halting import RejectionWatch, halt, halted
from lepton_apps.streaming.heartbeat import Heartbeat
from lepton_apps.streaming.kafka import BrokerError
from lepton_apps.streaming.offsets import Positions
from lepton_apps.streaming.retention import keep_house
from lepton_apps.streaming.source import Raw, Source
from lepton_apps.streaming.store import StaleAssignmentError

log = logging.getLogger(__name__)

TOPIC_CHECK_S = 0.25  # between two looks at whether the topic is still the same one
POLL_S = 0.5  # the longest wait for records; ticks, beats and stops come between polls
STALL_S = 30.0
HINT_S = 5.0
HOUSEKEEPING_S = 3_600.0

# What no record can be blamed for; the loop waits it out. DataError and IntegrityError are not
# among them: a value that PostgreSQL refuses came from a record.
RECORD_FAULTS = (psycopg.DataError, psycopg.IntegrityError)
OUTSIDE = (LeptonError, psycopg.Error, DjangoDatabaseError, MemoryError)


class Loop(ABC):
    """Polls, hands batches on, and keeps going through whatever passes by itself."""

    def __init__(self, stream: str, open_source: Callable[[], Source], batch_size: int) -> None:
        self.stream = stream
        self.batch_size = batch_size
        self.positions = Positions()
        self.heartbeat = Heartbeat(stream, settings.WORKER_HEARTBEAT_S)
        self._open_source = open_source
        self._source: Source | None = None
        self._watch = RejectionWatch(settings.DEAD_LETTER_WINDOW, settings.DEAD_LETTER_RATIO)
        self._stopping = False
        self._topic_checked_at = 0.0
        self._hinted_at = 0.0
        self._housekeeping_at = clock.monotonic() + HOUSEKEEPING_S
        self._read_at: dict[int, float] = {}

    @abstractmethod
    def through(self, raws: Sequence[Raw]) -> None:
        """Take messages through to the database, all or nothing, and move the positions."""

    def process(self, raws: Sequence[Raw]) -> None:
        """``through``; a message that cannot be taken through is set aside by itself."""
        try:
            self.through(raws)
        except RECORD_FAULTS as exc:
            self._isolate(raws, exc)
        except OUTSIDE:
            raise
        except Exception as exc:  # noqa: BLE001 - verticals and models may raise anything
            self._isolate(raws, exc)

    @abstractmethod
    def set_aside(self, rejected: Rejected) -> None:
        """Make one message a dead letter and move past it."""

    def idle(self) -> None:
        """Called after a poll that brought nothing."""

    def look_after(self) -> None:
        """Called between two batches, every few seconds: what need not be done with each."""

    def lost_track(self) -> None:
        """Called when positions are forgotten: drop what was remembered between batches."""

    def stop(self) -> None:
        """Finish the batch in hand, then leave ``run``."""
        self._stopping = True

    def run(self) -> None:
        """Work until told to stop. Only a bug comes out of here as an exception."""
        delay_s = 0.1
        while not self._stopping:
            try:
                self.run_once()
                delay_s = 0.1
            except StaleAssignmentError as exc:
                log.warning("assignment lost", extra={"stream": self.stream, "why": exc.detail})
                self.leave()
            except (BrokerError, *OUTSIDE) as exc:
                self._wait(exc, delay_s)
                delay_s = min(delay_s * 2, 5.0)
        self.leave()
        self._beat("stopped", "")

    def run_once(self) -> int:
        """One poll and, when it brings records, one batch. Returns its size in records."""
        raw = raw_connection()
        if (why := halted(raw, self.stream)) is not None:
            self.leave()
            self._say("halted", why)
            clock.sleep(min(1.0, settings.WORKER_HEARTBEAT_S))
            return 0
        source = self._source
        if source is None:
            source = self._source = self._open_source()
        started = clock.monotonic()
        raws = source.poll(self.batch_size, POLL_S)
        BATCH_SECONDS.labels(self.stream, "poll").observe(clock.monotonic() - started)
        if not self._in_order(source, raws):
            ends = offsets.cut_short(source, self.positions, raws)
            offsets.take_up(raw, self.stream, source, self.positions, ends)
            self._topic_checked_at = clock.monotonic()
            self.lost_track()
        elif raws:
            started = clock.monotonic()
            self.process(raws)
            busy_s = clock.monotonic() - started
            BATCH_SECONDS.labels(self.stream, "whole").observe(busy_s)
            BATCH_RECORDS.labels(self.stream).observe(len(raws))
            self.heartbeat.count(len(raws), busy_s)
            self._read_at.update(dict.fromkeys({item.partition for item in raws}, started))
            if self._source is None:  # it made the stream halt
                return len(raws)
        else:
            self.idle()
        if self.heartbeat.due():
            self._look(source)
            self._beat("running", "")
        return len(raws)

    def _in_order(self, source: Source, raws: Sequence[Raw]) -> bool:
        """Whether these messages go on exactly where the stored offsets say."""
        positions = self.positions
        if positions.topic_id is None or positions.generation != source.generation:
            return False
        at = clock.monotonic()
        if at - self._topic_checked_at >= TOPIC_CHECK_S:
            if source.topic_id() != positions.topic_id:
                return False
            self._topic_checked_at = at
        seen: set[int] = set()
        ahead: set[int] = set()
        for item in raws:
            if item.partition in seen:
                continue
            seen.add(item.partition)
            expected = positions.next_offsets.get(item.partition)
            if expected is None or item.offset < expected:
                return False
            if item.offset > expected:
                ahead.add(item.partition)
        if ahead:  # markers of transactions and compaction leave holes; retention leaves a gap
            first = source.first_offsets(ahead)
            return all(first[p] <= positions.next_offsets[p] for p in ahead)
        return True

    def _look(self, source: Source) -> None:
        """Lag, stalls and the hint to the broker: everything that only informs."""
        waters = source.high_waters()
        offsets.remember_high_waters(raw_connection(), self.stream, self.positions, waters)
        at = clock.monotonic()
        for partition, lag in self.lag(waters).items():
            LAG_RECORDS.labels(self.stream, str(partition)).set(lag)
            since = at - self._read_at.setdefault(partition, at)
            stalled = lag > 0 and since > STALL_S
            SOURCE_STALLED.labels(self.stream, str(partition)).set(stalled)
            if stalled:
                log.error(
                    "records wait but reading returns none",
                    extra={"stream": self.stream, "partition": partition, "lag": lag},
                )
        if at >= self._housekeeping_at:
            self._housekeeping_at = at + HOUSEKEEPING_S
            keep_house(raw_connection())
        self.look_after()
        if at - self._hinted_at >= HINT_S and self.positions.next_offsets:
            source.hint(self.positions.next_offsets)
            self._hinted_at = at

    def lag(self, waters: Mapping[int, int]) -> dict[int, int]:
        """Records waiting, by assigned partition."""
        return {
            partition: max(0, waters.get(partition, next_offset) - next_offset)
            for partition, next_offset in self.positions.next_offsets.items()
        }

    def leave(self) -> None:
        """Leave the group and forget every position; the next ``run_once`` starts anew."""
        source, self._source = self._source, None
        self._forget()
        if source is not None:
            try:
                source.close()
            except (BrokerError, LeptonError, OSError, ValueError) as exc:
                log.warning("leaving the group failed", extra={"why": str(exc)})

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
        self.set_aside(rejected)
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

    def _forget(self) -> None:
        """Forget every position; the next ``run_once`` takes them up from the database."""
        self.positions.forget()
        self.lost_track()

    def _wait(self, exc: Exception, delay_s: float) -> None:
        """Something outside failed: say so, let go of it, and try again a little later.

        The group has nothing to do with the database: whoever left it whenever that fails would
        send the partitions round all workers, just when each of them has to start again.
        """
        detail = exc.detail if isinstance(exc, LeptonError) else f"{type(exc).__name__}: {exc}"
        log.warning("waiting", extra={"stream": self.stream, "why": detail})
        if isinstance(exc, (psycopg.Error, DjangoDatabaseError)):
            connection.close()
            self._forget()
        else:
            self.leave()
        self._say("waiting", detail)
        clock.sleep(delay_s)

    def _say(self, condition: str, detail: str) -> None:
        changed = (condition, detail) != (
            self.heartbeat.condition,
            self.heartbeat.detail,
        )
        if changed or self.heartbeat.due():
            self._beat(condition, detail)

    def _beat(self, condition: str, detail: str) -> None:
        self.heartbeat.condition, self.heartbeat.detail = condition, detail
        waters = self._source.high_waters() if self._source is not None else {}
        try:
            self.heartbeat.beat(
                raw_connection(), list(self.positions.next_offsets), self.lag(waters)
            )
        except (psycopg.Error, DjangoDatabaseError) as exc:
            log.warning("heartbeat not written", extra={"stream": self.stream, "why": str(exc)})
            connection.close()
