"""What a budget means for a stream as it is now: the thresholds, or why they cannot follow. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lepton_apps.model_registry.models import ModelVersion, ThresholdChange
from lepton_apps.streaming.budgets.curve import (
    LEAST_ABOVE,
    LEAST_SCORES,
    LEAST_VERDICTS,
    MOST_LOUD,
    Curve,
    Recent,
)
from lepton_apps.streaming.models import AlertBudget
from lepton_apps.verticals.contract import Stream

WORTH_A_CHANGE: Final = 0.1  # a move of fewer expected alerts than this share is noise
WEEK: Final = 7  # days


@dataclass(frozen=True, slots=True)
class Situation:
    """A stream, who decides on it, what is wanted, and what has been seen of late."""

    stream: Stream
    version: ModelVersion | None  # the champion
    budget: AlertBudget | None  # that holds
    line: ThresholdChange | None  # of the champion's ledger, that holds
    recent: Recent | None  # None: there is no champion

    @property
    def own(self) -> dict[str, float]:
        """The thresholds of the champion's artifact."""
        return {} if self.version is None else artifact_thresholds(self.version)

    @property
    def thresholds(self) -> dict[str, float]:
        """Those that hold, loosest first."""
        held = {**self.own, **(self.line.thresholds if self.line else {})}
        return {name: held[name] for name in self.stream.policy.thresholds if name in held}

    @property
    def loosest(self) -> str:
        return self.stream.policy.thresholds[0]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a budget comes to. ``thresholds`` None: those that hold go on, ``note`` says why."""

    kind: str
    per_day: float
    thresholds: dict[str, float] | None
    expected_per_day: float | None
    scores: int
    note: str

    def as_json(self) -> dict[str, Any]:
        week = None if self.expected_per_day is None else round(self.expected_per_day * WEEK, 1)
        return {
            "kind": self.kind,
            "per_day": self.per_day,
            "thresholds": self.thresholds,
            "expected_per_day": rounded(self.expected_per_day),
            "last_week_would_have_had": week,
            "note": self.note,
        }


def artifact_thresholds(version: ModelVersion) -> dict[str, float]:
    """The thresholds that a version was registered with."""
    found: Mapping[str, float] = version.manifest.get("thresholds", {})
    return {name: float(value) for name, value in found.items()}


def plan(situation: Situation, kind: str, per_day: float) -> Plan:
    """What a budget of ``per_day`` would come to."""
    if situation.version is None or situation.recent is None:
        return Plan(kind, per_day, None, None, 0, "No model is champion, so nothing is scored.")
    curve = Curve(situation.recent, kind)
    found = curve.find(per_day)
    if found is None:
        return Plan(kind, per_day, None, None, curve.scores, _too_few(situation, curve))
    loosest, *stricter = situation.stream.policy.thresholds
    thresholds = {loosest: found.threshold}
    least = found.threshold
    for name in stricter:  # where the version set them, but never below a looser one
        least = thresholds[name] = max(least, situation.own.get(name, 1.0))
    raised = [
        f"{name} from {situation.own[name]:.6g}"
        for name in stricter
        if thresholds[name] > situation.own.get(name, 1.0)
    ]
    notes = {
        "ties": "The highest scores are more than the budget and cannot be told apart; they stay "
        "loud, for a budget silences no stream.",
        "share": f"The budget has room for more than the loudest {MOST_LOUD:.0%} of all rows; the "
        "threshold stops there.",
    }
    sentences = [notes[found.stopped_by]] if found.stopped_by else []
    if curve.counts_alerts_instead:
        sentences.append(
            f"{curve.verdicts} recent alerts have a verdict, and {LEAST_VERDICTS} are needed to "
            "tell false alarms: all alerts are counted until then."
        )
    if raised:
        sentences.append(
            f"The budget is so tight that it raises {', '.join(raised)} too: what lies between is "
            "quiet then."
        )
    note = " ".join(sentences)
    return Plan(kind, per_day, thresholds, found.expected_per_day, curve.scores, note)


def worth_changing(situation: Situation, planned: Plan) -> bool:
    """Whether a plan moves what is expected by enough. What is noise must not move thresholds."""
    if planned.thresholds is None or planned.thresholds == situation.thresholds:
        return False
    line, budget = situation.line, situation.budget
    if line is None or budget is None or line.at < budget.at:
        return True  # somebody has asked for it, or the version has just come
    assert situation.recent is not None
    assert planned.expected_per_day is not None
    curve = Curve(situation.recent, planned.kind)
    now = curve.expected(situation.thresholds[situation.loosest])
    return abs(planned.expected_per_day - now) > WORTH_A_CHANGE * now


def expected_now(situation: Situation, kind: str) -> float | None:
    """What the thresholds that hold are expected to bring a day; None: too few scores to say."""
    if situation.recent is None or situation.recent.count_K.sum() < LEAST_SCORES:
        return None
    thresholds = situation.thresholds
    if situation.loosest not in thresholds:
        return None
    return Curve(situation.recent, kind).expected(thresholds[situation.loosest])


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _too_few(situation: Situation, curve: Curve) -> str:
    held = "go on" if situation.line else "of its artifact hold"
    if curve.scores < LEAST_SCORES:
        return (
            f"{situation.version} has {curve.scores:,} scores of the last {WEEK} days, and "
            f"{LEAST_SCORES:,} are needed: its thresholds {held} until then."
        )
    return (
        f"{situation.version} is less than a day old, and fewer than {LEAST_ABOVE} of its scores "
        f"are as high as the budget asks for: its thresholds {held} until then."
    )
