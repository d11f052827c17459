"""Accounts, tokens and the audit over REST."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from lepton_apps.accounts import services, tokens
from lepton_apps.accounts.models import Role
from lepton_apps.audit.services import record
from tests.api.conftest import ClientOf

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def browser(operator: User) -> APIClient:
    client = APIClient()
    client.force_login(operator)
    return client


@pytest.fixture
def boss(person: Callable[..., User], client_of: ClientOf) -> APIClient:
    return client_of(person("bea", fintech=Role.ADMIN))


def test_a_token_is_made_used_listed_and_revoked(browser: APIClient) -> None:
    asked = {"name": "scorer", "days": 30, "verticals": ["fintech"], "role": "viewer"}
    made = browser.post("/api/v1/tokens", asked, format="json")
    assert (made.status_code, made["Cache-Control"]) == (201, "no-store")
    program = APIClient()
    program.credentials(HTTP_AUTHORIZATION=f"Bearer {made.json()['token']}")

    me = program.get("/api/v1/me").json()
    assert me["verticals"][0]["role"] == "viewer"
    assert (me["token"]["name"], me["token"]["role"]) == ("scorer", "viewer")
    (listed,) = browser.get("/api/v1/tokens").json()["results"]
    assert "token" not in listed
    assert (listed["state"], listed["prefix"]) == ("valid", made.json()["token"][:10])

    assert browser.post(f"/api/v1/tokens/{listed['id']}/revoke").json()["state"] == "revoked"
    assert program.get("/api/v1/me").status_code == 401


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({}, "invalid_request"),
        ({"name": "t", "days": 0}, "invalid_request"),
        ({"name": "t", "role": "queen"}, "invalid_request"),
        ({"name": "t", "verticals": ["weather"]}, "token_refused"),
        ({"name": "t", "verticals": []}, "token_refused"),
    ],
)
def test_a_token_that_cannot_be_is_refused(
    browser: APIClient, asked: dict[str, object], code: str
) -> None:
    answer = browser.post("/api/v1/tokens", asked, format="json")
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_a_program_cannot_make_itself_a_successor(api: APIClient, operator: User) -> None:
    other, _ = services.create_token(None, operator, "other")
    assert api.post("/api/v1/tokens", {"name": "next"}, format="json").status_code == 403
    assert [row["name"] for row in api.get("/api/v1/tokens").json()["results"]] == ["test"]
    assert api.post(f"/api/v1/tokens/{other.pk}/revoke").status_code == 404


def test_accounts_are_those_that_the_asker_administers(
    boss: APIClient, operator: User, other_operator: User, client_of: ClientOf, admin: User
) -> None:
    found = {row["username"]: row for row in boss.get("/api/v1/accounts").json()["results"]}
    assert set(found) == {"bea", "olga"}
    assert found["olga"]["roles"] == {"fintech": "operator"}
    everybody = client_of(admin).get("/api/v1/accounts").json()["results"]
    assert [row["username"] for row in everybody] == ["ada", "bea", "olga", "walt"]


@pytest.fixture
def acts() -> None:
    for number in range(5):
        record(None, "alert.noted", f"alert:{number}", vertical="fintech", why="=1+1")
    record(None, "alert.noted", "alert:9", vertical="weather")


@pytest.mark.usefixtures("acts")
def test_the_audit_is_read_page_by_page(boss: APIClient) -> None:
    page = boss.get("/api/v1/audit?action=alert.&limit=3").json()
    assert [row["target"] for row in page["results"]] == ["alert:4", "alert:3", "alert:2"]
    page = boss.get(f"/api/v1/audit?action=alert.&limit=3&cursor={page['next']}").json()
    assert [row["target"] for row in page["results"]] == ["alert:1", "alert:0"]
    assert page["next"] is None


@pytest.mark.usefixtures("acts")
def test_the_audit_is_exported_line_by_line(boss: APIClient) -> None:
    address, lines = "/api/v1/audit/export?as=jsonl&limit=2&vertical=fintech", []
    while address:
        answer = boss.get(address, headers={"Accept": "application/x-ndjson"})
        assert answer["Content-Type"] == "application/x-ndjson"
        lines += [json.loads(line) for line in answer.content.decode().splitlines()]
        address = answer.headers.get("Link", "").partition(">")[0].lstrip("<")
    assert [line["target"] for line in lines] == [f"alert:{n}" for n in (4, 3, 2, 1, 0)]


@pytest.mark.usefixtures("acts")
def test_a_spreadsheet_runs_nothing_of_an_export(boss: APIClient) -> None:
    answer = boss.get("/api/v1/audit/export?as=csv")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert answer["Content-Type"].startswith("text/csv")
    assert {row["why"] for row in rows} == {"'=1+1"}
    assert len(rows) == 5


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("audit?since=noon", "filter_refused"),
        ("audit?who=ann", "filter_refused"),
        ("audit?cursor=nope", "cursor_refused"),
        ("audit/export?as=xls", "filter_refused"),
        ("audit/export?limit=99999", "filter_refused"),
    ],
)
def test_a_question_that_cannot_be_is_refused(boss: APIClient, query: str, code: str) -> None:
    answer = boss.get(f"/api/v1/{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_a_limited_token_reads_no_audit(person: Callable[..., User]) -> None:
    root = person("root", superuser=True)
    program = APIClient()
    _, text = services.create_token(None, root, "t", role=Role.OPERATOR)
    program.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    assert program.get("/api/v1/audit").status_code == 403
    token = tokens.verify(services.create_token(None, root, "t", verticals=["weather"])[1])
    assert token is not None
    record(None, "x.y", "z", vertical="fintech")
    _, text = services.create_token(None, root, "t", verticals=["weather"])
    program.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    assert program.get("/api/v1/audit").json()["results"] == []
