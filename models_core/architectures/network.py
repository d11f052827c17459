"""What every architecture promises, whatever it takes and whatever is asked.

Shape suffixes: B = batch, T = tokens of a sequence, C = classes, O = values of an answer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models_core.spec import Input, Spec, Task

Inputs = tuple[Tensor, ...]  # in the order of the spec's inputs


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a module is built for."""

    inputs: Mapping[str, Input]
    task: Task
    outputs: int

    @classmethod
    def of(cls, spec: Spec) -> Sizes:
        return cls(spec.sizes, spec.task, spec.outputs)

    def only(self) -> Input:
        """The one input of an architecture that takes one. Raises ``ValueError`` for more."""
        if len(self.inputs) != 1:
            raise ValueError(f"takes one input, not {len(self.inputs)}: {', '.join(self.inputs)}.")
        return next(iter(self.inputs.values()))


class Network(nn.Module, ABC):
    """Named inputs to the raw answer of a task.

    **Shape**

    - Input: one tensor for each input of the spec, ``(B, ...)``, raw: scaling is part of the module.
    - Output: logits ``(B,)`` for binary, ``(B, C)`` for classes, ``(B, T, C)`` for next; values
      ``(B, O)`` for regression and reconstruction.
    """

    task: Task = "binary"
    columns_are_codes = False  # then medians of a table mean nothing

    @abstractmethod
    def prepare(self, train: Any, log_odds: float) -> None:
        """Learn the scale of raw inputs from training rows, and start at the base rate.

        Called once by fit, before the first step, with ``Data`` (a ``Table`` for a binary module). ``log_odds`` is of a yes, 0 where no yes/no
        question is asked.
        """

    def auxiliary_loss(self, *inputs_and_y: Any) -> Tensor | None:
        """What is learned beside the answers, such as what comes next; None: nothing.

        Takes the inputs and then the answers.
        """
        return None

    def settle(self, train: Any) -> None:
        """Called when what ``auxiliary_loss`` asks for has been learned, before the answers are."""

    def losses(self, inputs: Inputs, y: Tensor, focus: float = 0.0) -> Tensor:
        """``(B,)``: the loss of each row, as the task has it. ``focus``: of the focal loss."""
        output: Tensor = self(*inputs)
        return task_losses(self.task, output.float(), y, focus)


def task_losses(task: Task, output: Tensor, y: Tensor, focus: float = 0.0) -> Tensor:
    """``(B,)`` losses of raw answers.

    ``focus`` > 0 is the exponent of the focal loss (Lin and others 2017): rows that are answered
    well already count ``(1 - p) ** focus`` times as much.
    """
    if task == "binary":
        loss_B = functional.binary_cross_entropy_with_logits(output, y, reduction="none")
    elif task == "classes":
        loss_B = functional.cross_entropy(output, y, reduction="none")
    elif task == "next":
        logit_BCT = output[:, :-1].transpose(1, 2)
        loss_B = functional.cross_entropy(logit_BCT, y[:, 1:], reduction="none").mean(dim=1)
    else:
        loss_B = (output - y.flatten(1)).square().mean(dim=1)
    if focus > 0 and task in ("binary", "classes"):
        loss_B = loss_B * (1 - torch.exp(-loss_B)).clamp(min=0.0) ** focus
    return loss_B
