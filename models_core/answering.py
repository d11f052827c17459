"""What captum asks a module: one number a row, of floats and of tokens by their embeddings.

Imports torch and captum.

Shape suffixes: B = rows of a batch, T = tokens, D = width, K = numbers of a target.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from captum.attr import FeatureAblation, IntegratedGradients
from numpy.typing import NDArray
from torch import Tensor, nn

from models_core.model import Model
from models_core.outputs import NUMBERS, ROWS

# The way from the baseline, cut in parts with as many steps each: layer norms and heavy tails are
# steep where it begins. Parts of one straight way add up to the gradients of the whole.
_EDGES = (0.0, 1e-3, 1e-2, 1e-1, 1.0)

Found = tuple[list[NDArray[np.float64]], NDArray[np.float64], NDArray[np.float64]]


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
) -> Found:
    """Shares of each input, base and answer of a few rows."""
    answers = Answers(model)
    inputs = [torch.from_numpy(array) for array in arrays]
    values = answers.embedded(inputs)
    starts = [
        base.expand(len(target_BK), *base.shape[1:]).contiguous()
        for base in answers.embedded([torch.from_numpy(base) for base in bases])
    ]
    tokens = [x for x, is_token in zip(inputs, answers.are_tokens, strict=True) if is_token]
    beside = (*tokens, torch.from_numpy(target_BK))
    width = sum(value[0].numel() for value in values)
    at_once = max(len(target_BK), min(ROWS, NUMBERS // max(width, 1) // 4))
    shares = [np.zeros(array.shape) for array in arrays]
    for near, far in pairwise(_EDGES):
        found = IntegratedGradients(answers).attribute(
            tuple(
                torch.lerp(start, value, far) for start, value in zip(starts, values, strict=True)
            ),
            baselines=tuple(
                torch.lerp(start, value, near) for start, value in zip(starts, values, strict=True)
            ),
            additional_forward_args=beside,
            n_steps=max(2, steps // (len(_EDGES) - 1)),
            internal_batch_size=at_once,
        )
        for share, part, is_token in zip(shares, found, answers.are_tokens, strict=True):
            exact = part.detach().double()
            share += (exact.sum(dim=-1) if is_token else exact).numpy()
    with torch.no_grad():
        base_B = answers(*starts, *beside).double().numpy()
        answer_B = answers(*values, *beside).double().numpy()
    return shares, base_B, answer_B


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
