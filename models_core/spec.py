"""What a model is, as data: an architecture's name, its inputs, its question and its parameters."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import msgspec

if TYPE_CHECKING:
    from models_core.data import Data

Scalar = bool | int | float | str
Task = Literal["binary", "classes", "regression", "reconstruction", "next"]
TASKS: Final[tuple[str, ...]] = get_args(Task)
MAX_FEATURES = 4096
MAX_SIZE = 2**24  # numbers of one input of one row; more is a mistake or an attack
TABLE_INPUT = "x"  # the one input of a model of a table


class SpecError(ValueError):
    """A spec that cannot describe a model."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a model.

    Args:
        shape: of one row: ``(F,)`` table, ``(T, C)`` series, ``(C, H, W)`` image, ``(T,)`` tokens
            or raw sound.
        vocabulary: above 0, the input is whole numbers in ``0..vocabulary-1`` (tokens, events,
            node types); 0, it is float32.
    """

    shape: tuple[int, ...]
    vocabulary: int = 0

    def __post_init__(self) -> None:
        if not self.shape or any(not _is_whole(size) or size < 1 for size in self.shape):
            raise SpecError(f"An input's shape is {self.shape!r}; sizes are whole and above 0.")
        if math.prod(self.shape) > MAX_SIZE:
            raise SpecError(f"An input of shape {self.shape} has more than {MAX_SIZE} numbers.")
        if not _is_whole(self.vocabulary) or not 0 <= self.vocabulary <= MAX_SIZE:
            raise SpecError(f"vocabulary={self.vocabulary!r} is not in 0..{MAX_SIZE}.")


class _InputShape(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    shape: tuple[int, ...]
    vocabulary: int = 0


class _SpecShape(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The JSON of a spec, checked strictly on the way in."""

    architecture: str
    num_features: int
    params: dict[str, Scalar] = {}
    inputs: dict[str, _InputShape] = {}
    task: str = "binary"
    outputs: int = 1


@dataclass(frozen=True, slots=True)
class Spec:
    """The shape of a model: JSON in and out, no code inside. Two specs are one if hashes agree.

    ``Spec("mlp", 40)`` asks a yes/no question of a table with 40 columns; ``Spec.of("resnet", data)``
    takes inputs and question from the data.

    Args:
        architecture: a name registered with ``@architecture``; checked when a module is built.
        num_features: columns of the feature matrix, 1 to 4096, for a model of one table; 0 where
            ``inputs`` says more.
        params: what the architecture takes beside the sizes; scalars only. What is left out
            takes the architecture's default.
        inputs: by name; a module takes them in the order of their names. Left out: one table ``x``.
        task: the question: ``binary``, ``classes``, ``regression`` (also forecasting),
            ``reconstruction`` (of the first input) or ``next`` (the next token at each place).
        outputs: numbers of an answer: classes, or values; 1 for ``binary``; the vocabulary for
            ``next``.

    Raises:
        SpecError: a value is out of range or of a type that JSON cannot hold as a scalar.

    >>> spec = Spec("mlp", 3, {"width": 32})
    >>> Spec.from_json(spec.to_json()) == spec
    True
    >>> image = Spec("resnet", inputs={"image": Input((3, 32, 32))}, task="classes", outputs=10)
    >>> Spec.from_json(image.to_json()) == image
    True
    """

    architecture: str
    num_features: int = 0
    params: Mapping[str, Scalar] = field(default_factory=dict)
    inputs: Mapping[str, Input] = field(default_factory=dict)
    task: Task = "binary"
    outputs: int = 1

    def __post_init__(self) -> None:
        if not self.architecture:
            raise SpecError("A spec needs the name of an architecture.")
        if not _is_whole(self.num_features):
            raise SpecError(f"num_features={self.num_features!r} is not a whole number.")
        if not self.inputs and not 1 <= self.num_features <= MAX_FEATURES:
            raise SpecError(f"num_features={self.num_features} is not in 1..{MAX_FEATURES}.")
        if self.inputs and self.num_features:
            raise SpecError("A spec has num_features or inputs, not both.")
        if self.task not in TASKS:
            raise SpecError(f"task={self.task!r} is none of {', '.join(TASKS)}.")
        if not _is_whole(self.outputs) or not 1 <= self.outputs <= MAX_SIZE:
            raise SpecError(f"outputs={self.outputs!r} is not in 1..{MAX_SIZE}.")
        if self.task == "binary" and self.outputs != 1:
            raise SpecError(f"A binary question has one output, not {self.outputs}.")
        for name, value in self.params.items():
            if not isinstance(name, str) or not isinstance(value, Scalar):
                raise SpecError(f"Parameter {name!r}={value!r} is not a number, string or boolean.")
            if isinstance(value, float) and not math.isfinite(value):
                raise SpecError(f"Parameter {name!r}={value!r} is not finite.")
        # Read-only copies: a spec must not change after its hash was written down.
        object.__setattr__(self, "params", MappingProxyType(dict(self.params)))
        ordered = dict(sorted(self.inputs.items()))  # JSON objects keep no other order
        object.__setattr__(self, "inputs", MappingProxyType(ordered))

    @classmethod
    def of(cls, architecture: str, data: Data, **params: Scalar) -> Spec:
        """The spec of this architecture whose inputs and question are those of the data."""
        if data.is_table and data.task == "binary":
            return cls(architecture, data.sizes[TABLE_INPUT].shape[0], params)
        return cls(architecture, 0, params, data.sizes, data.task, data.outputs)

    def __hash__(self) -> int:
        return hash(self.hash)

    def __reduce__(self) -> tuple[Any, ...]:
        given = (dict(self.params), dict(self.inputs), self.task, self.outputs)
        return Spec, (self.architecture, self.num_features, *given)

    @property
    def sizes(self) -> Mapping[str, Input]:
        """Every input by name, also the one of a table."""
        return self.inputs or {TABLE_INPUT: Input((self.num_features,))}

    @property
    def hash(self) -> str:
        """64 hex digits: sha256 of the canonical JSON (sorted keys, no spaces)."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """What JSON holds. A model of a table keeps the three fields that it has always had."""
        said: dict[str, Any] = {
            "architecture": self.architecture,
            "num_features": self.num_features,
            "params": dict(self.params),
        }
        if self.inputs or self.task != "binary":
            said["inputs"] = {
                name: {"shape": list(size.shape), "vocabulary": size.vocabulary}
                for name, size in self.inputs.items()
            }
            said |= {"task": self.task, "outputs": self.outputs}
        return said

    def to_json(self) -> bytes:
        """Canonical JSON: equal specs give equal bytes."""
        return msgspec.json.encode(self.to_dict(), order="sorted")

    @classmethod
    def from_json(cls, body: bytes | str) -> Spec:
        """Read what ``to_json`` wrote; raises ``SpecError`` for anything else."""
        try:
            shape = msgspec.json.decode(body, type=_SpecShape)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise SpecError(f"Not a spec: {error}.") from error
        inputs = {name: Input(size.shape, size.vocabulary) for name, size in shape.inputs.items()}
        task: Any = shape.task
        return cls(
            shape.architecture, shape.num_features, shape.params, inputs, task, shape.outputs
        )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
