"""A result as people read it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lepton_apps.streaming.models import ReplayRun

SHOWN = 10  # examples of each kind; --json and the console have more


def lines_of(run: ReplayRun) -> list[str]:
    """The whole comparison, section by section."""
    result = run.result
    if not result:
        return [f"Replay {run.pk} is {run.state}."]
    return [
        *_head(result),
        *_outcomes(result["outcomes"]),
        *_alerts(result["alerts"]),
        *_labels(result["labels"]),
        *_money(result["money"]),
    ]


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _head(result: Mapping[str, Any]) -> Iterator[str]:
    model, difference = result["model"], result["score_difference"]
    thresholds = ", ".join(f"{name} {value:g}" for name, value in model["thresholds"].items())
    yield f"{result['rows']:,} rows through {model['name']} version {model['version']} ({thresholds})"
    yield f"in {result['seconds']:,.1f} s, {result['rows_per_s'] or 0:,} rows/s."
    if result["other_schema"]:
        yield f"{result['other_schema']:,} rows of another feature schema were left out."
    topic = result["topic"]
    if topic:
        yield (
            f"Read from the topic with empty states: {result['undecided']:,} rows had no decision, "
            f"{topic['repeats']:,} repeats, {sum(topic['rejected'].values()):,} refused, "
            f"{topic['failed']:,} failed, {topic['gone']:,} gone before they were read."
        )
    if difference["max"] is not None:
        yield (
            f"Scores differ by {difference['mean']:.6f} on average, {difference['max']:.6f} at most; "
            f"{difference['identical']:,} are the same to the last bit."
        )


def _outcomes(outcomes: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield from _table(
        ["before \\ after", *outcomes["after"]],
        [
            [name, *(f"{count:,}" for count in counts)]
            for name, counts in zip(outcomes["before"], outcomes["rows"], strict=True)
        ],
    )


def _alerts(alerts: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield (
        f"Alerts: {alerts['before']:,} before, {alerts['after']:,} after; "
        f"{alerts['gained']:,} gained, {alerts['lost']:,} lost."
    )
    if alerts["undecided"]:
        yield f"{alerts['undecided']:,} of those after are of records that had no decision."
    for kind in ("gained", "lost"):
        rows = alerts[f"{kind}_examples"][:SHOWN]
        if rows:
            yield ""
            yield from _table(
                [kind, "entity", "at", "before", "after"],
                [
                    [
                        str(row["alert_id"] or row["record_id"])[:40],
                        row["entity_key"][:32],
                        row["occurred_at"],
                        _score(row, "before"),
                        _score(row, "after"),
                    ]
                    for row in rows
                ],
            )


def _score(row: Mapping[str, Any], side: str) -> str:
    score = row[f"score_{side}"]
    return "-" if score is None else f"{score:.4f} {row[f'outcome_{side}']}"


def _labels(labels: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield f"Labels: {labels['rows']:,} rows have one, {labels['positive']:,} are positive."
    if labels["rows"]:
        yield from _table(
            ["", "precision", "recall", "F1"],
            [
                [side, *(share(labels[side][name]) for name in ("precision", "recall", "f1"))]
                for side in ("before", "after")
            ],
        )


def _money(money: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not money:
        return
    yield ""
    yield from _table(
        ["", "", "caught", "missed", "wrongly stopped", "stopped, no label"],
        [
            [row["currency"], side, *row[side].values()]
            for row in money
            for side in ("before", "after")
        ],
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(line[column]) for line in (head, *rows)) for column in range(len(head))]
    for line in (head, *rows):
        first, *others = (
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        yield "  ".join([first, *others]).rstrip()
