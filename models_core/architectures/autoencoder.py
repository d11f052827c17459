"""An autoencoder: says again what it was shown, through a narrow middle.

Shape suffixes: B = batch, O = numbers of the input.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models_core.architectures.network import Inputs, Network, Sizes
from models_core.architectures.registry import architecture


@architecture("autoencoder")
class Autoencoder(Network):
    """Two layers down to ``middle`` numbers and two up again. Rows it cannot say again are strange.

    **Shape**

    - Input: ``(B, ...)`` float32 of any shape, raw. Output: ``(B, O)``, the same numbers in a row.

    **Example**

    >>> from models_core.spec import Input, Spec
    >>> spec = Spec("autoencoder", inputs={"x": Input((4, 3))}, task="reconstruction", outputs=12)
    >>> Autoencoder(Sizes.of(spec))(torch.zeros(2, 4, 3)).shape
    torch.Size([2, 12])
    """

    mean_O: Tensor
    sd_O: Tensor

    def __init__(
        self, sizes: Sizes, *, width: int = 128, middle: int = 16, dropout: float = 0.0
    ) -> None:
        super().__init__(sizes)
        size = sizes.only()
        numbers = math.prod(size.shape)
        if sizes.task != "reconstruction" or size.vocabulary or sizes.outputs != numbers:
            raise ValueError("does the task reconstruction of one input of numbers.")
        self.register_buffer("mean_O", torch.zeros(numbers))
        self.register_buffer("sd_O", torch.ones(numbers))
        self.down = nn.Sequential(
            nn.Linear(numbers, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, middle)
        )
        self.up = nn.Sequential(nn.Linear(middle, width), nn.ReLU(), nn.Linear(width, numbers))

    def prepare(self, train: Any, log_odds: float) -> None:
        flat_NO = train.arrays[0].reshape(len(train), -1).astype(np.float64)
        self.mean_O.copy_(torch.from_numpy(flat_NO.mean(axis=0)))
        self.sd_O.copy_(torch.from_numpy(np.maximum(flat_NO.std(axis=0), 1e-6)))

    def forward(self, x: Tensor) -> Tensor:
        code = self.down((x.flatten(1) - self.mean_O) / self.sd_O)
        said: Tensor = self.up(code) * self.sd_O + self.mean_O
        return said

    def losses(self, inputs: Inputs, y: Tensor, focus: float = 0.0) -> Tensor:
        """In standard deviations of each number, so that none drowns the others."""
        miss_BO: Tensor = (self(*inputs) - y.flatten(1)) / self.sd_O
        return miss_BO.square().mean(dim=1)
