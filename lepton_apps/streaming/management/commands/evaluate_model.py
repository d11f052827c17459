"""``manage.py evaluate_model MODEL VERSION``: what a version is worth on labelled decisions."""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from lepton_apps.common import clock
from lepton_apps.common.commands import LeptonCommand
from lepton_apps.model_registry import selectors
from lepton_apps.streaming.judging import DEFAULT_LIMIT, Costs, Judged, judge_version

AGO = re.compile(r"(\d{1,5})([hd])")


class Command(LeptonCommand):
    help = (
        "Score stored decisions that have a label anew, by the features they were made on, and "
        "report what the version is worth on them. Changes nothing."
    )
    examples: ClassVar[tuple[str, ...]] = (
        "evaluate_model fintech.transactions 4 --since 30d",
        "evaluate_model fintech.transactions 4 --miss-cost 120 --false-alarm-cost 3 --html v4.html",
        "evaluate_model ops.logs 2 --since 2026-03-01T00:00:00Z --until 2026-04-01T00:00:00Z --json",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add = parser.add_argument
        add("model", help="a model's name, see `models`")
        add("version", type=int, help="number of the version, see `models`")
        add("--since", default="30d", metavar="TIME", help="decisions from then on: 30d, 12h ago")
        add("--until", metavar="TIME", help="up to then, exclusive (default: now)")
        add("--threshold", type=float, help="of an alert (default: the version's loosest one)")
        add("--alert-share", type=float, default=0.005, help="of rows that people can look at")
        add("--miss-cost", type=float, default=1.0, help="of a positive that is not flagged")
        add("--false-alarm-cost", type=float, default=1.0, help="of a negative that is flagged")
        add("--limit", type=int, default=DEFAULT_LIMIT, help="at most so many rows, the newest")
        add("--html", type=Path, metavar="FILE", help="write the report as a page too")

    def handle(self, **options: Any) -> None:
        since = self._moment("since", options["since"])
        until = self._moment("until", options["until"]) if options["until"] else clock.now()
        if since >= until:
            self.refuse(f"The span ends at {until.isoformat()}, before it begins.")
        if options["limit"] < 1:
            self.refuse(f"--limit {options['limit']} must be at least 1.")
        costs = Costs(*(options[n] for n in Costs.__dataclass_fields__))
        version = selectors.version(options["model"], options["version"])
        try:
            judged = judge_version(version, since, until, costs, options["limit"])
        except ValueError as exc:
            self.refuse(str(exc))
        self._write(options["html"], judged)
        facts = {
            "model": version.model_name,
            "version": version.number,
            "since": since.isoformat(),
            "until": until.isoformat(),
            "rows": judged.rows,
            "positives": judged.positives,
            "decided_by_other_versions": judged.by_others,
            "report": json.loads(judged.report.to_json()),
        }
        head = f"{version} on {judged.rows:,} labelled decisions, {judged.positives:,} of them positive"
        self.answer(facts, head, *str(judged.report).splitlines()[1:])

    def _moment(self, name: str, text: str) -> datetime:
        """A time, or how long ago. A time without zone is UTC."""
        ago = AGO.fullmatch(text)
        try:
            if ago is not None:
                hours = int(ago[1]) * (24 if ago[2] == "d" else 1)
                return clock.now() - timedelta(hours=hours)
            at = datetime.fromisoformat(text)
        except (ValueError, OverflowError):
            self.refuse(f"--{name} {text!r} is neither a time nor like 30d or 12h.")
        return at if at.tzinfo else at.replace(tzinfo=UTC)

    def _write(self, path: Path | None, judged: Judged) -> None:
        if path is None:
            return
        try:
            judged.report.save_html(path)
        except OSError as exc:
            self.refuse(f"{path} cannot be written: {exc.strerror}.")
        self.say(f"The page is in {path}.")
