"""Alerts, decisions and dead letters for pages to show, made as the spine makes them."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from lepton_apps.alerts.models import Alert
from lepton_apps.alerts.summary import loaded_summary
from lepton_apps.common import clock
from lepton_apps.common.identity import decision_key
from lepton_apps.realtime.feed import Event, announcing
from lepton_apps.streaming.models import ReplayRun

STREAM = "fintech.transactions"
SEVERITIES = ("low", "medium", "high", "critical")

INSERT_DECISION = """
INSERT INTO decision (id, decided_at, stream, record_id, entity_key, occurred_at, payload,
                      features, model_version, score, outcome, alert_id)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 1, %s, %s, %s)
"""
INSERT_KEY = "INSERT INTO record_key (key, decided_at, entity_key) VALUES (%s, %s, %s)"
INSERT_LETTER = """
INSERT INTO dead_letter (failed_at, stream, topic, topic_id, partition, "offset", key, payload,
                         reason, detail, path)
VALUES (%s, %s, %s, %s, 0, 7, %s, %s, 'invalid_record', %s, '$.amount') RETURNING id
"""


def make_alert(number: int = 1, *, at: datetime | None = None, **changes: Any) -> Alert:
    """An alert that is not saved yet. ``number`` makes it and its record differ from others."""
    at = at or clock.now()
    entity = f"customer-{number:05d}"
    fields: dict[str, Any] = {
        "vertical": "fintech",
        "stream": STREAM,
        "entity_key": entity,
        "fingerprint": uuid.uuid4(),
        "reason": "amount_unusual",
        "severity": SEVERITIES[number % 4],
        "outcome": "decline",
        "score": 0.5 + (number % 499) / 1000,
        "record_count": 1,
        "first_occurred_at": at,
        "last_occurred_at": at,
        "opened_at": at,
        "updated_at": at,
        "decision_id": decision_key(STREAM, f"record-{number}"),
        "decided_at": at,
        "model_version": 1,
        "title": f"Decline: {number}.50 EUR online by {entity}",
        "facts": [["Amount", f"{number}.50 EUR"], ["Channel", "online"], ["Terminal", "T-1"]],
        "explanation": [
            {
                "reason": "amount_unusual",
                "contribution": 2.41,
                "features": [{"name": "amount_to_mean_30d", "value": 14.2, "usual": 1.03}],
            },
            {
                "reason": "customer_habit",
                "contribution": -0.62,
                "features": [{"name": "customer_count_30d", "value": 41.0, "usual": 22.0}],
            },
        ],
    }
    return Alert(**{**fields, **changes})


def open_alerts(*alerts: Alert) -> list[Alert]:
    """Save alerts and tell the feed, in one transaction, as a worker's batch does."""
    with announcing() as announcements:
        for alert in alerts:
            alert.save()
            announcements.add(alert.vertical, Event("alert.opened", loaded_summary(alert)))
    return list(alerts)


def open_alert(number: int = 1, **changes: Any) -> Alert:
    return open_alerts(make_alert(number, **changes))[0]


def save_decision(
    alert: Alert,
    number: int,
    payload: bytes | None = None,
    features: NDArray[np.float32] | None = None,
) -> None:
    """The decision that opened ``alert``; its record is ``record-<number>``."""
    record = {"id": f"record-{number}", "customer": alert.entity_key, "amount": f"{number}.50"}
    with connection.cursor() as cursor:
        cursor.execute(INSERT_KEY, [alert.decision_id, alert.decided_at, alert.entity_key])
        cursor.execute(
            INSERT_DECISION,
            [
                alert.decision_id,
                alert.decided_at,
                alert.stream,
                f"record-{number}",
                alert.entity_key,
                alert.decided_at - timedelta(seconds=1),
                payload or json.dumps(record).encode(),
                (np.zeros(47, np.float32) if features is None else features).tobytes(),
                alert.score,
                alert.outcome,
                alert.pk,
            ],
        )


def save_dead_letter(payload: bytes, *, stream: str = STREAM, detail: str = "No number.") -> int:
    """A record that could not be taken; returns its id."""
    with connection.cursor() as cursor:
        cursor.execute(
            INSERT_LETTER,
            [clock.now(), stream, f"{stream}.v1", uuid.uuid4(), b"customer-1", payload, detail],
        )
        return int(cursor.fetchone()[0])


def save_replay(**changes: Any) -> ReplayRun:
    """A replay that waits for its process."""
    fields: dict[str, Any] = {
        "stream": STREAM,
        "question": {"stream": STREAM, "since": "2026-03-01T00:00:00Z", "version": 1},
        "asked_at": clock.now(),
        "beat_at": clock.now(),
    }
    return ReplayRun.objects.create(**{**fields, **changes})
