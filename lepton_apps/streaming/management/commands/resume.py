"""``manage.py resume STREAM``: let a halted stream go on."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from lepton_apps.common.commands import LeptonCommand
from lepton_apps.streaming.services import resume
from lepton_apps.verticals import registry


class Command(LeptonCommand):
    help = "Let a halted stream go on; records that cannot be used become dead letters again."
    examples = ("resume fintech.transactions",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("stream", help="the halted stream")
        super().add_arguments(parser)

    def handle(self, *, stream: str, **options: Any) -> None:
        names = [each.name for owner in registry.verticals() for each in owner.all_streams]
        halt = resume(self.known("stream", stream, names), None)
        self.answer(
            {"stream": stream, "halted_at": halt.at.isoformat(), "reason": halt.reason},
            f"{stream} goes on. It was halted because: {halt.reason}",
        )
