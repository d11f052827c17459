"""Vectors that went wrong on purpose: what a model learns strangeness from, without any labels.

Some metrics jump, drift together, come from another time of the day than the rest, or everything
does. Suffixes: N = rows, F = features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ops.metrics.extractor import NAMES, PLACES

Random = np.random.Generator
Row = NDArray[np.float32]

MISSING: Final = NAMES.index("missing")
RESETS: Final = NAMES.index("resets")
HOUR_MOST: Final = NAMES.index("hour_most")
HOUR_MEAN: Final = NAMES.index("hour_mean")
SILENCE: Final = NAMES.index("silence")


def corrupted(x_NF: NDArray[np.float32], num: int, seed: int) -> NDArray[np.float32]:
    """``(num, F)`` rows made wrong, from rows drawn of ``x_NF``."""
    random = np.random.default_rng(seed)
    used = np.flatnonzero((x_NF[:, :PLACES] != 0).mean(axis=0) > 0.01)
    used = used if len(used) else np.arange(PLACES)
    made = np.empty((num, x_NF.shape[1]), np.float32)
    for place in range(num):
        row = x_NF[int(random.integers(len(x_NF)))].copy()
        other = x_NF[int(random.integers(len(x_NF)))]
        made[place] = WAYS[int(random.integers(len(WAYS)))](row, other, used, random)
    return made


def _some(used: NDArray[np.int64], random: Random) -> NDArray[np.int64]:
    num = max(1, round(len(used) * float(random.uniform(0.05, 0.7))))
    chosen: NDArray[np.int64] = random.choice(used, num, replace=False)
    return chosen


def _from_hour(row: Row, by: float) -> None:
    """A jump shows against the hour as well."""
    row[HOUR_MOST] = max(row[HOUR_MOST], by)
    row[HOUR_MEAN] = max(row[HOUR_MEAN], by * 0.7)


def _jump(row: Row, other: Row, used: NDArray[np.int64], random: Random) -> Row:
    by = float(random.choice([-1, 1]) * random.uniform(2.5, 12.0))
    row[_some(used, random)] += by
    _from_hour(row, abs(by))
    return row


def _drift(row: Row, other: Row, used: NDArray[np.int64], random: Random) -> Row:
    chosen = _some(used, random)
    by = random.uniform(-5.0, 5.0, len(chosen)).astype(np.float32)
    row[chosen] += by
    _from_hour(row, float(np.abs(by).max()))
    return row


def _apart(row: Row, other: Row, used: NDArray[np.int64], random: Random) -> Row:
    """Some metrics are those of another time, one of them further out."""
    chosen = _some(used, random)
    row[chosen] = other[chosen] + random.choice([-1, 1]) * random.uniform(1.0, 4.0)
    return row


def _missing(row: Row, other: Row, used: NDArray[np.int64], random: Random) -> Row:
    share = float(random.uniform(0.15, 1.0))
    row[random.choice(used, max(1, int(len(used) * share)), replace=False)] = 0
    row[MISSING] = share
    return row


def _restarted(row: Row, other: Row, used: NDArray[np.int64], random: Random) -> Row:
    row = _jump(row, other, used, random)
    row[RESETS] = np.log1p(random.integers(1, 5))
    return row


def _silent(row: Row, other: Row, used: NDArray[np.int64], random: Random) -> Row:
    row[:] = 0
    row[SILENCE] = np.log1p(random.uniform(4, 60))
    return row


WAYS: Final[tuple[Callable[[Row, Row, NDArray[np.int64], Random], Row], ...]] = (
    _jump,
    _jump,
    _drift,
    _apart,
    _missing,
    _restarted,
    _silent,
)
