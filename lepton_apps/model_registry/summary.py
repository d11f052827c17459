"""Models, versions and lines of the ledger as JSON: what REST answers and pages show. Reads only."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from lepton_apps.common.clock import moment
from lepton_apps.model_registry import selectors
from lepton_apps.model_registry.models import ModelVersion, Role, RoleChange

NEWEST = 5  # versions of a model in a list of models


def model_list(verticals: Collection[str]) -> list[dict[str, Any]]:
    """Every model of these verticals with its holders and newest versions."""
    models = selectors.models(verticals)
    return [
        model_summary(model, selectors.versions(model.name, NEWEST), holders)
        for model, holders in zip(
            models, selectors.holders([m.name for m in models]).values(), strict=True
        )
    ]


def model_summary(
    model: selectors.Model,
    versions: Collection[ModelVersion],
    holders: dict[str, ModelVersion],
) -> dict[str, Any]:
    roles = {role: version.number for role, version in holders.items()}
    return {
        "name": model.name,
        "vertical": model.vertical.key,
        "stream": model.stream.name,
        "schema_hash": model.schema_hash,
        **{
            role: version_summary(holders[role], roles) if role in holders else None
            for role in Role.values
        },
        "versions": [version_summary(version, roles) for version in versions],
    }


def version_summary(version: ModelVersion, roles: dict[str, int]) -> dict[str, Any]:
    """A version as a row of a list; ``roles`` says who has which role of its model now."""
    return {
        "number": version.number,
        "roles": [role for role, number in roles.items() if number == version.number],
        "retired": selectors.retirement_of(version) is not None,
        "fits": selectors.fits(version),
        "schema_hash": version.schema_hash,
        "recipe": version.recipe_name,
        "data_hash": version.data_hash,
        "code_version": version.code_version,
        "created_at": moment(version.created_at),
        "created_by": version.created_by_name,
        "metrics": version.metrics,
        "baseline": version.baseline,
    }


def version_detail(version: ModelVersion) -> dict[str, Any]:
    """Everything that is known of one version."""
    retirement = selectors.retirement_of(version)
    return {
        "model": version.model_name,
        "stream": version.stream,
        **version_summary(version, selectors.roles_of(version.model_name)),
        "manifest": version.manifest,
        "files": [
            {"name": file.name, "sha256": file.sha256, "size": file.size}
            for file in selectors.files_of(version)
        ],
        "ledger": [line(change) for change in selectors.history_of(version)],
        "retirement": retirement
        and {"at": moment(retirement.at), "by": retirement.by_name, "why": retirement.why},
    }


def line(change: RoleChange) -> dict[str, Any]:
    """A line of the ledger; ``version`` is null where the role was taken from its holder."""
    return {
        "model": change.model_name,
        "role": change.role,
        "act": change.act,
        "version": change.version.number if change.version else None,
        "sequence": change.sequence,
        "at": moment(change.at),
        "by": change.by_name,
        "why": change.why,
    }


def live(model_name: str, role: str, at: datetime) -> dict[str, Any]:
    """Who had the role at that moment, since when, until when, and by which line of the ledger."""
    change = selectors.change_at(model_name, role, at)
    after = selectors.change_after(change) if change else None
    version = change.version if change else None
    return {
        "model": model_name,
        "role": role,
        "at": moment(at),
        "version": version_summary(version, selectors.roles_of(model_name)) if version else None,
        "line": line(change) if change else None,
        "until": moment(after.at) if after else None,
    }


def model_of_alert(stream: str, number: int, decided_at: datetime) -> dict[str, Any] | None:
    """The version that made a decision, and what made that version. None where it has gone."""
    version = selectors.version_of(stream, number)
    if version is None:
        return None
    champion = selectors.role_at(version.model_name, Role.CHAMPION, decided_at)
    return {
        "name": version.model_name,
        "version": version.number,
        "recipe": {"name": version.recipe_name, "settings": version.manifest.get("recipe", {})},
        "data_hash": version.data_hash,
        "code_version": version.code_version,
        "schema_hash": version.schema_hash,
        "champion_then": champion and champion.number,
    }
