"""The one training loop. Imports torch: reach it through ``models_core.training.fit``.

Shape suffixes: B = batch, N = rows, F = features, K = ensemble members.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models_core.architectures import build
from models_core.architectures.binary import BinaryModule
from models_core.evaluation import pr_auc
from models_core.model import Look, Model
from models_core.spec import Spec
from models_core.table import Table
from models_core.training import FitRecipe, Progress

_GOLDEN_ROWS = 16
_TELL_EVERY = 25  # steps


def train_module(
    spec: Spec, train: Table, validation: Table, recipe: FitRecipe, progress: Progress | None
) -> Model:
    """See ``fit``. The caller's random state and threads are left as they were."""
    device = _device(recipe.device)
    started = monotonic()
    with _threads(recipe), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(recipe.seed)
        module = build(spec)
        module.prepare(train, _base_log_odds(train, recipe))
        module = module.to(device)
        history = _run(module, train, validation, recipe, started, progress)
    return Model(
        spec=spec,
        module=module.cpu().eval(),
        recipe=recipe,
        reference_F=_reference(module, train),
        golden_GF=_golden_rows(validation),
        data_hash=train.hash,
        history=tuple(history),
        seconds=monotonic() - started,
    )


def _run(
    module: BinaryModule,
    train: Table,
    validation: Table,
    recipe: FitRecipe,
    started: float,
    progress: Progress | None,
) -> list[Look]:
    device = next(module.parameters()).device
    x_NF = torch.from_numpy(train.x_NF).to(device)
    y_N = torch.from_numpy(train.y_N).to(device)
    weight_N = _weights(train, recipe).to(device)
    validation_x = torch.from_numpy(validation.x_NF).to(device)
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    first = _share_beside(module, x_NF, y_N, recipe)
    is_settled = not first
    history: list[Look] = []
    best, best_weights, looks_since_best = -1.0, _copy_weights(module), 0

    for step, row_B in enumerate(_batches(len(train), recipe), start=1):
        module.train()
        row_B = row_B.to(device)
        share = _share_done(step, monotonic() - started, recipe)
        # By the clock too: a slow machine learns less of what is usual, and still weighs it.
        if share >= first and not is_settled:
            module.settle(train)
            is_settled = True
        _set_learning_rate(optimizer, _warmup_cosine(_within(share, first), recipe), recipe)
        with torch.autocast(device.type, torch.bfloat16, enabled=_takes_bfloat16(recipe, device)):
            if not is_settled:
                loss = _beside(module, x_NF[row_B], y_N[row_B])
            else:
                loss = _loss(module, x_NF[row_B], y_N[row_B], weight_N[row_B])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(module.parameters(), recipe.gradient_clip)
        optimizer.step()

        is_over = step == recipe.steps or share >= 1.0
        if not is_over and (not is_settled or step % recipe.evaluate_every):
            if progress is not None and step % _TELL_EVERY == 0:
                progress("fit", step, recipe.steps)
            continue
        score = pr_auc(validation.y_N, module_logits(module, validation_x))
        history.append(Look(step=step, loss=float(loss.detach()), pr_auc=score))
        if progress is not None:
            progress("fit", step, recipe.steps)
        if score > best:
            best, best_weights, looks_since_best = score, _copy_weights(module), 0
        else:
            looks_since_best += 1
        if is_over or looks_since_best >= recipe.patience:
            break

    if progress is not None and history[-1].step < recipe.steps:
        progress("fit", recipe.steps, recipe.steps)
    module.load_state_dict(best_weights)
    return history


def _set_learning_rate(optimizer: torch.optim.Optimizer, share: float, recipe: FitRecipe) -> None:
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate * share


def _loss(module: BinaryModule, x_BF: Tensor, y_B: Tensor, weight_B: Tensor) -> Tensor:
    logit_BK = module.member_logits(x_BF)
    # Each member has its own loss: on the mean alone they would grow into one network.
    loss_BK = functional.binary_cross_entropy_with_logits(
        logit_BK.float(), y_B.unsqueeze(1).expand_as(logit_BK), reduction="none"
    )
    return (loss_BK.mean(dim=1) * weight_B).mean()


def _beside(module: BinaryModule, x_BF: Tensor, y_B: Tensor) -> Tensor:
    loss = module.auxiliary_loss(x_BF, y_B)
    assert loss is not None  # asked before the first step
    return loss


def _share_beside(module: BinaryModule, x_NF: Tensor, y_N: Tensor, recipe: FitRecipe) -> float:
    """Which share of the run comes first, for what the module learns beside the answers."""
    with torch.no_grad():
        has_any = module.auxiliary_loss(x_NF[:2], y_N[:2]) is not None
    return int(recipe.steps * recipe.auxiliary_share) / recipe.steps if has_any else 0.0


def _within(share: float, first: float) -> float:
    """The share of its own phase that is done; each has a schedule of its own."""
    return share / first if share < first else (share - first) / max(1 - first, 1e-9)


def module_logits(module: BinaryModule, x_NF: Tensor, rows: int = 4096) -> NDArray[np.float32]:
    """``(N,)`` float32 logits in evaluation mode, ``rows`` at a time to bound the memory."""
    module.eval()
    with torch.inference_mode():
        parts = [module(part_BF).float().cpu() for part_BF in torch.split(x_NF, rows)]
    logits: NDArray[np.float32] = torch.cat(parts).numpy()
    return logits


def _batches(num_rows: int, recipe: FitRecipe) -> Iterator[Tensor]:
    """``recipe.steps`` batches of row numbers; each epoch has an order of its own, by the seed."""
    size = min(recipe.batch_size, num_rows)
    generator = torch.Generator().manual_seed(recipe.seed)
    steps = 0
    while steps < recipe.steps:
        order_N = torch.randperm(num_rows, generator=generator)
        for start in range(0, num_rows - size + 1, size):  # a short last batch would be noisy
            yield order_N[start : start + size]
            steps += 1
            if steps == recipe.steps:
                return


def _weights(train: Table, recipe: FitRecipe) -> Tensor:
    """What each row counts, with a mean of 1, so that the learning rate keeps its meaning."""
    weight_N = np.where(train.y_N == 1, recipe.positive_weight, 1.0)
    if train.weight_N is not None:
        weight_N = weight_N * train.weight_N
    return torch.from_numpy((weight_N / weight_N.mean()).astype(np.float32))


def _base_log_odds(train: Table, recipe: FitRecipe) -> float:
    rate = float((_weights(train, recipe) * torch.from_numpy(train.y_N)).mean())
    rate = min(max(rate, 1e-6), 1 - 1e-6)  # weights of 0 may hide an answer
    return math.log(rate / (1 - rate))


def _share_done(step: int, seconds: float, recipe: FitRecipe) -> float:
    """How much of the run is behind: by steps or by time, whichever is further.

    The clock is not looked at before half of the time is up, so that a run with time to spare is
    the same every time.
    """
    by_steps = (step - 1) / recipe.steps
    by_time = seconds / recipe.max_seconds if recipe.max_seconds is not None else 0.0
    return max(by_steps, by_time) if by_time >= 0.5 else by_steps


def _warmup_cosine(share: float, recipe: FitRecipe) -> float:
    warmup = max(recipe.warmup_share, 1 / recipe.steps)
    if share < warmup:
        return (share + 1 / recipe.steps) / (warmup + 1 / recipe.steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (share - warmup) / max(1e-9, 1 - warmup))))


def _reference(module: BinaryModule, train: Table) -> NDArray[np.float32]:
    """The usual row: medians of the negatives, or the negative that looks the most usual."""
    negative_NF = train.x_NF[train.y_N == 0]
    if not module.columns_are_codes:
        median_F: NDArray[np.float32] = np.median(negative_NF, axis=0).astype(np.float32)
        return median_F
    some_NF = np.ascontiguousarray(negative_NF[:: max(1, len(negative_NF) // 4096)])
    z_N = module_logits(module, torch.from_numpy(some_NF))
    usual_F: NDArray[np.float32] = some_NF[int(np.argmin(z_N))]
    return usual_F


def _golden_rows(validation: Table) -> NDArray[np.float32]:
    """About 16 rows that pin a model down: positives and negatives, evenly over the table."""
    half = _GOLDEN_ROWS // 2
    chosen = []
    for answer in (1, 0):
        rows = np.flatnonzero(validation.y_N == answer)
        chosen.append(rows[np.linspace(0, len(rows) - 1, min(half, len(rows))).astype(int)])
    golden_GF: NDArray[np.float32] = validation.x_NF[np.concatenate(chosen)]
    return golden_GF


def _takes_bfloat16(recipe: FitRecipe, device: torch.device) -> bool:
    if recipe.precision != "auto":
        return recipe.precision == "bfloat16"
    # A CPU without the instruction emulates it, slower than float32.
    return device.type == "cuda" or bool(torch.cpu.get_capabilities().get("avx512_bf16"))


@contextmanager
def _threads(recipe: FitRecipe) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(recipe.threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _copy_weights(module: BinaryModule) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError('device="cuda" but torch sees no GPU here. Use "auto" or "cpu".')
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
