"""The alert list, the alert page, and what an operator can do there."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from lepton_apps.alerts import selectors, services
from lepton_apps.alerts.errors import CursorRefusedError, FilterRefusedError
from lepton_apps.alerts.filters import ME, SEVERITIES, AlertFilters, alert_filters
from lepton_apps.alerts.models import Alert
from lepton_apps.alerts.paging import cursor_before
from lepton_apps.alerts.summary import loaded_summary
from lepton_apps.common.errors import LeptonError, NotFoundError, PermissionRefusedError
from lepton_apps.console import reading
from lepton_apps.console.normals import normals
from lepton_apps.console.views.base import is_htmx, operable, page, readable, user_of
from lepton_apps.model_registry.summary import model_of_alert
from lepton_apps.streaming.causes.selectors import looks_into
from lepton_apps.verticals import registry

PAGE_ROWS: Final = 50
DRAWN_DECISIONS: Final = 60
RECENT_DECISIONS: Final = 10  # of them in the table
EARLIER_ALERTS: Final = 5
UNRESOLVED: Final = "unresolved"
ALL: Final = "all"
TABS: Final = (UNRESOLVED, *Alert.Status.values, ALL)
NO_STATUS: Final = {UNRESOLVED: ",".join(Alert.UNRESOLVED), ALL: ""}
# What JavaScript fills in for an alert that arrives while the page is open.
BLANK_ROW: Final = {"id": 0, "version": 0, "status": "open", "severity": "low", "record_count": 1}


@require_GET
@page
def alert_list(request: HttpRequest) -> HttpResponse:
    """GET /?status=&vertical=&stream=&severity=&q=&mine=&before="""
    seen = readable(request)
    form = list_form(request.GET)
    if form["vertical"] and form["vertical"] not in seen:
        raise NotFoundError(f"There is no area {form['vertical']!r}.")
    try:
        filters = list_filters(form, user_of(request).get_username())
        found = selectors.alerts(seen, filters, _cursor(form["before"]), PAGE_ROWS)
    except (FilterRefusedError, CursorRefusedError) as error:
        return render(
            request, "400.html", {"exception": error.detail}, status=HTTPStatus.BAD_REQUEST
        )
    filtered = any(form[name] for name in ("vertical", "stream", "severity", "q", "mine"))
    filtered = filtered or form["status"] != UNRESOLVED
    acting = operable(request)
    query = list_query(form, before="")
    context: dict[str, Any] = {
        "rows": [{**loaded_summary(a), "may_act": a.vertical in acting} for a in found.alerts],
        "blank": {**BLANK_ROW, "may_act": bool(acting)},
        "form": form,
        "tabs": _tabs(form, selectors.status_counts(seen, form["vertical"] or None)),
        "verticals": [v for v in registry.verticals() if v.key in seen],
        "no_verticals": not seen,
        "streams": [s.name for v in registry.verticals() if v.key in seen for s in v.streams],
        "severities": SEVERITIES,
        "feeds": _feeds(found.feed_cursors),
        "live_filters": json.dumps(asdict(filters), default=str),
        "heartbeat_s": settings.FEED_HEARTBEAT_S,
        "first_page": not form["before"],
        "filtered": filtered,
        "all_href": reverse("console:alerts"),
        "newest_href": _href(form, before=""),
        "more": found.next is not None,
        "older_href": _href(form, before=str(found.alerts[-1].id)) if found.next else "",
        "operable": json.dumps(sorted(acting)),
        "views": _views(request, seen, query),
        "query": query,
        "shareable": [v for v in registry.verticals() if v.key in acting],
        "hint": "" if found.alerts else reading.what_is_missing(seen),
    }
    return render(request, "console/alerts.html", context)


@require_GET
def old_list(request: HttpRequest) -> HttpResponse:
    """GET /alerts/, which people type: the list is the start page."""
    query = request.META.get("QUERY_STRING", "")
    return redirect(f"{reverse('console:alerts')}{'?' if query else ''}{query}")


def list_form(given: Mapping[str, str]) -> dict[str, str]:
    """The filters as the page's form names them."""
    form = {
        name: given.get(name, "").strip()
        for name in ("vertical", "stream", "severity", "q", "mine", "before", "status")
    }
    form["status"] = form["status"] or UNRESOLVED
    return form


def _cursor(before: str) -> str | None:
    """The console pages by a plain alert id, so that feed.js can say where its last row is."""
    if not before:
        return None
    if not (before.isascii() and before.isdigit() and int(before[:19]) > 0 and len(before) < 20):
        raise FilterRefusedError(f"{before[:80]!r} is no alert's number.")
    return cursor_before(int(before))


def list_filters(form: Mapping[str, str], username: str) -> AlertFilters:
    """What the form asks for; raises FilterRefusedError where that cannot be."""
    status = form["status"]
    params = {
        "vertical": form["vertical"],
        "stream": form["stream"],
        "severity": form["severity"],
        "q": form["q"],
        "status": NO_STATUS.get(status, status),
        "assigned_to": ME if form["mine"] else "",
    }
    return alert_filters(params, username)


def list_query(form: Mapping[str, str], **changes: str) -> str:
    """The query string of a form; the same filters always give the same one."""
    query = {name: value for name, value in {**form, **changes}.items() if value}
    if query.get("status") == UNRESOLVED:
        del query["status"]
    return urlencode(query)


def _href(form: Mapping[str, str], **changes: str) -> str:
    query = list_query(form, **changes)
    return f"{reverse('console:alerts')}?{query}" if query else reverse("console:alerts")


def _tabs(form: dict[str, str], counts: dict[str, int]) -> list[dict[str, Any]]:
    totals = {
        **counts,
        UNRESOLVED: sum(counts[status] for status in Alert.UNRESOLVED),
        ALL: sum(counts.values()),
    }
    return [
        {
            "name": status,
            "label": status.capitalize(),
            "href": _href(form, status=status, before=""),
            "current": status == form["status"],
            "count": totals[status],
        }
        for status in TABS
    ]


def _views(request: HttpRequest, seen: Collection[str], query: str) -> list[dict[str, Any]]:
    """The saved views that the user sees: their own first, then those shared with them."""
    user = user_of(request)
    return [
        {
            "id": view.pk,
            "name": view.name,
            "href": f"{reverse('console:alerts')}?{view.query}",
            "current": view.query == query,
            "own": view.owner_id == user.pk,
            "owner": view.owner.get_username(),
            "vertical": view.vertical,
        }
        for view in reading.saved_views(user, seen)
    ]


def _feeds(cursors: dict[str, str]) -> str:
    return json.dumps([{"vertical": v, "cursor": cursor} for v, cursor in cursors.items()])


@require_GET
@page
def alert_page(request: HttpRequest, alert_id: int) -> HttpResponse:
    """GET /alerts/{id}/"""
    with selectors.one_snapshot():
        alert = selectors.alert(readable(request), alert_id)
        cursors = selectors.feed_cursors([alert.vertical])
    decision = reading.opening_decision(alert)
    recent = reading.recent_decisions(alert, DRAWN_DECISIONS)
    own = normals(alert)
    context = _state(request, alert) | {
        "alert": alert,
        "facts": alert.facts,
        "reasons": reading.reasons(alert, own),
        "own": own,
        "total": reading.total(alert),
        "evidence": reading.evidence(alert),
        "looks_into": looks_into(alert.vertical),
        "decisions": recent[:RECENT_DECISIONS],
        "course": reading.course(recent, alert.decision_id),
        "earlier": [
            loaded_summary(each)
            for each in selectors.of_entity(
                [alert.vertical], alert.entity_key, alert.pk, EARLIER_ALERTS
            )
        ],
        "model": model_of_alert(alert.stream, alert.model_version, alert.decided_at),
        "payload": None if decision is None else reading.pretty(decision.payload),
        "feeds": _feeds(cursors),
        "heartbeat_s": settings.FEED_HEARTBEAT_S,
        "back_href": reverse("console:alerts"),
    }
    return render(request, "console/alert.html", context)


@require_GET
@page
def alert_state(request: HttpRequest, alert_id: int) -> HttpResponse:
    """GET /alerts/{id}/state/: the fragment that changes when somebody acts."""
    return _answer_state(request, selectors.alert(readable(request), alert_id))


def _state(request: HttpRequest, alert: Alert, error: str = "") -> dict[str, Any]:
    may_act = alert.vertical in operable(request)
    return {
        "row": loaded_summary(alert),
        "of_model": alert.kind == Alert.Kind.MODEL,
        "assignees": selectors.assignable(alert.vertical) if may_act else [],
        "verdict": reading.verdict(alert),
        "resolved": alert.resolved_at is not None,
        "resolved_line": reading.resolved_line(alert),
        "may_act": may_act,
        "history": reading.history(alert),
        "error": error,
    }


def _answer_state(
    request: HttpRequest, alert: Alert, error: str = "", status: int = 200
) -> HttpResponse:
    context = _state(request, alert, error) | {"swapped": True}
    return render(request, "console/parts/alert_state.html", context, status=status)


@require_POST
@page
def acknowledge(request: HttpRequest, alert_id: int) -> HttpResponse:
    """POST /alerts/{id}/acknowledge/"""
    return _act(request, alert_id, lambda: services.acknowledge(alert_id, user_of(request)))


@require_POST
@page
def assign(request: HttpRequest, alert_id: int) -> HttpResponse:
    """POST /alerts/{id}/assign/ to=me|nobody, or a username"""
    user = user_of(request)
    to = request.POST.get("to", "")
    assignee = user if to == ME else None
    if to not in {ME, "nobody"}:
        alert = selectors.alert(readable(request), alert_id)
        people = {person.username: person for person in selectors.assignable(alert.vertical)}
        assignee = people.get(to)
        if assignee is None:
            return _refuse(request, alert_id, f"{to[:80]!r} does not work on these alerts.", 400)
    return _act(request, alert_id, lambda: services.assign(alert_id, assignee, user))


@require_POST
@page
def resolve(request: HttpRequest, alert_id: int) -> HttpResponse:
    """POST /alerts/{id}/resolve/ positive=1|0 note="""
    note = request.POST.get("note", "").replace("\0", "").strip()[:2000]
    positive = request.POST.get("positive")
    if positive not in {"0", "1"}:
        return _refuse(request, alert_id, "Say whether it is real: Confirm or Dismiss.", 400)
    return _act(
        request,
        alert_id,
        lambda: services.resolve(alert_id, positive == "1", user_of(request), note),
    )


@require_POST
@page
def label(request: HttpRequest, alert_id: int) -> HttpResponse:
    """POST /alerts/{id}/label/ positive=1|0"""
    positive = request.POST.get("positive")
    if positive not in {"0", "1"}:
        return _refuse(request, alert_id, "Say whether it was real or not.", 400)
    return _act(
        request, alert_id, lambda: services.label(alert_id, positive == "1", user_of(request))
    )


def _act(request: HttpRequest, alert_id: int, act: Callable[[], Alert]) -> HttpResponse:
    """Do it and show how the alert stands now; a refusal is shown in the same place."""
    try:
        alert = act()
    except (NotFoundError, PermissionRefusedError):
        raise
    except LeptonError as error:
        return _refuse(request, alert_id, error.detail, error.status)
    if not is_htmx(request):
        return redirect("console:alert", alert_id)
    if _wants_row(request, alert_id):
        return _answer_row(request, alert)
    return _answer_state(request, alert)


def _refuse(request: HttpRequest, alert_id: int, detail: str, status: int) -> HttpResponse:
    alert = selectors.alert(readable(request), alert_id)
    if not is_htmx(request):
        messages.error(request, detail)
        return redirect("console:alert", alert_id)
    if _wants_row(request, alert_id):
        return _answer_row(request, alert, detail, status)
    return _answer_state(request, alert, detail, status)


def _wants_row(request: HttpRequest, alert_id: int) -> bool:
    return request.headers.get("HX-Target") == f"alert-{alert_id}"


def _answer_row(
    request: HttpRequest, alert: Alert, error: str = "", status: int = 200
) -> HttpResponse:
    row = {**loaded_summary(alert), "may_act": alert.vertical in operable(request)}
    context = {"row": row, "error": error}
    return render(request, "console/parts/alert_row.html", context, status=status)
