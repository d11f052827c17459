"""A log that ends before the place that was read: what an unclean leader election leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from typing import Any

import pytest

from lepton_apps.common.metrics import RECORDS_LOST
from lepton_apps.embedded.testing import temporary_broker
from lepton_apps.streaming import offsets
from lepton_apps.streaming.kafka import Admin, KafkaSource, Producer
from lepton_apps.streaming.models import Decision, OffsetGap, StreamOffset
from lepton_apps.streaming.path import StreamPath
from lepton_apps.streaming.selectors import stream_overviews
from lepton_apps.streaming.worker import Worker
from tests.apache_kafka import KAFKA_HOME, needs_kafka
from tests.champions import PAYMENTS, payment
from tests.streaming.sources import InMemorySource, log
from tests.streaming.test_worker import STREAM, drain, make_worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("champion")]


def lost() -> float:
    return float(RECORDS_LOST.labels(STREAM, "truncated")._value.get())


def rounds(worker: Worker, count: int = 8) -> None:
    """A fixed number: a worker that never finds its place again would poll for ever."""
    for _ in range(count):
        worker.run_once()


def test_a_log_that_was_cut_short_is_noticed_once_and_read_on_without_doubles() -> None:
    drain(make_worker(log([payment(n) for n in range(10)])))
    cut = InMemorySource(log([payment(n) for n in [*range(6), 20, 21]]))
    worker = Worker(StreamPath(STREAM), lambda: cut)
    before = lost()
    rounds(worker)

    gap = OffsetGap.objects.get()
    assert (gap.kind, gap.from_offset, gap.to_offset, gap.lost) == ("truncated", 8, 10, 0)
    assert lost() == before
    assert sorted(Decision.objects.values_list("record_id", flat=True)) == sorted(
        [f"p{n}" for n in range(10)] + ["p20", "p21"]
    )
    row = StreamOffset.objects.get()
    assert (row.next_offset, row.high_water) == (8, 8)
    (shown,) = (o["gaps"] for o in stream_overviews({"fintech"}) if o["name"] == STREAM)
    assert [(g["kind"], g["lost"]) for g in shown] == [("truncated", 0)]

    cut.raws += log([payment(n) for n in range(30, 42)])[8:]
    rounds(worker)
    assert Decision.objects.count() == 16
    assert OffsetGap.objects.count() == 1


def test_a_worker_that_was_running_finds_its_place_again() -> None:
    source = InMemorySource(log([payment(n) for n in range(10)]))
    worker = Worker(StreamPath(STREAM), lambda: source)
    drain(worker)
    source.raws = log([payment(30)])  # an empty replica became the leader, and a producer went on
    rounds(worker)

    assert Decision.objects.filter(record_id="p30").exists()
    assert StreamOffset.objects.get().next_offset == 1


def test_records_known_to_have_waited_are_counted_as_lost() -> None:
    drain(make_worker(log([payment(n) for n in range(10)])))
    StreamOffset.objects.update(high_water=13)
    before = lost()
    rounds(make_worker(log([payment(n) for n in range(6)])))

    assert lost() == before + 3


def test_only_so_much_of_a_long_log_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offsets, "READ_AGAIN", 2)
    drain(make_worker(log([payment(n) for n in range(10)])))
    cut = InMemorySource(log([payment(n) for n in range(100, 106)]))
    rounds(Worker(StreamPath(STREAM), lambda: cut))

    read = Decision.objects.filter(offset__lt=6, record_id__gte="p100", record_id__lt="p2")
    assert sorted(read.values_list("record_id", flat=True)) == ["p104", "p105"]


def test_a_smaller_end_alone_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new leader may learn late how far records are safe."""
    source = InMemorySource(log([payment(n) for n in range(10)]))
    worker = Worker(StreamPath(STREAM), lambda: source)
    drain(worker)
    monkeypatch.setattr(source, "high_waters", lambda: {0: 7})
    source.generation += 1
    monkeypatch.setattr(source, "poll", lambda max_records, timeout_s: [])
    rounds(worker)

    assert StreamOffset.objects.get().next_offset == 10
    assert not OffsetGap.objects.exists()


@pytest.mark.kafka
@needs_kafka
def test_a_client_of_apache_kafka_that_is_beyond_the_end_finds_its_place(
    consumer_group: str, settings: Any
) -> None:
    """The embedded broker says nothing to such a client, but has a new topic id when it restarts."""
    with temporary_broker("kafka", KAFKA_HOME) as broker, ExitStack() as stack:
        settings.KAFKA_BOOTSTRAP_SERVERS = broker.bootstrap_servers.split(",")
        stack.enter_context(closing(Admin())).ensure_topic(PAYMENTS.topic, 1)
        producer = stack.enter_context(closing(Producer(linger_ms=0)))
        send(producer, range(5))
        worker = Worker(StreamPath(STREAM), lambda: KafkaSource(STREAM, PAYMENTS.topic))
        stack.callback(worker.leave)
        until(worker, lambda: Decision.objects.count() == 5)
        StreamOffset.objects.update(next_offset=50, high_water=50)
        worker.leave()
        until(worker, OffsetGap.objects.exists)
        send(producer, range(5, 8))
        until(worker, lambda: Decision.objects.count() == 8)

    gap = OffsetGap.objects.get()
    assert (gap.kind, gap.from_offset, gap.to_offset) == ("truncated", 5, 50)


def send(producer: Producer, numbers: Iterable[int]) -> None:
    for n in numbers:
        producer.send(PAYMENTS.topic, json.dumps(payment(n)).encode(), b"c")
    producer.flush()


def until(worker: Worker, is_true: Callable[[], bool]) -> None:
    while not is_true():
        worker.run_once()
