"""``manage.py trainer``: trains what is due by policy, each in a process of its own."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
from argparse import ArgumentParser
from typing import Any, ClassVar, Final

from django.conf import settings
from django.db import close_old_connections

from lepton_apps.common import clock
from lepton_apps.common.commands import AWAY, LeptonCommand
from lepton_apps.streaming.models import TrainingRun
from lepton_apps.streaming.retraining import selectors, services
from lepton_apps.streaming.retraining.selectors import Due

log = logging.getLogger(__name__)

BEAT_S: Final = 5.0
SAID: Final = 4_000  # characters of what a failed training said, for the log
LONGEST_S: Final = 6 * 3_600.0  # of a training
PATIENCE_S: Final = 30.0  # from being told to end until it is ended


class Command(LeptonCommand):
    help = (
        "Train what is due by `retraining`, and look again every minute, until it is stopped. It "
        "is light while it waits; a training runs in a process of its own. Several share the work."
    )
    examples: ClassVar[tuple[str, ...]] = ("trainer", "trainer --once   (from cron)")

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--once", action="store_true", help="train what is due now, and end")
        parser.add_argument("--every", type=float, default=60.0, metavar="SECONDS",
            help="between two looks (default: 60)")  # fmt: skip

    def handle(self, **options: Any) -> None:
        self.between("--every", options["every"], 1.0, 86_400.0)
        self._stopping = threading.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda *_: self._stopping.set())
        done: list[dict[str, Any]] = []
        while not self._stopping.is_set():
            try:
                done += self._round()
            except AWAY as exc:
                if options["once"]:
                    raise
                log.warning("trainer waits for PostgreSQL", extra={"why": str(exc)})
                close_old_connections()
            if options["once"]:
                break
            self._stopping.wait(options["every"])
        self.answer({"runs": done}, *(f"{run['recipe']}: {run['state']}." for run in done))

    def _round(self) -> list[dict[str, Any]]:
        """Train what is due; what each run came to."""
        done = []
        for due in selectors.due():
            if self._stopping.is_set():
                break
            run = services.begin(due)
            if run is None:
                continue
            self.say(f"{due.recipe.name}: training ({due.cause}).")
            try:
                self._train(run, due)
            except AWAY:
                raise
            except Exception as exc:  # the other recipes are trained all the same
                log.exception("training failed", extra={"recipe": due.recipe.name})
                services.fail(run, f"{type(exc).__name__}; the log of the trainer says more.")
            run.refresh_from_db()
            done.append(selectors.told_run(run))
        return done

    def _train(self, run: TrainingRun, due: Due) -> None:
        command = [
            sys.executable, str(settings.BASE_DIR / "manage.py"), "train_model", due.recipe.name,
            "--data", due.policy.data, "--json",
        ]  # fmt: skip
        with subprocess.Popen(  # noqa: S603 - our own command, a declared recipe, a checked span
            command, cwd=settings.BASE_DIR, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace",
        ) as process:  # fmt: skip
            try:
                said = self._followed(process, run)
            finally:
                if process.poll() is None:
                    process.kill()
        if self._stopping.is_set() and process.returncode:
            services.fail(run, "The trainer was stopped.")
            return
        answer = _answer_in(said)
        if "version" in answer:
            services.finish(run, due, int(answer["version"]), answer.get("measured_from"))
            return
        log.error("training said", extra={"recipe": due.recipe.name, "said": said[-SAID:]})
        detail = answer.get("error", {}).get("detail")
        ended = f"It ended with {process.returncode}; the log of the trainer says more."
        services.fail(run, detail or ended)

    def _followed(self, process: subprocess.Popen[str], run: TrainingRun) -> str:
        """What the process said, once it has ended; it is told to end when this one is."""
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.extend(process.stdout or ()), daemon=True)
        reader.start()
        began = beat_at = clock.monotonic()
        told_at = 0.0
        while process.poll() is None:
            clock.sleep(0.2)
            at = clock.monotonic()
            if not told_at and (self._stopping.is_set() or at > began + LONGEST_S):
                told_at = at
                process.terminate()
            if told_at and at > told_at + PATIENCE_S:
                process.kill()
            if at >= beat_at:
                beat_at = at + BEAT_S
                try:
                    services.beat(run)
                except AWAY:  # it trains on; a beat or two may be missing
                    close_old_connections()
        reader.join(5)
        return "".join(said)


def _answer_in(said: str) -> dict[str, Any]:
    """The last line that is a JSON object: libraries may have the last word."""
    for line in reversed(said.splitlines()):
        try:
            answer = json.loads(line)
        except ValueError:
            continue
        if isinstance(answer, dict):
            return answer
    return {}
