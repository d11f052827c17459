"""Give every stream without a champion one, so that a fresh server can score."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection
from lepton_apps.common.errors import LeptonError
from lepton_apps.common.progress import ProgressLines
from lepton_apps.model_registry import selectors, services
from lepton_apps.model_registry.models import Role
from lepton_apps.model_registry.training import metrics_table, starter_of, trained_side_by_side
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Trained, TrainingRecipe

TRAINING_LOCK = 5_287_301  # an advisory lock of PostgreSQL: one server trains starters at a time
WAIT_S = 0.5
WHY = "The first model of this stream."

EXAMPLE = """\
example:
  manage.py train_starters          # does nothing where every stream has a champion
"""


class Command(BaseCommand):
    help = "Train and promote the starter model of every stream that has no champion."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = EXAMPLE

    def handle(self, *args: Any, **options: Any) -> None:
        with self._alone():
            missing = [
                stream
                for vertical in registry.verticals()
                for stream in vertical.streams
                if selectors.champion(stream.model_name) is None
            ]
            if not missing:
                self.stdout.write("Every stream has a champion; nothing to train.")
            starters = {stream.name: starter_of(stream) for stream in missing}
            without_recipe = [name for name, recipe in starters.items() if recipe is None]
            self._start([recipe for recipe in starters.values() if recipe is not None])
            if without_recipe:
                raise CommandError(
                    f"{', '.join(without_recipe)}: no champion, and the vertical declares no "
                    "recipe to train one by."
                )

    def _start(self, recipes: Sequence[TrainingRecipe]) -> None:
        for recipe in recipes:
            self.stdout.write(f"{recipe.stream}: {recipe.summary}")
        with ProgressLines(self.stdout) as progress:
            try:
                for recipe, trained in trained_side_by_side(recipes, progress):
                    self._promote(recipe, trained, progress.elapsed_s)
            except LeptonError as exc:
                raise CommandError(exc.detail) from exc

    def _promote(self, recipe: TrainingRecipe, trained: Trained, seconds: float) -> None:
        _, stream = registry.stream(recipe.stream)
        version = services.register_version(stream, trained, None)
        self.stdout.write("\n".join(["", stream.name, *metrics_table(version), ""]))
        services.promote(version, Role.CHAMPION, None, WHY, expected=None)
        better = services.baseline_ahead(version)
        if better is not None:
            self.stdout.write(
                self.style.WARNING(
                    f"{better} did better on the same rows; without any champion, {version} serves "
                    "all the same. Train one on your own data."
                )
            )
        done = f"{version} is champion of {stream.name} after {seconds:.1f} s."
        self.stdout.write(self.style.SUCCESS(done))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the training lock; PostgreSQL frees it when this process dies."""
        raw = raw_connection()
        told = False
        while not _holds(raw.execute("SELECT pg_try_advisory_lock(%s)", (TRAINING_LOCK,))):
            if not told:
                self.stdout.write("Another process is training; waiting for it.")
                told = True
            clock.sleep(WAIT_S)
        try:
            yield
        finally:
            if not raw.closed:
                raw.execute("SELECT pg_advisory_unlock(%s)", (TRAINING_LOCK,))


def _holds(cursor: Any) -> bool:
    return bool(cursor.fetchone()[0])
