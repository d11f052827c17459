"""Dead letters: records set aside, to be looked at, mended and sent again, or thrown away."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from lepton_apps.accounts import access
from lepton_apps.accounts.models import Role
from lepton_apps.alerts.paging import cursor_before, row_id_of
from lepton_apps.alerts.summary import moment
from lepton_apps.api.payloads import payload_fields
from lepton_apps.api.serializers import (
    DeadLetterDetailSerializer,
    DeadLetterPageSerializer,
    RedriveSerializer,
)
from lepton_apps.api.views.base import (
    LeptonView,
    limit_of,
    query_of,
    refused,
    require_stream,
    user_of,
)
from lepton_apps.streaming import selectors, services
from lepton_apps.streaming.models import DeadLetter

FILTERS: Final = {
    "stream": "a stream's name",
    "status": "new (unless told), redriven or discarded",
    "cursor": "`next` of the page before",
    "limit": "rows of a page, 1 to 200; 50 unless told",
}


class DeadLettersView(LeptonView):
    """GET /api/v1/dead-letters, newest first."""

    @extend_schema(
        operation_id="dead_letters_list",
        parameters=[OpenApiParameter(name, description=text) for name, text in FILTERS.items()],
        responses=DeadLetterPageSerializer,
    )
    def get(self, request: Request) -> Response:
        query = query_of(request, frozenset(FILTERS))
        status = query.get("status") or DeadLetter.Status.NEW
        if status not in DeadLetter.Status.values:
            listed = ", ".join(DeadLetter.Status.values)
            raise refused("status", f"{status[:80]!r} is not one of {listed}.")
        limit = limit_of(query)
        cursor = query.get("cursor")
        rows = selectors.dead_letters(
            access.verticals_of(user_of(request)),
            stream=query.get("stream") or None,
            status=status,
            before_id=None if cursor is None else row_id_of(cursor),
            limit=limit + 1,
        )
        more = len(rows) > limit
        rows = rows[:limit]
        return Response(
            {
                "results": [_row(row) for row in rows],
                "next": cursor_before(rows[-1].id) if more else None,
            }
        )


class DeadLetterView(LeptonView):
    """GET /api/v1/dead-letters/{id}: with the bytes of the record."""

    @extend_schema(responses=DeadLetterDetailSerializer)
    def get(self, request: Request, dead_letter_id: int) -> Response:
        return Response(_detail(_found(request, dead_letter_id)))


class RedriveDeadLetterView(LeptonView):
    """POST /api/v1/dead-letters/{id}/redrive: put it back, as it came or edited."""

    @extend_schema(request=RedriveSerializer, responses=DeadLetterDetailSerializer)
    def post(self, request: Request, dead_letter_id: int) -> Response:
        serializer = RedriveSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        row = _found(request, dead_letter_id)
        require_stream(request, row.stream, Role.OPERATOR)
        services.redrive(row.id, user_of(request), serializer.validated_data["bytes"])
        return Response(_detail(_found(request, dead_letter_id)))


class DiscardDeadLetterView(LeptonView):
    """POST /api/v1/dead-letters/{id}/discard: say that nothing will be done about it."""

    @extend_schema(request=None, responses=DeadLetterDetailSerializer)
    def post(self, request: Request, dead_letter_id: int) -> Response:
        row = _found(request, dead_letter_id)
        require_stream(request, row.stream, Role.OPERATOR)
        services.discard(row.id, user_of(request))
        return Response(_detail(_found(request, dead_letter_id)))


def _found(request: Request, dead_letter_id: int) -> DeadLetter:
    return selectors.dead_letter(access.verticals_of(user_of(request)), dead_letter_id)


def _row(row: DeadLetter) -> dict[str, Any]:
    return {
        "id": row.id,
        "failed_at": moment(row.failed_at),
        "stream": row.stream,
        "topic": row.topic,
        "partition": row.partition,
        "offset": row.offset,
        "reason": row.reason,
        "detail": row.detail,
        "path": row.path,
        "status": row.status,
    }


def _detail(row: DeadLetter) -> dict[str, Any]:
    return {**_row(row), **payload_fields(row.payload)}
