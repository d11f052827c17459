"""Take the role of challenger from its holder, so that nobody has it."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from lepton_apps.common.commands import LeptonCommand
from lepton_apps.model_registry import selectors, services
from lepton_apps.model_registry.models import Role


class Command(LeptonCommand):
    help = "Withdraw a model's challenger: from then on nobody is compared with the champion."
    examples = ('withdraw_challenger fintech.transactions --why "Seen enough."',)

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        names = ", ".join(sorted({model.name for model in selectors.models()}))
        parser.add_argument("model", help=f"one of: {names}")
        parser.add_argument("--why", required=True, help="written into the ledger and the audit")
        parser.add_argument(
            "--expect",
            type=int,
            help="refuse unless this version is challenger now (default: whichever is)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        model = selectors.model(options["model"])
        held = selectors.holder(model.name, Role.CHALLENGER)
        expected = options["expect"]
        if expected is None and held is not None:
            expected = held.number
        services.withdraw(model.name, Role.CHALLENGER, None, options["why"], expected=expected)
        self.answer(
            {"model": model.name, "withdrawn": expected},
            self.style.SUCCESS(f"{held} is challenger no more; nobody is."),
        )
