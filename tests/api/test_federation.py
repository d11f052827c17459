"""A coordinator over HTTP: what the two calls take, and everything that they do not."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from rest_framework.test import APIClient
from safetensors.numpy import load

from lepton_apps.accounts import services as accounts
from lepton_apps.accounts.errors import TokenRefusedError
from lepton_apps.accounts.models import ApiToken, Purpose, Role
from lepton_apps.common import clock
from lepton_apps.streaming.federation import services
from lepton_apps.streaming.federation.models import FederationTry
from lepton_apps.streaming.federation.training import LOCK
from models_core.federation import Round
from models_core.federation_wire import join_body, update_body
from tests.api.conftest import ClientOf
from tests.champions import PAYMENTS
from tests.realtime.conftest import database_url
from tests.streaming.federations import (
    RECIPE,
    WHY,
    allow,
    coordinator,
    keys_with,
    round_of,
    save_labelled,
    weights_of,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("champion")]

JOIN = f"/api/v1/federation/{PAYMENTS.name}/join"
UPDATE = f"/api/v1/federation/{PAYMENTS.name}/update"
WIRE = "application/msgpack"
Answer = tuple[int, str]


@pytest.fixture
def cora() -> APIClient:
    """A coordinator with a token for federation in fintech."""
    _, text = coordinator()
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return client


@pytest.fixture
def site() -> None:
    """Rows, and the word of the admin."""
    save_labelled(120)
    allow()


def post(client: APIClient, url: str, body: bytes) -> Answer:
    answer = client.post(url, body, content_type=WIRE)
    return answer.status_code, answer.json()["code"]


def join(client: APIClient, round_: Round) -> bytes:
    answer = client.post(JOIN, join_body(round_), content_type=WIRE)
    assert answer.status_code == 200, answer.content
    return bytes(answer.content)


@pytest.mark.usefixtures("site")
def test_a_round_is_joined_and_answered_by_a_process_of_its_own(
    cora: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _, _ = os.environ["DATABASE_URL"].rpartition("/")
    monkeypatch.setenv("DATABASE_URL", f"{server}/{connection.settings_dict['NAME']}")
    round_ = round_of()
    keys = keys_with(join(cora, round_), round_)
    body = update_body(round_, keys, weights_of())
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        assert post(cora, UPDATE, body) == (409, "federation_busy")  # as the process says it
        other.execute("SELECT pg_advisory_unlock_all()")

    answer = cora.post(UPDATE, body, content_type=WIRE)

    assert answer.status_code == 200, answer.content
    assert load(answer.content)["update"].shape == (len(load_floats()) + 1,)
    assert post(cora, UPDATE, body) == (409, "federation_try_over")
    assert post(cora, JOIN, join_body(round_)) == (409, "federation_try_over")  # replayed


def load_floats() -> list[float]:
    """Every number of the shared model that an update moves."""
    arrays = [a for a in load(weights_of()).values() if a.dtype.kind == "f"]
    return [float(x) for array in arrays for x in array.flatten()]


@pytest.mark.usefixtures("site")
def test_only_a_token_for_federation_in_the_vertical_gets_in(
    cora: APIClient, client_of: ClientOf, person: Any
) -> None:
    body = join_body(round_of())
    assert post(APIClient(), JOIN, body) == (401, "not_authenticated")
    ada = person("ada", fintech=Role.ADMIN, weather=Role.ADMIN)
    assert post(client_of(ada), JOIN, body) == (403, "permission_refused")
    elsewhere = APIClient()
    _, text = accounts.create_token(
        None, ada, "other", verticals=["weather"], purpose=Purpose.FEDERATION
    )
    elsewhere.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    assert post(elsewhere, JOIN, body) == (404, "not_found")
    assert post(cora, "/api/v1/federation/fintech.nope/join", body) == (404, "not_found")
    ApiToken.objects.filter(user__username="cora").update(expires_at=clock.now())
    assert post(cora, JOIN, body) == (401, "not_authenticated")


@pytest.mark.parametrize("path", ["me", "alerts", "schema", f"federation/{PAYMENTS.name}"])
def test_a_token_for_federation_opens_nothing_else(cora: APIClient, path: str) -> None:
    answer = cora.get(f"/api/v1/{path}")
    assert answer.status_code == 403
    assert answer.json()["code"] == "permission_refused"


@pytest.mark.usefixtures("site")
def test_a_token_for_federation_is_worth_nothing_when_its_account_is_no_admin(
    cora: APIClient,
) -> None:
    account = ApiToken.objects.get(user__username="cora").user
    accounts.grant(None, account, "fintech", Role.OPERATOR)
    assert post(cora, JOIN, join_body(round_of())) == (404, "not_found")


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        ({}, "is for one vertical"),
        ({"verticals": ["fintech", "weather"]}, "is for one vertical"),
        ({"verticals": ["fintech"], "role": Role.ADMIN}, "has no role"),
        ({"verticals": ["weather"]}, "is no admin of 'weather'"),
    ],
)
def test_a_token_for_federation_is_of_one_vertical_that_the_account_administers(
    person: Any, scope: dict[str, Any], said: str
) -> None:
    ada = person("ada", fintech=Role.ADMIN, weather=Role.OPERATOR)
    with pytest.raises(TokenRefusedError, match=said):
        accounts.create_token(None, ada, "x", purpose=Purpose.FEDERATION, **scope)


def test_without_the_admins_word_nobody_trains(
    cora: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_labelled(120)
    body = join_body(round_of())
    closed = (403, "federation_not_allowed")
    assert post(cora, JOIN, body) == closed
    allow()
    services.stop(PAYMENTS, None, WHY)
    assert post(cora, JOIN, body) == closed
    allow(until=clock.now() + timedelta(hours=1))
    assert cora.post(JOIN, body, content_type=WIRE).status_code == 200
    later = clock.now() + timedelta(hours=2)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert post(cora, JOIN, join_body(round_of())) == closed
    assert post(cora, UPDATE, update_body(round_of(), {}, weights_of())) == closed


BEYOND: list[tuple[dict[str, Any], int, str]] = [
    ({"schema": "0" * 16}, 409, "federation_schema_differs"),
    ({"schema": ""}, 409, "federation_schema_differs"),
    ({"recipe": {**RECIPE.to_dict(), "steps": 501}}, 400, "federation_refused"),
    ({"recipe": {**RECIPE.to_dict(), "batch_size": 5000}}, 400, "federation_refused"),
    ({"recipe": {"steps": 5, "exec": "x"}}, 400, "federation_refused"),
    ({"spec": {"architecture": "mlp", "num_features": 3}}, 400, "federation_refused"),
    ({"spec": {}}, 400, "federation_refused"),
    ({"number": 3}, 400, "federation_refused"),
    ({"run": "../../etc"}, 400, "federation_refused"),
    ({"privacy": {"epsilon": -1.0}}, 400, "federation_refused"),
]


@pytest.mark.usefixtures("site")
def test_a_round_beyond_the_limits_is_refused_when_it_is_joined(cora: APIClient) -> None:
    found = [(changes, *post(cora, JOIN, join_body(round_of(**changes)))) for changes, *_ in BEYOND]
    assert found == BEYOND
    assert not FederationTry.objects.exists()


@pytest.mark.usefixtures("site")
def test_other_bodies_are_refused_with_their_kind(cora: APIClient) -> None:
    for body in (b"", b"\x80\x04pickle", b"{}", b"\xc1", b"\x91" * 5_000):
        assert post(cora, JOIN, body) == (400, "federation_refused"), body[:9]
        assert post(cora, UPDATE, body) == (400, "federation_refused"), body[:9]
    assert post(cora, UPDATE, bytes(2_097_153)) == (413, "body_too_large")
    assert post(cora, JOIN, bytes(2**20 + 1)) == (400, "federation_refused")
    answer = cora.post(JOIN, {}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (415, "media_type_refused")


@pytest.mark.usefixtures("site")
def test_an_update_is_refused_without_a_process_where_that_can_be_known(
    cora: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("A process was started.")

    monkeypatch.setattr(subprocess, "run", never)
    round_ = round_of()
    keys = keys_with(join(cora, round_), round_)
    refused, over = (400, "federation_refused"), (409, "federation_try_over")
    assert post(cora, UPDATE, update_body(round_, keys, b"\x80\x04pickle")) == refused
    strange = {"north": bytes(32), "south": keys["south"]}
    assert post(cora, UPDATE, update_body(round_, strange, weights_of())) == refused
    unnamed = {"\n": keys["north"], "south": keys["south"]}
    assert post(cora, UPDATE, update_body(round_, unnamed, weights_of())) == refused
    other = replace(round_, attempt=2)
    assert post(cora, UPDATE, update_body(other, keys, weights_of())) == over
    allow(max_parameters=100)
    assert post(cora, UPDATE, update_body(round_, keys, weights_of())) == refused


@pytest.mark.usefixtures("site")
def test_viewers_read_what_is_allowed_and_what_was_done(api: APIClient, cora: APIClient) -> None:
    told = api.get(f"/api/v1/federation/{PAYMENTS.name}").json()
    assert (told["open"], told["budget"], told["consent"]["why"]) == (True, None, WHY)
    services.stop(PAYMENTS, None, "Enough.")
    told = api.get(f"/api/v1/federation/{PAYMENTS.name}").json()
    assert (told["open"], told["closed_because"]) == (False, "it was stopped")
    assert told["consent"]["limits"] is None
