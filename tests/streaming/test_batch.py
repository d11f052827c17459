"""From bytes to arrivals, without a database."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from lepton_apps.streaming.batch import Decoder
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
