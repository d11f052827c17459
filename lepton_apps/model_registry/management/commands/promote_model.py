"""Give a version a role: promotion, and roll-back, which is promoting an older version."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepton_apps.common.errors import LeptonError
from lepton_apps.model_registry import selectors, services
from lepton_apps.model_registry.models import Role
from lepton_apps.verticals import registry

EXAMPLE = """\
example:
  manage.py promote_model fintech.transactions 3 --why "Catches card testing."
  manage.py promote_model fintech.transactions 2 --expect 3 --why "Too many reviews."
"""


class Command(BaseCommand):
    help = "Make a model version champion (or give it another role). Workers follow in a second."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = EXAMPLE
        parser.add_argument("model", help=f"One of: {', '.join(_model_names())}.")
        parser.add_argument("version", type=int, help="Number of the version, see `models`.")
        parser.add_argument("--role", choices=Role.values, default=Role.CHAMPION.value)
        parser.add_argument("--why", default="", help="Written into the ledger and the audit.")
        parser.add_argument(
            "--expect",
            type=int,
            help="Refuse unless this version has the role now (default: whichever has it).",
        )
        parser.add_argument(
            "--below-baseline",
            action="store_true",
            help="Also when a simpler method did better on the same rows.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        model, role = options["model"], options["role"]
        if model not in _model_names():
            raise CommandError(f"No model {model!r}. Models: {', '.join(_model_names())}.")
        held = selectors.holder(model, role)
        expected = options["expect"]
        if expected is None and held is not None:
            expected = held.number
        try:
            version = selectors.version(model, options["version"])
            services.promote(
                version,
                role,
                None,
                options["why"],
                expected=expected,
                below_baseline=options["below_baseline"],
            )
        except LeptonError as exc:
            raise CommandError(exc.detail) from exc
        before = f"it was version {held.number}" if held else "there was none"
        self.stdout.write(self.style.SUCCESS(f"{version} is {role}; {before}."))


def _model_names() -> list[str]:
    return sorted({s.model_name for vertical in registry.verticals() for s in vertical.streams})
