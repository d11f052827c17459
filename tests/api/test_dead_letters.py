from __future__ import annotations

from base64 import b64decode

import pytest
from rest_framework.test import APIClient

from lepton_apps.streaming.models import DeadLetter
from tests.api.test_permissions import make_dead_letter

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/api/v1/dead-letters"


def test_dead_letters_are_paged_newest_first(api: APIClient) -> None:
    there = [make_dead_letter() for _ in range(5)]

    first = api.get(f"{URL}?limit=3").json()
    make_dead_letter()
    rest = api.get(f"{URL}?limit=3&cursor={first['next']}").json()

    assert [row["id"] for row in first["results"] + rest["results"]] == there[::-1]
    assert rest["next"] is None


def test_bytes_that_are_no_text_come_in_base64(api: APIClient) -> None:
    body = api.get(f"{URL}/{make_dead_letter()}").json()

    assert (body["payload_encoding"], b64decode(body["payload"])) == ("base64", b"\xff{")
    assert (body["reason"], body["path"]) == ("invalid_record", "$")


def test_a_dead_letter_is_settled_once(api: APIClient) -> None:
    letter = make_dead_letter()

    first = api.post(f"{URL}/{letter}/discard")
    again = api.post(f"{URL}/{letter}/discard")
    redriven = api.post(f"{URL}/{letter}/redrive", {}, format="json")

    assert (first.status_code, first.json()["status"]) == (200, "discarded")
    assert (again.status_code, again.json()["code"]) == (409, "dead_letter_already_settled")
    assert redriven.status_code == 409
    assert api.get(URL).json()["results"] == []
    assert [row["id"] for row in api.get(f"{URL}?status=discarded").json()["results"]] == [letter]


def test_what_cannot_be_redriven_is_refused_before_it_is_sent(api: APIClient) -> None:
    letter = make_dead_letter()

    for body in ({"payload_base64": "%"}, {"payload": "{}", "payload_base64": "e30="}):
        response = api.post(f"{URL}/{letter}/redrive", body, format="json")
        assert (response.status_code, response.json()["code"]) == (400, "invalid_request")

    assert DeadLetter.objects.get().status == "new"
