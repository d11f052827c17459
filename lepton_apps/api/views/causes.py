"""Where an alert comes from, and what people declared so that this can be said."""

from __future__ import annotations

from typing import Any, Final

from django.urls import URLPattern, path
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from lepton_apps.accounts import access
from lepton_apps.accounts.models import Role
from lepton_apps.alerts import selectors as alerts
from lepton_apps.api.causes_serializers import InsightSerializer
from lepton_apps.api.views.base import LeptonView, query_of, user_of
from lepton_apps.streaming.causes import selectors, services
from lepton_apps.verticals.contract import Vertical

ASKED: Final = frozenset({"why"})  # written into the audit record


class AlertCausesView(LeptonView):
    """GET /api/v1/alerts/{id}/causes: its likely origin and suggested steps, computed now."""

    @extend_schema(responses=InsightSerializer)
    def get(self, request: Request, alert_id: int) -> Response:
        alert = alerts.alert(access.verticals_of(user_of(request)), alert_id)
        return Response(selectors.told(alert, selectors.insight_of(alert)))


class DeclarationView(LeptonView):
    """GET /api/v1/{vertical}/{name}: what is declared. PUT declares it anew, for operators."""

    # The document is the same for everybody, and a vertical does not exist for everybody.
    schema = None
    vertical: str = ""
    name: str = ""

    def get(self, request: Request) -> Response:
        access.require(user_of(request), self.vertical)
        return Response(selectors.declared(self.vertical, self.name).told())

    def put(self, request: Request) -> Response:
        access.require(user_of(request), self.vertical, Role.OPERATOR)
        why = query_of(request, ASKED).get("why", "")
        body: Any = request.data
        declared = services.declare(self.vertical, self.name, body, user_of(request), why)
        return Response(declared.told())


def declaration_urls(vertical: Vertical) -> list[URLPattern]:
    """What can be declared to a vertical, in both spellings of the address."""
    found = []
    for declaration in vertical.declarations:
        view = DeclarationView.as_view(vertical=vertical.key, name=declaration.name)
        route = f"{vertical.key}/{declaration.name}"
        found += [path(route, view), path(f"{route}/", view)]
    return found
