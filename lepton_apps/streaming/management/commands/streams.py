"""``manage.py streams``: what this server scores."""

from __future__ import annotations

from typing import Any

from lepton_apps.common.commands import LeptonCommand
from lepton_apps.verticals import registry


class Command(LeptonCommand):
    help = "List the streams and simulators of this server. How they stand: the streams page."
    examples = ("streams", "streams --json")
    requires_system_checks: list[str] = []

    def handle(self, **options: Any) -> None:
        streams = [
            {"name": stream.name, "kind": kind, "topic": stream.topic}
            for vertical in registry.verticals()
            for kind, group in (("scored", vertical.streams), ("labels", vertical.label_streams))
            for stream in group
        ]
        simulators = [v.key for v in registry.verticals() if v.simulate is not None]
        self.answer(
            {"streams": streams, "simulators": simulators},
            *(f"{row['name']:32} {row['kind']:8} topic {row['topic']}" for row in streams),
        )
