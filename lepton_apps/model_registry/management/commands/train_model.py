"""Run a training recipe and register the version it makes."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from lepton_apps.common import clock
from lepton_apps.common.commands import LeptonCommand
from lepton_apps.model_registry import selectors, services
from lepton_apps.model_registry.models import ModelVersion, Role
from lepton_apps.model_registry.training import metrics_table, recipe_named, recipes, train
from lepton_apps.verticals import registry


class Command(LeptonCommand):
    help = "Train a model by a recipe and register it as a new version."
    examples = (
        "train_model fintech.transactions.starter",
        'train_model fintech.transactions.starter --promote --why "Labels of the last month."',
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        names = ", ".join(sorted(recipes())) or "none"
        parser.add_argument("recipe", help=f"one of: {names}")
        parser.add_argument(
            "--promote", action="store_true", help="make the new version champion at once"
        )
        parser.add_argument("--why", default="", help="written into the ledger and the audit")

    def handle(self, *args: Any, **options: Any) -> None:
        recipe = recipe_named(options["recipe"])
        _, stream = registry.stream(recipe.stream)
        # Asked before the training: whoever is promoted while it runs was not compared with.
        before = selectors.champion(stream.model_name)
        self.say(f"{recipe.name}: {recipe.summary}")
        started = clock.monotonic()
        with self.progress() as progress:
            version = train(recipe, None, progress)
        self.say(f"{version} registered after {clock.monotonic() - started:.1f} s.")
        self.say("\n".join(["", *metrics_table(version), ""]))
        if options["promote"]:
            expected = before.number if before else None
            why = options["why"] or f"Trained by {recipe.name}."
            services.promote(version, Role.CHAMPION, None, why, expected=expected)
            said = self.style.SUCCESS(f"{version} is champion of {stream.name}.")
        else:
            said = f"Promote it with: manage.py promote_model {version.model_name} {version.number}"
        self.answer(_facts(version, options["promote"]), said)


def _facts(version: ModelVersion, promoted: bool) -> dict[str, Any]:
    return {
        "model": version.model_name,
        "version": version.number,
        "stream": version.stream,
        "promoted": promoted,
        "metrics": version.metrics,
        "baseline": version.baseline,
    }
