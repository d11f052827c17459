"""Soft answers: what a teacher says of the training rows, mixed with what is known of them.

Source: Hinton, Vinyals, Dean 2015, "Distilling the knowledge in a neural network". A teacher's
doubt tells a smaller student more of a row than its label does.

Shape suffixes: N = rows, C = classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models_core.table import Rows

if TYPE_CHECKING:
    from models_core.model import Model

TEACHERS_SHARE = 0.7  # of each answer; the rest is the label's


def soft_answers(teacher: Model, train: Rows) -> NDArray[Any]:
    """The targets that a student learns; of ``next`` the tokens themselves.

    Raises:
        ValueError: the teacher takes other inputs or was asked another question.
    """
    import torch

    from models_core.outputs import outputs_of

    shapes = tuple(size.shape for size in teacher.spec.sizes.values())
    given = tuple(array.shape[1:] for array in train.arrays)
    if teacher.spec.task != train.task or shapes != given:
        raise ValueError(
            f"The teacher answers {teacher.spec.task} of {shapes}, the rows ask {train.task} of "
            f"{given}."
        )
    if train.task == "next":
        return train.target
    said = outputs_of(teacher.module, tuple(torch.from_numpy(array) for array in train.arrays))
    known = train.target
    if train.task == "binary":
        said = np.exp(-np.logaddexp(0, -said))
    elif train.task == "classes":
        odds_NC = np.exp(said - said.max(axis=1, keepdims=True))
        said = odds_NC / odds_NC.sum(axis=1, keepdims=True)
        known = np.eye(said.shape[1], dtype=np.float32)[known]
    mixed = TEACHERS_SHARE * said + (1 - TEACHERS_SHARE) * known.reshape(said.shape)
    return np.ascontiguousarray(mixed.reshape(known.shape), dtype=np.float32)
