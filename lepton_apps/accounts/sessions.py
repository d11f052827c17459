"""Who is signed in where: the sessions of one person, read from Django's table.

The table says nothing about people but inside its rows, so all rows that have not expired are
looked at. There are as many as people are signed in, and only a person's own page asks.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.utils.crypto import constant_time_compare

from lepton_apps.common import clock

SIGNED_IN: Final = "signed_in"  # in a session's data: what ``place`` made
MAX_BROWSER: Final = 200  # characters of a user agent that are kept


@dataclass(frozen=True, slots=True)
class OpenSession:
    """One session that its person could go on with now."""

    key: str  # a secret: whoever has it is signed in
    handle: str  # names it on a page, and opens nothing
    signed_in_at: datetime | None
    address: str
    browser: str
    expires_at: datetime


def place(address: str, browser: str) -> dict[str, str]:
    """What a session remembers of its beginning, for the person to recognise it by."""
    return {
        "at": clock.now().isoformat(),
        "address": address[:64],
        "browser": browser[:MAX_BROWSER],
    }


def open_sessions(user: User) -> list[OpenSession]:
    """The person's sessions, newest first."""
    hashes = (user.get_session_auth_hash(), *user.get_session_auth_fallback_hash())
    found = [
        _open_session(row, data)
        for row in Session.objects.filter(expire_date__gt=clock.now())
        if (data := SessionStore().decode(row.session_data)).get(SESSION_KEY) == str(user.pk)
        and any(constant_time_compare(str(data.get(HASH_SESSION_KEY, "")), h) for h in hashes)
    ]
    return sorted(found, key=lambda session: session.expires_at, reverse=True)


def handle_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _open_session(row: Session, data: dict[str, Any]) -> OpenSession:
    began = data.get(SIGNED_IN)
    began = began if isinstance(began, dict) else {}
    at = began.get("at")
    return OpenSession(
        key=row.session_key,
        handle=handle_of(row.session_key),
        signed_in_at=datetime.fromisoformat(at) if isinstance(at, str) else None,
        address=str(began.get("address", "")),
        browser=str(began.get("browser", "")),
        expires_at=row.expire_date,
    )
