"""API tokens: their text, their digest, and finding the row of a text."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from django.db.models import Q

from lepton_apps.accounts.models import ApiToken
from lepton_apps.common import clock

PREFIX = "lpt_"
SHOWN = len(PREFIX) + 6  # characters kept in the clear, to tell tokens apart
USE_NOTED_EVERY = timedelta(minutes=1)  # a busy token must not write a row a request


def new_text() -> str:
    """``lpt_`` and 256 random bits as 43 characters. The only time the text exists here."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(text: str) -> str:
    """SHA-256 in hex. The text has 256 bits of chance in it, so a slow hash adds nothing."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def verify(text: str) -> ApiToken | None:
    """The valid token of a text, with its active user; None for every other text.

    Any text costs one hash and one query, whatever is wrong with it. The time of use is written
    down at most once a minute.
    """
    now = clock.now()
    token = (
        ApiToken.objects.select_related("user")
        .filter(digest=digest(text), revoked_at=None, expires_at__gt=now, user__is_active=True)
        .first()
    )
    if token is None:
        return None
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
