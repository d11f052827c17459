"""The pages of accounts, of the own account, and of the audit."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from lepton_apps.accounts import access, services, tokens
from lepton_apps.accounts.models import ApiToken, Role
from lepton_apps.accounts.sessions import open_sessions
from lepton_apps.audit.models import AuditEntry
from lepton_apps.audit.services import record

pytestmark = pytest.mark.django_db(transaction=True)
SignedIn = Callable[[User], Client]
SECRET = re.compile(r'<code id="secret"[^>]*>([^<]+)</code>')


@pytest.fixture
def boss(person: Callable[..., User], signed_in: SignedIn) -> Client:
    """The console as an admin of fintech sees it."""
    return signed_in(person("bea", fintech=Role.ADMIN))


def secret_of(body: str) -> str:
    found = SECRET.search(body)
    assert found is not None, body
    return found[1]


def test_an_account_is_made_with_a_password_that_is_shown_once(boss: Client) -> None:
    answer = boss.post("/accounts/", {"username": "nina", "role-fintech": "operator"})
    password = secret_of(answer.content.decode())

    assert "no-store" in answer["Cache-Control"]
    assert password not in boss.get("/accounts/").content.decode()
    nina = User.objects.get(username="nina")
    assert nina.check_password(password)
    assert access.roles_of(nina) == {"fintech": Role.OPERATOR}
    signed = Client().post("/sign-in/", {"username": "nina", "password": password})
    assert signed["Location"].startswith("/choose-password/")


@pytest.mark.parametrize(
    ("form", "status", "why"),
    [
        ({"username": "olga", "role-fintech": "viewer"}, 409, "exists already"),
        ({"username": "a b", "role-fintech": "viewer"}, 400, "valid username"),
        ({"username": "nina", "role-fintech": "queen"}, 404, "No role named"),
        ({"username": "nina"}, 403, "a role in a vertical that you administer"),
        ({"do": "grant", "username": "nobody", "vertical": "fintech", "role": "viewer"}, 404,
         "No account named"),
        ({"do": "grant", "username": "olga", "vertical": "weather", "role": "viewer"}, 404,
         "No vertical named"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_said_on_the_page(
    boss: Client, operator: User, form: dict[str, str], status: int, why: str
) -> None:
    answer = boss.post("/accounts/", form)
    assert answer.status_code == status
    assert why in answer.content.decode()
    assert User.objects.count() == 2


def test_a_role_is_changed_and_taken_away(boss: Client, operator: User) -> None:
    url = "/accounts/olga/role/"
    assert boss.post(url, {"vertical": "fintech", "role": "viewer"}).status_code == 302
    assert access.roles_of(operator) == {"fintech": Role.VIEWER}
    # Without a role in fintech the account is no longer one that this admin sees.
    assert boss.post(url, {"vertical": "fintech", "role": ""})["Location"] == "/accounts/"
    assert access.roles_of(operator) == {}
    assert boss.get("/accounts/olga/").status_code == 404
    given = {"do": "grant", "username": "olga", "vertical": "fintech", "role": "operator"}
    assert boss.post("/accounts/", given)["Location"] == "/accounts/olga/"


def test_the_last_admin_is_told_why_not(boss: Client) -> None:
    answer = boss.post("/accounts/bea/role/", {"vertical": "fintech", "role": ""})
    assert answer.status_code == 409
    assert "Nobody would be left to administer fintech" in answer.content.decode()


def test_a_reset_password_is_shown_once_and_ends_the_sessions(
    boss: Client, operator: User, signed_in: SignedIn
) -> None:
    theirs = signed_in(operator)
    page = boss.post("/accounts/olga/password/").content.decode()
    password = secret_of(page)
    assert re.search(r'aria-current="page">Accounts<', page), "the navigation says where one is"
    assert User.objects.get(username="olga").check_password(password)
    assert theirs.get("/").status_code == 302
    assert password not in str(list(AuditEntry.objects.values()))


def test_a_disabled_account_is_out_at_once(
    boss: Client, operator: User, signed_in: SignedIn
) -> None:
    theirs = signed_in(operator)
    assert boss.post("/accounts/olga/active/", {"active": "0"}).status_code == 302
    assert theirs.get("/").status_code == 302
    assert boss.post("/accounts/olga/active/", {"active": "1"}).status_code == 302
    assert theirs.get("/").status_code == 302


def test_pages_offer_what_may_be_done_and_nothing_else(
    boss: Client, admin: User, person: Callable[..., User], signed_in: SignedIn
) -> None:
    person("both", fintech=Role.VIEWER, weather=Role.VIEWER)
    page = boss.get("/accounts/both/").content.decode()
    assert "/accounts/both/role/" in page
    for act in ("password", "active", "superuser", "sessions/end"):
        assert f"/accounts/both/{act}/" not in page
    assert "weather" not in page.lower()
    page = signed_in(admin).get("/accounts/both/").content.decode()
    for act in ("role", "password", "active", "superuser", "sessions/end"):
        assert f"/accounts/both/{act}/" in page


def test_the_navigation_leads_to_accounts_those_alone_who_administer(
    boss: Client, console: Client
) -> None:
    assert 'href="/accounts/"' in boss.get("/nav/").content.decode()
    assert 'href="/accounts/"' not in console.get("/nav/").content.decode()


def test_a_token_is_made_with_a_scope_and_shown_once(console: Client, operator: User) -> None:
    form = {"name": "collector", "days": "30", "role": "viewer", "vertical": "fintech"}
    answer = console.post("/account/tokens/", form)
    text = secret_of(answer.content.decode())

    assert "no-store" in answer["Cache-Control"]
    assert text not in console.get("/account/").content.decode()
    token = tokens.verify(text)
    assert token is not None
    assert access.roles_of(token.user) == {"fintech": Role.VIEWER}
    assert "at most viewer of fintech" in console.get("/account/").content.decode()

    console.post(f"/account/tokens/{token.pk}/revoke/")
    assert tokens.verify(text) is None


@pytest.mark.parametrize(
    "form",
    [
        {"name": "", "days": "30"},
        {"name": "t", "days": "0"},
        {"name": "t", "days": "-1"},
        {"name": "t", "days": "9" * 30},
        {"name": "t", "days": "30", "vertical": "weather"},
    ],
)
def test_a_token_that_cannot_be_keeps_what_was_typed(console: Client, form: dict[str, str]) -> None:
    answer = console.post("/account/tokens/", form)
    assert answer.status_code == 400
    assert 'role="alert"' in answer.content.decode()
    assert not ApiToken.objects.exists()


def test_a_token_that_ends_soon_is_warned_of(console: Client, operator: User) -> None:
    services.create_token(None, operator, "nightly", expires_at=services.expiry_after(3))
    assert re.search(r'class="warning"><strong>nightly', console.get("/account/").content.decode())


def test_sessions_are_listed_with_their_place_and_ended(operator: User) -> None:
    here, there = Client(), Client(REMOTE_ADDR="10.9.8.7", headers={"User-Agent": "Elsewhere/1"})
    for browser in (here, there):
        browser.post("/sign-in/", {"username": "olga", "password": "correct horse battery"})
    page = here.get("/account/").content.decode()
    assert "10.9.8.7" in page
    assert "Elsewhere/1" in page
    assert str(here.session.session_key) not in page
    handle = next(s.handle for s in open_sessions(operator) if s.address == "10.9.8.7")

    here.post("/account/sessions/end/", {"session": handle})

    assert there.get("/").status_code == 302
    assert here.get("/").status_code == 200


def test_a_new_password_gives_this_session_a_new_key_and_ends_the_others(operator: User) -> None:
    here, there = Client(), Client()
    for browser in (here, there):
        browser.post("/sign-in/", {"username": "olga", "password": "correct horse battery"})
    before, own = here.session.session_key, "a lamp over blue water"
    form = {"old_password": "correct horse battery", "new_password1": own, "new_password2": own}

    assert here.post("/password/", form).status_code == 302

    assert here.session.session_key != before
    assert here.get("/").status_code == 200
    assert there.get("/").status_code == 302
    assert len(open_sessions(User.objects.get())) == 1


@pytest.fixture
def acts(operator: User, admin: User) -> None:
    record(operator, "alert.resolved", "alert:41", vertical="fintech", why="Stolen <card>.")
    record(operator, "alert.assigned", "alert:42", vertical="fintech", assigned_to="vera")
    record(None, "stream.halted", "stream:weather.readings", vertical="weather")
    record(admin, "account.created", "user:zoe")


def shown(client: Client, query: str = "") -> list[str]:
    body = client.get(f"/audit/{query}").content.decode()
    return re.findall(r"<td>((?:alert|stream|account)\.\w+)</td>", body)


@pytest.mark.usefixtures("acts")
def test_an_admin_reads_of_the_own_verticals_and_a_superuser_all(
    boss: Client, admin: User, signed_in: SignedIn
) -> None:
    assert shown(boss) == ["alert.assigned", "alert.resolved"]
    assert shown(boss, "?vertical=weather") == []
    assert shown(signed_in(admin)) == [
        "account.created", "stream.halted", "alert.assigned", "alert.resolved",
    ]  # fmt: skip


@pytest.mark.usefixtures("acts")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?person=olga&action=alert.res", ["alert.resolved"]),
        ("?person=lepton", ["stream.halted"]),
        ("?target=alert:4", ["alert.assigned", "alert.resolved"]),
        ("?vertical=weather", ["stream.halted"]),
        ("?until=2020-01-01T00:00", []),
        ("?since=2020-01-01T00:00&action=account.", ["account.created"]),
        ("?since=2020-01-01T00:00:00-05:00&action=account.", ["account.created"]),
    ],
)
def test_the_audit_is_filtered_by_its_address(
    admin: User, signed_in: SignedIn, query: str, found: list[str]
) -> None:
    assert shown(signed_in(admin), query) == found


def test_the_filters_stay_as_they_were_typed(boss: Client) -> None:
    page = boss.get("/audit/?person=AnnaZ&since=2026-03-01T10:00:00Z&until=2026-03-02")
    body = page.content.decode()
    assert 'name="person" value="AnnaZ"' in body
    assert 'type="datetime-local" value="2026-03-01T10:00:00"' in body
    assert "until=2026-03-02T00%3A00%3A00Z" in body, "a day begins at midnight UTC"


@pytest.mark.usefixtures("acts")
def test_what_people_wrote_is_shown_escaped(boss: Client) -> None:
    assert "Stolen &lt;card&gt;." in boss.get("/audit/").content.decode()


@pytest.mark.parametrize("query", ["?since=yesterday", "?cursor=nope", "?person=%00"])
def test_a_filter_that_cannot_be_is_a_bad_request(boss: Client, query: str) -> None:
    assert boss.get(f"/audit/{query}").status_code == 400


def test_the_audit_is_paged_by_cursor(boss: Client) -> None:
    for number in range(60):
        record(None, f"alert.n{number:02}", "alert:1", vertical="fintech")
    first = boss.get("/audit/").content.decode()
    older = re.search(r'href="(/audit/\?cursor=[^"]+)">Older', first)
    assert older is not None
    record(None, "alert.new", "alert:1", vertical="fintech")
    second = boss.get(older[1]).content.decode()
    assert re.findall(r"alert\.n\d\d", first) == [f"alert.n{n:02}" for n in range(59, 9, -1)]
    assert re.findall(r"alert\.n\d\d", second) == [f"alert.n{n:02}" for n in range(9, -1, -1)]
