"""``manage.py retention``: make the table partitions of the next days, drop those past policy."""

from __future__ import annotations

from typing import Any

from lepton_apps.common.commands import LeptonCommand
from lepton_apps.common.db import raw_connection
from lepton_apps.common.errors import UnavailableError
from lepton_apps.streaming.retention import keep_house


class Command(LeptonCommand):
    help = (
        "Make the table partitions of the next days and drop those past their retention. Workers "
        "do the same every hour."
    )
    examples = ("retention",)

    def handle(self, **options: Any) -> None:
        house = keep_house(raw_connection())
        if house.was_busy:
            raise UnavailableError(
                "A backup, or somebody else who keeps house, is at work. Try again later; workers "
                "do it within the hour."
            )
        self.answer(
            {"made": house.made, "dropped": house.dropped},
            *(f"made {name}" for name in house.made),
            *(f"dropped {name}" for name in house.dropped),
            f"{len(house.made)} made, {len(house.dropped)} dropped.",
        )
