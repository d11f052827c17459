"""``manage.py replay STREAM``: what another version or threshold would have decided, and alerted."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any, ClassVar

import msgspec
from django.core.management.base import CommandParser

from lepton_apps.common.commands import LeptonCommand
from lepton_apps.streaming.replay import running, selectors, services
from lepton_apps.streaming.replay.question import (
    BY,
    Question,
    ReplayRefusedError,
    parse_moment,
    parse_offsets,
    parse_thresholds,
    refused,
)
from lepton_apps.streaming.replay.reading import lines_of

NICER = 5  # of a run in the background: workers and web come first


class Command(LeptonCommand):
    help = (
        "Take stored decisions of a span, or a topic from a place on, through any model version "
        "and thresholds, and compare with what happened. Writes nothing but its own row."
    )
    examples: ClassVar[tuple[str, ...]] = (
        "replay fintech.transactions --since 7d --threshold review=0.8",
        "replay fintech.transactions --since 2026-03-01T00:00:00Z --until 2026-03-08T00:00:00Z"
        " --version 4",
        "replay ops.logs --from-time 24h --limit 200000 --json",
        "replay ops.metrics --from-offset 0:5000 --from-offset 1:4800",
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        # Here --version is a model's; that of Django is asked for by `manage.py version`.
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add = parser.add_argument
        add("stream", nargs="?", help="a scored stream, for example fintech.transactions")
        add("--since", metavar="TIME", help="stored decisions from then on: a time, or 24h, 7d ago")
        add("--until", metavar="TIME", help="up to then, exclusive (default: now)")
        add("--by", choices=BY, default=BY[0], help="the time that the span is of")
        add(
            "--from-offset",
            action="append",
            default=[],
            metavar="[P:]OFFSET",
            help="the topic from an offset: in every partition, or in those named",
        )
        add("--from-time", metavar="TIME", help="the topic from its messages of then on")
        add("--version", type=int, metavar="N", help="a model version (default: the champion)")
        add(
            "--threshold",
            action="append",
            default=[],
            metavar="NAME=SCORE",
            help="instead of those in force; several may be given",
        )
        add("--limit", type=int, metavar="N", help="at most so many rows or records, oldest first")
        add("--run", type=int, metavar="ID", help="carry out a replay that was asked for already")

    def handle(self, **options: Any) -> None:
        run_id = options["run"]
        if run_id is not None:
            os.nice(NICER)
        else:
            try:
                run_id = services.ask(self._question(options), None).pk
            except ReplayRefusedError as exc:
                self.refuse(exc.detail)
        self.say(f"Replay {run_id}.")
        with self.progress() as progress:
            run = running.execute(run_id, progress)
        self.answer({**selectors.summary(run), "result": run.result}, *lines_of(run))

    def _question(self, options: dict[str, Any]) -> Question:
        if not options["stream"]:
            raise refused("stream", "Name a stream, for example fintech.transactions.")
        moments = {
            name: parse_moment(name, options[name])
            for name in ("since", "until", "from_time")
            if options[name]
        }
        asked = Question(
            stream=options["stream"],
            version=options["version"],
            thresholds=parse_thresholds(options["threshold"]),
            by=options["by"],
            limit=options["limit"],
        )
        return msgspec.structs.replace(asked, **moments, **parse_offsets(options["from_offset"]))
