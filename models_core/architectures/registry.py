"""Which architectures exist, and how a spec becomes a module."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from models_core.spec import Spec, SpecError

if TYPE_CHECKING:
    from models_core.architectures.binary import BinaryModule
    from models_core.architectures.network import Network

_Module = TypeVar("_Module", bound="type[Network]")

_BUILT_IN = {  # the module of this package that has it, imported when asked for
    "autoencoder": "autoencoder",
    "causal_transformer": "transformer",
    "cnn": "cnn",
    "event_windows": "event_windows",
    "fusion": "fusion",
    "graph_convolution": "graph",
    "gru": "recurrent",
    "inception": "inception",
    "lstm": "recurrent",
    "masked": "masked",
    "metric_vectors": "metric_vectors",
    "mlp": "mlp",
    "resnet": "resnet",
    "rnn": "recurrent",
    "tabular_ensemble": "tabular_ensemble",
    "transformer": "transformer",
}
OUTPUTS = "outputs"  # taken by modules of tables that also answer other than yes or no
_registered: dict[str, type[Network]] = {}


def architecture(name: str) -> Callable[[_Module], _Module]:
    """Register a module class under ``name``.

    A ``BinaryModule`` is built as ``cls(num_features, **params)``, any other ``Network`` as
    ``cls(sizes, **params)``; its keyword defaults are the architecture's defaults. A name taken by
    another class is refused.
    """

    def register(cls: _Module) -> _Module:
        home = _BUILT_IN.get(name)
        if home is not None and cls.__module__ != f"models_core.architectures.{home}":
            # Before it is imported nothing has taken the name yet.
            raise ValueError(f"Architecture {name!r} ships with models_core: take another name.")
        taken = _registered.setdefault(name, cls)
        if taken is not cls:
            raise ValueError(f"Architecture {name!r} is already {taken.__qualname__}.")
        return cls

    return register


def architecture_names() -> tuple[str, ...]:
    """Every name that ``build`` knows, sorted."""
    return tuple(sorted({*_BUILT_IN, *_registered}))


def build(spec: Spec) -> Network:
    """A fresh module for ``spec``, weights from torch's current random state.

    Raises:
        SpecError: the architecture is unknown, or does not take one of the parameters, or
            refuses its value, the inputs or the task.
    """
    from models_core.architectures.binary import BinaryModule
    from models_core.architectures.network import Sizes

    cls = class_of(spec.architecture)
    taken = list(inspect.signature(cls).parameters.values())[1:]  # the first one is the size
    known = [each.name for each in taken if each.name != OUTPUTS]
    unknown = sorted(set(spec.params) - set(known))
    if unknown and not any(each.kind is each.VAR_KEYWORD for each in taken):
        raise SpecError(
            f"Architecture {spec.architecture!r} has no parameter {', '.join(unknown)}. "
            f"It takes: {', '.join(known)}."
        )
    make: Callable[..., Network] = cls
    try:
        if not issubclass(cls, BinaryModule):
            return make(Sizes.of(spec), **spec.params)
        if not spec.inputs and spec.task == "binary":
            return make(spec.num_features, **spec.params)
        size = Sizes.of(spec).only()
        if OUTPUTS not in (each.name for each in taken):
            raise ValueError("answers yes/no questions of one table, nothing else.")
        if len(size.shape) != 1 or size.vocabulary or spec.task not in ("classes", "regression"):
            raise ValueError(f"takes a table, and no task {spec.task}.")
        module = make(size.shape[0], **{OUTPUTS: spec.outputs}, **spec.params)
    except (TypeError, ValueError) as error:
        raise SpecError(f"Architecture {spec.architecture!r}: {error}") from error
    module.asked(spec.task, spec.outputs)
    return module


def build_binary(spec: Spec) -> BinaryModule:
    """``build`` for whoever can use nothing but a yes/no question of a table."""
    from models_core.architectures.binary import BinaryModule

    module = build(spec)
    if not isinstance(module, BinaryModule):
        raise SpecError(
            f"Architecture {spec.architecture!r} is not of yes/no questions of a table."
        )
    return module


def class_of(name: str) -> type[Network]:
    if name not in _registered and name in _BUILT_IN:
        import_module(f"models_core.architectures.{_BUILT_IN[name]}")
    cls = _registered.get(name)
    if cls is None:
        names = ", ".join(architecture_names())
        raise SpecError(f"Unknown architecture {name!r}. Registered: {names}.")
    return cls
