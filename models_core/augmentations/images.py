"""For images ``(B, C, H, W)``. Imports torch.

Source: cutout, DeVries and Taylor 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models_core.augmenting import augmentation


@augmentation("flip", "image", most=1.0)
def flip(x_BCHW: Tensor, strength: float) -> Tensor:
    """Mirror left and right, with the chance ``strength``."""
    return torch.where(_drawn(x_BCHW) < strength, x_BCHW.flip(3), x_BCHW)


@augmentation("crop", "image", most=1.0)
def crop(x_BCHW: Tensor, strength: float) -> Tensor:
    """Move by up to ``strength`` of the height and the width; the edge is repeated."""
    rows, _, height, width = x_BCHW.shape
    moved = x_BCHW
    for axis, size in ((2, height), (3, width)):
        by_B1 = ((torch.rand(rows, 1, device=x_BCHW.device) * 2 - 1) * strength * size).round()
        place_BS = (torch.arange(size, device=x_BCHW.device) - by_B1).clamp(0, size - 1).long()
        place = place_BS.view(rows, 1, size, 1) if axis == 2 else place_BS.view(rows, 1, 1, size)
        moved = moved.gather(axis, place.expand_as(moved))
    return moved


@augmentation("cutout", "image", most=1.0)
def cutout(x_BCHW: Tensor, strength: float) -> Tensor:
    """Set a rectangle of ``strength`` of height and width, anywhere, to the image's mean."""
    height, width = x_BCHW.shape[2:]
    in_rows = _span(x_BCHW, height, strength).unsqueeze(2)
    in_columns = _span(x_BCHW, width, strength).unsqueeze(1)
    cut_B1HW = (in_rows & in_columns).unsqueeze(1)
    return torch.where(cut_B1HW, x_BCHW.mean(dim=(2, 3), keepdim=True), x_BCHW)


@augmentation("brightness", "image")
def brightness(x_BCHW: Tensor, strength: float) -> Tensor:
    """Lighter or darker by a normal share of the image's own spread."""
    spread = x_BCHW.std(dim=(1, 2, 3), correction=0, keepdim=True)
    return x_BCHW + torch.randn_like(spread) * spread * strength


@augmentation("contrast", "image")
def contrast(x_BCHW: Tensor, strength: float) -> Tensor:
    """Stretch about the image's mean by a factor of ``exp(normal * strength)``."""
    middle = x_BCHW.mean(dim=(1, 2, 3), keepdim=True)
    return middle + (x_BCHW - middle) * torch.exp(torch.randn_like(middle) * strength)


def _drawn(x_BCHW: Tensor) -> Tensor:
    """``(B, 1, 1, 1)`` between 0 and 1."""
    return torch.rand(len(x_BCHW), 1, 1, 1, device=x_BCHW.device)


def _span(x_BCHW: Tensor, size: int, share: float) -> Tensor:
    """``(B, size)``: whether a place is within a span of this share, anywhere."""
    middle_B1 = torch.rand(len(x_BCHW), 1, device=x_BCHW.device) * size
    place_S = torch.arange(size, device=x_BCHW.device) + 0.5
    return (place_S - middle_B1).abs() <= share * size / 2
