"""Filters of the alert list kept under a name: saved, and deleted."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from lepton_apps.alerts.errors import FilterRefusedError
from lepton_apps.common.errors import NotFoundError
from lepton_apps.console import services
from lepton_apps.console.services import SavedViewRefusedError
from lepton_apps.console.views.alerts import list_filters, list_form, list_query
from lepton_apps.console.views.base import page, readable, user_of

MAX_QUERY = 1_000  # characters


@require_POST
@page
def save(request: HttpRequest) -> HttpResponse:
    """POST /views/ name=, query=, vertical= (empty: for oneself)"""
    user = user_of(request)
    back = reverse("console:alerts")
    try:
        form = list_form(QueryDict(request.POST.get("query", "")[: MAX_QUERY * 2]))
        list_filters(form, user.get_username())
        if form["vertical"] and form["vertical"] not in readable(request):
            raise NotFoundError(f"There is no area {form['vertical']!r}.")
        query = list_query(form, before="")
        if len(query) > MAX_QUERY:
            raise FilterRefusedError("These filters are too long to keep.")
        back = f"{back}?{query}"
        shared_with = request.POST.get("vertical", "")
        view = services.save_view(user, request.POST.get("name", ""), query, shared_with)
    except (FilterRefusedError, SavedViewRefusedError) as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, f"The view {view.name} is saved.")
    return redirect(back)


@require_POST
@page
def delete(request: HttpRequest, view_id: int) -> HttpResponse:
    """POST /views/{id}/delete/"""
    services.delete_view(view_id, user_of(request))
    messages.success(request, "The view is deleted.")
    return redirect("console:alerts")
