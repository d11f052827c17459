"""Everybody against every page, endpoint and socket; the table is in ``matrix.py``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http.response import HttpResponseBase
from django.test import Client
from django.urls import URLResolver, get_resolver
from rest_framework.test import APIClient

from lepton_apps.accounts import services
from lepton_apps.accounts.models import Purpose, Role
from lepton_apps.audit.models import AuditEntry
from lepton_apps.common import clock
from lepton_apps.console.models import SavedView
from lepton_apps.model_registry.services import register_version
from lepton_apps.streaming.models import StreamHalt
from tests.champions import PAYMENTS, payments_model
from tests.console.data import open_alert, save_dead_letter, save_decision, save_replay
from tests.permissions.matrix import (
    ANY,
    API,
    ROWS,
    SOCKET,
    STREAM,
    Asker,
    Outcome,
    Row,
    Rule,
    expected,
)
from tests.realtime.conftest import Web, session_of, web

__all__ = ["web"]  # a fixture

pytestmark = pytest.mark.django_db(transaction=True)

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ADD = 'Add a line to ROWS of tests/permissions/matrix.py: Row("GET", "{}", Rule.VIEWER), say.'
PLACE = re.compile(r"<(?:\w+:)?(\w+)>")
OUTCOME_OF_STATUS = {401: Outcome.SIGN_IN, 403: Outcome.REFUSED, 404: Outcome.MISSING}
OUTCOME_OF_CLOSE = {4401: Outcome.SIGN_IN, 4403: Outcome.REFUSED, 4404: Outcome.MISSING}

STRANGER = Asker("stranger", "none", counts=False)
BY_SESSION = (
    STRANGER,
    Asker("without a role", "session"),
    Asker("viewer", "session", role=Role.VIEWER),
    Asker("operator", "session", role=Role.OPERATOR),
    Asker("admin", "session", role=Role.ADMIN),
    Asker("operator of the other", "session"),
    Asker("admin of the other", "session", is_other_admin=True),
    Asker("superuser", "session", is_superuser=True),
    Asker("disabled admin", "session", counts=False),
    Asker("one-time password", "session", counts=False),
)
# The names of accounts are those above; what stands after ":" is the token's own limit.
BY_TOKEN = (
    Asker("without a role", "token"),
    Asker("viewer", "token", role=Role.VIEWER),
    Asker("operator", "token", role=Role.OPERATOR),
    Asker("admin", "token", role=Role.ADMIN),
    Asker("operator of the other", "token"),
    Asker("superuser", "token", is_superuser=True),
    Asker("disabled admin", "token", counts=False),
    Asker("admin: expired", "token", counts=False),
    Asker("admin: revoked", "token", counts=False),
    Asker("admin: viewer", "token", role=Role.VIEWER),
    Asker("admin of both: operator of fintech", "token", role=Role.OPERATOR, limited_to="fintech"),
    Asker("admin of both: weather", "token", is_other_admin=True),
    Asker("superuser: viewer", "token", role=Role.VIEWER),
    Asker("superuser: weather", "token", is_other_admin=True),
    Asker("viewer: admin", "token", role=Role.VIEWER),
    Asker("admin: federation", "token", is_coordinator=True),
    Asker("admin of both: federation of the other", "token", is_coordinator_elsewhere=True),
)
PEOPLE: dict[str, dict[str, Any]] = {
    "without a role": {},
    "viewer": {"fintech": Role.VIEWER, "ops": Role.VIEWER},
    "operator": {"fintech": Role.OPERATOR, "ops": Role.OPERATOR},
    "admin": {"fintech": Role.ADMIN, "ops": Role.ADMIN},
    "operator of the other": {"weather": Role.OPERATOR},
    "admin of the other": {"weather": Role.ADMIN},
    "admin of both": {"fintech": Role.ADMIN, "weather": Role.ADMIN},
    "superuser": {"superuser": True},
    "disabled admin": {"fintech": Role.ADMIN},
    "one-time password": {"fintech": Role.ADMIN},
}
SCOPES: dict[str, dict[str, Any]] = {
    "viewer": {"role": Role.VIEWER},
    "admin": {"role": Role.ADMIN},
    "operator of fintech": {"role": Role.OPERATOR, "verticals": ["fintech"]},
    "weather": {"verticals": ["weather"]},
    "federation": {"verticals": ["fintech"], "purpose": Purpose.FEDERATION},
    "federation of the other": {"verticals": ["weather"], "purpose": Purpose.FEDERATION},
}


# What stands in the places of routes, made anew for each request: give it a number of its own.
def decided(number: int) -> object:
    """A decision that is kept, with the alert that it opened."""
    alert = open_alert(number)
    save_decision(alert, number)
    return alert.decision_id


MADE: dict[str, Callable[[int], object]] = {
    "alert_id": lambda number: open_alert(number).pk,
    "letter_id": lambda number: save_dead_letter(b"{}"),
    "dead_letter_id": lambda number: save_dead_letter(b"{}"),
    "decision_id": lambda number: decided(number),
    "run_id": lambda number: save_replay().pk,
    "view_id": lambda number: 0,  # of somebody who has none
    "model": lambda number: STREAM,
    "number": lambda number: 1,
    "token_id": lambda number: 0,  # of somebody who has none
    "name": lambda number: STREAM,
    "stream": lambda number: STREAM,
    "vertical": lambda number: "fintech",
}


class Stage:
    """People with their credentials, and things of fintech for them to reach for."""

    def __init__(self, person: Callable[..., User]) -> None:
        self.people = {name: person(name, **rights) for name, rights in PEOPLE.items()}
        self.sessions = {name: self._session(name) for name in PEOPLE}
        self.tokens = {asker.name: self._token(asker.name) for asker in BY_TOKEN}
        User.objects.filter(username="disabled admin").update(is_active=False)
        register_version(PAYMENTS, payments_model(), None)
        self._number = 0
        self.body: Any = None  # of the row whose path was asked for last

    def _session(self, name: str) -> str:
        if name != "one-time password":
            return session_of(self.people[name])
        client = Client()
        password = services.replace_password(None, self.people[name])
        client.post("/sign-in/", {"username": name, "password": password})
        return client.cookies["sessionid"].value

    def _token(self, name: str) -> str:
        account, _, limit = name.partition(": ")
        scope = SCOPES.get(limit, {})
        token, text = services.create_token(None, self.people[account], "matrix", **scope)
        if limit == "expired":
            token.expires_at = clock.now() - timedelta(seconds=1)
            token.save()
        if limit == "revoked":
            services.revoke_token(None, token.pk)
        return text

    def sign_in_again(self, asker: Asker) -> None:
        self.sessions[asker.name] = self._session(asker.name)

    def client(self, asker: Asker) -> Client:
        client = APIClient()
        if asker.credential == "token":
            client.credentials(HTTP_AUTHORIZATION=f"Bearer {self.tokens[asker.name]}")
        elif asker.credential == "session":
            client.cookies["sessionid"] = self.sessions[asker.name]
        return client

    def path(self, row: Row, asker: Asker) -> str:
        """The address of a route, with something that is there in each of its places."""
        self._number += 1
        route, number = row.route, self._number
        made: dict[str, Callable[[], object]] = {
            place: partial(make, number) for place, make in MADE.items()
        }
        owner = self.people.get(asker.name.partition(":")[0])
        if "<str:username>" in route:
            owner = User.objects.create(username=f"target-{number}")
            services.grant(None, owner, "fintech", Role.VIEWER)
            made["username"] = owner.get_username
        if owner is not None:
            made["token_id"] = lambda: services.create_token(None, owner, "to revoke")[0].pk
            made["view_id"] = lambda: (
                SavedView.objects.create(owner=owner, name=f"v{number}", made_at=clock.now()).pk
            )

        def fill(match: re.Match[str]) -> str:
            place = match[1]
            if place in row.fill:
                return row.fill[place]
            assert place in made, f"Say in MADE what stands for {match[0]} of {route}."
            return str(made[place]())

        if route.endswith("/resume"):
            StreamHalt.objects.filter(resumed_at=None).delete()
            StreamHalt.objects.create(stream=STREAM, reason="too many", at=clock.now())
        if isinstance(row.body, dict):  # a thing that a form names, such as "<int:alert_id>"
            self.body = {
                name: PLACE.sub(fill, value) if isinstance(value, str) else value
                for name, value in row.body.items()
            }
        else:
            self.body = row.body
        address = PLACE.sub(fill, route.replace("^(?P<path>.*)$", "nothing-here"))
        is_page = not route.startswith(API) and route not in ("", "healthz", "readyz")
        return f"/{address}{'/' if is_page else ''}"


@pytest.fixture
def stage(person: Callable[..., User]) -> Stage:
    return Stage(person)


def routes(resolver: URLResolver, prefix: str = "") -> Iterator[str]:
    for pattern in resolver.url_patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern, route)
        else:
            yield route.rstrip("/")


def outcome_of(response: HttpResponseBase) -> Outcome | int:
    """What an answer comes to; the status where it comes to nothing that may be."""
    if response.status_code == 302 and response["Location"].startswith("/sign-in/?next="):
        return Outcome.SIGN_IN
    if response.status_code in OUTCOME_OF_STATUS:
        return OUTCOME_OF_STATUS[response.status_code]
    is_broken = response.status_code == 405 or response.status_code in (500, 501, 502)
    return response.status_code if is_broken else Outcome.IN


def ask(stage: Stage, row: Row, asker: Asker) -> Outcome | int:
    path = stage.path(row, asker)
    method = "get" if row.method == ANY else row.method.lower()
    written = AuditEntry.objects.count()
    # JSON for endpoints, a form for pages.
    kind = {"format": "json"} if row.route.startswith(API) else {}
    response = getattr(stage.client(asker), method)(path, stage.body, **kind)
    found = outcome_of(response)
    if row.rule is Rule.OPEN and found is Outcome.SIGN_IN and "Location" not in response:
        found = Outcome.IN  # a wrong password is said to be one, by the page itself
    if row.route == "sign-out" and asker.credential == "session":
        stage.sign_in_again(asker)
    if found is not Outcome.IN:
        assert AuditEntry.objects.count() == written, f"{asker.name} was refused and did it: {path}"
    return found


def wrong(stage: Stage, rows: list[Row], askers: tuple[Asker, ...]) -> list[str]:
    found = []
    for asker in askers:
        for row in rows:
            outcome, should = ask(stage, row, asker), expected(row.rule, asker, row.vertical)
            if outcome is not should:
                seen = outcome.value if isinstance(outcome, Outcome) else f"answered {outcome}"
                found.append(
                    f"{row.method} {row.route or '/'}: {asker.name} ({asker.credential}) was "
                    f"{seen}, should be {should.value}"
                )
    return found


PAGES = [row for row in ROWS if row.method != SOCKET and not row.route.startswith(API)]
ENDPOINTS = [row for row in ROWS if row.route.startswith(API)]


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    listed = {row.route for row in ROWS if row.method != SOCKET}
    there = set(routes(get_resolver()))
    assert not [ADD.format(route) for route in sorted(there - listed)]
    assert not listed - there, "Rows of routes that are gone."


def test_every_socket_has_a_row_and_every_row_a_socket() -> None:
    from lepton_apps.asgi import SOCKETS

    there = {str(each.pattern).rstrip("/") for each in SOCKETS} - {""}  # the last refuses the rest
    listed = {row.route for row in ROWS if row.method == SOCKET}
    assert not [f'Row(SOCKET, "{route}", ...) is missing' for route in there - listed]
    assert not listed - there, "Rows of sockets that are gone."


def test_pages_let_in_whom_the_matrix_says_and_nobody_else(stage: Stage) -> None:
    sign_in_by_token = Asker("superuser", "token", counts=False)  # tokens are for programs
    found = wrong(stage, PAGES, (*BY_SESSION, sign_in_by_token))
    assert not found, "\n".join(found)


def test_endpoints_let_in_whom_the_matrix_says_and_nobody_else(stage: Stage) -> None:
    by_session = [each for each in BY_SESSION if each.role or each.is_superuser or not each.counts]
    assert wrong(stage, ENDPOINTS, (*by_session, *BY_TOKEN)) == []


def test_a_method_without_a_row_is_not_allowed_to_anybody(stage: Stage) -> None:
    root = next(asker for asker in BY_SESSION if asker.is_superuser)
    known = {(row.route, row.method) for row in ROWS}
    for route in sorted({row.route for row in ROWS if (row.route, ANY) not in known}):
        if (route, SOCKET) in known:
            continue
        rows = [row for row in ROWS if row.route == route]
        for method in METHODS:
            if (route, method) not in known:
                answer = getattr(stage.client(root), method.lower())(stage.path(rows[0], root))
                assert answer.status_code == 405, f"{method}: {ADD.format(route)}"


def test_sockets_let_in_whom_the_matrix_says_and_nobody_else(stage: Stage, web: Web) -> None:
    found = []
    for row in (each for each in ROWS if each.method == SOCKET):
        for asker in (*BY_SESSION, *BY_TOKEN):
            session = stage.sessions[asker.name] if asker.credential == "session" else None
            token = stage.tokens[asker.name] if asker.credential == "token" else None
            socket = web.open(session, token=token, path=f"/{row.route}/?vertical=fintech")
            first, code = socket.first_frame_or_close()
            outcome = Outcome.IN if first else OUTCOME_OF_CLOSE.get(code, code)
            socket.close()
            should = expected(row.rule, asker)
            if asker.is_coordinator or asker.is_coordinator_elsewhere:
                should = Outcome.MISSING  # a socket tells nobody more than that
            if outcome is not should:
                found.append(f"{row.route}: {asker.name} ({asker.credential}): {outcome}")
    assert found == []
