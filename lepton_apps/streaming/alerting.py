"""Which alert a loud decision opens, or which one it folds into. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar
from uuid import UUID

from lepton_apps.alerts.models import Alert
from lepton_apps.common.identity import decision_key
from lepton_apps.streaming.pipeline import Decided, Explanation
from lepton_apps.verticals.contract import Severity, Stream, Vertical

LOUDNESS = {severity: rank for rank, severity in enumerate(Severity)}


def fingerprint(stream: Stream, entity_key: str, reason: str) -> UUID:
    """What folds together: alerts of one stream, entity and reason."""
    return decision_key(f"{stream.name}/{reason}", entity_key)


@dataclass(slots=True)
class AlertChanges:
    """What a batch does to alerts, and which alert each loud row belongs to."""

    opened: list[Alert]
    folded: dict[int, tuple[Alert, int]]  # alert id -> alert as it will be, version as it was
    alert_of_row: dict[int, int]  # row -> alert id


def open_or_fold(
    vertical: Vertical,
    stream: Stream,
    decided: Decided,
    explained: Mapping[int, Explanation],
    evidence: Mapping[int, Mapping[str, Any]],
    existing: Iterable[Alert],
    ids: Iterable[int],
    now: datetime,
) -> AlertChanges:
    """Take the loud rows in order of arrival.

    A row folds into the unresolved alert of its fingerprint whose records are at most
    ``stream.fold`` away in event time, the nearest of several, the oldest of equally near ones;
    otherwise it opens one, with the next of ``ids``.
    """
    changes = AlertChanges([], {}, {})
    unresolved: dict[UUID, list[Alert]] = {}
    before: dict[int, int] = {}
    for known in existing:
        unresolved.setdefault(known.fingerprint, []).append(known)
        before[known.id] = known.version
    free = iter(ids)
    opened: set[int] = set()
    for row in decided.loud():
        about = decided.about[row]
        mark = fingerprint(stream, about.entity_key, explained[row].reasons[0].code)
        alert = nearest(unresolved.get(mark, ()), about.occurred_at, stream.fold)
        outcome = stream.policy.outcomes[int(decided.outcome_B[row])]
        if alert is None:
            alert = _open(
                vertical, stream, decided, row, explained[row], evidence.get(row, {}), next(free),
                now,
            )  # fmt: skip
            unresolved.setdefault(mark, []).append(alert)
            opened.add(alert.id)
            changes.opened.append(alert)
        else:
            _fold(stream, alert, about.occurred_at, float(decided.s_B[row]), outcome, now)
            if alert.id not in opened:
                changes.folded[alert.id] = (alert, before[alert.id])
        changes.alert_of_row[row] = alert.id
    for folded, version in changes.folded.values():
        folded.version = version + 1  # one change for the whole batch
    return changes


class Extent(Protocol):
    """What folding looks at: an alert, or what a replay keeps of one."""

    @property
    def id(self) -> int: ...

    @property
    def first_occurred_at(self) -> datetime: ...

    @property
    def last_occurred_at(self) -> datetime: ...


E = TypeVar("E", bound=Extent)


def nearest(alerts: Iterable[E], at: datetime, fold: timedelta) -> E | None:
    """Late records come between others, so the alert to fold into need not be the newest."""
    near = [
        (max(alert.first_occurred_at - at, at - alert.last_occurred_at, timedelta()), alert)
        for alert in alerts
    ]
    near = [(away, alert) for away, alert in near if away <= fold]
    return min(near, key=lambda one: (one[0], one[1].id))[1] if near else None


def _open(
    vertical: Vertical,
    stream: Stream,
    decided: Decided,
    row: int,
    why: Explanation,
    evidence: Mapping[str, Any],
    alert_id: int,
    now: datetime,
) -> Alert:
    about = decided.about[row]
    score = float(decided.s_B[row])
    outcome = stream.policy.outcomes[int(decided.outcome_B[row])]
    text = vertical.render_alert(stream.name, about.record, evidence)
    return Alert(
        id=alert_id,
        vertical=vertical.key,
        stream=stream.name,
        entity_key=about.entity_key,
        fingerprint=fingerprint(stream, about.entity_key, why.reasons[0].code),
        reason=why.reasons[0].code,
        severity=str(stream.policy.severity(outcome, score)),
        outcome=outcome,
        score=score,
        record_count=1,
        first_occurred_at=about.occurred_at,
        last_occurred_at=about.occurred_at,
        opened_at=now,
        updated_at=now,
        version=1,
        decision_id=about.decision_id,
        decided_at=now,
        model_version=decided.model_version,
        title=text.title[:200],
        facts=[list(fact) for fact in text.facts],
        explanation=[reason.as_json() for reason in why.reasons],
        base=why.base,
        log_odds=why.log_odds,
        evidence=dict(evidence),
    )


def _fold(
    stream: Stream,
    alert: Alert,
    occurred_at: datetime,
    score: float,
    outcome: str,
    now: datetime,
) -> None:
    alert.record_count += 1
    alert.first_occurred_at = min(alert.first_occurred_at, occurred_at)
    alert.last_occurred_at = max(alert.last_occurred_at, occurred_at)
    alert.score = max(alert.score, score)
    severity = stream.policy.severity(outcome, score)
    if LOUDNESS[severity] > LOUDNESS[Severity(alert.severity)]:
        alert.severity = str(severity)
    outcomes = stream.policy.outcomes
    alert.outcome = max(alert.outcome, outcome, key=outcomes.index)
    alert.updated_at = now


# The columns of an alert in the order that the store writes them.
COLUMNS: tuple[str, ...] = tuple(
    field.attname for field in Alert._meta.concrete_fields if not field.many_to_many
)


def values(alert: Alert) -> dict[str, Any]:
    """An alert as a row, by column."""
    return {column: getattr(alert, column) for column in COLUMNS}
