"""How many alerts a day a threshold would bring, and which threshold brings so many. Pure.

Shape suffixes: K = bins of scores. What stands at k is about a threshold on the lower edge of bin
k, so about the scores of the bins from k on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lepton_apps.streaming.models import AlertBudget
from lepton_apps.streaming.tallying import EDGES_E, LOWEST, NUM_BINS, PER_UNIT

LEAST_SCORES: Final = 1_000  # fewer say nothing of a tail
LEAST_ABOVE: Final = 10  # rows that a threshold must rest on while its version is young
YOUNG_DAYS: Final = 1.0
LEAST_ALERTS: Final = 30  # for the share of rows that open an alert of their own
LEAST_VERDICTS: Final = 30  # for the share of alerts that are nothing
MOST_LOUD: Final = 0.1  # of the rows: a looser threshold tells nothing apart

Counts = NDArray[np.int64]
Rates = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Recent:
    """What a stream has seen of late, and what one model version made of it."""

    count_K: Counts  # rows that the version scored
    rows_per_day: float  # of the stream, whichever version scored them
    days: float  # since the version's first row in ``count_K``
    alerts_K: Counts  # alerts it opened, by their highest score
    loud_rows: int  # in those alerts
    resolved_K: Counts  # of those alerts: with a verdict
    false_K: Counts  # and it was nothing
    loud_from: float  # the highest that the loosest threshold has been meanwhile


@dataclass(frozen=True, slots=True)
class Found:
    """A threshold, and what it is expected to bring."""

    threshold: float
    expected_per_day: float
    rows: int  # recent rows at or above it
    stopped_by: str = ""  # "ties", "share": why it brings more or less than was wanted


class Curve:
    """What each threshold would bring a day, in the unit of a kind of budget."""

    def __init__(self, recent: Recent, kind: str) -> None:
        self.kind = kind
        self.scores = int(recent.count_K.sum())
        self._young = recent.days < YOUNG_DAYS
        self._above_K = _from_top(recent.count_K)
        per_row = recent.rows_per_day / max(1, self.scores)
        expected_K = self._above_K * per_row
        if kind != AlertBudget.Kind.REVIEWS:
            expected_K = expected_K * _alerts_per_row(recent, self._above_K)
        self.verdicts = int(recent.resolved_K.sum())
        if kind == AlertBudget.Kind.FALSE_ALARMS and self.verdicts >= LEAST_VERDICTS:
            expected_K = expected_K * _false_share(recent)
        # Shares that are measured may wobble; a looser threshold never brings less.
        self.expected_K: Rates = np.maximum.accumulate(expected_K[::-1])[::-1]

    @property
    def counts_alerts_instead(self) -> bool:
        """False alarms are wanted, and too few verdicts say how many alerts are some."""
        return self.kind == AlertBudget.Kind.FALSE_ALARMS and self.verdicts < LEAST_VERDICTS

    def expected(self, threshold: float) -> float:
        """What a threshold anywhere would bring a day; straight between two edges."""
        if threshold <= 0:
            return float(self.expected_K[0])
        if threshold >= 1:
            return 0.0
        place = (float(np.log(threshold) - np.log1p(-threshold)) - LOWEST) * PER_UNIT + 1
        return float(np.interp(place, np.arange(NUM_BINS), self.expected_K))

    def find(self, per_day: float) -> Found | None:
        """The loosest threshold on an edge that keeps to the budget. None: too few scores to say.

        Rows of one bin are loud together or not at all, and rather not. Where the highest scores
        of all are more than the budget, they are loud nevertheless: no budget silences a stream.
        """
        if self.scores < LEAST_SCORES:
            return None
        fits_K = self.expected_K <= per_day
        place = int(np.argmax(fits_K)) if fits_K.any() else NUM_BINS
        stopped_by = ""
        highest = int(np.flatnonzero(self._above_K)[-1])
        if place > highest:
            place, stopped_by = highest, "ties"
        tight = np.flatnonzero(self._above_K <= MOST_LOUD * self.scores)
        loosest = min(int(tight[0]) if len(tight) else highest, highest)
        if place < loosest:
            place, stopped_by = loosest, "share"
        place = max(1, place)
        rows = int(self._above_K[place])
        if self._young and rows < LEAST_ABOVE and stopped_by != "share":
            return None
        return Found(float(EDGES_E[place - 1]), float(self.expected_K[place]), rows, stopped_by)


def _from_top(of_K: Counts) -> Counts:
    return np.cumsum(of_K[::-1])[::-1]


def _alerts_per_row(recent: Recent, above_K: Counts) -> Rates:
    """How many alerts a loud row opens: rows that fold are one alert together.

    From the level on that was loud all the time, alerts by their highest score say what a stricter
    threshold would leave of them. Below it nobody has seen what folds; there the share at that
    level goes on.
    """
    alerts_K = _from_top(recent.alerts_K)
    total = int(alerts_K[0])
    whole = min(1.0, total / recent.loud_rows) if total >= LEAST_ALERTS else 1.0
    ratio_K = np.full(NUM_BINS, whole)
    level = int(np.searchsorted(EDGES_E, recent.loud_from, side="left")) + 1
    if level < NUM_BINS and alerts_K[level] >= LEAST_ALERTS:
        seen_K = above_K[level:] > 0
        ratio_K[level:][seen_K] = alerts_K[level:][seen_K] / above_K[level:][seen_K]
        ratio_K[:level] = ratio_K[level]
    return ratio_K.clip(max=1.0)


def _false_share(recent: Recent) -> Rates:
    """Of the alerts at or above each score, the share that turns out to be nothing.

    Where too few have a verdict, the share of the next looser score that has enough; one of each
    is added, so that luck is never taken for certainty.
    """
    resolved_K, false_K = _from_top(recent.resolved_K), _from_top(recent.false_K)
    share_K = (false_K + 1) / (resolved_K + 2)
    enough = int(np.flatnonzero(resolved_K >= LEAST_VERDICTS)[-1])
    share_K[enough:] = share_K[enough]
    return share_K
