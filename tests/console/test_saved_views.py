"""Filters under a name: one's own, shared ones, and what cannot be kept."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from lepton_apps.console.models import SavedView
from lepton_apps.console.services import MAX_VIEWS, save_view
from tests.console.test_pages import queries, text

pytestmark = pytest.mark.django_db(transaction=True)


def views(client: Client, path: str = "/") -> list[tuple[str, bool]]:
    """Address of each view that the list offers, and whether it is the one shown."""
    shown = re.search(r'<ul id="views".*?</ul>', text(client, path), re.DOTALL)
    assert shown is not None
    found = re.findall(r'<li><a href="([^"]*)"( aria-current="true")?', shown[0])
    return [(href.replace("&amp;", "&"), bool(current)) for href, current in found]


def save(client: Client, name: str, query: str, vertical: str = "") -> str:
    """Saves a view; returns what the page says then."""
    data = {"name": name, "query": query, "vertical": vertical}
    return client.post("/views/", data, follow=True).content.decode()


def test_a_view_leads_back_to_its_filters_however_they_were_written(console: Client) -> None:
    save(console, "Loud ones", "severity=high&q=&status=unresolved&before=7&unknown=1")
    assert views(console) == [("/?severity=high", False)]
    assert views(console, "/?status=unresolved&severity=high") == [("/?severity=high", True)]


def test_the_same_name_is_overwritten(console: Client) -> None:
    save(console, "Mine", "mine=1")
    save(console, " Mine ", "mine=1&status=all")
    assert [view.query for view in SavedView.objects.all()] == ["mine=1&status=all"]


@pytest.mark.parametrize(
    ("name", "query", "said"),
    [
        ("", "", "1 to 60 characters"),
        ("x" * 61, "", "1 to 60 characters"),
        ("Wrong", "severity=worst", "is not one of"),
        ("Foreign", "vertical=weather", ""),
    ],
)
def test_what_the_list_would_not_take_is_not_kept(
    name: str, query: str, said: str, console: Client
) -> None:
    assert said in save(console, name, query)
    assert not SavedView.objects.exists()


def test_a_view_too_many_is_refused_and_an_old_one_still_changes(
    console: Client, operator: User
) -> None:
    for number in range(MAX_VIEWS):
        save_view(operator, f"View {number}", "")
    assert "delete one first" in save(console, "One more", "mine=1")
    assert "is saved" in save(console, "View 3", "mine=1")


def test_a_private_view_is_nobody_elses(
    console: Client, viewer: User, signed_in: Callable[[User], Client]
) -> None:
    save(console, "Mine", "mine=1")
    view = SavedView.objects.get()
    other = signed_in(viewer)
    assert views(other) == []
    assert other.post(f"/views/{view.pk}/delete/").status_code == 404
    assert console.post(f"/views/{view.pk}/delete/").status_code == 302
    assert not SavedView.objects.exists()


def test_a_shared_view_is_seen_in_its_vertical_and_deleted_by_owner_or_admin(
    console: Client,
    viewer: User,
    other_operator: User,
    admin: User,
    signed_in: Callable[[User], Client],
) -> None:
    save(console, "Night shift", "severity=critical", "fintech")
    path = f"/views/{SavedView.objects.get().pk}/delete/"
    assert views(signed_in(viewer)) == [("/?severity=critical", False)]
    assert views(signed_in(other_operator)) == []
    assert signed_in(viewer).post(path).status_code == 403
    assert signed_in(other_operator).post(path).status_code == 404
    assert signed_in(admin).post(path).status_code == 302


def test_sharing_takes_the_operator_role(
    viewer: User, other_operator: User, signed_in: Callable[[User], Client]
) -> None:
    data = {"name": "Mine", "query": "", "vertical": "fintech"}
    assert signed_in(viewer).post("/views/", data).status_code == 403
    assert signed_in(other_operator).post("/views/", data).status_code == 404
    assert not SavedView.objects.exists()


def test_views_cost_the_list_the_same_query_however_many(console: Client, operator: User) -> None:
    before = queries(console, "/")
    for number in range(20):
        save_view(operator, f"View {number}", "mine=1", "fintech")
    assert queries(console, "/") == before
