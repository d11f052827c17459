"""What every page does: let nobody in who is signed out, and turn refusals into the right answer."""

from __future__ import annotations

from collections.abc import Callable
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
