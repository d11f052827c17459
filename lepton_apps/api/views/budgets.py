"""A stream's alert budget: wanted, achieved, and the thresholds that follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from lepton_apps.accounts.models import Role
from lepton_apps.api.serializers import BudgetSerializer, SetBudgetSerializer
from lepton_apps.api.views.base import LeptonView, query_of, refused, require_stream, user_of
from lepton_apps.streaming.budgets import selectors, services
from lepton_apps.streaming.models import AlertBudget

ASKED: Final = {
    "per_day": "answer also what this budget would come to",
    "kind": "of that budget: alerts, reviews or false_alarms; alerts unless told",
}


class BudgetView(LeptonView):
    """GET /api/v1/streams/{name}/budget. PUT sets it, for admins; ``per_day`` null clears it."""

    @extend_schema(
        parameters=[OpenApiParameter(name, description=text) for name, text in ASKED.items()],
        responses=BudgetSerializer,
    )
    def get(self, request: Request, name: str) -> Response:
        require_stream(request, name, Role.VIEWER, scored=True)
        query = query_of(request, frozenset(ASKED))
        stream = selectors.stream_of(name)
        if not query:
            return Response(selectors.report(stream))
        return Response(selectors.report(stream, *_asked(query)))

    @extend_schema(request=SetBudgetSerializer, responses=BudgetSerializer)
    def put(self, request: Request, name: str) -> Response:
        require_stream(request, name, Role.ADMIN, scored=True)
        serializer = SetBudgetSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        given = serializer.validated_data
        stream, user = selectors.stream_of(name), user_of(request)
        if given["per_day"] is None:
            services.clear_budget(stream, user, given["why"])
        else:
            services.set_budget(stream, given["kind"], given["per_day"], user, given["why"])
        return Response(selectors.report(stream))


def _asked(query: Mapping[str, str]) -> tuple[str, float]:
    text = query.get("per_day", "")
    try:
        per_day = float(text)
    except ValueError:
        raise refused("per_day", f"per_day={text[:20]!r} is no number.") from None
    return services.checked(query.get("kind", AlertBudget.Kind.ALERTS.value), per_day)
