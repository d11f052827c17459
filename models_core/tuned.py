"""What a search gives back: the best model, and every trial."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from models_core.spec import Scalar, Spec
from models_core.training import FitRecipe

if TYPE_CHECKING:
    from models_core.model import Model


@dataclass(frozen=True, slots=True)
class Trial:
    """One try of a search."""

    number: int
    state: Literal["complete", "pruned", "failed", "running", "waiting"]
    score: float | None  # its best look; of a pruned one, up to where it ended
    values: Mapping[str, Scalar]  # by name of the space
    looks: int
    why: str = ""  # it failed


@dataclass(frozen=True, eq=False, slots=True)
class Tuned:
    """What a search found.

    ``model`` is the best one, fitted; with ``refit=False`` it is None unless this process fitted
    it. ``importance`` says how much of the differences in score each name explains; they add up
    to 1, and it is empty where too few trials were completed.
    """

    study: str
    spec: Spec
    recipe: FitRecipe
    score: float
    model: Model | None
    trials: tuple[Trial, ...]
    importance: Mapping[str, float]

    @property
    def best(self) -> Trial:
        """The trial with the best score of those that were completed."""
        done = [trial for trial in self.trials if trial.state == "complete"]
        return max(done, key=lambda trial: trial.score or -math.inf)

    def to_json(self) -> bytes:
        """Everything but the weights."""
        said = {
            "study": self.study,
            "score": self.score,
            "spec": self.spec.to_dict(),
            "recipe": self.recipe.to_dict(),
            "importance": dict(self.importance),
            "trials": self.trials,
        }
        return msgspec.json.encode(said)

    def __str__(self) -> str:
        """The trials as a table, the best first, and what mattered."""
        names = list(dict.fromkeys(name for trial in self.trials for name in trial.values))
        order = sorted(self.trials, key=lambda t: -math.inf if t.score is None else t.score)
        rows = [["trial", "state", "score", "looks", *names]]
        for trial in reversed(order):
            score = "-" if trial.score is None else f"{trial.score:.5g}"
            told = [_short(trial.values.get(name)) for name in names]
            rows.append([str(trial.number), trial.state, score, str(trial.looks), *told])
        widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
        lines = ["  ".join(f"{c:>{w}}" for c, w in zip(row, widths, strict=True)) for row in rows]
        if self.importance:
            told = [f"{name} {share:.2f}" for name, share in self.importance.items()]
            lines.append(f"Importance: {', '.join(told)}.")
        return "\n".join(lines)


def _short(value: Scalar | None) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
