"""PostgreSQL's binary formats of arrays and COPY, built a column at a time.

The driver dumps a list element by element in Python; on the hot path that costs more than the
model. Source of the formats: PostgreSQL documentation, "COPY", and ``array_recv``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any, ClassVar

import numpy as np
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

INT = Struct("!i").pack
HEAD = Struct("!iiiii").pack
LENGTHS = tuple(INT(n) for n in range(512))
NULL = INT(-1)
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + INT(0) + INT(0)
COPY_TAIL = b"\xff\xff"


class BinaryArray:
    """An array parameter that is in PostgreSQL's binary format already."""

    __slots__ = ("data",)
    element: ClassVar[int]
    oid: ClassVar[int]

    def __init__(self, count: int, body: bytes, has_null: bool = False) -> None:
        # An empty array has no dimension at all.
        head = (
            HEAD(1, has_null, self.element, count, 1) if count else HEAD(0, 0, self.element, 0, 0)
        )
        self.data = head + body if count else head[:12]


class TextArray(BinaryArray):
    element, oid = 25, 1009

    def __init__(self, values: Sequence[str]) -> None:
        body = b"".join([length(v) + v for v in [value.encode() for value in values]])
        super().__init__(len(values), body)


class BytesArray(BinaryArray):
    element, oid = 17, 1001

    def __init__(self, values: Sequence[bytes]) -> None:
        super().__init__(len(values), _packed(values))


class UuidArray(BinaryArray):
    """Of UUIDs as their 16 bytes."""

    element, oid = 2950, 2951

    def __init__(self, values: Sequence[bytes]) -> None:
        super().__init__(len(values), _packed(values))


class IntArray(BinaryArray):
    element, oid = 23, 1007

    def __init__(self, values: Sequence[int | None]) -> None:
        super().__init__(len(values), *_numbers(values, 4))


class BigArray(BinaryArray):
    element, oid = 20, 1016

    def __init__(self, values: Sequence[int | None]) -> None:
        super().__init__(len(values), *_numbers(values, 8))


class TimeArray(BinaryArray):
    """Of aware datetimes."""

    element, oid = 1184, 1185

    def __init__(self, values: Sequence[datetime | None]) -> None:
        times = [None if value is None else microseconds(value) for value in values]
        super().__init__(len(values), *_numbers(times, 8))


KINDS: tuple[type[BinaryArray], ...] = (
    TextArray,
    BytesArray,
    UuidArray,
    IntArray,
    BigArray,
    TimeArray,
)


def _packed(values: Sequence[bytes]) -> bytes:
    """Elements with their lengths. States of one kind are of one size: then it is one join."""
    sizes = {len(value) for value in values}
    if len(sizes) == 1:
        head = INT(sizes.pop())
        return head + head.join(values)
    return b"".join([length(value) + value for value in values])


def _numbers(values: Sequence[int | None], size: int) -> tuple[bytes, bool]:
    if any(value is None for value in values):
        body = [
            NULL if v is None else INT(size) + v.to_bytes(size, "big", signed=True) for v in values
        ]
        return b"".join(body), True
    pairs = np.empty(len(values), [("size", ">i4"), ("value", f">i{size}")])
    pairs["size"] = size
    pairs["value"] = values
    return pairs.tobytes(), False


def length(value: bytes) -> bytes:
    """The length of a field, as it stands before it."""
    size = len(value)
    return LENGTHS[size] if size < len(LENGTHS) else INT(size)


def microseconds(at: datetime) -> int:
    """A timestamptz: microseconds since 2000."""
    return (at - EPOCH) // MICROSECOND


def _dumper(kind: type[BinaryArray]) -> type[Dumper]:
    class ArrayDumper(Dumper):
        oid = kind.oid
        format = Format.BINARY

        def dump(self, obj: Any) -> bytes:
            data: bytes = obj.data
            return data

    return ArrayDumper


DUMPERS = {kind: _dumper(kind) for kind in KINDS}


class HotCursor(psycopg.Cursor[Any]):
    """A cursor that knows binary arrays, whatever connection it is on."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        super().__init__(connection)
        for kind, dumper in DUMPERS.items():
            self.adapters.register_dumper(kind, dumper)

    def hot(self, sql: str, parameters: Sequence[Any]) -> HotCursor:
        """Run a statement that comes again and again: prepared, and binary both ways."""
        self.execute(sql, parameters, prepare=True, binary=True)
        return self
