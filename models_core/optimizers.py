"""Optimizers by name, and how their learning rate goes. Imports torch.

Sources: AdamW, Loshchilov and Hutter 2019; Adafactor, Shazeer and Stern 2018; Muon, Jordan and
others 2024, for the matrices of hidden layers, beside AdamW for everything else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor, nn
from torch.optim import SGD, Adafactor, AdamW, Muon, Optimizer

from models_core.training import FitRecipe

_MOMENTUM = 0.9  # of SGD
_SGD_DECAYS_FROM = 2  # dimensions: biases and scales are not pulled to 0


def make_optimizers(module: nn.Module, recipe: FitRecipe) -> list[Optimizer]:
    """The optimizers of a recipe; together they take every parameter that asks for a gradient."""
    optimizers = _made(module, recipe)
    factors = _factors(module, recipe.rate_factors)
    if factors:
        for optimizer in optimizers:
            optimizer.param_groups[:] = [
                {**group, "params": parameters, "factor": factor}
                for group in optimizer.param_groups
                for factor, parameters in _by_factor(group["params"], factors).items()
            ]
    return optimizers


def _factors(module: nn.Module, said: str) -> dict[int, float]:
    """The factor of each parameter's learning rate, by ``id``; those not there have 1."""
    found: dict[int, float] = {}
    for part in filter(None, (part.strip() for part in said.split(","))):
        prefix, _, text = part.partition("=")
        named = [p for name, p in module.named_parameters() if name.startswith(prefix)]
        if not named:
            there = ", ".join(sorted({name.split(".")[0] for name, _ in module.named_parameters()}))
            raise ValueError(f"rate_factors: {prefix!r} fits no parameter. There are: {there}.")
        try:
            factor = float(text)
        except ValueError:
            raise ValueError(f"rate_factors: {part!r} needs a number: {prefix}=0.1.") from None
        if not (math.isfinite(factor) and factor > 0):
            raise ValueError(
                f"rate_factors: {part!r} must be above 0. To keep values, freeze them."
            )
        found |= {id(parameter): factor for parameter in named}
    return found


def _by_factor(parameters: list[Tensor], factors: dict[int, float]) -> dict[float, list[Tensor]]:
    groups: dict[float, list[Tensor]] = {}
    for parameter in parameters:
        groups.setdefault(factors.get(id(parameter), 1.0), []).append(parameter)
    return groups


def _made(module: nn.Module, recipe: FitRecipe) -> list[Optimizer]:
    """Muon turns matrices alone, so it comes with AdamW for embeddings, vectors and the last layer."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("Every parameter is frozen: there is nothing to train.")
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return [SGD(_decayed(parameters, decay), lr=rate, momentum=_MOMENTUM, nesterov=True)]
    if recipe.optimizer == "adafactor":
        return [Adafactor(parameters, lr=rate, weight_decay=decay)]
    if recipe.optimizer == "muon":
        turned = _hidden_matrices(module)
        if turned:
            ids = {id(p) for p in turned}
            rest = [p for p in parameters if id(p) not in ids]
            made: list[Optimizer] = [
                Muon(turned, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
            ]
            return [*made, *([AdamW(rest, lr=rate, weight_decay=decay)] if rest else [])]
    return [AdamW(parameters, lr=rate, weight_decay=decay, fused=True)]


def set_learning_rate(optimizers: Iterable[Optimizer], rate: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)


def rate_at(share: float, recipe: FitRecipe) -> float:
    """The learning rate when ``share`` of the run, in [0, 1], is done.

    All but ``constant`` rise over ``warmup_share`` and then fall to 0: ``cosine`` and ``linear`` by
    those curves; ``one_cycle`` rises for at least 30 % of the run (Smith 2018).
    """
    warmup = max(recipe.warmup_share, 1 / recipe.steps)
    if recipe.schedule == "one_cycle":
        warmup = max(warmup, 0.3)
    if share < warmup:
        return recipe.learning_rate * (share + 1 / recipe.steps) / (warmup + 1 / recipe.steps)
    done = min(1.0, (share - warmup) / max(1e-9, 1 - warmup))
    if recipe.schedule == "constant":
        return recipe.learning_rate
    if recipe.schedule == "linear":
        return recipe.learning_rate * (1 - done)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def _decayed(parameters: list[nn.Parameter], decay: float) -> list[dict[str, object]]:
    """Two groups: matrices, which decay, and the rest, which do not."""
    large = [p for p in parameters if p.ndim >= _SGD_DECAYS_FROM]
    small = [p for p in parameters if p.ndim < _SGD_DECAYS_FROM]
    return [{"params": large, "weight_decay": decay}, {"params": small, "weight_decay": 0.0}]


def _hidden_matrices(module: nn.Module) -> list[Tensor]:
    """Weights of linear layers but the last one: what Muon is for."""
    layers = [m for m in module.modules() if isinstance(m, nn.Linear) and m.weight.requires_grad]
    return [layer.weight for layer in layers[:-1] if min(layer.weight.shape) > 1]
