"""REST's way through the spine, beside the worker's, on one database."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.db import connection

from lepton_apps.alerts.models import Alert, Label
from lepton_apps.alerts.services import GivenLabel, record_labels
from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection
from lepton_apps.common.errors import RecordRefusedError
from lepton_apps.model_registry.models import ModelVersion, Role
from lepton_apps.model_registry.services import promote, register_version
from lepton_apps.streaming import services
from lepton_apps.streaming.labels import LabelWorker, apply_labels
from lepton_apps.streaming.models import Decision, EntityState, RecordKey, SecondaryState
from tests.champions import PAYMENTS, payment, payments_model
from tests.streaming.sources import InMemorySource, log
from tests.streaming.test_worker import STREAM, drain, make_worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("champion")]


def body(number: int, **changes: object) -> bytes:
    return json.dumps(payment(number, **changes)).encode()


def test_a_what_if_answers_and_writes_nothing() -> None:
    (answer,) = services.score(STREAM, [body(1, amount="9000.00")])

    assert answer["outcome"] == "decline"
    assert answer["reasons"][0]["reason"] == "amount"
    for table in (Decision, RecordKey, EntityState, SecondaryState, Alert):
        assert not table.objects.exists()


def test_a_decision_is_kept_and_a_repeat_returns_the_first_one() -> None:
    (first,) = services.decide(STREAM, [body(1, amount="9000.00")])
    (again,) = services.decide(STREAM, [body(1, amount="1.00")])

    assert not first["repeated"]
    assert again == {**first, "repeated": True}
    assert Decision.objects.count() == Alert.objects.count() == 1


def test_a_repeat_of_a_record_that_joined_an_alert_has_no_reasons_of_another_record() -> None:
    services.decide(STREAM, [body(1, customer="c1", amount="9000.00")])
    joined = body(2, customer="c1", amount="8000.00")
    (first,) = services.decide(STREAM, [joined])
    (again,) = services.decide(STREAM, [joined])

    assert Alert.objects.get().record_count == 2
    assert first["reasons"]
    assert again == {**first, "reasons": [], "repeated": True}


def test_clients_are_told_the_number_of_the_version_that_decided() -> None:
    ModelVersion.objects.create(
        model_name="another",
        number=1,
        stream=STREAM,
        schema_hash="",
        manifest={},
        created_at=clock.now(),
    )
    newer = register_version(PAYMENTS, payments_model(seed=2), by=None)
    promote(newer, Role.CHAMPION, by=None, why="for tests", expected=1)
    services.path_of.cache_clear()
    loud = body(1, amount="9000.00")
    answers = [services.score(STREAM, [loud]), services.decide(STREAM, [loud])]
    answers.append(services.decide(STREAM, [loud]))

    assert newer.number == 2 != newer.pk
    assert [answer["model_version"] for (answer,) in answers] == [2, 2, 2]
    assert Alert.objects.get().model_version == Decision.objects.get().model_version == 2


def test_the_same_record_by_kafka_after_rest_is_a_repeat() -> None:
    services.decide(STREAM, [body(1)])
    drain(make_worker(log([payment(1), payment(2)])))

    assert list(Decision.objects.order_by("record_id").values_list("record_id", "topic_id")) == [
        ("p1", None),
        ("p2", Decision.objects.get(record_id="p2").topic_id),
    ]
    (answer,) = services.decide(STREAM, [body(2)])
    assert answer["repeated"]


def test_rest_and_worker_give_the_same_score_for_the_same_record_and_state() -> None:
    drain(make_worker(log([payment(n) for n in range(30)])))
    asked = {n: body(n, amount="77.10") for n in range(30, 40)}
    (*scored,) = services.score(STREAM, [asked[30]])
    drain(make_worker(log([payment(n) for n in range(30)] + [payment(30, amount="77.10")])))

    assert Decision.objects.get(record_id="p30").score == scored[0]["score"]


def test_a_list_is_decided_in_order_and_a_double_inside_it_is_a_repeat() -> None:
    answers = services.decide(STREAM, [body(1), body(2), body(1)])

    assert [(a["record_id"], a["repeated"]) for a in answers] == [
        ("p1", False),
        ("p2", False),
        ("p1", True),
    ]


def test_a_refused_record_is_named_by_its_index_and_none_of_the_list_is_decided() -> None:
    with pytest.raises(RecordRefusedError) as caught:
        services.decide(STREAM, [body(1), body(2, currency="XXQ")])

    assert caught.value.data["index"] == 1
    assert caught.value.path == "$.currency"
    assert not Decision.objects.exists()


def test_eight_writers_on_one_customer_lose_nothing() -> None:
    failures: list[BaseException] = []

    def send(writer: int) -> None:
        try:
            for n in range(10):
                services.decide(
                    STREAM, [body(1, id=f"w{writer}-{n}", customer="hot", terminal="hot")]
                )
        except BaseException as exc:  # noqa: BLE001 - shown by the assertion below
            failures.append(exc)
        finally:
            connection.close()

    threads = [threading.Thread(target=send, args=(writer,)) for writer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failures
    assert Decision.objects.count() == 80
    assert EntityState.objects.get(entity_key="hot").version == 80
    assert SecondaryState.objects.get(entity_key="t:hot").version == 80


def label(record_id: str, positive: bool = True) -> GivenLabel:
    at = datetime(2026, 3, 2, tzinfo=UTC)
    return GivenLabel(STREAM, record_id, positive, "chargeback", at)


def test_a_label_waits_for_its_record_and_counts_once() -> None:
    record_labels([label("p1"), label("p1")], source=Label.Source.REST, by=None)
    assert apply_labels(raw_connection(), PAYMENTS) == 0

    services.decide(STREAM, [body(1)])
    assert apply_labels(raw_connection(), PAYMENTS) == 1
    assert apply_labels(raw_connection(), PAYMENTS) == 0

    assert Label.objects.get().applied_at is not None
    risk = SecondaryState.objects.filter(entity_key__startswith="r:")
    assert sorted(risk.values_list("entity_key", "version")) == [("r:c:c1", 1), ("r:t:t1", 1)]


def test_a_reversed_label_takes_back_what_it_had_counted() -> None:
    services.decide(STREAM, [body(1)])
    record_labels([label("p1")], source=Label.Source.REST, by=None)
    apply_labels(raw_connection(), PAYMENTS)
    record_labels([label("p1", positive=False)], source=Label.Source.REST, by=None)
    apply_labels(raw_connection(), PAYMENTS)

    later = (datetime(2026, 3, 2, tzinfo=UTC) + timedelta(days=9)).isoformat()
    services.decide(STREAM, [body(2, customer="c1", terminal="t1", occurred_at=later)])
    names = list(PAYMENTS.extractor.schema.names)
    features = np.frombuffer(bytes(Decision.objects.get(record_id="p2").features), "<f4")
    assert features[names.index("terminal_fraud_30d")] == 0
    assert features[names.index("customer_fraud_30d")] == 0


def test_labels_by_topic_move_their_offsets_and_reach_the_features() -> None:
    services.decide(STREAM, [body(1)])
    chargeback: dict[str, object] = {
        "record_id": "p1",
        "verdict": "fraud",
        "kind": "chargeback",
        "labelled_at": "2026-03-02T00:00:00+00:00",
    }
    raws = log([chargeback, b"nonsense", {**chargeback, "record_id": ""}])
    worker = LabelWorker("fintech.labels", lambda: InMemorySource(raws))
    drain(worker)

    assert Label.objects.get().applied_at is not None
    later = (datetime(2026, 3, 2, tzinfo=UTC) + timedelta(days=9)).isoformat()
    services.decide(STREAM, [body(2, customer="c1", terminal="t1", occurred_at=later)])
    names = list(PAYMENTS.extractor.schema.names)
    features = np.frombuffer(bytes(Decision.objects.get(record_id="p2").features), "<f4")
    assert features[names.index("customer_fraud_30d")] > 0


def test_a_label_that_the_extractor_cannot_take_is_set_aside_and_the_others_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    services.decide(STREAM, [body(1), body(2), body(3)])
    record_labels([label("p1"), label("p2"), label("p3")], source=Label.Source.REST, by=None)
    whole = type(PAYMENTS.extractor).apply_labels

    def fails_on_p2(self: object, labelled: list[object], shard: int, states: object) -> object:
        if any(item.record.id == "p2" for item in labelled):  # type: ignore[attr-defined]
            raise ArithmeticError("p2")
        return whole(self, labelled, shard, states)  # type: ignore[arg-type]

    monkeypatch.setattr(type(PAYMENTS.extractor), "apply_labels", fails_on_p2)
    apply_labels(raw_connection(), PAYMENTS)

    assert not Label.objects.filter(applied_at=None).exists()
    assert list(Label.objects.filter(counted_at=None).values_list("record_id", flat=True)) == ["p2"]
