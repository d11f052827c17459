"""Endpoints that a vertical brings along, behind the same door as our own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver
from rest_framework.request import Request

from lepton_apps.accounts import access
from lepton_apps.api.views.base import LeptonView, user_of

Inner = Callable[..., HttpResponseBase]


class ForeignView(LeptonView):
    """Lets through whoever may see the vertical; its view then need not know what a right is."""

    schema = None
    vertical: str = ""
    inner: Inner | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        access.require(user_of(request), self.vertical)

    def _pass_on(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        assert self.inner is not None
        django_request: HttpRequest = request._request
        django_request.user = user_of(request)
        return self.inner(django_request, *args, **kwargs)

    get = post = put = patch = delete = _pass_on


def guarded(
    patterns: Iterable[URLPattern | URLResolver], vertical: str
) -> list[URLPattern | URLResolver]:
    """The same URL patterns, each behind ``ForeignView``."""
    behind: list[URLPattern | URLResolver] = []
    for pattern in patterns:
        if isinstance(pattern, URLPattern):
            view = ForeignView.as_view(vertical=vertical, inner=pattern.callback)
            behind.append(URLPattern(pattern.pattern, view, pattern.default_args, pattern.name))
        else:
            behind.append(
                URLResolver(
                    pattern.pattern,
                    guarded(pattern.url_patterns, vertical),
                    pattern.default_kwargs,
                    pattern.app_name,
                    pattern.namespace,
                )
            )
    return behind
