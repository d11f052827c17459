"""Accounts, for those who administer: who may do what, and what to do when somebody is locked out.

Who may do which of these things is decided in ``accounts/access.py``; what may not be done is not
offered here, and refused there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from lepton_apps.accounts import access, selectors, services
from lepton_apps.accounts.models import Role
from lepton_apps.common.errors import LeptonError, NotFoundError, PermissionRefusedError
from lepton_apps.console.views.base import page, user_of
from lepton_apps.console.views.own_account import token_rows
from lepton_apps.verticals import registry

GRANT: Final = "grant"  # what the second form of the list does


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@page
def people_page(request: HttpRequest) -> HttpResponse:
    """GET /accounts/, and POST: a new account, or a role for one that the list does not show."""
    actor = user_of(request)
    access.administered(actor)
    if request.method != "POST":
        return _show_people(request)
    try:
        if request.POST.get("do") == GRANT:
            return _grant_by_name(request, actor)
        name = request.POST.get("username", "").strip()
        user, password = services.create_operator(
            actor,
            name,
            _roles(request, access.administered(actor)),
            is_superuser=request.POST.get("superuser") == "1",
        )
    except LeptonError as error:
        # A name that is not there is a mistake in the form here, not a page that is missing.
        return _show_people(request, error=error.detail, status=error.status)
    return _show_people(request, made=user, secret=password)


def _grant_by_name(request: HttpRequest, actor: User) -> HttpResponse:
    user = services.account(request.POST.get("username", "").strip())
    role = _role(request.POST.get("role", ""))
    services.grant(actor, user, request.POST.get("vertical", ""), role)
    messages.success(request, f"{user.get_username()} is now {role.value}.")
    return redirect("console:person", user.get_username())


def _role(text: str) -> Role:
    if text not in Role.values:
        raise NotFoundError(f"No role named {text[:80]!r}.")
    return Role(text)


def _roles(request: HttpRequest, verticals: frozenset[str]) -> dict[str, Role]:
    """The roles of the form, each in a field of its vertical's name."""
    given = {vertical: request.POST.get(f"role-{vertical}", "") for vertical in sorted(verticals)}
    return {vertical: _role(text) for vertical, text in given.items() if text}


def _show_people(
    request: HttpRequest,
    *,
    error: str = "",
    made: User | None = None,
    secret: str = "",
    status: int = 200,
) -> HttpResponse:
    actor = user_of(request)
    verticals = access.administered(actor)
    context: dict[str, Any] = {
        "people": selectors.people(actor),
        "verticals": [v for v in registry.verticals() if v.key in verticals],
        "role_choices": Role.values,
        "is_superuser": access.is_superuser(actor),
        "username": request.POST.get("username", "") if error else "",
        "error": error,
        "made": made,
        "secret": secret,
    }
    return render(request, "console/people.html", context, status=status)


@require_GET
@never_cache
@page
def person_page(request: HttpRequest, username: str) -> HttpResponse:
    """GET /accounts/{name}/"""
    return _show(request, username)


@require_POST
@page
def change_role(request: HttpRequest, username: str) -> HttpResponse:
    """POST .../role/ vertical=&role=, or no role at all."""

    def act(actor: User, user: User) -> str:
        vertical, text = request.POST.get("vertical", ""), request.POST.get("role", "")
        if text:
            services.grant(actor, user, vertical, _role(text))
            return f"{username} is now {text} of {vertical}."
        services.withdraw(actor, user, vertical)
        return f"{username} has no role in {vertical} any more."

    return _act(request, username, act)


@require_POST
@never_cache
@page
def reset_password(request: HttpRequest, username: str) -> HttpResponse:
    """POST .../password/: the answer alone shows the one-time password."""
    actor = user_of(request)
    user = selectors.person(actor, username).user
    try:
        return _show(request, username, secret=services.replace_password(actor, user))
    except (NotFoundError, PermissionRefusedError):
        raise
    except LeptonError as error:
        return _show(request, username, error=error.detail, status=error.status)


@require_POST
@page
def change_active(request: HttpRequest, username: str) -> HttpResponse:
    """POST .../active/ active=1 or 0."""
    is_active = request.POST.get("active") == "1"

    def act(actor: User, user: User) -> str:
        services.set_active(actor, user, is_active)
        state = "enabled" if is_active else "disabled; its sessions have ended"
        return f"The account {username} is {state}."

    return _act(request, username, act)


@require_POST
@page
def change_superuser(request: HttpRequest, username: str) -> HttpResponse:
    """POST .../superuser/ superuser=1 or 0."""
    is_superuser = request.POST.get("superuser") == "1"

    def act(actor: User, user: User) -> str:
        services.set_superuser(actor, user, is_superuser)
        return f"{username} is {'now' if is_superuser else 'no longer'} a superuser."

    return _act(request, username, act)


@require_POST
@page
def end_sessions(request: HttpRequest, username: str) -> HttpResponse:
    """POST .../sessions/end/"""

    def act(actor: User, user: User) -> str:
        return f"{services.end_sessions(actor, user)} of {username}'s sessions have ended."

    return _act(request, username, act)


@require_POST
@page
def revoke_token(request: HttpRequest, username: str, token_id: int) -> HttpResponse:
    """POST .../tokens/{id}/revoke/"""

    def act(actor: User, user: User) -> str:
        access.require_superuser(actor)
        if token_id not in {t.pk for t in selectors.tokens_of(user, all_of_them=True)}:
            raise NotFoundError(f"No token {token_id} of {username!r}.")
        return f"Token {services.revoke_token(actor, token_id).name} is revoked."

    return _act(request, username, act)


def _act(request: HttpRequest, username: str, act: Callable[[User, User], str]) -> HttpResponse:
    """Do it to somebody whom the actor may see, and say what was done, or why it was not."""
    actor = user_of(request)
    user = selectors.person(actor, username).user
    try:
        done = act(actor, user)
    except (NotFoundError, PermissionRefusedError):
        raise
    except LeptonError as error:
        return _show(request, username, error=error.detail, status=error.status)
    messages.success(request, done)
    if not access.knows(actor, user):  # the last role that the actor could see was withdrawn
        return redirect("console:people")
    return redirect("console:person", username)


def _show(
    request: HttpRequest, username: str, *, error: str = "", secret: str = "", status: int = 200
) -> HttpResponse:
    actor = user_of(request)
    person = selectors.person(actor, username)
    verticals = access.administered(actor)
    is_superuser = access.is_superuser(actor)
    tokens = selectors.tokens_of(person.user, all_of_them=True) if is_superuser else []
    context: dict[str, Any] = {
        "person": person,
        "roles": [
            (v, person.roles[v.key].value if v.key in person.roles else "")
            for v in registry.verticals()
            if v.key in verticals
        ],
        "role_choices": Role.values,
        "is_superuser": is_superuser,
        "is_self": person.user.pk == actor.pk,
        "has_charge": access.has_charge_of(actor, person.user),
        "tokens": token_rows(tokens),
        "error": error,
        "secret": secret,
    }
    return render(request, "console/person.html", context, status=status)
