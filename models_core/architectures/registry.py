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

_BUILT_IN = (
    "cnn",
    "event_windows",
    "metric_vectors",
    "mlp",
    "tabular_ensemble",
)  # each is a module of this package, imported when asked for
_registered: dict[str, type[Network]] = {}


def architecture(name: str) -> Callable[[_Module], _Module]:
    """Register a module class under ``name``.

    A ``BinaryModule`` is built as ``cls(num_features, **params)``, any other ``Network`` as
    ``cls(sizes, **params)``; its keyword defaults are the architecture's defaults. A name taken by
    another class is refused.
    """

    def register(cls: _Module) -> _Module:
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

    cls = _class_of(spec.architecture)
    known = list(inspect.signature(cls).parameters)[1:]  # the first one is the size
    unknown = sorted(set(spec.params) - set(known))
    if unknown:
        raise SpecError(
            f"Architecture {spec.architecture!r} has no parameter {', '.join(unknown)}. "
            f"It takes: {', '.join(known)}."
        )
    make: Callable[..., Network] = cls
    try:
        if issubclass(cls, BinaryModule):
            if spec.inputs or spec.task != "binary":
                raise ValueError("answers yes/no questions of one table, nothing else.")
            return make(spec.num_features, **spec.params)
        module = make(Sizes.of(spec), **spec.params)
    except (TypeError, ValueError) as error:
        raise SpecError(f"Architecture {spec.architecture!r}: {error}") from error
    module.task = spec.task
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


def _class_of(name: str) -> type[Network]:
    if name not in _registered and name in _BUILT_IN:
        import_module(f"models_core.architectures.{name}")
    cls = _registered.get(name)
    if cls is None:
        names = ", ".join(architecture_names())
        raise SpecError(f"Unknown architecture {name!r}. Registered: {names}.")
    return cls
