"""``manage.py streams``: what this server scores, and how each stream stands."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from lepton_apps.verticals import registry


class Command(BaseCommand):
    help = "List the streams and simulators of this server. Example: manage.py streams --json"
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *, json: bool, **options: Any) -> None:
        streams = [
            {"name": stream.name, "kind": kind, "topic": stream.topic}
            for vertical in registry.verticals()
            for kind, group in (("scored", vertical.streams), ("labels", vertical.label_streams))
            for stream in group
        ]
        simulators = [v.key for v in registry.verticals() if v.simulate is not None]
        if json:
            self.stdout.write(dumps({"streams": streams, "simulators": simulators}))
            return
        for row in streams:
            self.stdout.write(f"{row['name']:32} {row['kind']:8} topic {row['topic']}")


def dumps(value: Any) -> str:
    return json.dumps(value)
