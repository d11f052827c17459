"""What two processes of one training do: ``python -m torch.distributed.run`` starts them here.

Arguments: ``ddp``, ``fsdp`` or ``again``, and a folder for what comes out.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist
from safetensors.torch import save_file

from models_core import Data, FitRecipe, Model, Spec, fit

RECIPE = FitRecipe(
    steps=20, batch_size=64, learning_rate=2e-3, evaluate_every=5, precision="float32", seed=3
)
# Batches that two processes cannot share evenly, in parts of which one has fewer than the other.
CASES: dict[str, dict[str, Any]] = {
    "whole": {},
    "parts": {"batch_size": 65, "micro_batch": 16},
    "single": {"batch_size": 5, "micro_batch": 1, "steps": 6},
    "balanced": {"sampling": "balanced", "class_weight": "balanced", "optimizer": "sgd"},
    "clock": {"max_seconds": 3600.0},
}
KILLED_AT = 12


def waves(num: int = 300, seed: int = 1) -> Data:
    """Series of three kinds: rising, falling and flat."""
    random = np.random.default_rng(seed)
    kind_N = random.integers(0, 3, num)
    slope_NT = (kind_N - 1)[:, None] * np.linspace(0, 1, 8)[None, :]
    x_NTC = random.normal(0, 0.5, (num, 8, 2)) + slope_NT[:, :, None]
    return Data({"x": x_NTC.astype(np.float32)}, kind_N)


def trained(recipe: FitRecipe, folder: Path | None = None, progress: Any = None) -> Model:
    data = waves()
    spec = Spec.of("transformer", data, width=16, heads=2, layers=2, dropout=0.0)
    return fit(spec, data, waves(100, seed=2), recipe, progress, checkpoints=folder)


def recipe_of(case: str, shard: str) -> FitRecipe:
    return replace(RECIPE, shard=shard, **CASES[case])  # type: ignore[arg-type]


def killable(shard: str) -> FitRecipe:
    return replace(RECIPE, shard=shard, checkpoint_every=5, seed=5)  # type: ignore[arg-type]


def write(folder: Path, name: str, model: Model) -> None:
    """What a process got, each under its own name: they must be alike."""
    place = folder / f"{name}-{dist.get_rank()}"
    save_file(dict(model.module.state_dict()), place.with_suffix(".safetensors"))
    looks = [[look.step, look.loss, look.score] for look in model.history]
    place.with_suffix(".json").write_text(json.dumps(looks))


def refused(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except ValueError as error:
        return str(error)
    return "not refused"


def refusals(shard: str) -> dict[str, str]:
    """What is said where two processes cannot do what is asked."""
    changes: dict[str, dict[str, Any]] = {
        "batch": {"batch_size": 1},
        "adafactor": {"optimizer": "adafactor"},
        "float16": {"precision": "float16"},
    }
    if shard == "ddp":
        changes = {"batch": changes["batch"]}
    recipes = {name: replace(recipe_of("whole", shard), **c) for name, c in changes.items()}
    return {name: refused(lambda r=recipe: trained(r)) for name, recipe in recipes.items()}  # type: ignore[misc]


def stop(stage: str, done: int, total: int) -> None:
    """A process that is gone from one moment to the next; only the first one is told."""
    if done >= KILLED_AT:
        os._exit(9)


def main(what: str, folder: Path) -> None:
    dist.init_process_group("gloo")
    if what == "again":
        for shard in ("ddp", "fsdp"):
            write(folder, f"again-{shard}", trained(killable(shard), folder / f"kept-{shard}"))
    else:
        for case in CASES:
            write(folder, f"{case}-{what}", trained(recipe_of(case, what)))
        if dist.get_rank() == 0:
            (folder / f"refused-{what}.json").write_text(json.dumps(refusals(what)))
        else:
            refusals(what)
        write(folder, f"unbroken-{what}", trained(killable(what)))
        trained(killable(what), folder / f"kept-{what}", stop)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
