"""What captum asks a module: one number a row, of floats and of tokens by their embeddings.

Imports torch and captum.

Shape suffixes: B = rows of a batch, T = tokens, D = width, K = numbers of a target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from captum.attr import FeatureAblation, IntegratedGradients
from numpy.typing import NDArray
from torch import Tensor, nn

from models_core.model import Model
from models_core.outputs import NUMBERS, ROWS

MOST_STEPS = 4096  # of one row
_TOLERANCE = 0.01  # of the answer's change, or of 0.1 where it changed less
Found = tuple[list[NDArray[np.float64]], NDArray[np.float64], NDArray[np.float64]]
FoundBySteps = tuple[
    list[NDArray[np.float64]], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]
]


class Answers:
    """The answer that is explained, as a function of what can be moved continuously.

    Called with a tensor for each input, embeddings ``(B, T, D)`` for tokens, then the tokens of each
    token input, then ``(B, K)`` targets. The embeddings take the place of what the module's own
    ``nn.Embedding`` says of these very tokens; which of them are padding stays as it is.
    """

    def __init__(self, model: Model) -> None:
        self.module = model.module.eval()
        self.are_tokens = [size.vocabulary > 0 for size in model.spec.sizes.values()]
        self.architecture = model.spec.architecture
        self.layers = [part for part in self.module.modules() if isinstance(part, nn.Embedding)]

    def __call__(self, *given: Tensor) -> Tensor:
        values, rest = given[: len(self.are_tokens)], list(given[len(self.are_tokens) :])
        target_BK = rest.pop()
        tokens = iter(rest)
        inputs, instead = [], []
        for value, is_token in zip(values, self.are_tokens, strict=True):
            inputs.append(next(tokens) if is_token else value)
            if is_token:
                instead.append((inputs[-1], value))
        output = self._run(inputs, instead)
        return picked(output, target_BK)

    def embedded(self, inputs: list[Tensor]) -> list[Tensor]:
        """The inputs with tokens as their embeddings. Raises ``ValueError`` where there are none."""
        seen: dict[int, Tensor] = {}

        def keep(layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            for place, array in enumerate(inputs):
                if args[0] is array:
                    seen[place] = output

        handles = [layer.register_forward_hook(keep) for layer in self.layers]
        try:
            with torch.no_grad():
                self.module(*inputs)
        finally:
            for handle in handles:
                handle.remove()
        if any(is_token and n not in seen for n, is_token in enumerate(self.are_tokens)):
            raise ValueError(
                f"{self.architecture} does not look its tokens up in an embedding. "
                "Take how='occlusion'."
            )
        return [seen.get(place, array) for place, array in enumerate(inputs)]

    def _run(self, inputs: list[Tensor], instead: list[tuple[Tensor, Tensor]]) -> Tensor:
        def replace(layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            return next((value for tokens, value in instead if args[0] is tokens), output)

        handles = [layer.register_forward_hook(replace) for layer in self.layers if instead]
        try:
            output: Tensor = self.module(*inputs)
        finally:
            for handle in handles:
                handle.remove()
        return output


def picked(output: Tensor, target_BK: Tensor) -> Tensor:
    """``(B,)``: of each row's answer the number at its target."""
    rows_B = torch.arange(len(output))
    chosen: Tensor = output[(rows_B, *target_BK.unbind(dim=1))]
    return chosen


def integrated_gradients(
    model: Model,
    arrays: list[NDArray[Any]],
    bases: list[NDArray[Any]],
    target_BK: NDArray[np.int64],
    steps: int,
) -> FoundBySteps:
    """Shares of each input, base, answer and steps of a few rows.

    The sum over any part of the way is known: the answer at its end less that at its beginning. A
    part that misses it, because the network is steep there, is taken again in halves; the rest is
    not.
    """
    answers = Answers(model)
    inputs = [torch.from_numpy(array) for array in arrays]
    values = answers.embedded(inputs)
    starts = [
        base.expand(len(target_BK), *base.shape[1:]).contiguous()
        for base in answers.embedded([torch.from_numpy(base) for base in bases])
    ]
    tokens = [x for x, is_token in zip(inputs, answers.are_tokens, strict=True) if is_token]
    way = Way(answers, starts, values, (*tokens, torch.from_numpy(target_BK)), steps)
    every_R = torch.arange(len(target_BK))
    base_B, answer_B = way.answer(0.0, every_R), way.answer(1.0, every_R)
    allowed_B = _TOLERANCE / 4 * np.maximum(np.abs(answer_B - base_B), 0.1)
    shares = [np.zeros(array.shape) for array in arrays]
    steps_B = np.zeros(len(target_BK), dtype=np.int64)
    waiting = [(0.0, 1.0, every_R)]
    while waiting:
        near, far, rows_R = waiting.pop()
        found, gap_R = way.part(near, far, rows_R)
        index = rows_R.numpy()
        steps_B[index] += steps
        halved_R = (np.abs(gap_R) > allowed_B[index]) & (steps_B[index] + 2 * steps <= MOST_STEPS)
        for share, part in zip(shares, found, strict=True):
            share[index[~halved_R]] += part[~halved_R]
        if halved_R.any():
            again_R = rows_R[torch.from_numpy(halved_R)]
            middle = (near + far) / 2
            waiting += [(near, middle, again_R), (middle, far, again_R)]
    return shares, base_B, answer_B, steps_B


@dataclass(frozen=True, slots=True)
class Way:
    """The straight ways of some rows, from their baseline (0) to themselves (1)."""

    answers: Answers
    starts: list[Tensor]
    values: list[Tensor]
    beside: tuple[Tensor, ...]  # what does not move: tokens and targets
    steps: int

    def at(self, share: float, rows_R: Tensor) -> tuple[Tensor, ...]:
        pairs = zip(self.starts, self.values, strict=True)
        return tuple(torch.lerp(start[rows_R], value[rows_R], share) for start, value in pairs)

    def answer(self, share: float, rows_R: Tensor) -> NDArray[np.float64]:
        with torch.no_grad():
            found = self.answers(*self.at(share, rows_R), *(x[rows_R] for x in self.beside))
        answer_R: NDArray[np.float64] = found.double().numpy()
        return answer_R

    def part(
        self, near: float, far: float, rows_R: Tensor
    ) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
        """Shares of a part of the way, and by how much they miss its change."""
        width = sum(value[0].numel() for value in self.values)
        found = IntegratedGradients(self.answers).attribute(
            self.at(far, rows_R),
            baselines=self.at(near, rows_R),
            additional_forward_args=tuple(x[rows_R] for x in self.beside),
            n_steps=self.steps,
            internal_batch_size=max(len(rows_R), min(ROWS, NUMBERS // max(width, 1) // 4)),
        )
        gap_R = self.answer(far, rows_R) - self.answer(near, rows_R)
        shares = []
        for part, is_token in zip(found, self.answers.are_tokens, strict=True):
            exact = part.detach().double()
            share = (exact.sum(dim=-1) if is_token else exact).numpy()
            gap_R = gap_R - share.reshape(len(rows_R), -1).sum(axis=1)
            shares.append(share)
        return shares, gap_R


def occlusion(
    model: Model,
    arrays: list[NDArray[Any]],
    bases: list[NDArray[Any]],
    target_BK: NDArray[np.int64],
    masks: list[NDArray[np.int64]],
) -> Found:
    """Shares of each input, base and answer of a few rows. ``masks``: the block of each place."""
    module = model.module.eval()
    target = torch.from_numpy(target_BK)
    inputs = tuple(torch.from_numpy(array) for array in arrays)
    starts = tuple(
        torch.from_numpy(base).expand_as(array) for base, array in zip(bases, inputs, strict=True)
    )

    def answer(*given: Tensor) -> Tensor:
        return picked(module(*given[:-1]), given[-1])

    width = sum(array[0].numel() for array in inputs)
    at_once = max(1, min(ROWS, NUMBERS // max(width, 1)) // max(len(target_BK), 1))
    with torch.no_grad():
        found = FeatureAblation(answer).attribute(
            inputs,
            baselines=starts,
            feature_mask=tuple(torch.from_numpy(mask).unsqueeze(0) for mask in masks),
            additional_forward_args=(target,),
            perturbations_per_eval=at_once,
        )
        base_B = answer(*starts, target).double().numpy()
        answer_B = answer(*inputs, target).double().numpy()
    sizes = np.bincount(np.concatenate([mask.ravel() for mask in masks]))
    shares = [part.double().numpy() / sizes[mask] for part, mask in zip(found, masks, strict=True)]
    return shares, base_B, answer_B
