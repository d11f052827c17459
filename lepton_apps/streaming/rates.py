"""How streams went over time: records and lag by the minute, and how scores are spread.

A fixed number of queries each, whose cost does not grow with the number of decisions.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from lepton_apps.common import clock, db
from lepton_apps.streaming.tallying import EDGES

SCORE_BINS: Final = 20  # of equal width over [0, 1]
COUNTED_FROM: Final = timedelta(hours=24)
MINUTES = """
SELECT stream, extract(epoch FROM date_bin(%s, minute, %s))::bigint, sum(records)::bigint,
    max(lag)::bigint
FROM (
    SELECT stream, minute, sum(records) AS records, sum(lag) AS lag FROM stream_minute
    WHERE stream = ANY(%s) AND minute >= %s GROUP BY stream, minute
) AS whole GROUP BY 1, 2 ORDER BY 1, 2
"""
SCORES = """
SELECT stream, bin, sum(count)::bigint FROM score_tally
WHERE stream = ANY(%s) AND hour >= %s GROUP BY 1, 2
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
    """How many rows of the last day fall into each of ``SCORE_BINS``; whole hours count."""
    spread = {stream: [0] * SCORE_BINS for stream in streams}
    for stream, bin_, count in db.rows(SCORES, [list(streams), clock.now() - COUNTED_FROM]):
        # The upper edge: where the surest scores lie, a bin is far narrower than a bar.
        score = EDGES[min(bin_, len(EDGES) - 1)]
        spread[stream][min(SCORE_BINS - 1, int(score * SCORE_BINS))] += count
    return spread
