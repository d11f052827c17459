"""Give a version a role."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from lepton_apps.common.commands import LeptonCommand
from lepton_apps.model_registry import selectors, services
from lepton_apps.model_registry.models import Role


class Command(LeptonCommand):
    help = "Make a model version champion (or give it another role). Workers follow in a second."
    examples = (
        'promote_model fintech.transactions 3 --why "Catches card testing."',
        'promote_model fintech.transactions 4 --role challenger --why "Shall be compared."',
        'promote_model fintech.transactions 2 --expect 3 --why "Too many reviews."',
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        names = ", ".join(sorted({model.name for model in selectors.models()}))
        parser.add_argument("model", help=f"one of: {names}")
        parser.add_argument("version", type=int, help="number of the version, see `models`")
        parser.add_argument(
            "--role",
            choices=Role.values,
            default=Role.CHAMPION.value,
            help="the role to give (default: %(default)s)",
        )
        parser.add_argument("--why", default="", help="written into the ledger and the audit")
        parser.add_argument(
            "--expect",
            type=int,
            help="refuse unless this version has the role now (default: whichever has it)",
        )
        parser.add_argument(
            "--below-baseline",
            action="store_true",
            help="also when a simpler method did better on the same rows",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        model, role = selectors.model(options["model"]), options["role"]
        held = selectors.holder(model.name, role)
        expected = options["expect"]
        if expected is None and held is not None:
            expected = held.number
        version = selectors.version(model.name, options["version"])
        services.promote(
            version,
            role,
            None,
            options["why"],
            expected=expected,
            below_baseline=options["below_baseline"],
        )
        before = f"it was version {held.number}" if held else "there was none"
        self.answer(
            {
                "model": model.name,
                "version": version.number,
                "role": role,
                "replaced": held.number if held else None,
            },
            self.style.SUCCESS(f"{version} is {role}; {before}."),
        )
