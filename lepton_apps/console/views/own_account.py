"""What everybody has: the own roles, API tokens and sessions."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from lepton_apps.accounts import access, selectors, services
from lepton_apps.accounts.errors import TokenRefusedError
from lepton_apps.accounts.models import ApiToken, Role
from lepton_apps.accounts.sessions import handle_of, open_sessions
from lepton_apps.common.errors import LeptonError, NotFoundError, PermissionRefusedError
from lepton_apps.console.views.base import page, user_of
from lepton_apps.verticals import registry

DAYS: Final = (7, 30, 90, 365)  # that the form offers


@require_GET
@never_cache
@page
def account_page(request: HttpRequest) -> HttpResponse:
    """GET /account/"""
    return _show(request)


@require_POST
@never_cache
@page
def create_token(request: HttpRequest) -> HttpResponse:
    """POST /account/tokens/ name=&days=&role=&vertical=...: the answer alone shows its text."""
    user = user_of(request)
    form = {name: request.POST.get(name, "").strip() for name in ("name", "days", "role")}
    try:
        if form["role"] and form["role"] not in Role.values:
            raise TokenRefusedError(f"There is no role {form['role'][:80]!r}.", path="role")
        days = int(form["days"]) if form["days"].isascii() and form["days"].isdigit() else 0
        token, text = services.create_token(
            user,
            user,
            form["name"],
            expires_at=services.expiry_after(days),
            verticals=request.POST.getlist("vertical") or None,
            role=Role(form["role"]) if form["role"] else None,
        )
    except (NotFoundError, PermissionRefusedError):
        raise
    except LeptonError as error:
        return _show(request, form=form, error=error.detail, status=error.status)
    return _show(request, made=token, secret=text)


@require_POST
@page
def revoke_token(request: HttpRequest, token_id: int) -> HttpResponse:
    """POST /account/tokens/{id}/revoke/"""
    token = services.revoke_token(user_of(request), token_id)
    messages.success(request, f"Token {token.name} is revoked.")
    return redirect("console:account")


@require_POST
@page
def end_sessions(request: HttpRequest) -> HttpResponse:
    """POST /account/sessions/end/ session=, or all but this one."""
    user, key = user_of(request), request.session.session_key
    ended = services.end_sessions(
        user, user, handle=request.POST.get("session") or None, keep_key=key
    )
    messages.success(request, f"{ended} session{'' if ended == 1 else 's'} ended.")
    return redirect("console:account")


def _show(
    request: HttpRequest,
    *,
    form: dict[str, str] | None = None,
    error: str = "",
    made: ApiToken | None = None,
    secret: str = "",
    status: int = 200,
) -> HttpResponse:
    user = user_of(request)
    roles = access.roles_of(user)
    context: dict[str, Any] = {
        "roles": [(v, roles[v.key].value) for v in registry.verticals() if v.key in roles],
        "is_superuser": access.is_superuser(user),
        "tokens": token_rows(selectors.tokens_of(user, all_of_them=True)),
        "sessions": open_sessions(user),
        "own_session": handle_of(request.session.session_key or ""),
        "role_choices": Role.values,
        "day_choices": DAYS,
        "form": form or {"name": "", "days": str(services.TOKEN_DAYS), "role": ""},
        "chosen": request.POST.getlist("vertical") if error else [],
        "error": error,
        "made": made,
        "secret": secret,
    }
    return render(request, "console/account.html", context, status=status)


def token_rows(tokens: list[ApiToken]) -> list[tuple[ApiToken, str]]:
    """Each token with its state; those that count come first."""
    rows = [(token, selectors.state_of(token)) for token in tokens]
    return sorted(rows, key=lambda row: row[1] in ("revoked", "expired"))
