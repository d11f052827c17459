"""A plain multi-layer perceptron on standardised features: the deep model to start from.

Shape suffixes: B = batch, N = training rows, F = features, D = width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models_core.architectures.binary import BinaryModule, FeatureScale
from models_core.architectures.registry import architecture


@architecture("mlp")
class Mlp(BinaryModule):
    """``depth`` hidden layers of ``width`` ReLU units with dropout.

    **Shape**

    - Input: ``(B, F)`` float32, raw. Output: as the task has it.

    **Example**

    >>> Mlp(3).eval()(torch.zeros(2, 3)).shape
    torch.Size([2])
    """

    def __init__(
        self,
        num_features: int,
        *,
        width: int = 256,
        depth: int = 2,
        dropout: float = 0.1,
        outputs: int = 1,
    ) -> None:
        super().__init__(num_features)
        if width < 1 or depth < 1:
            raise ValueError(f"width={width} and depth={depth} must be at least 1.")
        self.dim = width
        self.scale = FeatureScale(num_features)
        layers: list[nn.Module] = []
        for fan_in in [num_features] + [width] * (depth - 1):
            layers += [nn.Linear(fan_in, width), nn.ReLU(), nn.Dropout(dropout)]
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(width, outputs)

    def prepare(self, train: Any, log_odds: float) -> None:
        self.scale.learn(torch.from_numpy(train.arrays[0]))
        self.learn_answers(train)
        nn.init.constant_(self.head.bias, log_odds)

    def member_logits(self, x_BF: Tensor) -> Tensor:
        logit_B1: Tensor = self.head(self.embed(x_BF))
        return logit_B1

    def embed(self, x_BF: Tensor) -> Tensor:
        """``(B, D)`` features."""
        h_BD: Tensor = self.hidden(self.scale(x_BF))
        return h_BD

    def forward(self, x_BF: Tensor) -> Tensor:
        return self.answered(self.member_logits(x_BF))
