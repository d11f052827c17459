"""Labels: what the outside world found out about records, sent in and read back."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from lepton_apps.accounts import access
from lepton_apps.alerts import selectors, services
from lepton_apps.alerts.filters import alert_filters
from lepton_apps.alerts.models import Label
from lepton_apps.alerts.services import GivenLabel
from lepton_apps.alerts.summary import moment
from lepton_apps.api.errors import TooManyRecordsError
from lepton_apps.api.serializers import (
    GivenLabelSerializer,
    LabelPageSerializer,
    LabelSerializer,
)
from lepton_apps.api.views.base import LeptonView, limit_of, query_of, user_of

FILTERS: Final = {
    "stream": "the labelled stream's name",
    "record_id": "the labelled record's id",
    "since": "received at or after this time, with its zone",
    "cursor": "`next` of the page before",
    "limit": "rows of a page, 1 to 200; 50 unless told",
}


class LabelsView(LeptonView):
    """GET /api/v1/labels, newest first. POST /api/v1/labels: one label or a list.

    A label that is known already adds nothing, so sending a list again is safe. A list is taken
    whole or not at all.
    """

    @extend_schema(
        operation_id="labels_list",
        parameters=[OpenApiParameter(name, description=text) for name, text in FILTERS.items()],
        responses=LabelPageSerializer,
    )
    def get(self, request: Request) -> Response:
        query = query_of(request, frozenset(FILTERS))
        user = user_of(request)
        filters = alert_filters(query, user.get_username())
        page = selectors.labels(
            access.verticals_of(user),
            stream=filters.stream,
            record_id=query.get("record_id"),
            since=filters.since,
            cursor=query.get("cursor"),
            limit=limit_of(query),
        )
        return Response({"results": [label_row(row) for row in page.labels], "next": page.next})

    @extend_schema(request=GivenLabelSerializer, responses=LabelSerializer)
    def post(self, request: Request) -> Response:
        many = isinstance(request.data, list)
        limit = settings.MAX_RECORDS_PER_REQUEST
        if many and len(request.data) > limit:
            raise TooManyRecordsError(
                f"{len(request.data)} labels in one request; send at most {limit}.", limit=limit
            )
        options: dict[str, Any] = {"many": True, "allow_empty": False} if many else {}
        serializer = GivenLabelSerializer(data=request.data, **options)
        serializer.is_valid(raise_exception=True)
        items = serializer.validated_data if many else [serializer.validated_data]
        given = [
            GivenLabel(
                stream=item["stream"],
                record_id=item["record_id"],
                positive=item["verdict"] == "positive",
                kind=item["kind"],
                labelled_at=item["labelled_at"],
            )
            for item in items
        ]
        rows = services.record_labels(given, source=Label.Source.REST, by=user_of(request))
        answers = [label_row(row) for row in rows]
        return Response({"results": answers} if many else answers[0])


def label_row(label: Label) -> dict[str, Any]:
    """A label as the API shows it. ``applied_at`` is null until its record's stream has used it."""
    return {
        "id": label.id,
        "stream": label.stream,
        "record_id": label.record_id,
        "verdict": "positive" if label.positive else "negative",
        "kind": label.kind,
        "source": label.source,
        "labelled_at": moment(label.labelled_at),
        "received_at": moment(label.received_at),
        "by": label.by and label.by.get_username(),
        "applied_at": label.applied_at and moment(label.applied_at),
    }
