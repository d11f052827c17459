"""A real broker's topic, read from an offset and from a time, without a trace in it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from lepton_apps.streaming.kafka import Admin, Producer, Reader
from lepton_apps.streaming.models import ReplayRun
from lepton_apps.streaming.replay import running, services
from lepton_apps.streaming.replay.question import Question, ReplayRefusedError
from tests.champions import payment
from tests.streaming.replays import quiet
from tests.streaming.test_worker import STREAM

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("champion")]

SENT_MS = 1_770_000_000_000


@pytest.fixture
def topic() -> Iterator[str]:
    """Forty payments in two partitions, sent a second apart in several batches of the log."""
    name = f"replay-{uuid.uuid4().hex[:8]}"
    admin = Admin()
    admin.ensure_topic(name, 2)
    producer = Producer()
    for number in range(40):
        body = json.dumps(payment(number)).encode()
        producer.send(name, body, partition=number % 2, timestamp_ms=SENT_MS + number * 1_000)
        if number % 7 == 0:
            producer.flush()
    producer.flush()
    producer.close()
    yield name
    admin.delete_topic(name)
    admin.close()


def replayed(topic: str, **asked: Any) -> dict[str, Any]:
    run = services.ask(Question(stream=STREAM, **asked), None)
    admin = Admin()
    found = admin.topic(topic)
    admin.close()
    assert found is not None
    done = running.execute(run.pk, quiet, lambda _: (Reader(topic, found[1]), found[0]))
    assert done.result is not None
    return done.result  # type: ignore[no-any-return]


def test_all_of_it_up_to_the_end_it_had(topic: str) -> None:
    result = replayed(topic, from_offset=0)

    assert (result["rows"], result["undecided"]) == (40, 40)
    assert result["topic"]["ends"] == {"0": 20, "1": 20}


def test_from_an_offset_of_one_partition(topic: str) -> None:
    result = replayed(topic, from_offsets={1: 15})

    assert (result["rows"], result["topic"]["starts"]) == (5, {"1": 15})


def test_from_a_time(topic: str) -> None:
    at = datetime.fromtimestamp(SENT_MS / 1_000 + 30, tz=UTC)
    result = replayed(topic, from_time=at)

    assert (result["rows"], result["topic"]["starts"]) == (10, {"0": 15, "1": 15})
    assert replayed(topic, from_time=datetime.now(tz=UTC).replace(year=2100))["rows"] == 0


def test_places_that_are_not_there_are_refused_by_name(topic: str) -> None:
    with pytest.raises(ReplayRefusedError, match="Partition 0 ends at 20, before the offset 99"):
        replayed(topic, from_offset=99)
    with pytest.raises(ReplayRefusedError, match="no partition 7; it has 0 to 1"):
        replayed(topic, from_offsets={7: 0})


def test_partitions_wait_for_each_other_in_bounded_queues_and_none_is_forgotten(
    topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lepton_apps.streaming.replay.topic.AHEAD", 300)
    producer = Producer()
    for number in range(40, 3_000):
        body = json.dumps(payment(number)).encode()
        late = SENT_MS + number * (1_000 if number % 2 else 1)
        producer.send(topic, body, partition=number % 2, timestamp_ms=late)
    producer.flush()
    producer.close()

    result = replayed(topic, from_offset=0)

    assert (result["read"], result["rows"]) == (3_000, 3_000)
    assert ReplayRun.objects.get().done == 3_000
