"""Several measures of strangeness, joined into one logit that rises with each of them.

Shape suffixes: B = batch, N = training rows, F = features, P = parts, H = units that join.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models_core.architectures.binary import BinaryModule
from models_core.table import Table

_WEIGHING_STEPS = 400
_WEIGHING_RATE = 0.05
_FAR = 10.0  # beyond so many usual spreads a part goes on as a logarithm


class JoinedModule(BinaryModule):
    """A module that first learns what is usual, without answers, and then how to weigh surprise.

    Derived classes give ``auxiliary_loss`` and ``parts``: each part is larger where a row is
    stranger. All weights behind the parts are positive, so a row cannot look better by being
    stranger in one of them, and every part can be named as a reason.

    **Shape**

    - Input: ``(B, F)`` float32. Output: ``(B,)`` float32 logits.
    """

    columns_are_codes = True

    low_P: Tensor
    scale_P: Tensor

    def __init__(self, num_features: int, num_parts: int, join: int) -> None:
        super().__init__(num_features)
        self.register_buffer("low_P", torch.zeros(num_parts))
        self.register_buffer("scale_P", torch.ones(num_parts))
        self.join_HP = nn.Parameter(torch.randn(join, num_parts) * 0.3 - 2.0)
        self.join_H = nn.Parameter(torch.linspace(-3.0, 0.0, join))
        self.head_H = nn.Parameter(torch.full((join,), -1.5))
        self.bias = nn.Parameter(torch.zeros(1))

    @abstractmethod
    def parts(self, x_BF: Tensor) -> Tensor:
        """``(B, P)``: what is unusual about each row."""

    def start_at(self, log_odds: float) -> None:
        with torch.no_grad():
            self.bias.fill_(log_odds - 1.0)

    def settle(self, train: Table) -> None:
        """Once the network has learned: the scale of each part, and how much each one weighs.

        The parts stand still from here on, so they are measured once and weighed to the end, on
        the rows that count.
        """
        self._scale(train)
        counted_N = torch.from_numpy(
            np.ones(len(train), bool) if train.weight_N is None else train.weight_N > 0
        )
        device = self.low_P.device
        y_N = torch.from_numpy(train.y_N)[counted_N].to(device)
        x_NF = torch.from_numpy(train.x_NF)[counted_N]
        with torch.no_grad():
            part_NP = torch.cat([self._scaled(part.to(device)) for part in torch.split(x_NF, 2048)])
        weights = [self.join_HP, self.join_H, self.head_H, self.bias]
        optimizer = torch.optim.Adam(weights, lr=_WEIGHING_RATE)
        for _ in range(_WEIGHING_STEPS):
            loss = functional.binary_cross_entropy_with_logits(self._joined(part_NP), y_N)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    def _scale(self, train: Table) -> None:
        """Usual becomes 0, and the 99th percentile of the usual 1."""
        x_NF = torch.from_numpy(train.x_NF[fitted_negatives(train)])
        device = self.low_P.device
        with torch.no_grad():
            part_NP = torch.cat([self.parts(part.to(device)) for part in torch.split(x_NF, 2048)])
        sorted_NP = part_NP.sort(dim=0).values
        middle_P = sorted_NP[len(sorted_NP) // 2]
        high_P = sorted_NP[int((len(sorted_NP) - 1) * 0.99)]
        spread_P = torch.maximum(high_P - middle_P, 0.25 + 0.1 * middle_P.abs())
        self.low_P.copy_(middle_P)
        self.scale_P.copy_(1.0 / spread_P)

    def member_logits(self, x_BF: Tensor) -> Tensor:
        return self._joined(self._scaled(x_BF).detach()).unsqueeze(1)

    def _scaled(self, x_BF: Tensor) -> Tensor:
        part_BP = (self.parts(x_BF) - self.low_P) * self.scale_P
        far_BP = _FAR - 1 + torch.log(part_BP.clamp(min=_FAR) - (_FAR - 1))
        return torch.where(part_BP > _FAR, far_BP, part_BP).clamp(min=-1)

    def _joined(self, part_BP: Tensor) -> Tensor:
        weight_HP = functional.softplus(self.join_HP)
        h_BH = torch.relu(part_BP @ weight_HP.T + self.join_H)
        logit_B: Tensor = (h_BH * functional.softplus(self.head_H)).sum(dim=1) + self.bias
        return logit_B


def fitted_negatives(train: Table) -> list[int]:
    """Rows of negatives that count; those of weight 0 are there to be remembered."""
    counted_N = train.y_N == 0
    if train.weight_N is not None and bool((train.weight_N[counted_N] > 0).any()):
        counted_N = counted_N & (train.weight_N > 0)
    rows: list[int] = counted_N.nonzero()[0].tolist()
    return rows


def remembered_negatives(train: Table) -> list[int]:
    """Rows of negatives of weight 0; all negatives where none has."""
    kept_N = train.y_N == 0
    if train.weight_N is not None and bool((train.weight_N[kept_N] == 0).any()):
        kept_N = kept_N & (train.weight_N == 0)
    rows: list[int] = kept_N.nonzero()[0].tolist()
    return rows
