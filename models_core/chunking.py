"""How many rows a served artifact's engine takes at a time, measured once on each host.

Every run has the same size, padded with zeros, so that a score does not depend on a record's
neighbours. Which size is the host's to choose: it changes the cost, and on one host no score, since
the choice is kept.

Shape suffixes: B = rows of a batch, F = features, G = golden rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from models_core.artifact import Artifact
from models_core.engines import CHUNK, OnnxEngine, Scorer
from models_core.measuring import Seconds, host, microseconds, timed
from models_core.plans import Plan, PlanFolder, plan_of
from models_core.sessions import EngineError

CHUNKS: Final = (16, 32, 64, 128, 256)
SERVED_BATCHES: Final = (1, 8, 64, 512)  # REST and a quiet stream to a worker that is behind
NEAR: Final = 0.10  # a smaller chunk is taken where a full batch costs at most so much more
_NAME: Final = "onnx in chunks of "


def chunked(
    artifact: Artifact,
    batches: Sequence[int],
    folder: PlanFolder | None,
    seconds: float,
    clock: Seconds,
) -> tuple[Plan, OnnxEngine]:
    """The plan of an artifact on this host, and the engine that follows from it, checked.

    The smallest chunk whose cost at the largest batch is within a tenth of the best: work under
    load decides, and then the time of a record alone. Chunks that break a promise are not taken.

    Raises:
        EngineError: ONNX Runtime cannot load the graph, or no chunk meets the golden rows.
    """
    content, asked = hashlib.sha256(artifact.engine).hexdigest(), f"chunks {sorted(batches)}"
    plan = None if folder is None else folder.plan(content, host(), asked)
    if folder is not None and plan is not None and chunk_of(plan) not in CHUNKS:
        folder.drop(plan)
        plan = None
    if plan is None:
        plan = _measured(artifact, content, asked, sorted(batches), seconds, clock)
        if folder is not None:
            kept = folder.keep(plan, {})
            # What cannot be kept would be chosen anew by every process, each in its own way.
            plan = kept or replace(plan, chosen=dict.fromkeys(plan.chosen, f"{_NAME}{CHUNK}"))
    engine = OnnxEngine(artifact.engine, chunk_of(plan))
    Scorer.of(artifact, engine).check_golden()
    return plan, engine


def chunk_of(plan: Plan) -> int:
    """The size that a plan chose; 0 for a plan of something else."""
    name = next(iter(plan.chosen.values()))
    size = name.removeprefix(_NAME)
    return int(size) if name.startswith(_NAME) and size.isdecimal() else 0


def served(
    artifact: Artifact, cache: Path | str | None, *, seconds: float, clock: Seconds
) -> tuple[Plan, Scorer]:
    """The scorer to serve a stream by on this host, golden rows checked. See ``chunked``."""
    folder = None if cache is None else PlanFolder(cache)
    plan, engine = chunked(artifact, SERVED_BATCHES, folder, seconds, clock)
    return plan, Scorer.of(artifact, engine)


def filled(array: NDArray[Any], num_rows: int) -> NDArray[Any]:
    """So many rows, the given ones over and over."""
    times = -(-num_rows // len(array))
    return np.ascontiguousarray(np.concatenate([array] * times)[:num_rows])


def _measured(
    artifact: Artifact,
    content: str,
    asked: str,
    sizes: list[int],
    seconds: float,
    clock: Seconds,
) -> Plan:
    sound, errors, refused = _sound(artifact)
    x_BF = filled(artifact.golden_rows, sizes[-1])
    usual = f"{_NAME}{CHUNK}"
    once = timed(_answering(sound[usual], x_BF), clock) if usual in sound else None
    measured: Mapping[str, Mapping[int, float]] = {}
    best = usual
    # A model so slow that measuring would hold up a worker has the usual chunk.
    if once is None or _expected(once(min(CHUNK, sizes[-1])), sizes) < 3 * seconds:
        runs = {
            name: dict.fromkeys(sizes, timed(_answering(engine, x_BF), clock))
            for name, engine in sound.items()
        }
        measured = microseconds(runs, seconds=seconds, clock=clock)
        best = _smallest_near(measured, sizes[-1])
    chosen = dict.fromkeys(sizes, best)
    return plan_of(content, host(), asked, chosen, measured, errors, refused, {})


def _answering(
    engine: OnnxEngine, x_BF: NDArray[np.float32]
) -> Callable[[int], NDArray[np.float32]]:
    return lambda batch: engine.logits(x_BF[:batch])


def _sound(
    artifact: Artifact,
) -> tuple[dict[str, OnnxEngine], dict[str, float], dict[str, str]]:
    sound, errors, refused = {}, {}, {}
    for chunk in CHUNKS:
        name, engine = f"{_NAME}{chunk}", OnnxEngine(artifact.engine, chunk)
        try:
            errors[name] = Scorer.of(artifact, engine).check_golden()
            _require_own_scores(engine, artifact.golden_rows)
            sound[name] = engine
        except EngineError as error:
            refused[name] = str(error)
    if not sound:
        raise EngineError(next(iter(refused.values())))
    return sound, errors, refused


def _expected(took: float, sizes: list[int]) -> float:
    """Seconds that the two first rounds of a measurement will take; small batches are padded."""
    rows = sum(max(chunk, size) for chunk in CHUNKS for size in sizes)
    return 2 * took / CHUNK * rows


def _smallest_near(measured: Mapping[str, Mapping[int, float]], batch: int) -> str:
    least = min(by[batch] for by in measured.values())
    return next(name for name, by in measured.items() if by[batch] <= least * (1 + NEAR))


def _require_own_scores(engine: OnnxEngine, golden_GF: NDArray[np.float32]) -> None:
    """Golden rows alone and in company are answered alike, to the bit."""
    together = engine.logits(filled(golden_GF, 2 * engine.chunk + 3))
    for row in range(min(len(golden_GF), 4)):
        alone = engine.logits(golden_GF[row : row + 1])
        if not (together[row :: len(golden_GF)] == alone).all():
            raise EngineError("A row's score depends on the rows beside it.")
