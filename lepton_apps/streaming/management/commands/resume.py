"""``manage.py resume STREAM``: let a halted stream go on."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepton_apps.common.errors import LeptonError
from lepton_apps.streaming.services import resume
from lepton_apps.verticals import registry


class Command(BaseCommand):
    help = (
        "Let a halted stream go on; records that cannot be used become dead letters again. "
        "Example: manage.py resume fintech.transactions"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("stream", help="the halted stream")

    def handle(self, *, stream: str, **options: Any) -> None:
        known = [
            declared.name for vertical in registry.verticals() for declared in vertical.all_streams
        ]
        if stream not in known:
            raise CommandError(f"No stream named {stream!r}. Registered: {', '.join(known)}.")
        try:
            halt = resume(stream, None)
        except LeptonError as exc:
            raise CommandError(exc.detail) from exc
        self.stdout.write(f"{stream} goes on. It was halted because: {halt.reason}")
