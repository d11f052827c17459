"""What every page shows around its content: sections, verticals, and how many alerts wait."""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest

from lepton_apps.accounts import access
from lepton_apps.accounts.models import Role
from lepton_apps.alerts import selectors as alerts
from lepton_apps.alerts.models import Alert
from lepton_apps.verticals import registry

SECTIONS: Final = {
    "overview": "overview",
    "alerts": "alerts",
    "alert": "alerts",
    "record": "alerts",
    "streams": "streams",
    "dead-letters": "streams",
    "dead-letter": "streams",
    "replays": "replays",
    "replay-start": "replays",
    "replay": "replays",
    "models": "models",
    "model-version": "models",
    "model-confirm": "models",
    "model-promote": "models",
    "model-rollback": "models",
    "model-withdraw": "models",
    "model-retire": "models",
    "budgets": "budgets",
    "panels": "panels",
    "people": "people",
    "person": "people",
    "audit": "audit",
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
        "administers": False,
    }
    user = getattr(request, "user", None)
    if user is not None and user.is_authenticated:
        seen = access.roles_of(user)
        facts["administers"] = Role.ADMIN in seen.values() or access.is_superuser(user)
        facts["verticals"] = [v for v in registry.verticals() if v.key in seen]
        facts["open_alerts"] = alerts.status_counts(frozenset(seen))[Alert.Status.OPEN]
    return {"console": facts}
