"""One record that was decided on: what came, what was made of it, and what was decided."""

from __future__ import annotations

from uuid import UUID

import numpy as np
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from lepton_apps.common.errors import NotFoundError
from lepton_apps.console import reading
from lepton_apps.console.views.base import page, readable
from lepton_apps.model_registry import selectors as models
from lepton_apps.streaming import selectors as streaming
from lepton_apps.streaming.models import Decision
from lepton_apps.verticals import registry


@require_GET
@page
def record_page(request: HttpRequest, decision_id: UUID) -> HttpResponse:
    """GET /records/{decision id}/"""
    decision = streaming.decision_by_id(decision_id)
    if decision is None or not _is_readable(request, decision.stream):
        raise NotFoundError(f"There is no decision {decision_id}.")
    context = {
        "decision": decision,
        "payload": reading.pretty(decision.payload),
        "features": _features(decision),
    }
    return render(request, "console/record.html", context)


def _is_readable(request: HttpRequest, stream: str) -> bool:
    try:
        vertical, _ = registry.stream(stream)
    except LookupError:
        return False  # the stream has gone, and nobody can say whose it was
    return vertical.key in readable(request)


def _features(decision: Decision) -> list[tuple[str, str]]:
    """Names and values, where the row is of the schema that the stream has now."""
    _, stream = registry.stream(decision.stream)
    x_F = np.frombuffer(bytes(decision.features), dtype="<f4")
    names = stream.extractor.schema.names
    version = models.version_of(decision.stream, decision.model_version)
    if len(x_F) != len(names) or (version is not None and not models.fits(version)):
        return []
    return [(name, reading.compact(float(value))) for name, value in zip(names, x_F, strict=True)]
