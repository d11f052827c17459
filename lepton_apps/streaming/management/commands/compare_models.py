"""``manage.py compare_models MODEL``: the challenger beside the champion, on live traffic."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any, ClassVar

from lepton_apps.common.commands import LeptonCommand
from lepton_apps.streaming.replay.question import ReplayRefusedError, parse_moment
from lepton_apps.streaming.shadow.selectors import comparison
from lepton_apps.verticals import registry


class Command(LeptonCommand):
    help = (
        "Compare a model's challenger with its champion on the rows that both decided. "
        "Changes nothing."
    )
    examples: ClassVar[tuple[str, ...]] = (
        "compare_models fintech.transactions",
        "compare_models fintech.transactions --since 24h --json",
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("model", help="a model's name, see `models`")
        parser.add_argument(
            "--since", default="7d", metavar="TIME", help="rows from then on: 7d, 12h ago"
        )

    def handle(self, **options: Any) -> None:
        names = {s.model_name for v in registry.verticals() for s in v.streams}
        try:
            since = parse_moment("since", options["since"])
        except ReplayRefusedError as exc:
            self.refuse(exc.detail)
        told = comparison(self.known("model", options["model"], names), since)
        self.answer(told, *_lines(told))


def _lines(told: dict[str, Any]) -> list[str]:
    head = (
        f"{told['model']}: challenger v{told['challenger']} beside champion v{told['champion']}, "
        f"{told['rows']:,} rows since {told['since']}"
    )
    if not told["rows"]:
        return [head, "The challenger has decided no row in this span yet."]
    width = max(map(len, told["outcomes"])) + 2
    lines = [head, "", " " * width + "".join(f"{name:>{width + 6}}" for name in told["outcomes"])]
    lines += [
        f"{name:<{width}}" + "".join(f"{count:>{width + 6},}" for count in row)
        for name, row in zip(told["outcomes"], told["matrix"], strict=True)
    ]
    low, high = told["mean_difference_interval"] or (0.0, 0.0)
    return [
        *lines,
        "(lines: what the champion decided; columns: what the challenger would have)",
        "",
        f"The same outcome    {told['agreed'] / told['rows']:.3%}",
        f"Loud rows a day     {told['champion_loud_per_day']:,} and {told['challenger_loud_per_day']:,}",
        f"Score, on average   {told['mean_difference']:+.6f} ({low:+.6f} to {high:+.6f})",
        told["advice"],
    ]
