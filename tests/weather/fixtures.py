"""Payloads that every part of the host is tried out with."""

from __future__ import annotations

from typing import Final

READINGS: Final[tuple[bytes, ...]] = (
    b'{"station": "north-1", "at": "2024-05-01T09:30:00Z", "celsius": 11.5,'
    b' "station_kind": "roof"}',
    # A whole number, an offset, a field that we do not know.
    b'{"station": "north-2", "at": "2024-05-01T11:30:20+02:00", "celsius": 12,'
    b' "station_kind": "mast", "battery": 0.7}',
    # Two minutes on, so a tick lies between; another region.
    b'{"station": "south-1", "at": "2024-05-01T09:32:30.5Z", "celsius": -3.25,'
    b' "station_kind": "roof"}',
    # By now both stations of the north have been silent for three minutes; one comes back.
    b'{"station": "north-1", "at": "2024-05-01T09:35:00Z", "celsius": 41.0,'
    b' "station_kind": "roof"}',
)

LABELS: Final[tuple[bytes, ...]] = (
    b'{"record_id": "0b0c8d52-5ad5-4f5e-9d5e-3f0d52a6f6a1:0:17", "broken": true,'
    b' "labelled_at": "2024-05-02T08:00:00Z"}',
    b'{"record_id": "0b0c8d52-5ad5-4f5e-9d5e-3f0d52a6f6a1:0:18", "broken": false,'
    b' "labelled_at": "2024-05-02T10:00:00+02:00"}',
)
