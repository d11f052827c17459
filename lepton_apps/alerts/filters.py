"""The filters of the alert list, from a query string or a form, checked once for both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lepton_apps.alerts.errors import FilterRefusedError
from lepton_apps.alerts.models import Alert
from lepton_apps.verticals.contract import Severity

ME: Final = "me"
NOBODY: Final = "none"
MAX_TEXT: Final = 200
# A zone can move a time at the edge of the calendar out of what can be a time at all.
EARLIEST_YEAR: Final = 1970
LATEST_YEAR: Final = 9998
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
    errors: list[dict[str, str]] = []

    def text(name: str) -> str | None:
        value = params.get(name, "").strip()
        if len(value) > MAX_TEXT or "\0" in value:
            errors.append(_error(name, f"{name} must have at most {MAX_TEXT} characters."))
            return None
        return value or None

    def some_of(name: str, choices: tuple[str, ...]) -> tuple[str, ...]:
        words = tuple(word.strip() for word in params.get(name, "").split(",") if word.strip())
        if wrong := [word for word in words if word not in choices]:
            listed = ", ".join(choices)
            errors.append(_error(name, f"{wrong[0][:80]!r} is not one of {listed}."))
        return words

    def moment(name: str) -> datetime | None:
        value = text(name)
        if value is None:
            return None
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            at = None
        if at is None or at.tzinfo is None:
            errors.append(
                _error(name, f"{value!r} is not a time with a zone, as 2026-03-01T10:00:00Z is.")
            )
            return None
        if not EARLIEST_YEAR <= at.year <= LATEST_YEAR:
            errors.append(
                _error(name, f"{value!r} is not in the years {EARLIEST_YEAR} to {LATEST_YEAR}.")
            )
            return None
        return at

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
    if errors:
        raise FilterRefusedError(str(errors[0]["detail"]), errors=errors)
    return filters


def _error(name: str, detail: str) -> dict[str, str]:
    return {"path": name, "code": "invalid", "detail": detail}
