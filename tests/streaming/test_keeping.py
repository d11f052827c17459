"""What is kept and shown for how long, and what a command refuses to do."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection
from lepton_apps.streaming.models import EntityState, OffsetGap, Tick
from lepton_apps.streaming.retention import keep_house
from lepton_apps.streaming.selectors import stream_overviews
from tests.streaming.test_worker import STREAM

pytestmark = pytest.mark.django_db(transaction=True)


def test_ticks_go_when_decisions_of_their_age_would(settings: Any) -> None:
    settings.RETENTION_DAYS = {**settings.RETENTION_DAYS, "decision": 30}
    for days in (29, 32):
        Tick.objects.create(
            stream="weather.readings",
            topic_id=uuid.UUID(int=1),
            partition=0,
            at=clock.now() - timedelta(days=days),
            before_offset=days,
            by_clock=False,
        )

    keep_house(raw_connection())

    assert Tick.objects.get().before_offset == 29


def test_a_gap_is_shown_for_a_week() -> None:
    for days, partition in ((6, 0), (8, 1)):
        OffsetGap.objects.create(
            stream=STREAM,
            topic_id=uuid.UUID(int=1),
            partition=partition,
            kind=OffsetGap.Kind.RETENTION,
            from_offset=0,
            to_offset=5,
            noticed_at=clock.now() - timedelta(days=days),
        )

    (overview,) = (row for row in stream_overviews({"fintech"}) if row["name"] == STREAM)
    assert [(gap["partition"], gap["lost"]) for gap in overview["gaps"]] == [(0, 5)]


def test_states_of_a_stream_with_ticks_are_not_made_anew() -> None:
    with raw_connection().cursor() as cursor:
        cursor.execute(
            "INSERT INTO entity_state (stream, entity_key, version, schema, state)"
            " VALUES ('weather.readings', 'north-1', 1, 'older', '')"
        )

    with pytest.raises(CommandError, match="ticks cannot be given again"):
        call_command("rebuild_states", "weather.readings")

    assert EntityState.objects.exists()
