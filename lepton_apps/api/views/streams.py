"""Streams as they run: lag, workers, losses, halts."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from lepton_apps.accounts import access
from lepton_apps.accounts.models import Role
from lepton_apps.api.serializers import StreamListSerializer, StreamSerializer
from lepton_apps.api.views.base import LeptonView, require_stream, user_of
from lepton_apps.common.errors import NotFoundError
from lepton_apps.streaming import selectors, services


class StreamsView(LeptonView):
    """GET /api/v1/streams: every stream of the verticals that the asker may see."""

    @extend_schema(operation_id="streams_list", responses=StreamListSerializer)
    def get(self, request: Request) -> Response:
        return Response(
            {"results": selectors.stream_overviews(access.verticals_of(user_of(request)))}
        )


class StreamView(LeptonView):
    """GET /api/v1/streams/{name}."""

    @extend_schema(responses=StreamSerializer)
    def get(self, request: Request, name: str) -> Response:
        return Response(_overview(name, require_stream(request, name, Role.VIEWER)))


class ResumeStreamView(LeptonView):
    """POST /api/v1/streams/{name}/resume: let a halted stream go on. For admins."""

    @extend_schema(request=None, responses=StreamSerializer)
    def post(self, request: Request, name: str) -> Response:
        vertical = require_stream(request, name, Role.ADMIN)
        services.resume(name, user_of(request))
        return Response(_overview(name, vertical))


def _overview(name: str, vertical: str) -> dict[str, Any]:
    for overview in selectors.stream_overviews({vertical}):
        if overview["name"] == name:
            return overview
    raise NotFoundError(f"There is no stream {name!r}.", stream=name)
