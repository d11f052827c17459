"""Rows of a replay beside what was decided on them.

Shape suffixes: B = rows, F = features.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray


class Made(NamedTuple):
    """The decision that was made on a record."""

    decided_at: datetime
    model_version: int
    score: float
    outcome: str
    alert_id: int | None


@dataclass(slots=True)
class Replayed:
    """What is scored anew, in the order in which it arrived."""

    keys: list[UUID]
    record_ids: list[str]
    entity_keys: list[str]
    occurred_at: list[datetime]
    payloads: list[bytes | None]  # None: a tick made the row, or nobody asks for it
    x_BF: NDArray[np.float32]
    made: list[Made | None]  # None: nothing was decided on it

    def __len__(self) -> int:
        return len(self.keys)
