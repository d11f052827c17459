"""``manage.py rebuild_states STREAM``: entity states anew, after the extractor has changed."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepton_apps.common.db import raw_connection
from lepton_apps.common.errors import LeptonError
from lepton_apps.streaming.rebuilding import rebuild_states
from lepton_apps.verticals import registry


class Command(BaseCommand):
    help = (
        "Make the entity states of a stream anew from its decided records, after its extractor "
        "has changed. Stop its workers first. "
        "Example: manage.py rebuild_states fintech.transactions"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("stream", help="a scored stream, for example fintech.transactions")

    def handle(self, *, stream: str, **options: Any) -> None:
        try:
            _, declared = registry.stream(stream)
        except LookupError as exc:
            raise CommandError(str(exc)) from exc
        try:
            done = rebuild_states(raw_connection(), declared, self._say)
        except LeptonError as exc:
            raise CommandError(exc.detail) from exc
        self.stdout.write(f"States of {stream} made anew from {done} records.")

    def _say(self, done: int, total: int) -> None:
        self.stdout.write(f"{done} of {total} records.")
