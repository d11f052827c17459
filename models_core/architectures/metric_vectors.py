"""Vectors of standardised metrics: which of them do not go together as they did in training.

An autoencoder with a narrow middle, trained to rebuild vectors of which some metrics were hidden
(Vincent, Larochelle, Bengio, Manzagol 2008), so that each metric is expected from the others. What
it cannot rebuild, in units of how well it usually can, is strange. Further columns speak for
themselves.

Shape suffixes: B = batch, F = features, M = metrics, D = width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models_core.architectures.joined import JoinedModule, fitted_negatives
from models_core.architectures.registry import architecture
from models_core.table import Table

_HIDDEN = 0.05  # of the metrics of a row in training
_SCALE = 4.0  # standard deviations that enter as 1
_LEAST_MISS = 0.25  # standard deviations: rebuilding is never taken to be better than this
_ALIGNED = 4  # a row that begins anywhere in memory is summed in an order of its own
_MEASURED = 4
_MOST = 3


@architecture("metric_vectors")
class MetricVectors(JoinedModule):
    """``metrics`` standardised values (0: usual, or not there) and further columns, to one logit.

    ``metrics`` is a multiple of 4.

    **Shape**

    - Input: ``(B, metrics + further)`` float32. Output: ``(B,)`` float32 logits.
    - ``details``: ``(B, 2 * metrics)``: the value expected of each metric, in standard deviations,
      and how far the seen one is from it, in units of the usual miss.

    **Example**

    >>> module = MetricVectors(6, metrics=4).eval()
    >>> x_BF = torch.zeros(2, 6)
    >>> module(x_BF).shape, module.details(x_BF).shape
    (torch.Size([2]), torch.Size([2, 8]))
    """

    miss_M: Tensor
    used_M: Tensor

    def __init__(
        self,
        num_features: int,
        *,
        metrics: int = 256,
        width: int = 64,
        middle: int = 6,
        join: int = 16,
    ) -> None:
        further = num_features - metrics
        super().__init__(num_features, _MEASURED + 2 * max(further, 0), join)
        if min(metrics, width, middle, join) < 1 or further < 0:
            raise ValueError(f"{num_features} features hold no {metrics} metrics, or a size is 0.")
        if metrics % _ALIGNED:
            raise ValueError(f"metrics={metrics} is not a multiple of {_ALIGNED}.")
        self.metrics = metrics
        self.register_buffer("miss_M", torch.ones(metrics))
        self.register_buffer("used_M", torch.ones(metrics))
        self.encode = nn.Sequential(
            nn.Linear(metrics, width), nn.Tanh(), nn.Linear(width, middle), nn.Tanh()
        )
        self.decode = nn.Sequential(nn.Linear(middle, width), nn.Tanh(), nn.Linear(width, metrics))

    def prepare(self, train: Table, log_odds: float) -> None:
        x_NM = torch.from_numpy(train.x_NF[train.y_N == 0][:, : self.metrics])
        self.used_M.copy_((x_NM != 0).any(dim=0).float())
        self.start_at(log_odds)

    def settle(self, train: Table) -> None:
        """How well each metric is usually rebuilt, then as every joined module."""
        x_NF = torch.from_numpy(train.x_NF[fitted_negatives(train)]).to(self.miss_M.device)
        with torch.no_grad():
            miss_NM = x_NF[:, : self.metrics] - self._expected(x_NF)
            self.miss_M.copy_(miss_NM.square().mean(dim=0).sqrt().clamp(min=_LEAST_MISS))
        super().settle(train)

    def auxiliary_loss(self, *inputs_and_y: Tensor) -> Tensor:
        """The mean squared miss over the batch's negatives, with some metrics hidden."""
        x_BF, y_B = inputs_and_y
        hidden_BM = torch.rand(len(x_BF), self.metrics, device=x_BF.device) < _HIDDEN
        expected_BM = self._expected(torch.where(hidden_BM, 0.0, x_BF[:, : self.metrics]))
        miss_BM = (x_BF[:, : self.metrics] - expected_BM).clamp(-10, 10) * self.used_M
        square_B = functional.smooth_l1_loss(
            miss_BM, torch.zeros_like(miss_BM), reduction="none"
        ).sum(dim=1)
        normal_B = (y_B == 0).float()
        return (square_B * normal_B).sum() / (normal_B.sum() * self.used_M.sum()).clamp(min=1)

    def details(self, x_BF: Tensor) -> Tensor:
        expected_BM = self._expected(x_BF)
        return torch.cat([expected_BM, self._misses(x_BF, expected_BM)], dim=1)

    def parts(self, x_BF: Tensor) -> Tensor:
        miss_BM = self._misses(x_BF, self._expected(x_BF)).abs()
        most_BT = miss_BM.topk(min(_MOST, self.metrics), dim=1).values
        num_used = self.used_M.sum().clamp(min=1)
        further_BS = x_BF[:, self.metrics :]
        measured = [
            most_BT[:, 0],
            most_BT.mean(dim=1),
            (miss_BM.square().sum(dim=1) / num_used).sqrt(),
            (x_BF[:, : self.metrics].square().sum(dim=1) / num_used).sqrt(),
        ]
        return torch.cat(
            [torch.stack(measured, dim=1), torch.relu(further_BS), torch.relu(-further_BS)], dim=1
        )

    def _expected(self, x_BF: Tensor) -> Tensor:
        """``(B, M)`` values of the metrics as the others make one expect them."""
        scaled_BM = (x_BF[:, : self.metrics] / _SCALE).clamp(-5, 5)
        expected_BM: Tensor = self.decode(self.encode(scaled_BM)) * _SCALE * self.used_M
        return expected_BM

    def _misses(self, x_BF: Tensor, expected_BM: Tensor) -> Tensor:
        return (x_BF[:, : self.metrics] - expected_BM) / self.miss_M
