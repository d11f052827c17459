"""What to search: choices and ranges, declared as data. Two equal spaces say the same JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from models_core.spec import Scalar
from models_core.training import FitRecipe

if TYPE_CHECKING:
    import optuna

OF_SPEC = "spec."  # says that a name which the recipe has too means the architecture's parameter
# What decides how trials are compared, or where they run, is no question of which one is best.
_NOT_SEARCHED = ("watch", "seed", "device", "shard", "threads", "max_seconds", "checkpoint_every")


class TuneError(ValueError):
    """A search that cannot be made; the sentence says why and what to change."""


@dataclass(frozen=True, slots=True, init=False)
class Choice:
    """One of some values.

    >>> Choice(16, 64, 256).options
    (16, 64, 256)
    """

    options: tuple[Scalar, ...]

    def __init__(self, *options: Scalar) -> None:
        if len(set(options)) < 2 or len(set(options)) != len(options):
            raise TuneError(f"Choice{options} needs two or more different values.")
        odd = [option for option in options if not isinstance(option, bool | int | float | str)]
        if odd:
            raise TuneError(f"{odd[0]!r} is not a number, string or boolean.")
        object.__setattr__(self, "options", options)

    def to_dict(self) -> dict[str, Any]:
        return {"options": list(self.options)}

    def suggested(self, name: str, trial: optuna.Trial) -> Scalar:
        """The trial's value."""
        chosen: Any = trial.suggest_categorical(name, self.options)
        return chosen  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Range:
    """A number from ``low`` to ``high``, both possible; whole when both are.

    Args:
        log: look as closely at 0.001..0.01 as at 0.1..1; for rates and sizes.
        step: only ``low``, ``low + step``, ...; not with ``log``.

    >>> Range(1, 4).is_whole, Range(1e-4, 1e-1, log=True).is_whole
    (True, False)
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        said = f"Range({self.low}, {self.high})"
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise TuneError(f"{said} does not go up from one finite number to another.")
        if self.log and self.low <= 0:
            raise TuneError(f"{said} has no logarithm. Begin above 0.")
        if self.step is not None and (self.log or not 0 < self.step <= self.high - self.low):
            raise TuneError(f"{said} cannot have log={self.log} and step={self.step}.")
        if self.is_whole and self.step is not None and self.step != int(self.step):
            raise TuneError(f"{said} is of whole numbers; its step is {self.step}.")

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def to_dict(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, "log": self.log, "step": self.step}

    def suggested(self, name: str, trial: optuna.Trial) -> Scalar:
        """The trial's value."""
        if self.is_whole:
            step, low = int(self.step or 1), int(self.low)
            high = low + (int(self.high) - low) // step * step
            return trial.suggest_int(name, low, high, log=self.log, step=step)
        return trial.suggest_float(name, self.low, self.high, log=self.log, step=self.step)


Space = Mapping[str, Choice | Range]


def check_space(space: Space, architecture: str, taken: Mapping[str, Any]) -> None:
    """Raise ``TuneError`` for a name that is of neither the recipe nor the architecture.

    Args:
        taken: the architecture's parameters by name; empty where it takes any.
    """
    if not space:
        raise TuneError("The space is empty: there is nothing to search.")
    for name, each in space.items():
        if not isinstance(each, Choice | Range):
            raise TuneError(f"{name!r} is {each!r}, neither a Choice nor a Range.")
        parameter = name.removeprefix(OF_SPEC)
        if name in _NOT_SEARCHED:
            raise TuneError(f"{name!r} decides how trials are compared or run; give a recipe.")
        if not is_of_recipe(name) and taken and parameter not in taken:
            raise TuneError(
                f"{name!r} is neither a field of FitRecipe nor a parameter of {architecture!r}, "
                f"which takes: {', '.join(taken)}."
            )


def is_of_recipe(name: str) -> bool:
    """Whether a name of a space means a field of the recipe."""
    return name in {field.name for field in fields(FitRecipe)}
