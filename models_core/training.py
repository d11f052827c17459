"""How to train: the recipe, and ``fit``. Cheap to import; torch comes with the first fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Protocol,
    get_args,
    get_type_hints,
    runtime_checkable,
)

from models_core.data import Data
from models_core.privacy import WITHHELD, Privacy
from models_core.spec import Scalar, Spec
from models_core.table import Table

if TYPE_CHECKING:
    from models_core.model import Look, Model
    from models_core.reports import Report
    from models_core.tracking import Tracker


class Progress(Protocol):
    """Told now and then: the stage's name, and how much of it is done."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


@runtime_checkable
class SeesLooks(Protocol):
    """A progress that wants the figures of each look too, before it is told how much is done."""

    def look(self, loss: float, score: float) -> None: ...


@dataclass(frozen=True, slots=True)
class FitRecipe:
    """How a model is trained. The defaults suit some 100,000 rows on two CPU cores.

    The same recipe, spec, data and number of threads give the same weights to the bit on one
    machine, also when the run was interrupted and went on from a checkpoint. A run that
    ``max_seconds`` would cut short is hurried instead: from half of that time on the learning rate
    falls with the clock, so that the weights are usable when time is up, but they depend on the
    clock.
    """

    steps: int = 1200  # at most; the learning rate has fallen to 0 at the last one
    batch_size: int = 2048  # rows of a step, over all processes
    micro_batch: int | None = None  # rows at a time; gradients of a batch add up. None: all at once
    optimizer: Literal["adamw", "adafactor", "sgd", "muon"] = "adamw"
    schedule: Literal["cosine", "linear", "constant", "one_cycle"] = "cosine"
    learning_rate: float = 8e-3
    weight_decay: float = 1e-2
    warmup_share: float = 0.05  # of the steps
    positive_weight: float = 1.0  # how many negatives a positive counts for, beside weight_N
    class_weight: Literal["none", "balanced"] = "none"  # balanced: rare classes count as much
    sampling: Literal["uniform", "balanced"] = "uniform"  # balanced: rare classes come as often
    focal: float = 0.0  # exponent of the focal loss; 0: the plain loss
    augment: str = ""  # what is done to training inputs: "jitter=0.05,mask=0.1"
    gradient_clip: float = 1.0  # largest norm of a gradient
    auxiliary_share: float = 0.7  # of the steps: first, for what some modules learn beside answers
    evaluate_every: int = 100  # steps between looks at the validation rows
    watch: str = "auto"  # the metric that picks the best step; auto: the task's own
    patience: int = 6  # looks without a better one before stopping
    max_seconds: float | None = None  # wall time of the fit, within a look
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # auto: bf16 where fast
    compile: bool = False  # torch.compile: worth its seconds on a GPU and in long runs
    device: Literal["cpu", "cuda", "auto"] = "auto"
    shard: Literal["auto", "none", "ddp", "fsdp"] = "auto"  # under torchrun; auto: ddp
    # CPU threads; None is torch's choice, one for each core. Threads wait for each other at every
    # operation, which on cores that others use too costs far more than a second core gives.
    threads: int | None = 1
    checkpoint_every: int = 500  # steps, where fit is given a folder for checkpoints
    freeze: str = ""  # parameters whose names begin so, comma-separated, keep their values
    start_fresh: str = ""  # parameters whose names begin so are not copied from a start
    start_scales: Literal["new", "kept"] = "new"  # new: learned from the new rows; kept: copied
    rate_factors: str = ""  # times the learning rate, by how names begin: "front=0.1,body=0.3"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "evaluate_every", "patience", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        for name in ("learning_rate", "positive_weight", "gradient_clip"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}={value} must be above 0.")
        if self.weight_decay < 0 or not 0 <= self.warmup_share < 1:
            raise ValueError(f"{self.weight_decay=} or {self.warmup_share=} is out of range.")
        if not 0 <= self.focal <= 10:
            raise ValueError(f"focal={self.focal} is not in 0..10.")
        if not 0 < self.auxiliary_share < 1:
            raise ValueError(f"auxiliary_share={self.auxiliary_share} must be between 0 and 1.")
        for name in ("threads", "micro_batch"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1, or None.")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise ValueError(f"max_seconds={self.max_seconds} must be above 0, or None.")
        for name, choices in _choices().items():
            if getattr(self, name) not in choices:
                offered = ", ".join(choices[:-1])
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is not {offered} or {choices[-1]}."
                )

    def to_dict(self) -> dict[str, Scalar | None]:
        return asdict(self)


def _choices() -> dict[str, tuple[str, ...]]:
    """The fields of a recipe that take one of a few words."""
    hints: Mapping[str, Any] = get_type_hints(FitRecipe)
    return {
        name: get_args(hint)
        for name, hint in hints.items()
        if get_args(hint)[:1] and isinstance(get_args(hint)[0], str)
    }


def fit(
    spec: Spec,
    train: Table | Data,
    validation: Table | Data | None = None,
    recipe: FitRecipe | None = None,
    progress: Progress | None = None,
    *,
    start: Model | None = None,
    checkpoints: Path | str | None = None,
    looked: Callable[[Look], None] | None = None,
    trackers: Sequence[Tracker] = (),
    teacher: Model | None = None,
    privacy: Privacy | None = None,
) -> Model:
    """Train a model on ``train``; ``validation`` picks the best step.

    Args:
        spec: what to build; its inputs and task must be those of the data.
        train, validation: split them by time, never at random, or the future leaks. Without a
            ``validation`` the last fifth of ``train`` is taken for it.
        recipe: how; ``FitRecipe()`` when left out.
        progress: called as ``progress("fit", step, steps)`` now and then and at the end; ``bar()``
            draws it.
        start: begin with the weights of this model wherever names and shapes agree. The head is
            copied only where the question is the same, scales only if the recipe's
            ``start_scales`` is ``kept``; ``progress`` is told what stayed fresh.
        checkpoints: a folder; the run saves its state there and goes on from it when called
            again with the same spec, data and recipe, to the bit as if it had not stopped.
        looked: told of each look at the validation rows; when it raises ``StopFit`` the fit ends
            there, with the best weights so far.
        trackers: told of the run, its looks and its outcome. One that fails is warned of.
        teacher: a model of the same question; its answers count for 0.7 of each label.
        privacy: bound what the model may tell of any one row of ``train``. Scales, base rate, best
            step and golden rows then come from ``validation``, which must be given and is not
            protected; chance comes from the system, so no two such fits are equal.

    Raises:
        SpecError: the architecture or a parameter is unknown.
        ValueError: sizes differ, a binary part lacks positives or negatives, or CUDA is asked for
            where there is none.
        CheckpointError: the folder holds the run of another spec, data or recipe.
    """
    if privacy is not None and teacher is not None:
        raise ValueError("A teacher is in no account: leave it out of a private fit.")
    learned, looked_at = _parts(spec, train, validation, privacy)

    from models_core.loop import train_module
    from models_core.tracking import RunFacts, Told

    recipe = recipe or FitRecipe()
    folder = None if checkpoints is None else Path(checkpoints)
    data_hash = hash_to_tell(learned, privacy) if trackers else ""  # takes a while for large data
    facts = RunFacts(spec.architecture, spec, recipe, data_hash, len(learned), len(looked_at))
    told = Told(trackers, looked, facts)
    with told.failures():
        model = train_module(
            spec, learned, looked_at, recipe, progress, start, folder, told, teacher, privacy
        )
    told.end(model, lambda: _judged(model, looked_at))
    return model


def hash_to_tell(rows: Table | Data, privacy: Privacy | None) -> str:
    """Which rows they are, unless they are protected: whoever guesses rows could try the hash."""
    return rows.hash if privacy is None else WITHHELD


def _parts(
    spec: Spec, train: Table | Data, validation: Table | Data | None, privacy: Privacy | None
) -> tuple[Table | Data, Table | Data]:
    """Rows to learn from and rows to look at, as the module takes them."""
    if validation is None:
        if privacy is not None:
            raise ValueError(
                "A private fit needs validation rows of its own, which need no protection: scales "
                "and the best step come from them."
            )
        train, validation = cut(train)
    return for_spec(spec, "train", train), for_spec(spec, "validation", validation)


def _judged(model: Model, validation: Table | Data) -> Report:
    from models_core.evaluation import evaluate

    return evaluate(model, validation)


def cut(train: Table | Data) -> tuple[Data, Data]:
    """The rows to learn from, and the last fifth, to look at."""
    data = (
        train
        if isinstance(train, Data)
        else Data(train.x_NF, train.y_N.astype(int), "binary", weight_N=train.weight_N)
    )
    at = len(data) * 4 // 5
    return data.rows(slice(0, at)), data.rows(slice(at, None))


def for_spec(spec: Spec, name: str, part: Table | Data) -> Table | Data:
    """The part as the module takes it: a ``Table`` where the spec is of one."""
    if isinstance(part, Data) and not spec.inputs:
        part = part.as_table()
    if isinstance(part, Table):
        if spec.inputs or part.num_features != spec.num_features:
            raise ValueError(
                f"The {name} table has {part.num_features} features, "
                f"the spec has {spec.num_features}."
            )
        part.require_both_answers(name)
        return part
    wanted = {name: size.shape for name, size in spec.sizes.items()}
    given = {name: size.shape for name, size in part.sizes.items()}
    if wanted != given or spec.task != part.task:
        raise ValueError(
            f"The {name} data is {part.task} of {given}, the spec is {spec.task} of {wanted}."
        )
    return part
