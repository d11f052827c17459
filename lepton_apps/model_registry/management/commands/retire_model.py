"""End a version: it takes no role again."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from lepton_apps.common.commands import LeptonCommand
from lepton_apps.model_registry import selectors, services


class Command(LeptonCommand):
    help = (
        "Retire a model version: it takes no role again, for good. Its files and its past stay. "
        "A version that has a role is not retired."
    )
    examples = ('retire_model fintech.transactions 2 --why "Trained on leaked labels."',)

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        names = ", ".join(sorted({model.name for model in selectors.models()}))
        parser.add_argument("model", help=f"one of: {names}")
        parser.add_argument("version", type=int, help="number of the version, see `models`")
        parser.add_argument("--why", required=True, help="written into the registry and the audit")

    def handle(self, *args: Any, **options: Any) -> None:
        model = selectors.model(options["model"])
        version = selectors.version(model.name, options["version"])
        services.retire(version, None, options["why"])
        self.answer(
            {"model": model.name, "version": version.number, "retired": True},
            self.style.SUCCESS(f"{version} is retired and takes no role again."),
        )
