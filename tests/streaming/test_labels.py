"""Labels that cannot mean what they say, and labels of what cannot be read any more."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from lepton_apps.alerts.models import Label
from lepton_apps.alerts.services import GivenLabel, record_labels
from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection, transaction
from lepton_apps.streaming import labels, mirror, services
from lepton_apps.streaming.labels import LabelWorker, apply_labels
from lepton_apps.streaming.models import DeadLetter, Decision, SecondaryState
from tests.champions import PAYMENTS, payment
from tests.streaming.sources import InMemorySource, log
from tests.streaming.test_worker import STREAM, drain

pytestmark = pytest.mark.django_db(transaction=True)

KNOWN = datetime(2026, 3, 2, tzinfo=UTC)
ABSURD: dict[str, Callable[[], str]] = {
    "before year 1 in UTC": lambda: "0001-01-01T00:00:00+14:00",
    "before 1970": lambda: "1969-12-31T23:59:59Z",
    "days ahead": lambda: (clock.now() + timedelta(days=1, minutes=5)).isoformat(),
    "after year 9999 in UTC": lambda: "9999-12-31T23:59:59-12:00",
}


def give(record_id: str, positive: bool, kind: str = "chargeback") -> None:
    given = GivenLabel(STREAM, record_id, positive, kind, KNOWN)
    record_labels([given], source=Label.Source.REST, by=None)


def risk() -> dict[str, bytes]:
    """What the state knows of labels."""
    rows = SecondaryState.objects.filter(entity_key__startswith="r:")
    return {row.entity_key: bytes(row.state) for row in rows}


@pytest.mark.parametrize("moment", ABSURD.values(), ids=ABSURD.keys())
def test_a_label_of_an_absurd_time_is_set_aside_and_the_next_one_is_kept(
    moment: Callable[[], str],
) -> None:
    reading: dict[str, object] = {"record_id": "r1", "broken": True}
    raws = log(
        [{**reading, "labelled_at": moment()}, {**reading, "labelled_at": KNOWN.isoformat()}]
    )
    drain(LabelWorker("weather.labels", lambda: InMemorySource(raws)))

    letter = DeadLetter.objects.get()
    assert (letter.reason, letter.path, letter.offset) == ("absurd_time", "$.labelled_at", 0)
    assert Label.objects.get().labelled_at == KNOWN


@pytest.mark.usefixtures("champion")
def test_a_label_of_a_record_that_no_longer_decodes_is_stamped_and_changes_nothing() -> None:
    services.decide(STREAM, [json.dumps(payment(n)).encode() for n in (1, 2)])
    Decision.objects.filter(record_id="p1").update(payload=b'{"of": "an older form"}')
    give("p1", True)
    give("p2", True)

    assert apply_labels(raw_connection(), PAYMENTS) == 2

    assert not Label.objects.filter(applied_at=None).exists()
    assert set(risk()) == {"r:c:c2", "r:t:t2"}


@pytest.mark.usefixtures("champion")
def test_a_label_that_never_counted_is_not_taken_back_when_the_record_can_be_read_again() -> None:
    body = json.dumps(payment(1)).encode()
    services.decide(STREAM, [body])
    Decision.objects.update(payload=b"{}")
    give("p1", True)
    apply_labels(raw_connection(), PAYMENTS)
    Decision.objects.update(payload=body)
    give("p1", False)

    assert apply_labels(raw_connection(), PAYMENTS) == 1
    assert risk() == {}


def apply_in_thread() -> None:
    try:
        apply_labels(raw_connection(), PAYMENTS)
    finally:
        connection.close()


def wait_until_waiting_for_the_turn(threads: int) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        (waiting,) = raw_connection().execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        ).fetchone() or (0,)
        if waiting == threads:
            return
        time.sleep(0.01)
    raise AssertionError(f"{threads} threads did not come to wait for the turn")


@pytest.mark.usefixtures("champion")
def test_two_workers_count_two_labels_of_one_record_once(monkeypatch: pytest.MonkeyPatch) -> None:
    at = payment(1)["occurred_at"]
    services.decide(STREAM, [json.dumps(payment(n, occurred_at=at)).encode() for n in (1, 2)])
    give("p2", True)
    apply_labels(raw_connection(), PAYMENTS)
    once = risk()["r:c:c2"]
    monkeypatch.setattr(labels, "APPLY_AT_ONCE", 1)  # so that each worker takes another label
    give("p1", True)
    give("p1", True, "verdict")
    threads = [threading.Thread(target=apply_in_thread) for _ in range(2)]
    with transaction(raw_connection()):
        mirror.take_turn(raw_connection(), STREAM)
        for thread in threads:
            thread.start()
        wait_until_waiting_for_the_turn(2)
    for thread in threads:
        thread.join(20)

    assert not Label.objects.filter(applied_at=None).exists()
    assert risk()["r:c:c1"] == once


@pytest.mark.usefixtures("champion")
def test_only_the_label_that_failed_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    give("p1", True)  # the first label, of a record that is decided too late to be seen
    give("p2", True)
    services.decide(STREAM, [json.dumps(payment(2)).encode()])
    whole = type(PAYMENTS.extractor).apply_labels

    def decide_p1() -> None:
        try:
            services.decide(STREAM, [json.dumps(payment(1)).encode()])
        finally:
            connection.close()

    def fails_on_p2(self: object, labelled: list[Any], shard: int, states: Any) -> object:
        if labelled[0].record.id == "p2":
            thread = threading.Thread(target=decide_p1)
            thread.start()
            thread.join(20)
            raise ArithmeticError("p2")
        return whole(self, labelled, shard, states)  # type: ignore[arg-type]

    monkeypatch.setattr(type(PAYMENTS.extractor), "apply_labels", fails_on_p2)
    monkeypatch.setattr(labels, "APPLY_AT_ONCE", 1)
    apply_labels(raw_connection(), PAYMENTS)

    assert not Label.objects.filter(applied_at=None).exists()
    assert list(Label.objects.filter(counted_at=None).values_list("record_id", flat=True)) == ["p2"]
    assert set(risk()) == {"r:c:c1", "r:t:t1"}
