"""Reads what was declared, what lies around an alert, and what its vertical makes of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np

from lepton_apps.alerts.models import Alert
from lepton_apps.alerts.summary import moment
from lepton_apps.common.db import rows
from lepton_apps.verticals import registry
from lepton_apps.verticals.insight import (
    AskedAlert,
    DeclarationRefusedError,
    Insight,
    Neighbour,
    Origin,
    ScoredRow,
    Surroundings,
)
from lepton_apps.verticals.models import DeclaredDocument

MOST_ENTITIES: Final = 40  # whose rows or states are read at once
MOST_NEIGHBOURS: Final = 400  # entities that are looked for at once
LONGEST: Final = timedelta(hours=24)
MOST_ROWS: Final = 60_000  # more than one a minute of so many entities
MOST_ALERTS: Final = 200
# Rows are found by the time of their decision. Around the alert's, event time and our clock may
# be apart by so much more; a longer pause of the workers hides what came before it.
BACKLOG: Final = timedelta(hours=6)

ROWS: Final = """
SELECT entity_key, occurred_at, starts_with(record_id, 'tick:'), features FROM decision
WHERE entity_key = ANY(%s) AND stream = %s AND decided_at >= %s AND decided_at < %s
    AND occurred_at >= %s AND occurred_at < %s
ORDER BY occurred_at, entity_key LIMIT %s
"""
STATES: Final = """
SELECT entity_key, state FROM entity_state
WHERE stream = %s AND entity_key = ANY(%s) AND schema = %s
"""
KNOWN: Final = "SELECT entity_key FROM entity_state WHERE stream = %s AND entity_key = ANY(%s)"
ALERTS: Final = """
SELECT id, stream, entity_key, title, reason, severity, status, first_occurred_at FROM alert
WHERE entity_key = ANY(%s) AND vertical = %s AND id <> %s
    AND first_occurred_at >= %s AND first_occurred_at < %s
ORDER BY first_occurred_at, id LIMIT %s
"""
SEEN: Final = """
SELECT DISTINCT entity_key FROM entity_state WHERE stream = ANY(%s) AND entity_key = ANY(%s)
"""
SHOWN_UNSEEN: Final = 20


@dataclass(frozen=True, slots=True)
class Declared:
    """What holds now; ``body`` None: nothing was declared yet."""

    vertical: str
    name: str
    summary: str
    body: Any
    at: datetime | None = None
    by: str = ""
    why: str = ""
    warnings: tuple[str, ...] = ()

    def told(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "vertical": self.vertical,
            "name": self.name,
            "summary": self.summary,
            "body": self.body,
            "declared_at": self.at and moment(self.at),
            "declared_by": self.by,
            "why": self.why,
            "warnings": list(self.warnings),
        }


def body_of(vertical: str, name: str) -> Any | None:
    """The document that holds, None where nobody declared one. One query."""
    newest = DeclaredDocument.objects.filter(vertical=vertical, name=name).order_by("-id")
    return newest.values_list("body", flat=True).first()


def declared(vertical: str, name: str) -> Declared:
    """The document that holds, with what is odd about it: names that no stream has seen."""
    declaration = registry.declaration(vertical, name)
    found = DeclaredDocument.objects.filter(vertical=vertical, name=name)
    newest = found.select_related("by").order_by("-id").first()
    if newest is None:
        return Declared(vertical, name, declaration.summary, None)
    try:
        checked = declaration.check(newest.body)
        warnings = (*checked.warnings, *_unseen(vertical, checked.names))
    except DeclarationRefusedError as error:  # declared to another version of the vertical
        warnings = (f"It cannot be used any more, declare it anew: {error.detail}",)
    return Declared(
        vertical,
        name,
        declaration.summary,
        newest.body,
        newest.at,
        newest.by.get_username() if newest.by else "a command",
        newest.why,
        warnings,
    )


def _unseen(vertical: str, names: Mapping[str, Sequence[str]]) -> list[str]:
    streams = [stream.name for stream in registry.vertical(vertical).streams]
    keys = sorted({key for each in names.values() for key in each})
    seen = {key for (key,) in rows(SEEN, [streams, keys])} if keys else set()
    missing = [name for name, each in names.items() if seen.isdisjoint(each)]
    said = [f"No record of {name!r} has come yet." for name in missing[:SHOWN_UNSEEN]]
    if len(missing) > SHOWN_UNSEEN:
        said.append(f"Nor of {len(missing) - SHOWN_UNSEEN} more.")
    return said


class _Around:
    """``Surroundings`` of one alert. Streams and alerts of its own vertical alone."""

    def __init__(self, alert: Alert) -> None:
        self._alert = alert

    def declared(self, name: str) -> Any | None:
        return body_of(self._alert.vertical, registry.declaration(self._alert.vertical, name).name)

    def known(self, stream: str, entities: Sequence[str]) -> frozenset[str]:
        self._own(stream)
        _bounded(entities, MOST_NEIGHBOURS)
        return frozenset(key for (key,) in rows(KNOWN, [stream, list(entities)]))

    def rows(
        self, stream: str, entities: Sequence[str], since: datetime, until: datetime
    ) -> Sequence[ScoredRow]:
        self._own(stream)
        _bounded(entities, MOST_ENTITIES, since, until)
        before, after = self._alert.first_occurred_at - since, until - self._alert.first_occurred_at
        decided = self._alert.decided_at
        found = rows(
            ROWS,
            [
                list(entities), stream, decided - before - BACKLOG, decided + after + BACKLOG,
                since, until, MOST_ROWS,
            ],
        )  # fmt: skip
        return [
            ScoredRow(key, at, by_tick, np.frombuffer(features, "<f4"))
            for key, at, by_tick, features in found
        ]

    def states(self, stream: str, entities: Sequence[str]) -> Mapping[str, bytes]:
        schema = self._own(stream).extractor.schema.hash
        _bounded(entities, MOST_ENTITIES)
        return {key: bytes(state) for key, state in rows(STATES, [stream, list(entities), schema])}

    def alerts(
        self, entities: Sequence[str], since: datetime, until: datetime
    ) -> Sequence[Neighbour]:
        _bounded(entities, MOST_NEIGHBOURS, since, until)
        asked = [list(entities), self._alert.vertical, self._alert.pk, since, until, MOST_ALERTS]
        return [Neighbour(*row) for row in rows(ALERTS, asked)]

    def _own(self, stream: str) -> Any:
        owner, found = registry.stream(stream)
        if owner.key != self._alert.vertical:
            raise ValueError(f"{stream!r} is no stream of {self._alert.vertical!r}.")
        return found


def _bounded(
    entities: Sequence[str],
    most: int,
    since: datetime | None = None,
    until: datetime | None = None,
) -> None:
    if len(entities) > most:
        raise ValueError(f"{len(entities)} entities are more than {most}.")
    if since is not None and until is not None and not timedelta() < until - since <= LONGEST:
        raise ValueError(f"From {since} to {until} is no span of up to {LONGEST}.")


def around(alert: Alert) -> Surroundings:
    return _Around(alert)


def looks_into(vertical: str) -> bool:
    """Whether the vertical says where its alerts come from."""
    return registry.vertical(vertical).look_into is not None


def insight_of(alert: Alert) -> Insight:
    """What the alert's vertical makes of it, computed now. Whoever asks may see the alert."""
    vertical = registry.vertical(alert.vertical)
    if vertical.look_into is None:
        return Insight(f"{vertical.title} does not look for the origin of its alerts.")
    asked = AskedAlert(
        alert.pk,
        alert.stream,
        alert.entity_key,
        alert.reason,
        alert.title,
        alert.first_occurred_at,
        alert.last_occurred_at,
        alert.evidence,
    )
    return vertical.look_into(asked, around(alert))


def told(alert: Alert, insight: Insight) -> dict[str, Any]:
    """An insight as JSON."""
    return {
        "alert_id": alert.pk,
        "supported": looks_into(alert.vertical),
        "summary": insight.summary,
        "origins": [_origin(origin) for origin in insight.origins],
        "suggested_steps": [asdict(advice) for advice in insight.advice],
        "notes": list(insight.notes),
    }


def _origin(origin: Origin) -> dict[str, Any]:
    return {
        "entity_key": origin.entity_key,
        "sentence": origin.sentence,
        "score": round(origin.score, 4),
        "way": list(origin.way),
        "began": origin.began and moment(origin.began),
        "numbers": {name: round(value, 4) for name, value in origin.numbers.items()},
        "alerts": [
            {
                **alert._asdict(),
                "first_at": moment(alert.first_at),
            }
            for alert in origin.alerts
        ],
    }
