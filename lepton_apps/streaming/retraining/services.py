"""All writes of retraining: policies, runs, and what a candidate becomes."""

from __future__ import annotations

import logging
import os
import socket
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from django.contrib.auth.models import User

from lepton_apps.audit import services as audit
from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection, transaction
from lepton_apps.common.errors import LeptonError
from lepton_apps.model_registry import selectors as models
from lepton_apps.model_registry import services as registering
from lepton_apps.model_registry.models import ModelVersion, Role
from lepton_apps.model_registry.selectors import COMPARED_BY
from lepton_apps.model_registry.training import recipe_named
from lepton_apps.streaming.history import span_of
from lepton_apps.streaming.judging import Costs, judge_version
from lepton_apps.streaming.models import RetrainingPolicy, TrainingRun
from lepton_apps.streaming.retraining import selectors
from lepton_apps.streaming.retraining.selectors import Due
from lepton_apps.verticals import registry

log = logging.getLogger(__name__)

CANDIDATE: Final = "candidate"
LEAST_LABELLED: Final = 20  # of either kind, for a comparison that a policy may act on
LEFT_ALONE: Final = timedelta(days=7)  # a challenger gathers rows and labels before it is replaced
MOST_DAYS: Final = 3650.0
MOST_WHY: Final = 500  # characters
TRY_TURN = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 5))"
Then, State = RetrainingPolicy.Then, TrainingRun.State


class PolicyRefusedError(LeptonError):
    """No policy can be like that."""

    code: ClassVar[str] = "policy_refused"


def set_policy(
    recipe_name: str,
    by: User | None,
    *,
    every_days: float | None,
    on_drift: bool,
    data: str,
    then: str,
    why: str = "",
) -> RetrainingPolicy:
    """From now on the recipe is run again by this policy; without schedule and drift, never.

    Raises:
        NotFoundError: there is no such recipe.
        PolicyRefusedError: no policy can be like that; the sentence names the value.
    """
    recipe = recipe_named(recipe_name)
    if every_days is not None and not 0.01 <= every_days <= MOST_DAYS:
        raise PolicyRefusedError(f"Every {every_days:g} days is not within 0.01 to {MOST_DAYS:g}.")
    if then not in Then.values:
        raise PolicyRefusedError(f"There is no {then[:40]!r}. There are: {', '.join(Then.values)}.")
    why = why.replace("\0", "").strip()
    if len(why) > MOST_WHY:
        raise PolicyRefusedError(f"A reason of {len(why)} characters; at most {MOST_WHY}.")
    is_on = every_days is not None or on_drift
    if is_on and not recipe.learns_history:
        raise PolicyRefusedError(
            f"{recipe.name} makes its own data: running it again makes the same model."
        )
    span = span_of(data)
    if is_on and (span is None or span.has_end):
        raise PolicyRefusedError(f"{data[:80]!r} is no span that ends now, as 90d is.")
    with transaction(raw_connection()):
        policy = RetrainingPolicy.objects.create(
            recipe=recipe.name,
            every_days=every_days,
            on_drift=on_drift,
            data=data,
            then=then,
            at=clock.now(),
            by=by,
            why=why,
        )
        audit.record(
            by,
            "retraining.set" if is_on else "retraining.cleared",
            f"recipe:{recipe.name}",
            vertical=registry.stream(recipe.stream)[0].key,
            why=why,
            every_days=every_days,
            on_drift=on_drift,
            then=then,
        )
    return policy


def begin(due: Due) -> TrainingRun | None:
    """Take the turn to run it; None: somebody else was faster."""
    raw = raw_connection()
    with transaction(raw):
        (ours,) = raw.execute(TRY_TURN, [due.recipe.name]).fetchone() or (False,)
        if not ours or due.recipe.name not in {each.recipe.name for each in selectors.due()}:
            return None
        now = clock.now()
        TrainingRun.objects.filter(
            recipe=due.recipe.name, state=State.RUNNING, beat_at__lt=now - selectors.SILENT_AFTER
        ).update(state=State.INTERRUPTED, finished_at=now, error="Its process is gone.")
        return TrainingRun.objects.create(
            recipe=due.recipe.name,
            stream=due.recipe.stream,
            cause=due.cause,
            started_at=now,
            beat_at=now,
            host=socket.gethostname(),
            pid=os.getpid(),
        )


def beat(run: TrainingRun) -> None:
    """Say that its process lives."""
    TrainingRun.objects.filter(pk=run.pk, state=State.RUNNING).update(beat_at=clock.now())


def fail(run: TrainingRun, error: str) -> None:
    """Note that nothing came of it. The champion goes on."""
    now = clock.now()
    TrainingRun.objects.filter(pk=run.pk, state=State.RUNNING).update(
        state=State.FAILED, finished_at=now, error=error[:2_000]
    )
    log.error("retraining failed", extra={"recipe": run.recipe, "run": run.pk, "why": error})


def finish(run: TrainingRun, due: Due, number: int, measured_from: float | None) -> None:
    """Compare the candidate with the champion, and let it become what the policy says.

    ``measured_from``: as of ``Trained``. A run that is somebody else's by now changes nothing.
    """
    if not TrainingRun.objects.filter(pk=run.pk, state=State.RUNNING).update(
        beat_at=clock.now(), version=number
    ):
        log.warning("training finished too late", extra={"run": run.pk, "version": number})
        return
    _, stream = registry.stream(due.recipe.stream)
    candidate = models.version(stream.model_name, number)
    champion = models.champion(stream.model_name)
    comparison = compared(candidate, champion, measured_from)
    became = CANDIDATE
    try:
        became = _become(candidate, champion, due, comparison)
    except LeptonError as exc:  # a guard of the registry says no: it stays a candidate
        comparison["note"] = exc.detail
    TrainingRun.objects.filter(pk=run.pk, state=State.RUNNING).update(
        state=State.DONE, finished_at=clock.now(), comparison=comparison, became=became
    )
    audit.record(
        None,
        "retraining.done",
        str(candidate),
        vertical=registry.stream(stream.name)[0].key,
        why=f"{due.cause} by the policy of {due.recipe.name}",
        became=became,
    )
    log.info("retrained", extra={"version": str(candidate), "became": became, **comparison})


def compared(
    candidate: ModelVersion, champion: ModelVersion | None, measured_from: float | None
) -> dict[str, Any]:
    """Both on labelled rows that neither learned from: decided after the champion was made."""
    told: dict[str, Any] = {"baseline": _own_baseline(candidate)}
    if champion is None:
        return told | {"note": "There is no champion to compare with."}
    if measured_from is None:
        return told | {"note": "The recipe keeps no rows apart that both could be compared on."}
    since = max(datetime.fromtimestamp(measured_from, UTC), champion.created_at)
    now = clock.now()
    if since >= now:
        return told | {"note": "The champion is newer than the rows that were kept apart."}
    try:
        judged = [judge_version(v, since, now, Costs()) for v in (champion, candidate)]
    except LeptonError as exc:  # no label, or all labels say the same
        return told | {"note": exc.detail}
    scores = [each.report.metrics[COMPARED_BY] for each in judged]
    rows, positives = judged[0].rows, judged[0].positives
    few = min(positives, rows - positives) < LEAST_LABELLED
    return told | {
        "rows": rows,
        "positives": positives,
        "champion": scores[0],
        "candidate": scores[1],
        "note": f"Fewer than {LEAST_LABELLED} labels of either kind: that proves little."
        if few
        else "",
    }


def _become(
    candidate: ModelVersion, champion: ModelVersion | None, due: Due, comparison: dict[str, Any]
) -> str:
    policy, model_name = due.policy, candidate.model_name
    why = f"Retrained ({due.cause}) by the policy of {due.recipe.name}."
    if policy.then == Then.CHALLENGER:
        line = models.change_at(model_name, Role.CHALLENGER, clock.now())
        held = line.version if line is not None else None
        if line is not None and held is not None and line.at > clock.now() - LEFT_ALONE:
            comparison["note"] = f"{held} has been challenger for a short time and goes on."
            return CANDIDATE
        registering.promote(
            candidate, Role.CHALLENGER, None, why, expected=held.number if held else None
        )
        return Role.CHALLENGER
    proven = "candidate" in comparison and not comparison["note"]
    if policy.then == Then.CHAMPION and proven and comparison["candidate"] > comparison["champion"]:
        registering.promote(
            candidate, Role.CHAMPION, None, why, expected=champion.number if champion else None
        )
        return Role.CHAMPION
    return CANDIDATE


def _own_baseline(candidate: ModelVersion) -> float | None:
    best = models.best_baseline(candidate)
    return None if best is None else candidate.baseline[best][COMPARED_BY]
