"""All writes of the registry: a new version, and a version that takes a role."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser
from django.db import IntegrityError, transaction

from lepton_apps.audit import services as audit
from lepton_apps.common import clock
from lepton_apps.common.errors import LeptonError
from lepton_apps.model_registry.cache import sha256_hex
from lepton_apps.model_registry.loading import check_schema, open_scorer
from lepton_apps.model_registry.models import ModelFile, ModelVersion, Role, RoleChange
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Stream, Trained
from models_core.artifact import MANIFEST

log = logging.getLogger(__name__)

COMPARED_BY = "pr_auc"  # the metric by which a new champion must beat its baselines
NUMBERING_ATTEMPTS = 5  # as many trainings may end at the same moment


class PromotionConflictError(LeptonError):
    """The role is not held by the version that the asker thought."""

    code: ClassVar[str] = "role_already_changed"
    status: ClassVar[int] = 409


class BaselineNotBeatenError(LeptonError):
    """A simpler method did better on the same rows; the deep model is not worth its price."""

    code: ClassVar[str] = "baseline_not_beaten"
    status: ClassVar[int] = 409


class RoleRefusedError(LeptonError):
    """There is no such role."""

    code: ClassVar[str] = "role_refused"


def register_version(stream: Stream, trained: Trained, by: AbstractBaseUser | None) -> ModelVersion:
    """Check an artifact as serving will, then store and number it. It has no role yet.

    Raises:
        ModelRefusedError: the files are damaged or too large, were trained on other features
            than the stream extracts, lack a threshold of the policy, or miss their golden rows.
    """
    open_scorer(trained.files, stream)
    manifest = json.loads(trained.files[MANIFEST])
    for attempt in range(1, NUMBERING_ATTEMPTS + 1):
        try:
            with transaction.atomic():
                version = _store(stream, trained, manifest, by)
        except IntegrityError as exc:
            # Another training took the number between our question and our insert.
            if "model_number_once" not in str(exc) or attempt == NUMBERING_ATTEMPTS:
                raise
        else:
            break
    log.info("model registered", extra={"model": version.model_name, "version": version.number})
    return version


def _store(
    stream: Stream, trained: Trained, manifest: dict[str, Any], by: AbstractBaseUser | None
) -> ModelVersion:
    newest = ModelVersion.objects.filter(model_name=stream.model_name).order_by("-number").first()
    version = ModelVersion.objects.create(
        model_name=stream.model_name,
        number=newest.number + 1 if newest else 1,
        stream=stream.name,
        schema_hash=stream.extractor.schema.hash,
        manifest=manifest,
        metrics=_finite(trained.metrics),
        baseline={name: _finite(metrics) for name, metrics in trained.baseline.items()},
        created_at=clock.now(),
        created_by_id=None if by is None else by.pk,
    )
    for name, content in trained.files.items():
        ModelFile.objects.create(
            version=version,
            name=name,
            sha256=sha256_hex(content),
            size=len(content),
            content=content,
        )
    audit.record(
        by,
        "model.registered",
        str(version),
        vertical=registry.stream(stream.name)[0].key,
        metrics=version.metrics,
    )
    return version


def promote(
    version: ModelVersion,
    role: str,
    by: AbstractBaseUser | None,
    why: str = "",
    *,
    expected: int | None,
    below_baseline: bool = False,
) -> RoleChange:
    """Give ``role`` to ``version`` if version number ``expected`` (None: nobody) has it now.

    Rolling back is promoting an older version. Giving a role to the version that has it writes
    nothing and returns the line that holds. A champion of the past, and the first one of all, need
    not beat their baselines; any other does, unless ``below_baseline``.

    Raises:
        BaselineNotBeatenError: by ``COMPARED_BY``, a baseline is better than this new champion.
        PromotionConflictError: somebody else was faster, or ``expected`` was wrong.
        ModelRefusedError: the version was trained on other features than the stream extracts.
    """
    if role not in Role.values:
        raise RoleRefusedError(f"There is no role {role!r}. Roles: {', '.join(Role.values)}.")
    vertical, stream = registry.stream(version.stream)
    check_schema(version.schema_hash, stream)
    if role == Role.CHAMPION and expected is not None and not below_baseline:
        _require_better_than_baseline(version)
    try:
        with transaction.atomic():
            change = _append(version, role, by, why, expected, vertical.key)
    except IntegrityError as exc:
        if "role_change_in_turn" not in str(exc):
            raise
        raise PromotionConflictError(
            f"Another promotion of {version.model_name} to {role} came first. "
            "Look at who has the role now, then decide again.",
            model=version.model_name,
            role=role,
            expected=expected,
        ) from None
    log.info(
        "model promoted",
        extra={"model": version.model_name, "version": version.number, "role": role},
    )
    return change


def baseline_ahead(version: ModelVersion) -> str | None:
    """The best baseline that did better than this version by ``COMPARED_BY``, if one did."""
    own = version.metrics.get(COMPARED_BY)
    found = {name: m[COMPARED_BY] for name, m in version.baseline.items() if COMPARED_BY in m}
    if own is None or not found:
        return None
    best = max(found, key=lambda name: found[name])
    return best if found[best] > own else None


def _require_better_than_baseline(version: ModelVersion) -> None:
    best = baseline_ahead(version)
    served = RoleChange.objects.filter(version=version, role=Role.CHAMPION).exists()
    if best is None or served:
        return
    raise BaselineNotBeatenError(
        f"{version}: {best} reached {COMPARED_BY} {version.baseline[best][COMPARED_BY]:.4g}, this "
        f"model {version.metrics[COMPARED_BY]:.4g} on the same rows. Train a better one, or promote "
        "it all the same with --below-baseline.",
        baseline=best,
    )


def _append(
    version: ModelVersion,
    role: str,
    by: AbstractBaseUser | None,
    why: str,
    expected: int | None,
    vertical: str,
) -> RoleChange:
    ledger = RoleChange.objects.filter(model_name=version.model_name, role=role)
    last = ledger.select_related("version").order_by("-sequence").first()
    held = last.version.number if last else None
    if held != expected:
        raise PromotionConflictError(
            f"{_named(held)} is {role} of {version.model_name}, not {_named(expected)}. "
            "Look at what it does, then decide again.",
            model=version.model_name,
            role=role,
            expected=expected,
            holder=held,
        )
    if last is not None and last.version.pk == version.pk:
        return last
    # Two of these at once write the same sequence number, and the database takes one.
    change = RoleChange.objects.create(
        model_name=version.model_name,
        role=role,
        version=version,
        sequence=last.sequence + 1 if last else 1,
        at=clock.now(),
        by_id=None if by is None else by.pk,
        why=why,
    )
    audit.record(
        by,
        "model.promoted",
        str(version),
        vertical=vertical,
        why=why,
        role=role,
        replaced=held,
    )
    return change


def _named(number: int | None) -> str:
    return "nobody" if number is None else f"version {number}"


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN: a metric that could not be taken is null."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
