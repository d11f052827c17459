"""An Inception network: convolutions of several widths side by side, for series, images and sound.

Shape suffixes: B = batch, C = channels, D = features.
"""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models_core.architectures.convolving import convolution, convolving_front, norm
from models_core.architectures.network import Encoder, Sizes
from models_core.architectures.registry import architecture

_WIDTHS = {1: (39, 19, 9), 2: (5, 3, 1)}  # of kernels, by dimensions


class Inception(nn.Module):
    """A narrow layer, then kernels of three widths and a pool side by side."""

    def __init__(self, rank: int, channels: int, width: int) -> None:
        super().__init__()
        self.narrow = convolution(rank, channels, width, 1)
        self.wide = nn.ModuleList(convolution(rank, width, width, w) for w in _WIDTHS[rank])
        self.pool = (nn.MaxPool1d if rank == 1 else nn.MaxPool2d)(3, stride=1, padding=1)
        self.pooled = convolution(rank, channels, width, 1)
        self.norm = norm(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.narrow(x)
        parts = [wide(narrow) for wide in self.wide] + [self.pooled(self.pool(x))]
        return functional.relu(self.norm(torch.cat(parts, dim=1)))


@architecture("inception")
class InceptionNet(Encoder):
    """Inception modules with a short cut around every third one.

    Over series it is InceptionTime (Fawaz and others 2020), over images the idea of Szegedy and
    others (2015) in small.

    **Shape**

    - Input: series ``(B, T, C)``, images ``(B, C, H, W)`` or sound ``(B, T)``. Output: as the task
      has it.

    **Example**

    >>> from models_core.spec import Input, Spec
    >>> spec = Spec("inception", inputs={"x": Input((50, 3))}, task="classes", outputs=4)
    >>> InceptionNet(Sizes.of(spec), width=4)(torch.zeros(2, 50, 3)).shape
    torch.Size([2, 4])
    """

    def __init__(self, sizes: Sizes, *, width: int = 16, depth: int = 3) -> None:
        super().__init__(sizes)
        if min(width, depth) < 1:
            raise ValueError(f"{width=} and {depth=} must be at least 1.")
        self.front, channels, rank = convolving_front(sizes.only())
        self.blocks, self.short = nn.ModuleList(), nn.ModuleList()
        entering = channels
        for number in range(depth):
            self.blocks.append(Inception(rank, channels, width))
            channels = 4 * width
            if number % 3 == 2:
                self.short.append(convolution(rank, entering, channels, 1))
                entering = channels
        self.finish(sizes, channels)

    def learn_input(self, array: NDArray[Any]) -> None:
        self.front.learn(array)

    def embed(self, x: Tensor) -> Tensor:
        h: Tensor = self.front(x)
        entering = h
        for number, block in enumerate(self.blocks):
            h = block(h)
            if number % 3 == 2:
                h = functional.relu(h + self.short[number // 3](entering))
                entering = h
        return h.flatten(2).mean(dim=2)
