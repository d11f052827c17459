"""Where a worker goes on reading: positions from the database, and what was lost in between."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from lepton_apps.common import clock
from lepton_apps.common.db import RawConnection, transaction
from lepton_apps.common.errors import UnavailableError
from lepton_apps.common.metrics import RECORDS_LOST
from lepton_apps.streaming import store
from lepton_apps.streaming.models import OffsetGap, StreamOffset
from lepton_apps.streaming.pipeline import PartitionClock
from lepton_apps.streaming.source import Raw, Source

log = logging.getLogger(__name__)

# After a log was cut short: how far before its end to go on. What came since it was cut has not
# been read; what was there before is, and is recognised by its ids.
READ_AGAIN = 10_000

Losses = list[tuple[OffsetGap.Kind, int]]  # numbers of records


class TopicMissingError(UnavailableError):
    """The stream's topic is not there (yet): ``manage.py setup`` makes it."""

    code = "topic_missing"


@dataclass(slots=True)
class Positions:
    """What one worker may read, and from where. Empty until ``take_up``."""

    topic_id: UUID | None = None
    generation: int = -1
    next_offsets: dict[int, int] = field(default_factory=dict)
    clocks: dict[int, PartitionClock] = field(default_factory=dict)
    high_waters: dict[int, int] = field(default_factory=dict)

    def forget(self) -> None:
        self.topic_id = None
        self.generation = -1
        self.next_offsets.clear()
        self.clocks.clear()
        self.high_waters.clear()


def cut_short(source: Source, positions: Positions, raws: Sequence[Raw]) -> dict[int, int]:
    """The ends of logs that end before the place where this worker is, by partition.

    A client that is beyond the end of a log starts at its beginning again, so messages from before
    our place come; the fetch that brought them told where the log ends. The end alone proves
    nothing: a new leader may know of a smaller one for a moment.
    """
    if positions.topic_id != source.topic_id() or positions.generation != source.generation:
        return {}
    waters = source.high_waters()
    places = positions.next_offsets
    back = {raw.partition for raw in raws if raw.offset < places.get(raw.partition, -1)}
    return {p: waters[p] for p in back if waters.get(p, places[p]) < places[p]}


def take_up(
    raw: RawConnection,
    stream: str,
    source: Source,
    positions: Positions,
    ends: Mapping[int, int] | None = None,
) -> None:
    """Set positions after an assignment: seek to the stored offsets, count what was lost.

    ``ends`` are those of ``cut_short``.
    """
    ends = ends or {}
    generation = source.generation
    topic_id = source.topic_id()
    if topic_id is None:
        raise TopicMissingError(f"{stream}: its topic is not there. `manage.py setup` makes it.")
    positions.forget()
    partitions = source.assignment()
    stored = {
        row.partition: row
        for row in StreamOffset.objects.filter(
            stream=stream, topic_id=topic_id, partition__in=partitions
        )
    }
    first = source.first_offsets(partitions) if partitions else {}
    now = clock.now()
    losses: Losses = []
    with transaction(raw):
        for partition in sorted(partitions - stored.keys()):
            losses += _close_former(raw, stream, topic_id, partition, now)
            start = first[partition]
            store.add_partition(raw, stream, topic_id, partition, start, now)
            positions.next_offsets[partition] = start
            positions.clocks[partition] = PartitionClock()
        for partition, row in stored.items():
            place, lost = _place(raw, stream, row, first[partition], ends.get(partition), now)
            losses += lost
            positions.next_offsets[partition] = place
            positions.clocks[partition] = PartitionClock(row.watermark, row.last_tick)
    for kind, count in losses:  # what was rolled back would have been counted twice
        RECORDS_LOST.labels(stream, str(kind)).inc(count)
    for partition, offset in positions.next_offsets.items():
        source.seek(partition, offset)
    positions.topic_id = topic_id
    positions.generation = generation
    if positions.next_offsets:
        log.info(
            "assignment taken up",
            extra={
                "stream": stream,
                "next_offsets": dict(sorted(positions.next_offsets.items())),
            },
        )


def _place(
    raw: RawConnection, stream: str, row: StreamOffset, first: int, end: int | None, now: datetime
) -> tuple[int, Losses]:
    """Where to go on in a partition that was read before; what the log has lost is written down."""
    if end is not None and end < row.next_offset:
        start = max(first, end - READ_AGAIN)
        return start, [_note_cut(raw, stream, row, start, end, now)]
    if first > row.next_offset:
        return first, [_note_gap(raw, stream, row, OffsetGap.Kind.RETENTION, first, now)]
    return row.next_offset, []


def _close_former(
    raw: RawConnection, stream: str, topic_id: UUID, partition: int, now: datetime
) -> Losses:
    """A topic that was made anew: what was still unread in the old one is lost, and counted."""
    former = StreamOffset.objects.filter(stream=stream, partition=partition).exclude(
        topic_id=topic_id
    )
    return [
        _note_gap(raw, stream, row, OffsetGap.Kind.RECREATED, row.high_water, now)
        for row in former
        if row.high_water > row.next_offset
    ]


def _note_gap(
    raw: RawConnection,
    stream: str,
    row: StreamOffset,
    kind: OffsetGap.Kind,
    to_offset: int,
    now: datetime,
) -> tuple[OffsetGap.Kind, int]:
    """Count a loss once: the offset moves with it, so only one worker can."""
    _move(raw, stream, row, to_offset, max(row.high_water, to_offset), now)
    _add_gap(raw, stream, row, kind, (row.next_offset, to_offset), now)
    lost = to_offset - row.next_offset
    log.error(
        "records were lost before they were read",
        extra={
            "stream": stream,
            "partition": row.partition,
            "kind": str(kind),
            "lost": lost,
        },
    )
    return kind, lost


def _note_cut(
    raw: RawConnection, stream: str, row: StreamOffset, start: int, end: int, now: datetime
) -> tuple[OffsetGap.Kind, int]:
    """A log ends at ``end``, before the stored offset: go on from ``start``, and say so once.

    What lay between was read and decided; lost is only what was known to wait behind it.
    """
    _move(raw, stream, row, start, end, now)
    kind = OffsetGap.Kind.TRUNCATED
    _add_gap(raw, stream, row, kind, (end, row.next_offset), now)
    lost = max(0, row.high_water - row.next_offset)
    log.error(
        "the log was cut short: it ends before what was read",
        extra={
            "stream": stream,
            "partition": row.partition,
            "end": end,
            "was_at": row.next_offset,
            "goes_on_at": start,
            "lost": lost,
        },
    )
    return kind, lost


def _move(
    raw: RawConnection, stream: str, row: StreamOffset, to: int, high_water: int, now: datetime
) -> None:
    moved = raw.execute(
        "UPDATE stream_offset SET next_offset = %s, high_water = %s, updated_at = %s"
        " WHERE stream = %s AND topic_id = %s AND partition = %s AND next_offset = %s",
        [to, high_water, now, stream, row.topic_id, row.partition, row.next_offset],
    )
    if moved.rowcount != 1:
        raise store.StaleAssignmentError(f"{stream}[{row.partition}] has been moved on.")


def _add_gap(
    raw: RawConnection,
    stream: str,
    row: StreamOffset,
    kind: OffsetGap.Kind,
    span: tuple[int, int],
    now: datetime,
) -> None:
    raw.execute(
        "INSERT INTO offset_gap (stream, topic_id, partition, kind, from_offset, to_offset,"
        " noticed_at) VALUES (%s, %s, %s, %s, %s, %s, %s)",
        [stream, row.topic_id, row.partition, kind, *span, now],
    )


def remember_high_waters(
    raw: RawConnection, stream: str, positions: Positions, waters: dict[int, int]
) -> None:
    """Keep the newest ends of the partitions, so that a loss can be counted. Never lowers one."""
    grown = {
        partition: water
        for partition, water in waters.items()
        if water > positions.high_waters.get(partition, -1) and partition in positions.next_offsets
    }
    if not grown:
        return
    raw.execute(
        "UPDATE stream_offset AS o SET high_water = greatest(o.high_water, g.water)"
        " FROM unnest(%s::int[], %s::bigint[]) AS g (partition, water)"
        " WHERE o.stream = %s AND o.topic_id = %s AND o.partition = g.partition",
        [list(grown), list(grown.values()), stream, positions.topic_id],
    )
    positions.high_waters.update(grown)
