"""The simulated world: repeatable, in order, decodable, and of the rates that its page promises."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, pairwise

import msgspec
import pytest

from fintech.records import Transaction, TransactionLabel
from fintech.schemes import FRAUDS
from fintech.simulator import (
    LABELS_TOPIC,
    TRANSACTIONS_TOPIC,
    Simulated,
    simulate,
    simulate_with_truth,
)
from fintech.vertical import LABELS, TRANSACTIONS
from fintech.world import WorldParameters

START = datetime(2024, 5, 1, tzinfo=UTC)
DAYS = 20
PER_S = 0.06


@lru_cache(maxsize=1)
def world() -> tuple[Simulated, ...]:
    rows = []
    for row in simulate_with_truth(seed=5, start=START, records_per_s=PER_S):
        if row.record.occurred_at >= START + timedelta(days=DAYS):
            break
        rows.append(row)
    return tuple(rows)


def payments() -> list[tuple[Transaction, str | None]]:
    decoder = msgspec.json.Decoder(Transaction)
    return [
        (decoder.decode(row.record.value), row.scheme)
        for row in world()
        if row.record.topic == TRANSACTIONS_TOPIC
    ]


def labels() -> list[TransactionLabel]:
    return [
        msgspec.json.decode(row.record.value, type=TransactionLabel)
        for row in world()
        if row.record.topic == LABELS_TOPIC
    ]


def test_the_same_arguments_give_the_same_bytes() -> None:
    runs = [list(islice(simulate(seed=3, start=START, records_per_s=20), 3_000)) for _ in "ab"]

    assert runs[0] == runs[1]


def test_other_arguments_give_other_record_ids() -> None:
    def ids(seed: int, start: datetime) -> set[bytes]:
        records = islice(simulate(seed=seed, start=start, records_per_s=20), 100)
        return {record.value[:40] for record in records}

    later = START + timedelta(hours=1)
    assert len(ids(1, START) | ids(2, START) | ids(1, later)) == 300


@pytest.mark.parametrize("records_per_s", [0.05, 3.0, 4_000.0])
def test_records_come_in_event_time_order(records_per_s: float) -> None:
    records = list(islice(simulate(seed=1, start=START, records_per_s=records_per_s), 5_000))

    assert records[0].occurred_at >= START
    assert all(a.occurred_at <= b.occurred_at for a, b in pairwise(records))


def test_every_record_decodes_and_is_keyed_by_its_customer() -> None:
    for row in world():
        if row.record.topic == TRANSACTIONS_TOPIC:
            payment = msgspec.json.decode(row.record.value, type=Transaction)
            assert row.record.key == payment.customer
            assert row.record.occurred_at == payment.occurred_at
    assert {row.record.topic for row in world()} == {TRANSACTIONS.topic, LABELS.topic}


def test_the_truth_is_not_in_the_payload() -> None:
    names = [scheme.name.encode() for scheme in FRAUDS]

    assert not any(name in row.record.value for row in world() for name in names)


def test_rates_are_those_asked_for() -> None:
    p = WorldParameters()
    made = payments()
    frauds = Counter(scheme for _, scheme in made if scheme)

    assert len(made) == pytest.approx(PER_S * 86_400 * DAYS, rel=0.02)
    assert frauds.total() / len(made) == pytest.approx(p.fraud_share, rel=0.3)
    assert set(frauds) == {scheme.name for scheme in FRAUDS}
    # Of one day, a customer who pays at all makes several payments.
    day = [payment for payment, _ in made if payment.occurred_at < START + timedelta(days=1)]
    customers = PER_S * 86_400 / p.payments_per_customer_day
    assert len({payment.customer for payment in day}) == pytest.approx(customers, rel=0.2)


def test_most_frauds_are_reported_and_late() -> None:
    first = {
        payment.id: payment
        for payment, scheme in payments()
        if scheme and payment.occurred_at < START + timedelta(days=8)
    }
    honest = {payment.id for payment, scheme in payments() if not scheme}
    reports = {label.record_id: label for label in labels() if label.verdict == "fraud"}
    delays = sorted(
        (reports[id_].labelled_at - payment.occurred_at) / timedelta(days=1)
        for id_, payment in first.items()
        if id_ in reports
    )

    assert not set(reports) & honest
    assert len(delays) / len(first) == pytest.approx(0.87, abs=0.08)  # some come even later
    assert delays[len(delays) // 2] == pytest.approx(5.0, abs=1.0)
    assert {label.record_id for label in labels() if label.verdict == "genuine"} <= honest


def test_nights_are_quieter_than_afternoons() -> None:
    hours = Counter(payment.occurred_at.hour for payment, _ in payments())

    assert hours[15] > 3 * hours[3]


def test_record_ids_are_unique() -> None:
    ids = [payment.id for payment, _ in payments()]

    assert len(set(ids)) == len(ids)


def test_a_naive_start_and_a_rate_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        next(simulate(seed=1, start=datetime(2024, 5, 1), records_per_s=1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="records_per_s=0 is not above 0"):
        next(simulate(seed=1, start=START, records_per_s=0))
