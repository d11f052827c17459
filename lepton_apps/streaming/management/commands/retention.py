"""``manage.py retention``: make the table partitions of the next days, drop those past policy."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from lepton_apps.common.db import raw_connection
from lepton_apps.streaming.retention import keep_house


class Command(BaseCommand):
    help = (
        "Make the table partitions of the next days and drop those past their retention. Workers "
        "do the same every hour. Example: manage.py retention"
    )

    def handle(self, **options: Any) -> None:
        house = keep_house(raw_connection())
        for name in house.made:
            self.stdout.write(f"made {name}")
        for name in house.dropped:
            self.stdout.write(f"dropped {name}")
        self.stdout.write(f"{len(house.made)} made, {len(house.dropped)} dropped.")
