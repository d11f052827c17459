"""A small convolutional network for images: three convolutions, two pools, a dense layer.

Shape suffixes: B = batch, C = channels, H, W = height and width, D = features.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from torch import Tensor, nn

from models_core.architectures.fronts import image_front
from models_core.architectures.network import Encoder, Sizes
from models_core.architectures.registry import architecture

_SMALLEST = 6  # pixels: what two pools leave something of


@architecture("cnn")
class Cnn(Encoder):
    """Convolutions of ``width``, ``2 * width`` and ``2 * width`` channels, then ``dense`` units.

    With the defaults: 32, 64, 64 channels of 3 x 3, pools of 2 x 2 between them, 64 units.

    **Shape**

    - Input: ``(B, C, H, W)`` images or ``(B, T)`` sound, float32, raw. Output: as the task has it.

    **Example**

    >>> import torch
    >>> from models_core.spec import Input, Spec
    >>> spec = Spec("cnn", inputs={"x": Input((1, 28, 28))}, task="classes", outputs=10)
    >>> Cnn(Sizes.of(spec))(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self, sizes: Sizes, *, width: int = 32, dense: int = 64, dropout: float = 0.1
    ) -> None:
        super().__init__(sizes)
        self.front, shape = image_front(sizes.only())
        channels, height, breadth = shape
        if min(height, breadth) < _SMALLEST:
            raise ValueError(f"takes images of at least 6 x 6 pixels, not {shape}.")
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * width * (height // 4) * (breadth // 4), dense),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.finish(sizes, dense)

    def learn_input(self, array: NDArray[Any]) -> None:
        self.front.learn(array)

    def embed(self, x: Tensor) -> Tensor:
        h_BD: Tensor = self.body(self.front(x))
        return h_BD
