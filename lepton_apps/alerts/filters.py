"""The filters of the alert list, from a query string or a form, checked once for both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lepton_apps.alerts.models import Alert
from lepton_apps.common.filters import FilterReader
from lepton_apps.verticals.contract import Severity

ME: Final = "me"
NOBODY: Final = "none"
STATUSES: Final = tuple(Alert.Status.values)
SEVERITIES: Final = tuple(severity.value for severity in Severity)


@dataclass(frozen=True, slots=True)
class AlertFilters:
    """Which alerts to list; an empty or None field does not filter. All fields must match."""

    vertical: str | None = None
    statuses: tuple[str, ...] = ()  # any of them
    severities: tuple[str, ...] = ()  # any of them
    stream: str | None = None
    entity: str | None = None  # the whole entity key
    assigned_to: str | None = None  # a username, or NOBODY
    reason: str | None = None
    since: datetime | None = None  # opened at or after
    until: datetime | None = None  # opened before
    q: str | None = None  # part of title or entity key


def alert_filters(params: Mapping[str, str], username: str) -> AlertFilters:
    """Filters from text values; several statuses or severities are separated by commas.

    ``username`` is whom ``assigned_to=me`` means.

    Raises:
        FilterRefusedError: a value cannot be; ``errors`` in its data names each of them.
    """
    read = FilterReader(params)
    text, some_of, moment = read.text, read.some_of, read.moment
    assignee = text("assigned_to")
    filters = AlertFilters(
        vertical=text("vertical"),
        statuses=some_of("status", STATUSES),
        severities=some_of("severity", SEVERITIES),
        stream=text("stream"),
        entity=text("entity"),
        assigned_to=username if assignee == ME else assignee,
        reason=text("reason"),
        since=moment("since"),
        until=moment("until"),
        q=text("q"),
    )
    read.check()
    return filters
