"""All writes of budgets: a new one, and the thresholds that follow."""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import Any, ClassVar, Final

from django.contrib.auth.models import User

from lepton_apps.audit import services as audit
from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection, transaction
from lepton_apps.common.errors import LeptonError
from lepton_apps.common.metrics import ACHIEVED_PER_DAY, BUDGET_PER_DAY
from lepton_apps.model_registry.models import ModelVersion, ThresholdChange
from lepton_apps.streaming.budgets import selectors
from lepton_apps.streaming.budgets.planning import Situation, plan, worth_changing
from lepton_apps.streaming.models import AlertBudget
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Stream

log = logging.getLogger(__name__)

MOST_PER_DAY: Final = 1_000_000.0
MOST_WHY: Final = 500  # characters
TAKE_TURN = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 3))"
TRY_TURN = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 3))"


class BudgetRefusedError(LeptonError):
    """No budget can be like that."""

    code: ClassVar[str] = "budget_refused"


def checked(kind: str, per_day: float) -> tuple[str, float]:
    """A budget that can be. Raises BudgetRefusedError, which says what can."""
    if kind not in AlertBudget.Kind.values:
        listed = ", ".join(AlertBudget.Kind.values)
        raise BudgetRefusedError(f"There is no kind {kind[:40]!r}. Kinds: {listed}.", kind=kind)
    if not (math.isfinite(per_day) and 0 < per_day <= MOST_PER_DAY):
        raise BudgetRefusedError(
            f"{per_day:g} a day is no budget; it is above 0 and at most {MOST_PER_DAY:,.0f}. To "
            "have none, clear it.",
            per_day=str(per_day),
        )
    return kind, per_day


def set_budget(stream: Stream, kind: str, per_day: float, by: User | None, why: str = "") -> None:
    """From now on the thresholds of the stream follow from this budget.

    Raises:
        BudgetRefusedError: no budget can be like that.
    """
    _add(stream, *checked(kind, per_day), by, why)


def clear_budget(stream: Stream, by: User | None, why: str = "") -> None:
    """From now on the model's own thresholds hold. Without a budget nothing is written."""
    _add(stream, AlertBudget.Kind.ALERTS, None, by, why)


def review(stream: Stream) -> bool:
    """Let the thresholds follow the newest scores; whether they changed.

    One process at a time does it. While another one has the turn, this one leaves it alone.
    """
    raw = raw_connection()
    with transaction(raw):
        (ours,) = raw.execute(TRY_TURN, [stream.name]).fetchone() or (False,)
        return bool(ours) and _follow(selectors.situation(stream), None) is not None


def export(stream: Stream) -> None:
    """Say wanted and achieved as metrics of this process."""
    now = selectors.situation(stream)
    if now.budget is not None and now.budget.per_day is not None:
        BUDGET_PER_DAY.labels(stream.name).set(now.budget.per_day)
    else:
        with suppress(KeyError):  # there was none before either
            BUDGET_PER_DAY.remove(stream.name)
    kind = now.budget.kind if now.budget else AlertBudget.Kind.ALERTS.value
    ACHIEVED_PER_DAY.labels(stream.name).set(selectors.achieved(now, kind))


def _add(stream: Stream, kind: str, per_day: float | None, by: User | None, why: str) -> None:
    why = why.replace("\0", "").strip()
    if len(why) > MOST_WHY:
        raise BudgetRefusedError(f"A reason of {len(why)} characters; at most {MOST_WHY}.")
    raw = raw_connection()
    with transaction(raw):
        raw.execute(TAKE_TURN, [stream.name])  # nobody else changes budget or thresholds
        if per_day is None and selectors.budget_of(stream.name) is None:
            return
        AlertBudget.objects.create(
            stream=stream.name,
            kind=kind,
            per_day=per_day,
            at=clock.now(),
            by_id=None if by is None else by.pk,
            why=why,
        )
        data: dict[str, Any] = {} if per_day is None else {"kind": kind, "per_day": per_day}
        audit.record(
            by,
            "budget.cleared" if per_day is None else "budget.set",
            f"stream:{stream.name}",
            vertical=registry.stream(stream.name)[0].key,
            why=why,
            **data,
        )
        _follow(selectors.situation(stream), by)


def _follow(now: Situation, by: User | None) -> ThresholdChange | None:
    """The line that the thresholds' ledger gets, if it gets one."""
    if now.version is None:
        return None
    if now.budget is None or now.budget.per_day is None:
        if now.line is None or now.line.because == ThresholdChange.Because.VERSION:
            return None
        return _add_line(
            now.version,
            now.own,
            ThresholdChange.Because.VERSION,
            by,
            "The stream has no budget.",
            scores=0,
            expected_per_day=None,
        )
    planned = plan(now, now.budget.kind, now.budget.per_day)
    if not worth_changing(now, planned) or planned.thresholds is None:
        return None
    return _add_line(
        now.version,
        planned.thresholds,
        ThresholdChange.Because.BUDGET,
        by,
        f"{now.budget.per_day:g} {now.budget.get_kind_display().lower()} a day.",
        scores=planned.scores,
        expected_per_day=planned.expected_per_day,
    )


def _add_line(
    version: ModelVersion,
    thresholds: dict[str, float],
    because: str,
    by: User | None,
    why: str,
    *,
    scores: int,
    expected_per_day: float | None,
) -> ThresholdChange:
    """Add a line to the version's ledger, inside the caller's transaction. Servers follow it."""
    vertical, stream = registry.stream(version.stream)
    assert all(0 <= thresholds[name] <= 1 for name in stream.policy.thresholds), thresholds
    last = ThresholdChange.objects.filter(version=version).order_by("-sequence").first()
    line = ThresholdChange.objects.create(
        version=version,
        sequence=last.sequence + 1 if last else 1,
        thresholds=thresholds,
        because=because,
        scores=scores,
        expected_per_day=expected_per_day,
        at=clock.now(),
        by_id=None if by is None else by.pk,
        why=why,
    )
    audit.record(
        by,
        "thresholds.changed",
        str(version),
        vertical=vertical.key,
        why=why,
        thresholds=thresholds,
        because=because,
    )
    log.info(
        "thresholds changed",
        extra={"model": version.model_name, "version": version.number, "because": because},
    )
    return line
