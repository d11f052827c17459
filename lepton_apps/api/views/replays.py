"""Replays: ask for one, see how far it is, read how it compares, cancel it."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from lepton_apps.accounts import access
from lepton_apps.accounts.models import Role
from lepton_apps.alerts.paging import cursor_before, row_id_of
from lepton_apps.api.serializers import (
    AskReplaySerializer,
    ReplayDetailSerializer,
    ReplayPageSerializer,
)
from lepton_apps.api.views.base import LeptonView, limit_of, query_of, require_stream, user_of
from lepton_apps.streaming.models import ReplayRun
from lepton_apps.streaming.replay import selectors, services, starting
from lepton_apps.streaming.replay.question import Question

FILTERS: Final = {
    "stream": "a stream's name",
    "cursor": "`next` of the page before",
    "limit": "rows of a page, 1 to 200; 50 unless told",
}


class ReplaysView(LeptonView):
    """GET /api/v1/replays, newest first."""

    @extend_schema(
        operation_id="replays_list",
        parameters=[OpenApiParameter(name, description=text) for name, text in FILTERS.items()],
        responses=ReplayPageSerializer,
    )
    def get(self, request: Request) -> Response:
        query = query_of(request, frozenset(FILTERS))
        limit = limit_of(query)
        cursor = query.get("cursor")
        rows = selectors.runs(
            access.verticals_of(user_of(request)),
            stream=query.get("stream") or None,
            before_id=None if cursor is None else row_id_of(cursor),
            limit=limit + 1,
        )
        more = len(rows) > limit
        rows = rows[:limit]
        return Response(
            {
                "results": [selectors.summary(row) for row in rows],
                "next": cursor_before(rows[-1].pk) if more else None,
            }
        )


class AskReplayView(LeptonView):
    """POST /api/v1/streams/{name}/replays: a process takes it up; look at it by its id."""

    @extend_schema(request=AskReplaySerializer, responses={201: ReplayDetailSerializer})
    def post(self, request: Request, name: str) -> Response:
        require_stream(request, name, Role.OPERATOR, scored=True)
        serializer = AskReplaySerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        question = msgspec.convert(
            {**serializer.validated_data, "stream": name}, Question, strict=False
        )
        return Response(_detail(starting.start(question, user_of(request))), status=201)


class ReplayView(LeptonView):
    """GET /api/v1/replays/{id}: with its result, once there is one."""

    @extend_schema(responses=ReplayDetailSerializer)
    def get(self, request: Request, run_id: int) -> Response:
        return Response(_detail(_found(request, run_id)))


class CancelReplayView(LeptonView):
    """POST /api/v1/replays/{id}/cancel: it stops between two chunks."""

    @extend_schema(request=None, responses=ReplayDetailSerializer)
    def post(self, request: Request, run_id: int) -> Response:
        run = _found(request, run_id)
        require_stream(request, run.stream, Role.OPERATOR)
        services.cancel(run, user_of(request))
        return Response(_detail(_found(request, run_id)))


def _found(request: Request, run_id: int) -> ReplayRun:
    return selectors.run(access.verticals_of(user_of(request)), run_id)


def _detail(run: ReplayRun) -> dict[str, Any]:
    return {**selectors.summary(run), "result": run.result}
