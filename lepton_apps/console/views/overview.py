"""The overview: whether everything runs, what waits, and how the last hours went."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from lepton_apps.alerts import selectors as alerts
from lepton_apps.console import overview
from lepton_apps.console.views.base import is_htmx, page, readable
from lepton_apps.console.views.streams import described
from lepton_apps.streaming import selectors as streaming
from lepton_apps.streaming.budgets.selectors import budget_overviews


@require_GET
@page
def overview_page(request: HttpRequest) -> HttpResponse:
    """GET /overview/?span=1h|24h; htmx asks again every few seconds and gets the content alone."""
    seen = readable(request)
    span = overview.span_of(request.GET.get("span", ""))
    streams = [described(each) for each in streaming.stream_overviews(seen)]
    opened = overview.alerts_of_day([stream["name"] for stream in streams])
    budgets = {each["stream"]: each for each in budget_overviews(seen)}
    for stream in streams:
        stream["budget"] = budgets.get(stream["name"])
        stream["alerts"] = opened[stream["name"]]
        moments = [part["watermark"] for part in stream["partitions"] if part["watermark"]]
        stream["newest"] = max(moments, default=None)
        stream["silent"] = sum(1 for worker in stream["workers"] if worker["silent"])
    context = {
        "span": span,
        "spans": overview.SPANS,
        "streams": streams,
        "figures": overview.figures(seen, streams, alerts.status_counts(seen)),
        "notices": overview.notices(streams),
        "charts": overview.charts(streams, span),
    }
    template = "console/parts/overview.html" if is_htmx(request) else "console/overview.html"
    return render(request, template, context)
