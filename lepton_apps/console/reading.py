"""What pages say about alerts: decisions, reasons and acts, put into words. Reads, never writes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from django.contrib.auth.models import User
from django.db.models import Q
from django.template.loader import render_to_string

from lepton_apps.alerts import selectors as alert_selectors
from lepton_apps.alerts.models import Alert, Label
from lepton_apps.alerts.summary import reason_text
from lepton_apps.audit.models import AuditEntry
from lepton_apps.console.models import SavedView
from lepton_apps.console.normals import Normals
from lepton_apps.console.templatetags.console import percent
from lepton_apps.model_registry import selectors as model_registry
from lepton_apps.streaming import selectors as streaming
from lepton_apps.streaming.budgets import selectors as budgets
from lepton_apps.streaming.models import Decision
from lepton_apps.verticals import registry
from models_core.drift import MOVED

SHOWN_BYTES: Final = 65_536  # of a payload; the rest is not for eyes
HALF: Final = 100.0  # of the width of a reason's bar


def opening_decision(alert: Alert) -> Decision | None:
    """The decision that opened the alert, None once retention has dropped it."""
    return streaming.decision_of(alert.decision_id, alert.decided_at)


def recent_decisions(alert: Alert, limit: int) -> list[Decision]:
    return streaming.recent_decisions(alert.stream, alert.entity_key, limit)


def course(decisions: Sequence[Decision], marked: UUID) -> dict[str, Any] | None:
    """A line of scores, oldest first, in a box 300 wide and 48 high; None for fewer than three."""
    if len(decisions) < 3:
        return None
    step = 292 / (len(decisions) - 1)
    points = [
        (f"{4 + step * place:.1f}", f"{44 - 40 * decision.score:.1f}", decision.id == marked)
        for place, decision in enumerate(reversed(decisions))
    ]
    scores = [decision.score for decision in decisions]
    return {
        "line": " ".join(f"{x},{y}" for x, y, _ in points),
        "marks": [(x, y) for x, y, is_marked in points if is_marked],
        "label": (
            f"Scores of the last {len(scores)} records, oldest first: from {percent(min(scores))}"
            f" to {percent(max(scores))}, the newest {percent(scores[0])}."
        ),
    }


def pretty(payload: bytes | memoryview | None) -> str:
    """A payload to read: JSON indented with every number as it came, other bytes as they are."""
    raw = bytes(payload or b"")
    if len(raw) <= SHOWN_BYTES:
        try:
            return msgspec.json.format(raw, indent=2).decode("utf-8")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
    text = raw[:SHOWN_BYTES].decode("utf-8", errors="backslashreplace")
    if len(raw) > SHOWN_BYTES:
        text += f"\n… {len(raw) - SHOWN_BYTES:,} bytes more"
    return text


def verdict(alert: Alert) -> str:
    """Outcome, score and the threshold it reached, as one sentence."""
    if alert.kind == Alert.Kind.MODEL:
        return f"{reason_text(alert.vertical, alert.reason)} No record is at fault."
    version = model_registry.version_of(alert.stream, alert.model_version)
    sentence = f"Outcome {alert.outcome}: the score is {percent(alert.score)}"
    if version is None:
        return f"{sentence}."
    reached = _reached(alert)
    if reached is not None:
        name, threshold = reached
        sentence += f", at or above the {name} threshold of {percent(threshold)}"
    return f"{sentence} ({version})."


def _reached(alert: Alert) -> tuple[str, float] | None:
    """The hardest threshold that the score reached, of those that held when it was decided."""
    held = budgets.thresholds_that_decided(alert)
    reached = [(name, value) for name, value in held.items() if alert.score >= value]
    return reached[-1] if reached else None


def reasons(alert: Alert, own: Normals) -> list[dict[str, Any]]:
    """The explanation with what its bars need: x and width in a box 200 wide, zero at 100."""
    entries = [entry for entry in alert.explanation if isinstance(entry, dict)]
    largest = max((abs(_number(e.get("contribution"))) for e in entries), default=0.0) or 1.0
    return [_reason(alert.vertical, entry, largest, own) for entry in entries]


def total(alert: Alert) -> list[tuple[str, str]]:
    """How a usual record and all reasons add up, in log odds; empty for alerts from before that."""
    if alert.base is None or alert.log_odds is None:
        return []
    shown = sum(_number(e.get("contribution")) for e in alert.explanation if isinstance(e, dict))
    return [
        ("a usual record", f"{alert.base:+.2f}"),
        ("the reasons above", f"{shown:+.2f}"),
        ("everything else", f"{alert.log_odds - alert.base - shown:+.2f}"),
        ("log odds of this record", f"{alert.log_odds:+.2f}"),
    ]


def evidence(alert: Alert) -> str:
    """What the alert's vertical shows beside the reasons; empty where it shows nothing."""
    if alert.kind == Alert.Kind.MODEL:
        model = alert.entity_key.partition(" ")[0]
        told = {"drifted": drifted(alert.evidence.get("drift", [])), "model_name": model}
        return render_to_string("console/parts/alert_drift.html", told)
    view = registry.vertical(alert.vertical).evidence_view
    if view is None or not alert.evidence:
        return ""
    return render_to_string(view.template, dict(view.context(alert.evidence)))


def drifted(features: list[list[Any]]) -> list[dict[str, Any]]:
    """Features and their PSI with what a table of them needs; 1 and above fill the bar."""
    return [
        {
            "name": name,
            "psi": f"{psi:.2f}",
            "far": psi >= MOVED,
            "width": f"{min(psi, 1) * 100:.0f}",
        }
        for name, psi, *_ in features
    ]


def _reason(vertical: str, entry: dict[str, Any], largest: float, own: Normals) -> dict[str, Any]:
    contribution = _number(entry.get("contribution"))
    width = HALF * abs(contribution) / largest
    raised = contribution >= 0
    text = reason_text(vertical, str(entry.get("reason", "")))
    features = entry.get("features") or []
    return {
        "text": text,
        "contribution_text": f"{contribution:+.2f}",
        "bar_label": f"{'raised' if raised else 'lowered'} the score by {abs(contribution):.2f}",
        "direction": "push" if raised else "against",
        "x": f"{HALF if raised else HALF - width:.1f}",
        "width": f"{width:.1f}",
        "features": [_feature(feature, own) for feature in features],
    }


def _feature(feature: dict[str, Any], own: Normals) -> dict[str, Any]:
    """A seen value beside the model's usual one and what is normal for the entity itself."""
    value = feature.get("value")
    normal = own.of.get(str(feature.get("name", "")))
    return {
        "name": feature.get("name", ""),
        "value": compact(value),
        "usual": compact(feature.get("usual")),
        "own": compact(normal.median) if normal else "-",
        "range": f"{compact(normal.low)} to {compact(normal.high)}" if normal else "",
        "far": normal is not None and isinstance(value, int | float) and normal.is_far(value),
    }


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def compact(value: Any) -> str:
    """A feature's value in four significant digits: ``1,250``, ``0.0312``."""
    if value is None:
        return "-"
    if not isinstance(value, int | float):
        return str(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def resolved_line(alert: Alert) -> str:
    """``by anna at 10:42:07 UTC`` once the alert is closed."""
    if alert.resolved_at is None:
        return ""
    by = alert.resolved_by.get_username() if alert.resolved_by else "nobody"
    return f"by {by} at {alert.resolved_at:%Y-%m-%d %H:%M:%S} UTC"


def history(alert: Alert) -> list[dict[str, Any]]:
    """Everything that happened to the alert, newest first: opening, acts, labels from outside."""
    acts = AuditEntry.objects.filter(target=f"alert:{alert.pk}").order_by("at", "id")
    lines = [
        _line(alert.opened_at, f"opened, outcome {alert.outcome}"),
        *(_line(act.at, _act_text(act), act.why) for act in acts),
        *_outside_labels(alert_selectors.labels_of(alert)),
    ]
    return sorted(lines, key=lambda line: line["at"], reverse=True)


def _outside_labels(labels: Iterable[Label]) -> list[dict[str, Any]]:
    """Labels that came by topic or REST for the record; those given here are acts already."""
    return [
        _line(
            label.received_at,
            f"{label.kind} says it was {'real' if label.positive else 'not real'}"
            f" ({label.source}, known since {label.labelled_at:%Y-%m-%d %H:%M} UTC)",
        )
        for label in labels
        if label.alert_id is None
    ]


def _line(at: datetime, text: str, why: str = "") -> dict[str, Any]:
    return {"at": at, "text": text, "why": why}


def _act_text(act: AuditEntry) -> str:
    data = act.data
    real = "real" if data.get("positive") else "not real"
    words = {
        "alert.acknowledged": "acknowledged",
        "alert.resolved": "confirmed as real" if data.get("positive") else "dismissed as not real",
        "alert.labelled": f"labelled {real}",
        "alert.assigned": f"assigned to {data.get('assigned_to') or 'nobody'}",
    }
    return f"{words.get(act.action, act.action)} by {act.actor_name}"


def saved_views(user: User, verticals: Collection[str]) -> list[SavedView]:
    """A person's views of the alert list, then those that others share with them."""
    own = Q(owner=user)
    found = SavedView.objects.filter(own | Q(vertical__in=verticals)).select_related("owner")
    return sorted(found, key=lambda view: (view.owner_id != user.pk, view.name.casefold()))


def what_is_missing(verticals: Collection[str]) -> str:
    """Why no alerts can come, if something is missing: a halt, a champion, a worker."""
    for overview in streaming.stream_overviews(verticals):
        name = overview["name"]
        if overview["halt"]:
            return f"{name} is halted."
        if overview["kind"] == "scored" and overview["champion"] is None:
            return f"{name} has no champion model yet."
        if not overview["workers"]:
            return f"No worker reads {name}."
    return ""
