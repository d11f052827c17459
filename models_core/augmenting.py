"""What is done to training inputs so that a model learns what does not matter. Imports torch.

An augmentation is said in a recipe as text: ``"jitter=0.05,mask=0.1"``, or ``"photo:flip=0.5"`` for
the one input of that name. Each is a function of a batch of one input, a strength and torch's
random state. Those that come along are in ``models_core/augmentations``; register another with
``@augmentation("name")``.

Shape suffixes: B = batch, O = values of an answer, C = classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

Augment = Callable[[Tensor, float], Tensor]
MIXUP: Final = "mixup"  # the one that changes answers too
# What an input can be, by its type and its number of axes. Raw sound has those of a table.
KINDS: Final[Mapping[str, tuple[int, ...]]] = {
    "table": (2,),
    "series": (3,),
    "image": (4,),
    "sound": (2,),
    "numbers": (2, 3, 4),
    "tokens": (2,),
}


@dataclass(frozen=True, slots=True)
class Registered:
    """A function, what it is for, and its greatest strength."""

    function: Augment
    takes: tuple[str, ...]
    most: float

    def fits(self, x: Tensor) -> bool:
        """Whether the input is of a kind that it takes."""
        return any(
            x.ndim in KINDS[kind] and x.is_floating_point() == (kind != "tokens")
            for kind in self.takes
        )


_registered: dict[str, Registered] = {}


def augmentation(name: str, *takes: str, most: float = math.inf) -> Callable[[Augment], Augment]:
    """Register a function under ``name``; a taken name or an unknown kind is refused.

    ``takes``: kinds of inputs it is for, ``numbers`` (floats of any shape) when left out; inputs of
    other kinds are left alone. ``most``: the greatest strength that means something.
    """
    unknown = [kind for kind in takes if kind not in KINDS]
    if unknown:
        raise ValueError(f"No kind of input {unknown[0]!r}. There are: {', '.join(KINDS)}.")

    def register(function: Augment) -> Augment:
        made = Registered(function, takes or ("numbers",), most)
        if name == MIXUP or _registered.setdefault(name, made) != made:
            raise ValueError(f"An augmentation {name!r} exists already.")
        return function

    return register


def augmentations() -> Mapping[str, Registered]:
    """Every registered one by name, but ``mixup``."""
    import models_core.augmentations  # noqa: F401 - importing registers them

    return _registered


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Some augmentations, one after the other: which, for which input (None: all), how strongly."""

    steps: tuple[tuple[Registered, int | None, float], ...] = ()
    mixup: float = 0.0

    @classmethod
    def parse(cls, text: str, inputs: Mapping[str, Tensor]) -> Augmentation:
        """Read ``"name=strength,input:name=strength,..."`` for these inputs.

        Raises:
            ValueError: a name, input or strength is unknown or out of range, or there is no input
                that it is for; the sentence says what there is.
        """
        steps, mixup = [], 0.0
        for part in filter(None, (part.strip() for part in text.split(","))):
            target, name, strength = _split(part)
            if target and target not in inputs:
                raise ValueError(f"{part!r}: no input {target!r} but {', '.join(inputs)}.")
            if name == MIXUP:
                _require_mixable(part, target, inputs)
                mixup = _checked(part, strength, math.inf)
                continue
            found = augmentations().get(name)
            if found is None:
                there = ", ".join(sorted([*augmentations(), MIXUP]))
                raise ValueError(f"No augmentation {name!r}. There are: {there}.")
            meant = [inputs[target]] if target else list(inputs.values())
            if not any(found.fits(x) for x in meant):
                given = ", ".join(f"{n} {tuple(x.shape[1:])} {x.dtype}" for n, x in inputs.items())
                raise ValueError(f"{part!r} is for {' or '.join(found.takes)}, not for {given}.")
            place = list(inputs).index(target) if target else None
            steps.append((found, place, _checked(part, strength, found.most)))
        return cls(tuple(step for step in steps if step[2] > 0), mixup)

    def __call__(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        for found, place, strength in self.steps:
            inputs = tuple(
                found.function(x, strength) if place in (None, n) and found.fits(x) else x
                for n, x in enumerate(inputs)
            )
        return inputs

    def mixed(
        self, inputs: tuple[Tensor, ...], y: Tensor, classes: int
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Mixup (Zhang and others 2018): each row and its answer between itself and another row.

        How far is drawn from Beta(strength, strength). ``classes`` > 0: answers are class numbers
        ``(B,)`` and become shares ``(B, C)``.
        """
        if not self.mixup or not len(y):
            return inputs, y
        alpha = torch.full((len(y),), self.mixup, device=y.device)
        share_B = torch.distributions.Beta(alpha, alpha).sample()
        share_B = torch.maximum(share_B, 1 - share_B)  # nearer to itself, as its weight is its own
        other_B = torch.randperm(len(y), device=y.device)
        is_number = classes > 0 and not y.is_floating_point()  # a teacher gives shares already
        y = functional.one_hot(y, classes).float() if is_number else y
        mixed = [_between(x, x[other_B], share_B) for x in (*inputs, y)]
        return tuple(mixed[:-1]), mixed[-1]


def _between(x: Tensor, other: Tensor, share_B: Tensor) -> Tensor:
    return torch.lerp(other, x, share_B.view(-1, *[1] * (x.ndim - 1)))


def _split(part: str) -> tuple[str, str, str]:
    """The input's name or nothing, the augmentation's, and the strength as text."""
    said, _, strength = part.partition("=")
    target, colon, name = said.rpartition(":")
    return (target.strip() if colon else "", name.strip(), strength)


def _checked(part: str, text: str, most: float) -> float:
    try:
        strength = float(text)
    except ValueError:
        raise ValueError(f"{part!r} needs a strength, as in mask=0.1.") from None
    if not (math.isfinite(strength) and 0 <= strength <= most):
        wanted = "at least 0" if most == math.inf else f"0 to {most:g}"
        raise ValueError(f"{part!r}: the strength is not {wanted}.")
    return strength


def _require_mixable(part: str, target: str, inputs: Mapping[str, Tensor]) -> None:
    tokens = [name for name, x in inputs.items() if not x.is_floating_point()]
    if tokens:
        raise ValueError(f"{part!r}: tokens ({', '.join(tokens)}) cannot be mixed.")
    if target:
        raise ValueError(f"{part!r} is for all inputs at once. Leave out {target!r}.")
