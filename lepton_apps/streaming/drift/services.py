"""All writes of drift: a review, and the alert that is open while what a model sees stays away."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg

from lepton_apps.alerts.models import Alert
from lepton_apps.alerts.summary import DRIFT, loaded_summary
from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection
from lepton_apps.common.identity import decision_key
from lepton_apps.common.metrics import FEATURE_PSI, SCORE_PSI
from lepton_apps.realtime.feed import Event, announcing
from lepton_apps.streaming.drift import selectors
from lepton_apps.streaming.drift.selectors import SHOWN, Look
from lepton_apps.streaming.models import DriftReview
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Severity, Stream

log = logging.getLogger(__name__)

RECENT: Final = timedelta(days=2)  # as far apart may two looks in a row be
QUIET: Final = timedelta(days=7)  # after somebody resolved it, for the same version
TRY_TURN = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 4))"
Verdict = DriftReview.Verdict


def review(stream: Stream, every: timedelta = timedelta()) -> DriftReview | None:
    """Look at the stream's rows, write down what was found, and open or follow the alert.

    Only one process at a time looks, and none where the newest review is younger than ``every``.

    Returns:
        the review; None: there is no champion, or somebody else has the turn.
    """
    if not _is_due(stream, every):
        return None
    # Outside of the transaction that writes: a look may take as long as a look is given.
    try:
        found = selectors.look(stream)
    except psycopg.errors.QueryCanceled:
        log.warning(
            "drift not reviewed: the rows were not read in time", extra={"stream": stream.name}
        )
        return None
    if found is None:
        return None
    with announcing() as announcements:
        (ours,) = raw_connection().execute(TRY_TURN, [stream.name]).fetchone() or (False,)
        before = selectors.latest(stream.name)
        now = clock.now()
        if not ours or not _is_due(stream, every):
            return None
        alert = _alert(stream, found, before, now)
        if alert is not None:
            kind = "alert.opened" if alert.version == 1 else "alert.updated"
            announcements.add(alert.vertical, Event(kind, loaded_summary(alert)))
        made = DriftReview.objects.create(
            stream=stream.name,
            at=now,
            version=found.version.number,
            since=found.since,
            rows=found.rows,
            verdict=found.verdict,
            score_psi=None if found.score is None else round(found.score.psi, 4),
            features=[[name, round(drift.psi, 4)] for name, drift in found.features[:SHOWN]],
            alert_id=None if alert is None else alert.pk,
        )
    log.info(
        "drift reviewed",
        extra={"stream": stream.name, "verdict": made.verdict, "rows": made.rows},
    )
    return made


def _is_due(stream: Stream, every: timedelta) -> bool:
    before = selectors.latest(stream.name)
    return before is None or before.at <= clock.now() - every


def export(stream: Stream) -> None:
    """Tell Prometheus of the newest review."""
    newest = selectors.latest(stream.name)
    if newest is None or newest.score_psi is None:
        return
    SCORE_PSI.labels(stream.name).set(newest.score_psi)
    if newest.features:
        FEATURE_PSI.labels(stream.name).set(newest.features[0][1])


def _alert(stream: Stream, found: Look, before: DriftReview | None, now: datetime) -> Alert | None:
    """The alert of what is found, opened or brought up to date, in the caller's transaction.

    It opens at the second review in a row that finds much: one look may fall on a strange day.
    """
    if found.verdict != Verdict.MUCH or before is None or before.verdict != Verdict.MUCH:
        return None
    if before.version != found.version.number or found.furthest is None:
        return None
    if before.at < now - RECENT:  # not in a row: nobody looked in between
        return None
    mark = decision_key(f"{stream.name}/{DRIFT}", f"v{found.version.number}")
    alike = Alert.objects.filter(fingerprint=mark).select_related("assigned_to")
    newest = alike.order_by("-id").first()
    if newest is not None and newest.resolved_at is None:
        return _follow(newest, stream, found, now)
    if newest is not None and newest.resolved_at is not None and newest.resolved_at > now - QUIET:
        return None
    return Alert.objects.create(
        vertical=registry.stream(stream.name)[0].key,
        stream=stream.name,
        kind=Alert.Kind.MODEL,
        entity_key=f"{stream.model_name} v{found.version.number}",
        fingerprint=mark,
        reason=DRIFT,
        severity=str(Severity.MEDIUM),
        outcome=DRIFT,
        record_count=1,
        first_occurred_at=now,
        opened_at=now,
        decision_id=found.furthest.id,
        decided_at=found.furthest.decided_at,
        model_version=found.version.number,
        **_said(stream, found, now),
    )


def _follow(alert: Alert, stream: Stream, found: Look, now: datetime) -> Alert | None:
    """The alert brought up to date; None: somebody has just acted on it, and goes first."""
    said = _said(stream, found, now)
    changed = Alert.objects.filter(pk=alert.pk, version=alert.version).update(
        **said, record_count=alert.record_count + 1, version=alert.version + 1
    )
    return Alert.objects.select_related("assigned_to").get(pk=alert.pk) if changed else None


def _said(stream: Stream, found: Look, now: datetime) -> dict[str, Any]:
    """What an alert says of a look, by column."""
    assert found.score is not None
    name, worst = found.features[0] if found.features else ("", found.score)
    moved = [feature for feature, _ in found.moved]
    what = f"{name} (PSI {worst.psi:.2f})" if moved else f"scores (PSI {found.score.psi:.2f})"
    others = f" and {len(moved) - 1} more" if len(moved) > 1 else ""
    return {
        "title": f"Drift in {stream.name}: {what}{others}"[:200],
        "score": min(1.0, max(worst.psi, found.score.psi)),
        "last_occurred_at": now,
        "updated_at": now,
        "facts": [
            ["Features that moved", str(len(moved))],
            ["PSI of scores", f"{found.score.psi:.2f}"],
            ["Rows compared", f"{found.rows:,}"],
            ["Since", f"{found.since:%Y-%m-%d %H:%M} UTC"],
        ],
        "evidence": {
            "drift": [[name, round(d.psi, 4), d.moved] for name, d in found.features[:SHOWN]]
        },
    }
