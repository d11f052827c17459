"""Rows to learn from: a feature matrix, yes/no answers and, if wished, weights.

Shape suffixes: N = rows, F = features.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Rows(Protocol):
    """What the training loop asks of a table, or of data of any kind."""

    def __len__(self) -> int: ...

    @property
    def task(self) -> str: ...

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The inputs, in the order in which a module takes them."""
        ...

    @property
    def target(self) -> NDArray[Any]: ...

    @property
    def weight_N(self) -> NDArray[np.float32] | None: ...  # noqa: N802 - a shape suffix

    @property
    def hash(self) -> str: ...


@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """Labelled rows, checked once at the door.

    Args:
        x_NF: float32, raw features, finite.
        y_N: 0 or 1 (or booleans), one for each row; kept as float32.
        weight_N: optional, how much a row counts, finite, >= 0 and not all 0. Undersampled
            negatives carry the inverse of their sampling rate here.

    Raises:
        ValueError: a shape, type or value is not as above; says which and where.

    >>> Table(np.zeros((2, 3), np.float32), np.array([0, 1])).num_features
    3
    """

    x_NF: NDArray[np.float32]
    y_N: NDArray[np.float32]
    weight_N: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        x_NF = self.x_NF
        if not isinstance(x_NF, np.ndarray) or x_NF.ndim != 2 or x_NF.dtype != np.float32:
            raise ValueError(f"x_NF must be a float32 (N, F) array, not {_describe(x_NF)}.")
        if 0 in x_NF.shape:
            raise ValueError(f"x_NF has no rows or no columns: {x_NF.shape}.")
        if not np.isfinite(x_NF).all():
            row, column = np.argwhere(~np.isfinite(x_NF))[0]
            raise ValueError(f"x_NF[{row}, {column}] is {x_NF[row, column]}. Features are finite.")
        y_N = np.asarray(self.y_N)
        if y_N.shape != (len(x_NF),):
            raise ValueError(f"y_N has shape {y_N.shape}, x_NF has {len(x_NF)} rows.")
        if not np.isin(y_N, (0, 1)).all():
            raise ValueError(f"y_N holds {y_N[~np.isin(y_N, (0, 1))][0]}. Answers are 0 or 1.")
        object.__setattr__(self, "x_NF", np.ascontiguousarray(x_NF))
        object.__setattr__(self, "y_N", y_N.astype(np.float32))
        if self.weight_N is not None:
            object.__setattr__(self, "weight_N", checked_weights(self.weight_N, len(x_NF)))

    def __len__(self) -> int:
        return len(self.x_NF)

    @property
    def task(self) -> str:
        """Always a yes/no question."""
        return "binary"

    @property
    def arrays(self) -> tuple[NDArray[np.float32]]:
        return (self.x_NF,)

    @property
    def target(self) -> NDArray[np.float32]:
        return self.y_N

    @property
    def num_features(self) -> int:
        return int(self.x_NF.shape[1])

    @property
    def num_positives(self) -> int:
        return int(self.y_N.sum())

    @property
    def hash(self) -> str:
        """64 hex digits over shape, features, answers and weights: which data made a model."""
        digest = hashlib.sha256(repr(self.x_NF.shape).encode())
        for array in (self.x_NF, self.y_N, self.weight_N):
            digest.update(b"|" if array is None else array.tobytes())
        return digest.hexdigest()

    def require_both_answers(self, name: str) -> None:
        """Raise ``ValueError`` unless there is a positive and a negative to tell apart."""
        if not 0 < self.num_positives < len(self):
            raise ValueError(
                f"The {name} table has {self.num_positives} positives in {len(self)} rows. "
                "It needs at least one of each answer."
            )


def checked_weights(weight_N: ArrayLike, num_rows: int) -> NDArray[np.float32]:
    """Weights as float32, one for each row, or a ``ValueError`` that says what is wrong."""
    checked_N = np.asarray(weight_N, dtype=np.float32)
    if checked_N.shape != (num_rows,):
        raise ValueError(f"weight_N has shape {checked_N.shape}, x_NF has {num_rows} rows.")
    if not np.isfinite(checked_N).all() or (checked_N < 0).any() or not checked_N.any():
        raise ValueError("weight_N must be finite, at least 0, and not 0 everywhere.")
    return checked_N


def _describe(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    return type(value).__name__
