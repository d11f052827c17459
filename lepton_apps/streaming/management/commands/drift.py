"""``manage.py drift [STREAM]``: how far the rows of late have moved from a champion's own."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, ClassVar

from lepton_apps.common.clock import moment
from lepton_apps.common.commands import LeptonCommand
from lepton_apps.streaming.drift.selectors import SHOWN, Look, look
from lepton_apps.streaming.models import DriftReview
from lepton_apps.streaming.replay.question import ReplayRefusedError, parse_moment
from lepton_apps.verticals import registry

Verdict = DriftReview.Verdict
MOST_LINES = 5
WORDS = {
    Verdict.NONE: "stable",
    Verdict.SOME: "some drift (PSI from 0.1 on)",
    Verdict.MUCH: "much drift (PSI from 0.25 on)",
    Verdict.TOO_FEW: "too few rows to tell: 1,000 over 20 hours of event time are needed",
    Verdict.NO_REFERENCE: "nothing to compare with: the champion was trained before that was kept, "
    "or on other features. Train a version by its recipe",
}


class Command(LeptonCommand):
    help = (
        "Compare the features and scores of late with those that each champion was made on. "
        "Changes nothing; workers do the same every DRIFT_REVIEW_S and open alerts."
    )
    examples: ClassVar[tuple[str, ...]] = ("drift", "drift fintech.transactions --since 7d --json")

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("stream", nargs="?", help="default: every scored stream")
        parser.add_argument(
            "--since", metavar="TIME", help="rows from then on: 7d, 12h ago (default: the window)"
        )

    def handle(self, **options: Any) -> None:
        scored = {s.name: s for vertical in registry.verticals() for s in vertical.streams}
        name = options["stream"]
        chosen = [scored[self.known("scored stream", name, scored)]] if name else scored.values()
        try:
            since = parse_moment("since", options["since"]) if options["since"] else None
        except ReplayRefusedError as exc:
            self.refuse(exc.detail)
        found = [(stream.name, look(stream, since)) for stream in chosen]
        lines = [line for name, each in found for line in _lines(name, each)]
        self.answer({"streams": [_facts(name, each) for name, each in found]}, *lines)


def _facts(name: str, found: Look | None) -> dict[str, Any]:
    if found is None:
        return {"stream": name, "version": None, "verdict": None}
    return {
        "stream": name,
        "version": found.version.number,
        "since": moment(found.since),
        "rows": found.rows,
        "verdict": found.verdict,
        "score_psi": None if found.score is None else round(found.score.psi, 4),
        "features": [[feature, round(d.psi, 4)] for feature, d in found.features[:SHOWN]],
    }


def _lines(name: str, found: Look | None) -> list[str]:
    if found is None:
        return [f"{name}: no champion."]
    head = f"{found.version} of {name}, {found.rows:,} rows: {WORDS[Verdict(found.verdict)]}."
    if found.score is None:
        return [head]
    worst = [f"  {drift.psi:8.3f}  {feature}" for feature, drift in found.features[:MOST_LINES]]
    return [head, f"  {found.score.psi:8.3f}  the score", *worst]
