"""What would have been decided, held against what was decided. Only labels are read from outside.

Precision, recall and money speak of rows that had been decided and are labelled: nothing is known
of the others.

Shape suffixes: B = rows, L = loud rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray

from lepton_apps.common.db import RawConnection
from lepton_apps.streaming import pipeline
from lepton_apps.streaming.batch import json_of
from lepton_apps.streaming.pipeline import Explainer
from lepton_apps.streaming.replay.folding import Folding, LoudRow
from lepton_apps.streaming.replay.rows import Replayed
from lepton_apps.verticals.contract import Message, Money, Stream

BINS = 20  # of the histograms of scores over [0, 1]
OTHER = "other"  # an outcome that the policy of today does not have
# The newest word on each record.
LABELS = """
SELECT DISTINCT ON (decision_key) decision_key, positive FROM label
WHERE decision_key = ANY(%s) ORDER BY decision_key, id DESC
"""


@dataclass(slots=True)
class Quality:
    """Labelled rows by truth and by whether they were loud."""

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0
    true_negative: int = 0

    def add(self, *, positive: bool, loud: bool) -> None:
        if positive:
            self.true_positive += loud
            self.false_negative += not loud
        else:
            self.false_positive += loud
            self.true_negative += not loud

    def as_json(self) -> dict[str, Any]:
        """Ratios are None where they would divide by nothing."""
        hit = self.true_positive
        precision = _ratio(hit, hit + self.false_positive)
        recall = _ratio(hit, hit + self.false_negative)
        return {
            "true_positive": hit,
            "false_positive": self.false_positive,
            "false_negative": self.false_negative,
            "true_negative": self.true_negative,
            "precision": precision,
            "recall": recall,
            "f1": _ratio(2 * hit, 2 * hit + self.false_positive + self.false_negative),
        }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


@dataclass(slots=True)
class Sums:
    """Money of one currency, by what the label says and whether the row was loud."""

    caught: Decimal = Decimal(0)  # positive and loud
    missed: Decimal = Decimal(0)  # positive and quiet
    wrongly_stopped: Decimal = Decimal(0)  # negative and loud
    stopped_unlabelled: Decimal = Decimal(0)  # loud, and nobody has said what it was

    def add(self, amount: Decimal, *, positive: bool | None, loud: bool) -> None:
        if positive and not loud:
            self.missed += amount
        elif loud:
            name = {True: "caught", False: "wrongly_stopped", None: "stopped_unlabelled"}[positive]
            setattr(self, name, getattr(self, name) + amount)

    def as_json(self, unit: Decimal) -> dict[str, str]:
        names = ("caught", "missed", "wrongly_stopped", "stopped_unlabelled")
        return {name: format(getattr(self, name) + 0 * unit, "f") for name in names}


@dataclass(slots=True)
class Comparison:
    """Grows by chunks; its size does not depend on the number of rows, but on that of alerts."""

    stream: Stream
    folding: Folding = field(init=False)
    rows: int = 0
    undecided: int = 0  # rows of a topic that nothing had been decided on
    unreadable: int = 0  # records whose amount could not be read any more
    labelled: int = 0
    positive: int = 0
    versions: dict[int, int] = field(default_factory=dict)
    _sum_difference: float = 0.0
    _max_difference: float = 0.0
    _identical: int = 0
    _matrix: NDArray[np.int64] = field(init=False)
    _bins_before: NDArray[np.int64] = field(init=False)
    _bins_after: NDArray[np.int64] = field(init=False)
    _quality: tuple[Quality, Quality] = field(default_factory=lambda: (Quality(), Quality()))
    _money: dict[str, tuple[Decimal, Sums, Sums]] = field(default_factory=dict)
    _read: Callable[[Message], Any] = field(init=False)

    def __post_init__(self) -> None:
        outcomes = len(self.stream.policy.outcomes)
        self.folding = Folding(self.stream)
        self._matrix = np.zeros((outcomes + 1, outcomes), np.int64)
        self._bins_before, self._bins_after = np.zeros((2, BINS), np.int64)
        self._read = self.stream.from_message or json_of(self.stream.record_type)

    def add(
        self,
        raw: RawConnection,
        chunk: Replayed,
        s_B: NDArray[np.float64],
        outcome_B: NDArray[np.int8],
        model: Explainer,
    ) -> None:
        """Take scored rows in, in order of arrival."""
        self.rows += len(chunk)
        before_B = self._scores(chunk, s_B, outcome_B)
        was_loud_B = before_B > 0
        self.folding.meet(raw, [m.alert_id for m in chunk.made if m and m.alert_id is not None])
        reasons = self._reasons(chunk, outcome_B, model)
        outcomes = self.stream.policy.outcomes
        for row in np.flatnonzero(was_loud_B | (outcome_B > 0)).tolist():
            self.folding.add(
                LoudRow(
                    chunk.keys[row],
                    chunk.record_ids[row],
                    chunk.entity_keys[row],
                    chunk.occurred_at[row],
                    chunk.made[row],
                    float(s_B[row]),
                    outcomes[int(outcome_B[row])],
                    bool(was_loud_B[row]),
                    reasons.get(row),
                )
            )
        self._judge(raw, chunk, was_loud_B, outcome_B > 0)

    def _scores(
        self, chunk: Replayed, s_B: NDArray[np.float64], outcome_B: NDArray[np.int8]
    ) -> NDArray[np.int64]:
        """Count scores and outcomes; the index of each row's earlier outcome, -1 for none."""
        place = {name: index for index, name in enumerate(self.stream.policy.outcomes)}
        other = len(place)
        before_B = np.fromiter(
            (-1 if made is None else place.get(made.outcome, other) for made in chunk.made),
            np.int64,
            len(chunk),
        )
        was_B = np.fromiter(
            (np.nan if made is None else made.score for made in chunk.made), np.float64, len(chunk)
        )
        decided_B = before_B >= 0
        self.undecided += int((~decided_B).sum())
        np.add.at(self._matrix, (before_B[decided_B], outcome_B[decided_B]), 1)
        difference = np.abs(s_B - was_B)[decided_B]
        if len(difference):
            self._sum_difference += float(difference.sum())
            self._max_difference = max(self._max_difference, float(difference.max()))
            self._identical += int((difference == 0).sum())
        self._bins_before += np.histogram(was_B[decided_B], BINS, (0, 1))[0]
        self._bins_after += np.histogram(s_B, BINS, (0, 1))[0]
        for made in chunk.made:
            if made is not None:
                number = made.model_version
                self.versions[number] = self.versions.get(number, 0) + 1
        return before_B

    def _reasons(
        self, chunk: Replayed, outcome_B: NDArray[np.int8], model: Explainer
    ) -> dict[int, str]:
        """The strongest reason of each row that is loud now: what it folds by."""
        loud = np.flatnonzero(outcome_B).tolist()
        explained = pipeline.explain(self.stream, chunk.x_BF[loud], model, most=1)
        return {row: why.reasons[0].code for row, why in zip(loud, explained, strict=True)}

    def _judge(
        self,
        raw: RawConnection,
        chunk: Replayed,
        was_loud_B: NDArray[np.bool_],
        is_loud_B: NDArray[np.bool_],
    ) -> None:
        truth: dict[UUID, bool] = dict(raw.execute(LABELS, [chunk.keys]).fetchall())
        for row in np.flatnonzero(was_loud_B | is_loud_B | _in(chunk.keys, truth)).tolist():
            if chunk.made[row] is None:
                continue
            positive = truth.get(chunk.keys[row])
            loud = bool(was_loud_B[row]), bool(is_loud_B[row])
            if positive is not None:
                self.labelled += 1
                self.positive += positive
                for quality, is_loud in zip(self._quality, loud, strict=True):
                    quality.add(positive=positive, loud=is_loud)
            money = self._worth(chunk.payloads[row])
            if money is not None:
                zero = 0 * money.amount
                _, *both = self._money.setdefault(money.currency, (zero, Sums(), Sums()))
                for sums, is_loud in zip(both, loud, strict=True):
                    sums.add(money.amount, positive=positive, loud=is_loud)

    def _worth(self, payload: bytes | None) -> Money | None:
        if self.stream.amount is None or payload is None:
            return None
        try:
            record = self._read(Message(payload))
        except (msgspec.MsgspecError, UnicodeDecodeError):  # an older form of its type took it
            self.unreadable += 1
            return None
        return self.stream.amount(record)

    def result(self) -> dict[str, Any]:
        """All of it as JSON."""
        outcomes = self.stream.policy.outcomes
        decided = self.rows - self.undecided
        before = (*outcomes, OTHER) if self._matrix[-1].any() else outcomes
        return {
            "rows": self.rows,
            "undecided": self.undecided,
            "unreadable": self.unreadable,
            "versions_before": {str(n): count for n, count in sorted(self.versions.items())},
            "score_difference": {
                "mean": self._sum_difference / decided if decided else None,
                "max": self._max_difference if decided else None,
                "identical": self._identical,
            },
            "outcomes": {
                "before": list(before),
                "after": list(outcomes),
                "rows": self._matrix[: len(before)].tolist(),
            },
            "scores": {
                "before": self._bins_before.tolist(),
                "after": self._bins_after.tolist(),
            },
            "alerts": self.folding.result(),
            "labels": {
                "rows": self.labelled,
                "positive": self.positive,
                "before": self._quality[0].as_json(),
                "after": self._quality[1].as_json(),
            },
            "money": [
                {
                    "currency": currency,
                    "before": was.as_json(unit),
                    "after": would.as_json(unit),
                }
                for currency, (unit, was, would) in sorted(self._money.items())
            ],
        }


def _in(keys: list[UUID], truth: Mapping[UUID, bool]) -> NDArray[np.bool_]:
    if not truth:
        return np.zeros(len(keys), np.bool_)
    return np.fromiter((key in truth for key in keys), np.bool_, len(keys))
