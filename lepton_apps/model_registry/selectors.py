"""Reading the registry: who has a role, who had it, and what a version consists of."""

from __future__ import annotations

from datetime import datetime

from django.db.models import QuerySet

from lepton_apps.common.errors import NotFoundError
from lepton_apps.model_registry.models import ModelVersion, Role, RoleChange, ThresholdChange


def champion(model_name: str) -> ModelVersion | None:
    """The version that decides now, or None."""
    return holder(model_name, Role.CHAMPION)


def holder(model_name: str, role: str) -> ModelVersion | None:
    """The version that has ``role`` now, or None."""
    change = _changes(model_name, role).first()
    return change.version if change else None


def role_at(model_name: str, role: str, at: datetime) -> ModelVersion | None:
    """The version that had ``role`` at that moment, or None when nobody had it yet."""
    change = _changes(model_name, role).filter(at__lte=at).first()
    return change.version if change else None


def history(model_name: str, limit: int = 100) -> list[RoleChange]:
    """The newest changes of the model's roles, newest first."""
    changes = RoleChange.objects.filter(model_name=model_name)
    return list(changes.select_related("version", "by").order_by("-at", "-sequence")[:limit])


def versions(model_name: str | None = None, limit: int = 100) -> list[ModelVersion]:
    """The newest versions of one model or of all, newest first."""
    found = ModelVersion.objects.select_related("created_by")
    if model_name is not None:
        found = found.filter(model_name=model_name)
    return list(found.order_by("-created_at", "-id")[:limit])


def version(model_name: str, number: int) -> ModelVersion:
    """Raises ``NotFoundError``, which names the versions there are."""
    found = ModelVersion.objects.filter(model_name=model_name, number=number).first()
    if found is not None:
        return found
    numbers = ModelVersion.objects.filter(model_name=model_name).order_by("-number")
    there = ", ".join(str(n) for n in numbers.values_list("number", flat=True)[:20])
    raise NotFoundError(
        f"Model {model_name!r} has no version {number}. It has: {there or 'none yet'}.",
        model=model_name,
        number=number,
    )


def roles_of(model_name: str) -> dict[str, int]:
    """Each role somebody has now, and the number of the version that has it."""
    found = ((role, holder(model_name, role)) for role in Role.values)
    return {role: held.number for role, held in found if held is not None}


def threshold_lines(version: ModelVersion, limit: int = 20) -> list[ThresholdChange]:
    """The newest lines of a version's ledger of thresholds, newest first."""
    lines = ThresholdChange.objects.filter(version=version).select_related("by", "version")
    return list(lines.order_by("-sequence")[:limit])


def thresholds_at(version: ModelVersion, at: datetime) -> dict[str, float]:
    """The thresholds that the version decided by at that moment."""
    line = ThresholdChange.objects.filter(version=version, at__lte=at).order_by("-sequence").first()
    own: dict[str, float] = version.manifest.get("thresholds", {})
    return {**own, **(line.thresholds if line else {})}


def _changes(model_name: str, role: str) -> QuerySet[RoleChange]:
    changes = RoleChange.objects.filter(model_name=model_name, role=role)
    return changes.select_related("version").order_by("-sequence")
