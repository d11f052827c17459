"""Raw inputs of any shape to about zero mean and unit variance, learned from training rows.

Shape suffixes: N = rows, C = channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_FEW = 1e-6  # a spread below this is none
_ROWS = 20_000  # looked at; more would not change the figures


class ChannelScale(nn.Module):
    """Standardises along one axis: the channels of an image ``(B, C, H, W)`` or a series
    ``(B, T, C)``; everything else of an input shares its channel's mean and spread.

    **Example**

    >>> scale = ChannelScale((3, 2, 2), axis=1)
    >>> scale.learn(np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2))
    >>> scale(torch.arange(24.0).reshape(2, 3, 2, 2)).shape
    torch.Size([2, 3, 2, 2])
    """

    mean: Tensor
    inverse_sd: Tensor

    def __init__(self, shape: tuple[int, ...], axis: int) -> None:
        super().__init__()
        self.axis = axis if axis > 0 else axis + len(shape) + 1
        self._shape = [1] * (len(shape) + 1)
        self._shape[self.axis] = shape[self.axis - 1]
        self.register_buffer("mean", torch.zeros(self._shape))
        self.register_buffer("inverse_sd", torch.ones(self._shape))

    def learn(self, x: NDArray[Any]) -> None:
        some = x[:: max(1, len(x) // _ROWS)].astype(np.float64)
        others = tuple(n for n in range(x.ndim) if n != self.axis)
        sd = some.std(axis=others, keepdims=True)
        self.mean.copy_(torch.from_numpy(some.mean(axis=others, keepdims=True)))
        self.inverse_sd.copy_(torch.from_numpy(np.where(sd > _FEW, 1 / np.maximum(sd, _FEW), 0.0)))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) * self.inverse_sd
