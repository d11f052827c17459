"""Entity states made anew from the records that were decided, for a changed extractor.

Decisions hold their records, so nothing but the database is needed. Records past their retention
are forgotten, as an extractor with windows would have forgotten most of them anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from lepton_apps.common.db import RawConnection, transaction
from lepton_apps.common.errors import LeptonError
from lepton_apps.streaming import pipeline, store
from lepton_apps.streaming.batch import REST_SHARD, Arrival, Origin, json_of
from lepton_apps.streaming.caches import StateCache
from lepton_apps.streaming.labels import apply_labels
from lepton_apps.streaming.loading import keys_of, load_states
from lepton_apps.streaming.pipeline import PartitionClock
from lepton_apps.verticals.contract import Message, Stream

BATCH = 2_000
# In the order they were taken: batches by their time, records of a batch by their place.
RECORDS = """
SELECT record_id, id, payload, occurred_at, topic_id, partition, "offset" FROM decision
WHERE stream = %s AND record_id NOT LIKE 'tick:%%' ORDER BY decided_at, partition, "offset"
"""


class TicksNotReplayedError(LeptonError):
    """Ticks belong between records; states made anew without them would be subtly wrong."""

    code = "ticks_not_replayed"
    status = 409


class StreamInUseError(LeptonError):
    """A worker reads the stream; its states cannot be made anew under it."""

    code = "stream_in_use"
    status = 409


def rebuild_states(raw: RawConnection, stream: Stream, progress: Callable[[int, int], None]) -> int:
    """Drop the states of a stream and make them again; returns the number of records taken.

    All of it is one transaction: a failure leaves the states as they were.

    Raises:
        TicksNotReplayedError: the stream has ticks.
        StreamInUseError: workers read it.
    """
    if stream.tick is not None:
        raise TicksNotReplayedError(
            f"The states of {stream.name} come from records and ticks, and ticks cannot be given "
            "again. Let the stream start with empty states instead: see docs/verticals.md, 'When "
            "the extractor changes'.",
            stream=stream.name,
        )
    _refuse_if_in_use(raw, stream)
    done = 0
    with transaction(raw):
        for table in ("entity_state", "secondary_state"):
            raw.execute(f"DELETE FROM {table} WHERE stream = %s", [stream.name])  # noqa: S608
        raw.execute("UPDATE label SET applied_at = NULL WHERE stream = %s", [stream.name])
        (total,) = raw.execute(
            "SELECT count(*) FROM decision WHERE stream = %s", [stream.name]
        ).fetchone() or (0,)
        with raw.cursor(name="records") as rows:
            rows.itersize = BATCH
            rows.execute(RECORDS, [stream.name])
            clocks: dict[int, PartitionClock] = {}
            while batch := list(islice(rows, BATCH)):
                _take(raw, stream, batch, clocks)
                done += len(batch)
                progress(done, total)
    while apply_labels(raw, stream):
        pass
    return done


def _refuse_if_in_use(raw: RawConnection, stream: Stream) -> None:
    (running,) = raw.execute(
        "SELECT count(*) FROM worker_heartbeat WHERE stream = %s AND condition = 'running'"
        " AND beat_at > now() - interval '30 seconds'",
        [stream.name],
    ).fetchone() or (0,)
    if running:
        raise StreamInUseError(
            f"{running} workers read {stream.name}. Stop them first; they wait for nothing else.",
            stream=stream.name,
        )


def _take(
    raw: RawConnection,
    stream: Stream,
    rows: Sequence[tuple[Any, ...]],
    clocks: dict[int, PartitionClock],
) -> None:
    read = stream.from_message or json_of(stream.record_type)
    arrivals = []
    for record_id, id_, payload, occurred_at, topic_id, partition, offset in rows:
        record = read(Message(bytes(payload)))
        entity_key, secondary = stream.extractor.entity_keys(record)
        origin = None if topic_id is None else Origin(topic_id, partition, offset)
        shard = REST_SHARD if partition is None else partition
        arrivals.append(
            Arrival(
                record, bytes(payload), record_id, id_.bytes, entity_key, secondary, occurred_at,
                shard, origin,
            )
        )  # fmt: skip
    loaded = load_states(
        raw, stream, *keys_of(stream, arrivals, with_labels=False), StateCache(0), {}, {}
    )
    pipeline.extract(stream, arrivals, loaded.working, clocks)
    store.save_states(raw, stream, loaded)
