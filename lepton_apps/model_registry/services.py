"""All writes of the registry: a new version, who has which role, and a version's end."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import IntegrityError, transaction

from lepton_apps.audit import services as audit
from lepton_apps.common import clock
from lepton_apps.common.code_version import code_version
from lepton_apps.model_registry import selectors
from lepton_apps.model_registry.cache import sha256_hex
from lepton_apps.model_registry.errors import (
    BaselineNotBeatenError,
    NoEarlierChampionError,
    PromotionConflictError,
    RoleRefusedError,
    VersionInUseError,
    VersionRetiredError,
)
from lepton_apps.model_registry.loading import check_schema, check_servable, open_scorer
from lepton_apps.model_registry.models import (
    ModelFile,
    ModelVersion,
    Retirement,
    Role,
    RoleChange,
)
from lepton_apps.model_registry.selectors import COMPARED_BY
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Stream, Trained
from models_core.artifact import MANIFEST, stamped

log = logging.getLogger(__name__)

NUMBERING_ATTEMPTS = 5  # as many trainings may end at the same moment
LEAST_STEP = timedelta(microseconds=1)  # between two lines of one ledger: what a row can hold
Act = RoleChange.Act
# What the audit calls each kind of line.
AUDITED = {
    Act.PROMOTED: "model.promoted",
    Act.ROLLED_BACK: "model.rolled_back",
    Act.WITHDRAWN: "model.withdrawn",
}


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who wants a line in which ledger, why, and whom that person believes to have the role."""

    model: selectors.Model
    role: str
    by: AbstractBaseUser | None
    why: str
    expected: int | None


def register_version(
    stream: Stream, trained: Trained, by: AbstractBaseUser | None, recipe_name: str = ""
) -> ModelVersion:
    """Check an artifact as serving will, then store and number it. It has no role yet.

    Where its manifest does not say which recipe and which code made it, it is told: the recipe
    named here, and this process's code.

    Raises:
        ModelRefusedError: the files are damaged or too large, were trained on other features
            than the stream extracts, lack a threshold of the policy, or miss their golden rows.
    """
    open_scorer(trained.files, stream)
    files = stamped(trained.files, recipe_name=recipe_name, code_version=code_version())
    for attempt in range(1, NUMBERING_ATTEMPTS + 1):
        try:
            with transaction.atomic():
                version = _store(stream, trained, files, by)
        except IntegrityError as exc:
            # Another training took the number between our question and our insert.
            if "model_number_once" not in str(exc) or attempt == NUMBERING_ATTEMPTS:
                raise
        else:
            break
    log.info("model registered", extra={"model": version.model_name, "version": version.number})
    return version


def _store(
    stream: Stream, trained: Trained, files: Mapping[str, bytes], by: AbstractBaseUser | None
) -> ModelVersion:
    newest = ModelVersion.objects.filter(model_name=stream.model_name).order_by("-number").first()
    version = ModelVersion.objects.create(
        model_name=stream.model_name,
        number=newest.number + 1 if newest else 1,
        stream=stream.name,
        schema_hash=stream.extractor.schema.hash,
        manifest=json.loads(files[MANIFEST]),
        metrics=_finite(trained.metrics),
        baseline={name: _finite(metrics) for name, metrics in trained.baseline.items()},
        created_at=clock.now(),
        created_by_id=None if by is None else by.pk,
        created_by_name=_name(by),
    )
    for name, content in files.items():
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
        recipe=version.recipe_name,
        code_version=version.code_version,
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

    Giving a role to the version that has it writes nothing and returns the line that holds. A
    champion of the past, and the first one of all, need not beat their baselines; any other
    does, unless ``below_baseline``.

    Raises:
        BaselineNotBeatenError: by ``COMPARED_BY``, a baseline is better than this new champion.
        PromotionConflictError: somebody else was faster, or ``expected`` was wrong.
        ModelRefusedError: the version was trained on other features than the stream extracts, is
            damaged, or misses its golden rows.
        VersionRetiredError: the version was retired.
    """
    _require_role(role)
    asked = _Asked(_model_of(version), role, by, why, expected)
    _require_servable(version, asked.model.stream)
    with _in_turn(asked):
        _require_not_retired(version)
        if role == Role.CHAMPION and expected is not None and not below_baseline:
            _require_better_than_baseline(version)
        return _append(asked, version, Act.PROMOTED)


def rollback(
    model_name: str, by: AbstractBaseUser | None, why: str, *, expected: int | None
) -> RoleChange:
    """Make the champion before the present one, version number ``expected``, champion again.

    A second roll-back goes on to the one before that, not back up. Retired ones are left out.

    Raises:
        NoEarlierChampionError: there is none to go back to.
        PromotionConflictError: somebody else was faster, or ``expected`` was wrong.
        ModelRefusedError: the one before could not serve, as of ``promote``.
    """
    asked = _Asked(selectors.model(model_name), Role.CHAMPION, by, why, expected)
    # Before the transaction: to build and measure an engine may take longer than one may last.
    target = selectors.rollback_target(model_name)
    if target is not None:
        _require_servable(target, asked.model.stream)
    with _in_turn(asked):
        _require_held(asked, _last_line(asked))
        if target is None:
            raise NoEarlierChampionError(
                f"{model_name} has had no champion before {_named(expected)} that is not retired. "
                "Promote the version that you want.",
                model=model_name,
            )
        _require_not_retired(target)
        return _append(asked, target, Act.ROLLED_BACK)


def withdraw(
    model_name: str, role: str, by: AbstractBaseUser | None, why: str, *, expected: int | None
) -> RoleChange:
    """Take ``role`` from version number ``expected``; from then on nobody has it.

    Raises:
        RoleRefusedError: a champion is not withdrawn but followed by another.
        PromotionConflictError: somebody else was faster, or ``expected`` was wrong.
    """
    _require_role(role)
    if role == Role.CHAMPION:
        raise RoleRefusedError(
            f"Without a champion nothing of {model_name} could be decided. Promote another "
            "version or roll back; only a challenger is withdrawn."
        )
    asked = _Asked(selectors.model(model_name), role, by, why, expected)
    with _in_turn(asked):
        if _require_held(asked, _last_line(asked)) is None:
            raise PromotionConflictError(
                f"Nobody is {role} of {model_name}, so nobody can be withdrawn.",
                model=model_name,
                role=role,
                expected=expected,
                holder=None,
            )
        return _append(asked, None, Act.WITHDRAWN)


def retire(version: ModelVersion, by: AbstractBaseUser | None, why: str) -> Retirement:
    """End a version: it takes no role again. Its row, its files and its past stay.

    Raises:
        VersionInUseError: it has a role.
        VersionRetiredError: it was retired before.
    """
    model = _model_of(version)
    with transaction.atomic():
        _require_not_retired(version)
        held = [
            r for r, number in selectors.roles_of(model.name).items() if number == version.number
        ]
        if held:
            raise VersionInUseError(
                f"{version} is {' and '.join(held)}. Give the role to another version first.",
                model=model.name,
                number=version.number,
                roles=held,
            )
        retirement = Retirement.objects.create(
            version=version, at=clock.now(), by_id=_id(by), by_name=_name(by), why=why
        )
        audit.record(by, "model.retired", str(version), vertical=model.vertical.key, why=why)
    log.info("model retired", extra={"model": model.name, "version": version.number})
    return retirement


@contextmanager
def _in_turn(asked: _Asked) -> Iterator[None]:
    """One transaction; of two that write the same line of a ledger the second one is told so."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as exc:
        if "role_change_in_turn" not in str(exc):
            raise
        raise PromotionConflictError(
            f"Another change of the {asked.role} of {asked.model.name} came first. "
            "Look at who has the role now, then decide again.",
            model=asked.model.name,
            role=asked.role,
            expected=asked.expected,
        ) from None


def _require_role(role: str) -> None:
    if role not in Role.values:
        raise RoleRefusedError(f"There is no role {role!r}. Roles: {', '.join(Role.values)}.")


def _require_servable(version: ModelVersion, stream: Stream) -> None:
    """Refuse here what every process would refuse later, while somebody is there to read why."""
    check_schema(version.schema_hash, stream)
    check_servable(version.pk, stream)


def _require_not_retired(version: ModelVersion) -> None:
    """Hold the version's row until the end of the transaction, so that its fate is decided once."""
    ModelVersion.objects.select_for_update(of=("self",)).get(pk=version.pk)
    retired = Retirement.objects.filter(version_id=version.pk).first()
    if retired is not None:
        raise VersionRetiredError(
            f"{version} was retired by {retired.by_name} at {retired.at:%Y-%m-%d %H:%M} UTC and "
            "takes no role again. Train a new version by its recipe.",
            model=version.model_name,
            number=version.number,
        )


def _require_better_than_baseline(version: ModelVersion) -> None:
    best = selectors.baseline_ahead(version)
    if best is None or selectors.was_champion(version):
        return
    raise BaselineNotBeatenError(
        f"{version}: {best} reached {COMPARED_BY} {version.baseline[best][COMPARED_BY]:.4g}, this "
        f"model {version.metrics[COMPARED_BY]:.4g} on the same rows. Train a better one, or say "
        "that it shall be champion below its baseline.",
        baseline=best,
    )


def _last_line(asked: _Asked) -> RoleChange | None:
    ledger = RoleChange.objects.filter(model_name=asked.model.name, role=asked.role)
    return ledger.select_related("version").order_by("-sequence").first()


def _require_held(asked: _Asked, last: RoleChange | None) -> int | None:
    """The number that has the role, if it is the one that was expected."""
    held = last.version.number if last is not None and last.version is not None else None
    if held == asked.expected:
        return held
    raise PromotionConflictError(
        f"{_named(held).capitalize()} is {asked.role} of {asked.model.name}, not "
        f"{_named(asked.expected)}. Look at what it does, then decide again.",
        model=asked.model.name,
        role=asked.role,
        expected=asked.expected,
        holder=held,
    )


def _append(asked: _Asked, version: ModelVersion | None, act: RoleChange.Act) -> RoleChange:
    """The ledger's next line, in the caller's transaction. None: nobody has the role any more."""
    last = _last_line(asked)
    held = _require_held(asked, last)
    if last is not None and version is not None and last.version_id == version.pk:
        return last
    now = clock.now()
    # Two of these at once write the same sequence number, and the database takes one.
    change = RoleChange.objects.create(
        model_name=asked.model.name,
        role=asked.role,
        act=act,
        version=version,
        sequence=last.sequence + 1 if last else 1,
        # Clocks of two machines differ; "what was live at T" needs times that grow.
        at=max(now, last.at + LEAST_STEP) if last else now,
        by_id=_id(asked.by),
        by_name=_name(asked.by),
        why=asked.why,
    )
    audit.record(
        asked.by,
        AUDITED[act],
        str(version or f"{asked.model.name} v{held}"),
        vertical=asked.model.vertical.key,
        why=asked.why,
        role=asked.role,
        replaced=held,
    )
    log.info(
        "model role changed",
        extra={
            "model": asked.model.name,
            "version": version and version.number,
            "role": asked.role,
            "act": act.value,
            "replaced": held,
        },
    )
    return change


def _model_of(version: ModelVersion) -> selectors.Model:
    vertical, stream = registry.stream(version.stream)
    return selectors.Model(version.model_name, vertical, stream)


def _named(number: int | None) -> str:
    return "nobody" if number is None else f"version {number}"


def _id(by: AbstractBaseUser | None) -> Any:
    return None if by is None else by.pk


def _name(by: AbstractBaseUser | None) -> str:
    return audit.SERVER if by is None else by.get_username()


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN: a metric that could not be taken is null."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
