"""Payloads that every part of the host is tried out with."""

from __future__ import annotations

from typing import Final

MEASUREMENTS: Final[tuple[bytes, ...]] = (
    b'{"id": "m-1", "at": "2026-03-01T10:00:00Z", "device": "pump-1", "value": 41.5}',
    # A whole number, an offset, a field that we do not know.
    b'{"id": "m-2", "at": "2026-03-01T11:00:20+01:00", "device": "pump-2", "value": 12, "room": 7}',
    # The same device again, far off; fractions of a second.
    b'{"id": "m-3", "at": "2026-03-01T10:00:40.5Z", "device": "pump-1", "value": -73.25}',
)
