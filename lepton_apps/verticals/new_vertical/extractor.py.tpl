"""Turns measurements and the memory of their devices into features.

A row is computed from what arrived before its measurement; then the measurement is remembered.
States hold whole numbers only, so that they are the same on every machine. Suffixes: B = rows,
F = features.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lepton_apps.verticals.contract import Extraction, FeatureSchema, LabelledRecord, States

from .records import Measurement

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ONE_MS: Final = timedelta(milliseconds=1)
SLOWNESS: Final = 8  # a new value moves what is usual by one part in so many
MOST: Final = 50.0  # of the ratio below

# (name, reason code); the columns of a row, in this order.
FEATURES: Final = (
    ("value", "value"),
    ("change", "jump"),  # to the device's newest value; 0 for its first
    ("from_usual", "unusual"),  # to what is usual for the device
    ("from_usual_ratio", "unusual"),  # the same, in multiples of how much it usually varies
    ("pause_log_s", "pause"),  # log1p of seconds since the newest value
)
REASON_TEXTS: Final = {
    "value": "The value itself is rare.",
    "jump": "The value has jumped since the device's last one.",
    "unusual": "The value is far from what is usual for this device.",
    "pause": "The pause since the device's last value is unusual.",
}


class Device(NamedTuple):
    """What is remembered of a device. Values in thousandths."""

    newest_ms: int = -1  # event time, ms since 1970; -1: nothing was heard of it
    newest: int = 0
    usual: int = 0
    spread: int = 0  # how far values usually are from the usual one

    def after(self, at_ms: int, value: int) -> Device:
        """With one more value. One that comes late, older than the newest, changes nothing."""
        if at_ms < self.newest_ms:
            return self
        if self.newest_ms < 0:
            return Device(at_ms, value, value, 0)
        distance = abs(value - self.usual)
        return Device(
            at_ms,
            value,
            self.usual + (value - self.usual) // SLOWNESS,
            self.spread + (distance - self.spread) // SLOWNESS,
        )


DEVICE: Final = struct.Struct("<4q")


class MeasurementExtractor:
    """One row for each measurement."""

    _schema = FeatureSchema(
        version=1,
        names=tuple(name for name, _ in FEATURES),
        reasons=tuple(reason for _, reason in FEATURES),
        parameters={"slowness": SLOWNESS},
    )

    @property
    def schema(self) -> FeatureSchema:
        return self._schema

    def entity_keys(self, record: Measurement) -> tuple[str, tuple[str, ...]]:
        """The device, which is also the Kafka key, and nothing that devices share."""
        return record.device, ()

    def label_keys(self, record: Measurement) -> tuple[str, ...]:
        return ()

    def extract(
        self, records: Sequence[Measurement], shards: Sequence[int], states: States
    ) -> Extraction:
        """Unpack each device at its first record, change it record by record, pack all at the end."""
        devices: dict[str, Device] = {}
        x_BF = np.zeros((len(records), len(FEATURES)), np.float32)
        for row, record in enumerate(records):
            if record.device not in devices:
                packed = states.primary.get(record.device)
                devices[record.device] = Device(*DEVICE.unpack(packed)) if packed else Device()
            before = devices[record.device]
            at_ms, value = (record.at - EPOCH) // ONE_MS, round(record.value * 1000)
            x_BF[row] = _features(before, at_ms, value)
            devices[record.device] = before.after(at_ms, value)
        return Extraction(
            x_BF,
            np.arange(len(records), dtype=np.int64),
            primary={key: DEVICE.pack(*device) for key, device in devices.items()},
        )

    def on_tick(self, at: datetime, due: Sequence[str], states: States) -> Extraction:
        """The stream has no ticks."""
        return _nothing()

    def apply_labels(
        self, labelled: Sequence[LabelledRecord], shard: int, states: States
    ) -> Extraction:
        """Verdicts are kept for training; no feature is made of them."""
        return _nothing()


def _features(device: Device, at_ms: int, value: int) -> NDArray[np.float32]:
    if device.newest_ms < 0:
        return np.array([value / 1000, 0, 0, 0, 0], np.float32)
    from_usual = value - device.usual
    ratio = min(abs(from_usual) / (device.spread + 1), MOST)
    pause = np.log1p(max(0, at_ms - device.newest_ms) / 1000)
    return np.array(
        [value / 1000, (value - device.newest) / 1000, from_usual / 1000, ratio, pause],
        np.float32,
    )


def _nothing() -> Extraction:
    return Extraction(np.zeros((0, len(FEATURES)), np.float32), np.zeros(0, np.int64))
