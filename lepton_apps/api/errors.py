"""One shape for every error: ``{"code", "detail", ...data}``, whatever went wrong and wherever.

Clients branch on ``code`` and on the status; ``detail`` is a sentence for people and may change.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, Final, cast

import psycopg
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response

from lepton_apps.common.errors import LeptonError

log = logging.getLogger(__name__)

# The spine speaks to the driver itself, so both kinds of errors arrive here.
NO_DATABASE: Final = (
    OperationalError,
    InterfaceError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
)

CODE_OF_STATUS: Final = {
    400: "request_refused",
    401: "not_authenticated",
    403: "permission_refused",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "body_too_large",
    415: "media_type_refused",
    429: "too_many_requests",
    500: "internal_error",
    503: "unavailable",
}
RETRY_AFTER_S: Final = "1"


class NotJsonError(LeptonError):
    """The body is not what JSON allows."""

    code = "not_json"


class TooManyRecordsError(LeptonError):
    """More records than one request may bring."""

    code = "too_many_records"
    status = 413


def error_body(status: int, detail: str, **data: Any) -> dict[str, Any]:
    """The body of an error that has no code of its own."""
    return {"code": CODE_OF_STATUS.get(status, "request_refused"), "detail": detail, **data}


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response:
    """What DRF calls for everything that a view raises; the outermost frame of the API."""
    if isinstance(exc, LeptonError):
        return _answer(exc.status, {"code": exc.code, "detail": exc.detail, **exc.data})
    if isinstance(exc, exceptions.ValidationError):
        return _answer(400, _validation_body(exc))
    if isinstance(exc, exceptions.APIException):
        response = _answer(exc.status_code, error_body(exc.status_code, _sentence(exc.detail)))
        # DRF notes on the exception what it wants to see in the headers of a 401.
        if challenge := getattr(exc, "auth_header", None):
            response["WWW-Authenticate"] = challenge
        return response
    if isinstance(exc, Http404):
        return _answer(404, error_body(404, "There is nothing at this address."))
    if isinstance(exc, PermissionDenied):
        return _answer(403, error_body(403, "You may not do that."))
    if isinstance(exc, RequestDataTooBig):
        return _answer(413, error_body(413, "The body is larger than this server takes."))
    request_id = getattr(cast(Request, context["request"])._request, "request_id", "")
    log.error("request failed", exc_info=exc, extra={"request_id": request_id})
    if isinstance(exc, NO_DATABASE):
        return _answer(503, error_body(503, "The database does not answer; try again."))
    return _answer(
        500,
        error_body(
            500, f"The server failed; its log says why at {request_id}.", request_id=request_id
        ),
    )


def _answer(status: int, body: dict[str, Any]) -> Response:
    response = Response(body, status=status)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response["Retry-After"] = RETRY_AFTER_S
    return response


def _sentence(detail: Any) -> str:
    text = str(detail)
    return text if text.endswith(".") else f"{text}."


def _validation_body(exc: exceptions.ValidationError) -> dict[str, Any]:
    errors = [
        {"path": path or "$", "code": str(detail.code), "detail": _sentence(detail)}
        for path, detail in _leaves(exc.detail, "")
    ]
    first = f" {errors[0]['path']}: {errors[0]['detail']}" if errors else ""
    return {
        "code": "invalid_request",
        "detail": f"The request is not valid.{first}",
        "errors": errors,
    }


def _leaves(detail: Any, path: str) -> list[tuple[str, exceptions.ErrorDetail]]:
    """The single errors of a nested DRF detail, each with the path of its field."""
    if isinstance(detail, dict):
        return [
            leaf
            for name, inner in detail.items()
            for leaf in _leaves(inner, path if name == "non_field_errors" else _joined(path, name))
        ]
    if isinstance(detail, list):
        # A list of texts is several errors of one field; a list of objects is one for each item.
        nested = any(not isinstance(inner, str) for inner in detail)
        return [
            leaf
            for index, inner in enumerate(detail)
            for leaf in _leaves(inner, f"{path}[{index}]" if nested else path)
        ]
    return [(path, detail)]


def _joined(path: str, name: object) -> str:
    if isinstance(name, int):  # the place of an item in a list
        return f"{path}[{name}]"
    return f"{path}.{name}" if path else str(name)
