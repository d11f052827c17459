"""A database that has been in use for two weeks: decisions, alerts, and what hangs on them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, LiteralString
from uuid import UUID

import numpy as np
import psycopg

from benchmarks.payments import CHUNK, payments
from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection
from lepton_apps.common.identity import decision_digest

STREAM = "fintech.transactions"
VERTICAL = "fintech"
DAYS = 14  # that the decisions are spread over, each with a partition of its own
DAY_S = 86_400
SEVERITIES = ("low", "medium", "high", "critical")
REASONS = ("customer_velocity", "amount_unusual", "customer_habit", "new_device")
# Of ten alerts in the order they were opened; the newer ones are the ones not yet dealt with.
OLD_STATUSES = ("confirmed", "dismissed", "dismissed", "dismissed", "confirmed")
NEW_STATUSES = ("open", "open", "open", "acknowledged", "open")
COPY_DECISIONS: LiteralString = """
COPY decision (id, decided_at, stream, record_id, entity_key, occurred_at, payload, features,
               model_version, score, outcome, alert_id) FROM STDIN
"""
COPY_KEYS: LiteralString = "COPY record_key (key, decided_at, entity_key) FROM STDIN"
COPY_LETTERS: LiteralString = """
COPY dead_letter (failed_at, stream, topic, topic_id, partition, "offset", key, payload, reason,
                  detail, path) FROM STDIN
"""
COPY_AUDIT: LiteralString = """
COPY audit_auditentry (at, actor_id, actor_name, action, target, vertical, why, data) FROM STDIN
"""
COPY_LABELS: LiteralString = """
COPY label (stream, record_id, decision_key, positive, kind, source, labelled_at, received_at,
            applied_at) FROM STDIN
"""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything there is. Decisions must be at least as many as alerts."""

    alerts: int
    decisions: int
    entities: int

    @property
    def every(self) -> int:
        """Each so manieth decision opened an alert."""
        return self.decisions // self.alerts


def fill(connection: Connection, size: Size) -> None:
    """Fill an empty, migrated database. Two acts and one label for each alert, and a tenth as
    many dead letters as alerts. Django must be set up."""
    now = clock.now()
    open_alerts(size, now)
    with connection.cursor() as cursor:
        for first in range(0, size.decisions, CHUNK):
            rows = list(_decisions(size, now, first, min(CHUNK, size.decisions - first)))
            with cursor.copy(COPY_DECISIONS) as copy:
                copy.write("".join(decision for decision, _ in rows))
            with cursor.copy(COPY_KEYS) as copy:
                copy.write("".join(key for _, key in rows))
        for statement, lines in (
            (COPY_LETTERS, _letters(size, now)),
            (COPY_AUDIT, _acts(size, now)),
            (COPY_LABELS, _labels(size, now)),
        ):
            with cursor.copy(statement) as copy:
                for line in lines:
                    copy.write(line)
    connection.execute("VACUUM ANALYZE")


def open_alerts(size: Size, now: datetime, resolved: float = 0.8) -> None:
    """The alerts alone, ids from 1 up, oldest first; the share of the oldest that is resolved."""
    from lepton_apps.alerts.models import Alert

    old = int(size.alerts * resolved)
    made = (_alert(size, now, place, is_old=place < old) for place in range(size.alerts))
    while batch := list(islice(made, 1_000)):
        Alert.objects.bulk_create(batch)
    raw_connection().execute(
        "SELECT setval(pg_get_serial_sequence('alert', 'id'), %s)", [max(1, size.alerts)]
    )


def _decided_at(size: Size, now: datetime, number: int) -> datetime:
    """Evenly over the days before ``now``; the last one a minute ago."""
    ago = (size.decisions - number) / size.decisions * (DAYS * DAY_S - 60) + 60
    return now - timedelta(seconds=ago)


def _record_id(number: int) -> str:
    return f"seed-{number}"


def make_days(connection: Connection) -> None:
    """The partitions that housekeeping would have made on the days before."""
    from lepton_apps.streaming.retention import name

    now = clock.now()
    for ago in range(1, DAYS + 2):
        start = datetime(now.year, now.month, now.day, tzinfo=UTC) - timedelta(days=ago)
        end = start + timedelta(days=1)
        for table in ("decision", "dead_letter"):
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {name(table, start.date())} PARTITION OF {table}"
                f" FOR VALUES FROM ('{start.isoformat()}') TO ('{end.isoformat()}')"
            )


def _alert(size: Size, now: datetime, place: int, *, is_old: bool) -> Any:
    from lepton_apps.alerts.models import Alert

    number = place * size.every
    at = _decided_at(size, now, number)
    status = (OLD_STATUSES if is_old else NEW_STATUSES)[place % 5]
    entity = _entity(size, number)
    reason = REASONS[place % len(REASONS)]
    return Alert(
        id=place + 1,
        vertical=VERTICAL,
        stream=STREAM,
        entity_key=entity,
        fingerprint=UUID(bytes=decision_digest("fingerprint", _record_id(number))),
        reason=reason,
        severity=SEVERITIES[place * 7 % 11 % 4],
        outcome="decline",
        score=0.9,
        record_count=1 + place % 3,
        first_occurred_at=at,
        last_occurred_at=at,
        opened_at=at,
        updated_at=at,
        status=status,
        resolved_at=at if is_old else None,
        acknowledged_at=at if status == "acknowledged" else None,
        decision_id=UUID(bytes=decision_digest(STREAM, _record_id(number))),
        decided_at=at,
        model_version=1,
        title=f"Decline: {place % 900 + 10}.50 EUR online by {entity}",
        facts=[["Amount", f"{place % 900 + 10}.50 EUR"], ["Channel", "online"]],
        explanation=[
            {
                "reason": reason,
                "contribution": 2.41,
                "features": [{"name": "amount_to_mean_30d", "value": 14.2, "usual": 1.03}],
            }
        ],
    )


def _entity(size: Size, number: int) -> str:
    return f"c{number * 7_919 % size.entities}"


def _decisions(size: Size, now: datetime, first: int, num: int) -> Iterator[tuple[str, str]]:
    """Lines of COPY for ``decision`` and ``record_key``."""
    random = np.random.default_rng(first)
    features = [random.random(33, np.float32).tobytes().hex() for _ in range(64)]
    noon = (now - timedelta(days=DAYS)).replace(hour=12, minute=0, second=0, microsecond=0)
    made = payments("seed", num, entities=size.entities, start=noon, seed=first)
    for number, payment in enumerate(made, start=first):
        is_loud = number % size.every == 0 and number // size.every < size.alerts
        key = decision_digest(STREAM, _record_id(number)).hex()
        at = _decided_at(size, now, number).isoformat()
        entity = _entity(size, number)
        score = 0.9 if is_loud else number * 7_919 % 400 / 1_000
        outcome, alert = ("decline", number // size.every + 1) if is_loud else ("approve", r"\N")
        yield (
            f"{key}\t{at}\t{STREAM}\t{_record_id(number)}\t{entity}\t{at}\t"
            f"\\\\x{payment.value.hex()}\t\\\\x{features[number % 64]}\t1\t{score}\t{outcome}\t"
            f"{alert}\n",
            f"{key}\t{at}\t{entity}\n",
        )


def _letters(size: Size, now: datetime) -> Iterable[str]:
    topic_id = UUID(int=1)
    for number in range(max(1, size.alerts // 10)):
        at = (now - timedelta(minutes=number + 1)).isoformat()
        payload = f'{{"id":"letter-{number}","amount":"much"}}'.encode().hex()
        yield (
            f"{at}\t{STREAM}\t{STREAM}.v1\t{topic_id}\t0\t{number}\t\\\\x63\t\\\\x{payload}\t"
            "invalid_record\tNo number.\t$.amount\n"
        )


def _acts(size: Size, now: datetime) -> Iterable[str]:
    for place in range(size.alerts):
        at = _decided_at(size, now, place * size.every).isoformat()
        for action in ("alert.acknowledged", "alert.resolved"):
            data = json.dumps({"positive": place % 5 == 0})
            yield f"{at}\t\\N\tlepton\t{action}\talert:{place + 1}\t{VERTICAL}\t\t{data}\n"


def _labels(size: Size, now: datetime) -> Iterable[str]:
    for place in range(size.alerts):
        number = place * size.every
        key = decision_digest(STREAM, _record_id(number)).hex()
        at = _decided_at(size, now, number).isoformat()
        yield (
            f"{STREAM}\t{_record_id(number)}\t{key}\t{place % 5 == 0}\tchargeback\ttopic\t{at}\t"
            f"{at}\t{at}\n"
        )
