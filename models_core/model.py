"""What ``fit`` gives: trained weights with everything an artifact must say about them.

Shape suffixes: N = rows, F = features, G = golden rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models_core.spec import Spec
from models_core.training import FitRecipe

if TYPE_CHECKING:
    from models_core.architectures.binary import BinaryModule


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the validation table during a fit."""

    step: int
    loss: float  # of the step's batch
    pr_auc: float  # of the validation table


@dataclass(frozen=True, eq=False, slots=True)
class Model:
    """Trained weights on the CPU, in evaluation mode. Calibrate it, then ``pack`` it."""

    spec: Spec
    module: BinaryModule
    recipe: FitRecipe
    reference_F: NDArray[np.float32]  # medians of the training negatives: the usual row
    golden_GF: NDArray[np.float32]  # rows whose scores prove an engine right
    data_hash: str  # of the training table
    history: tuple[Look, ...]
    seconds: float  # wall time of the fit

    def logits(self, x_NF: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(N,)`` float32 logits of raw float32 features ``(N, F)``, through torch."""
        import torch

        from models_core.loop import module_logits

        if x_NF.ndim != 2 or x_NF.shape[1] != self.spec.num_features:
            raise ValueError(f"Expected (N, {self.spec.num_features}), got {x_NF.shape}.")
        return module_logits(self.module, torch.from_numpy(np.ascontiguousarray(x_NF, np.float32)))
