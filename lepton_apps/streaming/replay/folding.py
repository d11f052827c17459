"""Which alerts there would have been beside those that there were: alerts, not rows.

Loud rows fold by the rule of ``alerting``. An alert that a person resolved took no further rows
from then on, so its counterpart here does not either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

from lepton_apps.common.clock import moment
from lepton_apps.common.db import RawConnection
from lepton_apps.common.errors import LeptonError
from lepton_apps.streaming.alerting import fingerprint, nearest
from lepton_apps.streaming.replay.rows import Made
from lepton_apps.verticals.contract import Stream

MOST_ALERTS = 200_000  # of either side; some hundred bytes each
EXAMPLES = 50  # of alerts gained and of alerts lost

KNOWN = "SELECT id, resolved_at FROM alert WHERE id = ANY(%s)"
# Alerts that rows of the span could fold into, as they stood when it began.
OPEN_BEFORE = """
SELECT a.id, a.fingerprint, a.resolved_at, min(d.occurred_at), max(d.occurred_at)
FROM alert a JOIN decision d ON d.alert_id = a.id AND d.decided_at < %s
WHERE a.stream = %s AND a.opened_at < %s AND (a.resolved_at IS NULL OR a.resolved_at > %s)
    AND a.last_occurred_at >= %s
GROUP BY a.id, a.fingerprint, a.resolved_at ORDER BY a.id
"""


class TooManyAlertsError(LeptonError):
    """What was asked makes more alerts than anybody could compare, or memory should hold."""

    code: ClassVar[str] = "replay_too_many_alerts"
    status: ClassVar[int] = 422


class LoudRow(NamedTuple):
    """A row that is loud before, after, or both."""

    key: UUID
    record_id: str
    entity_key: str
    occurred_at: datetime
    made: Made | None
    score: float
    outcome: str
    was_loud: bool
    reason: str | None  # None: it is quiet now


@dataclass(slots=True)
class Would:
    """An alert of the replay."""

    id: int
    first_occurred_at: datetime
    last_occurred_at: datetime
    resolved_at: datetime | None = None  # of the alert that its records really joined
    was_there: bool = False  # open since before the span
    rows: int = 0
    was_loud: bool = False  # one of its rows was loud then, too
    decided: bool = False  # one of its rows had been decided at all
    best: LoudRow | None = None


@dataclass(slots=True)
class Was:
    """An alert that the rows of the replay really joined."""

    was_there: bool
    resolved_at: datetime | None
    is_loud: bool = False
    best: LoudRow | None = None


@dataclass(slots=True)
class Folding:
    """Takes loud rows in order of arrival; knows what was gained and lost."""

    stream: Stream
    _would: dict[UUID, list[Would]] = field(default_factory=dict)
    _was: dict[int, Was] = field(default_factory=dict)
    _seeded: set[int] = field(default_factory=set)
    _count: int = 0

    def begin(self, raw: RawConnection, since: datetime, oldest: datetime) -> None:
        """Take up the alerts that were open at ``since``; ``oldest`` is the first event time."""
        parameters = [since, self.stream.name, since, since, oldest - self.stream.fold]
        for id_, mark, resolved_at, first, last in raw.execute(OPEN_BEFORE, parameters):
            self._seeded.add(id_)
            there = Would(self._next(), first, last, resolved_at, was_there=True)
            self._would.setdefault(mark, []).append(there)

    def meet(self, raw: RawConnection, alert_ids: Iterable[int]) -> None:
        """Learn of the alerts that rows joined. Call it before their rows are added."""
        fresh = sorted(set(alert_ids) - self._was.keys())
        if not fresh:
            return
        resolved = dict(raw.execute(KNOWN, [fresh]).fetchall())
        for id_ in fresh:
            self._was[id_] = Was(id_ in self._seeded, resolved.get(id_))
        self._refuse_flood(len(self._was))

    def add(self, row: LoudRow) -> None:
        made = row.made
        was = None if made is None or made.alert_id is None else self._was[made.alert_id]
        if was is not None:
            was.is_loud = was.is_loud or row.reason is not None
            if was.best is None or row.made.score > was.best.made.score:  # type: ignore[union-attr]
                was.best = row
        if row.reason is None:
            return
        mark = fingerprint(self.stream, row.entity_key, row.reason)
        there = [
            each for each in self._would.get(mark, ())
            if made is None or each.resolved_at is None or made.decided_at < each.resolved_at
        ]  # fmt: skip
        alert = nearest(there, row.occurred_at, self.stream.fold)
        if alert is None:
            alert = Would(self._next(), row.occurred_at, row.occurred_at)
            self._would.setdefault(mark, []).append(alert)
        alert.rows += 1
        alert.first_occurred_at = min(alert.first_occurred_at, row.occurred_at)
        alert.last_occurred_at = max(alert.last_occurred_at, row.occurred_at)
        alert.was_loud = alert.was_loud or row.was_loud
        alert.decided = alert.decided or made is not None
        if alert.resolved_at is None and was is not None:
            alert.resolved_at = was.resolved_at
        if alert.best is None or row.score > alert.best.score:
            alert.best = row

    def result(self) -> dict[str, Any]:
        """Counts, and the loudest examples of what was gained and lost."""
        after = [each for alerts in self._would.values() for each in alerts if each.rows]
        gained = [a for a in after if a.decided and not a.was_loud and not a.was_there]
        lost = [
            (id_, was) for id_, was in self._was.items() if not was.is_loud and not was.was_there
        ]
        gained.sort(key=lambda a: -a.best.score if a.best else 0)
        lost.sort(key=lambda one: -_made_score(one[1]))
        return {
            "before": len(self._was),
            "after": len(after),
            "gained": len(gained),
            "lost": len(lost),
            "undecided": sum(not a.decided for a in after),
            "gained_examples": [_example(a.best, a.rows, None) for a in gained[:EXAMPLES]],
            "lost_examples": [_example(w.best, None, id_) for id_, w in lost[:EXAMPLES]],
        }

    def _next(self) -> int:
        self._count += 1
        self._refuse_flood(self._count)
        return self._count

    def _refuse_flood(self, count: int) -> None:
        if count > MOST_ALERTS:
            raise TooManyAlertsError(
                f"More than {MOST_ALERTS:,} alerts: raise the thresholds, or take a shorter span.",
                limit=MOST_ALERTS,
            )


def _made_score(was: Was) -> float:
    return was.best.made.score if was.best and was.best.made else 0.0


def _example(row: LoudRow | None, rows: int | None, alert_id: int | None) -> dict[str, Any]:
    assert row is not None, "only an alert with rows is an example"
    made = row.made
    return {
        "alert_id": alert_id,
        "decision_id": str(row.key),
        "record_id": row.record_id,
        "entity_key": row.entity_key,
        "occurred_at": moment(row.occurred_at),
        "rows": rows,
        "reason": row.reason,
        "score_before": None if made is None else made.score,
        "outcome_before": None if made is None else made.outcome,
        "score_after": row.score,
        "outcome_after": row.outcome,
    }
