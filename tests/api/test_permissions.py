"""Who gets which answer where: everybody against every endpoint."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient

from lepton_apps.accounts.models import ApiToken
from lepton_apps.accounts.services import create_token, revoke_token
from lepton_apps.alerts.models import Alert, Label
from lepton_apps.audit.models import AuditEntry
from lepton_apps.common import clock
from lepton_apps.model_registry.services import register_version
from lepton_apps.streaming.models import DeadLetter, ReplayRun, StreamHalt
from tests.alerts.making import STREAM, make_alert
from tests.api.conftest import ClientOf
from tests.champions import PAYMENTS, payments_model

pytestmark = pytest.mark.django_db(transaction=True)

LABEL = {
    "stream": STREAM,
    "record_id": "t-1",
    "verdict": "positive",
    "labelled_at": "2026-03-01T10:00:00Z",
}
EXPECTED = {"expected": 1, "why": "Shall be."}
PROMOTION = {**EXPECTED, "expected": None}
# Method, path, body, and what each person is answered. A 400 of the decisions endpoints means
# that the asker was let in: the record in the body is refused afterwards.
#                                                              viewer operator other admin
MATRIX = [
    ("get", "me", None, 200, 200, 200, 200),
    ("get", "schema", None, 200, 200, 200, 200),
    ("get", "streams", None, 200, 200, 200, 200),
    ("get", f"streams/{STREAM}", None, 200, 200, 404, 200),
    ("get", "streams/fintech.labels", None, 200, 200, 404, 200),
    ("get", "streams/fintech.nope", None, 404, 404, 404, 404),
    ("post", f"streams/{STREAM}/score", {"id": 1}, 400, 400, 404, 400),
    ("post", f"streams/{STREAM}/decisions", {"id": 1}, 403, 400, 404, 400),
    ("post", "streams/fintech.labels/score", {"id": 1}, 404, 404, 404, 404),
    ("post", f"streams/{STREAM}/resume", None, 403, 403, 404, 200),
    # Refused for what it asks, after the asker was let in.
    ("post", f"streams/{STREAM}/replays", {"since": "now"}, 403, 400, 404, 400),
    ("post", "streams/fintech.labels/replays", {}, 404, 404, 404, 404),
    ("get", "replays", None, 200, 200, 200, 200),
    ("get", "replays/{replay}", None, 200, 200, 404, 200),
    ("get", "replays/999999", None, 404, 404, 404, 404),
    ("post", "replays/{replay}/cancel", None, 403, 200, 404, 200),
    ("get", f"streams/{STREAM}/budget", None, 200, 200, 404, 200),
    ("put", f"streams/{STREAM}/budget", {"per_day": 40}, 403, 403, 404, 200),
    ("get", "streams/fintech.labels/budget", None, 404, 404, 404, 404),
    ("get", f"federation/{STREAM}", None, 200, 200, 404, 200),
    ("get", "federation/fintech.labels", None, 404, 404, 404, 404),
    ("post", f"federation/{STREAM}/join", None, 403, 403, 404, 403),
    ("post", f"federation/{STREAM}/update", None, 403, 403, 404, 403),
    ("get", "alerts", None, 200, 200, 200, 200),
    ("get", "alerts/{alert}", None, 200, 200, 404, 200),
    ("post", "alerts/{alert}/acknowledge", None, 403, 200, 404, 200),
    ("post", "alerts/{alert}/assign", {"assigned_to": None}, 403, 200, 404, 200),
    ("post", "alerts/{alert}/assign", {"assigned_to": "nobody-here"}, 403, 400, 404, 400),
    ("post", "alerts/{alert}/label", {"verdict": "positive"}, 403, 200, 404, 200),
    ("post", "alerts/{alert}/resolve", {"verdict": "positive"}, 403, 200, 404, 200),
    ("get", "labels", None, 200, 200, 200, 200),
    ("post", "labels", LABEL, 403, 200, 404, 200),
    ("get", "dead-letters", None, 200, 200, 200, 200),
    ("get", "dead-letters/{letter}", None, 200, 200, 404, 200),
    ("post", "dead-letters/{letter}/discard", None, 403, 200, 404, 200),
    ("post", "dead-letters/999/redrive", None, 404, 404, 404, 404),
    ("get", "models", None, 200, 200, 200, 200),
    ("get", f"models/{STREAM}", None, 200, 200, 404, 200),
    ("get", "models/fintech.nope", None, 404, 404, 404, 404),
    ("get", f"models/{STREAM}/live", None, 200, 200, 404, 200),
    ("get", f"models/{STREAM}/versions/1", None, 200, 200, 404, 200),
    ("get", f"models/{STREAM}/versions/9", None, 404, 404, 404, 404),
    ("post", f"models/{STREAM}/versions/1/promote", None, 403, 403, 404, 400),
    ("post", f"models/{STREAM}/versions/1/promote", PROMOTION, 403, 403, 404, 200),
    ("post", f"models/{STREAM}/rollback", EXPECTED, 403, 403, 404, 409),
    ("post", f"models/{STREAM}/withdraw", EXPECTED, 403, 403, 404, 409),
    ("post", f"models/{STREAM}/versions/1/retire", {"why": "Old."}, 403, 403, 404, 409),
    ("get", "nothing-here", None, 404, 404, 404, 404),
]
PEOPLE = ("viewer", "operator", "other_operator", "admin")


def make_dead_letter() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            'INSERT INTO dead_letter (failed_at, stream, topic, topic_id, partition, "offset",'
            " key, payload, reason, detail, path) VALUES (%s, %s, 'fintech.transactions.v1',"
            " gen_random_uuid(), 0, 5, 'k', %s, 'invalid_record', 'Not JSON.', '$') RETURNING id",
            [clock.now(), STREAM, b"\xff{"],
        )
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize("place", range(4), ids=PEOPLE)
def test_everybody_gets_what_the_role_allows_and_no_more(
    place: int, request: pytest.FixtureRequest, client_of: ClientOf
) -> None:
    person: User = request.getfixturevalue(PEOPLE[place])
    client = client_of(person)
    register_version(PAYMENTS, payments_model(), None)
    halted = {"stream": STREAM, "reason": "too many dead letters", "at": clock.now()}

    for turn, (method, path, body, *statuses) in enumerate(MATRIX):
        alert, letter = make_alert(f"t-{turn}"), make_dead_letter()
        StreamHalt.objects.filter(resumed_at=None).delete()
        StreamHalt.objects.create(**halted)
        replay = ReplayRun.objects.create(
            stream=STREAM, question={}, asked_at=clock.now(), beat_at=clock.now()
        )
        written = AuditEntry.objects.count(), Label.objects.count()
        status = statuses[place]

        url = f"/api/v1/{path.format(alert=alert.id, letter=letter, replay=replay.pk)}"
        response = getattr(client, method)(url, body, format="json")

        assert response.status_code == status, (method, path, response.content)
        if status in (403, 404):
            assert (AuditEntry.objects.count(), Label.objects.count()) == written
            assert Alert.objects.get(id=alert.id).version == 1
            assert DeadLetter.objects.get(id=letter).status == "new"
            assert ReplayRun.objects.get(id=replay.pk).state == "waiting"
            assert StreamHalt.objects.filter(resumed_at=None).exists()
        if PEOPLE[place] == "other_operator" and status == 200 and path not in ("me", "schema"):
            assert "fintech" not in response.content.decode()


def paths(resolver: URLResolver, prefix: str = "") -> Iterator[str]:
    """Every address of the API with something in the place of its parameters."""
    for pattern in resolver.url_patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from paths(pattern, route)
        elif isinstance(pattern, URLPattern):
            yield "/" + re.sub(r"<int:\w+>", "1", re.sub(r"<str:\w+>", STREAM, route))


API_PATHS = sorted(
    {path.replace("^(?P<path>.*)$", "nope") for path in paths(get_resolver()) if "api/" in path}
)


def test_the_walk_finds_the_endpoints() -> None:
    assert len(API_PATHS) > 30
    assert "/api/v1/alerts/1/resolve" in API_PATHS


def test_no_address_answers_an_anonymous() -> None:
    for path in API_PATHS:
        for method in ("get", "post", "put", "patch", "delete", "options", "head"):
            response = getattr(Client(), method)(path)
            assert response.status_code == 401, (method, path)
            assert response["WWW-Authenticate"].startswith("Bearer")
            if method != "head":
                assert response.json()["code"] == "not_authenticated"


def test_no_address_shows_anything_to_a_stranger(client_of: ClientOf, stranger: User) -> None:
    alert = make_alert(entity_key="secret-customer")
    client = client_of(stranger)
    body = {"assigned_to": None, **LABEL}

    for path in API_PATHS:
        address = path.replace("/1", f"/{alert.id}")
        for method in ("get", "post"):
            data = body if method == "post" else None
            response = getattr(client, method)(address, data, format="json")
            # 403: accounts and audit are for whoever administers something.
            assert response.status_code in (200, 400, 403, 404, 405), (method, path)
            assert "secret" not in response.content.decode()
            own = ("schema", "/me", "/tokens")
            if response.status_code == 200 and not any(each in path for each in own):
                assert response.json()["results"] == []
    assert Alert.objects.get().version == 1
    assert not Label.objects.exists()


def test_a_revoked_token_and_an_expired_one_are_refused(
    client_of: ClientOf, operator: User
) -> None:
    client = client_of(operator)
    token = ApiToken.objects.get()
    assert client.get("/api/v1/me").status_code == 200

    revoke_token(None, token.id)

    response = client.get("/api/v1/me")
    assert (response.status_code, response.json()["code"]) == (401, "not_authenticated")


@pytest.mark.parametrize("header", ["Bearer lpt_nope", "Bearer \x7f", "bearer " + "x" * 5000])
def test_a_token_that_does_not_count_is_refused_even_beside_a_session(
    header: str, operator: User
) -> None:
    client = Client()
    client.force_login(operator)

    assert client.get("/api/v1/me").status_code == 200
    assert client.get("/api/v1/me", headers={"Authorization": header}).status_code == 401


def test_a_session_may_change_things_with_its_csrf_token_only(operator: User) -> None:
    alert = make_alert()
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(operator)
    client.cookies["csrftoken"] = "a" * 32
    url = f"/api/v1/alerts/{alert.id}/acknowledge"

    assert client.post(url).status_code == 403
    assert client.post(url, HTTP_X_CSRFTOKEN="a" * 32).status_code == 200


def test_an_inactive_account_loses_its_tokens(client_of: ClientOf, operator: User) -> None:
    client = client_of(operator)
    User.objects.filter(pk=operator.pk).update(is_active=False)

    assert client.get("/api/v1/me").status_code == 401


def test_tokens_are_never_stored_as_text(operator: User) -> None:
    _, text = create_token(None, operator, "test")

    assert not any(
        text in str(value) for row in ApiToken.objects.values() for value in row.values()
    )


def test_me_names_the_strongest_role_of_each_vertical(
    api: APIClient, client_of: ClientOf, admin: User, person: Callable[..., User]
) -> None:
    assert [(v["key"], v["role"]) for v in api.get("/api/v1/me").json()["verticals"]] == [
        ("fintech", "operator")
    ]
    everywhere = client_of(admin).get("/api/v1/me").json()["verticals"]
    assert {vertical["role"] for vertical in everywhere} == {"admin"}
    assert client_of(person("new")).get("/api/v1/me").json()["verticals"] == []
