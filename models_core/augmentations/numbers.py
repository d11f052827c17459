"""For floats of any shape ``(B, ...)``. Imports torch."""

from __future__ import annotations

import torch
from torch import Tensor

from models_core.augmenting import augmentation


@augmentation("jitter")
def jitter(x: Tensor, strength: float) -> Tensor:
    """Add normal noise of ``strength`` times each number's own spread in the batch."""
    return x + torch.randn_like(x) * x.std(dim=0, correction=0, keepdim=True) * strength


@augmentation("mask", most=1.0)
def mask(x: Tensor, strength: float) -> Tensor:
    """Set a share of the numbers, each by chance, to the batch's mean."""
    return torch.where(torch.rand_like(x) < strength, x.mean(dim=0, keepdim=True), x)
