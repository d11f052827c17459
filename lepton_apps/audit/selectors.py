"""Reading the audit record: newest first, by who, what, on what, where and when."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from lepton_apps.audit.models import AuditEntry
from lepton_apps.common.filters import FilterReader


@dataclass(frozen=True, slots=True)
class AuditFilters:
    """Which entries to list; None does not filter. All fields must match."""

    person: str | None = None  # the name of who did it; "lepton" is the server
    action: str | None = None  # its beginning: "alert." is all that was done to alerts
    target: str | None = None  # its beginning: "alert:41", "user:"
    vertical: str | None = None
    since: datetime | None = None  # at or after
    until: datetime | None = None  # before


def audit_filters(params: Mapping[str, str]) -> AuditFilters:
    """Filters from text values. Raises FilterRefusedError."""
    read = FilterReader(params)
    filters = AuditFilters(
        person=read.text("person"),
        action=read.text("action"),
        target=read.text("target"),
        vertical=read.text("vertical"),
        since=read.moment("since"),
        until=read.moment("until"),
    )
    read.check()
    return filters


def entries(
    verticals: Collection[str] | None,
    filters: AuditFilters,
    *,
    before_id: int | None = None,
    limit: int,
) -> list[AuditEntry]:
    """Entries that match, newest first, those older than ``before_id``; one query.

    ``verticals`` are those that the asker may read about. None is everything: what is of no
    vertical, too, such as accounts, passwords and tokens.
    """
    found = AuditEntry.objects.order_by("-id")
    if verticals is not None:
        found = found.filter(vertical__in=verticals)
    exact = {"actor_name": filters.person, "vertical": filters.vertical}
    beginning = {"action__startswith": filters.action, "target__startswith": filters.target}
    span = {"at__gte": filters.since, "at__lt": filters.until, "id__lt": before_id}
    wanted = {**exact, **beginning, **span}
    return list(found.filter(**{k: v for k, v in wanted.items() if v is not None})[:limit])
