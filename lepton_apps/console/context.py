"""What every page shows around its content: sections, verticals, and how many alerts wait."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from lepton_apps.accounts import access
from lepton_apps.accounts.models import Role
from lepton_apps.alerts import selectors as alerts
from lepton_apps.alerts.models import Alert
from lepton_apps.verticals import registry

# A page belongs to the section that its address begins with, but for these.
SECTIONS: Final = {"": "alerts", "records": "alerts"}


def console(request: HttpRequest) -> dict[str, Any]:
    """``console`` in templates. Nothing is asked for fragments, which show none of it."""
    return {"console": SimpleLazyObject(partial(_facts, request))}


def _facts(request: HttpRequest) -> dict[str, Any]:
    """At most two queries for people who are signed in, none for others."""
    match = request.resolver_match
    head = match.route.partition("/")[0] if match else None
    section = SECTIONS.get(head, head) if head is not None else ""
    vertical = str(match.kwargs.get("vertical", "")) if match else ""
    if section == "nav":  # the navigation renews itself: it says on which page it stands
        section = request.GET.get("section", "")
        vertical = request.GET.get("vertical", "")
    facts: dict[str, Any] = {
        "page": (match.url_name or "") if match else "",
        "section": section,
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
    return facts
