"""Events and their gapless numbers: written inside the transaction that they tell of.

The counter row is raised by the last statement before the commit, and both leave in one message,
so its lock is held for a moment only and number n is visible before n + 1 exists.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from lepton_apps.common import clock
from lepton_apps.common.db import RawConnection, raw_connection, transaction

CHANNEL = "lepton_feed"  # NOTIFY payload: "<vertical>:<number>"

PUBLISH = f"""
WITH counter AS (
    INSERT INTO feed_counter AS c (vertical, epoch, last_number)
    VALUES (%(vertical)s, gen_random_uuid(), %(count)s)
    ON CONFLICT (vertical) DO UPDATE SET last_number = c.last_number + excluded.last_number
    RETURNING last_number
), events AS (
    INSERT INTO feed_event (vertical, number, type, body, created_at)
    SELECT %(vertical)s, last_number - %(count)s + place, type, body::jsonb, %(at)s
    FROM counter, unnest(%(types)s::text[], %(bodies)s::text[]) WITH ORDINALITY
        AS event (type, body, place)
)
SELECT pg_notify('{CHANNEL}', %(vertical)s || ':' || last_number) FROM counter
"""  # noqa: S608 - the channel is a constant of ours


@dataclass(frozen=True, slots=True)
class Event:
    """Something to tell the browsers of a vertical. ``body`` is JSON-ready."""

    type: str  # "alert.opened", "alert.updated"
    body: Mapping[str, Any]


@dataclass(slots=True)
class Announcements:
    """The events of one transaction, by vertical, in the order they were added."""

    events: dict[str, list[Event]] = field(default_factory=dict)

    def add(self, vertical: str, event: Event) -> None:
        self.events.setdefault(vertical, []).append(event)


def commit_with_events(raw: RawConnection, events: Mapping[str, Sequence[Event]]) -> None:
    """Number and store the events, notify the listeners and commit, in one message.

    Verticals are taken in the order of their names, so that two writers never wait for each
    other's counter.
    """
    with raw.pipeline():
        for vertical in sorted(events):
            raw.execute(
                PUBLISH,
                {
                    "vertical": vertical,
                    "count": len(events[vertical]),
                    "types": [event.type for event in events[vertical]],
                    "bodies": [json.dumps(event.body) for event in events[vertical]],
                    "at": clock.now(),
                },
            )
        raw.execute("COMMIT")


@contextmanager
def announcing() -> Iterator[Announcements]:
    """A transaction on this thread's connection that ends with the events added to it.

    Django's ORM works inside it. ``transaction.atomic`` does not nest in it: the ORM is in
    autocommit and this transaction is ours.
    """
    raw = raw_connection()
    announcements = Announcements()
    with transaction(raw):
        yield announcements
        if announcements.events:
            commit_with_events(raw, announcements.events)
