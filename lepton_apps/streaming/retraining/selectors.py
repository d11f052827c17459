"""Which recipe is due to be run again, and what became of earlier runs. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from lepton_apps.common import clock
from lepton_apps.common.clock import moment
from lepton_apps.model_registry import selectors as models
from lepton_apps.model_registry.training import recipes
from lepton_apps.streaming.drift import selectors as drift
from lepton_apps.streaming.models import DriftReview, RetrainingPolicy, TrainingRun
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import TrainingRecipe

Cause, State = TrainingRun.Cause, TrainingRun.State

DRIFT_EVERY: Final = timedelta(days=1)  # drift that lasts asks for one training a day
AGAIN_AFTER: Final = timedelta(hours=1)  # a run that failed
SILENT_AFTER: Final = timedelta(minutes=10)  # then a run's process is gone


@dataclass(frozen=True, slots=True)
class Due:
    """A training whose time has come."""

    recipe: TrainingRecipe
    policy: RetrainingPolicy
    cause: str


def policy_of(recipe: str) -> RetrainingPolicy | None:
    """The policy that holds, or None."""
    found = RetrainingPolicy.objects.filter(recipe=recipe).select_related("by")
    newest = found.order_by("-id").first()
    return None if newest is None or newest.is_off else newest


def policies() -> list[RetrainingPolicy]:
    """Those that hold, of recipes that are there."""
    return [policy for name in sorted(recipes()) if (policy := policy_of(name)) is not None]


def runs(
    recipe: str | None = None, limit: int = 10, *, stream: str | None = None
) -> list[TrainingRun]:
    """The newest runs of a recipe, of a stream, or of all, newest first."""
    found = TrainingRun.objects.order_by("-id")
    if recipe is not None:
        found = found.filter(recipe=recipe)
    if stream is not None:
        found = found.filter(stream=stream)
    return list(found[:limit])


def state_of(run: TrainingRun) -> str:
    """The state as it is: a run whose process is gone says so before anybody writes it down."""
    if run.state == State.RUNNING and run.beat_at < clock.now() - SILENT_AFTER:
        return State.INTERRUPTED
    return run.state


def due() -> list[Due]:
    """What is to be trained now; nothing of a recipe that is at work."""
    found = []
    for policy in policies():
        recipe = recipes()[policy.recipe]
        cause = _cause(policy, recipe)
        if cause is not None:
            found.append(Due(recipe, policy, cause))
    return found


def _cause(policy: RetrainingPolicy, recipe: TrainingRecipe) -> str | None:
    now = clock.now()
    last = next(iter(runs(policy.recipe, 1)), None)
    if last is not None:
        state = state_of(last)
        if state == State.RUNNING:
            return None
        if state != State.DONE and last.started_at > now - AGAIN_AFTER:
            return None
    done = (
        TrainingRun.objects.filter(recipe=policy.recipe, state=State.DONE).order_by("-id").first()
    )
    if policy.every_days is not None:
        since = policy.at if done is None else max(policy.at, done.started_at)
        if since <= now - timedelta(days=policy.every_days):
            return Cause.SCHEDULE
    if not policy.on_drift or not _has_drifted(recipe.stream):
        return None
    if done is not None and done.started_at > now - DRIFT_EVERY:
        return None
    return Cause.DRIFT


def _has_drifted(stream_name: str) -> bool:
    """Whether a look of late found much, in the rows of the version that is champion now."""
    review = drift.latest(stream_name)
    champion = models.champion(registry.stream(stream_name)[1].model_name)
    return (
        review is not None
        and review.verdict == DriftReview.Verdict.MUCH
        and champion is not None
        and review.version == champion.number
        and review.at > clock.now() - DRIFT_EVERY
    )


def told_policy(policy: RetrainingPolicy) -> dict[str, Any]:
    """A policy as REST and commands say it; JSON-ready."""
    return {
        "recipe": policy.recipe,
        "every_days": policy.every_days,
        "on_drift": policy.on_drift,
        "span": policy.data,
        "then": policy.then,
        "set_at": moment(policy.at),
        "set_by": policy.by and policy.by.get_username(),
        "why": policy.why,
    }


def told_run(run: TrainingRun) -> dict[str, Any]:
    """A run as REST and commands say it; JSON-ready."""
    return {
        "id": run.pk,
        "recipe": run.recipe,
        "cause": run.cause,
        "state": state_of(run),
        "started_at": moment(run.started_at),
        "finished_at": None if run.finished_at is None else moment(run.finished_at),
        "version": run.version,
        "became": run.became,
        "comparison": run.comparison,
        "error": run.error,
    }
