"""How far somebody has followed the feed of a vertical: ``<epoch>:<number>``."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

NIL = UUID(int=0)
MAX_NUMBER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Cursor:
    """Everything up to and including ``number`` has been seen. A restore starts a new epoch."""

    epoch: UUID
    number: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.number}"


# Of a vertical that has never had an event. Whoever resumes from it gets them all.
NOTHING_YET = Cursor(NIL, 0)


def parse(text: str) -> Cursor:
    """Raises ValueError."""
    epoch, separator, number = text.partition(":")
    # int() and UUID() would take blanks, signs, braces and foreign digits.
    if not separator or len(epoch) != 36 or not (number.isascii() and number.isdigit()):
        raise ValueError(f"{text[:80]!r} is not <epoch>:<number>.")
    cursor = Cursor(UUID(epoch), int(number[:20]))
    if cursor.number > MAX_NUMBER:
        raise ValueError(f"{text[:80]!r} has a number that is too large.")
    return cursor
