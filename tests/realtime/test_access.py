from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from websockets.typing import Origin

from lepton_apps.accounts import services
from lepton_apps.accounts.credentials import Credential, SessionCredential, TokenCredential, holders
from lepton_apps.accounts.models import ApiToken, Role
from lepton_apps.common import clock
from tests.realtime.conftest import Web, publish, session_of

pytestmark = pytest.mark.django_db(transaction=True)


def test_nobody_follows_the_feed_without_signing_in(web: Web) -> None:
    assert web.open().close_code() == 4401
    assert web.open("madeupsessionkeymadeupsessionkey").close_code() == 4401
    assert web.open("no key; at all").close_code() == 4401
    assert web.open(token="lpt_" + "x" * 43).close_code() == 4401


def test_a_one_time_password_opens_no_feed(web: Web) -> None:
    _, password = services.create_operator(None, "nina", {"fintech": Role.OPERATOR})
    browser = Client()
    browser.post("/sign-in/", {"username": "nina", "password": password})
    assert web.open(browser.session.session_key).close_code() == 4401

    own = "a lamp over blue water"
    browser.post("/choose-password/", {"new_password1": own, "new_password2": own})
    assert web.open(browser.session.session_key).next()["type"] == "feed.hello"


def test_a_vertical_without_a_role_in_it_does_not_exist(
    web: Web, other_operator: User, stranger: User
) -> None:
    for user in (other_operator, stranger):
        assert web.open(session_of(user)).close_code() == 4404


@pytest.mark.parametrize("vertical", ["", "nope", "fintech\x00", "../fintech"])
def test_an_unknown_vertical_is_refused(web: Web, admin: User, vertical: str) -> None:
    assert web.open(session_of(admin), vertical=vertical).close_code() == 4404


def test_an_unknown_path_is_refused(web: Web, operator: User) -> None:
    assert web.open(session_of(operator), path="/ws/nope/").close_code() == 4404


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://[", "https://127.0.0.1.evil.example", None]
)
def test_a_page_of_another_site_cannot_use_a_visitors_cookie(
    web: Web, operator: User, origin: Origin | None
) -> None:
    assert web.open(session_of(operator), origin=origin).close_code() == 4403


def test_a_page_on_another_port_is_another_site(web: Web, operator: User) -> None:
    """Cookies do not know ports: what runs beside us on this machine has the visitor's too."""
    other = Origin(f"http://127.0.0.1:{web.port + 1}")
    assert web.open(session_of(operator), origin=other).close_code() == 4403


def test_a_trusted_origin_may_follow(web: Web, operator: User, settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://lepton.example", "https://*.wide.example"]
    session = session_of(operator)
    for origin in ("https://lepton.example", "https://a.wide.example"):
        assert web.open(session, origin=Origin(origin)).next()["type"] == "feed.hello"
    for origin in ("http://lepton.example", "https://a.wide.example.evil.example", "https://wide"):
        assert web.open(session, origin=Origin(origin)).close_code() == 4403


def test_a_host_that_is_not_ours_is_refused_with_any_credential(
    web: Web, operator: User, settings: Any
) -> None:
    """A name that was rebound to this address: the browser takes its page for one of ours."""
    settings.ALLOWED_HOSTS = ["lepton.example"]
    _, text = services.create_token(None, operator, "collector")
    assert web.open(session_of(operator)).close_code() == 4403
    assert web.open(token=text, origin=None).close_code() == 4403


def test_a_token_from_a_page_of_another_site_is_refused(web: Web, operator: User) -> None:
    _, text = services.create_token(None, operator, "collector")
    assert web.open(token=text, origin=Origin("https://evil.example")).close_code() == 4403


def test_a_token_of_another_vertical_follows_nothing_here(web: Web, admin: User) -> None:
    _, text = services.create_token(None, admin, "weatherman", verticals=["weather"])
    assert web.open(token=text, origin=None).close_code() == 4404
    assert web.open(token=text, origin=None, vertical="weather").next()["type"] == "feed.hello"


def test_a_viewer_and_a_superuser_may_follow(web: Web, viewer: User, admin: User) -> None:
    for user in (viewer, admin):
        assert web.open(session_of(user)).next()["type"] == "feed.hello"


def test_a_program_follows_by_its_token_without_an_origin(web: Web, operator: User) -> None:
    _, text = services.create_token(None, operator, "collector")

    assert web.open(token=text, origin=None).next()["type"] == "feed.hello"


def test_a_revoked_or_expired_token_is_refused(web: Web, operator: User) -> None:
    revoked, revoked_text = services.create_token(None, operator, "revoked")
    services.revoke_token(None, revoked.pk)
    _, expired_text = services.create_token(None, operator, "expired", expires_at=clock.now())

    assert web.open(token=revoked_text).close_code() == 4401
    assert web.open(token=expired_text).close_code() == 4401


def log_out(user: User) -> None:
    Session.objects.all().delete()


def change_password(user: User) -> None:
    user.set_password("another correct horse")
    user.save()


def deactivate(user: User) -> None:
    user.is_active = False
    user.save()


def let_the_session_expire(user: User) -> None:
    Session.objects.update(expire_date=clock.now() - timedelta(seconds=1))


def disable(user: User) -> None:
    services.set_active(None, user, False)


def end_all_sessions(user: User) -> None:
    services.end_sessions(None, user)


def withdraw(user: User) -> None:
    services.withdraw(None, user, "fintech")


@pytest.mark.parametrize(
    ("lose", "code"),
    [
        (log_out, 4401),
        (change_password, 4401),
        (deactivate, 4401),
        (disable, 4401),
        (end_all_sessions, 4401),
        (let_the_session_expire, 4401),
        (withdraw, 4403),
    ],
)
def test_a_socket_is_closed_when_its_user_signs_out_or_loses_the_right(
    web: Web, operator: User, viewer: User, lose: Any, code: int
) -> None:
    bystander_token = services.create_token(None, viewer, "bystander")[1]
    bystander = web.open(token=bystander_token)
    feed = web.open(session_of(operator))
    assert feed.next()["type"] == bystander.next()["type"] == "feed.hello"

    lose(operator)

    started_at = clock.monotonic()
    assert feed.close_code() == code
    assert clock.monotonic() - started_at < 5  # the promise, at a twentieth of its time
    publish("still here")
    assert bystander.events(1)[0]["body"] == {"text": "still here"}


def test_a_socket_is_closed_when_its_token_is_revoked(web: Web, operator: User) -> None:
    token, text = services.create_token(None, operator, "collector")
    feed = web.open(token=text)
    feed.next()

    services.revoke_token(None, token.pk)

    assert feed.close_code() == 4401


def test_all_credentials_are_checked_in_four_queries(django_assert_num_queries: Any) -> None:
    users = [User.objects.create_user(f"user{number}") for number in range(12)]
    for user in users:
        services.grant(None, user, "fintech", Role.VIEWER)
    credentials: list[Credential] = [SessionCredential(session_of(user)) for user in users[:6]]
    for user in users[6:]:
        token, _ = services.create_token(None, user, "t")
        credentials.append(TokenCredential(token.digest))
    ApiToken.objects.filter(user=users[-1]).update(revoked_at=clock.now())

    with django_assert_num_queries(4):
        held = holders([*credentials, SessionCredential("unknown"), TokenCredential("unknown")])

    assert [held[c].username for c in credentials[:-1]] == [u.username for u in users[:-1]]
    assert len(held) == 11
    assert {holder.verticals for holder in held.values()} == {frozenset({"fintech"})}


def test_a_session_that_somebody_else_took_over_loses_its_sockets(
    web: Web, operator: User, viewer: User
) -> None:
    """Signing in as another user in the same browser ends what the first one had open."""
    browser = Client()
    browser.force_login(operator)
    feed = web.open(browser.cookies["sessionid"].value)
    feed.next()

    browser.force_login(viewer)

    assert feed.close_code() == 4401
