"""What this vertical promises beside the contract that tests/contracts holds it to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from lepton_apps.verticals.contract import States

from .extractor import DEVICE, Device, MeasurementExtractor
from .recipe import train
from .records import Measurement

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
COLUMN = {name: n for n, name in enumerate(MeasurementExtractor().schema.names)}


def rows_of(*measured: tuple[int, float]) -> NDArray[np.float32]:
    """Rows of one device: seconds after noon, value."""
    records = [
        Measurement(f"m-{n}", NOON + timedelta(seconds=at), "pump-1", value)
        for n, (at, value) in enumerate(measured)
    ]
    extracted = MeasurementExtractor().extract(records, [0] * len(records), States({}, {}, {}))
    return extracted.x_BF


def test_a_value_is_compared_with_what_came_before_it() -> None:
    x_BF = rows_of((0, 10), (10, 10), (20, 50))

    assert x_BF[:, COLUMN["change"]].tolist() == [0, 0, 40]
    assert x_BF[:, COLUMN["from_usual"]].tolist() == [0, 0, 40]


def test_a_late_value_changes_no_memory() -> None:
    device = Device().after(1_000, 10).after(2_000, 12)

    assert device.after(1_500, 99) == device
    assert Device(*DEVICE.unpack(DEVICE.pack(*device))) == device


def test_the_starter_model_beats_the_simple_method() -> None:
    trained = train(lambda stage, done, total: None)

    assert trained.metrics["pr_auc"] > trained.baseline["jump"]["pr_auc"]
