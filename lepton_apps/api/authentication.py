"""Who asks: a program by its token, or a person by the session of the console."""

from __future__ import annotations

from typing import Final

from django.contrib.auth.models import User
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from lepton_apps.accounts import tokens
from lepton_apps.accounts.models import ApiToken
from lepton_apps.common.errors import PermissionRefusedError

CHALLENGE: Final = 'Bearer realm="lepton"'


class TokenAuthentication(BaseAuthentication):
    """``Authorization: Bearer lpt_...``. A token that does not count is refused, never ignored.

    One that has a purpose reaches views of that ``purpose`` alone, whatever they would show it.
    """

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        text = tokens.bearer(request.headers.get("Authorization", ""))
        if text is None:
            return None
        token = tokens.verify(text)
        if token is None:
            raise AuthenticationFailed("The token is unknown, expired or revoked.")
        if token.purpose and token.purpose != getattr(_view_of(request), "purpose", ""):
            raise PermissionRefusedError(f"This token is for {token.purpose} and nothing else.")
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


def _view_of(request: Request) -> object:
    return (request.parser_context or {}).get("view")


class SignedInAuthentication(SessionAuthentication):
    """The console's session. A request that changes something needs the CSRF token too."""

    def authenticate_header(self, request: Request) -> str:
        # Without a challenge DRF would answer 403 to somebody who has not signed in.
        return CHALLENGE
