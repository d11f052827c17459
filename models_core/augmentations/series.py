"""For series ``(B, T, C)`` and raw sound ``(B, T)``. Imports torch.

Sources: scaling, warping and slicing as in Um and others 2017 and Le Guennec and others 2016;
``hide`` is the time mask of SpecAugment (Park and others 2019), on the raw course.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from models_core.augmenting import augmentation

_KNOTS = 4  # of the speed of a warp


@augmentation("scale", "series", "sound")
def scale(x: Tensor, strength: float) -> Tensor:
    """Stretch each row, channel by channel, about its mean by a factor of ``exp(normal)``."""
    middle = x.mean(dim=1, keepdim=True)
    return middle + (x - middle) * torch.exp(torch.randn_like(middle) * strength)


@augmentation("shift", "series", "sound", most=1.0)
def shift(x: Tensor, strength: float) -> Tensor:
    """Move each row in time by up to ``strength`` of its length; the edge value is repeated."""
    steps = x.shape[1]
    by_B1 = (_signed(x) * strength * steps).round()
    place_BT = (torch.arange(steps, device=x.device) - by_B1).clamp(0, steps - 1)
    return _at(x, place_BT)


@augmentation("warp", "series", "sound")
def warp(x: Tensor, strength: float) -> Tensor:
    """Let each row's time run faster and slower, smoothly; begin and end stay in place."""
    steps = x.shape[1]
    knot_BK = torch.randn(len(x), 1, _KNOTS, device=x.device) * strength
    speed_BT = functional.interpolate(knot_BK, steps, mode="linear", align_corners=True)
    passed_BT = speed_BT.squeeze(1).exp().cumsum(dim=1)
    passed_BT = passed_BT - passed_BT[:, :1]
    whole_B1 = passed_BT[:, -1:].clamp(min=1e-9)
    return _at(x, passed_BT / whole_B1 * (steps - 1))


@augmentation("window", "series", "sound", most=1.0)
def window(x: Tensor, strength: float) -> Tensor:
    """Cut away up to ``strength`` of each row and stretch what is left to the whole length."""
    steps = x.shape[1]
    kept_B1 = 1 - _drawn(x) * strength
    first_B1 = _drawn(x) * (1 - kept_B1) * (steps - 1)
    share_T = torch.linspace(0, 1, steps, device=x.device)
    return _at(x, first_B1 + share_T * kept_B1 * (steps - 1))


@augmentation("hide", "series", "sound", most=1.0)
def hide(x: Tensor, strength: float) -> Tensor:
    """Set a span of up to ``strength`` of each row to the row's mean."""
    steps = x.shape[1]
    width_B1 = _drawn(x) * strength * steps
    first_B1 = _drawn(x) * (steps - width_B1)
    place_T = torch.arange(steps, device=x.device)
    hidden_BT = (place_T >= first_B1.floor()) & (place_T < (first_B1 + width_B1).floor())
    hidden = hidden_BT.view(*hidden_BT.shape, *[1] * (x.ndim - 2))
    return torch.where(hidden, x.mean(dim=1, keepdim=True), x)


@augmentation("noise", "sound")
def noise(x_BT: Tensor, strength: float) -> Tensor:
    """Add white noise of up to ``strength`` times the row's loudness: 0.1 is 20 dB below it."""
    loud_B1 = x_BT.square().mean(dim=1, keepdim=True).sqrt()
    return x_BT + torch.randn_like(x_BT) * loud_B1 * _drawn(x_BT) * strength


@augmentation("gain", "sound")
def gain(x_BT: Tensor, strength: float) -> Tensor:
    """Make each row louder or softer by a factor of ``exp(normal * strength)``."""
    return x_BT * torch.exp(torch.randn(len(x_BT), 1, device=x_BT.device) * strength)


def _drawn(x: Tensor) -> Tensor:
    """``(B, 1)`` between 0 and 1."""
    return torch.rand(len(x), 1, device=x.device)


def _signed(x: Tensor) -> Tensor:
    return _drawn(x) * 2 - 1


def _at(x: Tensor, place_BT: Tensor) -> Tensor:
    """The values at places between steps, by straight lines."""
    last = x.shape[1] - 1
    place_BT = place_BT.clamp(0, last)
    before_BT = place_BT.floor().long()
    share = (place_BT - before_BT).to(x.dtype)
    after_BT = (before_BT + 1).clamp(max=last)
    if x.ndim == 3:
        before_BT, after_BT = (n.unsqueeze(2).expand_as(x) for n in (before_BT, after_BT))
        share = share.unsqueeze(2)
    return torch.lerp(x.gather(1, before_BT), x.gather(1, after_BT), share.expand_as(x))
