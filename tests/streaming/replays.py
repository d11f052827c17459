"""Replays for tests: worlds that workers have decided, and what the database holds of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from lepton_apps.streaming.models import ReplayRun
from lepton_apps.streaming.replay import running, services
from lepton_apps.streaming.replay.question import Question
from lepton_apps.streaming.replay.topic import open_log
from lepton_apps.streaming.source import Raw
from tests.champions import payment
from tests.streaming.sources import TOPIC_ID, InMemorySource

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
# What a replay may change: its own row, and the audit of who asked for it.
ITS_OWN = {"replay_run", "audit_auditentry"}


LOUD = {5: "9000.00", 6: "800.00", 12: "9000.00", 19: "9000.00", 40: "600.00"}


def payments(count: int = 50) -> list[dict[str, object]]:
    """Quiet ones, and five loud ones: three of customer c5 in a quarter of an hour, of two minds."""
    return [payment(n, **({"amount": LOUD[n]} if n in LOUD else {})) for n in range(count)]


def quiet(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def replayed(stream: str, **asked: Any) -> dict[str, Any]:
    """The result of a replay, by the way that commands and the console take."""
    log = asked.pop("log", None)
    if not any(name.startswith("from_") for name in asked):
        asked.setdefault("since", LONG_AGO)
    run = services.ask(Question(stream=stream, **asked), None)
    opened = open_log if log is None else lambda _: (InMemoryLog(log), TOPIC_ID)
    result = running.execute(run.pk, quiet, opened).result
    assert ReplayRun.objects.get(id=run.pk).state == "done"
    assert result is not None
    return result  # type: ignore[no-any-return]


def everything() -> dict[str, tuple[int, str]]:
    """Each table's number of rows and a digest of what they hold, but for what a replay writes."""
    found = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if table in ITS_OWN:
                continue
            cursor.execute(
                f"SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM \"{table}\" t"
            )
            found[table] = cursor.fetchone()
    return found


class InMemoryLog:
    """A reader over the messages of an ``InMemorySource``, ``first`` being what retention left."""

    def __init__(self, raws: Sequence[Raw], first: int = 0) -> None:
        self._source = InMemorySource(raws)
        self._first = first
        self._reading: tuple[int, ...] = ()

    def bounds(self) -> dict[int, tuple[int, int]]:
        waters = self._source.high_waters()
        return {p: (self._first, waters.get(p, 0)) for p in self._source.partitions}

    def offsets_at(self, at_ms: int) -> dict[int, int | None]:
        return {
            partition: min(
                (
                    raw.offset
                    for raw in self._source.raws
                    if raw.partition == partition and (raw.sent_ms or 0) >= at_ms
                ),
                default=None,
            )
            for partition in self._source.partitions
        }

    def begin(self, offsets: Mapping[int, int]) -> None:
        self._reading = tuple(offsets)
        for partition, offset in offsets.items():
            self._source.seek(partition, offset)

    def poll(self, timeout_ms: int, paused: Sequence[int] = ()) -> list[Raw]:
        return [raw for raw in self._source.poll(7, 0) if raw.partition in self._reading]

    def positions(self) -> dict[int, int]:
        return {partition: self._source.places[partition] for partition in self._reading}

    def close(self) -> None:
        pass
