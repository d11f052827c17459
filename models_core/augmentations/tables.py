"""For tables ``(B, F)``. Imports torch."""

from __future__ import annotations

import torch
from torch import Tensor

from models_core.augmenting import augmentation


@augmentation("swap", "table", most=1.0)
def swap(x_BF: Tensor, strength: float) -> Tensor:
    """Swap noise: a share of the values comes from the same column of another row (Jahrer 2017).

    Columns keep the values they have, so that flags stay flags.
    """
    other_BF = torch.randint(len(x_BF), x_BF.shape, device=x_BF.device)
    return torch.where(torch.rand_like(x_BF) < strength, x_BF.gather(0, other_BF), x_BF)


@augmentation("blend", "table", most=1.0)
def blend(x_BF: Tensor, strength: float) -> Tensor:
    """Move each row by up to ``strength`` of the way to another one; its answer stays."""
    share_B1 = torch.rand(len(x_BF), 1, device=x_BF.device, dtype=x_BF.dtype) * strength
    return torch.lerp(x_BF, x_BF[torch.randperm(len(x_BF), device=x_BF.device)], share_B1)
