"""``manage.py budget``: how many alerts a stream may open a day, and the thresholds that follow."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from lepton_apps.common.commands import LeptonCommand
from lepton_apps.streaming.budgets import selectors, services
from lepton_apps.streaming.models import AlertBudget
from lepton_apps.verticals import registry
from lepton_apps.verticals.contract import Stream


class Command(LeptonCommand):
    help = (
        "Show or set how many alerts, reviews or false alarms a stream may bring a day. Its "
        "thresholds follow from recent scores; servers take them up within a second."
    )
    examples = (
        "budget",
        "budget fintech.transactions",
        'budget fintech.transactions --per-day 40 --kind alerts --why "Two people on the shift."',
        "budget fintech.transactions --per-day 40 --preview",
        'budget fintech.transactions --clear --why "The new model brings its own."',
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("stream", nargs="?", help="a scored stream (default: show all)")
        parser.add_argument("--per-day", type=float, metavar="N", help="how many a day, above 0")
        parser.add_argument(
            "--kind",
            choices=AlertBudget.Kind.values,
            help="what is counted: alerts opened; reviews, every loud record; or false alarms, "
            "alerts that turn out to be nothing (default: as before, else alerts)",
        )
        parser.add_argument("--why", default="", help="written into the audit record")
        parser.add_argument(
            "--preview", action="store_true", help="say what --per-day would come to; set nothing"
        )
        parser.add_argument(
            "--clear", action="store_true", help="no budget: the model's own thresholds hold"
        )

    def handle(self, *, stream: str | None, **options: Any) -> None:
        per_day, kind, clear = options["per_day"], options["kind"], options["clear"]
        if clear and per_day is not None:
            self.refuse("--clear and --per-day exclude each other.")
        if per_day is None and (kind or options["preview"]):
            self.refuse("--kind and --preview are about a budget: give --per-day N too.")
        if stream is None:
            if clear or per_day is not None:
                self.refuse("Say for which stream: manage.py budget STREAM --per-day N.")
            self._list()
            return
        scored = selectors.stream_of(stream)
        if options["preview"]:
            self._show(scored, *services.checked(self._kind(scored, kind), per_day))
            return
        if clear:
            services.clear_budget(scored, None, options["why"])
        elif per_day is not None:
            services.set_budget(scored, self._kind(scored, kind), per_day, None, options["why"])
        self._show(scored)

    def _kind(self, stream: Stream, given: str | None) -> str:
        if given is not None:
            return given
        held = selectors.budget_of(stream.name)
        return held.kind if held else AlertBudget.Kind.ALERTS.value

    def _list(self) -> None:
        scored = [stream for vertical in registry.verticals() for stream in vertical.streams]
        told = [selectors.told_of(selectors.situation(stream)) for stream in scored]
        lines = [_short(row) for row in told]
        self.answer({"budgets": told}, *(lines or ["There is no scored stream."]))

    def _show(self, stream: Stream, kind: str | None = None, per_day: float | None = None) -> None:
        told = selectors.report(stream, kind, per_day)
        budget = told["budget"]
        lines = [_short(told)]
        if budget:
            why = f": {budget['why']}" if budget["why"] else "."
            lines.append(f"  set at {budget['set_at']} by {budget['set_by'] or 'a command'}{why}")
        lines.append(f"  thresholds {_thresholds(told['thresholds'])} ({_source(told)})")
        if told["expected_per_day"] is not None:
            lines.append(
                f"  expected {told['expected_per_day']:,} a day, from {told['scores']:,} recent "
                f"scores of version {told['version']}"
            )
        if told["note"]:
            lines.append(f"  {told['note']}")
        if "preview" in told:
            lines += _preview(told["preview"])
        self.answer(told, *lines)


def _short(told: dict[str, Any]) -> str:
    budget = told["budget"]
    word = told["kind"].replace("_", " ")
    wanted = f"{budget['per_day']:g} {word} a day wanted" if budget else "no budget"
    return f"{told['stream']:24} {wanted}, {told['achieved_per_day']:,} {word} in the last 24 hours"


def _source(told: dict[str, Any]) -> str:
    if told["version"] is None:
        return "no champion"
    if told["thresholds_because"] == "budget":
        return f"from the budget, since {told['thresholds_since']}"
    return f"of version {told['version']}"


def _thresholds(thresholds: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in thresholds.items()) or "none"


def _preview(preview: dict[str, Any]) -> list[str]:
    word = preview["kind"].replace("_", " ")
    lines = [f"  {preview['per_day']:g} {word} a day would come to:"]
    if preview["thresholds"] is not None:
        lines.append(
            f"    about {preview['expected_per_day']:,} {word} a day at "
            f"{_thresholds(preview['thresholds'])}; the last week would have had "
            f"{preview['last_week_would_have_had']:,}"
        )
    if preview["note"]:
        lines.append(f"    {preview['note']}")
    return lines
