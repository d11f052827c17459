"""What an alert about metrics keeps for people: which of them, expected and seen, and their course."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta
from typing import Any, Final

import numpy as np

from lepton_apps.verticals.contract import AlertText, Loud
from ops.logs.evidence import shown
from ops.metrics.extractor import EPOCH, PLACES, Vector, place_of

MOST_METRICS: Final = 6
BAND: Final = 3.0  # standard deviations on each side of what is expected


def gather(rows: Sequence[Loud], knowledge: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """JSON for each row."""
    return [_evidence(row) for row in rows]


def _evidence(row: Loud) -> dict[str, Any]:
    vector: Vector = row.evidence
    at = EPOCH + timedelta(milliseconds=vector.minute)
    common = {
        "entity": row.entity_key,
        "minute": at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "num_metrics": len(vector.names),
    }
    if vector.silent_min:
        return {
            "kind": "silence",
            **common,
            "silent_min": round(vector.silent_min, 1),
            "metrics": [],
        }
    expected_M, miss_M = row.detail_D[:PLACES], row.detail_D[PLACES:]
    found = [
        _metric(place, name, vector, float(expected_M[column]), float(miss_M[column]))
        for place, name in enumerate(vector.names)
        for column in (place_of(name),)
    ]
    weights = np.array([metric["miss"] ** 2 for metric in found])
    whole = float(weights.sum()) or 1.0
    for metric, weight in zip(found, weights.tolist(), strict=True):
        metric["share"] = round(weight / whole, 4)
    found.sort(key=lambda metric: -metric["share"])
    return {"kind": "vector", **common, "metrics": found[:MOST_METRICS]}


def _metric(place: int, name: str, vector: Vector, expected: float, miss: float) -> dict[str, Any]:
    """One metric: seen, expected from the others, and usual; the newest half hour."""
    mean, deviation = float(vector.mean[place]), float(vector.deviation[place])
    seen = float(vector.seen[place])
    expected_value = mean + expected * deviation
    return {
        "name": name,
        "seen": None if math.isnan(seen) else seen,
        "expected": expected_value,
        "low": expected_value - BAND * deviation,
        "high": expected_value + BAND * deviation,
        "usual_this_hour": _number(vector.hour[place]),
        "miss": 0.0 if math.isnan(seen) else miss,
        "course": [_number(value) for value in vector.kept[place].tolist()],
    }


def _number(value: float | np.floating[Any]) -> float | None:
    return None if math.isnan(value) else float(value)


def text_of(evidence: Mapping[str, Any]) -> AlertText:
    """One line and some facts about an alert of ``ops.metrics``."""
    if not evidence:
        return AlertText("Unusual metrics", ())
    entity = str(evidence["entity"])
    facts = (("Entity", entity), ("Minute", shown(evidence["minute"])))
    if evidence["kind"] == "silence":
        minutes = evidence["silent_min"]
        return AlertText(f"{entity} has sent no metrics for {minutes:g} minutes", facts)
    named = [metric for metric in evidence["metrics"] if metric["seen"] is not None]
    if not named:
        return AlertText(f"{entity}: metrics are missing", facts)
    worst = named[0]
    direction = "above" if worst["seen"] > worst["expected"] else "below"
    title = (
        f"{entity}: {worst['name']} is {short(worst['seen'])}, "
        f"{direction} the {short(worst['expected'])} expected"
    )
    return AlertText(title, (*facts, ("Metrics", ", ".join(m["name"] for m in named[:3]))))


def short(value: float) -> str:
    """A number as a person would say it."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def chart(metric: Mapping[str, Any], width: int = 240, height: int = 48) -> dict[str, Any]:
    """The course of a metric and its expected band as SVG numbers."""
    course: list[float | None] = list(metric["course"])
    known = [value for value in course if value is not None]
    low = float(min([*known, metric["low"]]))
    high = float(max([*known, metric["high"]]))
    span = (high - low) or 1.0

    def y(value: float) -> float:
        return round(height - 2 - (value - low) / span * (height - 4), 1)

    step = width / max(len(course) - 1, 1)
    points: list[str] = []
    lines: list[str] = []
    for place, value in enumerate([*course, None]):
        if value is not None:
            points.append(f"{round(place * step, 1)},{y(value)}")
        elif points:
            lines.append(" ".join(points))
            points = []
    return {
        "width": width,
        "height": height,
        "lines": lines,
        "band_y": y(metric["high"]),
        "band_height": round(max(1.0, y(metric["low"]) - y(metric["high"])), 1),
        "last_x": round((len(course) - 1) * step, 1),
        "last_y": None if metric["seen"] is None else y(metric["seen"]),
    }
