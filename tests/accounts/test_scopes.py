"""A token may carry less than its account, and never more."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from lepton_apps.accounts import access, selectors, services, tokens
from lepton_apps.accounts.credentials import TokenCredential, holders
from lepton_apps.accounts.errors import TokenRefusedError
from lepton_apps.accounts.models import ApiToken, Role
from lepton_apps.audit.models import AuditEntry
from lepton_apps.common import clock
from lepton_apps.common.errors import NotFoundError, PermissionRefusedError

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ann() -> User:
    user = User.objects.create_user("ann")
    services.grant(None, user, "fintech", Role.OPERATOR)
    services.grant(None, user, "weather", Role.ADMIN)
    return user


def by(text: str) -> User:
    token = tokens.verify(text)
    assert token is not None
    return token.user


def test_a_token_without_a_scope_may_what_its_account_may(ann: User) -> None:
    user = by(services.create_token(None, ann, "all")[1])
    assert access.roles_of(user) == {"fintech": Role.OPERATOR, "weather": Role.ADMIN}
    services.grant(None, ann, "ops", Role.VIEWER)
    assert access.verticals_of(user) == {"fintech", "weather", "ops"}


def test_a_scope_takes_verticals_and_roles_away(ann: User) -> None:
    user = by(
        services.create_token(None, ann, "some", verticals=["weather"], role=Role.OPERATOR)[1]
    )
    assert access.roles_of(user) == {"weather": Role.OPERATOR}
    assert access.verticals_of(user, Role.ADMIN) == frozenset()
    with pytest.raises(NotFoundError):
        access.require(user, "fintech")
    with pytest.raises(PermissionRefusedError, match="this token goes no further than 'operator'"):
        access.require(user, "weather", Role.ADMIN)


def test_a_token_loses_what_its_account_loses(ann: User) -> None:
    user = by(services.create_token(None, ann, "strong", role=Role.ADMIN)[1])
    services.grant(None, ann, "weather", Role.VIEWER)
    services.withdraw(None, ann, "fintech")
    assert access.roles_of(user) == {"weather": Role.VIEWER}


def test_a_limited_token_of_a_superuser_is_no_superuser() -> None:
    root = User.objects.create_user("root", is_superuser=True)
    assert access.is_superuser(by(services.create_token(None, root, "all")[1]))
    for scope in ({"role": Role.ADMIN}, {"verticals": ["fintech"]}):
        user = by(services.create_token(None, root, "some", **scope)[1])
        assert not access.is_superuser(user)
        with pytest.raises(PermissionRefusedError):
            access.require_superuser(user)


def test_two_tokens_of_one_account_open_different_feeds(ann: User) -> None:
    made = [
        services.create_token(None, ann, "t", verticals=verticals)[0].digest
        for verticals in (["fintech"], ["weather"], None)
    ]
    held = holders([TokenCredential(digest) for digest in made])
    assert [sorted(held[TokenCredential(digest)].verticals) for digest in made] == [
        ["fintech"],
        ["weather"],
        ["fintech", "weather"],
    ]


@pytest.mark.parametrize(
    ("scope", "why"),
    [
        ({"verticals": ["ops"]}, "'ann' has no role in 'ops'"),
        ({"verticals": ["nope"]}, "'ann' has no role in 'nope'"),
        ({"verticals": []}, "no vertical opens nothing"),
    ],
)
def test_a_scope_that_opens_nothing_is_refused(
    ann: User, scope: dict[str, list[str]], why: str
) -> None:
    with pytest.raises(TokenRefusedError, match=why):
        services.create_token(None, ann, "t", verticals=scope["verticals"])
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\x00b", "a\nb", " padded"])
def test_a_token_has_a_name_to_recognise_it_by(ann: User, name: str) -> None:
    with pytest.raises(TokenRefusedError, match="1 to 100 characters"):
        services.create_token(None, ann, name)


def test_a_token_makes_no_successor_and_ends_itself_alone(ann: User) -> None:
    token, text = services.create_token(None, ann, "leaked")
    other, _ = services.create_token(None, ann, "other")
    user = by(text)

    with pytest.raises(PermissionRefusedError):
        services.create_token(user, user, "next")
    with pytest.raises(NotFoundError):
        services.revoke_token(user, other.pk)
    assert selectors.tokens_of(user) == [token]
    services.revoke_token(user, token.pk)
    assert tokens.verify(text) is None


def test_nobody_makes_or_revokes_the_token_of_another(ann: User) -> None:
    token, _ = services.create_token(None, ann, "hers")
    bob = User.objects.create_user("bob")
    services.grant(None, bob, "fintech", Role.ADMIN)
    with pytest.raises(PermissionRefusedError):
        services.create_token(bob, ann, "mine now")
    with pytest.raises(NotFoundError):
        services.revoke_token(bob, token.pk)
    bob.is_superuser = True
    assert services.revoke_token(bob, token.pk).revoked_at is not None


def test_what_was_done_by_a_token_says_by_which(ann: User) -> None:
    token, text = services.create_token(None, ann, "weatherman")
    services.grant(by(text), User.objects.create_user("bob"), "weather", Role.VIEWER)
    entry = AuditEntry.objects.latest("pk")
    assert (entry.actor_name, entry.data["by_token"]) == ("ann", token.prefix)


def test_a_token_ends_after_ninety_days_and_says_when_that_is_near(ann: User) -> None:
    token, _ = services.create_token(None, ann, "t")
    left = token.expires_at - clock.now()
    assert timedelta(days=89) < left <= timedelta(days=90)
    assert selectors.state_of(token) == "valid"
    token.expires_at = clock.now() + timedelta(days=13)
    assert selectors.state_of(token) == "expires soon"
    token.expires_at = clock.now()
    assert selectors.state_of(token) == "expired"


def test_tokens_of_before_scopes_keep_all_rights(ann: User) -> None:
    _, text = services.create_token(None, ann, "old")
    assert ApiToken.objects.values_list("verticals", "role").get() == (None, "")
    assert access.scope_of(by(text)) == access.UNLIMITED
