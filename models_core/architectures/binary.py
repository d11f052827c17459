"""What every architecture for a yes/no question promises, and the scaling of raw features.

Shape suffixes: B = batch, N = rows of the training table, F = features, K = ensemble members,
T = bins of a feature.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from models_core.architectures.network import Inputs, Network, task_losses

# Beyond this many standard deviations a feature's tail would drown its body: it is taken on a
# log scale instead.
_HEAVY_TAIL_SD = 8.0
_TAIL = 0.001  # training quantiles beyond which a value is clipped, at either end


class BinaryModule(Network):
    """Raw features to logits of one yes/no question.

    Derived classes give ``member_logits``; each member is trained on its own loss and their mean
    answers. A single network is an ensemble of one.

    **Shape**

    - Input: ``(B, F)`` float32, raw as the extractor made them, finite.
    - Output: ``(B,)`` float32 logits, no sigmoid. Higher is more likely positive.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def details(self, x_BF: Tensor) -> Tensor | None:
        """``(B, D)``: what the module can say of each row beside its logit; None: nothing."""
        return None

    @abstractmethod
    def member_logits(self, x_BF: Tensor) -> Tensor:
        """``(B, K)`` logits, one for each member."""

    def losses(self, inputs: Inputs, y: Tensor, focus: float = 0.0) -> Tensor:
        """Each member has its own loss: on the mean alone they would grow into one network."""
        if self.task != "binary":
            return super().losses(inputs, y, focus)
        logit_BK = self.member_logits(*inputs).float()
        if logit_BK.shape[1] == 1:  # spares a small step a tenth of its operations
            return task_losses("binary", logit_BK.squeeze(1), y, focus)
        return task_losses("binary", logit_BK, y.unsqueeze(1).expand_as(logit_BK), focus).mean(
            dim=1
        )

    def forward(self, x_BF: Tensor) -> Tensor:
        logit_B: Tensor = self.member_logits(x_BF).mean(dim=1)
        return logit_B


class FeatureScale(nn.Module):
    """Raw features to about zero mean and unit variance, with the parameters as buffers.

    A heavy-tailed feature is first taken to ``sign(x) log(1 + |x|)``. Every feature is then clipped
    to the 0.1 % and 99.9 % quantiles of training, so that one wild value cannot leave the range
    that the network has seen, and standardised. A constant feature becomes 0.

    **Shape**

    - Input and output: ``(B, F)`` float32.

    **Example**

    >>> scale = FeatureScale(1)
    >>> scale.learn(torch.arange(1000.0).reshape(-1, 1))
    >>> print(scale(torch.tensor([[1e9], [1e12]])).flatten())
    tensor([1.7269, 1.7269])
    """

    low_F: Tensor
    high_F: Tensor
    mean_F: Tensor
    inverse_sd_F: Tensor
    is_log_F: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("low_F", torch.full((num_features,), -1e30))
        self.register_buffer("high_F", torch.full((num_features,), 1e30))
        self.register_buffer("mean_F", torch.zeros(num_features))
        self.register_buffer("inverse_sd_F", torch.ones(num_features))
        self.register_buffer("is_log_F", torch.zeros(num_features, dtype=torch.bool))

    def learn(self, x_NF: Tensor) -> None:
        x_NF = x_NF.double()
        spread_F = x_NF.std(dim=0, correction=0)
        furthest_F = (x_NF - x_NF.mean(dim=0)).abs().amax(dim=0)
        is_log_F = (furthest_F > _HEAVY_TAIL_SD * spread_F) & (spread_F > 0)
        scaled_NF = torch.where(is_log_F, _signed_log(x_NF), x_NF)
        low_F, high_F = quantiles(scaled_NF, torch.tensor([_TAIL, 1 - _TAIL], dtype=torch.double))
        # A rare flag would be clipped away whole; its range is kept.
        is_rare_F = high_F <= low_F
        low_F = torch.where(is_rare_F, scaled_NF.amin(dim=0), low_F)
        high_F = torch.where(is_rare_F, scaled_NF.amax(dim=0), high_F)
        scaled_NF = scaled_NF.clamp(low_F, high_F)
        sd_F = scaled_NF.std(dim=0, correction=0)
        self.low_F.copy_(low_F)
        self.high_F.copy_(high_F)
        self.mean_F.copy_(scaled_NF.mean(dim=0))
        self.inverse_sd_F.copy_(torch.where(sd_F > 0, 1.0 / sd_F.clamp(min=1e-12), 0.0))
        self.is_log_F.copy_(is_log_F)

    def forward(self, x_BF: Tensor) -> Tensor:
        x_BF = torch.where(self.is_log_F, _signed_log(x_BF), x_BF)
        x_BF = torch.minimum(torch.maximum(x_BF, self.low_F), self.high_F)
        return (x_BF - self.mean_F) * self.inverse_sd_F


def quantiles(x_NF: Tensor, share_T: Tensor) -> Tensor:
    """``(T, F)`` sample quantiles ("inverted_cdf"). ``torch.quantile`` refuses 16 M elements."""
    index_T = (share_T.double() * (len(x_NF) - 1)).round().long()
    return x_NF.sort(dim=0).values[index_T.to(x_NF.device)]


def _signed_log(x: Tensor) -> Tensor:
    return torch.sign(x) * torch.log1p(x.abs())
