from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from lepton_apps.alerts import services
from lepton_apps.alerts.models import Label
from lepton_apps.realtime.models import FeedEvent
from tests.alerts.making import make_alert

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_list_pages_through_everything_once(api: APIClient) -> None:
    there = [make_alert(f"t-{n}").id for n in range(5)]

    first = api.get("/api/v1/alerts?limit=3").json()
    make_alert("new")
    rest = api.get(f"/api/v1/alerts?limit=3&cursor={first['next']}").json()

    assert [row["id"] for row in first["results"] + rest["results"]] == there[::-1]
    assert rest["next"] is None
    assert list(first["feed_cursors"]) == ["fintech"]


def test_a_filter_given_twice_means_either(api: APIClient, operator: User) -> None:
    services.acknowledge(make_alert("1").id, operator)
    services.resolve(make_alert("2").id, True, operator)
    make_alert("3")

    rows = api.get("/api/v1/alerts?status=open&status=confirmed").json()["results"]

    assert [row["status"] for row in rows] == ["open", "confirmed"]


def test_the_list_is_the_same_number_of_queries_however_long(
    api: APIClient, operator: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for n in range(20):
        services.assign(make_alert(f"t-{n}").id, operator, operator)

    api.get("/api/v1/alerts")
    with django_assert_num_queries(2):  # alerts, feed counters; credentials go past the ORM
        assert len(api.get("/api/v1/alerts").json()["results"]) == 20


def test_the_detail_shows_the_record_with_every_digit(api: APIClient, operator: User) -> None:
    alert = make_alert("t-1")
    services.resolve(alert.id, True, operator)

    body = api.get(f"/api/v1/alerts/{alert.id}").json()

    assert body["decision"]["payload_encoding"] == "utf-8"
    assert "49.000000000000000001" in body["decision"]["payload"]
    assert json.loads(body["decision"]["payload"])["id"] == body["decision"]["record_id"] == "t-1"
    assert (body["resolved_by"], body["labels"][0]["verdict"]) == ("olga", "positive")
    assert body["facts"] == [["Amount", "49.00 EUR"]]
    assert body["explanation"][0]["reason"] == "customer_velocity"


def test_acts_answer_with_the_row_that_browsers_are_told(api: APIClient) -> None:
    alert = make_alert()
    acts = [
        ("acknowledge", None, {"status": "acknowledged"}),
        ("assign", {"assigned_to": "olga"}, {"assigned_to": "olga"}),
        ("label", {"verdict": "negative"}, {"status": "acknowledged"}),
        ("resolve", {"verdict": "positive", "note": "Known scheme."}, {"status": "confirmed"}),
    ]

    for number, (act, body, expected) in enumerate(acts, start=1):
        response = api.post(f"/api/v1/alerts/{alert.id}/{act}", body, format="json")
        assert response.status_code == 200
        assert expected.items() <= response.json().items()
        assert FeedEvent.objects.get(number=number).body == response.json()

    assert set(Label.objects.values_list("source", "by__username")) == {("rest", "olga")}


def test_every_path_has_two_spellings(api: APIClient) -> None:
    alert = make_alert()

    assert api.get("/api/v1/alerts/").json() == api.get("/api/v1/alerts").json()
    assert api.post(f"/api/v1/alerts/{alert.id}/acknowledge/").status_code == 200
