"""What the overview shows, in numbers and as series for its charts. Reads, never writes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from lepton_apps.alerts import selectors as alerts
from lepton_apps.common import clock
from lepton_apps.streaming import rates
from lepton_apps.verticals.contract import Severity


@dataclass(frozen=True, slots=True)
class Span:
    """How far back the charts go, and in which steps."""

    name: str
    label: str
    length: timedelta
    step: timedelta
    step_label: str


SPANS: Final = (
    Span("1h", "last hour", timedelta(hours=1), timedelta(minutes=1), "a minute"),
    Span("24h", "last 24 hours", timedelta(hours=24), timedelta(minutes=15), "15 minutes"),
)
DAY: Final = timedelta(hours=24)


def span_of(name: str) -> Span:
    """The span of that name; the first one when there is none."""
    return next((span for span in SPANS if span.name == name), SPANS[0])


@dataclass(frozen=True, slots=True)
class Chart:
    """Series over the same places, for ``charts.js`` and, as a table, for who sees no chart."""

    key: str
    title: str
    kind: str  # "lines"; "stack": bars on one another; "spread": bars over [0, 1], logarithmic
    x: Sequence[float]  # seconds since 1970, or the lower end of a bin
    series: Sequence[tuple[str, Sequence[float | None]]]  # name and values, as long as x
    note: str = ""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return all(not value for _, values in self.series for value in values)

    @property
    def data(self) -> str:
        names, values = [name for name, _ in self.series], [v for _, v in self.series]
        return json.dumps({"kind": self.kind, "x": self.x, "names": names, "values": values})

    @property
    def rows(self) -> list[tuple[str, list[float | None]]]:
        """The table, newest or lowest first."""
        order = range(len(self.x)) if self.kind == "spread" else range(len(self.x) - 1, -1, -1)
        return [(self._place(at), [values[at] for _, values in self.series]) for at in order]

    def _place(self, at: int) -> str:
        if self.kind == "spread":
            return f"{self.x[at]:.0%}"
        return f"{datetime.fromtimestamp(self.x[at], UTC):%H:%M}"


def charts(streams: Sequence[Mapping[str, Any]], span: Span) -> list[Chart]:
    """The charts of a span, in three queries."""
    step_s = int(span.step.total_seconds())
    end_s = int(clock.now().timestamp()) // step_s * step_s  # the step that is under way
    x = list(range(end_s - int(span.length.total_seconds()), end_s + 1, step_s))
    since = datetime.fromtimestamp(x[0], UTC)
    scored = [stream["name"] for stream in streams if stream["kind"] == "scored"]
    read = rates.over_time([stream["name"] for stream in streams], since, span.step)
    opened = alerts.opened_over_time(scored, since, span.step)
    spread = rates.score_spread(scored)
    return [
        # The step under way is not over: its rate would seem to fall.
        _records(read, x[:-1], step_s, span),
        _lag(read, x[:-1], span),
        _alerts(opened, x, span),
        _scores(spread),
    ]


def _records(
    read: Mapping[str, Iterable[rates.Minutes]], x: Sequence[int], step_s: int, span: Span
) -> Chart:
    series = [
        (stream, _along(x, {each.at: round(each.records / step_s, 2) for each in minutes}))
        for stream, minutes in sorted(read.items())
    ]
    return Chart("records", f"Records/s, {span.label}", "lines", x, series)


def _lag(read: Mapping[str, Iterable[rates.Minutes]], x: Sequence[int], span: Span) -> Chart:
    series = [
        (stream, _along(x, {each.at: each.lag for each in minutes}))
        for stream, minutes in sorted(read.items())
    ]
    return Chart("lag", f"Lag, {span.label}", "lines", x, series)


def _alerts(opened: Iterable[tuple[str, str, int, int]], x: Sequence[int], span: Span) -> Chart:
    counts: Counter[tuple[str, int]] = Counter()
    for _, severity, at, count in opened:
        counts[severity, at] += count
    series = [(each.value, [counts[each.value, at] for at in x]) for each in reversed(Severity)]
    title = f"Alerts opened in {span.step_label}"
    return Chart("alerts", f"{title}, {span.label}", "stack", x, series)


def _scores(spread: Mapping[str, Sequence[int]]) -> Chart:
    """Shares: streams differ in how much they score."""
    x = [place / rates.SCORE_BINS for place in range(rates.SCORE_BINS)]
    series = [
        (stream, [round(100 * count / sum(counts), 3) for count in counts])
        for stream, counts in spread.items()
        if sum(counts)
    ]
    note = "Share of each twentieth of the scale, over all decisions of the last 24 hours."
    return Chart("scores", "Scores of decisions", "spread", x, series, note)


def _along(x: Sequence[int], found: Mapping[int, float | None]) -> list[float | None]:
    return [found.get(at) for at in x]


def alerts_of_day(streams: Collection[str]) -> Counter[str]:
    """How many alerts each stream opened in the last 24 hours."""
    counts: Counter[str] = Counter()
    for stream, _, _, count in alerts.opened_over_time(streams, clock.now() - DAY, DAY):
        counts[stream] += count
    return counts


def notices(streams: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What an operator has to do, once for all streams that need the same; halts first.

    A silent label stream is not urgent: the table says it.
    """
    found: dict[tuple[bool, str, str], list[str]] = {}
    for stream in streams:
        halted = stream["condition"] == "halted"
        if stream["advice"] and (halted or stream["kind"] == "scored"):
            key = (halted, stream["advice"], stream["command"])
            found.setdefault(key, []).append(stream["name"])
    return [
        {"halted": halted, "advice": advice, "command": command, "streams": names}
        for (halted, advice, command), names in sorted(found.items(), reverse=True)
    ]


def figures(
    verticals: Collection[str], streams: Sequence[Mapping[str, Any]], counts: Mapping[str, int]
) -> dict[str, Any]:
    """The numbers on top: what waits, how fast it goes, and what is wrong."""
    workers = [worker for stream in streams for worker in stream["workers"]]
    return {
        "open": counts["open"],
        "acknowledged": counts["acknowledged"],
        "oldest": alerts.oldest_open(verticals),
        "records_per_s": sum(stream["records_per_s"] for stream in streams),
        "lag": sum(stream["lag"] or 0 for stream in streams),
        "workers": sum(1 for worker in workers if not worker["silent"]),
        "silent": sum(1 for worker in workers if worker["silent"]),
        "dead_letters": sum(stream["dead_letters_new"] for stream in streams),
        "lost": sum(stream["lost"] for stream in streams),
    }
