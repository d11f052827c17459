"""API tokens: their text, their digest, and finding the row of a text."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Q

from lepton_apps.accounts import access
from lepton_apps.accounts.models import ApiToken
from lepton_apps.common import clock, db

PREFIX = "lpt_"
SHOWN = len(PREFIX) + 6  # characters kept in the clear, to tell tokens apart
USE_NOTED_EVERY = timedelta(minutes=1)  # a busy token must not write a row a request

TOKEN_FIELDS = tuple(field.attname for field in ApiToken._meta.concrete_fields)
USER_FIELDS = tuple(field.attname for field in User._meta.concrete_fields)
COLUMNS = [f"token.{name}" for name in TOKEN_FIELDS] + [f"owner.{name}" for name in USER_FIELDS]
VALID = f"""
SELECT {", ".join(COLUMNS)}
FROM {ApiToken._meta.db_table} AS token JOIN {User._meta.db_table} AS owner
    ON owner.id = token.user_id
WHERE token.digest = %s AND token.revoked_at IS NULL AND token.expires_at > %s AND owner.is_active
"""  # noqa: S608 - names of our own models


def new_text() -> str:
    """``lpt_`` and 256 random bits as 43 characters. The only time the text exists here."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(text: str) -> str:
    """SHA-256 in hex. The text has 256 bits of chance in it, so a slow hash adds nothing."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def verify(text: str) -> ApiToken | None:
    """The valid token of a text, with its active user, whom its scope limits; else None.

    Any text costs one hash and one query, whatever is wrong with it. The time of use is written
    down at most once a minute.
    """
    now = clock.now()
    found = db.rows(VALID, [digest(text), now])
    if not found:
        return None
    token = ApiToken.from_db(DEFAULT_DB_ALIAS, TOKEN_FIELDS, found[0][: len(TOKEN_FIELDS)])
    owner = User.from_db(DEFAULT_DB_ALIAS, USER_FIELDS, found[0][len(TOKEN_FIELDS) :])
    token.user = access.by_token(owner, token)
    before = now - USE_NOTED_EVERY
    if token.last_used_at is None or token.last_used_at < before:
        ApiToken.objects.filter(
            Q(last_used_at=None) | Q(last_used_at__lt=before), pk=token.pk
        ).update(last_used_at=now)
        token.last_used_at = now
    return token


def bearer(header: str) -> str | None:
    """The token text of an ``Authorization`` header, or None when it is of another kind."""
    kind, _, text = header.strip().partition(" ")
    return text.strip() if kind.lower() == "bearer" and text.strip() else None
