"""Alert budgets: what is wanted and what came, the thresholds that follow, and setting one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from lepton_apps.accounts import access
from lepton_apps.accounts.models import Role
from lepton_apps.common import clock
from lepton_apps.console.views.base import page, readable, scored_stream, user_of
from lepton_apps.streaming.budgets import selectors, services
from lepton_apps.streaming.budgets.services import BudgetRefusedError
from lepton_apps.streaming.models import AlertBudget
from lepton_apps.verticals import registry

KINDS: Final = {
    AlertBudget.Kind.ALERTS.value: "alerts",
    AlertBudget.Kind.REVIEWS.value: "reviews: every loud record",
    AlertBudget.Kind.FALSE_ALARMS.value: "false alarms",
}
HEIGHT: Final = 48.0  # of the chart, in its own units; a day is 10 wide
DAY: Final = 10
GAP: Final = 2
# Where the chart ends, in budgets: one bad day must not flatten all the others.
MOST: Final = 3.0


@require_GET
@page
def budget_list(request: HttpRequest) -> HttpResponse:
    """GET /budgets/"""
    seen = readable(request)
    admin = access.verticals_of(user_of(request), Role.ADMIN)
    streams = [
        described(selectors.report(stream)) | {"may_set": vertical.key in admin}
        for vertical in registry.verticals()
        if vertical.key in seen
        for stream in vertical.streams
    ]
    return render(request, "console/budgets.html", {"streams": streams, "kinds": KINDS})


@require_GET
@page
def preview(request: HttpRequest, stream: str) -> HttpResponse:
    """GET /budgets/{stream}/preview/?kind=&per_day=: what such a budget would come to."""
    scored = scored_stream(request, stream, Role.VIEWER)
    try:
        told = selectors.report(scored, *_given(request.GET))
    except BudgetRefusedError as error:
        return render(request, "console/parts/budget_preview.html", {"error": error.detail})
    context = {"preview": _previewed(told["preview"]), "now": told}
    return render(request, "console/parts/budget_preview.html", context)


@require_POST
@page
def set_budget(request: HttpRequest, stream: str) -> HttpResponse:
    """POST /budgets/{stream}/set/ kind= per_day= why="""
    scored = scored_stream(request, stream, Role.ADMIN)
    user, why = user_of(request), request.POST.get("why", "")
    try:
        kind, per_day = _given(request.POST)
        services.set_budget(scored, kind, per_day, user, why)
    except BudgetRefusedError as error:
        messages.error(request, f"{stream}: {error.detail}")
    else:
        messages.success(request, f"{stream}: {per_day:g} {_word(kind)} a day from now on.")
    return redirect("console:budgets")


@require_POST
@page
def clear_budget(request: HttpRequest, stream: str) -> HttpResponse:
    """POST /budgets/{stream}/clear/"""
    scored = scored_stream(request, stream, Role.ADMIN)
    services.clear_budget(scored, user_of(request))
    messages.success(request, f"{stream}: no budget; the model's own thresholds hold again.")
    return redirect("console:budgets")


def described(told: Mapping[str, Any]) -> dict[str, Any]:
    """A report with what its card needs: words, numbers to read, and the chart."""
    budget = told["budget"]
    counted = "reviews" if told["kind"] == AlertBudget.Kind.REVIEWS else "alerts"
    return {
        **told,
        "word": _word(told["kind"]),
        "condition": _condition(told),
        "counted": counted,
        "young": _young(told["scored_days"]),
        "chart": chart(
            [(day["day"], int(day[counted])) for day in told["days"]],
            # Bars are alerts; false alarms are some of them, and no line can be drawn for those.
            budget["per_day"] if budget and told["kind"] == counted else None,
        ),
    }


def chart(days: list[tuple[str, int]], wanted: float | None) -> dict[str, Any]:
    """Bars of the last days and a line for what is wanted, as places in a box."""
    largest = float(max((count for _, count in days), default=0)) or 1.0
    top = max(1.0, min(largest, wanted * MOST) if wanted else largest, (wanted or 0) * 1.1)
    bars = []
    for place, (day, count) in enumerate(days):
        height = HEIGHT * min(1.0, count / top)
        bars.append(
            {
                "day": day,
                "count": count,
                "x": place * DAY,
                "y": f"{HEIGHT - height:.1f}",
                "height": f"{height:.1f}",
                "over": wanted is not None and count > wanted * 1.2,
            }
        )
    return {
        "bars": bars,
        "width": len(days) * DAY - GAP,
        "bar": DAY - GAP,
        "height": HEIGHT,
        "line": None if wanted is None else f"{HEIGHT - HEIGHT * min(1.0, wanted / top):.1f}",
        "most": max((count for _, count in days), default=0),
        "cut": largest > top,  # bars end at three budgets
    }


def _condition(told: Mapping[str, Any]) -> tuple[str, str]:
    """A key for the style and the words that say how achieved stands to wanted."""
    budget, achieved = told["budget"], told["achieved_per_day"]
    if not budget:
        return "none", "no budget"
    if clock.now() - datetime.fromisoformat(budget["set_at"]) < timedelta(days=1):
        # Most of the last 24 hours was decided before: neither praise nor blame for that.
        return "new", "set less than a day ago"
    if achieved > budget["per_day"] * 1.2:
        return "over", "above the budget"
    return "within", "within the budget"


def _young(days: float) -> str:
    """How long a version has scored, while that is too short to speak for a day."""
    if not 0 < days < 1:
        return ""
    hours = days * 24
    return f"{hours:.0f} hours" if hours >= 2 else f"{max(1, round(hours * 60))} minutes"


def _word(kind: str) -> str:
    return kind.replace("_", " ")


def _given(form: Mapping[str, str]) -> tuple[str, float]:
    text = form.get("per_day", "").strip()
    try:
        per_day = float(text)
    except ValueError:
        raise BudgetRefusedError(
            f"{text[:20]!r} is no number: say how many a day." if text else "Say how many a day."
        ) from None
    return services.checked(form.get("kind", ""), per_day)


def _previewed(preview: Mapping[str, Any]) -> dict[str, Any]:
    return {**preview, "word": _word(preview["kind"])}
