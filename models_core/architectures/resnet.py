"""A residual network for images, sound and series.

Shape suffixes: B = batch, C = channels, D = features.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models_core.architectures.convolving import convolution, convolving_front, norm
from models_core.architectures.network import Encoder, Sizes
from models_core.architectures.registry import architecture


class Residual(nn.Module):
    """Two normalised convolutions beside a short cut (He and others 2016, order of activation v2)."""

    def __init__(self, rank: int, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.norm1 = norm(channels)
        self.conv1 = convolution(rank, channels, out, 3, stride)
        self.norm2 = norm(out)
        self.conv2 = convolution(rank, out, out, 3)
        differs = channels != out or stride != 1
        self.short = convolution(rank, channels, out, 1, stride) if differs else None

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.norm1(x))
        around = x if self.short is None else self.short(h)
        changed: Tensor = self.conv2(functional.relu(self.norm2(self.conv1(h))))
        return around + changed


@architecture("resnet")
class ResNet(Encoder):
    """Stages of residual blocks; each stage after the first halves the size and doubles the width.

    Group normalisation stands where the paper has batch normalisation: a row's answer then does not
    depend on its batch, which serving, differential privacy and several processes ask for.

    **Shape**

    - Input: images ``(B, C, H, W)``, sound ``(B, T)`` or series ``(B, T, C)``. Output: as the task
      has it.

    **Example**

    >>> import torch
    >>> from models_core.spec import Input, Spec
    >>> spec = Spec("resnet", inputs={"x": Input((3, 16, 16))}, task="classes", outputs=10)
    >>> ResNet(Sizes.of(spec), width=8, stages=2)(torch.zeros(2, 3, 16, 16)).shape
    torch.Size([2, 10])
    """

    def __init__(self, sizes: Sizes, *, width: int = 16, stages: int = 3, blocks: int = 2) -> None:
        super().__init__(sizes)
        if min(width, stages, blocks) < 1:
            raise ValueError(f"{width=}, {stages=} and {blocks=} must be at least 1.")
        self.front, channels, self.rank = convolving_front(sizes.only())
        self.stem = convolution(self.rank, channels, width, 3)
        layers: list[nn.Module] = []
        channels = width
        for stage in range(stages):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                out = width * 2**stage
                layers.append(Residual(self.rank, channels, out, stride))
                channels = out
        self.body = nn.Sequential(*layers, norm(channels), nn.ReLU())
        self.finish(sizes, channels)

    def learn_input(self, array: NDArray[Any]) -> None:
        self.front.learn(array)

    def embed(self, x: Tensor) -> Tensor:
        h: Tensor = self.body(self.stem(self.front(x)))
        return h.flatten(2).mean(dim=2)
