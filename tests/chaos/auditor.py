"""Holds what was sent against what the database says: nothing lost, nothing doubled, no state off."""

from __future__ import annotations

import json

import msgspec
import numpy as np

from lepton_apps.verticals.contract import States
from tests.champions import PAYMENTS
from tests.chaos.stage import STREAM, Stage


def audit(stage: Stage) -> None:
    """Every record sent is one decision, every loud one in one alert, every alert told once."""
    stage.wait(
        f"{len(stage.sent)} decisions", lambda: stage.decided() >= len(stage.sent), timeout_s=90
    )
    stage.wait(
        "dead letters",
        lambda: stage.query("SELECT count(*) FROM dead_letter")[0][0] >= stage.poison,
    )
    audit_records(stage)
    audit_alerts(stage)
    audit_states(stage)


def audit_records(stage: Stage) -> None:
    rows = stage.query("SELECT record_id, count(*) FROM decision GROUP BY record_id")
    counted = dict(rows)
    lost = stage.sent.keys() - counted.keys()
    doubled = [record_id for record_id, count in rows if count != 1]
    assert not lost, f"{len(lost)} lost: {sorted(lost)[:5]}\n{stage.logs()}"
    assert not doubled, f"{len(doubled)} doubled: {doubled[:5]}\n{stage.logs()}"
    assert counted.keys() == stage.sent.keys()
    ((keys,),) = stage.query("SELECT count(*) FROM record_key")
    assert keys == len(stage.sent)
    letters = stage.query(
        'SELECT topic_id, partition, "offset", count(*) FROM dead_letter GROUP BY 1, 2, 3'
    )
    assert len(letters) == stage.poison
    assert all(count == 1 for *_, count in letters)


def audit_alerts(stage: Stage) -> None:
    loud = {record_id for record_id, record in stage.sent.items() if record["amount"] == "9000.00"}
    in_alerts = dict(
        stage.query("SELECT record_id, alert_id FROM decision WHERE alert_id IS NOT NULL")
    )
    assert in_alerts.keys() == loud
    counts = dict(stage.query("SELECT id, record_count FROM alert"))
    found: dict[int, int] = {}
    for alert_id in in_alerts.values():
        found[alert_id] = found.get(alert_id, 0) + 1
    assert counts == found, "an alert counts other records than it has"
    opened = stage.query(
        "SELECT (body ->> 'id')::bigint, count(*) FROM feed_event"
        " WHERE type = 'alert.opened' GROUP BY 1"
    )
    assert dict.fromkeys(counts, 1) == dict(opened), "an alert was not told once"
    ((last,),) = stage.query("SELECT last_number FROM feed_counter WHERE vertical = 'fintech'")
    numbers = [row[0] for row in stage.query("SELECT number FROM feed_event ORDER BY number")]
    assert numbers == list(range(1, last + 1)), "event numbers have gaps"


def audit_states(stage: Stage) -> None:
    """The stored features are those of the same records taken once, in the order of the log.

    A state that had missed a record or taken it twice would show in every later feature.
    """
    rows = stage.query(
        'SELECT topic_id, partition, "offset", payload, features FROM decision'
        " WHERE stream = %s AND topic_id IS NOT NULL ORDER BY min(decided_at) OVER"
        ' (PARTITION BY topic_id), partition, "offset"',
        STREAM,
    )
    decode = msgspec.json.Decoder(PAYMENTS.record_type).decode
    records = [decode(row[3]) for row in rows]
    expected = PAYMENTS.extractor.extract(
        records, [row[1] for row in rows], States({}, {}, {})
    ).x_BF.astype("<f4")
    names = PAYMENTS.extractor.schema.names
    for (*place, payload, features), x_F in zip(rows, expected, strict=True):
        seen = np.frombuffer(features, "<f4")
        off = [names[i] for i in np.flatnonzero(seen != x_F)]
        assert not off, f"{place} {json.loads(payload)['id']}: {off}"
