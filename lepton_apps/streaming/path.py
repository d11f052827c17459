"""One stream's whole way, the same for the worker and for REST: load, extract, score, decide, save.

Each step is a call in ``StreamPath.take``; there is no other way from a record to a decision.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings

from lepton_apps.common import clock
from lepton_apps.common.db import RawConnection
from lepton_apps.common.metrics import ALERTS_FOLDED, ALERTS_OPENED, BATCH_SECONDS
from lepton_apps.model_registry.serving import ModelSource, ServedModel
from lepton_apps.streaming import alerting, pipeline, store
from lepton_apps.streaming.alerting import AlertChanges
from lepton_apps.streaming.batch import Arrival, Batch, Decoder
from lepton_apps.streaming.caches import CachedState, ShardCache, StateCache
from lepton_apps.streaming.copying import FEW
from lepton_apps.streaming.loading import (
    Loaded,
    keep_shards,
    keys_of,
    known_keys,
    load_states,
)
from lepton_apps.streaming.mirror import LabelMirror
from lepton_apps.streaming.pipeline import Decided, Explanation, PartitionClock, Reason, TickGiven
from lepton_apps.streaming.roundtrips import foldable, is_one_quiet, load_few, save_one
from lepton_apps.streaming.shadow.scoring import Shadow
from lepton_apps.streaming.store import BatchResult, Move
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Extraction, States

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Taken:
    """A batch that has been taken through and is ready to be saved, or was saved."""

    result: BatchResult
    reasons: Mapping[int, Sequence[Reason]]  # of the loud rows
    repeated: list[Arrival]


@dataclass(frozen=True, slots=True)
class IdleTick:
    """A tick that the clock gives to a partition without records."""

    partition: int
    at: datetime
    origin: Any  # the Origin of the next record to come


class StreamPath:
    """Takes batches of one stream through. Holds no position and no connection."""

    def __init__(self, name: str, *, cache_entities: int = 0) -> None:
        self.vertical, self.stream = registry.stream(name)
        self.decoder = Decoder(self.stream, settings.MAX_RECORD_BYTES)
        self.models = ModelSource(self.stream)
        self.shadow = Shadow(self.stream)
        self.cache = StateCache(cache_entities)
        # Only a worker follows the labels; a single record is better off asking for its own.
        self.labelled = LabelMirror(name) if cache_entities else None
        self.shards = ShardCache(cache_entities) if cache_entities else None
        self.knowledge: dict[str, bytes] = {}

    def warm_up(self) -> None:
        """Load or compile the extractor's kernels before the first record waits for them."""
        self.stream.extractor.extract([], [], States({}, {}, {}))

    def forget(self, knowledge: dict[str, bytes], others: Collection[int]) -> None:
        """Drop what was remembered between batches, and start with what the stream knows.

        ``others`` are the shards of secondary entities that somebody else may write.
        """
        self.cache.clear()
        self.knowledge = knowledge
        if self.shards is not None:
            self.shards.take_up(others)
        if self.labelled is not None:
            self.labelled.forget()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = clock.monotonic()
        try:
            yield
        finally:
            BATCH_SECONDS.labels(self.stream.name, name).observe(clock.monotonic() - started)

    def take(
        self,
        raw: RawConnection,
        batch: Batch,
        clocks: dict[int, PartitionClock],
        moves: Sequence[Move] = (),
        idle: Sequence[IdleTick] = (),
        *,
        durable: bool = True,
        wary: bool = False,
    ) -> Taken:
        """Take a batch through and, when ``durable``, save it.

        A record that is known by its place is not looked up among those that were decided: the
        offsets guard it. ``wary`` looks up all the same; a log that was cut short and grew again
        gives places away twice.

        Raises what ``store.save`` raises, having written nothing; the caller decides what to try
        again. Whatever an extractor or a model raises comes out as it is.
        """
        model = self.models.current()
        now = clock.now()
        with self.step("load"):
            first, repeated, loaded = self._ready(
                raw, batch.arrivals, clocks, idle, durable=durable, wary=wary
            )
        with self._dropped_on_error(loaded):
            with self.step("extract"):
                rows, ticks = pipeline.extract(self.stream, first, loaded.working, clocks)
                for idle_tick in idle:
                    self._tick(idle_tick, loaded, rows, ticks, clocks)
            with self.step("score"):
                s_B = pipeline.score(self.stream, rows, model)
            with self.step("decide"):
                decided = pipeline.decide(self.stream, rows, s_B, model)
            with self.step("shadow"):
                shadowed = self.shadow.look(decided) if durable else None
            with self.step("explain"):
                explained = self._explained(decided, model)
                reasons = {row: each.reasons for row, each in explained.items()}
                alerts = (
                    self._alerts(raw, decided, explained, model, loaded, now) if durable else None
                )
            result = BatchResult(
                now,
                loaded,
                decided,
                alerts or AlertChanges([], {}, {}),
                batch.rejected,
                moves,
                ticks,
                shadowed,
            )
            if durable:
                with self.step("save"):
                    self._save(raw, result)
        return Taken(result, reasons, repeated)

    def _ready(
        self,
        raw: RawConnection,
        arrivals: list[Arrival],
        clocks: Mapping[int, PartitionClock],
        idle: Sequence[IdleTick],
        *,
        durable: bool,
        wary: bool,
    ) -> tuple[list[Arrival], list[Arrival], Loaded]:
        """First records, repeats, and the states of at least the first ones.

        A what-if asks what would be decided now, whatever was decided before: no repeats.
        """
        from_rest = not idle and all(arrival.origin is None for arrival in arrivals)
        if from_rest and len(arrivals) <= FEW:
            known, loaded = load_few(raw, self.stream, arrivals, dict(self.knowledge))
            first, repeated = pipeline.repeats(arrivals, known) if durable else (arrivals, [])
            return first, repeated, loaded
        first, repeated = arrivals, []
        if durable:
            asked = arrivals if wary else [a for a in arrivals if not a.placed]
            known = known_keys(raw, [arrival.key for arrival in asked])
            first, repeated = pipeline.repeats(arrivals, known)
        return first, repeated, self._load(raw, first, clocks, idle)

    def _load(
        self,
        raw: RawConnection,
        arrivals: Sequence[Arrival],
        clocks: Mapping[int, PartitionClock],
        idle: Sequence[IdleTick],
    ) -> Loaded:
        primary, secondary = keys_of(self.stream, arrivals, with_labels=self.labelled is None)
        due = {tick.partition: tick.at for tick in idle}
        if self.stream.tick is not None:
            for arrival in arrivals:
                if arrival.origin is not None:
                    partition = arrival.origin.partition
                    due[partition] = max(
                        due.get(partition, arrival.occurred_at), arrival.occurred_at
                    )
        return load_states(
            raw,
            self.stream,
            primary,
            secondary,
            self.cache,
            due,
            dict(self.knowledge),
            self.labelled,
            self.shards,
        )

    def _tick(
        self,
        idle: IdleTick,
        loaded: Loaded,
        rows: pipeline.Rows,
        ticks: list[TickGiven],
        clocks: dict[int, PartitionClock],
    ) -> None:
        """Give a clock-driven tick after the records of the batch."""
        extraction, due = pipeline.tick(self.stream, idle.at, idle.partition, loaded.working)
        pipeline.check(self.stream, extraction)
        loaded.working.take(extraction)
        self._append(rows, extraction, due, idle)
        clocks[idle.partition].last_tick = idle.at
        ticks.append(TickGiven(idle.partition, idle.at, idle.origin.offset, by_clock=True))

    def _append(
        self,
        rows: pipeline.Rows,
        extraction: Extraction,
        due: Sequence[str],
        idle: IdleTick,
    ) -> None:
        sources = [pipeline.tick_arrival(self.stream, key, idle.at, idle.origin) for key in due]
        rows.about.extend(sources[source] for source in extraction.source_B.tolist())
        rows.x_BF = pipeline.stacked(rows.x_BF, extraction.x_BF)
        rows.evidence.extend(pipeline.evidence_of(extraction))

    def _explained(self, decided: Decided, model: ServedModel) -> dict[int, Explanation]:
        loud = decided.loud()
        explained = pipeline.explain(self.stream, decided.x_BF[loud], model)
        return dict(zip(loud, explained, strict=True))

    def _alerts(
        self,
        raw: RawConnection,
        decided: Decided,
        explained: Mapping[int, Explanation],
        model: ServedModel,
        loaded: Loaded,
        now: datetime,
    ) -> AlertChanges | None:
        if not explained:
            return None
        marks = {
            alerting.fingerprint(self.stream, decided.about[row].entity_key, why.reasons[0].code)
            for row, why in explained.items()
        }
        occurred = [decided.about[row].occurred_at for row in explained]
        fold = self.stream.fold
        existing, ids = foldable(
            raw, marks, min(occurred) - fold, max(occurred) + fold, len(explained)
        )
        evidence = pipeline.gather(self.stream, decided, model, loaded.working.knowledge)
        return alerting.open_or_fold(
            self.vertical, self.stream, decided, explained, evidence, existing, ids, now
        )

    @contextmanager
    def _dropped_on_error(self, loaded: Loaded) -> Iterator[None]:
        """Whatever goes wrong with a batch, what was loaded for it is read again next time."""
        try:
            yield
        except BaseException:
            self.cache.drop(loaded.working.primary)
            if self.shards is not None:
                self.shards.drop(loaded.secondary_keys)
            raise

    def _save(self, raw: RawConnection, result: BatchResult) -> None:
        loaded = result.loaded
        if is_one_quiet(result):
            save_one(raw, self.stream, result)
        else:
            store.save(raw, self.stream, self.vertical.key, result)
        working = loaded.working
        versions, due_at, partitions = (
            loaded.primary_versions,
            working.due_at,
            working.partitions,
        )
        self.cache.put(
            {
                key: CachedState(
                    versions.get(key, 0) + 1, due_at.get(key), partitions.get(key), state
                )
                for key, state in working.changed_primary.items()
            }
        )
        self.cache.drop(working.changed_due - working.changed_primary.keys())
        if self.shards is not None:
            keep_shards(loaded, self.shards)
        self.knowledge.update(working.learned)
        for alert in result.alerts.opened:
            ALERTS_OPENED.labels(self.vertical.key, alert.severity).inc()
        joined = len(result.alerts.alert_of_row) - len(result.alerts.opened)
        ALERTS_FOLDED.labels(self.vertical.key).inc(joined)
