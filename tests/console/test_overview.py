"""The overview: what it counts, over which time, and how many queries it takes."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.test import Client

from lepton_apps.common import clock
from lepton_apps.common.db import raw_connection
from lepton_apps.streaming.heartbeat import Heartbeat
from lepton_apps.streaming.models import ScoreTally, StreamMinute
from lepton_apps.streaming.retention import keep_house
from lepton_apps.streaming.tallying import bins_of
from tests.console.data import STREAM, make_alert, open_alerts, save_decision
from tests.console.test_pages import queries, text

pytestmark = pytest.mark.django_db(transaction=True)


def chart(body: str, key: str) -> dict[str, list[float | None]]:
    """The series of a chart by name."""
    found = re.search(rf'id="data-{key}" data-chart="([^"]*)"', body)
    assert found is not None, key
    data = json.loads(html.unescape(found[1]))
    assert {len(values) for values in data["values"]} == {len(data["x"])}
    return dict(zip(data["names"], data["values"], strict=True))


def minute(back: int, records: int, lag: int | None, stream: str = STREAM) -> StreamMinute:
    at = clock.now().replace(second=0, microsecond=0) - timedelta(minutes=back)
    return StreamMinute.objects.create(
        stream=stream, minute=at, worker_id=uuid4(), records=records, lag=lag
    )


def test_without_anything_it_says_so_and_draws_nothing(console: Client) -> None:
    body = text(console, "/overview/")
    assert body.count("Nothing to draw yet.") == 4
    assert "nothing waits" in body


def test_records_and_lag_of_all_workers_are_added_up_by_the_minute(console: Client) -> None:
    minute(5, 600, 40)
    minute(5, 1200, 2)
    minute(3, 60, None)
    body = text(console, "/overview/")
    records, lag = chart(body, "records")[STREAM], chart(body, "lag")[STREAM]
    assert [each for each in records if each is not None] == [30.0, 1.0]
    assert [each for each in lag if each is not None] == [42]


def test_alerts_are_counted_by_minute_and_severity(console: Client) -> None:
    at = clock.now() - timedelta(minutes=10)
    open_alerts(*(make_alert(n, at=at, severity="high") for n in range(3)))
    open_alerts(make_alert(9, at=at, severity="low"), make_alert(10, at=at - timedelta(hours=3)))
    hour, day = text(console, "/overview/"), text(console, "/overview/?span=24h")
    assert {name: sum(v or 0 for v in values) for name, values in chart(hour, "alerts").items()} == {
        "critical": 0, "high": 3, "medium": 0, "low": 1,
    }  # fmt: skip
    assert sum(v or 0 for values in chart(day, "alerts").values() for v in values) == 5


def test_scores_are_shares_of_what_was_decided(console: Client) -> None:
    hour = clock.now().replace(minute=0, second=0, microsecond=0)
    for score in (0.01, 0.02, 0.03, 0.999, 0.99999):
        ScoreTally.objects.create(
            stream=STREAM, hour=hour, model_version=1, writer=0,
            bin=int(bins_of(np.array([score]))[0]), count=1, loud=0,
        )  # fmt: skip
    scores = chart(text(console, "/overview/"), "scores")[STREAM]
    assert (scores[0], scores[-1]) == (60.0, 40.0)


def test_what_waits_longest_is_named_with_its_way(console: Client) -> None:
    first, _ = open_alerts(make_alert(1), make_alert(2))
    body = text(console, "/overview/")
    assert f'href="/alerts/{first.pk}/"' in body
    assert first.title[:30] in body


def test_another_vertical_is_neither_counted_nor_drawn(
    other_operator: User, signed_in: Callable[[User], Client]
) -> None:
    open_alerts(make_alert(1))
    minute(2, 100, 1)
    save_decision(make_alert(2), 2)
    body = text(signed_in(other_operator), "/overview/")
    assert STREAM not in body
    assert body.count("Nothing to draw yet.") == 4


def test_it_takes_the_same_queries_however_much_there_is(console: Client) -> None:
    before = queries(console, "/overview/")
    open_alerts(*(make_alert(number) for number in range(200)))
    for back in range(50):
        minute(back, 1, 1)
    assert queries(console, "/overview/") == before <= 20


def test_a_worker_adds_what_it_read_to_its_minute_once() -> None:
    heartbeat = Heartbeat(STREAM, every_s=2.0)
    heartbeat.count(100, 0.1)
    heartbeat.beat(raw_connection(), [0, 1], {0: 3, 1: 4})
    heartbeat.count(20, 0.1)
    heartbeat.beat(raw_connection(), [0, 1], {0: 0, 1: 1})
    heartbeat.beat(raw_connection(), [], {})
    rows = StreamMinute.objects.order_by("minute")
    assert sum(row.records for row in rows) == 120
    assert rows.reverse()[0].lag is None


def test_minutes_are_forgotten_after_a_week_and_a_day() -> None:
    kept = minute(60 * 24 * 7, 1, 1)
    minute(60 * 24 * 9, 1, 1)
    keep_house(raw_connection())
    assert StreamMinute.objects.get().minute == kept.minute
