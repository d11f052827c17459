"""Holds what was sent against what the database says: nothing lost, nothing doubled, no state off."""

from __future__ import annotations

from tests.chaos.stage import Stage


def audit(stage: Stage) -> None:
    """Every message sent counted once, every poisonous one is a letter, every alert told once."""
    stage.wait(
        f"{len(stage.sent)} messages", lambda: stage.taken() >= len(stage.sent), timeout_s=90
    )
    stage.wait(
        "dead letters",
        lambda: stage.query("SELECT count(*) FROM dead_letter")[0][0] >= stage.poison,
    )
    audit_records(stage)
    audit_alerts(stage)
    stage.kind.audit_contents(stage)


def audit_records(stage: Stage) -> None:
    stage.kind.audit_messages(stage)
    doubled = stage.query("SELECT record_id FROM decision GROUP BY record_id HAVING count(*) > 1")
    assert not doubled, f"{len(doubled)} doubled: {doubled[:5]}\n{stage.logs()}"
    letters = stage.query(
        'SELECT topic_id, partition, "offset", count(*) FROM dead_letter GROUP BY 1, 2, 3'
    )
    assert len(letters) == stage.poison
    assert all(count == 1 for *_, count in letters)


def audit_alerts(stage: Stage) -> None:
    in_alerts = stage.query(
        "SELECT alert_id, count(*) FROM decision WHERE alert_id IS NOT NULL GROUP BY 1"
    )
    counts = dict(stage.query("SELECT id, record_count FROM alert"))
    assert counts == dict(in_alerts), "an alert counts other records than it has"
    opened = stage.query(
        "SELECT (body ->> 'id')::bigint, count(*) FROM feed_event"
        " WHERE type = 'alert.opened' GROUP BY 1"
    )
    assert dict.fromkeys(counts, 1) == dict(opened), "an alert was not told once"
    ((last,),) = stage.query(
        "SELECT last_number FROM feed_counter WHERE vertical = %s", stage.kind.vertical
    )
    numbers = [row[0] for row in stage.query("SELECT number FROM feed_event ORDER BY number")]
    assert numbers == list(range(1, last + 1)), "event numbers have gaps"
