"""Starting from another model's weights, and keeping parts of a model as they are. Imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from models_core.architectures.network import Network
    from models_core.model import Model
    from models_core.training import FitRecipe

HEAD = "head"  # how the names of a last layer begin, in every architecture


def start_from(module: Network, start: Model, recipe: FitRecipe) -> tuple[str, ...]:
    """Copy what names and shapes agree on; returns the names that were copied.

    Weights go across domains and label spaces, so what belongs to either stays the new model's own:

    - scales, which are the buffers, unless the recipe's ``start_scales`` is ``kept`` (statistics
      of batch normalisation go with the weights);
    - the head, unless the task and the number of outputs are the same;
    - what the recipe's ``start_fresh`` names.

    Raises:
        ValueError: nothing agrees.
    """
    own, given = module.state_dict(), start.module.transferable()
    fresh = tuple(filter(None, (part.strip() for part in recipe.start_fresh.split(","))))
    if not _asks_the_same(module, start.module):
        fresh = (*fresh, HEAD)
    kept_off = _scales(module) if recipe.start_scales == "new" else set()
    agreed = [name for name in own if name in given and own[name].shape == given[name].shape]
    copied = [name for name in agreed if name not in kept_off and not name.startswith(fresh)]
    if not copied:
        raise ValueError(
            f"No parameter of {start.spec.architecture} has the name and shape of one of the new "
            f"model{' that is not to stay fresh' if agreed else ''}: there is nothing to start from."
        )
    module.load_state_dict({name: given[name] for name in copied}, strict=False)
    return tuple(copied)


def _asks_the_same(module: Network, other: Network) -> bool:
    def question(of: Network) -> tuple[str, int]:
        scale = of.answer_scale
        return of.task, 0 if scale is None else scale.mean_O.numel()

    return question(module) == question(other)


def _scales(module: nn.Module) -> set[str]:
    """The names of buffers, but for those of batch normalisation."""
    return {
        f"{prefix}.{name}".removeprefix(".")
        for prefix, layer in module.named_modules()
        if not isinstance(layer, _BatchNorm)
        for name, _ in layer.named_buffers(recurse=False)
    }


def freeze(module: nn.Module, prefixes: str) -> None:
    """Let the parameters whose names begin so keep their values.

    Raises:
        ValueError: a prefix fits no parameter; the sentence lists what there is.
    """
    for prefix in filter(None, (part.strip() for part in prefixes.split(","))):
        frozen = [p for name, p in module.named_parameters() if name.startswith(prefix)]
        if not frozen:
            there = ", ".join(sorted({name.split(".")[0] for name, _ in module.named_parameters()}))
            raise ValueError(f"freeze={prefix!r} fits no parameter. There are: {there}.")
        for parameter in frozen:
            parameter.requires_grad_(False)
