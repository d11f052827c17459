"""A replay as a process of its own, so that the one that was asked for it stays quick."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading

import psycopg
from django.conf import settings
from django.contrib.auth.models import User
from django.db import Error as DjangoDatabaseError
from django.db import connection

from lepton_apps.common.errors import UnavailableError
from lepton_apps.streaming.models import ReplayRun
from lepton_apps.streaming.replay import services
from lepton_apps.streaming.replay.question import Question

log = logging.getLogger(__name__)


def start(question: Question, by: User | None) -> ReplayRun:
    """Ask for a replay and start the process that carries it out.

    The process belongs to this one's group and ends with it; its row then says so.

    Raises:
        ReplayRefusedError, NotFoundError, ReplaysBusyError: see ``services.ask``.
        UnavailableError: this machine can start no process.
    """
    run = services.ask(question, by)
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "replay", "--run", str(run.pk)]
    try:
        process = subprocess.Popen(  # noqa: S603 - our own command and a number
            command, cwd=settings.BASE_DIR, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
    except OSError as exc:
        sentence = f"The process of replay {run.pk} could not be started: {exc}."
        services.finish(run.pk, ReplayRun.State.FAILED, error=sentence)
        raise UnavailableError(sentence) from exc
    threading.Thread(target=_see_off, args=(process, run.pk), daemon=True).start()
    return run


def _see_off(process: subprocess.Popen[bytes], run_id: int) -> None:
    """Wait for the process, so that it leaves no zombie; one that died is noted at once."""
    code = process.wait()
    log.info("replay ended", extra={"replay": run_id, "exit_code": code})
    if not code:
        return
    try:
        # Changes nothing where the process itself has said how it ended.
        services.finish(run_id, ReplayRun.State.INTERRUPTED, error=f"{services.GONE} ({code})")
    except (psycopg.Error, DjangoDatabaseError) as exc:
        log.warning("end of replay not noted", extra={"replay": run_id, "why": str(exc)})
    finally:
        connection.close()
