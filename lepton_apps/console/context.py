"""What every page shows around its content: sections, verticals, and how many alerts wait."""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest

from lepton_apps.accounts import access
from lepton_apps.alerts import selectors as alerts
from lepton_apps.alerts.models import Alert
from lepton_apps.verticals import registry

SECTIONS: Final = {
    "alerts": "alerts",
    "alert": "alerts",
    "streams": "streams",
    "dead-letters": "streams",
    "dead-letter": "streams",
    "budgets": "budgets",
    "panels": "panels",
}


def console(request: HttpRequest) -> dict[str, Any]:
    """``console`` in templates. One query for people who are signed in, none for others."""
    match = request.resolver_match
    page = (match.url_name or "") if match else ""
    vertical = str(match.kwargs.get("vertical", "")) if match else ""
    if page == "nav":  # the navigation renews itself: it says on which page it stands
        page = request.GET.get("page", "")
        vertical = request.GET.get("vertical", "")
    facts: dict[str, Any] = {
        "page": page,
        "section": SECTIONS.get(page, ""),
        "vertical": vertical,
        "verticals": [],
        "open_alerts": 0,
    }
    user = getattr(request, "user", None)
    if user is not None and user.is_authenticated:
        seen = access.verticals_of(user)
        facts["verticals"] = [v for v in registry.verticals() if v.key in seen]
        facts["open_alerts"] = alerts.status_counts(seen)[Alert.Status.OPEN]
    return {"console": facts}
