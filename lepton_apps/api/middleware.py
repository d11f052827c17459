"""Around every HTTP request: its time, its id, and JSON for what fails before a view is reached."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase

from lepton_apps.api.errors import error_body
from lepton_apps.common import clock
from lepton_apps.common.metrics import HTTP_SECONDS

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
API = "/api/"


class MeasureMiddleware:
    """Observes the time by route, never by path, and keeps or makes ``X-Request-ID``."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = clock.monotonic()
        given = request.headers.get("X-Request-ID", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        request.request_id = request_id  # type: ignore[attr-defined]
        response = self._get_response(request)
        if request.path_info.startswith(API) and response.status_code >= HTTPStatus.BAD_REQUEST:
            response = in_api_shape(response)
        response["X-Request-ID"] = request_id
        HTTP_SECONDS.labels(
            method=request.method if request.method in METHODS else "other",
            route=route_of(request),
            status=str(response.status_code),
        ).observe(clock.monotonic() - started)
        return response


def route_of(request: HttpRequest) -> str:
    """The pattern that matched, so that the number of metric labels stays small."""
    match = request.resolver_match
    return "unmatched" if match is None else "/" + match.route.rstrip("/")


def in_api_shape(response: HttpResponseBase) -> HttpResponseBase:
    """Errors of Django itself (a foreign host name, say) are HTML; the API speaks JSON only."""
    if response.headers.get("Content-Type", "").startswith("application/json"):
        return response
    status = HTTPStatus(response.status_code)
    answer: HttpResponse = JsonResponse(
        error_body(status, f"{status.phrase}."), status=response.status_code
    )
    for name in ("Allow", "WWW-Authenticate", "Retry-After"):
        if name in response.headers:
            answer[name] = response.headers[name]
    return answer
