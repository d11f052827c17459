"""How streams went over time: records and lag by the minute, and how scores are spread.

A fixed number of queries each, whose cost does not grow with the number of decisions.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from lepton_apps.common import clock, db

SCORE_BINS: Final = 20  # of equal width over [0, 1]
SAMPLED_PAGES: Final = 400  # of 8 KiB; some thousand decisions
SAMPLED_FROM: Final = timedelta(hours=24)
MINUTES = """
SELECT stream, extract(epoch FROM date_bin(%s, minute, %s))::bigint, sum(records)::bigint,
    max(lag)::bigint
FROM (
    SELECT stream, minute, sum(records) AS records, sum(lag) AS lag FROM stream_minute
    WHERE stream = ANY(%s) AND minute >= %s GROUP BY stream, minute
) AS whole GROUP BY 1, 2 ORDER BY 1, 2
"""
# Partitions are named by their day; the default one holds what no day has yet.
PAGES = """
SELECT coalesce(sum(pg_relation_size(to_regclass(name))) / 8192, 0)::bigint
FROM unnest(%s::text[]) AS day (name) WHERE to_regclass(name) IS NOT NULL
"""
SCORES = """
SELECT stream, least(width_bucket(score, 0, 1, %s), %s), count(*)
FROM decision TABLESAMPLE SYSTEM (%s) REPEATABLE (1)
WHERE decided_at >= %s AND stream = ANY(%s) GROUP BY 1, 2
"""


class Minutes(NamedTuple):
    """What was read in one step of time."""

    at: int  # its beginning, in seconds since 1970
    records: int
    lag: int | None  # the largest of the step's minutes; None: nobody had a partition


def over_time(
    streams: Collection[str], since: datetime, step: timedelta
) -> dict[str, list[Minutes]]:
    """What workers read of each stream since then, by step, oldest first; steps may be missing."""
    found: dict[str, list[Minutes]] = {}
    for stream, at, records, lag in db.rows(MINUTES, [step, since, list(streams), since]):
        found.setdefault(stream, []).append(Minutes(at, records, lag))
    return found


def score_spread(streams: Collection[str]) -> dict[str, list[int]]:
    """How many decisions of the last day fall into each of ``SCORE_BINS``, from a sample of pages.

    The table has no index by time or score, and a sample needs none: pages are picked at random,
    and as many whether a thousand decisions were made or ten million.
    """
    now = clock.now()
    days = [f"decision_{day:%Y%m%d}" for day in (now - SAMPLED_FROM, now)]
    ((pages,),) = db.rows(PAGES, [[*days, "decision_default"]])
    share = min(100.0, 100.0 * SAMPLED_PAGES / max(1, pages))  # per cent
    spread = {stream: [0] * SCORE_BINS for stream in streams}
    parameters = [SCORE_BINS, SCORE_BINS, share, now - SAMPLED_FROM, list(streams)]
    for stream, place, count in db.rows(SCORES, parameters):
        spread[stream][place - 1] = count
    return spread
