"""From a trained model to a smaller and faster one, measured before and after.

Shape suffixes: N = rows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from models_core.chunking import filled
from models_core.compressed import ORIGINAL, Compressed, Step
from models_core.data import Data
from models_core.exporting import export
from models_core.measuring import Timed, microseconds, timed
from models_core.refusals import ArtifactError
from models_core.scoring import WATCHES, watched
from models_core.sessions import EngineError, run_parts, session
from models_core.spec import Scalar, Spec, SpecError
from models_core.table import Table
from models_core.training import FitRecipe, Progress, cut, fit

if TYPE_CHECKING:
    from models_core.model import Model

BATCH: Final = 64  # the batch that speed is told for
_MEASURING_S: Final = 2.0
_WORTH: Final = 0.9  # of the original's time; what gains less is not worth another model
_PRUNED: Final = (0.25, 0.5, 0.75)
_NARROWED: Final = (2, 4)


@dataclass(frozen=True, eq=False, slots=True)
class _Tried:
    """A step before its speed is known."""

    model: Model
    body: bytes  # the graph to serve by
    quality: float
    refused: str
    is_int8: bool = False


def compress(
    model: Model,
    data: Table | Data,
    validation: Table | Data | None = None,
    *,
    prune: float | None = None,
    into: Spec | None = None,
    bits: int = 32,
    max_loss: float = 0.005,
    recipe: FitRecipe | None = None,
    progress: Progress | None = None,
) -> Compressed:
    """Make a model smaller and faster, and say what that costs.

    What is named is tried: taking out units and tuning what is left, teaching a smaller spec, and
    int8 of each result. With nothing named all of that is tried. The fastest at batch 64 is chosen
    whose quality on the validation rows falls by no more than ``max_loss``; where none is a tenth
    faster, the original comes back and ``why`` says so.

    Args:
        model: from ``fit``.
        data: training rows.
        validation: rows that judge; the last fifth of ``data`` when left out. They also pick the
            best step of the tuning: measure on test rows what you report.
        prune: the share of hidden units to take out.
        into: a smaller spec of the same inputs and task, taught by the model.
        bits: 8 for int8 by ONNX Runtime, with fixed ranges taken from ``data``.
        max_loss: how far the watched metric may fall, in its own unit.
        recipe: of the tuning; that of the model when left out.

    Raises:
        ValueError: ``bits`` is neither 8 nor 32, a share is out of range, or the spec is of other
            inputs or another task.
    """
    _require_possible(model, into, bits, max_loss)
    if validation is None:
        data, validation = cut(data)
    tries = _Tries(model, data, validation, recipe or model.recipe, max_loss, progress)
    all_of_it = prune is None and into is None and bits == 32
    if all_of_it:
        tries.everything()
    if prune is not None:
        tries.prune(prune)
    if into is not None:
        tries.distil(into)
    if bits == 8 or all_of_it:
        tries.int8()
    return tries.chosen()


def _require_possible(model: Model, into: Spec | None, bits: int, max_loss: float) -> None:
    if model.privacy is not None:
        raise ValueError(
            "Compressing looks at training rows outside of the account of a private fit. Fit a "
            "smaller spec privately."
        )
    if bits not in (8, 32):
        raise ValueError(f"bits={bits} is neither 8 nor 32.")
    if max_loss < 0:
        raise ValueError(f"max_loss={max_loss} is below 0.")
    if into is not None and (dict(into.sizes), into.task, into.outputs) != (
        dict(model.spec.sizes),
        model.spec.task,
        model.spec.outputs,
    ):
        raise ValueError("The smaller spec takes other inputs or asks another question.")


class _Tries:
    """What was tried so far, by name."""

    def __init__(
        self,
        model: Model,
        train: Table | Data,
        validation: Table | Data,
        recipe: FitRecipe,
        max_loss: float,
        progress: Progress | None,
    ) -> None:
        self.original, self.train, self.validation = model, train, validation
        # What a recipe says of another start does not hold for what is cut or taught here.
        self.recipe = replace(
            recipe, freeze="", start_fresh="", rate_factors="", start_scales="kept"
        )
        self.max_loss, self.progress = max_loss, progress
        auto = next(iter(WATCHES[model.spec.task]))
        self.metric = auto if recipe.watch == "auto" else recipe.watch
        self.rows = dict(zip(model.spec.sizes, validation.arrays, strict=True))
        self.tried: dict[str, _Tried] = {}
        self.failed: dict[str, str] = {}
        self._add(ORIGINAL, model)

    def everything(self) -> None:
        from models_core.pruning import pruner_of

        can_prune = pruner_of(self.original) is not None
        for share in _PRUNED if can_prune else ():
            self.prune(share)
        # Of a transformer only a part can be pruned; what pruning narrows need not be taught too.
        if not can_prune or self.original.spec.architecture.endswith("transformer"):
            for spec in _narrower(self.original.spec):
                self.distil(spec)

    def prune(self, share: float) -> None:
        from models_core.pruning import PruningError, prune

        name = f"pruned by {share:.0%}"
        rows = dict(zip(self.original.spec.sizes, self.train.arrays, strict=True))
        try:
            self._taught(name, prune(self.original, rows, share))
        except PruningError as error:
            self.failed[name] = str(error)

    def distil(self, spec: Spec) -> None:
        params = ", ".join(f"{key} {value}" for key, value in sorted(spec.params.items()))
        name = f"taught {spec.architecture} {params}".rstrip()
        try:
            self._taught(name, spec)
        except (SpecError, EngineError) as error:
            self.failed[name] = str(error)

    def int8(self) -> None:
        """Int8 of whatever may be shipped."""
        from models_core.quantising import quantise_static

        rows = dict(zip(self.original.spec.sizes, self.train.arrays, strict=True))
        for name, tried in list(self.tried.items()):
            if tried.refused:
                continue
            try:
                body = quantise_static(tried.body, rows)
                answers = run_parts(session(body), self.rows, BATCH)
            except (ArtifactError, EngineError, ValueError) as error:
                self.failed[f"{name}, int8"] = str(error)
                continue
            self._judge(f"{name}, int8", tried.model, body, answers, is_int8=True)

    def _taught(self, name: str, student: Spec | Model) -> None:
        """Train a smaller model, new or pruned, by what the original says."""
        if self.progress is not None:
            self.progress(name, 0, 1)
        is_new = isinstance(student, Spec)
        spec = student if isinstance(student, Spec) else student.spec
        rate = self.recipe.learning_rate * (1.0 if is_new else 0.5)
        taught = fit(
            spec,
            self.train,
            self.validation,
            replace(self.recipe, learning_rate=rate),
            self.progress,
            start=None if isinstance(student, Spec) else student,
            teacher=self.original,
        )
        self._add(name, taught)

    def _add(self, name: str, model: Model) -> None:
        self._judge(name, model, export(model), model.logits(self.rows))

    def _judge(
        self,
        name: str,
        model: Model,
        body: bytes,
        answers: NDArray[np.float32],
        *,
        is_int8: bool = False,
    ) -> None:
        task, y = self.validation.task, self.validation.target
        quality = watched(task, y, answers, self.recipe.watch)
        loss = self.tried[ORIGINAL].quality - quality if self.tried else 0.0
        refused = ""
        if not loss <= self.max_loss:
            refused = f"falls by {loss:.4f}, more than {self.max_loss:g}"
        self.tried[name] = _Tried(model, body, quality, refused, is_int8)

    def chosen(self) -> Compressed:
        """Measure all in turns, and take the fastest of those that may be shipped."""
        us, us_eager = self._speeds()
        steps = [
            Step(name, len(t.body), us[name], us_eager.get(name), t.quality, t.refused)
            for name, t in self.tried.items()
        ]
        steps += [Step(name, 0, np.nan, None, np.nan, why) for name, why in self.failed.items()]
        best = steps[0]
        # In rising order of what they ask for: a float32 model first, int8 where it is worth it.
        for is_int8 in (False, True):
            sound = [s for s in steps if not s.refused and self.tried[s.name].is_int8 == is_int8]
            quickest = min(sound, key=lambda step: step.us, default=best)
            if quickest.us <= _WORTH * best.us:
                best = quickest
        tried = self.tried[best.name]
        return Compressed(
            model=tried.model,
            graph=tried.body if tried.is_int8 else None,
            metric=self.metric,
            max_loss=self.max_loss,
            steps=tuple(steps),
            chosen=best.name,
            why=_why(best, steps[0], self.metric, self.max_loss),
        )

    def _speeds(self) -> tuple[dict[str, float], dict[str, float]]:
        from models_core.eager import one_thread, torch_runs

        rows = {name: filled(array[:BATCH], BATCH) for name, array in self.rows.items()}
        runs: dict[str, dict[int, Timed]] = {}
        for name, tried in self.tried.items():
            runs[name] = {BATCH: timed(_by_graph(tried.body, rows))}
            if not tried.is_int8:
                eager = torch_runs(tried.model.module, BATCH)["torch cpu"]
                runs[f"torch {name}"] = {BATCH: timed(lambda _, run=eager: run(rows))}  # type: ignore[misc]
        with one_thread():
            took = microseconds(runs, seconds=_MEASURING_S)
        return (
            {name: took[name][BATCH] for name in self.tried},
            {n: took[f"torch {n}"][BATCH] for n in self.tried if f"torch {n}" in took},
        )


def _by_graph(body: bytes, rows: dict[str, NDArray[Any]]) -> Callable[[int], object]:
    loaded = session(body)
    return lambda batch: run_parts(loaded, rows, batch)


def _why(best: Step, before: Step, metric: str, max_loss: float) -> str:
    if best is before:
        return f"The original stays: nothing tried is a tenth faster and keeps {metric} within {max_loss:g}."
    return (
        f"Chosen: {best.name}, {before.us / best.us:.1f} times as fast as the original at batch "
        f"{BATCH} and {before.size / best.size:.1f} times smaller; {metric} changes by "
        f"{best.quality - before.quality:+.4f}, {-max_loss:g} is allowed."
    )


def _narrower(spec: Spec) -> Iterator[Spec]:
    """Specs of the same architecture with a half and a quarter of its width."""
    from models_core.architectures.registry import class_of

    width = inspect.signature(class_of(spec.architecture)).parameters.get("width")
    if width is None:
        return
    full = spec.params.get("width", width.default)
    heads = spec.params.get("heads", 4)
    for part in _NARROWED:
        narrow = int(full) // part
        changed: dict[str, Scalar] = {"width": narrow}
        if spec.architecture.endswith("transformer"):
            changed["heads"] = max(n for n in range(1, int(heads) + 1) if narrow % n == 0)
        if narrow >= 1:
            yield replace(spec, params={**spec.params, **changed})
