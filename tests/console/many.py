"""As many alerts and decisions as a busy installation has, made by a few statements."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
from django.db import connection

from fintech.vertical import VERTICAL as FINTECH
from lepton_apps.alerts.models import Alert
from lepton_apps.common import clock
from lepton_apps.common.identity import decision_key
from lepton_apps.model_registry.models import ModelVersion
from tests.console.data import STREAM, make_alert, save_dead_letter, save_decision

SCHEMA = FINTECH.streams[0].extractor.schema

# Entities come round every 5,000 records; nine of ten scores are small. Half a megabyte a second.
DECISIONS = """
INSERT INTO decision (id, decided_at, stream, record_id, entity_key, occurred_at, payload,
                      features, model_version, score, outcome)
SELECT md5('seeded' || n)::uuid, %s - n * interval '40 milliseconds', %s, 'seeded-' || n,
       'customer-' || lpad((n %% 5000)::text, 5, '0'), %s - n * interval '40 milliseconds',
       convert_to('{"id": "seeded-' || n || '", "amount": "12.50"}', 'UTF8'),
       %s, 1, power(random(), 6), 'approve'
FROM generate_series(1, %s) AS n
"""


def fill(alerts: int = 10_000, decisions: int = 0) -> None:
    """Alerts over the last day, every third one settled, and quiet decisions before them."""
    now = clock.now()
    ModelVersion.objects.get_or_create(
        model_name=FINTECH.streams[0].model_name,
        number=1,
        defaults={
            "stream": STREAM,
            "schema_hash": SCHEMA.hash,
            "manifest": {"thresholds": {"review": 0.4, "decline": 0.8}},
            "created_at": now,
        },
    )
    states = ("open", "acknowledged", "dismissed", "open", "open", "confirmed")
    made = []
    for number in range(alerts):
        at = now - timedelta(seconds=86_000 * (alerts - number) / alerts)
        status = states[number % len(states)]
        settled = at if status in {"dismissed", "confirmed"} else None
        entity = f"customer-{number % 500:05d}"
        made.append(
            make_alert(
                number, at=at, status=status, resolved_at=settled, entity_key=entity,
                base=-4.2, log_odds=2.6,
                severity=("low", "low", "medium", "low", "high", "medium", "critical")[number % 7],
            )
        )  # fmt: skip
    Alert.objects.bulk_create(made, batch_size=2_000)
    if decisions:
        row = np.ones(len(SCHEMA.names), np.float32).tobytes()
        with connection.cursor() as cursor:
            cursor.execute(DECISIONS, [now, STREAM, now, row, decisions])
            cursor.execute("ANALYZE decision, alert")


def fill_entity(number: int) -> Alert:
    """An alert whose entity has forty quiet decisions before, and one that opened it."""
    rng = np.random.default_rng(7)
    now = clock.now()
    entity = f"customer-{number:05d}"
    for back in range(40, 0, -1):
        earlier = make_alert(
            number * 1_000 + back,
            at=now - timedelta(minutes=back),
            entity_key=entity,
            score=float(rng.uniform(0, 0.2)),
            outcome="approve",
        )
        earlier.decision_id = decision_key(STREAM, f"record-{number * 1_000 + back}")
        features = rng.normal(1.0, 0.1, len(SCHEMA.names)).astype(np.float32)
        save_decision(earlier, number * 1_000 + back, features=features)
    seen = [
        {"name": "amount_log", "value": 9.4, "usual": 3.1},
        {"name": "customer_mean_30d", "value": 1.02, "usual": 41.0},
    ]
    explanation = [
        {"reason": "amount", "contribution": 5.1, "features": seen},
        {"reason": "velocity_of_terminal", "contribution": 1.9, "features": []},
    ]
    alert = make_alert(
        number, at=now, entity_key=entity, score=0.93, severity="critical", reason="amount",
        base=-4.2, log_odds=2.6, explanation=explanation,
    )  # fmt: skip
    alert.save()
    save_decision(alert, number)
    return alert


def fill_letters(count: int) -> None:
    for number in range(count):
        save_dead_letter(b'{"id": "r%d", "amount": "x"}' % number, detail="Expected a decimal.")
