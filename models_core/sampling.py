"""Which rows a step learns from: a function of seed and step alone, so that a run can go on anywhere.

Shape suffixes: N = rows, B = rows of a batch.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models_core.table import Rows
from models_core.training import FitRecipe


class Sampler:
    """Row numbers by step. Each epoch has an order of its own, by the seed."""

    def __init__(self, rows: Rows, recipe: FitRecipe) -> None:
        self._num_rows = len(rows)
        self._recipe = recipe
        self.size = min(recipe.batch_size, self._num_rows)
        self._steps_of_epoch = self._num_rows // self.size  # a short last batch would be noisy
        self._epoch = -1
        self._order_N = torch.empty(0, dtype=torch.long)
        self._chance_N: Tensor | None = None
        if recipe.sampling == "balanced":
            self._chance_N = torch.from_numpy(_balance(rows).astype(np.float64))

    def rows_of(self, step: int) -> Tensor:
        """``(B,)`` row numbers of a step, which are counted from 1."""
        if self._chance_N is not None:
            generator = torch.Generator().manual_seed(seed_of(self._recipe.seed, step))
            return torch.multinomial(self._chance_N, self.size, True, generator=generator)
        epoch, place = divmod(step - 1, self._steps_of_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(seed_of(self._recipe.seed, -1 - epoch))
            self._order_N = torch.randperm(self._num_rows, generator=generator)
            self._epoch = epoch
        return self._order_N[place * self.size : (place + 1) * self.size]


def seed_of(seed: int, step: int) -> int:
    """A 63-bit seed of its own for each step of a run (the mixing of SplitMix64)."""
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 30)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (mixed ^ (mixed >> 31)) >> 1


def row_weights(rows: Rows, recipe: FitRecipe, even: bool = True) -> NDArray[np.float32]:
    """What each row counts, with a mean of 1, so that the learning rate keeps its meaning.

    ``even=False``: as they are. The mean is of all rows, which one row of a private fit may not
    feel.
    """
    weight_N = np.ones(len(rows))
    if rows.task == "binary":
        weight_N = np.where(rows.target == 1, recipe.positive_weight, 1.0)
    if recipe.class_weight == "balanced":
        weight_N = weight_N * _balance(rows)
    if rows.weight_N is not None:
        weight_N = weight_N * rows.weight_N
    mean = weight_N.mean() if even else 1.0
    scaled_N: NDArray[np.float32] = (weight_N / mean).astype(np.float32)
    return scaled_N


def _balance(rows: Rows) -> NDArray[np.float64]:
    """The inverse of how often each row's answer occurs."""
    if rows.task not in ("binary", "classes"):
        raise ValueError(f"A {rows.task} task has no classes to balance.")
    _, answer_N, count_C = np.unique(rows.target, return_inverse=True, return_counts=True)
    balance_N: NDArray[np.float64] = len(rows) / (len(count_C) * count_C[answer_N])
    return balance_N
