"""What pages, REST and commands read of replays."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from lepton_apps.common import clock
from lepton_apps.common.clock import moment
from lepton_apps.common.errors import NotFoundError
from lepton_apps.streaming.models import ReplayRun
from lepton_apps.verticals import registry

# A run without a beat for so long has no process any more. One that has not begun is given the
# time that a loaded machine takes to start one; a process that dies at once is noted at once.
SILENT_AFTER = {
    ReplayRun.State.WAITING: timedelta(minutes=5),
    ReplayRun.State.RUNNING: timedelta(seconds=60),
}


def state_of(run: ReplayRun) -> str:
    """The state as it is: a run whose process is gone says so before anybody writes it down."""
    state = ReplayRun.State(run.state)
    patience = SILENT_AFTER.get(state)
    if patience is not None and run.beat_at < clock.now() - patience:
        return ReplayRun.State.INTERRUPTED
    return state


def runs(
    verticals: Collection[str],
    stream: str | None = None,
    before_id: int | None = None,
    limit: int = 50,
) -> list[ReplayRun]:
    """Runs over streams of these verticals, newest first, without their results."""
    names = [s.name for v in registry.verticals() if v.key in verticals for s in v.streams]
    found = ReplayRun.objects.filter(stream__in=[n for n in names if stream in (None, n)])
    if before_id is not None:
        found = found.filter(id__lt=before_id)
    return list(found.defer("result").select_related("asked_by").order_by("-id")[:limit])


def run(verticals: Collection[str], run_id: int) -> ReplayRun:
    """One run that the asker may see."""
    names = [s.name for v in registry.verticals() if v.key in verticals for s in v.streams]
    found = ReplayRun.objects.filter(id=run_id, stream__in=names).select_related("asked_by").first()
    if found is None:
        raise NotFoundError(f"There is no replay {run_id}.", id=run_id)
    return found


def summary(run: ReplayRun) -> dict[str, Any]:
    """A run as a row."""
    return {
        "id": run.pk,
        "stream": run.stream,
        "state": state_of(run),
        "stage": run.stage,
        "done": run.done,
        "total": run.total,
        "question": run.question,
        "asked_by": run.asked_by.get_username() if run.asked_by else None,
        "asked_at": moment(run.asked_at),
        "beat_at": moment(run.beat_at),
        "finished_at": moment(run.finished_at) if run.finished_at else None,
        "error": run.error or None,
    }
