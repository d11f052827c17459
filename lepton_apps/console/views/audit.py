"""The audit record as a page: what people and the server did, newest first."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from lepton_apps.accounts import access
from lepton_apps.alerts.errors import CursorRefusedError
from lepton_apps.alerts.paging import cursor_before, row_id_of
from lepton_apps.audit import selectors
from lepton_apps.audit.models import AuditEntry
from lepton_apps.common.errors import FilterRefusedError
from lepton_apps.console.views.base import page, user_of, with_zone
from lepton_apps.verticals import registry

PAGE_ROWS: Final = 50
MOMENTS: Final = ("since", "until")  # in UTC, as all times of the page
FILTERS: Final = ("person", "action", "target", "vertical", *MOMENTS)
# Beginnings of actions, as they are written down; more may be typed.
KINDS: Final = (
    "access.", "account.", "alert.", "backup.", "budget.", "dead_letter.", "feed.", "labels.",
    "model.", "password.", "replay.", "sessions.", "stream.", "superuser.", "thresholds.",
    "token.",
)  # fmt: skip


@require_GET
@page
def audit_page(request: HttpRequest) -> HttpResponse:
    """GET /audit/?person=&action=&target=&vertical=&since=&until=&cursor="""
    user = user_of(request)
    verticals = access.administered(user)
    form = {name: request.GET.get(name, "").strip() for name in FILTERS}
    cursor = request.GET.get("cursor", "")
    try:
        found = selectors.entries(
            None if access.is_superuser(user) else verticals,
            selectors.audit_filters(_zoned(form)),
            before_id=row_id_of(cursor) if cursor else None,
            limit=PAGE_ROWS + 1,
        )
    except (FilterRefusedError, CursorRefusedError) as error:
        status = HTTPStatus.BAD_REQUEST
        return render(request, "400.html", {"exception": error.detail}, status=status)
    used = {name: value for name, value in form.items() if value}
    rows, more = found[:PAGE_ROWS], len(found) > PAGE_ROWS
    context: dict[str, Any] = {
        "entries": [(entry, _link(entry), _details(entry)) for entry in rows],
        "form": form | {name: form[name].removesuffix("Z") for name in MOMENTS},
        "verticals": [v for v in registry.verticals() if v.key in verticals],
        "kinds": KINDS,
        "sees_all": access.is_superuser(user),
        "filtered": bool(used),
        "first_page": not cursor,
        "newest_href": _href(used),
        "older_href": _href({**used, "cursor": cursor_before(rows[-1].pk)}) if more else "",
        "export_query": urlencode(_zoned(used)),
    }
    return render(request, "console/audit.html", context)


def _zoned(form: dict[str, str]) -> dict[str, str]:
    return {name: with_zone(value) if name in MOMENTS else value for name, value in form.items()}


def _href(params: dict[str, str]) -> str:
    address = reverse("console:audit")
    return f"{address}?{urlencode(params)}" if params else address


def _link(entry: AuditEntry) -> str:
    """Where the target of an entry is, when it has a page."""
    kind, _, name = entry.target.partition(":")
    if kind == "alert" and name.isascii() and name.isdigit():
        return reverse("console:alert", args=[int(name)])
    if kind == "replay" and name.isascii() and name.isdigit():
        return reverse("console:replay", args=[int(name)])
    if kind == "user" and name:
        return reverse("console:person", args=[name])
    return ""


def _details(entry: AuditEntry) -> list[tuple[str, str]]:
    """The entry's data in words: numbers and texts as they are, the rest as JSON."""
    return [
        (key.replace("_", " "), value if isinstance(value, str) else json.dumps(value))
        for key, value in entry.data.items()
    ]
