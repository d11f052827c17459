"""The security headers of every answer, static files and errors of other middleware included."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from lepton_apps.common.headers import HEADERS, ONLY_TLS


class SecurityHeadersMiddleware:
    """Nothing inline and nothing from another host runs, whatever gets into a page."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        for name, value in HEADERS.items():
            response.headers[name] = value
        if settings.SECURE_COOKIES:
            # By ourselves: behind a proxy that ends TLS, Django takes every request for plain HTTP.
            response.headers[ONLY_TLS[0]] = ONLY_TLS[1]
        return response
