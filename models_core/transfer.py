"""Starting from another model's weights, and keeping parts of a model as they are. Imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from models_core.model import Model


def start_from(module: nn.Module, start: Model) -> tuple[str, ...]:
    """Copy every parameter and buffer whose name and shape agree; returns their names.

    Raises:
        ValueError: nothing agrees.
    """
    own, given = module.state_dict(), start.module.state_dict()
    shared = [name for name in own if name in given and own[name].shape == given[name].shape]
    if not shared:
        raise ValueError(
            f"No parameter of {start.spec.architecture} has the name and shape of one of the new "
            "model: there is nothing to start from."
        )
    module.load_state_dict({name: given[name] for name in shared}, strict=False)
    return tuple(shared)


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
