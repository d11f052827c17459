"""A module answering through torch, on the CPU and on a GPU. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models_core.measuring import Timed

Rows = Mapping[str, NDArray[Any]]
Run = Callable[[Rows], NDArray[np.float32]]


def torch_runs(module: nn.Module, part: int) -> dict[str, Run]:
    """Engines by name: the CPU at once and in parts, and a GPU where there is one."""
    module = module.eval()
    runs: dict[str, Run] = {
        "torch cpu": _run(module, torch.device("cpu"), None),
        f"torch cpu in {part}s": _run(module, torch.device("cpu"), part),
    }
    if torch.cuda.is_available():
        device = torch.device("cuda")
        runs["torch cuda"] = _run(deepcopy(module).to(device), device, None)
    return runs


def timed_on_gpu(run: Callable[[int], object]) -> Timed:
    """A timer by the GPU's own events, copies there and back counted: CPU time sees none of it."""

    def once(batch: int) -> float:
        began: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        ended: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        began.record()
        run(batch)
        ended.record()
        torch.cuda.synchronize()
        milliseconds: float = began.elapsed_time(ended)
        return milliseconds / 1e3

    return once


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch's threads for the time of a measurement: one, whose CPU time is looked at."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run(module: nn.Module, device: torch.device, part: int | None) -> Run:
    @torch.inference_mode()
    def run(given: Rows) -> NDArray[np.float32]:
        tensors = [torch.from_numpy(array) for array in given.values()]
        num_rows = len(tensors[0])
        step = max(1, part or num_rows)
        answers = [
            module(*(tensor[n : n + step].to(device) for tensor in tensors)).float().cpu()
            for n in range(0, max(1, num_rows), step)
        ]
        joined: NDArray[np.float32] = (
            answers[0] if len(answers) == 1 else torch.cat(answers)
        ).numpy()
        return joined

    return run
