"""What pages say about models: numbers put beside each other, acts put into words. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings

from lepton_apps.common import clock
from lepton_apps.console.reading import compact as number
from lepton_apps.console.reading import drifted
from lepton_apps.model_registry import selectors
from lepton_apps.model_registry.models import ModelVersion, Role, RoleChange
from lepton_apps.model_registry.selectors import COMPARED_BY
from lepton_apps.streaming.drift import selectors as drifting
from lepton_apps.streaming.retraining import selectors as retraining
from lepton_apps.streaming.shadow.selectors import NoShadowError, comparison

WEEK: Final = timedelta(days=7)
NOTHING: Final = "-"  # where a version does not say
HASH_LENGTH: Final = 12  # characters of a hash that tell two versions apart
MODEL: Final = "model"  # the column of the deep model, beside those of the baselines
# What a metric's name begins with where one end of it is better; of others none is marked.
HIGHER_IS_BETTER: Final = ("roc_auc", "pr_auc", "precision", "recall", "f1")
LOWER_IS_BETTER: Final = ("ece", "brier")


def metric_table(version: ModelVersion) -> dict[str, Any]:
    """A metric a row, the model and each baseline a column, the best of a row marked."""
    columns: dict[str, Mapping[str, float | None]] = {MODEL: version.metrics, **version.baseline}
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    return {
        "columns": list(columns),
        "rows": [
            _metric_row(name, [column.get(name) for column in columns.values()]) for name in names
        ],
    }


def _metric_row(name: str, values: list[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    best = None
    if len(set(known)) > 1 and name.startswith(HIGHER_IS_BETTER):
        best = max(known)
    elif len(set(known)) > 1 and name.startswith(LOWER_IS_BETTER):
        best = min(known)
    return {
        "name": name,
        "decides": name == COMPARED_BY,
        "cells": [
            {"text": number(value), "best": best is not None and value == best} for value in values
        ],
    }


def beside_baseline(version: ModelVersion) -> dict[str, Any]:
    """PR-AUC of the version and of the best simpler method on the same rows."""
    best = selectors.best_baseline(version)
    return {
        "own": number(version.metrics.get(COMPARED_BY)),
        "baseline": number(version.baseline[best][COMPARED_BY]) if best else NOTHING,
        "baseline_name": (best or "").replace("_", " "),
        "ahead": selectors.baseline_ahead(version) is None,
        "measured": best is not None and version.metrics.get(COMPARED_BY) is not None,
    }


def row(version: ModelVersion, roles: Mapping[str, int]) -> dict[str, Any]:
    """A version as a line of a list."""
    return {
        "version": version,
        "roles": [role for role, held in roles.items() if held == version.number],
        "retired": selectors.retirement_of(version) is not None,
        "fits": selectors.fits(version),
        "compared": beside_baseline(version),
    }


def overview(
    model: selectors.Model, holders: Mapping[str, ModelVersion], newest: int, *, may_act: bool
) -> dict[str, Any]:
    """A model with its holders, its newest versions, and where a roll-back would lead."""
    champion = holders.get(Role.CHAMPION)
    roles = {role: version.number for role, version in holders.items()}
    versions = selectors.versions(model.name, newest)
    return {
        "model": model,
        "champion": champion,
        "unfit": champion is not None and not selectors.fits(champion),
        "challenger": holders.get(Role.CHALLENGER),
        "versions": [row(version, roles) for version in versions],
        "target": selectors.rollback_target(model.name) if champion and may_act else None,
    }


def ledger(changes: list[RoleChange]) -> list[dict[str, Any]]:
    """Lines of the ledger as sentences."""
    return [
        {"at": change.at, "text": _sentence(change), "by": change.by_name, "why": change.why}
        for change in changes
    ]


def _sentence(change: RoleChange) -> str:
    if change.version is None:
        return f"{change.role} withdrawn"
    if change.act == RoleChange.Act.ROLLED_BACK:
        return f"{change.role} rolled back to version {change.version.number}"
    return f"version {change.version.number} became {change.role}"


def pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Settings of a recipe or a spec as rows of a table."""
    return [(name, NOTHING if value is None else str(value)) for name, value in values.items()]


def thresholds(*versions: ModelVersion | None) -> list[dict[str, Any]]:
    """The thresholds of some versions beside each other, by name."""
    now = clock.now()
    told = [selectors.thresholds_at(v, now) if v is not None else {} for v in versions]
    names = list(dict.fromkeys(name for each in told for name in each))
    return [
        {
            "name": name,
            "values": [each.get(name) for each in told],
        }
        for name in names
    ]


def change_of(now: ModelVersion | None, then: ModelVersion | None) -> list[dict[str, Any]]:
    """What would be different, fact by fact: the confirmation's table."""
    told = [_facts(version) for version in (now, then)]
    rows = [
        (label, *(facts.get(label, NOTHING) for facts in told)) for label in _facts(now or then)
    ]
    rows += [
        (f"Threshold {entry['name']}", *map(number, entry["values"]))
        for entry in thresholds(now, then)
    ]
    return [
        {"label": label, "now": before, "then": after, "differs": before != after}
        for label, before, after in rows
    ]


def _facts(version: ModelVersion | None) -> dict[str, str]:
    if version is None:
        return {"Version": "nobody"}
    return {
        "Version": str(version.number),
        "PR-AUC": number(version.metrics.get(COMPARED_BY)),
        "Recipe": version.recipe_name or NOTHING,
        "Data": _short(version.data_hash),
        "Code": _short(version.code_version),
        "Trained": f"{version.created_at:%Y-%m-%d %H:%M} UTC",
    }


def _short(hash_: str) -> str:
    """The beginning of a hash, and whether files differed from that commit."""
    dirty = "-dirty" if hash_.endswith("-dirty") else ""
    return hash_[:HASH_LENGTH] + dirty or NOTHING


def live_at(models: list[selectors.Model], at: datetime) -> list[dict[str, Any]]:
    """Who had which role of these models at a moment."""
    return [
        {
            "model": model,
            "roles": [
                {"role": role, "change": change, "until": selectors.change_after(change)}
                for role in Role.values
                if (change := selectors.change_at(model.name, role, at)) is not None
            ],
        }
        for model in models
    ]


def shadow(model_name: str) -> dict[str, Any] | None:
    """Champion and challenger on the rows of the last week; None: nobody was challenger yet."""
    try:
        told = comparison(model_name, clock.now() - WEEK)
    except NoShadowError:
        return None
    return {
        **told,
        "agreed_share": told["agreed"] / told["rows"] if told["rows"] else None,
        "lines": list(zip(told["outcomes"], told["matrix"], strict=True)),
        "different": [
            {**row, "at": datetime.fromisoformat(row["decided_at"])} for row in told["different"]
        ],
    }


def drift(stream_name: str) -> dict[str, Any]:
    """The newest look for drift, and its features; None where nobody has looked yet."""
    review = drifting.latest(stream_name)
    return {
        "drift": review,
        "drifted": drifted(review.features) if review else [],
        "every_minutes": round(settings.DRIFT_REVIEW_S / 60),
    }


def training(model: selectors.Model) -> dict[str, Any]:
    """How the model comes to new versions, and what the last trainings came to."""
    recipes = [recipe for recipe in model.vertical.recipes if recipe.stream == model.stream.name]
    newest = retraining.runs(stream=model.stream.name)
    return {
        "recipes": [(recipe, retraining.policy_of(recipe.name)) for recipe in recipes],
        "runs": [
            {
                "run": run,
                "state": retraining.state_of(run),
                "champion": number(run.comparison.get("champion")),
                "candidate": number(run.comparison.get("candidate")),
            }
            for run in newest
        ],
    }
