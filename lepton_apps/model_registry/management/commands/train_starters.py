"""Give every stream without a champion one, so that a fresh server can score."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandError

from lepton_apps.common import clock
from lepton_apps.common.commands import REFUSED, LeptonCommand
from lepton_apps.common.db import raw_connection
from lepton_apps.model_registry import selectors, services
from lepton_apps.model_registry.models import ModelVersion, Role
from lepton_apps.model_registry.training import metrics_table, starter_of, trained_side_by_side
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Trained, TrainingRecipe

TRAINING_LOCK = 5_287_301  # an advisory lock of PostgreSQL: one server trains starters at a time
WAIT_S = 0.5
WHY = "The first model of this stream."


class Command(LeptonCommand):
    help = "Train and promote the starter model of every stream that has no champion."
    examples = ("train_starters", "train_starters fintech.transactions")

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("streams", nargs="*", help="default: every scored stream")

    def handle(self, *args: Any, **options: Any) -> None:
        scored = {stream.name: stream for v in registry.verticals() for stream in v.streams}
        asked = [scored[self.known("scored stream", n, scored)] for n in options["streams"]]
        with self._alone():
            missing = [
                stream
                for stream in asked or scored.values()
                if selectors.champion(stream.model_name) is None
            ]
            starters = {stream.name: starter_of(stream) for stream in missing}
            without_recipe = [name for name, recipe in starters.items() if recipe is None]
            trained = self._start([recipe for recipe in starters.values() if recipe is not None])
            if without_recipe:
                raise CommandError(
                    f"{', '.join(without_recipe)}: no champion, and the vertical declares no "
                    "recipe to train one by.",
                    returncode=REFUSED,
                )
        which = "Each of these streams" if asked else "Every stream"
        nothing = [] if missing else [f"{which} has a champion; nothing to train."]
        self.answer({"trained": trained}, *nothing)

    def _start(self, recipes: Sequence[TrainingRecipe]) -> list[dict[str, Any]]:
        for recipe in recipes:
            self.say(f"{recipe.stream}: {recipe.summary}")
        done = []
        started = clock.monotonic()
        with self.progress() as progress:
            for recipe, trained in trained_side_by_side(recipes, progress):
                version = self._promote(recipe, trained, clock.monotonic() - started)
                done.append({"model": version.model_name, "version": version.number})
        return done

    def _promote(self, recipe: TrainingRecipe, trained: Trained, seconds: float) -> ModelVersion:
        _, stream = registry.stream(recipe.stream)
        version = services.register_version(stream, trained, None, recipe.name)
        self.say("\n".join(["", stream.name, *metrics_table(version), ""]))
        services.promote(version, Role.CHAMPION, None, WHY, expected=None)
        better = selectors.baseline_ahead(version)
        if better is not None:
            self.say(
                self.style.WARNING(
                    f"{better} did better on the same rows; without any champion, {version} serves "
                    "all the same. Train one on your own data."
                )
            )
        done = f"{version} is champion of {stream.name} after {seconds:.1f} s."
        self.say(self.style.SUCCESS(done))
        return version

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the training lock; PostgreSQL frees it when this process dies."""
        raw = raw_connection()
        told = False
        while not _holds(raw.execute("SELECT pg_try_advisory_lock(%s)", (TRAINING_LOCK,))):
            if not told:
                self.say("Another process is training; waiting for it.")
                told = True
            clock.sleep(WAIT_S)
        try:
            yield
        finally:
            if not raw.closed:
                raw.execute("SELECT pg_advisory_unlock(%s)", (TRAINING_LOCK,))


def _holds(cursor: Any) -> bool:
    return bool(cursor.fetchone()[0])
