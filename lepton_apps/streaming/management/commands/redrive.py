"""``manage.py redrive``: put dead letters back into their topics."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepton_apps.common.errors import LeptonError
from lepton_apps.streaming.selectors import dead_letters
from lepton_apps.streaming.services import redrive
from lepton_apps.verticals import registry

PAGE = 500


class Command(BaseCommand):
    help = (
        "Put dead letters back into their topics, all new ones of a stream or those named. "
        "Examples: manage.py redrive fintech.transactions; manage.py redrive --id 17 --id 18"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("stream", nargs="?", help="all new dead letters of this stream")
        parser.add_argument(
            "--id", type=int, action="append", dest="ids", default=[], help="one dead letter"
        )

    def handle(self, *, stream: str | None, ids: list[int], **options: Any) -> None:
        if bool(stream) == bool(ids):
            raise CommandError("Name either a stream or ids: manage.py redrive --help.")
        if stream:
            ids = self._new_of(stream)
        done = 0
        for id_ in ids:
            try:
                redrive(id_, None)
            except LeptonError as exc:
                raise CommandError(f"{exc.detail} ({done} of {len(ids)} redriven before.)") from exc
            done += 1
            if done % 100 == 0:
                self.stdout.write(f"{done} of {len(ids)} redriven.")
        self.stdout.write(f"{done} dead letters redriven.")

    def _new_of(self, stream: str) -> list[int]:
        keys = {vertical.key for vertical in registry.verticals()}
        found: list[int] = []
        page = dead_letters(keys, stream=stream, limit=PAGE)
        while page:
            found += [letter.id for letter in page]
            page = dead_letters(keys, stream=stream, before_id=found[-1], limit=PAGE)
        return sorted(found)
