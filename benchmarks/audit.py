"""Every record sent, held against what is durable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from benchmarks.payments import STREAM

COMPARE = """
WITH found AS (
    SELECT record_id, count(*) AS times FROM decision
    WHERE stream = %(stream)s AND starts_with(record_id, %(prefix)s || '-') GROUP BY record_id
), sent AS (
    SELECT %(prefix)s || '-' || number AS record_id
    FROM generate_series(0, %(num)s - 1) AS number
)
SELECT count(*) FILTER (WHERE found.record_id IS NULL),
    coalesce(sum(found.times - 1), 0)::bigint,
    count(*) FILTER (WHERE sent.record_id IS NULL)
FROM sent FULL JOIN found ON found.record_id = sent.record_id
"""


@dataclass(frozen=True)
class Audit:
    """``lost``: sent and not decided. ``doubled``: decisions too many. All should be 0."""

    lost: int
    doubled: int
    unexpected: int  # decided and never sent
    dead_letters: int


def audit(connection: psycopg.Connection[Any], prefix: str, num: int) -> Audit:
    """Compare the records ``<prefix>-0`` to ``<prefix>-<num - 1>`` with the decisions."""
    row = connection.execute(COMPARE, {"stream": STREAM, "prefix": prefix, "num": num}).fetchone()
    letters = connection.execute(
        "SELECT count(*) FROM dead_letter WHERE stream = %s", (STREAM,)
    ).fetchone()
    assert row is not None
    assert letters is not None
    return Audit(int(row[0]), int(row[1]), int(row[2]), int(letters[0]))
