"""What every page does: let nobody in who is signed out, and turn refusals into the right answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast

from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

from lepton_apps.accounts import access
from lepton_apps.accounts.models import Role
from lepton_apps.common.errors import NotFoundError, PermissionRefusedError
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Stream

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponse]


def page(view: View[P]) -> View[P]:
    """A view for people who are signed in. Strangers to a thing get 404, onlookers 403."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        if not request.user.is_authenticated:
            return _to_sign_in(request)
        try:
            return view(request, *args, **kwargs)
        except NotFoundError as error:
            raise Http404(error.detail) from error
        except PermissionRefusedError as error:
            raise PermissionDenied(error.detail) from error

    return cast(View[P], guarded)


def _to_sign_in(request: HttpRequest) -> HttpResponse:
    if is_htmx(request):
        # A fragment must not be filled with the sign-in page: the whole page goes there.
        response = HttpResponse(status=204)
        response["HX-Redirect"] = reverse("console:sign-in")
        return response
    # After a refused POST the way back is a page, not the action.
    target = request.get_full_path() if request.method == "GET" else reverse("console:alerts")
    return redirect_to_login(target)


def user_of(request: HttpRequest) -> User:
    """The signed-in user; only inside a view under ``page``."""
    return cast(User, request.user)


def is_htmx(request: HttpRequest) -> bool:
    return bool(cast(Any, request).htmx)


def readable(request: HttpRequest) -> frozenset[str]:
    """The verticals whose things the user may see."""
    return access.verticals_of(user_of(request))


def operable(request: HttpRequest) -> frozenset[str]:
    """The verticals in which the user may act."""
    return access.verticals_of(user_of(request), Role.OPERATOR)


def scored_stream(request: HttpRequest, name: str, role: Role) -> Stream:
    """A scored stream in which the user has the role. Raises what ``access.require`` does."""
    try:
        vertical, stream = registry.stream(name)
        access.require(user_of(request), vertical.key, role)
    except (LookupError, NotFoundError):
        raise NotFoundError(f"There is no scored stream {name!r}.") from None
    return stream


def row_id(text: str) -> int | None:
    """A row's number as an address or a form gives it; None: it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def with_zone(text: str) -> str:
    """A time of a form's field, which has no zone, as the UTC that it means; all else as it is."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text  # whoever reads it says what is wrong
    return text if at.tzinfo else f"{at.isoformat()}Z"
