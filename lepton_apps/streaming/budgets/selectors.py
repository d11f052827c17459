"""Scores as they fell, budgets, and what came of them: for pages, REST, commands and metrics."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from lepton_apps.alerts.models import Alert
from lepton_apps.common import clock
from lepton_apps.common.clock import moment
from lepton_apps.common.db import rows
from lepton_apps.common.errors import NotFoundError
from lepton_apps.model_registry import selectors as registered
from lepton_apps.model_registry.models import ModelVersion, ThresholdChange
from lepton_apps.streaming.budgets.curve import LEAST_VERDICTS, Recent
from lepton_apps.streaming.budgets.planning import (
    Plan,
    Situation,
    artifact_thresholds,
    expected_now,
    plan,
    rounded,
)
from lepton_apps.streaming.models import AlertBudget
from lepton_apps.streaming.tallying import EDGES_E, HIGHEST, LOWEST, NUM_BINS, PER_UNIT, bins_of
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Stream

RECENT: Final = timedelta(days=7)
DAY: Final = timedelta(days=1)
HOUR: Final = timedelta(hours=1)
DAYS_SHOWN: Final = 14
BATCH_S: Final = 5.0  # a batch has been decided and written by then

BINS = """
SELECT bin, sum(count)::bigint, sum(loud)::bigint, min(hour) FROM score_tally
WHERE stream = %s AND hour >= %s AND (%s::int IS NULL OR model_version = %s::int) GROUP BY bin
"""
TRAFFIC = """
SELECT sum(count)::bigint, min(hour) FROM score_tally WHERE stream = %s AND hour >= %s
"""
# A verdict may be corrected later by a label of its record: the newest word counts.
ALERTS = """
SELECT width_bucket(alert.score, %s::float8[]), count(*), sum(record_count)::bigint,
    count(*) FILTER (WHERE alert.status IN ('confirmed', 'dismissed')),
    count(*) FILTER (WHERE alert.status IN ('confirmed', 'dismissed')
        AND NOT coalesce(newest.positive, alert.status = 'confirmed'))
FROM alert LEFT JOIN LATERAL (
    SELECT positive FROM label WHERE decision_key = alert.decision_id ORDER BY id DESC LIMIT 1
) AS newest ON alert.status IN ('confirmed', 'dismissed')
WHERE stream = %s AND model_version = %s AND opened_at >= %s AND kind = 'record' GROUP BY 1
"""
ALERTS_BY_DAY = """
SELECT date_trunc('day', opened_at, 'UTC'), count(*) FROM alert
WHERE stream = %s AND opened_at >= %s AND kind = 'record' GROUP BY 1
"""
LOUD_BY_DAY = """
SELECT date_trunc('day', hour, 'UTC'), sum(loud)::bigint FROM score_tally
WHERE stream = %s AND hour >= %s GROUP BY 1
"""
# The oldest hour counts by what of it lies within the last 24.
LOUD_LAST_DAY = """
SELECT coalesce(sum(loud * CASE WHEN hour < %s THEN %s ELSE 1 END), 0)::float8 FROM score_tally
WHERE stream = %s AND hour >= %s
"""


@dataclass(frozen=True, slots=True)
class ScoreBar:
    """Scores from ``low`` on and below ``high``."""

    low: float
    high: float
    count: int
    loud: int  # of these: opened or joined an alert


def score_distribution(
    stream: str, since: datetime, *, version: int | None = None, bars_per_unit: int = 1
) -> list[ScoreBar]:
    """How often each score came since then, lowest first, from the lowest that came to the highest.

    Bars are as wide everywhere in log odds: 50 % to 73 % is one unit, and so is 73 % to 88 %.
    ``bars_per_unit`` is 1, 2, 4, 8 or 16. Whole hours count, the one of ``since`` included.
    """
    assert PER_UNIT % bars_per_unit == 0, bars_per_unit
    count_K, loud_K, _ = _bins(stream, since, version)
    width = PER_UNIT // bars_per_unit
    num_bars = int((HIGHEST - LOWEST) * bars_per_unit)
    # What is beyond the outermost edges joins the outermost bars.
    bar_K = np.clip((np.arange(NUM_BINS) - 1) // width, 0, num_bars - 1)
    count_N = np.bincount(bar_K, weights=count_K, minlength=num_bars).astype(np.int64)
    loud_N = np.bincount(bar_K, weights=loud_K, minlength=num_bars).astype(np.int64)
    met = np.flatnonzero(count_N)
    if not len(met):
        return []
    return [
        ScoreBar(
            0.0 if bar == 0 else float(EDGES_E[bar * width]),
            1.0 if bar == num_bars - 1 else float(EDGES_E[(bar + 1) * width]),
            int(count_N[bar]),
            int(loud_N[bar]),
        )
        for bar in range(met[0], met[-1] + 1)
    ]


def rows_per_day(stream: str, since: datetime) -> float:
    """Scored rows a day since then; a span of less than an hour counts as one."""
    total, first = rows(TRAFFIC, [stream, _hour(since)])[0]
    if not total:
        return 0.0
    span: timedelta = max(clock.now() - max(first, since), HOUR)
    return int(total) * (DAY / span)


def share_above(
    stream: str, threshold: float, since: datetime, version: int | None = None
) -> float | None:
    """The share of scores at or above a threshold, exact on the edge of a bin; None: no scores."""
    count_K, _, _ = _bins(stream, since, version)
    total = count_K.sum()
    if not total:
        return None
    return float(count_K[int(bins_of(np.array([threshold]))[0]) :].sum() / total)


def stream_of(name: str) -> Stream:
    """A scored stream. Raises NotFoundError, which names those that are there."""
    try:
        return registry.stream(name)[1]
    except LookupError:
        known = ", ".join(s.name for v in registry.verticals() for s in v.streams)
        raise NotFoundError(
            f"There is no scored stream {name!r}. There are: {known}.", stream=name
        ) from None


def budget_of(stream: str) -> AlertBudget | None:
    """The budget that holds, or None."""
    newest = AlertBudget.objects.filter(stream=stream).select_related("by").order_by("-id").first()
    return None if newest is None or newest.per_day is None else newest


def situation(stream: Stream) -> Situation:
    """All that thresholds follow from, in a fixed number of queries."""
    version = registered.champion(stream.model_name)
    budget = budget_of(stream.name)
    if version is None:
        return Situation(stream, None, budget, None, None)
    since = clock.now() - RECENT
    lines = registered.threshold_lines(version, limit=1)
    recent = _recent(stream, version, since)
    return Situation(stream, version, budget, lines[0] if lines else None, recent)


def thresholds_that_decided(alert: Alert) -> dict[str, float]:
    """The thresholds that held when the alert was opened, by the policy's names, loosest first."""
    try:
        _, stream = registry.stream(alert.stream)
    except LookupError:
        return {}  # the stream has gone since
    version = ModelVersion.objects.filter(
        model_name=stream.model_name, number=alert.model_version
    ).first()
    if version is None:
        return {}
    loosest = stream.policy.thresholds[0]
    held = registered.thresholds_at(version, alert.decided_at)
    if alert.score < held.get(loosest, 0.0):
        # A server looks at the ledger from time to time: it had not seen the newest line yet.
        seen = alert.decided_at - timedelta(seconds=settings.WORKER_MODEL_CHECK_S + BATCH_S)
        held = registered.thresholds_at(version, seen)
    return {name: float(held[name]) for name in stream.policy.thresholds if name in held}


def report(stream: Stream, kind: str | None = None, per_day: float | None = None) -> dict[str, Any]:
    """A stream's budget: wanted, achieved, thresholds and how they came about.

    With ``kind`` and ``per_day`` also what such a budget would come to, as ``preview``.
    """
    now = situation(stream)
    told = told_of(now)
    lines = registered.threshold_lines(now.version) if now.version else []
    told["days"] = _days(stream.name)
    told["ledger"] = [_line(line) for line in lines]
    if kind is not None and per_day is not None:
        told["preview"] = plan(now, kind, per_day).as_json()
    return told


def budget_overviews(verticals: Collection[str]) -> list[dict[str, Any]]:
    """Each budget in short, of the scored streams that have one; what the overview shows."""
    return [
        told_of(situation(stream))
        for vertical in registry.verticals()
        if vertical.key in verticals
        for stream in vertical.streams
        if budget_of(stream.name) is not None
    ]


def told_of(now: Situation) -> dict[str, Any]:
    """A situation with what was achieved in the last 24 hours."""
    stream, budget, line = now.stream, now.budget, now.line
    kind = budget.kind if budget else AlertBudget.Kind.ALERTS.value
    planned = _planned(now)
    return {
        "stream": stream.name,
        "vertical": registry.stream(stream.name)[0].key,
        "model": stream.model_name,
        "version": now.version and now.version.number,
        "budget": budget
        and {
            "kind": kind,
            "per_day": budget.per_day,
            "set_by": budget.by and budget.by.get_username(),
            "set_at": moment(budget.at),
            "why": budget.why,
        },
        "kind": kind,
        "achieved_per_day": rounded(achieved(now, kind)),
        "expected_per_day": rounded(expected_now(now, kind)),
        "rows_per_day": round(now.recent.rows_per_day) if now.recent else 0,
        "scores": int(now.recent.count_K.sum()) if now.recent else 0,
        "scored_days": round(now.recent.days, 4) if now.recent else 0.0,
        "thresholds": now.thresholds,
        "thresholds_because": line.because if line else "version",
        "thresholds_since": moment(line.at) if line else None,
        "note": planned.note if planned else "",
    }


def achieved(now: Situation, kind: str) -> float:
    """What came in the last 24 hours, in the unit of a kind of budget.

    False alarms are alerts by the share that verdicts say; without enough verdicts, all alerts.
    """
    at = clock.now()
    since = at - DAY
    if kind == AlertBudget.Kind.REVIEWS:
        oldest = _hour(since)
        within = 1 - (since - oldest) / HOUR
        found = rows(LOUD_LAST_DAY, [oldest + HOUR, within, now.stream.name, oldest])
        return float(found[0][0])
    of_records = Alert.objects.filter(stream=now.stream.name, kind=Alert.Kind.RECORD)
    alerts = of_records.filter(opened_at__gte=since).count()
    if kind == AlertBudget.Kind.FALSE_ALARMS and now.recent is not None:
        resolved = int(now.recent.resolved_K.sum())
        if resolved >= LEAST_VERDICTS:
            return alerts * int(now.recent.false_K.sum()) / resolved
    return float(alerts)


def _planned(now: Situation) -> Plan | None:
    if now.budget is None or now.budget.per_day is None:
        return None
    return plan(now, now.budget.kind, now.budget.per_day)


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _bins(
    stream: str, since: datetime, version: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], datetime | None]:
    """Counts of all and of loud scores, and the first hour that has one."""
    count_K, loud_K = np.zeros(NUM_BINS, np.int64), np.zeros(NUM_BINS, np.int64)
    first: datetime | None = None
    for bin_, count, loud, hour in rows(BINS, [stream, _hour(since), version, version]):
        count_K[bin_], loud_K[bin_] = count, loud
        first = hour if first is None else min(first, hour)
    return count_K, loud_K, first


def _recent(stream: Stream, version: ModelVersion, since: datetime) -> Recent:
    count_K, _, first = _bins(stream.name, since, version.number)
    alerts_K, resolved_K, false_K = (np.zeros(NUM_BINS, np.int64) for _ in range(3))
    loud_rows = 0
    found = rows(ALERTS, [EDGES_E.tolist(), stream.name, version.number, _hour(since)])
    for bin_, alerts, loud, resolved, false in found:
        alerts_K[bin_], resolved_K[bin_], false_K[bin_] = alerts, resolved, false
        loud_rows += loud
    return Recent(
        count_K,
        rows_per_day(stream.name, since),
        0.0 if first is None else (clock.now() - first) / DAY,
        alerts_K,
        loud_rows,
        resolved_K,
        false_K,
        _loud_from(stream, version, since),
    )


def _loud_from(stream: Stream, version: ModelVersion, since: datetime) -> float:
    """The highest that the loosest threshold has been since then."""
    loosest = stream.policy.thresholds[0]
    lines = ThresholdChange.objects.filter(version=version).order_by("-sequence")
    held: list[float] = []
    for line in lines.values("at", "thresholds")[:1_000]:
        held.append(line["thresholds"].get(loosest, 0.0))
        if line["at"] <= since:
            return max(held)
    return max([*held, artifact_thresholds(version).get(loosest, 0.0)])


def _days(stream: str) -> list[dict[str, Any]]:
    """What came on each of the last days in UTC, today so far included, oldest first."""
    today = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    first = today - DAY * (DAYS_SHOWN - 1)
    alerts = dict(rows(ALERTS_BY_DAY, [stream, first]))
    loud = dict(rows(LOUD_BY_DAY, [stream, first]))
    days = [first + DAY * n for n in range(DAYS_SHOWN)]
    return [
        {"day": f"{day:%Y-%m-%d}", "alerts": alerts.get(day, 0), "reviews": loud.get(day, 0)}
        for day in days
    ]


def _line(line: ThresholdChange) -> dict[str, Any]:
    return {
        "at": moment(line.at),
        "version": line.version.number,
        "thresholds": line.thresholds,
        "because": line.because,
        "scores": line.scores,
        "expected_per_day": rounded(line.expected_per_day),
        "by": line.by.get_username() if line.by else None,
        "why": line.why,
    }
