"""Scoring and deciding over HTTP, on a real model."""

from __future__ import annotations

import json

import pytest
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from lepton_apps.alerts.models import Alert
from lepton_apps.common.identity import decision_key
from lepton_apps.streaming.models import Decision, EntityState
from tests.alerts.making import STREAM
from tests.champions import PAYMENTS, install, payment, payments_model

pytestmark = pytest.mark.django_db(transaction=True)

URL = f"/api/v1/streams/{STREAM}"


@pytest.fixture(autouse=True)
def model(transactional_db: None) -> None:
    install(PAYMENTS, payments_model())


def test_a_question_leaves_no_trace(api: APIClient) -> None:
    response = api.post(f"{URL}/score", payment(1), format="json")

    assert response.status_code == 200
    body = response.json()
    assert (body["record_id"], body["alert_id"], body["repeated"]) == ("p1", None, False)
    assert 0 <= body["score"] <= 1
    assert not Decision.objects.exists()
    assert not EntityState.objects.exists()


def test_a_decision_is_kept_and_repeated_word_for_word(api: APIClient) -> None:
    first = api.post(f"{URL}/decisions", payment(1), format="json").json()
    again = api.post(f"{URL}/decisions", payment(1, amount="999.00"), format="json").json()

    assert again == {**first, "repeated": True}
    assert first["decision_id"] == str(decision_key(STREAM, "p1"))
    assert Decision.objects.count() == 1


def test_one_record_is_answered_by_an_object_and_a_list_by_a_list(api: APIClient) -> None:
    listed = api.post(f"{URL}/decisions", [payment(1), payment(2)], format="json").json()
    wrapped = api.post(f"{URL}/score", {"records": [payment(3)]}, format="json").json()

    assert [answer["record_id"] for answer in listed["results"]] == ["p1", "p2"]
    assert [answer["record_id"] for answer in wrapped["results"]] == ["p3"]


def test_a_list_with_one_bad_record_decides_none(api: APIClient) -> None:
    response = api.post(f"{URL}/decisions", [payment(1), payment(2, amount=None)], format="json")

    assert response.status_code == 400
    assert (response.json()["index"], response.json()["path"]) == (1, "$.amount")
    assert not Decision.objects.exists()


def test_the_record_is_kept_byte_for_byte(api: APIClient) -> None:
    record = json.dumps(payment(1))[:-1].encode() + b', "later": 1.00000000000000000001 }'

    for body in (record, b'{"records": [ ' + record.replace(b"p1", b"p2") + b" ]}"):
        response = api.generic("POST", f"{URL}/decisions", body, "application/json")  # type: ignore[arg-type]
        assert response.status_code == 200

    kept = {bytes(row.payload) for row in Decision.objects.all()}
    assert kept == {record, record.replace(b"p1", b"p2")}


def test_a_loud_record_opens_an_alert_that_the_list_shows(api: APIClient) -> None:
    body = api.post(f"{URL}/decisions", payment(1, amount="5000.00"), format="json").json()

    assert body["severity"] is not None
    assert body["alert_id"] == Alert.objects.get().id
    (row,) = api.get("/api/v1/alerts").json()["results"]
    assert (row["id"], row["reason_text"]) == (body["alert_id"], body["reasons"][0]["text"])
    detail = api.get(f"/api/v1/alerts/{row['id']}").json()
    assert json.loads(detail["decision"]["payload"])["amount"] == "5000.00"
    labelled = api.post(f"/api/v1/alerts/{row['id']}/label", {"verdict": "positive"}, format="json")
    assert labelled.status_code == 200
    (label,) = api.get(f"/api/v1/labels?stream={STREAM}&record_id=p1").json()["results"]
    assert (label["record_id"], label["verdict"], label["by"]) == ("p1", "positive", "olga")


def test_streams_name_the_champion(
    api: APIClient, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    (scored, labels) = api.get("/api/v1/streams").json()["results"]

    assert (scored["name"], scored["kind"]) == (STREAM, "scored")
    assert scored["champion"]["version"] == 1
    assert (labels["name"], labels["kind"], labels["champion"]) == (
        "fintech.labels",
        "labels",
        None,
    )
    assert api.get(URL).json() == scored
