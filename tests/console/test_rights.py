"""No page answers a stranger; onlookers see and do not touch; other verticals do not exist."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from lepton_apps.alerts.models import Alert
from lepton_apps.model_registry.models import Retirement, RoleChange
from lepton_apps.model_registry.services import register_version
from lepton_apps.streaming.models import DeadLetter, ReplayRun
from tests.champions import PAYMENTS, payments_model
from tests.console.data import STREAM, open_alert, save_dead_letter, save_decision, save_replay

pytestmark = pytest.mark.django_db(transaction=True)

PAGES = (
    "/",
    "/overview/",
    "/alerts/{alert}/",
    "/alerts/{alert}/state/",
    "/records/{decision}/",
    "/streams/",
    "/budgets/",
    f"/budgets/{STREAM}/preview/?kind=alerts&per_day=5",
    f"/streams/{STREAM}/dead-letters/",
    f"/streams/{STREAM}/dead-letters/{{letter}}/",
    "/replay/",
    "/replay/{replay}/",
    "/panels/fintech/",
    "/models/",
    f"/models/{STREAM}/1/",
    "/nav/",
)
CONFIRMATIONS = tuple(
    f"/models/{STREAM}/1/confirm/{verb}/?role=champion"
    for verb in ("promote", "rollback", "withdraw", "retire")
)
LISTS = {
    "/",
    "/overview/",
    "/streams/",
    "/replay/",
    "/models/",
    "/budgets/",
    "/nav/",
}  # everybody's, with what is theirs
OF_FINTECH = tuple(page for page in PAGES if page not in LISTS)
ACTS = (
    "/alerts/{alert}/acknowledge/",
    "/alerts/{alert}/assign/",
    "/alerts/{alert}/resolve/",
    "/alerts/{alert}/label/",
    "/alerts/together/",
    f"/streams/{STREAM}/dead-letters/{{letter}}/discard/",
    f"/streams/{STREAM}/dead-letters/{{letter}}/redrive/",
    f"/streams/{STREAM}/dead-letters/settle/",
    "/replay/{replay}/cancel/",
)

MODEL_ACTS = tuple(
    f"/models/{STREAM}/1/{verb}/" for verb in ("promote", "rollback", "withdraw", "retire")
)


@pytest.fixture
def path() -> Callable[[str], str]:
    """Fills in an alert, a dead letter and a replay of fintech that are there."""
    register_version(PAYMENTS, payments_model(), None)
    alert, letter = open_alert(), save_dead_letter(b"{}")
    save_decision(alert, 1)
    places = {"alert": alert.pk, "letter": letter, "decision": alert.decision_id}
    places["replay"] = save_replay().pk
    return lambda pattern: pattern.format(**places)


def test_every_page_sends_a_stranger_to_the_sign_in(path: Callable[[str], str]) -> None:
    for page in PAGES:
        answer = Client().get(path(page))
        assert answer.status_code == 302, page
        assert answer["Location"].startswith("/sign-in/?next="), page


@pytest.mark.parametrize("who", ["viewer", "operator", "admin"])
def test_every_page_answers_whoever_has_a_role(
    who: str,
    path: Callable[[str], str],
    request: pytest.FixtureRequest,
    signed_in: Callable[[User], Client],
) -> None:
    client = signed_in(request.getfixturevalue(who))
    assert {page: client.get(path(page)).status_code for page in PAGES} == dict.fromkeys(PAGES, 200)


@pytest.mark.parametrize("who", ["other_operator", "stranger"])
def test_what_belongs_to_another_vertical_is_not_there(
    who: str,
    path: Callable[[str], str],
    request: pytest.FixtureRequest,
    signed_in: Callable[[User], Client],
) -> None:
    client = signed_in(request.getfixturevalue(who))
    for page in OF_FINTECH:
        assert client.get(path(page)).status_code == 404, page


@pytest.mark.parametrize(("who", "status"), [("viewer", 403), ("other_operator", 404)])
def test_whoever_may_not_start_a_replay_starts_none(
    who: str, status: int, request: pytest.FixtureRequest, signed_in: Callable[[User], Client]
) -> None:
    client = signed_in(request.getfixturevalue(who))

    answer = client.post("/replay/start/", {"stream": STREAM, "since": "1d"})

    assert answer.status_code == status
    assert not ReplayRun.objects.exists()


def test_lists_of_another_vertical_show_nothing(
    path: Callable[[str], str], other_operator: User, signed_in: Callable[[User], Client]
) -> None:
    client = signed_in(other_operator)
    assert "customer-00001" not in client.get("/").content.decode()
    assert client.get("/?vertical=fintech").status_code == 404
    assert STREAM not in client.get("/streams/").content.decode()
    assert STREAM not in client.get("/replay/").content.decode()
    assert "/panels/fintech/" not in client.get("/nav/").content.decode()


@pytest.mark.parametrize(
    ("who", "status"), [("viewer", 403), ("other_operator", 404), ("stranger", 404)]
)
def test_whoever_may_not_act_is_refused_and_nothing_changes(
    who: str,
    status: int,
    path: Callable[[str], str],
    request: pytest.FixtureRequest,
    signed_in: Callable[[User], Client],
) -> None:
    client = signed_in(request.getfixturevalue(who))
    for act in (*ACTS, *MODEL_ACTS):
        data = {"positive": "1", "to": "me", "act": "acknowledge", "id": path("{alert}")} | {
            "why": "So."
        }
        answer = client.post(path(act), data)
        assert answer.status_code == status, act
    for page in CONFIRMATIONS:
        assert client.get(path(page)).status_code == status, page
    assert not RoleChange.objects.exists()
    assert not Retirement.objects.exists()
    assert Alert.objects.get().version == 1
    assert DeadLetter.objects.get().status == "new"
    assert ReplayRun.objects.get().cancel_asked_at is None


def test_a_viewer_sees_no_button_that_acts(
    path: Callable[[str], str],
    viewer: User,
    signed_in: Callable[[User], Client],
) -> None:
    client = signed_in(viewer)
    for page in PAGES:
        body = client.get(path(page)).content.decode()
        for act in (
            "acknowledge",
            "assign",
            "resolve",
            "label",
            "redrive",
            "discard",
            "cancel",
            "confirm",
            "start",
        ):
            assert f"/{act}/" not in body, page


def test_an_operator_reads_models_and_acts_on_none(
    path: Callable[[str], str], console: Client
) -> None:
    assert "/confirm/" not in console.get(path(f"/models/{STREAM}/1/")).content.decode()
    for act in MODEL_ACTS:
        answer = console.post(act, {"why": "So.", "role": "champion"})
        assert answer.status_code == 403, act
    for page in CONFIRMATIONS:
        assert console.get(page).status_code == 403, page
    assert not RoleChange.objects.exists()


def test_an_act_without_the_token_against_foreign_sites_is_refused(
    path: Callable[[str], str], operator: User
) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(operator)
    for act in (*ACTS, *MODEL_ACTS):
        assert client.post(path(act), {"positive": "1"}).status_code == 403, act
    assert Alert.objects.get().version == 1


def test_an_act_is_never_done_by_a_link(path: Callable[[str], str], console: Client) -> None:
    for act in (*ACTS, *MODEL_ACTS):
        assert console.get(path(act)).status_code == 405, act


def test_a_fragment_asked_for_after_the_sign_out_sends_the_whole_page_away() -> None:
    answer = Client().get("/streams/", headers={"HX-Request": "true"})
    assert (answer.status_code, answer["HX-Redirect"]) == (204, "/sign-in/")
