"""``manage.py new_feed_epoch [VERTICAL]``: make every client load its list anew."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from lepton_apps.common.commands import LeptonCommand
from lepton_apps.realtime.services import begin_epochs
from lepton_apps.verticals import registry


class Command(LeptonCommand):
    help = (
        "Begin a new epoch of the live feed, after a database was brought back by other means "
        "than `manage.py restore`: its numbers mean other events now, so every client loads its "
        "list anew."
    )
    examples = ("new_feed_epoch", "new_feed_epoch fintech")

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("vertical", nargs="?", help="this vertical alone, not all of them")
        super().add_arguments(parser)

    def handle(self, *, vertical: str | None, **options: Any) -> None:
        keys = [declared.key for declared in registry.verticals()]
        if vertical is not None:
            keys = [self.known("vertical", vertical, keys)]
        begun = begin_epochs(keys)
        lines = [f"The feed of {key} has a new epoch." for key in begun]
        self.answer(
            {"begun": begun},
            *lines or ["No feed has told an event yet, so none needs a new epoch."],
        )
