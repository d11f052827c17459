"""Alerts: the list, one of them, and what operators do to it."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth.models import User
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from lepton_apps.accounts import access
from lepton_apps.alerts import selectors, services
from lepton_apps.alerts.errors import AssigneeRefusedError
from lepton_apps.alerts.filters import alert_filters
from lepton_apps.alerts.models import Alert, Label
from lepton_apps.alerts.summary import loaded_summary, moment
from lepton_apps.api.payloads import payload_fields
from lepton_apps.api.serializers import (
    AlertDetailSerializer,
    AlertPageSerializer,
    AlertSerializer,
    AssignSerializer,
    ResolveSerializer,
    VerdictSerializer,
)
from lepton_apps.api.views.base import LeptonView, limit_of, query_of, user_of
from lepton_apps.api.views.labels import label_row
from lepton_apps.model_registry.summary import model_of_alert
from lepton_apps.streaming.budgets.selectors import thresholds_that_decided
from lepton_apps.streaming.selectors import decision_of

FILTERS: Final = {
    "vertical": "its key",
    "status": "one or more of open, acknowledged, confirmed, dismissed, with commas",
    "severity": "one or more of low, medium, high, critical, with commas",
    "stream": "a stream's name",
    "entity": "the whole entity key",
    "assigned_to": "a username, me, or none",
    "reason": "a reason code",
    "since": "opened at or after this time, with its zone",
    "until": "opened before this time, with its zone",
    "q": "part of the title or of the entity key",
    "cursor": "`next` of the page before",
    "limit": "rows of a page, 1 to 200; 50 unless told",
}


class AlertsView(LeptonView):
    """GET /api/v1/alerts: newest first, and the feed's place at the same moment."""

    @extend_schema(
        operation_id="alerts_list",
        parameters=[OpenApiParameter(name, description=text) for name, text in FILTERS.items()],
        responses=AlertPageSerializer,
    )
    def get(self, request: Request) -> Response:
        query = query_of(request, frozenset(FILTERS))
        user = user_of(request)
        page = selectors.alerts(
            access.verticals_of(user),
            alert_filters(query, user.get_username()),
            query.get("cursor"),
            limit_of(query),
        )
        return Response(
            {
                "results": [loaded_summary(alert) for alert in page.alerts],
                "next": page.next,
                "feed_cursors": page.feed_cursors,
            }
        )


class AlertView(LeptonView):
    """GET /api/v1/alerts/{id}: with explanation, facts, labels and the record itself."""

    @extend_schema(responses=AlertDetailSerializer)
    def get(self, request: Request, alert_id: int) -> Response:
        alert = selectors.alert(access.verticals_of(user_of(request)), alert_id)
        return Response(_detail(alert))


class AcknowledgeAlertView(LeptonView):
    """POST /api/v1/alerts/{id}/acknowledge."""

    @extend_schema(request=None, responses=AlertSerializer)
    def post(self, request: Request, alert_id: int) -> Response:
        return Response(loaded_summary(services.acknowledge(alert_id, user_of(request))))


class AssignAlertView(LeptonView):
    """POST /api/v1/alerts/{id}/assign {"assigned_to": "<username>" | null}."""

    @extend_schema(request=AssignSerializer, responses=AlertSerializer)
    def post(self, request: Request, alert_id: int) -> Response:
        serializer = AssignSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        # Rights first: whoever may not assign shall not learn which accounts there are.
        services.permit(alert_id, user_of(request))
        username = serializer.validated_data["assigned_to"]
        assignee = None if username is None else _account(username)
        return Response(loaded_summary(services.assign(alert_id, assignee, user_of(request))))


class ResolveAlertView(LeptonView):
    """POST /api/v1/alerts/{id}/resolve {"verdict": "positive" | "negative", "note": "..."}."""

    @extend_schema(request=ResolveSerializer, responses=AlertSerializer)
    def post(self, request: Request, alert_id: int) -> Response:
        serializer = ResolveSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        alert = services.resolve(
            alert_id,
            serializer.validated_data["verdict"] == "positive",
            user_of(request),
            note=serializer.validated_data["note"],
            source=Label.Source.REST,
        )
        return Response(loaded_summary(alert))


class LabelAlertView(LeptonView):
    """POST /api/v1/alerts/{id}/label {"verdict": "positive" | "negative"}."""

    @extend_schema(request=VerdictSerializer, responses=AlertSerializer)
    def post(self, request: Request, alert_id: int) -> Response:
        serializer = VerdictSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        positive = serializer.validated_data["verdict"] == "positive"
        alert = services.label(alert_id, positive, user_of(request), source=Label.Source.REST)
        return Response(loaded_summary(alert))


def _account(username: str) -> User:
    try:
        return User.objects.get(username=username)
    except User.DoesNotExist:
        raise AssigneeRefusedError(
            f"There is no account named {username!r}.", assignee=username
        ) from None


def _detail(alert: Alert) -> dict[str, Any]:
    decision = decision_of(alert.decision_id, alert.decided_at)
    labels = selectors.labels_of(alert)
    acknowledged, resolved = alert.acknowledged_at, alert.resolved_at
    return {
        **loaded_summary(alert),
        "acknowledged_at": acknowledged and moment(acknowledged),
        "acknowledged_by": alert.acknowledged_by and alert.acknowledged_by.get_username(),
        "resolved_at": resolved and moment(resolved),
        "resolved_by": alert.resolved_by and alert.resolved_by.get_username(),
        "explanation": alert.explanation,
        "base": alert.base,
        "log_odds": alert.log_odds,
        "facts": alert.facts,
        "evidence": alert.evidence,
        "thresholds": thresholds_that_decided(alert),
        "labels": [label_row(label) for label in labels],
        "model": model_of_alert(alert.stream, alert.model_version, alert.decided_at),
        "decision": decision
        and {
            "decision_id": str(decision.id),
            "decided_at": moment(decision.decided_at),
            "record_id": decision.record_id,
            "occurred_at": moment(decision.occurred_at),
            "score": decision.score,
            "outcome": decision.outcome,
            **payload_fields(decision.payload),
        },
    }
