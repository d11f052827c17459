"""What a socket was opened with, and whose it is now: the same check at the door and after it.

A session or a token is looked at again and again while its sockets are open, so everything here
takes many of them in a fixed number of queries.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.utils.crypto import constant_time_compare

from lepton_apps.accounts import access
from lepton_apps.accounts.models import ApiToken, Role
from lepton_apps.common import clock


@dataclass(frozen=True, slots=True)
class SessionCredential:
    """The key of a Django session, from the cookie."""

    key: str


@dataclass(frozen=True, slots=True)
class TokenCredential:
    """The digest of an API token; the text itself is never kept."""

    digest: str


Credential = SessionCredential | TokenCredential


@dataclass(frozen=True, slots=True)
class Holder:
    """The active user behind a valid credential, and the verticals that may be seen by it."""

    user_id: int
    username: str
    verticals: frozenset[str]


def holders(credentials: Collection[Credential]) -> dict[Credential, Holder]:
    """The holders of those credentials that are valid now; at most four queries.

    A session is valid while its row is there, has not expired and carries the authentication
    hash of its user, which changes with the password.
    """
    sessions = _sessions([c.key for c in credentials if isinstance(c, SessionCredential)])
    tokens = _tokens([c.digest for c in credentials if isinstance(c, TokenCredential)])
    user_ids = {user_id for user_id, _ in sessions.values()}
    user_ids |= {token.user_id for token in tokens.values()}
    users = {user.pk: user for user in User.objects.filter(pk__in=user_ids, is_active=True)}
    verticals = access.verticals_by_user(users.values())
    # One hash for each user, not for each of the user's sockets.
    hashes = {user_id: _auth_hashes(users[user_id]) for user_id, _ in sessions.values()
              if user_id in users}  # fmt: skip

    found: dict[Credential, Holder] = {}
    for credential in credentials:
        scope = access.UNLIMITED
        if isinstance(credential, TokenCredential):
            token = tokens.get(credential.digest)
            user = users.get(token.user_id) if token else None
            scope = access.scope_of_token(token) if token else scope
        else:
            user_id, carried = sessions.get(credential.key, (0, ""))
            user = users.get(user_id)
            if not any(constant_time_compare(carried, h) for h in hashes.get(user_id, ())):
                user = None
        if user is not None:
            seen = scope.narrowed(verticals[user.pk], Role.VIEWER)
            found[credential] = Holder(user.pk, user.get_username(), seen)
    return found


def _sessions(keys: list[str]) -> dict[str, tuple[int, str]]:
    """User id and carried hash of each session that somebody is signed in with."""
    if not keys:
        return {}
    rows = Session.objects.filter(session_key__in=set(keys), expire_date__gt=clock.now())
    return {
        key: signed_in
        for key, data in rows.values_list("session_key", "session_data")
        if (signed_in := _signed_in(data)) is not None
    }


@lru_cache(maxsize=8192)
def _signed_in(session_data: str) -> tuple[int, str] | None:
    """Decoding checks a signature and costs more than the query, and the data rarely changes."""
    session = SessionStore().decode(session_data)
    try:
        session[BACKEND_SESSION_KEY]
        return int(session[SESSION_KEY]), str(session[HASH_SESSION_KEY])
    except (KeyError, ValueError):
        return None


def _tokens(digests: list[str]) -> dict[str, ApiToken]:
    if not digests:
        return {}
    rows = ApiToken.objects.filter(
        digest__in=set(digests), revoked_at=None, expires_at__gt=clock.now()
    )
    return {token.digest: token for token in rows}


def _auth_hashes(user: User) -> tuple[str, ...]:
    """Of the current secret key, and of the earlier ones that are still accepted."""
    return (user.get_session_auth_hash(), *user.get_session_auth_fallback_hash())
