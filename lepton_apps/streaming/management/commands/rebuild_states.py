"""``manage.py rebuild_states STREAM``: entity states anew, after the extractor has changed."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from lepton_apps.common.commands import LeptonCommand
from lepton_apps.common.db import raw_connection
from lepton_apps.streaming.rebuilding import rebuild_states
from lepton_apps.verticals import registry


class Command(LeptonCommand):
    help = (
        "Make the entity states of a stream anew from its decided records, after its extractor "
        "has changed. Stop its workers first."
    )
    examples = ("rebuild_states fintech.transactions",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("stream", help="a scored stream, for example fintech.transactions")
        super().add_arguments(parser)

    def handle(self, *, stream: str, **options: Any) -> None:
        scored = {each.name: each for owner in registry.verticals() for each in owner.streams}
        self.known("scored stream", stream, scored)
        with self.progress() as progress:
            done = rebuild_states(
                raw_connection(),
                scored[stream],
                lambda done, total: progress(stream, done, total),
            )
        self.answer(
            {"stream": stream, "records": done},
            f"States of {stream} made anew from {done} records.",
        )
