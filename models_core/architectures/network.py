"""What every architecture promises, whatever it takes and whatever is asked.

Shape suffixes: B = batch, T = tokens of a sequence, C = classes, O = values of an answer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
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


class AnswerScale(nn.Module):
    """From a network's own scale to that of the values it is asked for, and the loss between them.

    **Shape**: ``(B, O)`` to ``(B, O)``.
    """

    mean_O: Tensor
    sd_O: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean_O", torch.zeros(outputs))
        self.register_buffer("sd_O", torch.ones(outputs))

    def learn(self, y_NO: Tensor) -> None:
        self.mean_O.copy_(y_NO.mean(dim=0))
        self.sd_O.copy_(y_NO.std(dim=0, correction=0).clamp(min=1e-6))

    def forward(self, raw_BO: Tensor) -> Tensor:
        return raw_BO * self.sd_O + self.mean_O


class Network(nn.Module, ABC):
    """Named inputs to the raw answer of a task.

    **Shape**

    - Input: one tensor for each input of the spec, ``(B, ...)``, raw: scaling is part of the module.
    - Output: logits ``(B,)`` for binary, ``(B, C)`` for classes, ``(B, T, C)`` for next; values
      ``(B, O)`` for regression and reconstruction.
    """

    columns_are_codes = False  # then medians of a table mean nothing

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        self.task: Task = "binary"
        self.answer_scale: AnswerScale | None = None
        if sizes is not None:
            self.asked(sizes.task, sizes.outputs)

    def asked(self, task: Task, outputs: int) -> None:
        """Take up the question."""
        self.task = task
        self.answer_scale = AnswerScale(outputs) if task == "regression" else None

    @abstractmethod
    def prepare(self, train: Any, log_odds: float) -> None:
        """Learn the scale of raw inputs from training rows, and start at the base rate.

        Called once by fit, before the first step, with ``Data`` (a ``Table`` for a binary module).
        ``log_odds`` is of a yes, 0 where no yes/no question is asked.
        """

    def learn_answers(self, train: Any) -> None:
        """Part of ``prepare``: the scale of the values that a regression is asked for."""
        if self.answer_scale is not None:
            self.answer_scale.learn(torch.from_numpy(train.target))

    def answered(self, raw: Tensor) -> Tensor:
        """What the last layer says, ``(B, O)``, as the task's answer."""
        if self.task == "binary":
            return raw.squeeze(1)
        if self.answer_scale is not None:
            scaled: Tensor = self.answer_scale(raw)
            return scaled
        return raw

    def auxiliary_loss(self, *inputs_and_y: Any) -> Tensor | None:
        """What is learned beside the answers, such as what comes next; None: nothing.

        Takes the inputs and then the answers.
        """
        return None

    def settle(self, train: Any) -> None:
        """Called when what ``auxiliary_loss`` asks for has been learned, before the answers are."""

    def own_score(self, inputs: Inputs) -> float | None:
        """How well it does on these rows, larger is better, where no metric of answers can tell."""
        return None

    def transferable(self) -> dict[str, Tensor]:
        """What another model can start from, by the names that it has there."""
        return self.state_dict()

    def losses(self, inputs: Inputs, y: Tensor, focus: float = 0.0) -> Tensor:
        """``(B,)``: the loss of each row, as the task has it. ``focus``: of the focal loss."""
        output: Tensor = self(*inputs)
        if self.answer_scale is not None:  # in standard deviations, whatever the unit
            mean_O, sd_O = self.answer_scale.mean_O, self.answer_scale.sd_O
            output, y = (output - mean_O) / sd_O, (y - mean_O) / sd_O
        return task_losses(self.task, output.float(), y, focus)


class Encoder(Network):
    """An architecture that makes features of its one input, and answers by one layer on them.

    Derived classes give ``embed`` and call ``finish`` at the end of their constructor. ``fusion``
    joins the features of several.
    """

    dim: int  # of the features

    def finish(self, sizes: Sizes, dim: int) -> None:
        self.dim = dim
        self.head = nn.Linear(dim, sizes.outputs)

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """``(B, dim)`` features of the input."""

    def prepare(self, train: Any, log_odds: float) -> None:
        self.learn_input(train.arrays[0])
        self.learn_answers(train)
        if self.task == "binary":
            nn.init.constant_(self.head.bias, log_odds)

    def learn_input(self, array: NDArray[Any]) -> None:
        """Learn the scale of the raw input, where it has one."""

    def forward(self, x: Tensor) -> Tensor:
        return self.answered(self.head(self.embed(x)))


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
