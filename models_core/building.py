"""From a model to the engines that answer fastest on this machine, measured and checked.

Shape suffixes: N = rows, G = golden rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import thread_time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from models_core.artifact import Artifact
from models_core.chunking import chunked, filled
from models_core.compressed import Compressed
from models_core.data import Data, Inputs
from models_core.measuring import (
    Seconds,
    Timed,
    fastest,
    host,
    microseconds,
    timed,
)
from models_core.plans import Plan, PlanFolder, plan_of
from models_core.sessions import EngineError, run_parts, session
from models_core.weights import content_of

if TYPE_CHECKING:
    from models_core.model import Model

BATCHES: Final = (1, 8, 64, 512)
PART: Final = 64  # rows that fit a core's cache with what is computed of them
FP32, INT8_STATIC, INT8_DYNAMIC = "fp32", "int8 static", "int8 dynamic"
TORCH_CPU, TORCH_CUDA = "torch cpu", "torch cuda"
Rows = Mapping[str, NDArray[Any]]
Run = Callable[[Rows], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Engine:
    """A model ready to answer on this machine. ``build`` makes it."""

    plan: Plan
    names: tuple[str, ...]  # of the inputs
    runs: Mapping[str, Run]  # the chosen engines

    @property
    def id(self) -> str:
        """64 hex digits: equal where the same model is answered by the same engines and host."""
        return self.plan.id

    @property
    def why(self) -> str:
        """What was measured and chosen, as a Markdown table."""
        return self.plan.table()

    def logits(self, rows: Inputs | Data) -> NDArray[np.float32]:
        """Raw answers ``(N, ...)``, as ``Model.logits`` gives them."""
        if isinstance(rows, Data):
            rows = rows.inputs
        elif isinstance(rows, np.ndarray):
            rows = {self.names[0]: rows}
        missing = [name for name in self.names if name not in rows]
        if missing:
            raise EngineError(f"Expected the inputs {', '.join(self.names)}, got no {missing[0]}.")
        given = {name: _contiguous(rows[name]) for name in self.names}
        return self.runs[self.plan.at(len(given[self.names[0]]))](given)


def build(
    model: Model | Compressed | Artifact,
    *,
    batches: Sequence[int] = BATCHES,
    rows: Data | Inputs | None = None,
    max_error: float = 1e-3,
    cache: Path | str | None = None,
    seconds: float = 2.0,
    clock: Seconds = thread_time,
) -> Engine:
    """Measure every engine there is for a model on this machine, and take the fastest by batch.

    Engines: torch on the CPU and on a GPU where there is one, ONNX Runtime in float32 and, given
    ``rows``, in int8, each in one go and in parts of 64. An ``Artifact`` is served to a stream: its
    own graph runs in padded chunks of one size for every batch, so that no score depends on a
    record's neighbours, and only that size is chosen.

    Args:
        model: what ``fit``, ``compress`` or ``unpack`` gave.
        batches: how many rows come at a time; the stream shows 1 to 512.
        rows: to take the ranges of int8 from, and to measure with; of training, not of test.
        max_error: the largest difference of a raw answer from the model's own, as a share of the
            largest answer or of 1. An engine beyond it is refused, and its figures are shown.
        cache: a folder for what was found: the next ``build`` there takes milliseconds.
        seconds: for the measurement, by ``clock``; every engine is run twice in any case.
        clock: CPU time of the thread unless told otherwise.

    Raises:
        EngineError: no engine may answer, or the artifact's golden rows are not met.

    >>> from models_core import Data, FitRecipe, Spec, fit
    >>> data = Data(np.random.default_rng(1).normal(size=(60, 4)), np.arange(60) % 2)
    >>> model = fit(Spec.of("mlp", data, width=8), data, data, FitRecipe(steps=2))
    >>> engine = build(model, batches=(1, 8), seconds=0.05)
    >>> bool(np.allclose(engine.logits(data), model.logits(data), atol=1e-4))
    True
    """
    sizes = sorted(set(batches))
    if not sizes or sizes[0] < 1:
        raise ValueError(f"batches={tuple(batches)} must be whole numbers above 0.")
    folder = None if cache is None else PlanFolder(cache)
    if isinstance(model, Artifact):
        plan, engine = chunked(model, sizes, folder, seconds, clock)
        run = {name: lambda given: engine.logits(given["x"]) for name in set(plan.chosen.values())}
        return Engine(plan, ("x",), run)
    return _OfModel(model, sizes, rows, max_error).engine(folder, seconds, clock)


class _OfModel:
    """The engines of a model that fit or compress gave."""

    def __init__(
        self,
        model: Model | Compressed,
        sizes: list[int],
        rows: Data | Inputs | None,
        max_error: float,
    ) -> None:
        self.own = model.model if isinstance(model, Compressed) else model
        self.graph = model.graph if isinstance(model, Compressed) else None
        self.sizes, self.max_error = sizes, max_error
        self.names = tuple(self.own.spec.sizes)
        self.golden = dict(zip(self.names, self.own.golden, strict=True))
        self.rows = None if rows is None else self.own.named(rows)
        self.content = content_of(self.own, b"" if self.graph is None else self.graph)

    def engine(self, folder: PlanFolder | None, seconds: float, clock: Seconds) -> Engine:
        ranges = "" if self.rows is None else _hash_of(self.rows)
        asked = f"model {self.sizes} {self.max_error} {ranges} {_gpu()}"
        plan = None if folder is None else folder.plan(self.content, host(), asked)
        graphs = None if plan is None or folder is None else folder.graphs(plan)
        if plan is not None and graphs is not None:
            runs = self._runs(graphs, set(plan.chosen.values()))
            if set(runs) == set(plan.chosen.values()) and not self._wrong(runs)[1]:
                return Engine(plan, self.names, runs)
        if plan is not None and folder is not None:
            folder.drop(plan)
        graphs = self._graphs()
        runs = self._runs(graphs)
        errors, refused = self._wrong(runs)
        measured = self._measured(runs, seconds, clock)
        sound = {name: by for name, by in measured.items() if name not in refused}
        if not sound:
            raise EngineError(f"No engine may answer: {refused}.")
        chosen = {size: fastest(sound, size) for size in self.sizes}
        plan = plan_of(self.content, host(), asked, chosen, measured, errors, refused, graphs)
        if folder is not None:
            plan = folder.keep(plan, graphs) or plan
        return Engine(plan, self.names, self._runs(graphs, set(plan.chosen.values())))

    def _graphs(self) -> dict[str, bytes]:
        if self.graph is not None:  # its quality was measured when it was compressed
            return {INT8_STATIC: self.graph}
        from models_core.exporting import export

        body = export(self.own)
        graphs = {FP32: body}
        if self.rows is not None and self.own.privacy is not None:
            raise EngineError("Int8 ranges tell of single rows: leave them out of a private model.")
        if self.rows is not None:
            from models_core.quantising import quantise_dynamic, quantise_static

            graphs[INT8_STATIC] = quantise_static(body, self.rows)
            graphs[INT8_DYNAMIC] = quantise_dynamic(body)
        return graphs

    def _runs(self, graphs: Mapping[str, bytes], wanted: set[str] | None = None) -> dict[str, Run]:
        """Engines by name: those of the graphs first, which are preferred where times are near."""
        runs: dict[str, Run] = {}
        for name, body in graphs.items():
            full, parts = f"onnx {name}", f"onnx {name} in {PART}s"
            if wanted is not None and not wanted & {full, parts}:
                continue
            loaded = session(body)
            runs[full] = lambda given, s=loaded: run_parts(s, given, len(_first(given)))  # type: ignore[misc]
            runs[parts] = lambda given, s=loaded: run_parts(s, given, PART)  # type: ignore[misc]
        if wanted is None or any(name.startswith("torch") for name in wanted):
            from models_core.eager import torch_runs

            runs |= torch_runs(self.own.module, PART)
        return {name: run for name, run in runs.items() if wanted is None or name in wanted}

    def _wrong(self, runs: Mapping[str, Run]) -> tuple[dict[str, float], dict[str, str]]:
        """How far each engine's answers are from the model's own, and which are too far."""
        own = self.own.logits(self.golden)
        scale = max(1.0, float(np.abs(own).max()))
        errors, refused = {}, {}
        for name, run in runs.items():
            given = run(self.golden)
            error = float(np.abs(given - own).max()) / scale if given.shape == own.shape else np.inf
            errors[name] = error
            is_judged = self.graph is not None and INT8_STATIC in name
            if not np.isfinite(error) or (error > self.max_error and not is_judged):
                refused[name] = f"answers differ by {error:.2g}, more than {self.max_error:g}"
        return errors, refused

    def _measured(
        self, runs: Mapping[str, Run], seconds: float, clock: Seconds
    ) -> dict[str, dict[int, float]]:
        given = self.golden if self.rows is None else self.rows
        many = {name: filled(array, self.sizes[-1]) for name, array in given.items()}
        plain: dict[str, dict[int, Timed]] = {}
        for name, run in runs.items():
            # Up to 64 rows, parts of 64 are one part.
            sizes = [n for n in self.sizes if n > PART or not name.endswith(f"{PART}s")]
            if sizes:
                timer = self._timer(name, run, many, clock)
                plain[name] = dict.fromkeys(sizes, timer)
        from models_core.eager import one_thread

        with one_thread():
            return microseconds(plain, seconds=seconds, clock=clock)

    def _timer(self, name: str, run: Run, many: Rows, clock: Seconds) -> Timed:
        def once(batch: int) -> object:
            return run({key: array[:batch] for key, array in many.items()})

        if name.startswith(TORCH_CUDA):
            from models_core.eager import timed_on_gpu

            return timed_on_gpu(once)
        return timed(once, clock)


def _hash_of(rows: Rows) -> str:
    digest = hashlib.sha256()
    for name, array in rows.items():
        digest.update(f"{name}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no gpu"


def _first(given: Rows) -> NDArray[Any]:
    return next(iter(given.values()))


def _contiguous(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array, dtype=np.int64 if array.dtype.kind in "iu" else np.float32)
