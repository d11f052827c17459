"""A small world of devices: seeded, endless, in event-time order. Replace it by your own data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

import msgspec
import numpy as np

from lepton_apps.verticals.contract import SimulatedRecord

from .records import Measurement

TOPIC: Final = "$key.measurements.v1"
DEVICES: Final = 16
FAULT_RATE: Final = 0.01  # of measurements
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def measurements(
    seed: int, start: datetime, records_per_s: float
) -> Iterator[tuple[Measurement, bool]]:
    """Measurements, and of each whether it is of a fault.

    A device has its level and its noise, and follows the hour of the day. A fault is a value far
    off, for one measurement.
    """
    start_ms = (start - EPOCH) // timedelta(milliseconds=1)
    rng = np.random.default_rng([seed, start_ms])
    level_D = rng.uniform(20, 80, DEVICES)
    noise_D = rng.uniform(0.5, 2.0, DEVICES)
    for n in count():
        at = start + timedelta(seconds=n / records_per_s)
        device = n % DEVICES
        rhythm = 3 * math.sin((at.hour + at.minute / 60) / 24 * math.tau)
        value = float(level_D[device] + rhythm + rng.normal(0, noise_D[device]))
        is_fault = bool(rng.random() < FAULT_RATE)
        if is_fault:
            value += float(rng.choice((-1, 1)) * rng.uniform(8, 25) * noise_D[device])
        made = Measurement(f"{seed}-{start_ms}-{n}", at, f"device-{device:02}", round(value, 3))
        yield made, is_fault


def simulate(*, seed: int, start: datetime, records_per_s: float) -> Iterator[SimulatedRecord]:
    """What a producer would send; the same arguments give the same bytes."""
    for record, _ in measurements(seed, start, records_per_s):
        yield SimulatedRecord(TOPIC, record.device, msgspec.json.encode(record), record.at)
