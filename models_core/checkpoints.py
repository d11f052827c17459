"""The state of a run on disk, so that it goes on where it was killed. Numbers only, no pickle.

A checkpoint is a folder ``step-<n>`` with ``tensors.safetensors`` (weights, best weights, the
optimizers' moments) and ``state.json`` (everything else). It is written beside its place and then
renamed, so a kill leaves the one before it whole.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

STATE, TENSORS = "state.json", "tensors.safetensors"
KEPT = 2  # newest checkpoints
FORMAT_VERSION = 1


class CheckpointError(ValueError):
    """A folder of checkpoints that belongs to another run."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was saved: tensors by name, and the rest as JSON."""

    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors saved as ``<name>/...``."""
        start = f"{name}/"
        return {k.removeprefix(start): t for k, t in self.tensors.items() if k.startswith(start)}


class Checkpoints:
    """The checkpoints of one run in a folder of its own.

    ``run`` says which spec, data and recipe they are of, as hashes by name.
    """

    def __init__(self, folder: Path, run: Mapping[str, str]) -> None:
        self.folder = folder
        self.run = dict(run)

    def newest(self) -> Checkpoint | None:
        """The newest whole checkpoint, or None.

        Raises:
            CheckpointError: the folder holds another run.
        """
        for place in sorted(self._places(), reverse=True):
            try:
                state = json.loads((self._path(place) / STATE).read_bytes())
                tensors = load_file(self._path(place) / TENSORS)
            except (OSError, ValueError, SafetensorError):
                continue  # cut short by a dying disk; the one before it is whole
            saved: dict[str, str] = state["run"]
            differing = sorted(n for n in {*self.run, *saved} if saved.get(n) != self.run.get(n))
            if differing or state["format_version"] != FORMAT_VERSION:
                raise CheckpointError(
                    f"{self.folder} holds a run with another {', '.join(differing) or 'format'}. "
                    "Give this run a folder of its own, or remove that one."
                )
            return Checkpoint(tensors, state)
        return None

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Write a checkpoint and forget the oldest ones."""
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f".step-{step}-{os.getpid()}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        # Copies: several names may share one memory, which safetensors refuses.
        save_file({k: t.detach().cpu().clone() for k, t in tensors.items()}, unfinished / TENSORS)
        body = {"format_version": FORMAT_VERSION, "run": self.run, "step": step, **state}
        (unfinished / STATE).write_text(json.dumps(body), encoding="utf-8")
        for file in unfinished.iterdir():
            _to_disk(file)
        shutil.rmtree(self._path(step), ignore_errors=True)
        unfinished.rename(self._path(step))
        _to_disk(self.folder)
        for place in sorted(self._places())[:-KEPT]:
            shutil.rmtree(self._path(place), ignore_errors=True)

    def clear(self) -> None:
        """The run is over: nothing is left to go on from."""
        for left in self.folder.glob(".step-*"):  # of a process that was killed while it wrote
            shutil.rmtree(left, ignore_errors=True)
        for place in self._places():
            shutil.rmtree(self._path(place), ignore_errors=True)

    def _places(self) -> list[int]:
        found = (path.name.removeprefix("step-") for path in self.folder.glob("step-*"))
        return [int(name) for name in found if name.isdigit()]

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step}"


def of_optimizers(optimizers: Sequence[Optimizer]) -> tuple[dict[str, Tensor], dict[str, float]]:
    """What optimizers remember: tensors, and numbers, by ``<optimizer>.<parameter>.<name>``."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, float] = {}
    for place, optimizer in enumerate(optimizers):
        for number, remembered in optimizer.state_dict()["state"].items():
            for name, value in remembered.items():
                if isinstance(value, Tensor):
                    tensors[f"{place}.{number}.{name}"] = value
                else:
                    numbers[f"{place}.{number}.{name}"] = value
    return tensors, numbers


def into_optimizers(
    optimizers: Sequence[Optimizer], tensors: Mapping[str, Tensor], numbers: Mapping[str, float]
) -> None:
    """Give fresh optimizers the memory that ``of_optimizers`` took."""
    states: list[dict[int, dict[str, Any]]] = [{} for _ in optimizers]
    for key, value in {**tensors, **numbers}.items():
        place, number, name = key.split(".", 2)
        states[int(place)].setdefault(int(number), {})[name] = value
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict(
            {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
        )


def parameters_of(optimizers: Sequence[Optimizer], found: Checkpoint) -> dict[str, Tensor]:
    """The parameter that each tensor of a saved memory is of, by the names of ``of_optimizers``."""
    listed = [[p for group in o.param_groups for p in group["params"]] for o in optimizers]
    keys = [(name, name.split(".")) for name in found.part("optimizer")]
    return {name: listed[int(place)][int(number)] for name, (place, number, *_) in keys}


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
