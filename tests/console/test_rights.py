"""No page answers a stranger; onlookers see and do not touch; other verticals do not exist."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from lepton_apps.alerts.models import Alert
from lepton_apps.streaming.models import DeadLetter
from tests.console.data import STREAM, open_alert, save_dead_letter

pytestmark = pytest.mark.django_db(transaction=True)

PAGES = (
    "/",
    "/alerts/{alert}/",
    "/alerts/{alert}/state/",
    "/streams/",
    "/budgets/",
    f"/budgets/{STREAM}/preview/?kind=alerts&per_day=5",
    f"/streams/{STREAM}/dead-letters/",
    f"/streams/{STREAM}/dead-letters/{{letter}}/",
    "/panels/fintech/",
    "/nav/",
)
OF_FINTECH = tuple(page for page in PAGES if page not in {"/", "/streams/", "/budgets/", "/nav/"})
ACTS = (
    "/alerts/{alert}/acknowledge/",
    "/alerts/{alert}/assign/",
    "/alerts/{alert}/resolve/",
    "/alerts/{alert}/label/",
    f"/streams/{STREAM}/dead-letters/{{letter}}/discard/",
    f"/streams/{STREAM}/dead-letters/{{letter}}/redrive/",
)


@pytest.fixture
def path() -> Callable[[str], str]:
    """Fills in an alert and a dead letter of fintech that are there."""
    alert, letter = open_alert().pk, save_dead_letter(b"{}")
    return lambda pattern: pattern.format(alert=alert, letter=letter)


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


def test_lists_of_another_vertical_show_nothing(
    path: Callable[[str], str], other_operator: User, signed_in: Callable[[User], Client]
) -> None:
    client = signed_in(other_operator)
    assert "customer-00001" not in client.get("/").content.decode()
    assert client.get("/?vertical=fintech").status_code == 404
    assert STREAM not in client.get("/streams/").content.decode()
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
    for act in ACTS:
        answer = client.post(path(act), {"positive": "1", "to": "me"})
        assert answer.status_code == status, act
    assert Alert.objects.get().version == 1
    assert DeadLetter.objects.get().status == "new"


def test_a_viewer_sees_no_button_that_acts(
    path: Callable[[str], str],
    viewer: User,
    signed_in: Callable[[User], Client],
) -> None:
    client = signed_in(viewer)
    for page in PAGES:
        body = client.get(path(page)).content.decode()
        for act in ("acknowledge", "assign", "resolve", "label", "redrive", "discard"):
            assert f"/{act}/" not in body, page


def test_an_act_without_the_token_against_foreign_sites_is_refused(
    path: Callable[[str], str], operator: User
) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(operator)
    for act in ACTS:
        assert client.post(path(act), {"positive": "1"}).status_code == 403, act
    assert Alert.objects.get().version == 1


def test_an_act_is_never_done_by_a_link(path: Callable[[str], str], console: Client) -> None:
    for act in ACTS:
        assert console.get(path(act)).status_code == 405, act


def test_a_fragment_asked_for_after_the_sign_out_sends_the_whole_page_away() -> None:
    answer = Client().get("/streams/", headers={"HX-Request": "true"})
    assert (answer.status_code, answer["HX-Redirect"]) == (204, "/sign-in/")
