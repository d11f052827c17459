"""Several kinds of input at once: a branch for each, joined and trained together.

Shape suffixes: B = batch, F = features, D = width.
"""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models_core.architectures.binary import FeatureScale
from models_core.architectures.network import Encoder, Network, Sizes
from models_core.architectures.registry import architecture, class_of
from models_core.spec import Input


class TableBranch(Encoder):
    """Features of a table: scaled, and one hidden layer."""

    def __init__(self, sizes: Sizes, *, width: int = 64) -> None:
        super().__init__(sizes)
        (features,) = sizes.only().shape
        self.scale = FeatureScale(features)
        self.hidden = nn.Sequential(nn.Linear(features, width), nn.ReLU())
        self.finish(sizes, width)

    def learn_input(self, array: NDArray[Any]) -> None:
        self.scale.learn(torch.from_numpy(array))

    def embed(self, x: Tensor) -> Tensor:
        h_BD: Tensor = self.hidden(self.scale(x))
        return h_BD


@architecture("fusion")
class Fusion(Network):
    """A branch for each input; their features side by side go through one hidden layer.

    Which architecture a branch has is a parameter of the input's name, as in
    ``Spec.of("fusion", data, image="resnet", sound="cnn", table="table")``; left out, it follows from
    the shape: a table, a ``lstm`` for series, a ``transformer`` for tokens, a ``cnn`` for images.

    **Shape**

    - Input: a tensor for each input. Output: as the task has it.

    **Example**

    >>> from models_core.spec import Spec
    >>> inputs = {"image": Input((1, 8, 8)), "table": Input((5,)), "text": Input((7,), 20)}
    >>> spec = Spec("fusion", inputs=inputs, task="classes", outputs=3)
    >>> module = Fusion(Sizes.of(spec), width=16)
    >>> module(torch.zeros(2, 1, 8, 8), torch.zeros(2, 5), torch.ones(2, 7).long()).shape
    torch.Size([2, 3])
    """

    def __init__(
        self, sizes: Sizes, *, width: int = 64, dropout: float = 0.1, **branches: str
    ) -> None:
        super().__init__(sizes)
        unknown = sorted(set(branches) - set(sizes.inputs))
        if unknown:
            raise ValueError(f"has no input {', '.join(unknown)}: {', '.join(sizes.inputs)}.")
        self.branches = nn.ModuleDict(
            {
                name: _branch(name, size, branches.get(name) or _usual(size))
                for name, size in sizes.inputs.items()
            }
        )
        joined = sum(self._branch(name).dim for name in self.branches)
        self.hidden = nn.Sequential(nn.Linear(joined, width), nn.ReLU(), nn.Dropout(dropout))
        self.head = nn.Linear(width, sizes.outputs)

    def _branch(self, name: str) -> Encoder:
        branch = self.branches[name]
        assert isinstance(branch, Encoder)
        return branch

    def prepare(self, train: Any, log_odds: float) -> None:
        for name in self.branches:
            self._branch(name).learn_input(train.inputs[name])
        self.learn_answers(train)
        if self.task == "binary":
            nn.init.constant_(self.head.bias, log_odds)

    def forward(self, *inputs: Tensor) -> Tensor:
        parts = [
            self._branch(name).embed(array)
            for name, array in zip(self.branches, inputs, strict=True)
        ]
        return self.answered(self.head(self.hidden(torch.cat(parts, dim=1))))


def _usual(size: Input) -> str:
    if size.vocabulary:
        return "transformer"
    return {1: "table", 2: "lstm", 3: "cnn"}[len(size.shape)]


def _branch(name: str, size: Input, kind: str) -> Encoder:
    cls: type[Any] = TableBranch if kind == "table" else class_of(kind)
    if not issubclass(cls, Encoder):
        raise ValueError(f"cannot take {kind!r} for {name!r}: it makes no features of one input.")
    branch = cls(Sizes({name: size}, "classes", 1))
    del branch.head  # only its features are used
    return branch
