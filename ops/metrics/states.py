"""What is remembered of one entity's metrics: how each usually is, and the newest vectors.

Packed as a MessagePack array; numbers as little-endian arrays, one row for each metric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

HOURS: Final = 24
KEPT: Final = 30  # newest vectors, for the chart on an alert

# Of each metric. Means and variances are of the values that vectors are made of.
METRIC: Final = np.dtype(
    [
        ("sum", "<f8"),  # of this minute's samples
        ("count", "<f8"),
        ("last", "<f8"),  # of a counter
        ("last_at", "<i8"),  # ms since 1970, 0: none yet
        ("known", "<f8"),  # vectors that held it
        ("mean", "<f8"),
        ("variance", "<f8"),
        ("smooth", "<f4"),  # of standardised values, weighted by age
        ("hour_known", "<u2", (HOURS,)),
        ("hour_mean", "<f4", (HOURS,)),
        ("kept", "<f4", (KEPT,)),  # newest last; NaN: a gap
    ]
)


class Packed(msgspec.Struct, array_like=True, gc=False):
    names: list[str]
    rows: bytes
    minute: int  # ms since 1970; the minute that is being put together
    newest: int
    vectors: int
    resets: int
    late: int


@dataclass(slots=True)
class Entity:
    """The memory of one entity. Times are ms since 1970."""

    place: dict[str, int]  # metric name -> row
    rows: NDArray[Any]
    minute: int = 0  # the minute that is being put together; 0: none
    newest: int = 0  # time of the newest sample
    vectors: int = 0  # put together so far
    resets: int = 0  # of counters, in this minute
    late: int = 0  # records that came too late for their minute since the last vector

    def row(self, name: str, most: int) -> int | None:
        """Where a metric is kept; None: there is no room for another one."""
        place = self.place.get(name)
        if place is None and len(self.place) < most:
            place = self.place[name] = len(self.place)
            if place == len(self.rows):
                grown = np.zeros(max(8, 2 * len(self.rows)), METRIC)
                grown[: len(self.rows)] = self.rows
                grown["kept"][len(self.rows) :] = np.nan
                self.rows = grown
        return place

    @property
    def known(self) -> NDArray[Any]:
        """The rows of the metrics there are."""
        return self.rows[: len(self.place)]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Packed).decode


def unpack(state: bytes | None) -> Entity:
    """Raises ``msgspec.DecodeError`` for what another extractor has packed."""
    if state is None:
        return Entity({}, np.zeros(0, METRIC))
    packed = _decode(state)
    rows = np.frombuffer(bytearray(packed.rows), METRIC)
    place = {name: row for row, name in enumerate(packed.names)}
    return Entity(
        place, rows, packed.minute, packed.newest, packed.vectors, packed.resets, packed.late
    )


def pack(entity: Entity) -> bytes:
    return _encode(
        Packed(
            list(entity.place),
            entity.known.tobytes(),
            entity.minute,
            entity.newest,
            entity.vectors,
            entity.resets,
            entity.late,
        )
    )
