"""Reads of the feed. ``EVENTS`` and ``COUNTERS`` are shared with the listener."""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString
from uuid import UUID

from django.db import connection

from lepton_apps.realtime.cursor import NOTHING_YET, Cursor

PAGE = 200  # events read at a time

COUNTERS: LiteralString = "SELECT vertical, epoch, last_number FROM feed_counter"
# The epoch comes along: after a restore the same numbers mean other events.
EVENTS: LiteralString = """
SELECT number, type, body::text, epoch FROM feed_event JOIN feed_counter USING (vertical)
WHERE vertical = %s AND number > %s AND number <= %s ORDER BY number LIMIT %s
"""

Row = tuple[int, str, str, UUID]  # number, type, body as JSON text, epoch


def position(vertical: str) -> Cursor:
    """Where the feed of the vertical is now.

    Read it before a snapshot: the events after it, applied to the snapshot, make the next one.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"{COUNTERS} WHERE vertical = %s", [vertical])
        row = cursor.fetchone()
    return Cursor(row[1], row[2]) if row else NOTHING_YET


def events(vertical: str, after: int, up_to: int) -> list[Row]:
    """At most PAGE events in (after, up_to], in order."""
    with connection.cursor() as cursor:
        cursor.execute(EVENTS, [vertical, after, up_to, PAGE])
        rows: list[Row] = cursor.fetchall()
    return rows


def is_seamless(rows: Sequence[Row], after: Cursor) -> bool:
    """Whether the rows go on right after the cursor: none dropped by retention, same epoch."""
    return all(
        number == after.number + place and epoch == after.epoch
        for place, (number, _, _, epoch) in enumerate(rows, start=1)
    )
