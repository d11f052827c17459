"""Where an alert comes from: a fragment that its page loads after itself, and a page without JavaScript."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from lepton_apps.alerts import selectors
from lepton_apps.alerts.summary import loaded_summary
from lepton_apps.console.views.base import is_htmx, page, readable
from lepton_apps.streaming.causes.selectors import insight_of


@require_GET
@page
def alert_causes(request: HttpRequest, alert_id: int) -> HttpResponse:
    """GET /alerts/{id}/causes/: computed when it is asked for, kept nowhere."""
    alert = selectors.alert(readable(request), alert_id)
    insight = insight_of(alert)
    likeliest = max((origin.score for origin in insight.origins), default=0.0) or 1.0
    context: dict[str, Any] = {
        "row": loaded_summary(alert),
        "insight": insight,
        "origins": [
            {
                "origin": origin,
                "itself": origin.entity_key == alert.entity_key,
                "percent": f"{100 * origin.score / likeliest:.0f}",
            }
            for origin in insight.origins
        ],
    }
    part = "parts/alert_causes.html" if is_htmx(request) else "alert_causes.html"
    return render(request, f"console/{part}", context)
