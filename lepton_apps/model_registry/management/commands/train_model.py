"""Run a training recipe and register the version it makes."""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepton_apps.common.errors import LeptonError
from lepton_apps.common.progress import ProgressLines
from lepton_apps.model_registry import selectors, services
from lepton_apps.model_registry.models import ModelVersion, Role
from lepton_apps.model_registry.training import metrics_table, recipe_named, recipes, train
from lepton_apps.verticals import registry

EXAMPLE = """\
example:
  manage.py train_model fintech.starter
  manage.py train_model fintech.starter --promote --why "Labels of the last month."
"""


class Command(BaseCommand):
    help = "Train a model by a recipe and register it as a new version."

    def add_arguments(self, parser: ArgumentParser) -> None:
        names = ", ".join(sorted(recipes())) or "none"
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = EXAMPLE
        parser.add_argument("recipe", help=f"One of: {names}.")
        parser.add_argument(
            "--promote", action="store_true", help="Make the new version champion at once."
        )
        parser.add_argument("--why", default="", help="Written into the ledger and the audit.")
        parser.add_argument("--json", action="store_true", help="One JSON line, no progress.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._train(options["recipe"], options["promote"], options["why"], options["json"])
        except LeptonError as exc:
            raise CommandError(exc.detail) from exc

    def _train(self, name: str, promote: bool, why: str, as_json: bool) -> None:
        recipe = recipe_named(name)
        _, stream = registry.stream(recipe.stream)
        # Asked before the training: whoever is promoted while it runs was not compared with.
        before = selectors.champion(stream.model_name)
        if as_json:
            version = train(recipe, None, lambda stage, done, total: None)
        else:
            self.stdout.write(f"{recipe.name}: {recipe.summary}")
            with ProgressLines(self.stdout) as progress:
                version = train(recipe, None, progress)
            self.stdout.write(f"{version} registered after {progress.elapsed_s:.1f} s.")
            self.stdout.write("\n".join(["", *metrics_table(version), ""]))
        if promote:
            expected = before.number if before else None
            services.promote(
                version, Role.CHAMPION, None, why or f"Trained by {name}.", expected=expected
            )
        if as_json:
            self.stdout.write(json.dumps(_facts(version, promote)))
        elif promote:
            self.stdout.write(self.style.SUCCESS(f"{version} is champion of {stream.name}."))
        else:
            self.stdout.write(
                f"Promote it with: manage.py promote_model {version.model_name} {version.number}"
            )


def _facts(version: ModelVersion, promoted: bool) -> dict[str, Any]:
    return {
        "model": version.model_name,
        "version": version.number,
        "stream": version.stream,
        "promoted": promoted,
        "metrics": version.metrics,
        "baseline": version.baseline,
    }
