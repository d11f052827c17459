"""The first layers by kind of input: images, sound, series and tokens to what bodies take.

Shape suffixes: B = batch, C = channels, H, W = height and width, T = time steps or tokens,
M = mel bands, S = samples of a frame, D = width.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models_core.architectures.scaling import ChannelScale
from models_core.spec import Input

PADDING = 0  # the token that stands for nothing


class Front(nn.Module):
    """From a raw input to scaled numbers."""

    def learn(self, array: NDArray[Any]) -> None:
        """Learn the scale from training rows."""


class Pixels(Front):
    """Images ``(B, C, H, W)``, standardised by channel."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.scale = ChannelScale(shape, axis=1)

    def learn(self, array: NDArray[Any]) -> None:
        self.scale.learn(array)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        scaled: Tensor = self.scale(x_BCHW)
        return scaled


class LogMel(Front):
    """Sound ``(B, T)`` to a picture ``(B, 1, M, frames)``: the logarithm of power by mel band.

    Frames of 25 ms every 10 ms, Hann windows, 40 triangular bands from 20 Hz to half of the sample
    rate (the mel scale of O'Shaughnessy 1987). Done as convolutions, so that it exports.

    **Example**

    >>> LogMel(16_000)(torch.zeros(2, 16_000)).shape
    torch.Size([2, 1, 40, 98])
    """

    wave_SK: Tensor
    band_MK: Tensor

    def __init__(self, sample_rate: int = 16_000, bands: int = 40) -> None:
        super().__init__()
        self.window = max(4, round(sample_rate * 0.025))
        self.hop = max(1, round(sample_rate * 0.010))
        bins = self.window // 2 + 1
        time_S = torch.arange(self.window, dtype=torch.float64)
        angle_KS = 2 * math.pi * torch.arange(bins).unsqueeze(1) * time_S / self.window
        hann_S = torch.hann_window(self.window, periodic=True, dtype=torch.float64)
        waves = torch.cat([angle_KS.cos(), angle_KS.sin()]) * hann_S
        self.register_buffer("wave_SK", waves.float().unsqueeze(1))
        self.register_buffer("band_MK", _mel_bands(sample_rate, bins, bands))
        self.scale = ChannelScale((bands, 1), axis=1)

    def learn(self, array: NDArray[Any]) -> None:
        some = torch.from_numpy(array[:: max(1, len(array) // 500)])
        with torch.no_grad():
            self.scale.learn(self._bands(some).numpy())

    def frames(self, samples: int) -> int:
        return max(0, (samples - self.window) // self.hop + 1)

    def forward(self, x_BT: Tensor) -> Tensor:
        scaled: Tensor = self.scale(self._bands(x_BT))
        return scaled.unsqueeze(1)

    def _bands(self, x_BT: Tensor) -> Tensor:
        parts = functional.conv1d(x_BT.unsqueeze(1), self.wave_SK, stride=self.hop)
        cos, sin = parts.chunk(2, dim=1)
        return torch.log(self.band_MK @ (cos.square() + sin.square()) + 1e-6)


class Steps(Front):
    """A series ``(B, T, C)`` to ``(B, T, D)``: standardised by channel, and one linear layer."""

    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.scale = ChannelScale(shape, axis=2)
        self.widen = nn.Linear(shape[1], width)

    def learn(self, array: NDArray[Any]) -> None:
        self.scale.learn(array)

    def forward(self, x_BTC: Tensor) -> Tensor:
        h_BTD: Tensor = self.widen(self.scale(x_BTC))
        return h_BTD


class Tokens(Front):
    """Tokens ``(B, T)`` to ``(B, T, D)``. Token 0 is padding and becomes zeros."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=PADDING)

    def forward(self, x_BT: Tensor) -> Tensor:
        h_BTD: Tensor = self.embedding(x_BT)
        return h_BTD


def image_front(size: Input) -> tuple[Front, tuple[int, int, int]]:
    """What turns the input into images, and their shape. Raises ``ValueError``."""
    shape = size.shape
    if len(shape) == 3 and not size.vocabulary:
        return Pixels(shape), (shape[0], shape[1], shape[2])
    if len(shape) == 1 and not size.vocabulary:
        front = LogMel()
        if front.frames(shape[0]) < 1:
            raise ValueError(f"needs at least {front.window} samples of sound, not {shape[0]}.")
        return front, (1, 40, front.frames(shape[0]))
    raise ValueError(f"takes images (C, H, W) or sound (T,), not {_said(size)}.")


def sequence_front(size: Input, width: int) -> tuple[Front, int]:
    """What turns the input into a sequence of that width, and its length. Raises ``ValueError``."""
    if size.vocabulary and len(size.shape) == 1:
        return Tokens(size.vocabulary, width), size.shape[0]
    if len(size.shape) == 2 and not size.vocabulary:
        return Steps(size.shape, width), size.shape[0]
    raise ValueError(f"takes a series (T, C) or tokens (T,), not {_said(size)}.")


def padding_of(x: Tensor, size: Input) -> Tensor | None:
    """``(B, T)``: where a row of tokens is over; never all of it. None for series."""
    if not size.vocabulary:
        return None
    is_over_BT = x == PADDING
    first_BT = torch.zeros_like(is_over_BT)
    first_BT[:, 0] = True
    return is_over_BT & ~first_BT


def mean_over_time(h_BTD: Tensor, is_over_BT: Tensor | None) -> Tensor:
    """``(B, D)``: the mean over the steps that are there."""
    if is_over_BT is None:
        return h_BTD.mean(dim=1)
    kept_BT1 = (~is_over_BT).to(h_BTD.dtype).unsqueeze(2)
    return (h_BTD * kept_BT1).sum(dim=1) / kept_BT1.sum(dim=1)


def _mel_bands(sample_rate: int, bins: int, bands: int) -> Tensor:
    def mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    edges = np.linspace(mel(20), mel(sample_rate / 2), bands + 2)
    hertz = 700 * (10 ** (edges / 2595) - 1)
    frequency_K = np.linspace(0, sample_rate / 2, bins)
    left, middle, right = (hertz[n : n + bands, None] for n in range(3))
    rising = (frequency_K - left) / (middle - left)
    falling = (right - frequency_K) / (right - middle)
    return torch.from_numpy(np.maximum(0, np.minimum(rising, falling)).astype(np.float32))


def _said(size: Input) -> str:
    return f"{'tokens' if size.vocabulary else 'numbers'} of shape {size.shape}"
