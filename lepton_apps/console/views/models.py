"""Models: what there is, what serves, what a version is made of, and what admins do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from lepton_apps.accounts import access
from lepton_apps.accounts.models import Role as Right
from lepton_apps.common.errors import LeptonError, NotFoundError, PermissionRefusedError
from lepton_apps.common.filters import FilterReader
from lepton_apps.console import model_reading as reading
from lepton_apps.console.views.base import page, readable, user_of, with_zone
from lepton_apps.model_registry import selectors, services
from lepton_apps.model_registry.models import ModelVersion, Role
from lepton_apps.streaming.federation import selectors as federation
from lepton_apps.verticals import registry

NEWEST: Final = 5  # versions of each model on the list
ROWS: Final = 200  # versions of the one model that is asked for, and lines of a ledger
WHY_LENGTH: Final = 2000
NO_WHY: Final = "Say why: whoever reads the ledger next will ask."


@require_GET
@page
def model_list(request: HttpRequest) -> HttpResponse:
    """GET /models/?model=&at= (a time in UTC, for "what was live at")."""
    seen = readable(request)
    models = selectors.models(seen)
    asked = request.GET.get("model", "")
    if asked and asked not in {model.name for model in models}:
        raise NotFoundError(f"There is no model {asked!r}.")
    shown = [model for model in models if not asked or model.name == asked]
    holders = selectors.holders([model.name for model in shown])
    at_text = request.GET.get("at", "").strip()
    at = FilterReader({"at": with_zone(at_text)}).moment("at")  # None: it is no time
    administered = access.verticals_of(user_of(request), Right.ADMIN)
    context = {
        "overviews": [
            reading.overview(
                model,
                holders[model.name],
                ROWS if asked else NEWEST,
                may_act=model.vertical.key in administered,
            )
            for model in shown
        ],
        "ledger": reading.ledger(selectors.history(asked, ROWS)) if asked else [],
        "shadow": reading.shadow(asked) if asked else None,
        **(reading.training(selectors.model(asked)) if asked else {}),
        **(reading.drift(selectors.model(asked).stream.name) if asked else {}),
        "federation": federation.status(shown[0].stream) if asked and shown else None,
        "asked": asked,
        "models": models,
        "no_verticals": not seen,
        "at_text": at_text,
        "at": at,
        "live": reading.live_at(shown, at) if at else [],
    }
    return render(request, "console/models.html", context)


@require_GET
@page
def version_page(request: HttpRequest, model: str, number: int) -> HttpResponse:
    """GET /models/{name}/{number}/"""
    declared, version = _version(request, model, number)
    roles = selectors.roles_of(model)
    manifest = version.manifest
    golden = manifest.get("golden", {})
    context = {
        "model": declared,
        **reading.row(version, roles),
        "champion": roles.get(Role.CHAMPION),
        "is_champion": roles.get(Role.CHAMPION) == number,
        "is_challenger": roles.get(Role.CHALLENGER) == number,
        "target": selectors.rollback_target(model),
        "retirement": selectors.retirement_of(version),
        "metrics": reading.metric_table(version),
        "thresholds": reading.thresholds(version),
        "spec": reading.pairs(manifest.get("spec", {}).get("params", {})),
        "architecture": manifest.get("spec", {}).get("architecture", ""),
        "recipe": reading.pairs(manifest.get("recipe", {})),
        "recipe_exists": version.recipe_name
        in {r.name for v in registry.verticals() for r in v.recipes},
        "features": manifest.get("feature_names", []),
        "privacy": manifest.get("privacy"),
        "federated": manifest.get("federated"),
        "golden_scores": golden.get("scores", []),
        "files": selectors.files_of(version),
        "ledger": reading.ledger(selectors.history_of(version, ROWS)),
        "may_act": declared.vertical.key in access.verticals_of(user_of(request), Right.ADMIN),
    }
    return render(request, "console/model_version.html", context)


@dataclass(frozen=True, slots=True)
class _Act:
    """Something to confirm: what would be done, to whose role, and what would be different."""

    verb: str
    title: str
    button: str
    role: str  # empty where no role changes
    now: ModelVersion | None
    then: ModelVersion | None
    warning: str = ""


@require_GET
@page
def confirm(request: HttpRequest, model: str, number: int, verb: str) -> HttpResponse:
    """GET /models/{name}/{number}/confirm/{verb}/?role=: what would change, before it does."""
    _, version = _version(request, model, number, Right.ADMIN)
    return _ask(request, version, _described(version, verb, request.GET.get("role", "")))


@require_POST
@page
def promote(request: HttpRequest, model: str, number: int) -> HttpResponse:
    """POST /models/{name}/{number}/promote/ role= expected= why= below_baseline="""
    _, version = _version(request, model, number, Right.ADMIN)
    role = request.POST.get("role", Role.CHAMPION.value)
    return _act(
        request,
        version,
        _described(version, "promote", role),
        lambda why: services.promote(
            version,
            role,
            user_of(request),
            why,
            expected=_expected(request),
            below_baseline=request.POST.get("below_baseline") == "1",
        ),
    )


@require_POST
@page
def rollback(request: HttpRequest, model: str, number: int) -> HttpResponse:
    """POST /models/{name}/{number}/rollback/ expected= why=: from this version to the one before."""
    _, version = _version(request, model, number, Right.ADMIN)
    return _act(
        request,
        version,
        _described(version, "rollback"),
        lambda why: services.rollback(model, user_of(request), why, expected=_expected(request)),
    )


@require_POST
@page
def withdraw(request: HttpRequest, model: str, number: int) -> HttpResponse:
    """POST /models/{name}/{number}/withdraw/ expected= why=: nobody is challenger any more."""
    _, version = _version(request, model, number, Right.ADMIN)
    return _act(
        request,
        version,
        _described(version, "withdraw"),
        lambda why: services.withdraw(
            model, Role.CHALLENGER, user_of(request), why, expected=_expected(request)
        ),
    )


@require_POST
@page
def retire(request: HttpRequest, model: str, number: int) -> HttpResponse:
    """POST /models/{name}/{number}/retire/ why="""
    _, version = _version(request, model, number, Right.ADMIN)
    return _act(
        request,
        version,
        _described(version, "retire"),
        lambda why: services.retire(version, user_of(request), why),
    )


def _version(
    request: HttpRequest, name: str, number: int, right: Right = Right.VIEWER
) -> tuple[selectors.Model, ModelVersion]:
    """The version, if the user has that right in its vertical."""
    model = selectors.model(name)
    access.require(user_of(request), model.vertical.key, right)
    return model, selectors.version(name, number)


def _described(version: ModelVersion, verb: str, role: str = "") -> _Act:
    name = version.model_name
    if verb == "promote" and role in Role.values:
        held = selectors.holder(name, role)
        best = selectors.baseline_ahead(version) if role == Role.CHAMPION else None
        warning = (
            f"{best.replace('_', ' ')} did better than this version on the same rows."
            if best
            else ""
        )
        return _Act(verb, f"Make {version} {role}", f"Make it {role}", role, held, version, warning)
    if verb == "rollback":
        target = selectors.rollback_target(name)
        title = f"Roll {name} back to {target}" if target else f"Roll {name} back"
        now = selectors.champion(name)
        return _Act(verb, title, "Roll back", Role.CHAMPION.value, now, target)
    if verb == "withdraw":
        held = selectors.holder(name, Role.CHALLENGER)
        title = f"Withdraw the challenger of {name}"
        return _Act(verb, title, "Withdraw", Role.CHALLENGER.value, held, None)
    if verb == "retire":
        return _Act(verb, f"Retire {version}", "Retire it for good", "", version, None)
    raise NotFoundError(f"Nothing is done to a model by {verb!r}.")


def _expected(request: HttpRequest) -> int | None:
    """The version that had the role when the page was made: what the confirmation showed."""
    text = request.POST.get("expected", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _act(
    request: HttpRequest, version: ModelVersion, act: _Act, do: Callable[[str], object]
) -> HttpResponse:
    why = request.POST.get("why", "").replace("\0", "").strip()[:WHY_LENGTH]
    if not why:
        return _ask(request, version, act, NO_WHY, 400)
    try:
        do(why)
    except (NotFoundError, PermissionRefusedError):
        raise
    except LeptonError as error:
        # Asked again from where it stands now: ``act`` was described before it was tried.
        again = _described(version, act.verb, act.role)
        return _ask(request, version, again, error.detail, error.status)
    messages.success(request, f"{act.title}: done. Workers and web follow in about a second.")
    return redirect("console:model-version", version.model_name, version.number)


def _ask(
    request: HttpRequest, version: ModelVersion, act: _Act, error: str = "", status: int = 200
) -> HttpResponse:
    context = {
        "version": version,
        "act": act,
        "rows": reading.change_of(act.now, act.then) if act.role else [],
        "fits": selectors.fits(act.then) if act.then else True,
        "impossible": act.verb == "rollback" and act.then is None,
        "nothing": bool(act.role) and act.now is not None and act.now == act.then,
        "error": error,
        "why": request.POST.get("why", ""),
    }
    return render(request, "console/model_confirm.html", context, status=status)
