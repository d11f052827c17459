"""Windows that went wrong on purpose: what a model learns strangeness from, without any labels.

Each way is one in which real sessions and hosts go wrong: a step is missing, comes twice or in the
wrong order, the story breaks off, unknown lines appear, errors pile up, an entity speaks far faster
or slower than it does, or falls silent. Suffixes: N = rows, F = features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ops.logs.extractor import CODES, NAMES
from ops.logs.states import WINDOW

Random = np.random.Generator
Row = NDArray[np.float32]

JUDGED: Final = NAMES.index("judged")
NEW: Final = NAMES.index("new_templates")
ERRORS: Final = NAMES.index("errors")
SPEED: Final = NAMES.index("speed")
SILENCE: Final = NAMES.index("silence")


def corrupted(x_NF: NDArray[np.float32], num: int, seed: int) -> NDArray[np.float32]:
    """``(num, F)`` rows made wrong, from rows drawn of ``x_NF``."""
    random = np.random.default_rng(seed)
    rare = _rare_codes(x_NF)
    made = np.empty((num, x_NF.shape[1]), np.float32)
    for row in range(num):
        way = WAYS[int(random.integers(len(WAYS)))]
        made[row] = way(x_NF[int(random.integers(len(x_NF)))].copy(), random, rare)
    return made


def _rare_codes(x_NF: NDArray[np.float32]) -> NDArray[np.float32]:
    """Codes of the rarer half of the events."""
    codes, counts = np.unique(x_NF[:, :WINDOW], return_counts=True)
    codes, counts = codes[codes > 0], counts[codes > 0]
    rare: NDArray[np.float32] = codes[np.argsort(counts)][: max(1, len(codes) // 2)]
    return rare


def _events(row: Row) -> tuple[list[float], int]:
    codes = row[:WINDOW]
    return codes[codes > 0].tolist(), int(row[JUDGED])


def _with_events(row: Row, events: list[float], judged: int) -> Row:
    kept = events[:WINDOW]
    row[:WINDOW] = 0
    row[: len(kept)] = kept
    row[JUDGED] = min(judged, max(len(kept) - 1, 0))
    return row


def _missing(row: Row, random: Random, rare: Any) -> Row:
    events, judged = _events(row)
    for _ in range(int(random.integers(1, 4))):
        if len(events) > 2:
            del events[int(random.integers(len(events)))]
    return _with_events(row, events, judged)


def _broken_off(row: Row, random: Random, rare: Any) -> Row:
    events, judged = _events(row)
    return _with_events(row, events[: max(1, int(len(events) * random.uniform(0.3, 0.8)))], judged)


def _repeated(row: Row, random: Random, rare: Any) -> Row:
    events, judged = _events(row)
    place = int(random.integers(min(judged, len(events) - 1), len(events)))
    events[place:place] = [events[place]] * int(random.integers(2, 20))
    return _with_events(row, events, judged)


def _swapped(row: Row, random: Random, rare: Any) -> Row:
    events, judged = _events(row)
    first = int(random.integers(0, max(1, len(events) - 3)))
    part = events[first : first + int(random.integers(4, 12))]
    random.shuffle(part)
    events[first : first + len(part)] = part
    return _with_events(row, events, judged)


def _unknown(row: Row, random: Random, rare: Any) -> Row:
    events, judged = _events(row)
    num = int(random.integers(1, 6))
    for _ in range(num):
        place = int(random.integers(min(judged, len(events)), len(events) + 1))
        events.insert(place, float(random.integers(1, CODES + 1)))
    row[NEW] = np.log1p(random.integers(0, num + 1))
    return _with_events(row, events, judged)


def _foreign(row: Row, random: Random, rare: Any) -> Row:
    events, judged = _events(row)
    code = float(rare[int(random.integers(len(rare)))])
    for _ in range(int(random.integers(1, 8))):
        events.insert(int(random.integers(min(judged, len(events)), len(events) + 1)), code)
    return _with_events(row, events, judged)


def _errors(row: Row, random: Random, rare: Any) -> Row:
    row = _foreign(row, random, rare)
    row[ERRORS] += np.log1p(random.integers(1, 20))
    return row


def _speed(row: Row, random: Random, rare: Any) -> Row:
    row[SPEED] = random.choice([-1, 1]) * random.uniform(3.0, 7.0)
    return row


def _silent(row: Row, random: Random, rare: Any) -> Row:
    row[:] = 0
    row[SILENCE] = random.uniform(3.6, 8.0)
    return row


WAYS: Final[tuple[Callable[[Row, Random, Any], Row], ...]] = (
    _missing,
    _broken_off,
    _repeated,
    _swapped,
    _unknown,
    _foreign,
    _errors,
    _speed,
    _silent,
)
