"""Every page of the console, from the URLconf itself, so that a new page is measured and looked at
without a line here. Django must be set up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib.auth.models import User
from django.urls import URLPattern, reverse

# What stands for a parameter that is a name. `<thing>_id` is the newest row of a model `Thing`.
NAMES: Mapping[str, tuple[str, ...]] = {
    "fintech": ("vertical",),
    "fintech.transactions": ("stream", "model", "model_name", "name"),
    "1": ("number", "version"),
    "promote": ("verb",),
}
# Lists that are read with a filter or from further down cost otherwise than their first page.
QUERIES: Mapping[str, tuple[str, ...]] = {
    "alerts": (
        "?status=all",
        "?status=dismissed",
        "?severity=critical",
        "?mine=1",
        "?q=c12",
        "?q=nobody-has-this-name&status=all",
        "?vertical=fintech&stream=fintech.transactions",
        "?status=all&before={middle}",
    ),
    "dead-letters": ("?status=discarded",),
    "overview": ("?span=24h",),
    "models": ("?model=fintech.transactions",),
    "model-confirm": ("?role=challenger",),
    "budget-preview": ("?kind=alerts&per_day=50",),
    "audit": ("?action=alert.", "?target=alert:7&vertical=fintech", "?person=lepton"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """One address of the console, or why there is none. Acts answer GET with 405."""

    name: str
    path: str
    missing: str = ""


def places() -> list[Place]:
    """Every route of the console with its parameters filled in."""
    from lepton_apps.console.urls import app_name, urlpatterns

    found: list[Place] = []
    for pattern in urlpatterns:
        assert isinstance(pattern, URLPattern)
        name = pattern.name or str(pattern.pattern)
        values = {key: _value(key) for key in pattern.pattern.converters}
        if missing := [key for key, value in values.items() if value is None]:
            text = f"nothing to fill in for {', '.join(missing)}"
            found.append(Place(name, str(pattern.pattern), text))
            continue
        # A route without a name, such as a redirect of an old address, has no parameters.
        path = reverse(f"{app_name}:{name}", kwargs=values) if pattern.name else f"/{name}"
        found.append(Place(name, path))
        middle = max(1, int(_value("alert_id") or 2) // 2)
        found += [
            Place(f"{name} {query}", path + query.format(middle=middle))
            for query in QUERIES.get(name, ())
        ]
    return found


def _value(parameter: str) -> Any:
    """What to fill in, None where there is nothing."""
    if parameter == "username":
        return User.objects.order_by("-id").values_list("username", flat=True).first()
    for value, parameters in NAMES.items():
        if parameter in parameters:
            return value
    thing = parameter.removesuffix("_id").replace("_", "")
    for model in apps.get_models():
        if model.__name__.lower().endswith(thing):
            key = "id" if any(field.name == "id" for field in model._meta.fields) else "pk"
            newest = model._default_manager.order_by(f"-{key}").values_list(key, flat=True).first()
            if newest is not None:
                return newest
    return None
