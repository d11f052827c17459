"""Every score is counted where it fell: the curve that alert budgets and the overview read.

Bins are as wide everywhere in log odds, so the tail, where thresholds lie, is seen as sharply as
the middle. A threshold on the edge of a bin parts the counted scores exactly as the policy does.

Shape suffixes: B = rows, K = bins, E = edges.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lepton_apps.common.db import RawConnection
from lepton_apps.streaming.binary import BigArray, HotCursor, IntArray
from lepton_apps.streaming.pipeline import Decided
from lepton_apps.verticals.contract import Stream

LOWEST: Final = -16.0  # log odds: a probability of one in nine million
HIGHEST: Final = 20.0  # calibrated scores slow down from 12 on and seldom come so far
PER_UNIT: Final = 16  # bins of one unit of log odds: the next edge lets some 6 % fewer through
# Bin k holds the scores from EDGES_E[k - 1] on and below EDGES_E[k]; bin 0 all below the first edge.
EDGES_E: Final[NDArray[np.float64]] = 1 / (
    1 + np.exp(-np.linspace(LOWEST, HIGHEST, int((HIGHEST - LOWEST) * PER_UNIT) + 1))
)
EDGES: Final[list[float]] = EDGES_E.tolist()
NUM_BINS: Final = len(EDGES_E) + 1

# A row for each connection, which does one transaction at a time: nobody waits for anybody.
# ``retention`` adds them up, as writer 0, when their hour is over.
TALLY = """
INSERT INTO score_tally AS t (stream, hour, model_version, writer, bin, count, loud)
SELECT %b, %b, %b::int, pg_backend_pid(), bin, count, loud
FROM unnest(%b, %b, %b) AS u (bin, count, loud)
ON CONFLICT (stream, hour, model_version, writer, bin) DO UPDATE
SET count = t.count + excluded.count, loud = t.loud + excluded.loud
"""


def bins_of(s_B: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bin of each score. ``bins_of(s) >= k`` exactly where ``s >= EDGES_E[k - 1]``."""
    return np.searchsorted(EDGES_E, s_B, side="right")


def send_scores(raw: RawConnection, stream: Stream, decided: Decided, now: datetime) -> None:
    """Count the rows of a batch, inside the caller's transaction and pipeline."""
    HotCursor(raw).hot(TALLY, score_parameters(stream, decided, now))


def score_parameters(stream: Stream, decided: Decided, now: datetime) -> list[Any]:
    """What ``TALLY`` takes."""
    if len(decided.s_B) == 1:  # a single record over REST waits for each of these calls
        met = [bisect_right(EDGES, float(decided.s_B[0]))]
        counts, louds = [1], [int(decided.outcome_B[0] > 0)]
    else:
        bin_B = bins_of(decided.s_B)
        count_K = np.bincount(bin_B)
        loud_K = np.bincount(bin_B[decided.outcome_B > 0], minlength=len(count_K))
        met_K = np.flatnonzero(count_K)
        met, counts, louds = met_K.tolist(), count_K[met_K].tolist(), loud_K[met_K].tolist()
    return [
        stream.name,
        now.replace(minute=0, second=0, microsecond=0),
        decided.model_version,
        IntArray(met),
        BigArray(counts),
        BigArray(louds),
    ]
