"""Recurrent networks over series and tokens: plain, gated (GRU) and long short-term memory.

Shape suffixes: B = batch, T = time steps, D = width, C = tokens of the vocabulary.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from torch import Tensor, nn

from models_core.architectures.fronts import mean_over_time, padding_of, sequence_front
from models_core.architectures.network import Encoder, Sizes
from models_core.architectures.registry import architecture


class Recurrent(Encoder):
    """``layers`` recurrent layers of ``width`` units; the mean over time, or each step for ``next``.

    **Shape**

    - Input: series ``(B, T, C)`` or tokens ``(B, T)``; token 0 is padding. Output: as the task has
      it.
    """

    cell: type[nn.RNN | nn.GRU | nn.LSTM]

    def __init__(
        self, sizes: Sizes, *, width: int = 64, layers: int = 1, dropout: float = 0.1
    ) -> None:
        super().__init__(sizes)
        if min(width, layers) < 1:
            raise ValueError(f"{width=} and {layers=} must be at least 1.")
        self.size = sizes.only()
        self.front, _ = sequence_front(self.size, width)
        between = dropout if layers > 1 else 0.0
        self.body = self.cell(width, width, layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(dropout)
        self.finish(sizes, width)

    def learn_input(self, array: NDArray[Any]) -> None:
        self.front.learn(array)

    def steps(self, x: Tensor) -> Tensor:
        """``(B, T, D)``: what is known after each step."""
        h_BTD: Tensor = self.dropout(self.body(self.front(x))[0])
        return h_BTD

    def embed(self, x: Tensor) -> Tensor:
        return mean_over_time(self.steps(x), padding_of(x, self.size))

    def forward(self, x: Tensor) -> Tensor:
        if self.task == "next":
            logit_BTC: Tensor = self.head(self.steps(x))
            return logit_BTC
        return super().forward(x)


@architecture("rnn")
class Rnn(Recurrent):
    """Plain recurrence with tanh (Elman 1990)."""

    cell = nn.RNN


@architecture("gru")
class Gru(Recurrent):
    """Gated recurrent units (Cho and others 2014)."""

    cell = nn.GRU


@architecture("lstm")
class Lstm(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997).

    **Example**

    >>> import torch
    >>> from models_core.spec import Input, Spec
    >>> spec = Spec("lstm", inputs={"x": Input((10,), 50)}, task="next", outputs=50)
    >>> Lstm(Sizes.of(spec), width=8)(torch.ones(2, 10, dtype=torch.long)).shape
    torch.Size([2, 10, 50])
    """

    cell = nn.LSTM
