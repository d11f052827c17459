"""Transformers over series and tokens: an encoder that sees all steps, and a causal one.

Shape suffixes: B = batch, T = time steps, D = width, A = attention heads, C = tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models_core.architectures.fronts import mean_over_time, padding_of, sequence_front
from models_core.architectures.network import Encoder, Sizes
from models_core.architectures.registry import architecture


class Attention(nn.Module):
    """Multi-head attention from linear layers alone, so that exporters and per-sample gradients
    take it (Vaswani and others 2017)."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.ask = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BTD: Tensor, barred_BT: Tensor | None) -> Tensor:
        q, k, v = (self._split(part(x_BTD)) for part in (self.ask, self.key, self.value))
        if barred_BT is None:
            h = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        else:
            h = functional.scaled_dot_product_attention(q, k, v, self._allowed(barred_BT))
        joined: Tensor = self.out(h.transpose(1, 2).flatten(2))
        return joined

    def weights(self, x_BTD: Tensor, barred_BT: Tensor | None) -> Tensor:
        """``(B, A, T, T)``: how much each step attends to each; rows sum to 1."""
        q, k = self._split(self.ask(x_BTD)), self._split(self.key(x_BTD))
        score = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
        barred = (
            x_BTD.new_zeros(x_BTD.shape[:2], dtype=torch.bool) if barred_BT is None else barred_BT
        )
        kept: Tensor = score.masked_fill(~self._allowed(barred), float("-inf"))
        return kept.softmax(dim=-1)

    def _allowed(self, barred_BT: Tensor) -> Tensor:
        """``(B, 1, T, T)``: which steps may look at which."""
        allowed = ~barred_BT[:, None, None, :].expand(-1, 1, barred_BT.shape[1], -1)
        return allowed.tril() if self.causal else allowed

    def _split(self, x_BTD: Tensor) -> Tensor:
        rows, steps, width = x_BTD.shape
        return x_BTD.view(rows, steps, self.heads, width // self.heads).transpose(1, 2)


class Block(nn.Module):
    """Attention and a feed-forward layer, each normalised before and with a way around."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float, causal: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal)
        self.forward_layer = nn.Sequential(
            nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor, barred_BT: Tensor | None) -> Tensor:
        x_BTD = x_BTD + self.dropout(self.attention(self.norm1(x_BTD), barred_BT))
        changed: Tensor = self.dropout(self.forward_layer(self.norm2(x_BTD)))
        return x_BTD + changed


@architecture("transformer")
class Transformer(Encoder):
    """``layers`` blocks with learned places; the mean over time, or each step for ``next``.

    ``inner``: units of each block's feed-forward layer; 0: four times the width.

    **Shape**

    - Input: series ``(B, T, C)`` or tokens ``(B, T)``; token 0 is padding. Output: as the task has
      it.

    **Example**

    >>> from models_core.spec import Input, Spec
    >>> spec = Spec("transformer", inputs={"x": Input((12, 3))}, task="regression", outputs=2)
    >>> Transformer(Sizes.of(spec), width=8, heads=2)(torch.zeros(5, 12, 3)).shape
    torch.Size([5, 2])
    """

    causal = False

    def __init__(
        self,
        sizes: Sizes,
        *,
        width: int = 64,
        heads: int = 4,
        layers: int = 2,
        inner: int = 0,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(sizes)
        if inner < 0:
            raise ValueError(f"inner={inner} is below 0.")
        if min(width, heads, layers) < 1 or width % heads:
            raise ValueError(f"width={width} is not a multiple of heads={heads}, or is below 1.")
        if sizes.task == "next" and not self.causal:
            raise ValueError("sees what comes next. Take causal_transformer for the task next.")
        self.size = sizes.only()
        self.front, steps = sequence_front(self.size, width)
        self.place_TD = nn.Parameter(torch.randn(steps, width) * 0.02)
        self.blocks = nn.ModuleList(
            Block(width, heads, inner or 4 * width, dropout, self.causal) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.finish(sizes, width)

    def learn_input(self, array: NDArray[Any]) -> None:
        self.front.learn(array)

    def steps(self, x: Tensor) -> Tensor:
        """``(B, T, D)``: what is known of each step."""
        barred_BT = padding_of(x, self.size)
        h_BTD: Tensor = self.front(x) + self.place_TD
        for block in self.blocks:
            h_BTD = block(h_BTD, barred_BT)
        normed: Tensor = self.norm(h_BTD)
        return normed

    def attention(self, x: Tensor) -> list[Tensor]:
        """For each block ``(B, A, T, T)``: which step looked at which."""
        barred_BT = padding_of(x, self.size)
        h_BTD: Tensor = self.front(x) + self.place_TD
        seen = []
        for block in self.blocks:
            assert isinstance(block, Block)
            seen.append(block.attention.weights(block.norm1(h_BTD), barred_BT))
            h_BTD = block(h_BTD, barred_BT)
        return seen

    def embed(self, x: Tensor) -> Tensor:
        return mean_over_time(self.steps(x), padding_of(x, self.size))

    def forward(self, x: Tensor) -> Tensor:
        if self.task == "next":
            logit_BTC: Tensor = self.head(self.steps(x))
            return logit_BTC
        return super().forward(x)


@architecture("causal_transformer")
class CausalTransformer(Transformer):
    """A transformer in which no step sees a later one: what ``next`` needs (Radford and others 2018).

    **Example**

    >>> from models_core.spec import Input, Spec
    >>> spec = Spec("causal_transformer", inputs={"x": Input((6,), 9)}, task="next", outputs=9)
    >>> CausalTransformer(Sizes.of(spec), width=8, heads=2)(torch.ones(2, 6).long()).shape
    torch.Size([2, 6, 9])
    """

    causal = True
