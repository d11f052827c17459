"""Structured pruning: units that matter least are taken out, so that matrices get smaller.

A smaller spec is built and the rows of the weights that stay are copied. How much a unit matters is
how much it says on data times how much is made of it: the mean of its absolute activation times the
norm of its outgoing weights (as in Molchanov and others 2017, without gradients).

Shape suffixes: B = rows, T = steps, D = units of a layer, K = members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from models_core.architectures import build
from models_core.architectures.cnn import Cnn
from models_core.architectures.fronts import Tokens
from models_core.architectures.mlp import Mlp
from models_core.architectures.recurrent import Recurrent
from models_core.architectures.tabular_ensemble import TabularEnsemble
from models_core.architectures.transformer import Block, Transformer
from models_core.data import Data, Inputs
from models_core.spec import Scalar

if TYPE_CHECKING:
    from models_core.model import Model

_ROWS = 1024  # looked at
State = dict[str, Tensor]
Pruner = Callable[[Any, Tensor, float], tuple[dict[str, Scalar], State]]


class PruningError(ValueError):
    """A model whose units cannot be taken out one by one."""


def prune(model: Model, rows: Inputs | Data, share: float) -> Model:
    """The model without ``share`` of its hidden units, not trained any further.

    Args:
        model: of ``mlp``, ``tabular_ensemble``, ``cnn``, ``rnn``, ``gru``, ``lstm``,
            ``transformer`` (its feed-forward layers) or ``causal_transformer``.
        rows: of training, to see what units say.
        share: of the units, above 0 and below 1.

    Raises:
        PruningError: the architecture has no units that could be taken out alone.
        ValueError: the share is out of range.

    >>> import numpy as np
    >>> from models_core import Data, FitRecipe, Spec, fit
    >>> data = Data(np.random.default_rng(1).normal(size=(60, 4)), np.arange(60) % 2)
    >>> model = fit(Spec.of("mlp", data, width=8), data, data, FitRecipe(steps=2))
    >>> prune(model, data.inputs, 0.5).spec.params["width"]
    4
    """
    if not 0 < share < 1:
        raise ValueError(f"prune={share} is not between 0 and 1.")
    arrays = model.named(rows)
    pruner = pruner_of(model)
    if pruner is None:
        raise PruningError(f"{model.spec.architecture} has no units that can be taken out alone.")
    array = next(iter(arrays.values()))
    some = torch.from_numpy(array[:: max(1, len(array) // _ROWS)][:_ROWS].copy())
    with torch.inference_mode():
        params, state = pruner(model.module.eval(), some, share)
    spec = replace(model.spec, params={**model.spec.params, **params})
    module = build(spec)
    module.load_state_dict({name: tensor.clone() for name, tensor in state.items()})
    return replace(model, spec=spec, module=module.eval())


def pruner_of(model: Model) -> Pruner | None:
    return next((by for kind, by in _PRUNERS.items() if isinstance(model.module, kind)), None)


def _kept(weight_D: Tensor, share: float) -> Tensor:
    """The numbers of the units that stay, in order."""
    count = max(1, round(len(weight_D) * (1 - share)))
    return weight_D.topk(count).indices.sort().values


def _cut(state: State, dim: int, index: Tensor, *names: str) -> None:
    for name in names:
        state[name] = state[name].index_select(dim, index)


def _said(h: Tensor) -> Tensor:
    """``(D,)``: the mean absolute activation of each unit of the last axis."""
    return h.abs().flatten(0, -2).mean(dim=0)


def _mlp(module: Mlp, x_BF: Tensor, share: float) -> tuple[dict[str, Scalar], State]:
    state = dict(module.state_dict())
    linears = {f"hidden.{n}": m for n, m in enumerate(module.hidden) if isinstance(m, nn.Linear)}
    names = [*linears, "head"]
    h_BD = module.scale(x_BF)
    width = 1
    for number, (name, linear) in enumerate(linears.items()):
        h_BD = torch.relu(linear(h_BD))
        after = names[number + 1]
        outgoing_D = module.state_dict()[f"{after}.weight"].norm(dim=0)
        kept = _kept(_said(h_BD) * outgoing_D, share)
        _cut(state, 0, kept, f"{name}.weight", f"{name}.bias")
        _cut(state, 1, kept, f"{after}.weight")
        width = len(kept)
    return {"width": width}, state


def _ensemble(
    module: TabularEnsemble, x_BF: Tensor, share: float
) -> tuple[dict[str, Scalar], State]:
    state = dict(module.state_dict())
    h_B1D = module.first(module.bins(x_BF)).unsqueeze(1)
    h_BKD = torch.relu(h_B1D * module.sign_KD + module.first_shift_KD)
    first = _kept(_said(h_BKD) * module.second.weight.norm(dim=0), share)
    h_BKD = torch.relu(module.second(h_BKD) + module.second_shift_KD)
    second = _kept(_said(h_BKD) * module.head_KD.flatten(0, -2).norm(dim=0), share)
    _cut(state, 0, first, "first.weight")
    _cut(state, 1, first, "sign_KD", "first_shift_KD", "second.weight")
    _cut(state, 0, second, "second.weight")
    _cut(state, 1, second, "second_shift_KD")
    _cut(state, module.head_KD.ndim - 1, second, "head_KD")
    return {"width": len(first)}, state


def _cnn(module: Cnn, x: Tensor, share: float) -> tuple[dict[str, Scalar], State]:
    state = dict(module.state_dict())
    told: dict[int, Tensor] = {}
    h = module.front(x)
    for number, layer in enumerate(module.body):
        h = layer(h)
        if isinstance(layer, nn.ReLU):
            told[number] = _said(h.movedim(1, -1))
    places = len(state["body.9.weight"][0]) // len(state["body.6.weight"])
    into = {
        0: state["body.3.weight"].transpose(0, 1).flatten(1).norm(dim=1),
        3: state["body.6.weight"].transpose(0, 1).flatten(1).norm(dim=1),
        6: state["body.9.weight"].reshape(len(state["body.9.weight"]), -1, places).norm(dim=(0, 2)),
        9: state["head.weight"].norm(dim=0),
    }
    kept = {number: _kept(told[number + 1] * into[number], share) for number in into}
    width = len(kept[0])
    for number in (3, 6):  # twice as many as the first has, whatever was rounded
        kept[number] = (told[number + 1] * into[number]).topk(2 * width).indices.sort().values
    for number, index in kept.items():
        _cut(state, 0, index, f"body.{number}.weight", f"body.{number}.bias")
    _cut(state, 1, kept[0], "body.3.weight")
    _cut(state, 1, kept[3], "body.6.weight")
    flat = (kept[6].unsqueeze(1) * places + torch.arange(places)).flatten()
    _cut(state, 1, flat, "body.9.weight")
    _cut(state, 1, kept[9], "head.weight")
    return {"width": width, "dense": len(kept[9])}, state


def _recurrent(module: Recurrent, x: Tensor, share: float) -> tuple[dict[str, Scalar], State]:
    state = dict(module.state_dict())
    width, layers = module.body.hidden_size, module.body.num_layers
    front_BTD = module.front(x)
    kept = _kept(_said(front_BTD) * state["body.weight_ih_l0"].norm(dim=0), share)
    is_tokens = isinstance(module.front, Tokens)
    if is_tokens:
        _cut(state, 1, kept, "front.embedding.weight")
    else:
        _cut(state, 0, kept, "front.widen.weight", "front.widen.bias")
    _cut(state, 1, kept, "body.weight_ih_l0")
    for layer in range(layers):
        after = "head.weight" if layer == layers - 1 else f"body.weight_ih_l{layer + 1}"
        used_D = state[after].norm(dim=0) + state[f"body.weight_hh_l{layer}"].norm(dim=0)
        if layer == layers - 1:  # of the layers before, only their weights are seen
            used_D = used_D * _said(module.body(front_BTD)[0])
        kept = _kept(used_D, share)
        gates = len(state[f"body.bias_ih_l{layer}"]) // width
        rows = (torch.arange(gates).unsqueeze(1) * width + kept).flatten()
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            _cut(state, 0, rows, f"body.{name}_l{layer}")
        _cut(state, 1, kept, f"body.weight_hh_l{layer}", after)
    return {"width": len(kept)}, state


def _transformer(module: Transformer, x: Tensor, share: float) -> tuple[dict[str, Scalar], State]:
    state = dict(module.state_dict())
    told: dict[int, Tensor] = {}
    hooks = []
    for number, block in enumerate(module.blocks):
        assert isinstance(block, Block)

        def tell(_module: nn.Module, _given: object, h: Tensor, at: int = number) -> None:
            told[at] = _said(h)

        hooks.append(block.forward_layer[1].register_forward_hook(tell))
    module.steps(x)
    for hook in hooks:
        hook.remove()
    inner = 1
    for number, said_D in told.items():
        name = f"blocks.{number}.forward_layer"
        kept = _kept(said_D * state[f"{name}.2.weight"].norm(dim=0), share)
        _cut(state, 0, kept, f"{name}.0.weight", f"{name}.0.bias")
        _cut(state, 1, kept, f"{name}.2.weight")
        inner = len(kept)
    return {"inner": inner}, state


_PRUNERS: Mapping[type[nn.Module], Pruner] = {
    Mlp: _mlp,
    TabularEnsemble: _ensemble,
    Cnn: _cnn,
    Recurrent: _recurrent,
    Transformer: _transformer,
}
