from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from benchmarks.audit import Audit, audit
from benchmarks.latency import mixed
from benchmarks.payments import STREAM, payments
from lepton_apps.common import clock
from lepton_apps.common.db import RawConnection, raw_connection
from lepton_apps.verticals import registry

START = datetime(2026, 3, 1, 9, tzinfo=UTC)

DECISION = """
INSERT INTO decision (id, decided_at, stream, record_id, entity_key, occurred_at, payload, features,
    model_version, score, outcome)
VALUES (%s, %s, %s, %s, 'c1', %s, '', '', 1, 0, 'approve')
"""


@pytest.fixture
def raw(transactional_db: None) -> RawConnection:
    return raw_connection()


def decide(raw: RawConnection, *record_ids: str) -> None:
    now = clock.now()
    for record_id in record_ids:
        raw.execute(DECISION, (uuid4(), now, STREAM, record_id, now))


@pytest.mark.django_db(transaction=True)
def test_every_record_sent_is_held_against_the_decisions(raw: RawConnection) -> None:
    decide(raw, "run-0", "run-1", "run-1", "run-1", "run-9", "warm-2")
    assert audit(raw, "run", 4) == Audit(lost=2, doubled=2, unexpected=1, dead_letters=0)


@pytest.mark.django_db(transaction=True)
def test_nothing_lost_and_nothing_doubled_is_all_zeros(raw: RawConnection) -> None:
    decide(raw, "run-0", "run-1", "warm-0")
    assert audit(raw, "run", 2) == Audit(0, 0, 0, 0)


def test_generated_payments_decode_and_are_the_same_every_time() -> None:
    _, stream = registry.stream(STREAM)
    decoder = msgspec.json.Decoder(stream.record_type)
    made = list(payments("run", 500, entities=50, start=START))
    assert made == list(payments("run", 500, entities=50, start=START))
    records: list[Any] = [decoder.decode(payment.value) for payment in made]
    assert [record.id for record in records] == [f"run-{number}" for number in range(500)]
    assert {payment.key for payment in made} <= {b"c%d" % number for number in range(50)}
    moments = [stream.occurred_at(record) for record in records]
    assert moments == sorted(moments)
    assert moments[-1] - START > timedelta(days=3)


def test_a_suspicious_payment_is_told_by_its_customer() -> None:
    made = list(mixed(100, entities=50, start=START, every=10))
    for number in range(10, 100, 10):
        pair = [payment for payment in made if payment.key == b"a%d" % number]
        assert [payment.id for payment in pair] == [f"run-{number - 5}", f"run-{number}"]
