"""Reads of accounts, roles and tokens that pages, REST and commands share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.contrib.auth.models import User
from django.db.models import Count, Q, QuerySet

from lepton_apps.accounts import access
from lepton_apps.accounts.models import ApiToken, OneTimePassword, Role, VerticalAccess
from lepton_apps.common import clock
from lepton_apps.common.errors import NotFoundError

SOON: Final = timedelta(days=14)  # a token that ends sooner is worth a warning


@dataclass(frozen=True, slots=True)
class Person:
    """An account as somebody who administers sees it."""

    user: User
    roles: Mapping[str, Role]  # by vertical, those that the asker may know of
    token_count: int  # that count now
    is_waiting: bool  # has a one-time password that was not used


def people(actor: User) -> list[Person]:
    """Everybody whom the actor may see, by name; three queries at most.

    A superuser sees all; an admin sees who has a role in the own verticals, and those roles.

    Raises PermissionRefusedError: the actor administers nothing.
    """
    verticals = access.administered(actor)
    found = User.objects.order_by("username")
    if not access.is_superuser(actor):
        among = VerticalAccess.objects.filter(vertical__in=verticals)
        found = found.filter(pk__in=among.values("user_id"))
    return _persons(found, verticals)


def person(actor: User, username: str) -> Person:
    """One of ``people``. Raises NotFoundError and PermissionRefusedError."""
    verticals = access.administered(actor)
    user = User.objects.filter(username=username.replace("\0", "")).first()
    if user is None or not access.knows(actor, user):
        raise NotFoundError(f"No account named {username!r}.", username=username)
    return _persons(User.objects.filter(pk=user.pk), verticals)[0]


def _persons(users: QuerySet[User], verticals: frozenset[str]) -> list[Person]:
    valid = Q(api_tokens__revoked_at=None, api_tokens__expires_at__gt=clock.now())
    found = list(users.annotate(token_count=Count("api_tokens", filter=valid)))
    roles: dict[int, dict[str, Role]] = {user.pk: {} for user in found}
    held = VerticalAccess.objects.filter(user__in=found, vertical__in=verticals)
    for row in held.order_by("vertical"):
        roles[row.user_id][row.vertical] = Role(row.role)
    waiting = set(OneTimePassword.objects.filter(user__in=found).values_list("user_id", flat=True))
    return [Person(user, roles[user.pk], user.token_count, user.pk in waiting) for user in found]


def tokens_of(user: User, *, all_of_them: bool = False) -> list[ApiToken]:
    """The tokens that still count, newest first; with ``all_of_them`` the others too.

    Who comes by a token sees that one alone.
    """
    found = ApiToken.objects.filter(user=user).order_by("-created_at", "-pk")
    if (own := access.token_of(user)) is not None:
        found = found.filter(pk=own.pk)
    if not all_of_them:
        found = found.filter(revoked_at=None, expires_at__gt=clock.now())
    return list(found)


def all_tokens(username: str | None = None, *, all_of_them: bool = False) -> list[ApiToken]:
    """Tokens of everybody, or of one account, for the shell; newest first."""
    found = ApiToken.objects.select_related("user").order_by("-created_at", "-pk")
    if username is not None:
        found = found.filter(user__username=username)
    if not all_of_them:
        found = found.filter(revoked_at=None, expires_at__gt=clock.now())
    return list(found)


def revocable(actor: User | None, token_id: int) -> ApiToken:
    """The token, if the actor may revoke it. None: the shell. Raises NotFoundError."""
    token = ApiToken.objects.select_related("user").filter(pk=token_id).first()
    if token is None or not (actor is None or _may_revoke(actor, token)):
        raise NotFoundError(f"No token {token_id}.", token_id=token_id)
    return token


def _may_revoke(actor: User, token: ApiToken) -> bool:
    own = access.token_of(actor)
    if own is not None:
        return own.pk == token.pk
    return actor.pk == token.user_id or access.is_superuser(actor)


def state_of(token: ApiToken) -> str:
    """``valid``, ``expires soon``, ``expired`` or ``revoked``."""
    now = clock.now()
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at <= now:
        return "expired"
    return "expires soon" if token.expires_at - now < SOON else "valid"
