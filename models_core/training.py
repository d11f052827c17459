"""How to train: the recipe, and ``fit``. Cheap to import; torch comes with the first fit."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from models_core.spec import Scalar, Spec
from models_core.table import Table

if TYPE_CHECKING:
    from models_core.model import Model


class Progress(Protocol):
    """Told now and then: the stage's name, and how much of it is done."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


@dataclass(frozen=True, slots=True)
class FitRecipe:
    """How a model is trained. The defaults suit some 100,000 rows on two CPU cores.

    The same recipe, spec, data and number of threads give the same weights to the bit on one
    machine. A run that ``max_seconds`` would cut short is hurried instead: from half of that time on
    the learning rate falls with the clock, so that the weights are usable when time is up, but they
    depend on the clock.
    """

    steps: int = 1200  # at most; the learning rate has fallen to 0 at the last one
    batch_size: int = 2048
    learning_rate: float = 8e-3
    weight_decay: float = 1e-2
    warmup_share: float = 0.05  # of the steps
    positive_weight: float = 1.0  # how many negatives a positive counts for, beside weight_N
    gradient_clip: float = 1.0  # largest norm of a gradient
    auxiliary_share: float = 0.7  # of the steps: first, for what some modules learn beside answers
    evaluate_every: int = 100  # steps between looks at the validation table
    patience: int = 6  # looks without a better PR-AUC before stopping
    max_seconds: float | None = None  # wall time of the fit, within a look
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 where it is fast
    device: Literal["cpu", "cuda", "auto"] = "auto"
    # CPU threads; None is torch's choice, one for each core. Threads wait for each other at every
    # operation, which on cores that others use too costs far more than a second core gives.
    threads: int | None = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "evaluate_every", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        for name in ("learning_rate", "positive_weight", "gradient_clip"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}={value} must be above 0.")
        if self.weight_decay < 0 or not 0 <= self.warmup_share < 1:
            raise ValueError(f"{self.weight_decay=} or {self.warmup_share=} is out of range.")
        if not 0 < self.auxiliary_share < 1:
            raise ValueError(f"auxiliary_share={self.auxiliary_share} must be between 0 and 1.")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads={self.threads} must be at least 1, or None.")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise ValueError(f"max_seconds={self.max_seconds} must be above 0, or None.")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"precision={self.precision!r} is not auto, float32 or bfloat16.")
        if self.device not in ("cpu", "cuda", "auto"):
            raise ValueError(f"device={self.device!r} is not cpu, cuda or auto.")

    def to_dict(self) -> dict[str, Scalar | None]:
        return asdict(self)


def fit(
    spec: Spec,
    train: Table,
    validation: Table,
    recipe: FitRecipe | None = None,
    progress: Progress | None = None,
) -> Model:
    """Train a model on ``train``; ``validation`` picks the best step by PR-AUC.

    Args:
        spec: what to build; ``num_features`` must be the tables'.
        train, validation: split them by time, never at random, or the future leaks.
        recipe: how; ``FitRecipe()`` when left out.
        progress: called as ``progress("fit", step, steps)`` at each look and at the end.

    Raises:
        SpecError: the architecture or a parameter is unknown.
        ValueError: widths differ, a table lacks positives or negatives, or CUDA is asked for
            where there is none.
    """
    for name, table in (("train", train), ("validation", validation)):
        if table.num_features != spec.num_features:
            raise ValueError(
                f"The {name} table has {table.num_features} features, "
                f"the spec has {spec.num_features}."
            )
        table.require_both_answers(name)

    from models_core.loop import train_module

    return train_module(spec, train, validation, recipe or FitRecipe(), progress)
