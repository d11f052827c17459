"""What a vertical shows of itself, and the navigation, which lists every vertical."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_GET

from lepton_apps.alerts import selectors as alerts
from lepton_apps.common.errors import NotFoundError
from lepton_apps.console.views.base import page, readable
from lepton_apps.console.views.streams import described
from lepton_apps.streaming import selectors as streaming
from lepton_apps.verticals import registry


@require_GET
@page
def panel_page(request: HttpRequest, vertical: str) -> HttpResponse:
    """GET /panels/{vertical}/"""
    if vertical not in readable(request):
        raise NotFoundError(f"There is no area {vertical!r}.")
    declared = registry.vertical(vertical)
    context = {
        "vertical": declared,
        "counts": alerts.status_counts([vertical]),
        "streams": [described(overview) for overview in streaming.stream_overviews([vertical])],
        "panels": [
            # The vertical's own template, escaped by the template engine like every other.
            (panel.title, mark_safe(render_to_string(panel.template, dict(panel.load()), request)))  # noqa: S308
            for panel in declared.panels
        ],
    }
    return render(request, "console/panels.html", context)


@require_GET
@page
def nav(request: HttpRequest) -> HttpResponse:
    """GET /nav/: the navigation alone, with fresh counts."""
    return render(request, "console/parts/nav.html")
