"""Every record sent, held against what is durable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
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


# Lines have no id: they are counted twice over. Each is counted by its template; and each is
# either told of by one window that was decided on, or waits in the memory of its entity.
COUNTED = "SELECT coalesce(sum(count), 0)::bigint FROM knowledge_tally WHERE stream = 'ops.logs'"
WINDOWS = "SELECT features FROM decision WHERE stream = 'ops.logs'"
STATES = "SELECT state FROM entity_state WHERE stream = 'ops.logs'"


@dataclass(frozen=True)
class Audit:
    """``lost``: sent and not decided. ``doubled``: decisions too many. All should be 0."""

    lost: int
    doubled: int
    unexpected: int  # decided and never sent
    dead_letters: int
    rows: int = 0  # decisions


def audit(connection: psycopg.Connection[Any], prefix: str, num: int) -> Audit:
    """Compare the records ``<prefix>-0`` to ``<prefix>-<num - 1>`` with the decisions."""
    row = connection.execute(COMPARE, {"stream": STREAM, "prefix": prefix, "num": num}).fetchone()
    letters = connection.execute(
        "SELECT count(*) FROM dead_letter WHERE stream = %s", (STREAM,)
    ).fetchone()
    assert row is not None
    assert letters is not None
    return Audit(int(row[0]), int(row[1]), int(row[2]), int(letters[0]))


def audit_lines(connection: psycopg.Connection[Any], num: int) -> Audit:
    """Compare ``num`` log lines with what was counted, and with what windows tell of."""
    from ops.logs.extractor import NAMES
    from ops.logs.states import WINDOW, unpack

    (counted,) = connection.execute(COUNTED).fetchone() or (0,)
    judged = NAMES.index("judged")
    told = rows = 0
    for (features,) in connection.execute(WINDOWS):
        row_F = np.frombuffer(features, "<f4")
        rows += 1
        told += int((row_F[:WINDOW] > 0).sum()) - int(row_F[judged])
    for (state,) in connection.execute(STATES):
        entity = unpack(bytes(state))
        told += len(entity.events) - entity.judged
    letters = connection.execute(
        "SELECT count(*) FROM dead_letter WHERE stream = 'ops.logs'"
    ).fetchone()
    missing = num - int(letters[0] if letters else 0)
    return Audit(
        lost=max(missing - counted, missing - told, 0),
        doubled=max(counted - missing, told - missing, 0),
        unexpected=abs(counted - told),
        dead_letters=int(letters[0] if letters else 0),
        rows=rows,
    )
