"""The worker of scored records, on a real database and a source in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from lepton_apps.alerts.models import Alert
from lepton_apps.realtime.models import FeedEvent
from lepton_apps.streaming.loop import Loop
from lepton_apps.streaming.models import (
    DeadLetter,
    Decision,
    EntityState,
    OffsetGap,
    RecordKey,
    SecondaryState,
    StreamOffset,
)
from lepton_apps.streaming.path import StreamPath
from lepton_apps.streaming.source import Raw
from lepton_apps.streaming.store import StaleAssignmentError
from lepton_apps.streaming.worker import Worker
from tests.champions import payment
from tests.streaming.sources import InMemorySource, log

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("champion")]

STREAM = "fintech.transactions"


def make_worker(raws: Sequence[Raw], batch_size: int = 100) -> Worker:
    worker = Worker(StreamPath(STREAM, cache_entities=100), lambda: InMemorySource(raws))
    worker.batch_size = batch_size
    return worker


def drain(worker: Loop) -> int:
    """Take everything through; the first round takes up the assignment."""
    worker.run_once()
    done = 0
    while size := worker.run_once():
        done += size
    return done


def test_a_quiet_payment_becomes_a_decision_and_no_alert() -> None:
    drain(make_worker(log([payment(1)])))

    decision = Decision.objects.get()
    assert decision.outcome == "approve"
    assert decision.record_id == "p1"
    assert not Alert.objects.exists()
    assert not FeedEvent.objects.exists()
    assert StreamOffset.objects.get().next_offset == 1


def test_a_loud_payment_opens_an_explained_alert_and_tells_it_once() -> None:
    drain(make_worker(log([payment(1), payment(2, amount="9000.00")])))

    alert = Alert.objects.get()
    assert alert.entity_key == "c2"
    assert alert.outcome in {"review", "decline"}
    assert alert.explanation[0]["reason"] == alert.reason == "amount"
    assert alert.explanation[0]["contribution"] > 0
    assert alert.base is not None
    assert alert.log_odds is not None
    assert alert.base < 0 < alert.log_odds
    event = FeedEvent.objects.get()
    assert (event.number, event.type, event.body["id"]) == (1, "alert.opened", alert.id)
    assert Decision.objects.get(alert_id=alert.id).record_id == "p2"


def test_loud_payments_of_one_customer_fold_while_they_are_close_in_time() -> None:
    loud = [payment(n, customer="c1", amount="9000.00") for n in (1, 2, 5, 60)]
    drain(make_worker(log(loud), batch_size=2))

    assert sorted(Alert.objects.values_list("record_count", flat=True)) == [1, 3]
    assert Decision.objects.exclude(alert_id=None).count() == 4


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_late_records_among_those_on_time_fold_into_an_alert_of_their_own(batch_size: int) -> None:
    minutes = (1, 600, 2, 601, 3, 602)
    loud = [payment(n, customer="c1", amount="9000.00") for n in minutes]
    drain(make_worker(log(loud), batch_size=batch_size))

    assert list(Alert.objects.values_list("record_count", flat=True)) == [3, 3]
    alerts = Alert.objects.order_by("first_occurred_at")
    assert [alert.last_occurred_at - alert.first_occurred_at for alert in alerts] == [
        timedelta(minutes=2)
    ] * 2


def test_a_record_between_two_alerts_folds_into_the_nearer_one() -> None:
    loud = [payment(n, customer="c1", amount="9000.00") for n in (1, 15, 9, 5)]
    drain(make_worker(log(loud), batch_size=1))

    alerts = Alert.objects.order_by("id").values_list("first_occurred_at", "last_occurred_at")
    minutes = [(first.minute, last.minute) for first, last in alerts]
    assert minutes == [(1, 5), (9, 15)]


def test_a_repeat_is_decided_once_and_touches_no_state() -> None:
    worker = make_worker(log([payment(1), payment(1, amount="9999.00"), payment(1)]))
    drain(worker)

    assert Decision.objects.count() == RecordKey.objects.count() == 1
    assert EntityState.objects.get().version == 1
    assert StreamOffset.objects.get().next_offset == 3


def test_what_cannot_be_decoded_is_kept_as_it_came_with_the_path_of_the_field() -> None:
    bad = [b"{", b"\xff\xfe", payment(3, amount="-1"), payment(4, amount="NaN"), None]
    drain(make_worker(log([payment(1), *bad, payment(2)])))

    letters = list(DeadLetter.objects.order_by("offset"))
    assert [letter.reason for letter in letters] == [
        "not_json", "not_utf8", "invalid_record", "invalid_record", "empty",
    ]  # fmt: skip
    assert [bytes(letter.payload or b"") for letter in letters[:2]] == [b"{", b"\xff\xfe"]
    assert [letter.path for letter in letters[2:4]] == ["$.amount", "$.amount"]
    assert Decision.objects.count() == 2


def test_a_batch_of_a_lost_partition_writes_nothing() -> None:
    worker = make_worker(log([payment(1), payment(2, amount="9000.00")]))
    worker.run_once()
    StreamOffset.objects.update(next_offset=1)  # the new owner was faster

    with pytest.raises(StaleAssignmentError, match="no longer at the offset"):
        worker.run_once()

    for table in (Decision, RecordKey, EntityState, SecondaryState, Alert, FeedEvent):
        assert not table.objects.exists()


def test_a_state_changed_by_another_writer_makes_the_batch_redo_with_it() -> None:
    first = make_worker(log([payment(1, customer="c1")]))
    drain(first)
    second = make_worker(log([payment(2, customer="c1")], partition=1))
    second.run_once()
    second.run_once()
    third = make_worker(log([payment(1, customer="c1"), payment(3, customer="c1")]))
    drain(first)
    first.path.cache.clear()
    drain(third)

    assert EntityState.objects.get(entity_key="c1").version == 3


@pytest.mark.parametrize("batch_size", [1, 2, 7, 40])
def test_results_do_not_depend_on_where_batches_are_cut(batch_size: int) -> None:
    records = [
        payment(n, amount="9000.00" if n % 9 == 0 else f"{10 + n}.00", customer=f"c{n % 4}")
        for n in range(40)
    ]
    drain(make_worker(log(records), batch_size=batch_size))

    rows = Decision.objects.order_by("offset").values_list("record_id", "score", "features")
    assert [(i, s, bytes(f)) for i, s, f in rows] == expected_rows(records)
    assert Alert.objects.count() == 5


_expected: list[tuple[str, float, bytes]] = []


def expected_rows(records: list[dict[str, object]]) -> list[tuple[str, float, bytes]]:
    """The rows of the first cut: every other cut has to give the same."""
    if not _expected:
        rows = Decision.objects.order_by("offset").values_list("record_id", "score", "features")
        _expected.extend((i, s, bytes(f)) for i, s, f in rows)
    return _expected


def test_a_retention_gap_is_counted_once_and_reading_goes_on() -> None:
    raws = log([payment(n) for n in range(10)])
    drain(make_worker(raws[:4]))
    source = InMemorySource(raws)
    source.first = {0: 7}
    worker = Worker(StreamPath(STREAM), lambda: source)
    drain(worker)

    gap = OffsetGap.objects.get()
    assert (gap.kind, gap.from_offset, gap.to_offset, gap.lost) == ("retention", 4, 7, 3)
    assert Decision.objects.count() == 7


def test_an_end_that_was_seen_once_is_not_forgotten() -> None:
    source = InMemorySource(log([payment(n) for n in range(4)]))
    worker = Worker(StreamPath(STREAM), lambda: source)
    drain(worker)
    StreamOffset.objects.update(high_water=9)  # another worker saw it
    source.raws = log([payment(n) for n in range(6)])
    drain(worker)

    row = StreamOffset.objects.get()
    assert (row.next_offset, row.high_water) == (6, 9)


def test_a_topic_made_anew_starts_again_and_its_unread_rest_is_counted() -> None:
    import uuid

    raws = log([payment(n) for n in range(6)])
    worker = make_worker(raws[:4])
    drain(worker)
    StreamOffset.objects.update(high_water=6)  # two more were seen and not read
    fresh = InMemorySource(log([payment(n) for n in range(20, 25)]), topic_id=uuid.UUID(int=8))
    drain(Worker(StreamPath(STREAM), lambda: fresh))

    gap = OffsetGap.objects.get()
    assert (gap.kind, gap.lost) == ("recreated", 2)
    assert Decision.objects.count() == 9
