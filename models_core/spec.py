"""What a model is, as data: an architecture's name, its width in features and its parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec

Scalar = bool | int | float | str
MAX_FEATURES = 4096


class SpecError(ValueError):
    """A spec that cannot describe a model."""


class _SpecShape(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The JSON of a spec, checked strictly on the way in."""

    architecture: str
    num_features: int
    params: dict[str, Scalar] = {}


@dataclass(frozen=True, slots=True)
class Spec:
    """The shape of a model: JSON in and out, no code inside. Two specs are one if hashes agree.

    Args:
        architecture: a name registered with ``@architecture``; checked when a module is built.
        num_features: columns of the feature matrix, 1 to 4096.
        params: what the architecture takes beside the width; scalars only. What is left out
            takes the architecture's default.

    Raises:
        SpecError: a value is out of range or of a type that JSON cannot hold as a scalar.

    >>> spec = Spec("mlp", 3, {"width": 32})
    >>> Spec.from_json(spec.to_json()) == spec
    True
    """

    architecture: str
    num_features: int
    params: Mapping[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.architecture:
            raise SpecError("A spec needs the name of an architecture.")
        if isinstance(self.num_features, bool) or not isinstance(self.num_features, int):
            raise SpecError(f"num_features={self.num_features!r} is not a whole number.")
        if not 1 <= self.num_features <= MAX_FEATURES:
            raise SpecError(f"num_features={self.num_features} is not in 1..{MAX_FEATURES}.")
        for name, value in self.params.items():
            if not isinstance(name, str) or not isinstance(value, Scalar):
                raise SpecError(f"Parameter {name!r}={value!r} is not a number, string or boolean.")
            if isinstance(value, float) and not _is_finite(value):
                raise SpecError(f"Parameter {name!r}={value!r} is not finite.")
        # A read-only copy: a spec must not change after its hash was written down.
        object.__setattr__(self, "params", MappingProxyType(dict(self.params)))

    def __hash__(self) -> int:
        return hash(self.hash)

    def __reduce__(self) -> tuple[type[Spec], tuple[str, int, dict[str, Scalar]]]:
        return Spec, (self.architecture, self.num_features, dict(self.params))

    @property
    def hash(self) -> str:
        """64 hex digits: sha256 of the canonical JSON (sorted keys, no spaces)."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture,
            "num_features": self.num_features,
            "params": dict(self.params),
        }

    def to_json(self) -> bytes:
        """Canonical JSON: equal specs give equal bytes."""
        return msgspec.json.encode(self.to_dict(), order="sorted")

    @classmethod
    def from_json(cls, body: bytes | str) -> Spec:
        """Read what ``to_json`` wrote; raises ``SpecError`` for anything else."""
        try:
            shape = msgspec.json.decode(body, type=_SpecShape)
        except msgspec.MsgspecError as error:
            raise SpecError(f"Not a spec: {error}.") from error
        return cls(shape.architecture, shape.num_features, shape.params)


def _is_finite(value: float) -> bool:
    return value - value == 0.0
