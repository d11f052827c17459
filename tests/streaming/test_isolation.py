"""One record that a vertical, the model or the database cannot take, and the records beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from lepton_apps.alerts.models import Label
from lepton_apps.common.errors import LeptonError, RecordRefusedError, UnavailableError
from lepton_apps.streaming import services
from lepton_apps.streaming.labels import LabelWorker
from lepton_apps.streaming.models import DeadLetter, Decision, RecordKey, StreamHalt, StreamOffset
from lepton_apps.streaming.path import StreamPath, Taken
from lepton_apps.streaming.store import ConflictError
from tests.champions import PAYMENTS, payment
from tests.streaming.sources import InMemorySource, log
from tests.streaming.test_worker import STREAM, drain, make_worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("champion")]

ERRORS: list[Exception] = [
    ValueError("of the extractor"),
    RecordRefusedError("refused too late"),
    UnavailableError("a service of the vertical's own"),
]


@pytest.fixture
def fail_on_c3(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Makes the payments' extractor raise whenever a payment of customer c3 is among its records."""
    whole = type(PAYMENTS.extractor).extract

    def prepare(error: Exception) -> None:
        def extract(self: Any, records: Sequence[Any], *rest: Any) -> Any:
            if any(record.customer == "c3" for record in records):
                raise error
            return whole(self, records, *rest)

        monkeypatch.setattr(type(PAYMENTS.extractor), "extract", extract)

    return prepare


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_record_on_which_a_vertical_fails_is_set_aside_by_itself(
    error: Exception, fail_on_c3: Callable[[Exception], None]
) -> None:
    fail_on_c3(error)
    drain(make_worker(log([payment(n) for n in range(1, 6)])))

    letter = DeadLetter.objects.get()
    assert (letter.offset, letter.reason) == (2, "processing_failed")
    assert json.loads(bytes(letter.payload or b""))["customer"] == "c3"
    assert sorted(Decision.objects.values_list("record_id", flat=True)) == ["p1", "p2", "p4", "p5"]
    assert StreamOffset.objects.get().next_offset == 5


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("ask", [services.decide, services.score])
def test_a_request_with_such_a_record_names_it_and_decides_nothing(
    ask: Callable[[str, list[bytes]], Any],
    error: Exception,
    fail_on_c3: Callable[[Exception], None],
) -> None:
    fail_on_c3(error)
    with pytest.raises(LeptonError) as refused:
        ask(STREAM, [json.dumps(payment(n)).encode() for n in range(1, 6)])

    assert (refused.value.status, refused.value.code) == (422, "record_not_processed")
    assert refused.value.data == {"record_id": "p3", "index": 2}
    assert not RecordKey.objects.exists()


def test_a_batch_that_others_are_always_faster_on_goes_through_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = StreamPath.take

    def take(self: StreamPath, raw: Any, batch: Any, *rest: Any, **options: Any) -> Taken:
        if len(batch.arrivals) > 2:
            raise ConflictError("busy")
        return whole(self, raw, batch, *rest, **options)

    monkeypatch.setattr(StreamPath, "take", take)
    drain(make_worker(log([payment(n) for n in range(9)])))

    assert Decision.objects.count() == 9
    assert StreamOffset.objects.get().next_offset == 9


def label(number: int, **changes: object) -> dict[str, object]:
    made: dict[str, object] = {"record_id": f"p{number}", "verdict": "fraud", "kind": "chargeback"}
    return {**made, "labelled_at": datetime(2026, 3, 2, tzinfo=UTC).isoformat(), **changes}


def label_worker(messages: Sequence[Any]) -> LabelWorker:
    raws = log(messages)
    return LabelWorker("fintech.labels", lambda: InMemorySource(raws))


def test_a_label_that_the_database_refuses_is_set_aside_by_itself() -> None:
    worker = label_worker([label(n) for n in range(5)])
    # Its vertical names a kind that no column can hold.
    kinds = replace(worker.labels, kind=lambda record: "\0" if record.record_id == "p3" else "x")
    worker.labels = kinds
    drain(worker)

    letter = DeadLetter.objects.get()
    assert (letter.stream, letter.offset, letter.reason) == (
        "fintech.labels",
        3,
        "processing_failed",
    )
    assert sorted(Label.objects.values_list("record_id", flat=True)) == ["p0", "p1", "p2", "p4"]


def test_labels_that_nearly_all_are_wrong_halt_their_stream_until_it_is_resumed(
    settings: Any,
) -> None:
    settings.DEAD_LETTER_WINDOW, settings.DEAD_LETTER_RATIO = 10, 0.5
    wrong = [label(n, verdict="perhaps") for n in range(20)]
    worker = label_worker(wrong)
    worker.run_once()
    worker.run_once()

    assert "10 records cannot be used" in StreamHalt.objects.get(resumed_at=None).reason
    assert not DeadLetter.objects.exists()
    assert worker.run_once() == 0
    assert worker.heartbeat.condition == "halted"
    services.resume("fintech.labels", None)
    settings.DEAD_LETTER_WINDOW = 100
    drain(label_worker(wrong))
    assert DeadLetter.objects.count() == 20
