"""What all views share: who asks, and which verticals and streams that person may know of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from django.contrib.auth.models import User
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from lepton_apps.accounts import access
from lepton_apps.accounts.models import Role
from lepton_apps.alerts.errors import FilterRefusedError
from lepton_apps.alerts.paging import MAX_LIMIT
from lepton_apps.api.parsers import StrictJSONParser
from lepton_apps.common.errors import NotFoundError
from lepton_apps.verticals import registry

PAGE: Final = 50


class LeptonView(APIView):
    """Nobody gets past ``initial`` without an account; rights in a vertical come after."""

    permission_classes = [IsAuthenticated]
    parser_classes = [StrictJSONParser]


class UnknownView(LeptonView):
    """Whatever has no view of its own. Strangers learn nothing, not even what exists."""

    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFoundError("There is nothing at this address.")

    def get(self, request: Request, path: str) -> Response:
        raise NotFoundError("There is nothing at this address.")


def user_of(request: Request) -> User:
    """The account that asks. ``IsAuthenticated`` has seen to it that there is one."""
    return cast(User, request.user)


def require_stream(request: Request, name: str, role: Role, *, scored: bool = False) -> str:
    """The vertical of a stream, if the asker has the role there.

    Raises:
        NotFoundError: there is none, or it is in a vertical the asker may not see.
        PermissionRefusedError: the asker may see it and not do that.
    """
    vertical = vertical_of_stream(name, scored=scored)
    try:
        if vertical is None:
            raise NotFoundError(name)
        access.require(user_of(request), vertical, role)
    except NotFoundError:
        raise NotFoundError(f"There is no stream {name!r}.", stream=name) from None
    return vertical


def vertical_of_stream(name: str, *, scored: bool = False) -> str | None:
    """The key of the vertical that a stream belongs to; ``scored``: label streams do not count."""
    for vertical in registry.verticals():
        names = [stream.name for stream in vertical.streams]
        if not scored:
            names += [stream.name for stream in vertical.label_streams]
        if name in names:
            return vertical.key
    return None


def query_of(request: Request, known: frozenset[str]) -> Mapping[str, str]:
    """The query string; a name given several times counts as a list with commas.

    Raises:
        FilterRefusedError: a name that is not known. Ignoring it would answer with too much.
    """
    params = request.query_params
    if unknown := sorted(set(params) - known):
        listed = ", ".join(sorted(known))
        raise refused(unknown[0], f"{unknown[0][:80]!r} is no filter here; there are {listed}.")
    return {name: ",".join(params.getlist(name)) for name in params}


def limit_of(query: Mapping[str, str]) -> int:
    text = query.get("limit", "") or str(PAGE)
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MAX_LIMIT):
        raise refused("limit", f"limit={text[:20]} is not between 1 and {MAX_LIMIT}.")
    return int(text)


def refused(name: str, detail: str) -> FilterRefusedError:
    return FilterRefusedError(detail, errors=[{"path": name, "code": "invalid", "detail": detail}])
