"""From the bytes of a body to data, or to records that keep their bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, TypeVar

import msgspec
from django.conf import settings
from rest_framework.parsers import BaseParser

from lepton_apps.api.errors import NotJsonError, TooManyRecordsError
from lepton_apps.common.errors import RecordRefusedError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Records:
    """The records of one request, each as the bytes that were sent."""

    payloads: list[bytes]
    is_list: bool  # whether the answer is a list too, however many there are


class StrictJSONParser(BaseParser):
    """JSON as the standard has it: no NaN, no broken text, no nesting without end."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        return decoded(body_of(parser_context), Any)


class RecordsParser(StrictJSONParser):
    """One record, a list of records, or ``{"records": [...]}``.

    A record is not decoded here: numbers keep their digits and unknown fields stay.
    """

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        return split_records(body_of(parser_context))


def body_of(parser_context: Mapping[str, Any] | None) -> bytes:
    # Reading the stream would go around Django's limit on the size of a body.
    body: bytes = (parser_context or {})["request"].body
    return body


def decoded(body: bytes, as_type: type[T]) -> T:
    """The JSON value of a body, or why it is none."""
    try:
        return msgspec.json.decode(body, type=as_type)
    except msgspec.DecodeError as exc:
        raise NotJsonError(f"The body is not JSON: {exc}.") from None
    except UnicodeDecodeError as exc:
        raise NotJsonError(f"The body is not UTF-8 at byte {exc.start}.") from None
    except RecursionError:
        raise NotJsonError("The body is nested too deeply.") from None


def split_records(body: bytes) -> Records:
    """Cut a body into its records.

    Raises:
        NotJsonError: it is not JSON, or neither an object nor a list.
        TooManyRecordsError: more than MAX_RECORDS_PER_REQUEST.
        RecordRefusedError: a record is larger than MAX_RECORD_BYTES; ``index`` says which.
    """
    body = body.strip(b" \t\r\n")
    if body.startswith(b"["):
        return _listed(body)
    if not body.startswith(b"{"):
        raise NotJsonError("The body must be a JSON object (a record) or a list of them.")
    fields = decoded(body, dict[str, msgspec.Raw])
    if set(fields) == {"records"}:
        return _listed(bytes(fields["records"]))
    _check_size(body, None)
    return Records([body], is_list=False)


def _listed(body: bytes) -> Records:
    if not body.startswith(b"["):
        raise NotJsonError("`records` must be a list.")
    payloads = [bytes(raw) for raw in decoded(body, list[msgspec.Raw])]
    if not payloads:
        raise RecordRefusedError("The list of records is empty.", reason="no_records")
    if len(payloads) > settings.MAX_RECORDS_PER_REQUEST:
        raise TooManyRecordsError(
            f"{len(payloads)} records in one request; "
            f"send at most {settings.MAX_RECORDS_PER_REQUEST}.",
            limit=settings.MAX_RECORDS_PER_REQUEST,
        )
    for index, payload in enumerate(payloads):
        _check_size(payload, index)
    return Records(payloads, is_list=True)


def _check_size(payload: bytes, index: int | None) -> None:
    if len(payload) <= settings.MAX_RECORD_BYTES:
        return
    refused = RecordRefusedError(
        f"The record has {len(payload)} bytes; at most {settings.MAX_RECORD_BYTES} are taken.",
        reason="too_large",
    )
    if index is not None:
        refused.data["index"] = index
    raise refused
