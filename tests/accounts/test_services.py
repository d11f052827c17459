from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from lepton_apps.accounts import access, services, tokens
from lepton_apps.accounts.errors import UsernameTakenError
from lepton_apps.accounts.models import ApiToken, Role
from lepton_apps.audit.models import AuditEntry
from lepton_apps.common import clock
from lepton_apps.common.errors import NotFoundError

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ann() -> User:
    return User.objects.create_user("ann")


def acts() -> list[tuple[str, str, str]]:
    rows = AuditEntry.objects.order_by("pk")
    return [(row.actor_name, row.action, row.target) for row in rows]


def command(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_rights_are_given_and_taken_and_written_down(ann: User) -> None:
    services.grant(None, ann, "fintech", Role.VIEWER)
    root = User.objects.create_user("root", is_superuser=True)
    services.grant(root, ann, "fintech", Role.ADMIN)
    assert access.verticals_of(ann, Role.ADMIN) == {"fintech"}

    assert services.withdraw(ann, ann, "fintech")
    assert not services.withdraw(root, ann, "fintech")

    assert access.verticals_of(ann) == frozenset()
    assert acts() == [
        ("lepton", "access.granted", "user:ann"),
        ("root", "access.granted", "user:ann"),
        ("ann", "access.withdrawn", "user:ann"),
    ]


def test_no_role_is_given_in_a_vertical_that_is_not_there(ann: User) -> None:
    with pytest.raises(NotFoundError, match="No vertical named 'nope'"):
        services.grant(None, ann, "nope", Role.VIEWER)
    assert acts() == []


def test_an_operator_is_made_whole_or_not_at_all() -> None:
    with pytest.raises(NotFoundError):
        services.create_operator(None, "olga", {"fintech": Role.OPERATOR, "nope": Role.OPERATOR})
    assert not User.objects.exists()
    assert acts() == []

    user, password = services.create_operator(None, "olga", {"fintech": Role.OPERATOR})
    assert user.check_password(password)
    assert password not in user.password
    with pytest.raises(UsernameTakenError, match="'olga' exists already"):
        services.create_operator(None, "olga", {})


def test_a_token_is_stored_as_a_hash_and_shown_once(ann: User) -> None:
    token, text = services.create_token(None, ann, "collector")
    row = ApiToken.objects.values().get()

    assert len(text) == 47
    assert text.startswith("lpt_")
    assert not any(text in str(value) for value in row.values())
    assert text.startswith(token.prefix)
    assert str(acts()).count(text[4:]) == 0
    found = tokens.verify(text)
    assert found is not None
    assert found.user == ann


@pytest.mark.parametrize("wrong", ["", "lpt_", "lpt_" + "a" * 43, "x" * 10_000, "\x00", "\udce9"])
def test_any_other_text_is_no_token(ann: User, wrong: str) -> None:
    services.create_token(None, ann, "collector")
    assert tokens.verify(wrong) is None


def test_a_token_dies_when_revoked_expired_or_its_user_goes(ann: User) -> None:
    revoked, revoked_text = services.create_token(None, ann, "a")
    services.revoke_token(None, revoked.pk)
    services.revoke_token(None, revoked.pk)
    _, expired_text = services.create_token(None, ann, "b", expires_at=clock.now())
    _, text = services.create_token(None, ann, "c")
    assert tokens.verify(text) is not None

    User.objects.update(is_active=False)

    assert [tokens.verify(each) for each in (revoked_text, expired_text, text)] == [None] * 3
    assert [action for _, action, _ in acts()].count("token.revoked") == 1
    with pytest.raises(NotFoundError, match="No token 0"):
        services.revoke_token(None, 0)


def test_the_use_of_a_token_is_written_at_most_once_a_minute(ann: User) -> None:
    _, text = services.create_token(None, ann, "collector")
    used = ApiToken.objects.values_list("last_used_at", flat=True)
    tokens.verify(text)
    first = used.get()
    assert first is not None
    tokens.verify(text)
    assert used.get() == first
    long_ago = clock.now() - timedelta(minutes=2)
    ApiToken.objects.update(last_used_at=long_ago)
    tokens.verify(text)
    assert used.get() not in (first, long_ago)


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic abc", None),
        ("Bearer", None),
        ("", None),
    ],
)
def test_only_a_bearer_header_carries_a_token(header: str, text: str | None) -> None:
    assert tokens.bearer(header) == text


def test_the_commands_make_accounts_tokens_and_rights() -> None:
    said = command("create_operator", "olga", "--vertical", "fintech")
    password = said.split()[-1]
    olga = User.objects.get(username="olga")
    assert olga.check_password(password)
    assert access.verticals_of(olga, Role.OPERATOR) == {"fintech"}

    found = tokens.verify(command("create_token", "olga", "collector", "--quiet").strip())
    assert found is not None
    assert found.user == olga

    command("grant_access", "olga", "fintech", "viewer")
    assert access.verticals_of(olga, Role.OPERATOR) == frozenset()
    command("grant_access", "olga", "fintech", "--withdraw")
    assert access.verticals_of(olga) == frozenset()


def test_tokens_are_made_limited_listed_and_revoked_by_commands(ann: User) -> None:
    services.grant(None, ann, "fintech", Role.ADMIN)
    scope = ["--vertical", "fintech", "--role", "viewer", "--days", "7"]
    made = json.loads(command("create_token", "ann", "scorer", *scope, "--json"))
    found = tokens.verify(made["token"])
    assert found is not None
    assert access.roles_of(found.user) == {"fintech": Role.VIEWER}

    (listed,) = json.loads(command("tokens", "--json"))["tokens"]
    assert (listed["id"], listed["username"], listed["state"]) == (
        made["id"],
        "ann",
        "expires soon",
    )
    assert made["token"] not in command("tokens", "ann")
    assert "viewer of fintech" in command("tokens", "ann")

    assert "is revoked" in command("revoke_token", str(made["id"]))
    assert tokens.verify(made["token"]) is None
    assert json.loads(command("tokens", "--json")) == {"tokens": []}
    assert "revoked" in command("tokens", "ann", "--all")


def test_commands_answer_in_json_alone_when_asked() -> None:
    made = json.loads(command("create_operator", "olga", "--vertical", "ops", "--json"))
    assert made["roles"] == {"ops": "operator"}
    olga = User.objects.get()
    assert olga.check_password(made["one_time_password"])
    assert json.loads(command("grant_access", "olga", "ops", "admin", "--json"))["role"] == "admin"
    again = json.loads(command("reset_password", "olga", "--json"))["one_time_password"]
    olga.refresh_from_db()
    assert olga.check_password(again)


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["create_token", "ann", "t", "--days", "0"], 2),
        (["grant_access", "ann", "fintech"], 2),
        (["create_operator", "ann"], 1),
        (["revoke_token", "999"], 1),
        (["tokens", "nobody"], 1),
    ],
)
def test_a_command_ends_with_the_code_that_says_why(
    ann: User, arguments: list[str], exit_code: int
) -> None:
    with pytest.raises(CommandError) as caught:
        command(*arguments)
    assert caught.value.returncode == exit_code


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["create_token", "ann", "t", "--vertical", "ops"], "'ann' has no role in 'ops'"),
        (["revoke_token", "999"], "No token 999"),
        (["create_operator", "ann"], "'ann' exists already"),
        (["create_operator", "a b"], "username 'a b': Enter a valid username"),
        (["create_operator", "bob", "--vertical", "nope"], "No vertical named 'nope'"),
        (["create_token", "nobody", "t"], "No account named 'nobody'"),
        (["create_token", "ann", "t", "--days", "0"], "--days 0 is not between 1 and 3650"),
        (["create_token", "ann", ""], "1 to 100 characters"),
        (["grant_access", "ann", "fintech"], "Name a role"),
        (["grant_access", "ann", "fintech", "viewer", "--withdraw"], "not both"),
        (["grant_access", "ann", "fintech", "--withdraw"], "'ann' has no role in 'fintech'"),
        (["grant_access", "ann", "nope", "viewer"], "No vertical named 'nope'"),
    ],
)
def test_a_command_says_what_is_wrong(ann: User, arguments: list[str], why: str) -> None:
    with pytest.raises(CommandError, match=why):
        command(*arguments)
