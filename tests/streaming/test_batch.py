"""From bytes to arrivals, without a database."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from lepton_apps.streaming.batch import Batch, Decoder
from lepton_apps.streaming.source import ORIGIN_HEADER, Raw
from lepton_apps.verticals import registry
from tests.champions import payment
from tests.streaming.sources import log

NOW = datetime(2026, 3, 1, tzinfo=UTC)
READING = {"station": "north-1", "celsius": 1.0, "station_kind": "roof"}


@pytest.mark.parametrize(
    ("stream", "record", "field"),
    [
        ("fintech.transactions", payment(1), "occurred_at"),
        ("weather.readings", READING, "at"),
    ],
)
def test_an_absurd_time_is_refused_with_the_path_of_the_streams_own_field(
    stream: str, record: dict[str, Any], field: str
) -> None:
    raws = log(
        [{**record, field: "2026-03-02T00:00:01Z"}, {**record, field: "2026-03-02T00:00:00Z"}]
    )

    batch = Decoder(registry.stream(stream)[1], 10_000).batch(raws, uuid.UUID(int=1), NOW)

    assert [(item.reason, item.path) for item in batch.rejected] == [("absurd_time", f"$.{field}")]
    assert len(batch.arrivals) == 1


def payments_batch(raws: Sequence[Raw]) -> Batch:
    return Decoder(registry.stream("fintech.transactions")[1], 10_000).batch(
        raws, uuid.UUID(int=1), NOW
    )


def test_an_id_that_looks_like_that_of_a_tick_is_refused() -> None:
    batch = payments_batch(log([payment(1, id="tick:1"), payment(2, id="tick")]))

    assert [(item.reason, item.raw.offset) for item in batch.rejected] == [("invalid_name", 0)]
    assert [arrival.record_id for arrival in batch.arrivals] == ["tick"]


@pytest.mark.parametrize(
    "field",
    [b'"unknown": "\xff"', b'"unkn\xffown": 1', b'"attributes": {"\xff": 1}'],
    ids=["text", "name", "inside"],
)
def test_bytes_that_are_not_utf_8_are_refused_wherever_they_are(field: bytes) -> None:
    whole = json.dumps({**payment(1), "attributes": {}}).encode()
    batch = payments_batch(log([whole[:-1] + b", " + field + b"}"]))

    assert [item.reason for item in batch.rejected] == ["not_utf8"]


@pytest.mark.parametrize("value", [None, b""])
def test_an_origin_that_says_nothing_is_passed_over(value: Any) -> None:
    (raw,) = log([{**READING, "at": "2026-03-01T00:00:00Z"}])
    decoder = Decoder(registry.stream("weather.readings")[1], 10_000)
    batch = decoder.batch([raw._replace(headers=[(ORIGIN_HEADER, value)])], uuid.UUID(int=1), NOW)

    (arrival,) = batch.arrivals
    assert arrival.record_id == f"{uuid.UUID(int=1)}:0:0"
