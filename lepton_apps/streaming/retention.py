"""Days of time-partitioned tables: made ahead of time, and dropped when policy says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.conf import settings

from lepton_apps.common import clock
from lepton_apps.common.db import RawConnection, transaction

TIME_COLUMN = {"decision": "decided_at", "feed_event": "created_at", "dead_letter": "failed_at"}
DAYS_AHEAD = 7
MINUTES_KEPT = timedelta(days=8)  # of what workers read: a week, and the day that is compared
# Of an advisory lock: one housekeeper at a time, and none while a backup reads (it holds it shared).
LOCK = 0x1E9701
TALLY_CLOSED = timedelta(hours=2)  # a transaction that began within the hour has ended by then
# What each connection counted becomes one row. Who counts on, late, is added up the next time.
ADD_UP = """
WITH closed AS (DELETE FROM score_tally WHERE hour < %s AND writer <> 0 RETURNING *)
INSERT INTO score_tally AS t (stream, hour, model_version, writer, bin, count, loud)
SELECT stream, hour, model_version, 0, bin, sum(count), sum(loud) FROM closed
GROUP BY stream, hour, model_version, bin
ON CONFLICT (stream, hour, model_version, writer, bin) DO UPDATE
SET count = t.count + excluded.count, loud = t.loud + excluded.loud
"""
ADD_UP_SHADOWS = """
WITH closed AS (DELETE FROM shadow_tally WHERE hour < %s AND writer <> 0 RETURNING *)
INSERT INTO shadow_tally AS t (stream, hour, champion, challenger, writer, outcome, other_outcome,
    count, difference, square)
SELECT stream, hour, champion, challenger, 0, outcome, other_outcome, sum(count), sum(difference),
    sum(square)
FROM closed GROUP BY stream, hour, champion, challenger, outcome, other_outcome
ON CONFLICT (stream, hour, champion, challenger, writer, outcome, other_outcome) DO UPDATE
SET count = t.count + excluded.count, difference = t.difference + excluded.difference,
    square = t.square + excluded.square
"""


@dataclass(frozen=True, slots=True)
class Housekeeping:
    """What one round did: names of partitions."""

    made: tuple[str, ...]
    dropped: tuple[str, ...]
    was_busy: bool = False  # another housekeeper or a backup was at work; nothing is late by that


def keep_house(raw: RawConnection) -> Housekeeping:
    """Make the partitions of the next days and drop those past their retention. Idempotent.

    Ticks are as old as their event time, and kept as long as decisions. Replays go by when they
    ended. Scores that were counted in hours gone by are added up. Nothing is waited for: to drop a
    day while a backup reads would stop every writer behind it until the backup is done.
    """
    now = clock.now()
    today = now.date()
    made: list[str] = []
    dropped: list[str] = []
    for table in TIME_COLUMN:
        with transaction(raw):
            if not _is_free(raw):
                return Housekeeping(tuple(made), tuple(dropped), was_busy=True)
            there = _days(raw, table)
            oldest = today - timedelta(days=settings.RETENTION_DAYS[table])
            for day in sorted(there):
                if day < oldest:
                    raw.execute(f"DROP TABLE {name(table, day)}")
                    dropped.append(name(table, day))
            for day in next_days():
                if day not in there:
                    _make(raw, table, day)
                    made.append(name(table, day))
            column = TIME_COLUMN[table]
            raw.execute(f"DELETE FROM {table}_default WHERE {column} < %s", [_start(oldest)])  # noqa: S608
    oldest = today - timedelta(days=settings.RETENTION_DAYS["decision"])
    raw.execute("DELETE FROM tick WHERE at < %s", [_start(oldest)])
    raw.execute("DELETE FROM shadow_disagreement WHERE decided_at < %s", [_start(oldest)])
    raw.execute("DELETE FROM federation_try WHERE at < %s", [now - timedelta(days=1)])
    raw.execute("DELETE FROM stream_minute WHERE minute < %s", [now - MINUTES_KEPT])
    oldest = today - timedelta(days=settings.RETENTION_DAYS["replay_run"])
    raw.execute("DELETE FROM replay_run WHERE finished_at < %s", [_start(oldest)])
    with transaction(raw):
        if not _is_free(raw):
            return Housekeeping(tuple(made), tuple(dropped), was_busy=True)
        raw.execute(ADD_UP, [now - TALLY_CLOSED])
        oldest = today - timedelta(days=settings.RETENTION_DAYS["score_tally"])
        raw.execute("DELETE FROM score_tally WHERE hour < %s", [_start(oldest)])
        raw.execute(ADD_UP_SHADOWS, [now - TALLY_CLOSED])
        raw.execute("DELETE FROM drift_review WHERE at < %s", [_start(oldest)])
        raw.execute("DELETE FROM shadow_tally WHERE hour < %s", [_start(oldest)])
    return Housekeeping(tuple(made), tuple(dropped))


def _is_free(raw: RawConnection) -> bool:
    """Take the lock for this transaction, if nobody has it."""
    row = raw.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK]).fetchone()
    return bool(row and row[0])


def next_days() -> list[date]:
    """Today (UTC) and the days for which partitions are made ahead."""
    today = clock.now().date()
    return [today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1)]


def days(raw: RawConnection) -> dict[str, list[date]]:
    """The days for which each table has a partition, oldest first."""
    return {table: sorted(_days(raw, table)) for table in TIME_COLUMN}


def make_days(raw: RawConnection, wanted: Mapping[str, Iterable[date]]) -> None:
    """Make partitions of these days where they are missing, inside the caller's transaction."""
    for table, asked in wanted.items():
        for day in sorted(set(asked) - _days(raw, table)):
            _make(raw, table, day)


def name(table: str, day: date) -> str:
    return f"{table}_{day:%Y%m%d}"


def _start(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _days(raw: RawConnection, table: str) -> set[date]:
    rows = raw.execute(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = %s::regclass",
        [table],
    )
    names = (row[0].removeprefix(f"{table}_") for row in rows)
    return {
        datetime.strptime(text, "%Y%m%d").replace(tzinfo=UTC).date()
        for text in names
        if text.isdigit()
    }


def _make(raw: RawConnection, table: str, day: date) -> None:
    """Make a day's partition; rows of that day that went to the default one move over."""
    column = TIME_COLUMN[table]
    start, end = _start(day), _start(day + timedelta(days=1))
    raw.execute(f"CREATE TABLE {name(table, day)} (LIKE {table} INCLUDING DEFAULTS)")
    raw.execute(
        f"WITH moved AS (DELETE FROM {table}_default WHERE {column} >= %s AND {column} < %s"  # noqa: S608
        f" RETURNING *) INSERT INTO {name(table, day)} SELECT * FROM moved",
        [start, end],
    )
    raw.execute(
        f"ALTER TABLE {table} ATTACH PARTITION {name(table, day)}"
        f" FOR VALUES FROM ('{start.isoformat()}') TO ('{end.isoformat()}')"
    )
