"""Convolutions over one or two dimensions: what series, images and sound have in common.

Shape suffixes: B = batch, C = channels, T = time steps.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from torch import Tensor, nn

from models_core.architectures.fronts import Front, image_front
from models_core.architectures.scaling import ChannelScale
from models_core.spec import Input

_GROUP = 8  # channels that are normalised together


class Channels(Front):
    """A series ``(B, T, C)`` to ``(B, C, T)``, standardised by channel."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.scale = ChannelScale(shape, axis=2)

    def learn(self, array: NDArray[Any]) -> None:
        self.scale.learn(array)

    def forward(self, x_BTC: Tensor) -> Tensor:
        scaled: Tensor = self.scale(x_BTC)
        return scaled.transpose(1, 2)


def convolving_front(size: Input) -> tuple[Front, int, int]:
    """What turns the input into ``(B, C, ...)``, its channels, and how many dimensions follow."""
    if len(size.shape) == 2 and not size.vocabulary:
        return Channels(size.shape), size.shape[1], 1
    front, shape = image_front(size)
    return front, shape[0], 2


def convolution(rank: int, channels: int, out: int, width: int, stride: int = 1) -> nn.Module:
    """A convolution that keeps the size, divided by ``stride``; the norm after it has the bias."""
    kind = nn.Conv1d if rank == 1 else nn.Conv2d
    return kind(channels, out, width, stride=stride, padding=width // 2, bias=False)


def norm(channels: int) -> nn.Module:
    """Group normalisation, which does not look at other rows (Wu and He 2018)."""
    groups = max(n for n in range(1, max(1, channels // _GROUP) + 1) if channels % n == 0)
    return nn.GroupNorm(groups, channels)
