"""``manage.py redrive``: put dead letters back into their topics."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from lepton_apps.common.commands import LeptonCommand
from lepton_apps.common.errors import LeptonError
from lepton_apps.streaming.selectors import dead_letters
from lepton_apps.streaming.services import redrive
from lepton_apps.verticals import registry

PAGE = 500


class Command(LeptonCommand):
    help = "Put dead letters back into their topics: all new ones of a stream, or those named."
    examples = ("redrive fintech.transactions", "redrive --id 17 --id 18")

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("stream", nargs="?", help="all new dead letters of this stream")
        parser.add_argument(
            "--id",
            type=int,
            action="append",
            dest="ids",
            default=[],
            metavar="ID",
            help="one dead letter; may be repeated",
        )
        super().add_arguments(parser)

    def handle(self, *, stream: str | None, ids: list[int], **options: Any) -> None:
        if bool(stream) == bool(ids):
            self.refuse("Name either a stream or --id, and not both: manage.py redrive --help.")
        if stream:
            names = [each.name for owner in registry.verticals() for each in owner.all_streams]
            ids = self._new_of(self.known("stream", stream, names))
        done = 0
        with self.progress() as progress:
            for id_ in ids:
                try:
                    redrive(id_, None)
                except LeptonError as exc:
                    exc.detail += f" ({done} of {len(ids)} redriven before.)"
                    raise
                done += 1
                progress("redriven", done, len(ids))
        self.answer({"redriven": done}, f"{done} dead letters redriven.")

    def _new_of(self, stream: str) -> list[int]:
        keys = {vertical.key for vertical in registry.verticals()}
        found: list[int] = []
        page = dead_letters(keys, stream=stream, limit=PAGE)
        while page:
            found += [letter.id for letter in page]
            page = dead_letters(keys, stream=stream, before_id=found[-1], limit=PAGE)
        return sorted(found)
