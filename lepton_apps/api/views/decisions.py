"""Scoring over HTTP: as a question that leaves no trace, and as a decision that counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from lepton_apps.accounts.models import Role
from lepton_apps.api.errors import NotJsonError
from lepton_apps.api.parsers import Records, RecordsParser
from lepton_apps.api.serializers import DecisionSerializer
from lepton_apps.api.views.base import LeptonView, require_stream
from lepton_apps.streaming import services

BODIES: Final = [
    OpenApiExample("one record", {"id": "t-1", "occurred_at": "2026-03-01T10:00:00Z"}),
    OpenApiExample("several", {"records": [{"id": "t-1"}, {"id": "t-2"}]}),
]


class ScoreView(LeptonView):
    """POST /api/v1/streams/{name}/score: what would be decided now. Writes nothing."""

    parser_classes = [RecordsParser]

    @extend_schema(request=OpenApiTypes.OBJECT, examples=BODIES, responses=DecisionSerializer)
    def post(self, request: Request, name: str) -> Response:
        require_stream(request, name, Role.VIEWER, scored=True)
        return _answer(request, name, services.score)


class DecisionsView(LeptonView):
    """POST /api/v1/streams/{name}/decisions: decide and record; a repeat gets the first decision.

    A list is taken whole or not at all: one record that is refused refuses the request.
    """

    parser_classes = [RecordsParser]

    @extend_schema(request=OpenApiTypes.OBJECT, examples=BODIES, responses=DecisionSerializer)
    def post(self, request: Request, name: str) -> Response:
        require_stream(request, name, Role.OPERATOR, scored=True)
        return _answer(request, name, services.decide)


def _answer(
    request: Request, name: str, take: Callable[[str, Sequence[bytes]], list[dict[str, Any]]]
) -> Response:
    records = request.data
    if not isinstance(records, Records):
        raise NotJsonError("The body is empty; send a record or a list of them.")
    results = take(name, records.payloads)
    # A record may make no decision of its own: a line waits until its window is told of.
    one_alone = results and not records.is_list
    return Response(results[0] if one_alone else {"results": results})
