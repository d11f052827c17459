"""One act on several alerts of the list."""

from __future__ import annotations

from typing import Final

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from lepton_apps.alerts import services
from lepton_apps.alerts.errors import AlertAlreadyAcknowledgedError, AlertAlreadyResolvedError
from lepton_apps.console.views.alerts import list_form, list_query
from lepton_apps.console.views.base import page, row_id, user_of

MOST: Final = 500  # rows that the list ever holds
DONE: Final = {"acknowledge": "acknowledged", "confirm": "confirmed", "dismiss": "dismissed"}


@require_POST
@page
def settle(request: HttpRequest) -> HttpResponse:
    """POST /alerts/together/ act=acknowledge|confirm|dismiss, id= (several), note=, query="""
    user = user_of(request)
    act = request.POST.get("act", "")
    given = map(row_id, request.POST.getlist("id")[:MOST])
    ids = [alert_id for alert_id in given if alert_id is not None]
    form = list_form(QueryDict(request.POST.get("query", "")[:2000]))
    back = f"{reverse('console:alerts')}?{list_query(form, before='')}".rstrip("?")
    if act not in DONE or not ids:
        messages.error(request, "Select alerts first, then say what to do with them.")
        return redirect(back)
    note = request.POST.get("note", "").replace("\0", "").strip()[:2000]
    faster = 0
    for alert_id in ids:
        try:
            _act(act, alert_id, user, note)
        except (AlertAlreadyAcknowledgedError, AlertAlreadyResolvedError):
            faster += 1
    messages.success(request, f"{len(ids) - faster} {DONE[act]}.{_others(faster)}")
    return redirect(back)


def _act(act: str, alert_id: int, user: User, note: str) -> None:
    if act == "acknowledge":
        services.acknowledge(alert_id, user)
    else:
        services.resolve(alert_id, act == "confirm", user, note)


def _others(faster: int) -> str:
    return f" {faster} had been settled by others; their word stands." if faster else ""
