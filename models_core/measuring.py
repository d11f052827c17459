"""How long engines take on this machine: in CPU time, in turns, since other work shares it.

Shape suffixes: B = rows of a batch.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import thread_time
from typing import Final

Seconds = Callable[[], float]
Timed = Callable[[int], float]  # of a batch: how many seconds one run took
_SHORTEST_S: Final = 2e-4  # of one timing; shorter runs are repeated within it
_MOST_REPEATS: Final = 64
_MOST_ROUNDS: Final = 60


def timed(run: Callable[[int], object], clock: Seconds = thread_time) -> Timed:
    """A timer of ``run(batch)`` by the CPU time of this thread, which is the one that works."""
    repeats: dict[int, int] = {}

    def once(batch: int) -> float:
        times = repeats.setdefault(batch, 1)
        began = clock()
        for _ in range(times):
            run(batch)
        took = clock() - began
        if took < _SHORTEST_S:
            repeats[batch] = min(_MOST_REPEATS, times * 4)
        return took / times

    return once


def microseconds(
    runs: Mapping[str, Mapping[int, Timed]],
    *,
    seconds: float,
    clock: Seconds = thread_time,
) -> dict[str, dict[int, float]]:
    """Microseconds a record, by name and batch: the least of many runs, taken in turns.

    In turns, so that a change of the machine's speed meets all alike; the least, since other work
    can only add. Each is run twice at least, and the first run, which sets up memory, does not
    count; after that it goes on until ``seconds`` of ``clock`` are up.
    """
    least: dict[str, dict[int, float]] = {name: {} for name in runs}
    pairs = [(name, batch, once) for name, by in runs.items() for batch, once in by.items()]
    until = clock() + seconds
    for count in range(_MOST_ROUNDS):
        for name, batch, once in pairs:
            if count > 1 and clock() > until:
                return least
            took = once(batch) / batch * 1e6
            if count:
                least[name][batch] = min(took, least[name].get(batch, took))
    return least


def fastest(measured: Mapping[str, Mapping[int, float]], batch: int, near: float = 0.03) -> str:
    """The first name whose time at that batch is within ``near`` of the best."""
    there = {name: by[batch] for name, by in measured.items() if batch in by}
    best = min(there.values())
    return next(name for name, took in there.items() if took <= best * (1 + near))


def host() -> str:
    """64 hex digits: the processor and the libraries that compute. Measurements hold for no other."""
    said = [platform.machine(), platform.system(), *_processor()]
    for package in ("onnxruntime", "torch", "numpy"):
        try:
            said.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            said.append(f"no {package}")
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


def _processor() -> Iterable[str]:
    """What Linux says of the first processor that decides how fast it is."""
    kept = ("model name", "cpu family", "model", "stepping", "cache size", "flags")
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return [platform.processor()]
    return [line for line in lines if line.partition(":")[0].strip() in kept]
