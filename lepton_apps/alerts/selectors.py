"""Reading alerts and labels. Every function is told which verticals may be read, and keeps to it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.contrib.auth.models import User
from django.db.models import Count, Q, QuerySet

from lepton_apps.alerts.filters import NOBODY, AlertFilters
from lepton_apps.alerts.models import Alert, Label
from lepton_apps.alerts.paging import MAX_LIMIT, cursor_before, row_id_of
from lepton_apps.common.db import raw_connection, transaction
from lepton_apps.common.db import rows as rows_of
from lepton_apps.common.errors import NotFoundError
from lepton_apps.common.identity import decision_key
from lepton_apps.realtime.cursor import NOTHING_YET, Cursor
from lepton_apps.realtime.models import FeedCounter
from lepton_apps.verticals import registry

# One step into the index for each vertical, however many alerts were settled before.
OLDEST: Final = """
SELECT min(found.id) FROM unnest(%s::text[]) AS one (vertical) CROSS JOIN LATERAL (
    SELECT id FROM alert WHERE alert.vertical = one.vertical AND status = 'open'
    ORDER BY id LIMIT 1
) AS found
"""
OPENED: Final = """
SELECT stream, severity, extract(epoch FROM date_bin(%s, opened_at, %s))::bigint, count(*)
FROM alert WHERE stream = ANY(%s) AND opened_at >= %s GROUP BY 1, 2, 3
"""


@dataclass(frozen=True, slots=True)
class AlertPage:
    """Some alerts, newest first, and the feed's place in the same snapshot of the database.

    Applying the events after ``feed_cursors[vertical]`` to these rows gives the rows as they are
    later. A vertical that has never had an event has the cursor before all events.
    """

    alerts: list[Alert]
    next: str | None
    feed_cursors: dict[str, str]


@dataclass(frozen=True, slots=True)
class LabelPage:
    labels: list[Label]
    next: str | None


@contextmanager
def one_snapshot() -> Iterator[None]:
    """Everything read inside belongs to one moment. Nothing can be written in it."""
    raw = raw_connection()
    with transaction(raw):
        raw.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield


def alerts(
    verticals: Collection[str],
    filters: AlertFilters | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> AlertPage:
    """A page of the alerts of these verticals, in a fixed number of queries.

    Raises:
        CursorRefusedError: ``cursor`` is not one that an earlier page gave as ``next``.
    """
    filters = filters or AlertFilters()
    wanted = _asked(verticals, filters.vertical)
    limit = max(1, min(limit, MAX_LIMIT))
    rows = matching(wanted, filters)
    if cursor is not None:
        rows = rows.filter(id__lt=row_id_of(cursor))
    with one_snapshot():
        # Evidence may be kilobytes of an alert; no list shows it.
        light = rows.select_related("assigned_to").defer("evidence", "explanation")
        page = list(light.order_by("-id")[: limit + 1])
        cursors = feed_cursors(wanted)
    more = len(page) > limit
    page = page[:limit]
    return AlertPage(page, cursor_before(page[-1].id) if more else None, cursors)


def _asked(verticals: Collection[str], vertical: str | None) -> list[str]:
    """The verticals to read: all that may be read, or the one asked for if it is among them."""
    return sorted(v for v in set(verticals) if vertical is None or v == vertical)


def matching(verticals: list[str], filters: AlertFilters) -> QuerySet[Alert]:
    """The alerts that a list with these filters may show, in no order."""
    rows = Alert.objects.filter(vertical__in=verticals)
    exact = {
        "status__in": filters.statuses,
        "severity__in": filters.severities,
        "stream": filters.stream,
        "entity_key": filters.entity,
        "reason": filters.reason,
        "opened_at__gte": filters.since,
        "opened_at__lt": filters.until,
    }
    rows = rows.filter(**{name: value for name, value in exact.items() if value})
    if filters.assigned_to == NOBODY:
        rows = rows.filter(assigned_to=None)
    elif filters.assigned_to:
        rows = rows.filter(assigned_to__username=filters.assigned_to)
    if filters.q:
        rows = rows.filter(Q(title__icontains=filters.q) | Q(entity_key__icontains=filters.q))
    return rows


def feed_cursors(verticals: Collection[str]) -> dict[str, str]:
    """Where the feed of each vertical stands, as the text that the socket resumes from."""
    counters = {
        counter.vertical: Cursor(counter.epoch, counter.last_number)
        for counter in FeedCounter.objects.filter(vertical__in=verticals)
    }
    return {vertical: str(counters.get(vertical, NOTHING_YET)) for vertical in verticals}


def alert(verticals: Collection[str], alert_id: int) -> Alert:
    """One alert with its assignee loaded.

    Raises:
        NotFoundError: there is none, or it belongs to a vertical that may not be read.
    """
    found = (
        Alert.objects.filter(pk=alert_id, vertical__in=verticals)
        .select_related("assigned_to", "acknowledged_by", "resolved_by")
        .first()
    )
    if found is None:
        raise no_such_alert(alert_id)
    return found


def no_such_alert(alert_id: int) -> NotFoundError:
    """The same words whether it does not exist or may not be seen."""
    return NotFoundError(f"There is no alert {alert_id}.", alert_id=alert_id)


def status_counts(verticals: Collection[str], vertical: str | None = None) -> dict[str, int]:
    """The number of alerts by status; every status is there."""
    rows = Alert.objects.filter(vertical__in=_asked(verticals, vertical))
    counted = dict(rows.order_by().values_list("status").annotate(Count("id")))
    return {status.value: counted.get(status.value, 0) for status in Alert.Status}


def opened_over_time(
    streams: Collection[str], since: datetime, step: timedelta
) -> list[tuple[str, str, int, int]]:
    """How many alerts were opened since then: stream, severity, step in seconds since 1970, count.

    Steps are counted from ``since``; those in which nothing was opened are left out.
    """
    return [
        (stream, severity, at, count)
        for stream, severity, at, count in rows_of(OPENED, [step, since, list(streams), since])
    ]


def oldest_open(verticals: Collection[str]) -> Alert | None:
    """The alert that has waited longest for somebody to look at it."""
    ((oldest,),) = rows_of(OLDEST, [list(verticals)])
    return Alert.objects.defer("evidence", "explanation", "facts").filter(pk=oldest).first()


def of_entity(
    verticals: Collection[str], entity_key: str, before_id: int, limit: int
) -> list[Alert]:
    """The newest earlier alerts of an entity, of whatever stream, newest first."""
    earlier = Alert.objects.filter(vertical__in=verticals, entity_key=entity_key, id__lt=before_id)
    light = earlier.select_related("assigned_to").defer("evidence", "explanation", "facts")
    return list(light.order_by("-id")[:limit])


def labels_of(alert: Alert) -> list[Label]:
    """What was said of the record that opened an alert, oldest first, by whatever way it came."""
    about = Label.objects.filter(decision_key=alert.decision_id)
    return list(about.select_related("by").order_by("id"))


def labels(
    verticals: Collection[str],
    *,
    stream: str | None = None,
    record_id: str | None = None,
    since: datetime | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> LabelPage:
    """Labels of these verticals' streams, newest first. ``since`` is about ``received_at``."""
    streams = [
        candidate.name
        for vertical in registry.verticals()
        if vertical.key in verticals
        for candidate in vertical.streams
        if stream is None or candidate.name == stream
    ]
    limit = max(1, min(limit, MAX_LIMIT))
    rows = Label.objects.filter(stream__in=streams)
    if record_id is not None:
        rows = rows.filter(decision_key__in=[decision_key(name, record_id) for name in streams])
    if since is not None:
        rows = rows.filter(received_at__gte=since)
    if cursor is not None:
        rows = rows.filter(id__lt=row_id_of(cursor))
    page = list(rows.select_related("by").order_by("-id")[: limit + 1])
    more = len(page) > limit
    page = page[:limit]
    return LabelPage(page, cursor_before(page[-1].id) if more else None)


def assignable(vertical: str) -> list[User]:
    """Who may work on alerts of a vertical, by name: what a menu of assignees shows."""
    may = Q(is_superuser=True) | Q(
        vertical_access__vertical=vertical, vertical_access__role__in=("operator", "admin")
    )
    return list(User.objects.filter(may, is_active=True).distinct().order_by("username"))
