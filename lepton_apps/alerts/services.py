"""Everything operators do to alerts, and the labels that records are given.

Each act is one transaction: the change, its audit entry, its label and its event happen together
or not at all. Two operators at once are told apart by a conditional update: one row or none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.contrib.auth.models import User
from django.db.models import F
from django.db.models.functions import Greatest

from lepton_apps.accounts import access
from lepton_apps.accounts.models import Role
from lepton_apps.alerts.errors import (
    AlertAlreadyAcknowledgedError,
    AlertAlreadyResolvedError,
    AlertOfModelError,
    AssigneeRefusedError,
)
from lepton_apps.alerts.models import Alert, Label
from lepton_apps.alerts.selectors import no_such_alert
from lepton_apps.alerts.summary import loaded_summary, moment
from lepton_apps.audit import services as audit
from lepton_apps.common import clock
from lepton_apps.common.db import RawConnection, raw_connection, transaction
from lepton_apps.common.errors import NotFoundError
from lepton_apps.common.identity import decision_key
from lepton_apps.realtime.feed import Announcements, Event, announcing
from lepton_apps.verticals import registry

VERDICT: Final = "verdict"  # the kind of a label that an operator gave


@dataclass(frozen=True, slots=True)
class GivenLabel:
    """What somebody says of a record: the scored stream, its record, and the truth."""

    stream: str
    record_id: str
    positive: bool
    kind: str  # "chargeback", "verdict", ...
    labelled_at: datetime  # when the outside world knew, aware


def acknowledge(alert_id: int, operator: User) -> Alert:
    """Say that somebody looks at an open alert. Doing it again changes nothing.

    Raises:
        NotFoundError, PermissionRefusedError: the operator may not.
        AlertAlreadyAcknowledgedError, AlertAlreadyResolvedError: somebody else was faster.
    """
    permit(alert_id, operator)
    with announcing() as announcements:
        now = clock.now()
        changed = Alert.objects.filter(pk=alert_id, status=Alert.Status.OPEN).update(
            status=Alert.Status.ACKNOWLEDGED,
            acknowledged_at=now,
            acknowledged_by=operator,
            updated_at=now,
            version=F("version") + 1,
        )
        alert = _loaded(alert_id)
        if changed == 1:
            _tell(announcements, alert, operator, "alert.acknowledged")
        elif alert.status != Alert.Status.ACKNOWLEDGED:
            raise _already_resolved(alert)
        elif alert.acknowledged_by_id != operator.pk:
            raise _already_acknowledged(alert)
    return alert


def assign(alert_id: int, assignee: User | None, operator: User) -> Alert:
    """Give an unresolved alert to somebody, or with None to nobody.

    Raises:
        NotFoundError, PermissionRefusedError: the operator may not.
        AssigneeRefusedError: the assignee may not work on it.
        AlertAlreadyResolvedError: there is nothing left to do.
    """
    vertical = permit(alert_id, operator)
    if assignee is not None and not (
        assignee.is_active and vertical in access.verticals_of(assignee, Role.OPERATOR)
    ):
        raise AssigneeRefusedError(
            f"{assignee.get_username()} is not an operator of {vertical}; "
            "an admin can give the role.",
            assignee=assignee.get_username(),
            vertical=vertical,
        )
    with announcing() as announcements:
        changed = Alert.objects.filter(pk=alert_id, status__in=Alert.UNRESOLVED).update(
            assigned_to=assignee, updated_at=clock.now(), version=F("version") + 1
        )
        alert = _loaded(alert_id)
        if changed != 1:
            raise _already_resolved(alert)
        to = None if assignee is None else assignee.get_username()
        _tell(announcements, alert, operator, "alert.assigned", assigned_to=to)
    return alert


def resolve(
    alert_id: int,
    positive: bool,
    operator: User,
    note: str = "",
    source: Label.Source = Label.Source.CONSOLE,
) -> Alert:
    """Close an alert and keep the verdict as a label of the record that opened it.

    Raises:
        NotFoundError, PermissionRefusedError: the operator may not.
        AlertAlreadyResolvedError: somebody else was faster; the first verdict stands.
    """
    permit(alert_id, operator)
    status = Alert.Status.CONFIRMED if positive else Alert.Status.DISMISSED
    with announcing() as announcements:
        now = clock.now()
        changed = Alert.objects.filter(pk=alert_id, status__in=Alert.UNRESOLVED).update(
            status=status,
            # The worker that opened it may run on a machine whose clock is ahead of ours.
            resolved_at=Greatest("opened_at", now),
            resolved_by=operator,
            updated_at=now,
            version=F("version") + 1,
        )
        alert = _loaded(alert_id)
        if changed != 1:
            raise _already_resolved(alert)
        if alert.kind == Alert.Kind.RECORD:
            _add_verdict(alert, positive, operator, source, now)
        _tell(announcements, alert, operator, "alert.resolved", why=note, positive=positive)
    return alert


def label(
    alert_id: int,
    positive: bool,
    operator: User,
    source: Label.Source = Label.Source.CONSOLE,
) -> Alert:
    """Say what the record of an alert was, without closing the alert or opening it again.

    Raises:
        NotFoundError, PermissionRefusedError: the operator may not.
        AlertOfModelError: it is about no record.
    """
    permit(alert_id, operator)
    with announcing() as announcements:
        now = clock.now()
        Alert.objects.filter(pk=alert_id).update(updated_at=now, version=F("version") + 1)
        alert = _loaded(alert_id)
        if alert.kind != Alert.Kind.RECORD:
            raise AlertOfModelError(
                f"Alert {alert_id} is about a model, not a record: there is nothing to label. "
                "Resolve it.",
                alert_id=alert_id,
            )
        _add_verdict(alert, positive, operator, source, now)
        _tell(announcements, alert, operator, "alert.labelled", positive=positive)
    return alert


def record_labels(
    given: Sequence[GivenLabel], *, source: Label.Source, by: User | None
) -> list[Label]:
    """Keep labels of records, decided or not yet; one that is known already adds no row.

    Returns the row of each given label, in the same order. ``by`` None means the server itself.

    Raises:
        NotFoundError: a stream does not exist, or ``by`` may not see its vertical.
        PermissionRefusedError: ``by`` may see the vertical and not work in it.
    """
    streams = sorted({item.stream for item in given})
    verticals = {name: _vertical_of(name, by) for name in streams}
    raw = raw_connection()
    with transaction(raw):
        added = add_labels(raw, given, source=source, by_id=None if by is None else by.pk)
        rows = _rows_of(given, source)
        for name in streams:
            audit.record(
                by,
                "labels.recorded",
                f"stream:{name}",
                vertical=verticals[name],
                given=sum(item.stream == name for item in given),
                added=added[name],
            )
    return rows


def _vertical_of(stream: str, by: User | None) -> str:
    """The vertical of a scored stream, if ``by`` may label its records."""
    try:
        vertical = registry.stream(stream)[0].key
        if by is not None:
            access.require(by, vertical, Role.OPERATOR)
    except (LookupError, NotFoundError):
        raise NotFoundError(f"There is no stream {stream!r}.", stream=stream) from None
    return vertical


ADD_LABELS = """
INSERT INTO label (stream, record_id, decision_key, positive, kind, source, labelled_at,
                   received_at, by_id)
SELECT DISTINCT stream, record_id, decision_key, positive, kind, %(source)s, labelled_at,
       %(now)s::timestamptz, %(by_id)s::int
FROM unnest(%(streams)s::text[], %(record_ids)s::text[], %(keys)s::uuid[],
            %(positives)s::bool[], %(kinds)s::text[], %(moments)s::timestamptz[])
    AS new (stream, record_id, decision_key, positive, kind, labelled_at)
WHERE NOT EXISTS (
    SELECT FROM label AS old
    WHERE old.decision_key = new.decision_key AND old.kind = new.kind
      AND old.positive = new.positive AND old.labelled_at = new.labelled_at
      AND old.source = %(source)s
)
RETURNING stream
"""


def add_labels(
    raw: RawConnection, given: Sequence[GivenLabel], *, source: str, by_id: int | None
) -> Counter[str]:
    """Add the labels that are new, inside the caller's transaction; count them by stream."""
    # The same labels sent twice at once: the second writer of a stream waits until the first has
    # committed, and then finds its rows. No index says this, as labels are added a few at a time.
    for stream in sorted({item.stream for item in given}):
        raw.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"labels of {stream}"]
        )
    added = raw.execute(
        ADD_LABELS,
        {
            "source": str(source),
            "now": clock.now(),
            "by_id": by_id,
            "streams": [item.stream for item in given],
            "record_ids": [item.record_id for item in given],
            "keys": [decision_key(item.stream, item.record_id) for item in given],
            "positives": [item.positive for item in given],
            "kinds": [item.kind for item in given],
            "moments": [item.labelled_at for item in given],
        },
    )
    return Counter(stream for (stream,) in added)


def _rows_of(given: Sequence[GivenLabel], source: str) -> list[Label]:
    keys = [decision_key(item.stream, item.record_id) for item in given]
    known = {
        (row.decision_key, row.kind, row.positive, row.labelled_at): row
        for row in Label.objects.filter(decision_key__in=keys, source=source).select_related("by")
    }
    return [
        known[key, item.kind, item.positive, item.labelled_at]
        for key, item in zip(keys, given, strict=True)
    ]


def permit(alert_id: int, operator: User) -> str:
    """The alert's vertical, which never changes, if the operator may act there.

    Raises:
        NotFoundError: there is no such alert, or the operator may not see it.
        PermissionRefusedError: the operator may see it and not act on it.
    """
    vertical = Alert.objects.filter(pk=alert_id).values_list("vertical", flat=True).first()
    if vertical is None:
        raise no_such_alert(alert_id)
    try:
        access.require(operator, vertical, Role.OPERATOR)
    except NotFoundError:
        raise no_such_alert(alert_id) from None
    return vertical


def _loaded(alert_id: int) -> Alert:
    return Alert.objects.select_related("assigned_to", "acknowledged_by", "resolved_by").get(
        pk=alert_id
    )


def _add_verdict(
    alert: Alert, positive: bool, operator: User, source: Label.Source, now: datetime
) -> None:
    Label.objects.create(
        stream=alert.stream,
        record_id=record_id_of(alert) or "",
        decision_key=alert.decision_id,
        positive=positive,
        kind=VERDICT,
        source=source,
        labelled_at=now,
        received_at=now,
        by=operator,
        alert=alert,
    )


def record_id_of(alert: Alert) -> str | None:
    """The id of the record that opened an alert; None when retention has dropped its decision."""
    # In SQL, because the table's model belongs to streaming, which is above alerts.
    row = (
        raw_connection()
        .execute(
            "SELECT record_id FROM decision WHERE entity_key = %s AND decided_at = %s AND id = %s",
            [alert.entity_key, alert.decided_at, alert.decision_id],
        )
        .fetchone()
    )
    return None if row is None else str(row[0])


def _tell(
    announcements: Announcements,
    alert: Alert,
    operator: User,
    action: str,
    why: str = "",
    **data: Any,
) -> None:
    audit.record(operator, action, f"alert:{alert.pk}", vertical=alert.vertical, why=why, **data)
    announcements.add(alert.vertical, Event("alert.updated", loaded_summary(alert)))


def _already_resolved(alert: Alert) -> AlertAlreadyResolvedError:
    at = alert.resolved_at
    by = alert.resolved_by and alert.resolved_by.get_username()
    return AlertAlreadyResolvedError(
        f"Alert {alert.pk} was already {alert.status} at {at:%H:%M:%S} UTC by {by or 'nobody'}.",
        alert_id=alert.pk,
        status=alert.status,
        resolved_at=moment(at) if at else None,
        resolved_by=by,
    )


def _already_acknowledged(alert: Alert) -> AlertAlreadyAcknowledgedError:
    at = alert.acknowledged_at
    by = alert.acknowledged_by and alert.acknowledged_by.get_username()
    return AlertAlreadyAcknowledgedError(
        f"Alert {alert.pk} was already acknowledged at {at:%H:%M:%S} UTC by {by or 'nobody'}.",
        alert_id=alert.pk,
        status=alert.status,
        acknowledged_at=moment(at) if at else None,
        acknowledged_by=by,
    )
