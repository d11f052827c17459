"""What is done to training inputs so that a model learns what does not matter. Imports torch.

An augmentation is said in a recipe as text: ``"jitter=0.05,mask=0.1"``. Each one is a function of
a float input ``(B, ...)``, a strength and torch's random state; tokens are left alone unless it is
for tokens. Register one with ``@augmentation("name")``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Augment = Callable[[Tensor, float], Tensor]
_registered: dict[str, Augment] = {}


def augmentation(name: str) -> Callable[[Augment], Augment]:
    """Register a function under ``name``; a taken name is refused."""

    def register(function: Augment) -> Augment:
        if _registered.setdefault(name, function) is not function:
            raise ValueError(f"An augmentation {name!r} exists already.")
        return function

    return register


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Some augmentations, one after the other."""

    steps: tuple[tuple[str, float], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Augmentation:
        """Read ``"name=strength,..."``. Raises ``ValueError`` that names what there is."""
        steps = []
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, strength = part.partition("=")
            if name not in _registered:
                raise ValueError(
                    f"No augmentation {name!r}. There are: {', '.join(sorted(_registered))}."
                )
            try:
                steps.append((name, float(strength)))
            except ValueError:
                raise ValueError(f"{part!r} needs a strength: {name}=0.1.") from None
        return cls(tuple(steps))

    def __call__(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        for name, strength in self.steps:
            inputs = tuple(_registered[name](array, strength) for array in inputs)
        return inputs


@augmentation("jitter")
def jitter(x: Tensor, strength: float) -> Tensor:
    """Add normal noise of ``strength`` times each input's own spread in the batch."""
    if not x.is_floating_point():
        return x
    return x + torch.randn_like(x) * x.std(dim=0, correction=0, keepdim=True) * strength


@augmentation("mask")
def mask(x: Tensor, strength: float) -> Tensor:
    """Set a share of the numbers, each by chance, to the batch's mean."""
    if not x.is_floating_point():
        return x
    return torch.where(torch.rand_like(x) < strength, x.mean(dim=0, keepdim=True), x)
