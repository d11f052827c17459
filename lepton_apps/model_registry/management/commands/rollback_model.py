"""Make the champion before the present one champion again."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from lepton_apps.common.commands import LeptonCommand
from lepton_apps.model_registry import selectors, services


class Command(LeptonCommand):
    help = (
        "Make the champion before the present one champion again. Workers follow in a second. "
        "A second roll-back goes on to the one before that."
    )
    examples = (
        'rollback_model fintech.transactions --why "Too many reviews."',
        'rollback_model fintech.transactions --expect 3 --why "Too many reviews." --json',
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        names = ", ".join(sorted({model.name for model in selectors.models()}))
        parser.add_argument("model", help=f"one of: {names}")
        parser.add_argument("--why", required=True, help="written into the ledger and the audit")
        parser.add_argument(
            "--expect",
            type=int,
            help="refuse unless this version is champion now (default: whichever is)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        model = selectors.model(options["model"])
        held = selectors.champion(model.name)
        expected = options["expect"]
        if expected is None and held is not None:
            expected = held.number
        version = services.rollback(model.name, None, options["why"], expected=expected).version
        assert version is not None  # a roll-back has somewhere to go
        self.answer(
            {"model": model.name, "version": version.number, "replaced": expected},
            self.style.SUCCESS(f"{version} is champion again; it was version {expected}."),
        )
