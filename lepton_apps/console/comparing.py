"""How the result of a replay looks on a page: bars of histograms, shares, and what was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from math import log10
from typing import Any, Final

from lepton_apps.alerts.summary import reason_text
from lepton_apps.streaming.replay.reading import share

WIDTH: Final = 400  # of a histogram, in its own units
HEIGHT: Final = 120
MONEY: Final = (
    ("caught", "Caught"),
    ("missed", "Missed"),
    ("wrongly_stopped", "Wrongly stopped"),
    ("stopped_unlabelled", "Stopped, no label"),
)


def asked(question: Mapping[str, Any]) -> dict[str, Any]:
    """A question in words."""
    if "from_offset" in question:
        source = f"topic from offset {question['from_offset']}"
    elif "from_offsets" in question:
        places = ", ".join(f"{p}:{at}" for p, at in sorted(question["from_offsets"].items()))
        source = f"topic from {places}"
    elif "from_time" in question:
        source = "topic from"
    else:
        source = "decisions" if question.get("by") != "occurred_at" else "decisions on records of"
    return {
        "source": source,
        "since": question.get("since") or question.get("from_time"),
        "until": question.get("until"),
        "version": question.get("version"),
        "limit": question.get("limit"),
        "thresholds": sorted(question.get("thresholds", {}).items()),
    }


def described(result: Mapping[str, Any], vertical: str) -> dict[str, Any]:
    """A result with all that a template cannot work out."""
    scores, outcomes, labels = result["scores"], result["outcomes"], result["labels"]
    alerts = result["alerts"]
    top = max([*scores["before"], *scores["after"], 1])
    return {
        **result,
        "matrix": [
            {
                "name": name,
                "cells": [
                    {"count": count, "same": name == after}
                    for after, count in zip(outcomes["after"], counts, strict=True)
                ],
            }
            for name, counts in zip(outcomes["before"], outcomes["rows"], strict=True)
        ],
        "histograms": [
            {"side": side, "bars": bars(scores[side], top)} for side in ("before", "after")
        ],
        "quality": [
            {
                "name": name,
                "before": share(labels["before"][key]),
                "after": share(labels["after"][key]),
                "better": _compare(labels["before"][key], labels["after"][key]),
            }
            for key, name in (("precision", "Precision"), ("recall", "Recall"), ("f1", "F1"))
        ],
        "counts": [
            {"name": name, "before": labels["before"][key], "after": labels["after"][key]}
            for key, name in (
                ("true_positive", "Positive and loud"),
                ("false_negative", "Positive and quiet"),
                ("false_positive", "Negative and loud"),
                ("true_negative", "Negative and quiet"),
            )
        ],
        "money_names": [name for _, name in MONEY],
        "money": [
            {
                "currency": row["currency"],
                "lines": [
                    {"side": side, "sums": [f"{Decimal(row[side][key]):,f}" for key, _ in MONEY]}
                    for side in ("before", "after")
                ],
            }
            for row in result["money"]
        ],
        "gained": _reasoned(alerts["gained_examples"], vertical),
        "lost": _reasoned(alerts["lost_examples"], vertical),
        "alert_change": alerts["after"] - alerts["before"],
    }


def _reasoned(examples: Sequence[Mapping[str, Any]], vertical: str) -> list[dict[str, Any]]:
    """Examples with the sentence of what would be their strongest reason, if they are loud."""
    return [
        {**row, "reason_text": reason_text(vertical, row["reason"]) if row["reason"] else "quiet"}
        for row in examples
    ]


def bars(counts: Sequence[int], top: int) -> list[dict[str, Any]]:
    """Bars of a histogram on a logarithmic scale: most scores are near 0, and few are loud."""
    step = WIDTH / len(counts)
    found = []
    for place, count in enumerate(counts):
        tall = HEIGHT * log10(1 + count) / log10(1 + top)
        found.append(
            {
                "x": round(place * step + 1, 2),
                "y": round(HEIGHT - tall, 2),
                "width": round(step - 2, 2),
                "height": round(tall, 2),
                "count": count,
                "from": f"{place / len(counts):.2f}",
                "to": f"{(place + 1) / len(counts):.2f}",
            }
        )
    return found


def _compare(before: float | None, after: float | None) -> str:
    """better, worse, same, or nothing where one of them is not known."""
    if before is None or after is None:
        return ""
    return "same" if before == after else "better" if after > before else "worse"
