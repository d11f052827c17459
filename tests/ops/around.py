"""Metrics of a simulated world as decided rows, with the fault that is asked for: no model is needed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import takewhile
from typing import Any

import msgspec
from django.db import connection

from lepton_apps.alerts.models import Alert
from lepton_apps.common.identity import decision_key
from ops.faults import Fault
from ops.metrics.extractor import MetricExtractor
from ops.metrics.records import MetricSample
from ops.replay import Replay, Row
from ops.simulator import METRICS_TOPIC, simulate_with_truth
from ops.vertical import METRICS
from tests.console.data import make_alert

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
BROKEN = START + timedelta(hours=4)
MINUTE = timedelta(minutes=1)
DECISION = """
INSERT INTO decision (id, decided_at, stream, record_id, entity_key, occurred_at, payload, features,
                      model_version, score, outcome)
VALUES (%s, %s, 'ops.metrics', %s, %s, %s, '{}', %s, 1, 0.5, 'quiet')
"""
STATE = """
INSERT INTO entity_state (stream, entity_key, version, schema, state)
VALUES ('ops.metrics', %s, 1, %s, %s)
"""


@cache
def samples(kind: str, entity: str) -> tuple[MetricSample, ...]:
    """Four quiet hours of four instances, then twenty minutes of a fault; no kind: no fault."""
    end = BROKEN + timedelta(minutes=20)
    faults = [Fault(kind, entity, BROKEN, end)] if kind else False
    world = simulate_with_truth(seed=11, start=START, records_per_s=1.0, faults=faults)
    made = takewhile(lambda made: made.record.occurred_at < end, world)
    return tuple(
        msgspec.json.decode(each.record.value, type=MetricSample)
        for each in made
        if each.record.topic == METRICS_TOPIC
    )


def save_world(
    kind: str,
    entity: str,
    *,
    named: Callable[[str], str] = lambda key: key,
    scaled: Mapping[str, float] | None = None,
) -> None:
    """Save what a worker would have; entities by other names, and metrics in other units."""
    scaled = scaled or {}
    given = [
        replace_sample(sample, named(sample.entity), scaled) for sample in samples(kind, entity)
    ]
    replay = Replay(MetricExtractor(), timedelta(seconds=60), lambda sample: sample.time)
    rows: Sequence[Row] = replay.take(given)
    with connection.cursor() as cursor:
        cursor.executemany(DECISION, [_decision(row, place) for place, row in enumerate(rows)])
        schema = METRICS.extractor.schema.hash
        cursor.executemany(STATE, [(key, schema, state) for key, state in replay.primary.items()])


def replace_sample(sample: MetricSample, entity: str, scaled: Mapping[str, float]) -> MetricSample:
    values = {
        name: None if value is None else value * scaled.get(name, 1.0)
        for name, value in sample.values.items()
    }
    return msgspec.structs.replace(sample, entity=entity, values=values)


def _decision(row: Row, place: int) -> tuple[Any, ...]:
    prefix = "tick:" if not (row.at.second or row.at.microsecond) else "made:"
    return (
        uuid.uuid4(), row.at, f"{prefix}{place}", row.entity_key, row.at, row.x_F.tobytes(),
    )  # fmt: skip


def ops_alert(entity: str, minutes: int = 3, **changes: Any) -> Alert:
    """A saved alert about an entity, so many minutes after the fault began."""
    at = BROKEN + minutes * MINUTE
    fields: dict[str, Any] = {
        "vertical": "ops",
        "stream": "ops.metrics",
        "entity_key": entity,
        "reason": "together",
        "outcome": "alarm",
        "title": f"{entity}: latency_p95_ms is high",
        "last_occurred_at": at + 10 * MINUTE,
        "decision_id": decision_key("ops.metrics", f"{entity}-{minutes}"),
        "evidence": {"kind": "vector", "metrics": []},
    }
    alert = make_alert(1, at=at, **{**fields, **changes})
    alert.save()
    return alert


def calls(**services: str) -> str:
    """A topology as JSON, by words: ``checkout="payments inventory @node-2"``."""
    return json.dumps(
        {
            "services": {
                name: {
                    "calls": [each for each in words.split() if not each.startswith("@")],
                    "hosts": [each[1:] for each in words.split() if each.startswith("@")],
                }
                for name, words in services.items()
            }
        }
    )
