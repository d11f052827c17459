"""What a stream knows and how often it met it, as rows: part of the one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

import psycopg

from lepton_apps.common.db import RawConnection
from lepton_apps.streaming.batch import REST_SHARD
from lepton_apps.streaming.binary import BigArray, HotCursor, TextArray, TimeArray
from lepton_apps.verticals.contract import Tally

LEARNED = """
INSERT INTO knowledge (stream, id, body, learned_at) VALUES (%s, %s, %s, %s)
ON CONFLICT DO NOTHING
"""
# A row for each writer: hot templates would make all workers wait for each other.
TALLY = """
INSERT INTO knowledge_tally AS t (stream, id, shard, count, first_at, last_at)
SELECT %b, id, %b, count, first_at, last_at
FROM unnest(%b, %b, %b, %b) AS u (id, count, first_at, last_at)
ON CONFLICT (stream, id, shard) DO UPDATE
SET count = t.count + excluded.count, first_at = least(t.first_at, excluded.first_at),
    last_at = greatest(t.last_at, excluded.last_at)
"""


class Moved(Protocol):
    """A partition that a batch has read from."""

    @property
    def partition(self) -> int: ...


def add_knowledge(
    raw: RawConnection, stream: str, learned: Mapping[str, bytes], now: datetime
) -> None:
    """Rare, so one by one. Who learned the same before was first, and nothing changes."""
    if learned:
        rows = [(stream, id_, learned[id_], now) for id_ in sorted(learned)]
        psycopg.Cursor(raw).executemany(LEARNED, rows)


def send_tallies(
    raw: RawConnection, stream: str, tallies: Mapping[str, Tally], moves: Sequence[Moved]
) -> None:
    """Send how often each known thing was met, to the row of the first partition in hand."""
    if not tallies:
        return
    ids = sorted(tallies)
    parameters = [
        stream,
        min((move.partition for move in moves), default=REST_SHARD),
        TextArray(ids),
        BigArray([tallies[id_].times for id_ in ids]),
        TimeArray([tallies[id_].first for id_ in ids]),
        TimeArray([tallies[id_].last for id_ in ids]),
    ]
    HotCursor(raw).hot(TALLY, parameters)
