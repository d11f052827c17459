"""How a challenger compares with the champion on the same rows. Reads only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

from lepton_apps.common.clock import moment
from lepton_apps.common.db import rows
from lepton_apps.common.errors import LeptonError
from lepton_apps.model_registry import selectors as models
from lepton_apps.model_registry.models import Role
from lepton_apps.streaming.budgets.selectors import rows_per_day

LEAST_LABELLED: Final = 10  # labelled rows on which only one of the two was right
SURE: Final = 0.05  # of a p-value
Z: Final = 1.96  # of a 95 % interval
EXAMPLES: Final = 20
MOST_LOOKED_UP: Final = 50_000  # rows of different loudness whose labels are asked for, the newest
EXACT: Final = 1_000  # labelled rows; above, the normal distribution says the same

NEWEST_PAIR = """
SELECT champion, challenger FROM shadow_tally WHERE stream = %s ORDER BY hour DESC LIMIT 1
"""
COUNTED = """
SELECT outcome, other_outcome, sum(count)::bigint, sum(difference), sum(square)
FROM shadow_tally WHERE stream = %s AND champion = %s AND challenger = %s
    AND hour >= date_trunc('hour', %s::timestamptz, 'UTC')
GROUP BY 1, 2
"""
# The newest word on each row that one of the two would have kept quiet.
LABELLED = """
SELECT d.outcome > 0, l.positive, count(*) FROM (
    SELECT stream, decision_key, outcome FROM shadow_disagreement
    WHERE stream = %s AND champion = %s AND challenger = %s AND decided_at >= %s
        AND (outcome > 0) <> (other_outcome > 0)
    ORDER BY decided_at DESC LIMIT %s
) AS d JOIN LATERAL (
    SELECT positive FROM label WHERE decision_key = d.decision_key AND stream = d.stream
    ORDER BY id DESC LIMIT 1
) AS l ON true
GROUP BY 1, 2
"""
NEWEST_DIFFERENT = """
SELECT decision_key, decided_at, score, other_score, outcome, other_outcome
FROM shadow_disagreement
WHERE stream = %s AND champion = %s AND challenger = %s AND decided_at >= %s
ORDER BY decided_at DESC, id DESC LIMIT %s
"""


class NoShadowError(LeptonError):
    """No challenger has looked at the stream yet."""

    code: ClassVar[str] = "no_shadow"
    status: ClassVar[int] = 409


@dataclass(frozen=True, slots=True)
class Sides:
    """Labelled rows on which only one of the two was right."""

    champion: int
    challenger: int

    @property
    def total(self) -> int:
        return self.champion + self.challenger

    @property
    def p_value(self) -> float | None:
        """Two-sided exact binomial test of a fair coin (McNemar 1947); None: there are no rows."""
        if not self.total:
            return None
        fewer = min(self.champion, self.challenger)
        if self.total > EXACT:
            away = max(0.0, abs(self.champion - self.challenger) - 1) / math.sqrt(self.total)
            return math.erfc(away / math.sqrt(2))
        tail = sum(math.comb(self.total, k) for k in range(fewer + 1))
        return float(min(1.0, 2 * tail / 2**self.total))

    def advice(self) -> str:
        """What the labels say, in a sentence for whoever thinks of promoting."""
        p = self.p_value
        if p is None or self.total < LEAST_LABELLED:
            return (
                f"Too few labels to tell: {self.total} labelled rows on which only one of the two "
                f"was right, and {LEAST_LABELLED} are needed."
            )
        better = max(self.champion, self.challenger)
        told = f"right in {better} of {self.total} labelled rows that they decide differently"
        if p > SURE:
            return (
                f"No difference that could not be chance: the better one was {told} (p = {p:.2g})."
            )
        name = "challenger" if self.challenger > self.champion else "champion"
        return f"The {name} is better: {told} (p = {p:.2g})."


def pair_of(model_name: str) -> tuple[int, int] | None:
    """Numbers of champion and challenger: those of now, else the last two that were compared."""
    holders = models.holders([model_name])[model_name]
    champion, challenger = holders.get(Role.CHAMPION), holders.get(Role.CHALLENGER)
    if champion and challenger and champion.number != challenger.number:
        return champion.number, challenger.number
    found = rows(NEWEST_PAIR, [models.model(model_name).stream.name])
    return (found[0][0], found[0][1]) if found else None


def comparison(model_name: str, since: datetime) -> dict[str, Any]:
    """Champion and challenger on the rows that both decided since then, by the hour.

    Raises:
        NoShadowError: the model has no challenger, and never had one that looked at rows.
    """
    model = models.model(model_name)
    pair = pair_of(model_name)
    if pair is None:
        raise NoShadowError(
            f"{model_name} has no challenger to compare with. Name one: "
            f"manage.py promote_model {model_name} NUMBER --role challenger.",
            model=model_name,
        )
    stream, (champion, challenger) = model.stream, pair
    counted = rows(COUNTED, [stream.name, champion, challenger, since])
    outcomes = stream.policy.outcomes
    matrix = [[0] * len(outcomes) for _ in outcomes]
    difference = square = 0.0
    for outcome, other, count, of_difference, of_square in counted:
        matrix[outcome][other] = int(count)
        difference, square = difference + of_difference, square + of_square
    total = sum(map(sum, matrix))
    per_day = rows_per_day(stream.name, since)
    sides = _sides(stream.name, champion, challenger, since)
    return {
        "model": model_name,
        "stream": stream.name,
        "champion": champion,
        "challenger": challenger,
        "since": moment(since),
        "rows": total,
        "outcomes": list(outcomes),
        "matrix": matrix,
        "agreed": sum(matrix[n][n] for n in range(len(outcomes))),
        "champion_loud_per_day": _per_day(sum(map(sum, matrix[1:])), total, per_day),
        "challenger_loud_per_day": _per_day(
            sum(count for row in matrix for count in row[1:]), total, per_day
        ),
        "mean_difference": None if not total else round(difference / total, 6),
        "mean_difference_interval": _interval(total, difference, square),
        "only_champion_right": sides.champion,
        "only_challenger_right": sides.challenger,
        "p_value": sides.p_value,
        "advice": sides.advice(),
        "different": _examples(stream.name, champion, challenger, since, outcomes),
    }


def _sides(stream: str, champion: int, challenger: int, since: datetime) -> Sides:
    right = {True: 0, False: 0}  # whether it is the champion
    asked = [stream, champion, challenger, since, MOST_LOOKED_UP]
    for was_loud, positive, count in rows(LABELLED, asked):
        right[was_loud == positive] += int(count)
    return Sides(right[True], right[False])


def _examples(
    stream: str, champion: int, challenger: int, since: datetime, outcomes: tuple[str, ...]
) -> list[dict[str, Any]]:
    found = rows(NEWEST_DIFFERENT, [stream, champion, challenger, since, EXAMPLES])
    return [
        {
            "decision": str(key),
            "decided_at": moment(at),
            "score": round(score, 6),
            "other_score": round(other_score, 6),
            "outcome": outcomes[outcome],
            "other_outcome": outcomes[other],
        }
        for key, at, score, other_score, outcome, other in found
    ]


def _per_day(loud: int, total: int, rows_a_day: float) -> float | None:
    return round(loud / total * rows_a_day, 1) if total else None


def _interval(total: int, difference: float, square: float) -> list[float] | None:
    """Of the mean difference of scores, at 95 %."""
    if total < 2:
        return None
    mean = difference / total
    variance = max(0.0, square / total - mean**2) * total / (total - 1)
    half = Z * math.sqrt(variance / total)
    return [round(mean - half, 6), round(mean + half, 6)]
