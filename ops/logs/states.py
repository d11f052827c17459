"""What is remembered of one session, trace, service or host: its newest events and its rhythm.

Packed as a MessagePack array. At most about 6 kB, so that a row of the database holds it.
"""

from __future__ import annotations

from typing import Final

import msgspec

WINDOW: Final = 64  # events of a row; the newest of an entity
KEPT_LINES: Final = 8  # newest lines kept as text
KEPT_LOUD: Final = 6  # and the first ones that were new or said "error"
KEPT_BYTES: Final = 240  # of each line


class Entity(msgspec.Struct, array_like=True, gc=False):
    """The memory of one entity. Times are ms since 1970; 0 stands for never."""

    events: list[int] = []  # template ids, 64 bits, oldest first
    judged: int = 0  # how many of them a row has told of before
    lines: dict[int, bytes] = {}  # by place in ``events``: the newest lines, cut
    loud: dict[int, bytes] = {}  # and those that were new or said "error"
    born: int = 0  # its first line
    newest: int = 0  # its newest line
    waiting: int = 0  # the first line that no row has told of
    seen: int = 0  # lines since it was born
    gap: float = 0.0  # usual time between two lines, ms
    unseen: int = 0  # of the lines waiting: templates that the stream had never seen
    errors: int = 0  # of the lines waiting: those that say error, or worse
    warnings: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entity).decode


def unpack(state: bytes | None) -> Entity:
    """Raises ``msgspec.DecodeError`` for what another extractor has packed."""
    return Entity([], 0, {}, {}) if state is None else _decode(state)


def pack(entity: Entity) -> bytes:
    return _encode(entity)
