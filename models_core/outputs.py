"""Raw answers of a module for many rows, in parts that bound the memory. Imports torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

ROWS = 4096  # at a time, of a table
NUMBERS = 2**22  # at a time, of larger inputs


def outputs_of(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    through: Callable[..., Tensor] | None = None,
) -> NDArray[np.float32]:
    """``(N, ...)`` float32 answers in evaluation mode; the module stays in it.

    ``through``: what to call instead of the module, where something wraps it.
    """
    module.eval()
    width = sum(array[0].numel() for array in inputs)
    rows = max(1, min(ROWS, NUMBERS // max(width, 1)))
    # What wraps a module may keep tensors for the next step, which inference mode would spoil.
    with torch.inference_mode() if through is None else torch.no_grad():
        split: list[Any] = [torch.split(array, rows) for array in inputs]
        parts = [(through or module)(*part).float().cpu() for part in zip(*split, strict=True)]
    answers: NDArray[np.float32] = torch.cat(parts).numpy()
    return answers
