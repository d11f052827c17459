"""``manage.py federation``: whether others may train on a stream's rows, and what is spent."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any, ClassVar

from lepton_apps.common import clock
from lepton_apps.common.commands import LeptonCommand
from lepton_apps.streaming.federation import selectors, services
from lepton_apps.streaming.federation.services import Terms
from lepton_apps.verticals.contract import Stream

ACTIONS = ("allow", "stop", "status")


class Command(LeptonCommand):
    help = (
        "Say whether coordinators with a token for federation may train on the labelled rows of a "
        "stream, which stay here, and how much of the rows' privacy that may spend."
    )
    examples: ClassVar[tuple[str, ...]] = (
        "federation status",
        "federation allow fintech.transactions --epsilon 6 --until 30d "
        '--why "Round with the banks of the region."',
        "federation allow fintech.transactions --without-privacy --until 2026-12-31T00:00:00Z "
        '--why "All sites are ours." --min-rows 5000 --max-steps 200',
        'federation stop fintech.transactions --why "The contract has ended."',
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add = parser.add_argument
        add("action", choices=ACTIONS, help="allow, stop, or status, which changes nothing")
        add("stream", nargs="?", help="a scored stream (status: default all)")
        add(
            "--until",
            metavar="TIME",
            help="until when: 2026-12-31T00:00:00Z, or 12h or 30d from now",
        )
        add(
            "--epsilon",
            type=float,
            help="budget of privacy of the rows, over all rounds that ever were: private rounds "
            "alone are taken part in, while something is left",
        )
        add(
            "--without-privacy",
            action="store_true",
            help="instead of --epsilon: also rounds without noise; updates are still hidden in sums",
        )
        add("--delta", type=float, default=Terms.delta, help="of --epsilon (default: %(default)s)")
        for name, what in (
            ("min-rows", "labelled rows, below which nobody trains"),
            ("max-steps", "of a round"),
            ("max-batch", "rows of a step"),
            ("max-parameters", "numbers of the shared model"),
        ):
            default = getattr(Terms, name.replace("-", "_"))
            add(f"--{name}", type=int, default=default, help=f"{what} (default: %(default)s)")
        add("--why", default="", help="for allow and stop: written into the ledger and the audit")

    def handle(self, *, action: str, stream: str | None, **options: Any) -> None:
        if action == "status":
            found = selectors.statuses() if stream is None else [_status(stream)]
            lines = [line for told in found for line in described(told)]
            self.answer({"federation": found}, *(lines or ["There is no scored stream."]))
            return
        if stream is None:
            self.refuse(f"Say which stream: manage.py federation {action} STREAM.")
        declared = selectors.stream_named(stream)
        if action == "stop":
            services.stop(declared, None, options["why"])
        else:
            services.allow(declared, self._terms(options), None, options["why"])
        told = selectors.status(declared)
        self.answer(told, *described(told))

    def _terms(self, options: dict[str, Any]) -> Terms:
        if options["until"] is None:
            self.refuse("Say until when: --until 30d, or --until 2026-12-31T00:00:00Z.")
        if (options["epsilon"] is None) != options["without_privacy"]:
            self.refuse(
                "Say what rounds may tell of single rows: --epsilon E, or --without-privacy."
            )
        return Terms(
            until=self._moment(options["until"]),
            epsilon=options["epsilon"],
            delta=options["delta"],
            **{name: options[name] for name in selectors.LIMITS},
        )

    def _moment(self, text: str) -> datetime:
        number, unit = text[:-1], text[-1:]
        if unit in ("h", "d") and number.isascii() and number.isdigit() and len(number) < 6:
            return clock.now() + timedelta(hours=int(number) * (24 if unit == "d" else 1))
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            self.refuse(f"--until {text[:40]!r} is no time. Write 2026-12-31T00:00:00Z, or 30d.")
        if at.tzinfo is None:
            self.refuse(f"--until {text!r} has no zone. Write it as {text}Z.")
        return at


def _status(name: str) -> dict[str, Any]:
    declared: Stream = selectors.stream_named(name)
    return selectors.status(declared)


def described(told: dict[str, Any]) -> list[str]:
    """A status as lines."""
    consent, budget = told["consent"], told["budget"]
    if told["open"]:
        word = "private rounds alone" if consent["private_only"] else "rounds without privacy too"
        lines = [f"{told['stream']}: open until {consent['expires_at']}, {word}"]
        limits = consent["limits"]
        lines.append(
            f"  from {limits['min_rows']:,} labelled rows; at most {limits['max_steps']:,} steps a "
            f"round, {limits['max_batch']:,} rows a step, {limits['max_parameters']:,} parameters"
        )
    else:
        lines = [f"{told['stream']}: closed, {told['closed_because']}"]
    if consent:
        lines.append(f"  {consent['act']} at {consent['at']} by {consent['by']}: {consent['why']}")
    if budget:
        left = "no limit now" if budget["left"] is None else f"{budget['left']:.3f} left"
        lines.append(f"  epsilon {budget['spent']:.3f} spent at delta {budget['delta']:g}, {left}")
    if told["rounds"]:
        plain = told["rounds_without_privacy"]
        lines.append(
            f"  {told['rounds']:,} rounds, {plain:,} without privacy; last {told['last_round_at']}"
        )
    return lines
