"""Rows that say something of a trained model: the usual one, and those that pin it down.

Shape suffixes: N = rows, F = features, G = golden rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models_core.architectures.network import Network
from models_core.outputs import outputs_of
from models_core.table import Rows, Table

GOLDEN_ROWS = 16


def reference_of(module: Network, train: Rows) -> NDArray[np.float32]:
    """The usual row of a table: medians of the negatives, or the negative that looks most usual.

    Empty for anything but a table with a yes/no question.
    """
    if not isinstance(train, Table):
        return np.zeros(0, dtype=np.float32)
    negative_NF = train.x_NF[train.y_N == 0]
    if not module.columns_are_codes:
        median_F: NDArray[np.float32] = np.median(negative_NF, axis=0).astype(np.float32)
        return median_F
    some_NF = np.ascontiguousarray(negative_NF[:: max(1, len(negative_NF) // 4096)])
    z_N = outputs_of(module, (torch.from_numpy(some_NF),))
    usual_F: NDArray[np.float32] = some_NF[int(np.argmin(z_N))]
    return usual_F


def golden_of(validation: Rows) -> tuple[NDArray[Any], ...]:
    """About 16 rows, evenly over the validation rows; of a yes/no question, of either answer."""
    rows_N = np.arange(len(validation))
    groups = [rows_N]
    if validation.task == "binary":
        groups = [rows_N[validation.target == answer] for answer in (1, 0)]
    each = GOLDEN_ROWS // len(groups)
    chosen = [
        group[np.linspace(0, len(group) - 1, min(each, len(group))).astype(int)] for group in groups
    ]
    return tuple(array[np.concatenate(chosen)] for array in validation.arrays)
