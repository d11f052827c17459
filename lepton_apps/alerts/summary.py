"""An alert as a row of a list. REST, feed events and the console all show this and nothing else."""

from __future__ import annotations

from typing import Any, Final

from lepton_apps.alerts.models import Alert
from lepton_apps.common.clock import moment as moment
from lepton_apps.verticals import registry

DRIFT: Final = "drift"
# Of alerts that the server itself opens, whatever the vertical.
HOST_REASONS: Final = {DRIFT: "What the model sees has moved from what it was made on."}


def alert_summary(alert: Alert, assigned_to: str | None = None) -> dict[str, Any]:
    """What a list shows of an alert; JSON-ready. Asks no database, so unsaved alerts will do.

    ``assigned_to`` is the username of the assignee: only the caller knows whether it is loaded.
    """
    return {
        "id": alert.id,
        "vertical": alert.vertical,
        "stream": alert.stream,
        "entity_key": alert.entity_key,
        "reason": alert.reason,
        "reason_text": reason_text(alert.vertical, alert.reason),
        "severity": str(alert.severity),
        "outcome": alert.outcome,
        "score": alert.score,
        "record_count": alert.record_count,
        "title": alert.title,
        "status": str(alert.status),
        "assigned_to": assigned_to,
        "opened_at": moment(alert.opened_at),
        "updated_at": moment(alert.updated_at),
        "first_occurred_at": moment(alert.first_occurred_at),
        "last_occurred_at": moment(alert.last_occurred_at),
        "version": alert.version,
        "model_version": alert.model_version,
    }


def reason_text(vertical: str, reason: str) -> str:
    """The sentence of a reason; the code itself where the vertical or the reason has gone."""
    try:
        texts = registry.vertical(vertical).reason_texts
    except LookupError:
        texts = {}
    return texts.get(reason) or HOST_REASONS.get(reason, reason)


def loaded_summary(alert: Alert) -> dict[str, Any]:
    """``alert_summary`` of an alert whose assignee is loaded, as the selectors load it."""
    assignee = alert.assigned_to
    return alert_summary(alert, None if assignee is None else assignee.get_username())
