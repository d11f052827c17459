"""What ``compress`` gives: a smaller model, and what was tried on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models_core.model import Model

ORIGINAL = "original"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried, measured on the validation rows and on this machine."""

    name: str
    size: int  # bytes of the graph to serve by
    us: float  # CPU microseconds a record at batch 64, by ONNX Runtime on one core
    us_eager: float | None  # the same by torch; None for a graph that torch has none of
    quality: float  # of the validation rows, by the watched metric; larger is better
    refused: str = ""  # why it may not be shipped


@dataclass(frozen=True, eq=False, slots=True)
class Compressed:
    """The step that was chosen; ``original`` where none may be shipped."""

    model: Model  # float32: what was fitted, pruned or distilled
    graph: bytes | None  # the int8 graph to serve by, where that was chosen
    metric: str
    max_loss: float
    steps: tuple[Step, ...]
    chosen: str
    why: str

    @property
    def step(self) -> Step:
        """The chosen one."""
        return next(step for step in self.steps if step.name == self.chosen)

    @property
    def original(self) -> Step:
        return self.steps[0]

    def table(self) -> str:
        """What was tried, as a Markdown table; what was chosen is bold."""
        before = self.original
        lines = [
            f"| model | bytes | µs a record at 64 | by torch | {self.metric} | change | |",
            "|---|---:|---:|---:|---:|---:|---|",
        ]
        for step in self.steps:
            name = f"**{step.name}**" if step.name == self.chosen else step.name
            eager = "-" if step.us_eager is None else f"{step.us_eager:.3g}"
            lines.append(
                f"| {name} | {step.size:,} | {step.us:.3g} | {eager} | {step.quality:.4f} "
                f"| {step.quality - before.quality:+.4f} | {step.refused} |"
            )
        return "\n".join(lines) + f"\n\n{self.why}"
