"""The rows of replays: asked for, begun, kept alive, cancelled and ended. All a replay writes."""

from __future__ import annotations

import os
import socket
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import User
from psycopg.types.json import Jsonb

from lepton_apps.audit import services as audit
from lepton_apps.common import clock
from lepton_apps.common.db import RawConnection, raw_connection, transaction
from lepton_apps.common.errors import LeptonError, NotFoundError
from lepton_apps.streaming.models import ReplayRun
from lepton_apps.streaming.replay import question as asking
from lepton_apps.streaming.replay.question import Question
from lepton_apps.streaming.replay.selectors import SILENT_AFTER

LOCK = 0x1E9702  # of pg_advisory_xact_lock: one asks at a time
GONE = "Its process ended without a word: it was killed, or its machine stopped. Ask again."
BEAT = """
UPDATE replay_run SET beat_at = %s, stage = %s, done = %s, total = %s
WHERE id = %s AND state = 'running' RETURNING cancel_asked_at
"""


class ReplaysBusyError(LeptonError):
    """As many replays run as may run at once."""

    code: ClassVar[str] = "replays_busy"
    status: ClassVar[int] = 409


class ReplayOverError(LeptonError):
    """The replay has ended; there is nothing to cancel or to begin."""

    code: ClassVar[str] = "replay_over"
    status: ClassVar[int] = 409


def ask(question: Question, by: User | None) -> ReplayRun:
    """Write down a replay that a process is to take up.

    Raises:
        ReplayRefusedError, NotFoundError: it cannot be; see ``question.checked``.
        ReplaysBusyError: REPLAY_RUNS are at work.
    """
    question = asking.checked(question)
    now = clock.now()
    with transaction(raw_connection()):
        raw_connection().execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        _note_the_dead()
        active = list(
            ReplayRun.objects.filter(state__in=ReplayRun.ACTIVE).values_list("id", flat=True)
        )
        if len(active) >= settings.REPLAY_RUNS:
            listed = ", ".join(map(str, sorted(active)))
            raise ReplaysBusyError(
                f"{len(active)} replays are at work ({listed}), as many as may be (REPLAY_RUNS). "
                "Wait for one of them, or cancel it.",
                limit=settings.REPLAY_RUNS,
            )
        body = asking.as_json(question)
        run = ReplayRun.objects.create(
            stream=question.stream, question=body, asked_by=by, asked_at=now, beat_at=now
        )
        audit.record(by, "replay.asked", f"replay:{run.pk}", vertical=_vertical(run), question=body)
    return run


def begin(run_id: int) -> ReplayRun:
    """Take a waiting run up in this process."""
    taken = ReplayRun.objects.filter(id=run_id, state=ReplayRun.State.WAITING).update(
        state=ReplayRun.State.RUNNING,
        beat_at=clock.now(),
        host=socket.gethostname(),
        pid=os.getpid(),
    )
    run = ReplayRun.objects.filter(id=run_id).first()
    if run is None:
        raise NotFoundError(f"There is no replay {run_id}.", id=run_id)
    if not taken:
        raise ReplayOverError(f"Replay {run_id} is {run.state}; it waits for nobody.", id=run_id)
    return run


def beat(raw: RawConnection, run_id: int, stage: str, done: int, total: int) -> bool:
    """Say that the run lives and how far it is; false when it should stop."""
    row = raw.execute(BEAT, [clock.now(), stage, done, total, run_id]).fetchone()
    return row is not None and row[0] is None


def finish(
    run_id: int,
    state: str,
    *,
    result: dict[str, Any] | None = None,
    read: int | None = None,
    error: str = "",
) -> None:
    """The last word on a run; whoever has given it up meanwhile is believed.

    ``read`` is the number of rows or records that a finished run has taken.
    """
    with transaction(raw_connection()):
        raw_connection().execute("SET TRANSACTION READ WRITE")
        raw_connection().execute(
            "UPDATE replay_run SET state = %s, result = %s, error = %s, finished_at = %s,"
            " beat_at = %s, done = coalesce(%s, done), total = coalesce(%s, total) WHERE id = %s AND state IN ('waiting', 'running')",
            [
                state,
                None if result is None else Jsonb(result),
                error,
                clock.now(),
                clock.now(),
                read,
                read,
                run_id,
            ],
        )


def cancel(run: ReplayRun, by: User | None) -> None:
    """Ask a run to stop; it does so between two chunks. One that has not begun stops at once."""
    now = clock.now()
    with transaction(raw_connection()):
        active = ReplayRun.objects.filter(id=run.pk, state__in=ReplayRun.ACTIVE)
        if not active.update(cancel_asked_at=now):
            raise ReplayOverError(
                f"Replay {run.pk} has ended; nothing is left to cancel.", id=run.pk
            )
        ReplayRun.objects.filter(id=run.pk, state=ReplayRun.State.WAITING).update(
            state=ReplayRun.State.CANCELLED, finished_at=now
        )
        audit.record(by, "replay.cancelled", f"replay:{run.pk}", vertical=_vertical(run))


def _note_the_dead() -> None:
    now = clock.now()
    for state, patience in SILENT_AFTER.items():
        ReplayRun.objects.filter(state=state, beat_at__lt=now - patience).update(
            state=ReplayRun.State.INTERRUPTED, error=GONE, finished_at=now
        )


def _vertical(run: ReplayRun) -> str:
    return run.stream.partition(".")[0]
