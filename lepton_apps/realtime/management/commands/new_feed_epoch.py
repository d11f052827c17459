"""``manage.py new_feed_epoch [VERTICAL]``: make every client load its list anew."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lepton_apps.realtime.services import begin_epochs
from lepton_apps.verticals import registry


class Command(BaseCommand):
    help = (
        "Begin a new epoch of the live feed, after a backup was restored: its numbers mean other "
        "events now, so every client loads its list anew. Example: manage.py new_feed_epoch"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("vertical", nargs="?", help="this vertical alone, not all of them")

    def handle(self, *, vertical: str | None, **options: Any) -> None:
        keys = [declared.key for declared in registry.verticals()]
        if vertical is not None and vertical not in keys:
            raise CommandError(f"No vertical {vertical!r}. Registered: {', '.join(keys)}.")
        begun = begin_epochs(keys if vertical is None else [vertical])
        for key in begun:
            self.stdout.write(f"The feed of {key} has a new epoch.")
        if not begun:
            self.stdout.write("No feed has told an event yet, so none needs a new epoch.")
