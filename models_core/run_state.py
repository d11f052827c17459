"""Where a run stands, and how that is saved and taken up again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from models_core.checkpoints import (
    Checkpoint,
    CheckpointError,
    into_optimizers,
    of_optimizers,
    parameters_of,
)
from models_core.model import Look

if TYPE_CHECKING:
    from models_core.loop import Training


@dataclass(slots=True)
class RunState:
    """What changes while a run goes on, beside weights and what optimizers remember."""

    micro_batch: int
    step: int = 0  # steps done
    settled: bool = False
    best: float = float("-inf")
    looks_since_best: int = 0
    history: list[Look] = field(default_factory=list)
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def saved(self, run: Training) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors, and everything else as JSON takes it; all processes must ask together."""
        memory, numbers = of_optimizers(run.optimizers)
        tensors = {f"weights/{name}": t for name, t in run.module.state_dict().items()}
        tensors |= {f"best/{name}": t for name, t in self.best_weights.items()}
        tensors |= {f"optimizer/{name}": t for name, t in memory.items()}
        tensors = run.among.whole(tensors)
        state = {
            "micro_batch": self.micro_batch,
            "settled": self.settled,
            "best": self.best if self.best_weights else None,
            "looks_since_best": self.looks_since_best,
            "history": [asdict(look) for look in self.history],
            "optimizer": numbers,
            "scaler": run.scaler.state_dict(),
        }
        return tensors, state

    def resume(self, run: Training, found: Checkpoint | None) -> None:
        """Take up a checkpoint, when there is one.

        Raises:
            CheckpointError: this process and the first one do not find the same.
        """
        step = 0 if found is None else int(found.state["step"])
        agreed = run.among.agreed(step)
        if agreed != step:
            raise CheckpointError(
                f"The first process goes on from step {agreed:.0f}, process "
                f"{run.among.rank} finds {f'step {step}' if step else 'no checkpoint'}. The folder "
                "must be one that all nodes share."
            )
        if found is None:
            return
        state, like = found.state, run.module.state_dict()
        run.module.load_state_dict(run.among.alike(found.part("weights"), like))
        memory = run.among.alike(found.part("optimizer"), parameters_of(run.optimizers, found))
        into_optimizers(run.optimizers, memory, state["optimizer"])
        run.scaler.load_state_dict(state["scaler"])
        self.step = state["step"]
        self.micro_batch = state["micro_batch"]
        self.settled = state["settled"]
        self.best = float("-inf") if state["best"] is None else state["best"]
        self.looks_since_best = state["looks_since_best"]
        self.history[:] = [Look(**look) for look in state["history"]]
        best = run.among.alike(found.part("best"), like)
        self.best_weights = {name: t.to(run.device) for name, t in best.items()}
