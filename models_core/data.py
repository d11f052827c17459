"""Rows of any kind to learn from: named arrays, what is asked of them, and how they are cut.

Shape suffixes: N = rows, F = features, T = time steps or tokens, C = channels or classes,
O = values of an answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models_core.spec import TABLE_INPUT, TASKS, Input, Task
from models_core.table import Table, checked_weights

Inputs = NDArray[Any] | Mapping[str, NDArray[Any]]


class Split(NamedTuple):
    """Three parts of one data set, in the order of its rows."""

    train: Data
    validation: Data
    test: Data


@dataclass(frozen=True, eq=False, slots=True)
class Data:
    """Inputs and answers, checked once at the door.

    Args:
        inputs: one array, then named ``x``, or arrays by name, each ``(N, ...)``. Float arrays
            become float32 and must be finite; whole numbers are tokens, at least 0.
        target: ``(N,)`` of 0 and 1 (``binary``), of class numbers (``classes``), of numbers or
            ``(N, O)`` (``regression``); the tokens ``(N, T)`` for ``next``. Left out for
            ``reconstruction`` and ``next``: it is the first input.
        task: the question; left out, it follows from the target.
        weight_N: how much each row counts, at least 0; optional.
        vocabulary: of token inputs by name; left out, one more than the largest token.
        class_names: of the classes, for people.

    Raises:
        ValueError: a shape, type or value is not as above; says which and where.

    >>> data = Data(np.zeros((4, 3), np.float32), [0, 1, 2, 1])
    >>> data.task, data.outputs, len(data)
    ('classes', 3, 4)
    """

    inputs: Mapping[str, NDArray[Any]]
    target: NDArray[Any]
    task: Task
    weight_N: NDArray[np.float32] | None = None
    vocabulary: Mapping[str, int] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()

    def __init__(
        self,
        inputs: Inputs,
        target: ArrayLike | None = None,
        task: str = "",
        *,
        weight_N: ArrayLike | None = None,
        vocabulary: Mapping[str, int] | None = None,
        class_names: Sequence[str] = (),
    ) -> None:
        named = inputs if isinstance(inputs, Mapping) else {TABLE_INPUT: inputs}
        arrays = {name: _checked_input(name, value) for name, value in sorted(named.items())}
        rows = {len(array) for array in arrays.values()}
        if len(rows) != 1:
            raise ValueError(f"Inputs have different numbers of rows: {sorted(rows)}.")
        first = next(iter(arrays.values()))
        if target is None and task not in ("reconstruction", "next"):
            raise ValueError("A target is needed unless the task is reconstruction or next.")
        y = np.asarray(first if target is None else target)
        asked = task or _task_of(y)
        if asked not in TASKS:
            raise ValueError(f"task={asked!r} is none of {', '.join(TASKS)}.")
        set_ = object.__setattr__
        set_(self, "inputs", arrays)
        set_(self, "task", asked)
        set_(self, "target", _checked_target(y, asked, len(first)))
        weights = None if weight_N is None else checked_weights(weight_N, len(first))
        set_(self, "weight_N", weights)
        set_(self, "vocabulary", _vocabularies(arrays, vocabulary or {}))
        set_(self, "class_names", tuple(class_names))

    def __len__(self) -> int:
        return len(self.target)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The inputs in the order in which a module takes them."""
        return tuple(self.inputs.values())

    @property
    def sizes(self) -> dict[str, Input]:
        """What a spec says of each input."""
        return {
            name: Input(tuple(array.shape[1:]) or (1,), self.vocabulary.get(name, 0))
            for name, array in self.inputs.items()
        }

    @property
    def is_table(self) -> bool:
        """Whether there is one matrix of features and nothing else."""
        return list(self.inputs) == [TABLE_INPUT] and self.inputs[TABLE_INPUT].ndim == 2

    @property
    def outputs(self) -> int:
        """Numbers of an answer, as a spec counts them."""
        if self.task == "classes":
            return max(int(self.target.max()) + 1, len(self.class_names), 2)
        if self.task == "next":
            return max(self.vocabulary.values())
        return 1 if self.task == "binary" else int(np.prod(self.target.shape[1:], dtype=int))

    @property
    def hash(self) -> str:
        """64 hex digits over names, shapes, types and values: which data made a model."""
        digest = hashlib.sha256(self.task.encode())
        for name, array in (*self.inputs.items(), ("", self.target), ("", self.weight_N)):
            if array is None:
                digest.update(b"|")
                continue
            digest.update(f"{name}{array.shape}{array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def rows(self, index: slice | NDArray[np.int64]) -> Data:
        """Some of the rows, as data of the same sizes."""
        return Data(
            {name: array[index] for name, array in self.inputs.items()},
            self.target[index],
            self.task,
            weight_N=None if self.weight_N is None else self.weight_N[index],
            vocabulary=self.vocabulary,
            class_names=self.class_names or _numbered(self),
        )

    def split(
        self, train: float = 0.7, validation: float = 0.15, *, shuffle_seed: int | None = None
    ) -> Split:
        """Cut into three parts in the order of rows, which should be that of time.

        Give a ``shuffle_seed`` only where rows have no time: a random cut of a series or of a
        customer's payments lets the future leak into the past.
        """
        if not (0 < train < 1 and 0 < validation < 1 and train + validation < 1):
            raise ValueError(f"{train=} and {validation=} leave nothing to test on.")
        order_N = np.arange(len(self))
        if shuffle_seed is not None:
            np.random.default_rng(shuffle_seed).shuffle(order_N)
        first, second = int(len(self) * train), int(len(self) * (train + validation))
        if not 0 < first < second < len(self):
            raise ValueError(f"{len(self)} rows are too few to be cut in three.")
        parts = np.split(order_N, [first, second])
        return Split(*(self.rows(part) for part in parts))

    def as_table(self) -> Table:
        """The same rows as a ``Table``, for what asks yes/no questions of tables."""
        if not (self.is_table and self.task == "binary"):
            raise ValueError(f"Inputs {', '.join(self.inputs)} with task {self.task} are no table.")
        return Table(self.inputs[TABLE_INPUT], self.target, self.weight_N)


def _numbered(data: Data) -> tuple[str, ...]:
    """A part may lack a class; it is still a question with as many answers."""
    return tuple(str(n) for n in range(data.outputs)) if data.task == "classes" else ()


def _task_of(y: NDArray[Any]) -> str:
    if y.dtype == bool or (y.ndim == 1 and y.dtype.kind in "iu" and set(np.unique(y)) <= {0, 1}):
        return "binary"
    return "classes" if y.dtype.kind in "iu" and y.ndim == 1 else "regression"


def _checked_input(name: str, value: object) -> NDArray[Any]:
    array = np.asarray(value)
    if array.ndim < 1 or not array.size:
        raise ValueError(f"Input {name!r} is empty: shape {array.shape}.")
    if array.dtype.kind in "iu":
        if array.min() < 0:
            raise ValueError(f"Input {name!r} holds {array.min()}. Tokens are at least 0.")
        return np.ascontiguousarray(array, dtype=np.int64)
    if array.dtype.kind not in "fb":
        raise ValueError(f"Input {name!r} is of type {array.dtype}, neither floats nor tokens.")
    floats = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(floats).all():
        place = tuple(int(n) for n in np.argwhere(~np.isfinite(floats))[0])
        raise ValueError(f"Input {name!r} at {place} is {floats[place]}. Inputs are finite.")
    return floats.reshape(len(floats), -1) if floats.ndim == 1 else floats


def _checked_target(y: NDArray[Any], task: str, num_rows: int) -> NDArray[Any]:
    if len(y) != num_rows:
        raise ValueError(f"The target has {len(y)} rows, the inputs have {num_rows}.")
    if task in ("classes", "next"):
        if y.dtype.kind not in "iu" or y.min() < 0:
            raise ValueError(f"Targets of {task} are whole numbers of at least 0, not {y.dtype}.")
        if y.ndim != (1 if task == "classes" else 2):
            raise ValueError(f"The target of {task} has the shape {y.shape}.")
        return np.ascontiguousarray(y, dtype=np.int64)
    floats = np.ascontiguousarray(y, dtype=np.float32)
    if not np.isfinite(floats).all():
        raise ValueError(
            f"The target at row {int(np.argwhere(~np.isfinite(floats))[0][0])} is not finite."
        )
    if task == "binary":
        if floats.ndim != 1 or not np.isin(floats, (0, 1)).all():
            raise ValueError("Answers of a binary question are 0 or 1, one for each row.")
        return floats
    return floats.reshape(num_rows, -1) if floats.ndim == 1 else floats


def _vocabularies(arrays: Mapping[str, NDArray[Any]], given: Mapping[str, int]) -> dict[str, int]:
    found = {}
    for name, array in arrays.items():
        if array.dtype.kind not in "iu":
            continue
        found[name] = given.get(name, int(array.max()) + 1)
        if int(array.max()) >= found[name]:
            raise ValueError(
                f"Input {name!r} holds the token {array.max()}, outside its vocabulary of "
                f"{found[name]}."
            )
    unknown = sorted(set(given) - set(found))
    if unknown:
        raise ValueError(f"A vocabulary is given for {', '.join(unknown)}, no input of tokens.")
    return found
