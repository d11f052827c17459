"""Alerts and decisions as a worker would have left them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import connection

from lepton_apps.alerts.models import Alert
from lepton_apps.common.identity import decision_key

STREAM = "fintech.transactions"
AT = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)


def make_alert(record_id: str = "t-1", **changes: Any) -> Alert:
    """An open alert of fintech, and the decision that opened it."""
    fields: dict[str, Any] = {
        "vertical": "fintech",
        "stream": STREAM,
        "entity_key": "customer-1",
        "fingerprint": decision_key("fingerprint", record_id),
        "reason": "customer_velocity",
        "severity": "high",
        "outcome": "review",
        "score": 0.91,
        "record_count": 1,
        "first_occurred_at": AT,
        "last_occurred_at": AT,
        "opened_at": AT,
        "updated_at": AT,
        "decided_at": AT,
        "model_version": 1,
        "title": "49.00 EUR at shop-1",
        "facts": [["Amount", "49.00 EUR"]],
        "explanation": [{"reason": "customer_velocity", "contribution": 1.5, "features": []}],
    }
    fields |= changes
    fields["decision_id"] = decision_key(fields["stream"], record_id)
    alert = Alert.objects.create(**fields)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO record_key (key, decided_at, entity_key) VALUES (%s, %s, %s)",
            [alert.decision_id, alert.decided_at, alert.entity_key],
        )
        cursor.execute(
            "INSERT INTO decision (id, decided_at, stream, record_id, entity_key, occurred_at,"
            " payload, features, model_version, score, outcome, alert_id)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, '', 1, %s, %s, %s)",
            [
                alert.decision_id,
                alert.decided_at,
                alert.stream,
                record_id,
                alert.entity_key,
                AT,
                b'{"id": "%s", "amount": 49.000000000000000001}' % record_id.encode(),
                alert.score,
                alert.outcome,
                alert.id,
            ],
        )
    return alert
