"""Which architectures exist, and how a spec becomes a module."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from models_core.spec import Spec, SpecError

if TYPE_CHECKING:
    from models_core.architectures.binary import BinaryModule

_Module = TypeVar("_Module", bound="type[BinaryModule]")

_BUILT_IN = (
    "event_windows",
    "metric_vectors",
    "mlp",
    "tabular_ensemble",
)  # each is a module of this package, imported when asked for
_registered: dict[str, type[BinaryModule]] = {}


def architecture(name: str) -> Callable[[_Module], _Module]:
    """Register a module class under ``name``.

    The class is built as ``cls(num_features, **params)``; its keyword defaults are the
    architecture's defaults. A name taken by another class is refused.
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


def build(spec: Spec) -> BinaryModule:
    """A fresh module for ``spec``, weights from torch's current random state.

    Raises:
        SpecError: the architecture is unknown, or does not take one of the parameters, or
            refuses its value.
    """
    if spec.architecture not in _registered and spec.architecture in _BUILT_IN:
        import_module(f"models_core.architectures.{spec.architecture}")
    cls = _registered.get(spec.architecture)
    if cls is None:
        names = ", ".join(architecture_names())
        raise SpecError(f"Unknown architecture {spec.architecture!r}. Registered: {names}.")
    known = [name for name in inspect.signature(cls).parameters if name != "num_features"]
    unknown = sorted(set(spec.params) - set(known))
    if unknown:
        raise SpecError(
            f"Architecture {spec.architecture!r} has no parameter {', '.join(unknown)}. "
            f"It takes: {', '.join(known)}."
        )
    try:
        return cls(spec.num_features, **spec.params)
    except (TypeError, ValueError) as error:
        raise SpecError(f"Architecture {spec.architecture!r}: {error}") from error
