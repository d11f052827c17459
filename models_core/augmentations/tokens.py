"""For tokens ``(B, T)`` of whole numbers; 0 is padding and stays. Imports torch.

Sources: word dropout, Iyyer and others 2015; replacement by the batch's own frequencies, Xie and
others 2017; swaps, Wei and Zou 2019.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models_core.augmenting import augmentation

_PADDING = 0


@augmentation("token_drop", "tokens", most=1.0)
def token_drop(x_BT: Tensor, strength: float) -> Tensor:
    """Hide a share of the tokens as padding; a row's first token stays, so that no row is empty."""
    dropped_BT = _chosen(x_BT, strength)
    dropped_BT[:, 0] = False
    return x_BT.masked_fill(dropped_BT, _PADDING)


@augmentation("token_replace", "tokens", most=1.0)
def token_replace(x_BT: Tensor, strength: float) -> Tensor:
    """Put tokens from anywhere in the batch in the place of a share of them."""
    there = x_BT[x_BT != _PADDING]
    if not len(there):
        return x_BT
    drawn_BT = there[torch.randint(len(there), x_BT.shape, device=x_BT.device)]
    return torch.where(_chosen(x_BT, strength), drawn_BT, x_BT)


@augmentation("token_swap", "tokens", most=1.0)
def token_swap(x_BT: Tensor, strength: float) -> Tensor:
    """Let neighbours change places: each pair of two, from an odd or even place on, by chance."""
    first = int(torch.randint(2, (), device=x_BT.device))
    pairs = (x_BT.shape[1] - first) // 2
    if not pairs:
        return x_BT
    end = first + 2 * pairs
    pair_BP2 = x_BT[:, first:end].reshape(len(x_BT), pairs, 2)
    whole_BP = (pair_BP2 != _PADDING).all(dim=2)
    swapped_BP = (torch.rand(len(x_BT), pairs, device=x_BT.device) < strength) & whole_BP
    turned_BP2 = torch.where(swapped_BP.unsqueeze(2), pair_BP2.flip(2), pair_BP2)
    return torch.cat([x_BT[:, :first], turned_BP2.flatten(1), x_BT[:, end:]], dim=1)


def _chosen(x_BT: Tensor, share: float) -> Tensor:
    """Which tokens, by chance, padding never."""
    return (torch.rand(x_BT.shape, device=x_BT.device) < share) & (x_BT != _PADDING)
