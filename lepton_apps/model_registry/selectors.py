"""Reading the registry: who has a role, who had it, and what a version consists of."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from lepton_apps.common.errors import NotFoundError
from lepton_apps.model_registry.models import (
    ModelFile,
    ModelVersion,
    Retirement,
    Role,
    RoleChange,
    ThresholdChange,
)
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Stream, Vertical

COMPARED_BY = "pr_auc"  # the metric by which a new champion must beat its baselines


@dataclass(frozen=True, slots=True)
class Model:
    """What the streams declare: a name under which versions are numbered."""

    name: str
    vertical: Vertical
    stream: Stream

    @property
    def schema_hash(self) -> str:
        """Of the features that the stream extracts today."""
        return self.stream.extractor.schema.hash


def models(verticals: Collection[str] | None = None) -> list[Model]:
    """The models of these verticals' streams, or of all, in the order of declaration."""
    return [
        Model(stream.model_name, vertical, stream)
        for vertical in registry.verticals()
        if verticals is None or vertical.key in verticals
        for stream in vertical.streams
    ]


def model(name: str) -> Model:
    """Raises ``NotFoundError``, which names the models there are."""
    found = next((each for each in models() if each.name == name), None)
    if found is None:
        there = ", ".join(sorted({each.name for each in models()})) or "none"
        raise NotFoundError(f"There is no model {name!r}. Models: {there}.", model=name)
    return found


def champion(model_name: str) -> ModelVersion | None:
    """The version that decides now, or None."""
    return holder(model_name, Role.CHAMPION)


def holder(model_name: str, role: str) -> ModelVersion | None:
    """The version that has ``role`` now, or None."""
    change = _changes(model_name, role).first()
    return change.version if change else None


def role_at(model_name: str, role: str, at: datetime) -> ModelVersion | None:
    """The version that had ``role`` at that moment, or None when nobody had it."""
    change = change_at(model_name, role, at)
    return change.version if change else None


def change_at(model_name: str, role: str, at: datetime) -> RoleChange | None:
    """The line of the ledger that held at that moment; None before the first one."""
    return _changes(model_name, role).filter(at__lte=at).first()


def change_after(change: RoleChange) -> RoleChange | None:
    """The line that ended this one; None while it holds."""
    changes = _changes(change.model_name, change.role)
    return changes.filter(sequence=change.sequence + 1).first()


def history(model_name: str, limit: int = 100) -> list[RoleChange]:
    """The newest changes of the model's roles, newest first."""
    changes = RoleChange.objects.filter(model_name=model_name)
    return list(changes.select_related("version").order_by("-at", "-id")[:limit])


def history_of(version: ModelVersion, limit: int = 100) -> list[RoleChange]:
    """The lines that gave this version a role, newest first."""
    changes = RoleChange.objects.filter(version=version)
    return list(changes.select_related("version").order_by("-at", "-id")[:limit])


def reigns(model_name: str) -> list[int]:
    """Ids of the champions that rolling back walks down, the present one last.

    A promotion is put on top. Rolling back takes the top off, for good: a second one goes on
    down to the version before, and not up again to the one that was just turned out.
    """
    lines = RoleChange.objects.filter(model_name=model_name, role=Role.CHAMPION)
    stack: list[int] = []
    for act, version_id in lines.order_by("sequence").values_list("act", "version_id"):
        assert version_id is not None  # a champion is never withdrawn
        if act == RoleChange.Act.ROLLED_BACK:
            while stack and stack[-1] != version_id:
                stack.pop()
        if not stack or stack[-1] != version_id:
            stack.append(version_id)
    return stack


def rollback_target(model_name: str) -> ModelVersion | None:
    """The version that a roll-back would make champion: the one before, retired ones left out."""
    held = reigns(model_name)
    before, present = held[:-1], held[-1:]
    retired = set(
        Retirement.objects.filter(version_id__in=before).values_list("version_id", flat=True)
    )
    there = [each for each in before if each not in retired and each not in present]
    return ModelVersion.objects.get(pk=there[-1]) if there else None


def versions(model_name: str | None = None, limit: int = 100) -> list[ModelVersion]:
    """The newest versions of one model or of all, newest first."""
    found = ModelVersion.objects.select_related("retirement")
    if model_name is not None:
        found = found.filter(model_name=model_name)
    return list(found.order_by("-created_at", "-id")[:limit])


def version(model_name: str, number: int) -> ModelVersion:
    """Raises ``NotFoundError``, which names the versions there are."""
    found = (
        ModelVersion.objects.select_related("retirement")
        .filter(model_name=model_name, number=number)
        .first()
    )
    if found is not None:
        return found
    numbers = ModelVersion.objects.filter(model_name=model_name).order_by("-number")
    there = ", ".join(str(n) for n in numbers.values_list("number", flat=True)[:20])
    raise NotFoundError(
        f"Model {model_name!r} has no version {number}. It has: {there or 'none yet'}.",
        model=model_name,
        number=number,
    )


def version_of(stream: str, number: int) -> ModelVersion | None:
    """The version of a stream's model that has this number; None where either has gone."""
    try:
        _, declared = registry.stream(stream)
    except LookupError:
        return None
    return ModelVersion.objects.filter(model_name=declared.model_name, number=number).first()


def files_of(version: ModelVersion) -> list[ModelFile]:
    """Name, hash and size of each file; the content, which may be megabytes, is left behind."""
    return list(version.files.defer("content").order_by("name"))


def roles_of(model_name: str) -> dict[str, int]:
    """Each role somebody has now, and the number of the version that has it."""
    found = ((role, holder(model_name, role)) for role in Role.values)
    return {role: held.number for role, held in found if held is not None}


def holders(model_names: Collection[str]) -> dict[str, dict[str, ModelVersion]]:
    """Who has which role of which model now, in one query."""
    newest = (
        RoleChange.objects.filter(model_name__in=model_names)
        .order_by("model_name", "role", "-sequence")
        .distinct("model_name", "role")
        .select_related("version")
    )
    found: dict[str, dict[str, ModelVersion]] = {name: {} for name in model_names}
    for change in newest:
        if change.version is not None:
            found[change.model_name][change.role] = change.version
    return found


def retirement_of(version: ModelVersion) -> Retirement | None:
    """How the version ended, if it did."""
    try:
        return version.retirement
    except Retirement.DoesNotExist:
        return None


def fits(version: ModelVersion) -> bool:
    """Whether the stream still extracts the features that the version was trained on."""
    try:
        _, stream = registry.stream(version.stream)
    except LookupError:
        return False
    return version.schema_hash == stream.extractor.schema.hash


def baseline_ahead(version: ModelVersion) -> str | None:
    """The best baseline that did better than this version by ``COMPARED_BY``, if one did."""
    own = version.metrics.get(COMPARED_BY)
    best = best_baseline(version)
    if own is None or best is None:
        return None
    return best if version.baseline[best][COMPARED_BY] > own else None


def best_baseline(version: ModelVersion) -> str | None:
    """The simpler method that did best by ``COMPARED_BY``, if any was measured by it."""
    found = {
        name: metrics[COMPARED_BY]
        for name, metrics in version.baseline.items()
        if metrics.get(COMPARED_BY) is not None
    }
    return max(found, key=lambda name: found[name]) if found else None


def was_champion(version: ModelVersion) -> bool:
    return RoleChange.objects.filter(version=version, role=Role.CHAMPION).exists()


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
