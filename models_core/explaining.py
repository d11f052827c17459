"""Explain a model's answers: integrated gradients, occlusion, attention roll-out.

Importing this module costs nothing; torch and captum are imported when a row is explained.

Shape suffixes: N = rows, B = rows of a batch, T = time steps or tokens, K = numbers of a target,
A = attention heads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models_core.attribution import Attribution, How
from models_core.data import Data, Inputs
from models_core.model import Model

if TYPE_CHECKING:
    from torch import Tensor

MOST_STEPS = 512  # of one part of the way
MOST_PLACES = 2048  # of one row, that are taken away one by one
_ROWS = 64  # explained at a time


def explain(
    model: Model,
    rows: Inputs | Data,
    *,
    how: How = "integrated_gradients",
    target: int | tuple[int, int] | ArrayLike | None = None,
    baseline: Inputs | None = None,
    steps: int = 32,
    window: Mapping[str, tuple[int, ...]] | None = None,
) -> Attribution:
    """How much each number of each row moved the model's answer away from the baseline's.

    ``integrated_gradients`` (Sundararajan, Taly, Yan 2017) adds up gradients on the straight way
    from the baseline to the row. Shares sum to the answer less the base; tokens go by their
    embeddings. Parts of the way that miss their sum are taken again in halves, within 4,096 steps.
    ``occlusion`` (Zeiler and Fergus 2014) puts the baseline in one place at a time: it takes any
    model, also one without gradients, and one run of the model for each place. ``attention`` is
    the roll-out of Abnar and Zuidema 2020: where a transformer looked. It does not say what the
    look changed.

    Args:
        model: a fitted model.
        rows: as ``Model.logits`` takes them.
        how: the method.
        target: which output: a class or the number of a value, one for all rows or ``(N,)``; of
            ``next`` a place and a token. Left out: the class that was answered, the only value, or
            the likeliest token after the last one.
        baseline: one row to compare with, an array of one row's shape or such arrays by name. Left
            out: the usual row of a table with a yes/no question, the mean of the golden rows for
            other numbers, padding for tokens.
        steps: of each part of the way, 8 to 512.
        window: of occlusion, by input: the block that is put to the baseline at once; its share is
            spread evenly over it. Left out: each number alone.

    Raises:
        ValueError: the method does not suit the model, or an argument does not fit it.
    """
    if how not in get_args(How):
        raise ValueError(f"how={how!r} is none of {', '.join(get_args(How))}.")
    if not 8 <= steps <= MOST_STEPS:
        raise ValueError(f"{steps=} is not in 8..{MOST_STEPS}.")
    arrays = tuple(model.named(rows).values())
    if how == "attention":
        return _looks(model, arrays)
    target_NK = _targets(model, arrays, target)
    bases = _baselines(model, baseline)
    if how == "occlusion":
        return _occluded(model, arrays, target_NK, bases, window or {})
    if window:
        raise ValueError("window is of occlusion; integrated gradients take every number alone.")
    return _integrated(model, arrays, target_NK, bases, steps)


def _integrated(
    model: Model,
    arrays: tuple[NDArray[Any], ...],
    target_NK: NDArray[np.int64],
    bases: list[NDArray[Any]],
    steps: int,
) -> Attribution:
    from models_core.answering import integrated_gradients

    if model.module.columns_are_codes:
        raise ValueError(
            f"{model.spec.architecture} reads codes and counts, along which there is no gradient. "
            "Take how='occlusion'."
        )
    num = len(target_NK)
    shares = [np.zeros(array.shape) for array in arrays]
    base_N, answer_N = np.zeros(num), np.zeros(num)
    most = 0
    for start in range(0, num, _ROWS):
        part = slice(start, start + _ROWS)
        found, base_N[part], answer_N[part], steps_B = integrated_gradients(
            model, [array[part] for array in arrays], bases, target_NK[part], steps
        )
        most = max(most, int(steps_B.max()))
        for share, made in zip(shares, found, strict=True):
            share[part] = made
    named = dict(zip(model.spec.sizes, shares, strict=True))
    return Attribution("integrated_gradients", named, base_N, answer_N, target_NK, most)


def _occluded(
    model: Model,
    arrays: tuple[NDArray[Any], ...],
    target_NK: NDArray[np.int64],
    bases: list[NDArray[Any]],
    window: Mapping[str, tuple[int, ...]],
) -> Attribution:
    from models_core.answering import occlusion

    sizes = model.spec.sizes
    unknown = sorted(set(window) - set(sizes))
    if unknown:
        raise ValueError(f"A window for {', '.join(unknown)}; inputs are {', '.join(sizes)}.")
    masks, first = [], 0
    for name, size in sizes.items():
        masks.append(_blocks(name, size.shape, window.get(name)) + first)
        first = int(masks[-1].max()) + 1
    if first > MOST_PLACES:
        raise ValueError(
            f"{first} places would be taken away one by one, more than {MOST_PLACES}. Give a "
            "window, as in window={'image': (3, 4, 4)}, or take integrated_gradients."
        )
    num = len(target_NK)
    shares = [np.zeros(array.shape) for array in arrays]
    base_N, answer_N = np.zeros(num), np.zeros(num)
    for start in range(0, num, _ROWS):
        part = slice(start, start + _ROWS)
        found, base_N[part], answer_N[part] = occlusion(
            model, [array[part] for array in arrays], bases, target_NK[part], masks
        )
        for share, made in zip(shares, found, strict=True):
            share[part] = made
    named = dict(zip(sizes, shares, strict=True))
    return Attribution("occlusion", named, base_N, answer_N, target_NK)


def _looks(model: Model, arrays: tuple[NDArray[Any], ...]) -> Attribution:
    import torch

    from models_core.architectures.fronts import padding_of
    from models_core.architectures.transformer import Transformer

    module = model.module
    if not isinstance(module, Transformer):
        raise ValueError(
            f"{model.spec.architecture} has no attention to roll out; transformer and "
            "causal_transformer have. Take integrated_gradients or occlusion."
        )
    ((name, size),) = model.spec.sizes.items()
    (array,) = arrays
    look_NT = np.zeros(array.shape[:2])
    with torch.inference_mode():
        for start in range(0, len(array), _ROWS):
            x = torch.from_numpy(array[start : start + _ROWS])
            rolled_BTT = roll_out(module.attention(x))
            is_over_BT = padding_of(x, size)
            kept_BT = rolled_BTT.new_ones(rolled_BTT.shape[:2])
            if is_over_BT is not None:
                kept_BT = (~is_over_BT).to(rolled_BTT.dtype)
            if module.task == "next":  # the last step answers, otherwise the mean of them does
                places_BT = kept_BT * torch.arange(1, kept_BT.shape[1] + 1)
                kept_BT = (places_BT == places_BT.amax(dim=1, keepdim=True)).to(kept_BT.dtype)
            weight_BT = kept_BT / kept_BT.sum(dim=1, keepdim=True)
            look_BT = torch.einsum("bs,bst->bt", weight_BT, rolled_BTT)
            look_NT[start : start + _ROWS] = look_BT.double().numpy()
    share = look_NT
    if array.ndim == 3:  # a step is looked at whole, all channels alike
        share = np.repeat(look_NT[:, :, None] / array.shape[2], array.shape[2], axis=2)
    target_NK = _targets(model, arrays, None if module.task != "regression" else 0)
    answer_N = _picked(model.logits({name: array}), target_NK)
    nowhere_N = np.full(len(array), np.nan)
    return Attribution("attention", {name: share}, nowhere_N, answer_N, target_NK)


def roll_out(attention: list[Tensor]) -> Tensor:
    """``(B, T, T)``: how much of each step at the end comes from each step at the beginning.

    Attention is averaged over heads and mixed half and half with the way around the block; blocks
    are multiplied. Rows sum to 1.

    Args:
        attention: for each block ``(B, A, T, T)``, rows that sum to 1.
    """
    import torch

    steps = attention[0].shape[-1]
    straight_TT = torch.eye(steps, dtype=attention[0].dtype)
    rolled = straight_TT.expand(len(attention[0]), -1, -1)
    for weight_BATT in attention:
        mixed_BTT = 0.5 * weight_BATT.mean(dim=1) + 0.5 * straight_TT
        rolled = mixed_BTT @ rolled
    return rolled


def _targets(model: Model, arrays: tuple[NDArray[Any], ...], target: Any) -> NDArray[np.int64]:
    """``(N, K)``: the index into a row's answer. K is 0, 1 or, for ``next``, 2."""
    num, spec = len(arrays[0]), model.spec
    named = dict(zip(spec.sizes, arrays, strict=True))
    if spec.task == "binary":
        if target is not None:
            raise ValueError("A yes/no question has one answer: leave target out.")
        return np.zeros((num, 0), dtype=np.int64)
    if target is None:
        return _answered(model, named, num)
    index = np.asarray(target)
    limits = [spec.outputs]
    if spec.task == "next":
        limits = [next(iter(spec.sizes.values())).shape[0], spec.outputs]
    if index.dtype.kind not in "iu" or index.size not in (len(limits), num * len(limits)):
        raise ValueError(f"target={target!r} is no whole number for each of {num} rows.")
    target_NK = np.broadcast_to(index.reshape(-1, len(limits)), (num, len(limits)))
    if num and ((target_NK < 0) | (target_NK >= limits)).any():
        raise ValueError(f"target={target!r} is outside 0..{limits[-1] - 1}.")
    return np.ascontiguousarray(target_NK, dtype=np.int64)


def _answered(model: Model, named: dict[str, NDArray[Any]], num: int) -> NDArray[np.int64]:
    spec = model.spec
    if not num:
        return np.zeros((0, 2 if spec.task == "next" else 1), dtype=np.int64)
    if spec.task == "classes":
        class_N1: NDArray[np.int64] = model.logits(named).argmax(axis=1)[:, None].astype(np.int64)
        return class_N1
    if spec.task == "next":
        token_NT = next(iter(named.values()))
        places = np.arange(1, token_NT.shape[1] + 1)
        last_N = ((token_NT != 0) * places).max(axis=1).clip(1) - 1
        token_N = model.logits(named)[np.arange(num), last_N].argmax(axis=1)
        return np.stack([last_N, token_N], axis=1).astype(np.int64)
    if spec.outputs > 1:
        raise ValueError(f"There are {spec.outputs} values: say which by target=0.")
    return np.zeros((num, 1), dtype=np.int64)


def _picked(output: NDArray[np.float32], target_NK: NDArray[np.int64]) -> NDArray[np.float64]:
    picked_N: NDArray[Any] = output[(np.arange(len(output)), *target_NK.T)]
    return picked_N.astype(np.float64)


def _baselines(model: Model, given: Inputs | None) -> list[NDArray[Any]]:
    """One row of each input, ``(1, ...)``."""
    sizes = model.spec.sizes
    named = {} if given is None else given
    if isinstance(named, np.ndarray):
        named = {next(iter(sizes)): named}
    unknown = sorted(set(named) - set(sizes))
    if unknown:
        raise ValueError(f"A baseline for {', '.join(unknown)}; inputs are {', '.join(sizes)}.")
    bases = []
    for (name, size), golden in zip(sizes.items(), model.golden, strict=True):
        base = named.get(name)
        if base is None and size.vocabulary:
            base = np.zeros(size.shape)
        elif base is None and model.reference_F.shape == size.shape:
            base = model.reference_F
        elif base is None:
            base = golden.mean(axis=0, dtype=np.float64)
        kind = np.int64 if size.vocabulary else np.float32
        array = np.ascontiguousarray(base, dtype=kind)
        if array.shape != size.shape or not np.isfinite(array).all():
            raise ValueError(
                f"The baseline of {name!r} is one row of shape {size.shape}, finite, not of "
                f"{array.shape}."
            )
        bases.append(array[None])
    return bases


def _blocks(name: str, shape: tuple[int, ...], window: Any) -> NDArray[np.int64]:
    """Of one row's shape: the number of the block that each place is in."""
    sides = tuple(window) if window is not None else (1,) * len(shape)
    if len(sides) != len(shape) or any(int(side) != side or side < 1 for side in sides):
        raise ValueError(f"The window of {name!r} is {window!r}; one row has the shape {shape}.")
    counts = [math.ceil(size / side) for size, side in zip(shape, sides, strict=True)]
    places = np.indices(shape)
    block = np.zeros(shape, dtype=np.int64)
    for axis, (count, side) in enumerate(zip(counts, sides, strict=True)):
        block = block * count + places[axis] // side
    return block
