"""A parameter-efficient ensemble for tables: many members, one set of large weights.

Members share every matrix and differ in small vectors that scale and shift the units, and in
their heads. Trained on their own losses they err differently, and their mean errs less. The
idea is TabM's (Gorishniy, Kotelnikov, Babenko 2024) on BatchEnsemble (Wen, Tran, Ba 2020). Two
cuts make it cheap on a CPU: the widest matrix comes before the members part, so it is applied
once and not once a member; and a positive scale behind the last ReLU is left to the head.

Shape suffixes: B = batch, N = training rows, F = features, T = bins of a feature, K = members,
D = width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models_core.architectures.binary import BinaryModule, quantiles
from models_core.architectures.network import Inputs, task_losses
from models_core.architectures.registry import architecture

# Bins are cut at sigmoid(-6..6) of the training distribution: even in log odds, so that the tails
# (0.25 % to 99.75 %), where rare positives live, get as many bins as the body.
_OUTERMOST_LOG_ODDS = 6.0
_NARROWEST_BIN = 1e-30  # a narrower one would make its inverse infinite in float32


class PiecewiseLinear(nn.Module):
    """Each raw feature as ``num_bins`` numbers in [0, 1]: how far it has come through each bin.

    This is the scaling too: a bin is a quantile range of training, so units and heavy tails do
    not matter, and a wild value saturates. A linear layer on top can bend at every edge.
    Quantiles that coincide (flags, counts) leave empty bins, which stay 0. Source: Gorishniy,
    Rubachev, Babenko 2022, "On embeddings for numerical features".

    **Shape**

    - Input: ``(B, F)`` float32. Output: ``(B, T * F)`` float32, bin by bin: rows of F numbers
      run four times as fast in ONNX Runtime as rows of T.

    **Example**

    >>> bins = PiecewiseLinear(1, num_bins=2)
    >>> bins.learn(torch.tensor([[0.0], [1.0], [3.0]]))
    >>> bins(torch.tensor([[2.0], [9.0]])).tolist()
    [[1.0, 0.5], [1.0, 1.0]]
    """

    edge_TF: Tensor
    inverse_width_TF: Tensor

    def __init__(self, num_features: int, num_bins: int) -> None:
        super().__init__()
        self.register_buffer("edge_TF", torch.zeros(num_bins, num_features))
        self.register_buffer("inverse_width_TF", torch.zeros(num_bins, num_features))

    def learn(self, x_NF: Tensor) -> None:
        num_bins, num_features = self.edge_TF.shape
        outermost = _OUTERMOST_LOG_ODDS
        share_E = torch.sigmoid(torch.linspace(-outermost, outermost, num_bins + 1))
        edge_EF = quantiles(x_NF, share_E)
        self.edge_TF.zero_()
        self.inverse_width_TF.zero_()
        for feature in range(num_features):
            edges = torch.unique_consecutive(edge_EF[:, feature])  # quantiles are sorted
            if len(edges) == 1:  # a flag so rare that every quantile misses it
                edges = torch.stack([x_NF[:, feature].amin(), x_NF[:, feature].amax()])
            width = edges.diff()
            self.edge_TF[: len(width), feature] = edges[:-1]
            inverse_width = torch.where(width > 0, 1 / width.clamp(min=_NARROWEST_BIN), 0.0)
            self.inverse_width_TF[: len(width), feature] = inverse_width

    def forward(self, x_BF: Tensor) -> Tensor:
        share_BTF = (x_BF.unsqueeze(1) - self.edge_TF) * self.inverse_width_TF
        return share_BTF.clamp(0.0, 1.0).flatten(1)


@architecture("tabular_ensemble")
class TabularEnsemble(BinaryModule):
    """``members`` two-layer networks in one, on piecewise-linear features.

    **Shape**

    - Input: ``(B, F)`` float32, raw. Output: as the task has it, the mean of the members'.

    **Example**

    >>> module = TabularEnsemble(3, members=4).eval()
    >>> x_BF = torch.zeros(2, 3)
    >>> module.member_logits(x_BF).shape
    torch.Size([2, 4])
    >>> torch.allclose(module(x_BF), module.member_logits(x_BF).mean(dim=1), atol=1e-6)
    True
    """

    def __init__(
        self,
        num_features: int,
        *,
        members: int = 8,
        width: int = 64,
        bins: int = 12,
        dropout: float = 0.0,
        outputs: int = 1,
    ) -> None:
        super().__init__(num_features)
        if min(members, width, bins) < 1:
            raise ValueError(f"{members=}, {width=} and {bins=} must be at least 1.")
        self.dim = members * width
        self.bins = PiecewiseLinear(num_features, bins)
        self.dropout = nn.Dropout(dropout)
        self.first = nn.Linear(num_features * bins, width, bias=False)
        self.second = nn.Linear(width, width, bias=False)
        # Random signs let members see opposite halves of each shared unit: they start apart.
        self.sign_KD = nn.Parameter(torch.randint(0, 2, (members, width)) * 2.0 - 1.0)
        bound = width**-0.5
        self.first_shift_KD = nn.Parameter(torch.empty(members, width).uniform_(-bound, bound))
        self.second_shift_KD = nn.Parameter(torch.empty(members, width).uniform_(-bound, bound))
        # A head of its own for each member, and one more dimension where there are several answers.
        several = (outputs,) if outputs > 1 else ()
        self.head_KD = nn.Parameter(torch.empty(*several, members, width).uniform_(-bound, bound))
        self.head_K = nn.Parameter(torch.zeros(*several, members))

    def prepare(self, train: Any, log_odds: float) -> None:
        self.bins.learn(torch.from_numpy(train.arrays[0]))
        self.learn_answers(train)
        nn.init.constant_(self.head_K, log_odds)

    def member_logits(self, x_BF: Tensor) -> Tensor:
        return (self._units(x_BF) * self.head_KD).sum(dim=-1) + self.head_K

    def losses(self, inputs: Inputs, y: Tensor, focus: float = 0.0) -> Tensor:
        """Each member's own loss, also where the answer is a class or values."""
        if self.task == "binary":
            return super().losses(inputs, y, focus)
        units_BKD = self._units(*inputs)
        # (members, B, O): what each member answers.
        raw_KBO = torch.einsum("bkd,...kd->kb...", units_BKD, self.head_KD)
        raw_KBO = raw_KBO + self.head_K.movedim(-1, 0).unsqueeze(1)
        raw_KBO = raw_KBO.reshape(*raw_KBO.shape[:2], -1).float()
        if self.answer_scale is not None:
            y = (y - self.answer_scale.mean_O) / self.answer_scale.sd_O
        of_members = [task_losses(self.task, raw_BO, y, focus) for raw_BO in raw_KBO]
        return torch.stack(of_members).mean(dim=0)

    def forward(self, x_BF: Tensor) -> Tensor:
        # The mean over members as one product of K * D: the same number, at a third of the cost.
        head_OKD = self.head_KD if self.head_KD.ndim == 3 else self.head_KD.unsqueeze(0)
        mean_head_OD = head_OKD.flatten(1) / head_OKD.shape[1]
        bias_O = self.head_K.mean(dim=-1).reshape(-1)
        raw_BO = functional.linear(self._units(x_BF).flatten(1), mean_head_OD, bias_O)
        return self.answered(raw_BO)

    def embed(self, x_BF: Tensor) -> Tensor:
        """``(B, K * D)`` features, member by member."""
        return self._units(x_BF).flatten(1)

    def _units(self, x_BF: Tensor) -> Tensor:
        h_B1D = self.first(self.bins(x_BF)).unsqueeze(1)
        h_BKD = self.dropout(torch.relu(h_B1D * self.sign_KD + self.first_shift_KD))
        h_BKD = torch.relu(self.second(h_BKD) + self.second_shift_KD)
        kept_BKD: Tensor = self.dropout(h_BKD)
        return kept_BKD
