"""The audit record, for those who administer: a page of it as JSON, or many lines to keep."""

from __future__ import annotations

import csv
import io
import json
from typing import Any, Final

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response

from lepton_apps.accounts import access
from lepton_apps.alerts.paging import cursor_before, row_id_of
from lepton_apps.alerts.summary import moment
from lepton_apps.api.account_serializers import AuditPageSerializer
from lepton_apps.api.views.base import LeptonView, limit_of, query_of, refused, user_of
from lepton_apps.audit import selectors
from lepton_apps.audit.models import AuditEntry

FILTERS: Final = {
    "person": "who did it; `lepton` is the server",
    "action": "how it begins: `alert.` is all that was done to alerts",
    "target": "how it begins: `alert:41`, `user:`",
    "vertical": "a vertical's key",
    "since": "at or after this time, with its zone",
    "until": "before this time, with its zone",
    "cursor": "`next` of the page before",
    "limit": "rows of a page, 1 to 200; 50 unless told",
}
EXPORT: Final = {
    **FILTERS,
    "as": "`jsonl` (unless told) or `csv`",
    "limit": "lines of an answer, 1 to 10000; 1000 unless told",
}
EXPORT_LINES: Final = 1_000
MAX_EXPORT_LINES: Final = 10_000
COLUMNS: Final = ("id", "at", "person", "action", "target", "vertical", "why", "data")
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for one


def parameters(known: dict[str, str]) -> list[OpenApiParameter]:
    return [OpenApiParameter(name, description=text) for name, text in known.items()]


class AuditView(LeptonView):
    """GET /api/v1/audit: newest first; of the verticals that the asker administers."""

    @extend_schema(
        operation_id="audit_list", parameters=parameters(FILTERS), responses=AuditPageSerializer
    )
    def get(self, request: Request) -> Response:
        query = query_of(request, frozenset(FILTERS))
        rows, following = found(request, query, limit_of(query))
        return Response({"results": [entry_row(row) for row in rows], "next": following})


class AnyAccept(BaseContentNegotiation):
    """The query says what comes, so no Accept header is refused."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class AuditExportView(LeptonView):
    """GET /api/v1/audit/export: lines to keep elsewhere; ``Link`` leads to the next ones."""

    content_negotiation_class = AnyAccept

    @extend_schema(
        operation_id="audit_export",
        parameters=parameters(EXPORT),
        responses={(200, "application/x-ndjson"): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> HttpResponse:
        query = dict(query_of(request, frozenset(EXPORT)))
        kind = query.pop("as", "jsonl")
        if kind not in ("jsonl", "csv"):
            raise refused("as", f"{kind[:80]!r} is not one of jsonl, csv.")
        text = query.get("limit") or str(EXPORT_LINES)
        if not (
            text.isascii()
            and text.isdigit()
            and len(text) < 10
            and 1 <= int(text) <= MAX_EXPORT_LINES
        ):
            raise refused("limit", f"limit={text[:20]} is not between 1 and {MAX_EXPORT_LINES}.")
        rows, following = found(request, query, int(text))
        lines = [entry_row(row) for row in rows]
        body, media_type = (
            (as_csv(lines), "text/csv; charset=utf-8; header=present")
            if kind == "csv"
            else ("".join(f"{json.dumps(line)}\n" for line in lines), "application/x-ndjson")
        )
        response = HttpResponse(body, content_type=media_type)
        response["Content-Disposition"] = f'attachment; filename="audit.{kind}"'
        if following is not None:
            address = request.build_absolute_uri(request.path)
            again = request._request.GET.copy()
            again["cursor"] = following
            response["Link"] = f'<{address}?{again.urlencode()}>; rel="next"'
        return response


def found(
    request: Request, query: dict[str, str] | Any, limit: int
) -> tuple[list[AuditEntry], str | None]:
    """The rows of a page, and the cursor of the next one. Raises PermissionRefusedError."""
    user = user_of(request)
    verticals = access.administered(user)
    cursor = query.get("cursor")
    rows = selectors.entries(
        None if access.is_superuser(user) else verticals,
        selectors.audit_filters(query),
        before_id=None if cursor is None else row_id_of(cursor),
        limit=limit + 1,
    )
    more = len(rows) > limit
    rows = rows[:limit]
    return rows, cursor_before(rows[-1].pk) if more else None


def entry_row(entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": entry.pk,
        "at": moment(entry.at),
        "person": entry.actor_name,
        "action": entry.action,
        "target": entry.target,
        "vertical": entry.vertical,
        "why": entry.why,
        "data": entry.data,
    }


def as_csv(rows: list[dict[str, Any]]) -> str:
    """With a header. Text that a spreadsheet would run as a formula gets a quote before it."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for row in rows:
        cells = [json.dumps(row[name]) if name == "data" else str(row[name]) for name in COLUMNS]
        writer.writerow([f"'{cell}" if cell.startswith(FORMULA) else cell for cell in cells])
    return out.getvalue()
