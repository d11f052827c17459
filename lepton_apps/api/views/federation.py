"""This server as a site: what it allows, and the two calls of a coordinator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any, Final

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from lepton_apps.accounts import access
from lepton_apps.accounts.models import Purpose, Role
from lepton_apps.api.federation_serializers import FederationDetailSerializer
from lepton_apps.api.parsers import body_of
from lepton_apps.api.views.base import LeptonView, require_stream, user_of
from lepton_apps.common.errors import NotFoundError
from lepton_apps.streaming.federation import limits, selectors, services, starting
from lepton_apps.streaming.federation.errors import FederationRefusedError
from lepton_apps.verticals.contract import Stream
from models_core.federation_wire import JOIN_BYTES, MEDIA_TYPE

BINARY: Final = "application/octet-stream"
WIRE: Final = {MEDIA_TYPE: OpenApiTypes.BINARY}
ANSWER: Final = {(200, BINARY): OpenApiTypes.BINARY}


class WireParser(BaseParser):
    """The bytes as they came; ``models_core.federation_wire`` reads them."""

    media_type = MEDIA_TYPE

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        return body_of(parser_context)


class FederationView(LeptonView):
    """GET /api/v1/federation/{stream}: what is allowed, spent and left, and the newest rounds."""

    @extend_schema(responses=FederationDetailSerializer)
    def get(self, request: Request, stream: str) -> Response:
        require_stream(request, stream, Role.VIEWER, scored=True)
        return Response(
            {
                **selectors.status(selectors.stream_named(stream)),
                "newest_rounds": [selectors.round_row(row) for row in selectors.rounds(stream)],
            }
        )


class CoordinatorView(LeptonView):
    """A call of a coordinator, whose token is for federation in the stream's vertical alone."""

    purpose = Purpose.FEDERATION
    parser_classes = [WireParser]

    def stream(self, request: Request, name: str) -> Stream:
        """Raises NotFoundError and PermissionRefusedError, before the body is looked at."""
        try:
            stream = selectors.stream_named(name)
            access.require_federation(user_of(request), name.partition(".")[0])
        except NotFoundError:
            raise NotFoundError(f"There is no stream {name!r}.", stream=name) from None
        return stream


class JoinFederationView(CoordinatorView):
    """POST /api/v1/federation/{stream}/join: a round; answers with this site's key for it."""

    @extend_schema(request=WIRE, responses=ANSWER)
    def post(self, request: Request, stream: str) -> HttpResponse:
        declared = self.stream(request, stream)
        body = _body(request)
        if len(body) > JOIN_BYTES:
            raise FederationRefusedError(
                f"The round has {len(body)} bytes; at most {JOIN_BYTES} are taken."
            )
        key = services.join(declared, limits.round_of(body), user_of(request))
        return HttpResponse(key, content_type=BINARY)


class UpdateFederationView(CoordinatorView):
    """POST /api/v1/federation/{stream}/update: trains, and answers with the masked update."""

    @extend_schema(request=WIRE, responses=ANSWER)
    def post(self, request: Request, stream: str) -> HttpResponse:
        declared = self.stream(request, stream)
        update = starting.update(declared, user_of(request), _body(request))
        return HttpResponse(update, content_type=BINARY)


def _body(request: Request) -> bytes:
    """What was sent. The framework does not ask the parser where that is nothing."""
    body: object = request.data
    return body if isinstance(body, bytes) else b""
