"""Days of time-partitioned tables: made ahead of time, and dropped when policy says so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.conf import settings

from lepton_apps.common import clock
from lepton_apps.common.db import RawConnection, transaction

TIME_COLUMN = {"decision": "decided_at", "feed_event": "created_at", "dead_letter": "failed_at"}
DAYS_AHEAD = 7
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
LOCK = 0x1E9701  # of pg_advisory_xact_lock: one housekeeper at a time


@dataclass(frozen=True, slots=True)
class Housekeeping:
    """What one round did: names of partitions."""

    made: tuple[str, ...]
    dropped: tuple[str, ...]


def keep_house(raw: RawConnection) -> Housekeeping:
    """Make the partitions of the next days and drop those past their retention. Idempotent.

    Ticks are as old as their event time, and kept as long as decisions. Scores that were counted
    in hours gone by are added up.
    """
    now = clock.now()
    today = now.date()
    made: list[str] = []
    dropped: list[str] = []
    for table in TIME_COLUMN:
        with transaction(raw):
            raw.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            there = _days(raw, table)
            oldest = today - timedelta(days=settings.RETENTION_DAYS[table])
            for day in sorted(there):
                if day < oldest:
                    raw.execute(f"DROP TABLE {name(table, day)}")
                    dropped.append(name(table, day))
            for ahead in range(DAYS_AHEAD + 1):
                day = today + timedelta(days=ahead)
                if day not in there:
                    _make(raw, table, day)
                    made.append(name(table, day))
            column = TIME_COLUMN[table]
            raw.execute(f"DELETE FROM {table}_default WHERE {column} < %s", [_start(oldest)])  # noqa: S608
    oldest = today - timedelta(days=settings.RETENTION_DAYS["decision"])
    raw.execute("DELETE FROM tick WHERE at < %s", [_start(oldest)])
    with transaction(raw):
        raw.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        raw.execute(ADD_UP, [now - TALLY_CLOSED])
        oldest = today - timedelta(days=settings.RETENTION_DAYS["score_tally"])
        raw.execute("DELETE FROM score_tally WHERE hour < %s", [_start(oldest)])
    return Housekeeping(tuple(made), tuple(dropped))


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
