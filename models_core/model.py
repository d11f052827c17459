"""What ``fit`` gives: trained weights with everything an artifact must say about them.

Shape suffixes: N = rows, F = features, G = golden rows, O = values of an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models_core.data import Data, Inputs
from models_core.federated import Federated
from models_core.privacy import PrivacySpent
from models_core.spec import Spec
from models_core.training import FitRecipe

if TYPE_CHECKING:
    from models_core.architectures.binary import BinaryModule
    from models_core.architectures.network import Network


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the validation rows during a fit."""

    step: int
    loss: float  # of the step's batch; NaN of a private fit
    score: float  # of the validation rows, by the recipe's ``watch``; larger is better


@dataclass(frozen=True, eq=False, slots=True)
class Model:
    """Trained weights on the CPU, in evaluation mode."""

    spec: Spec
    module: Network
    recipe: FitRecipe
    reference_F: NDArray[np.float32]  # of a table: medians of the training negatives
    golden: tuple[NDArray[Any], ...]  # rows of each input whose answers prove an engine right
    data_hash: str  # of the training rows
    history: tuple[Look, ...]
    seconds: float  # wall time of the fit
    privacy: PrivacySpent | None = None  # of a private fit: what it may tell of any training row
    federated: Federated | None = None  # of a model that several sites trained

    @property
    def binary(self) -> BinaryModule:
        """The module of a yes/no question of a table. Raises ``ValueError`` for any other."""
        from models_core.architectures.binary import BinaryModule

        if not isinstance(self.module, BinaryModule):
            raise ValueError(f"{self.spec.architecture} is not of yes/no questions of a table.")
        return self.module

    @property
    def golden_GF(self) -> NDArray[np.float32]:  # noqa: N802 - a shape suffix
        """The golden rows of a model of one table."""
        return self.golden[0]

    def logits(self, rows: Inputs | Data) -> NDArray[np.float32]:
        """Raw answers ``(N, ...)`` through torch: logits, or values of a regression.

        Args:
            rows: data, one array, or arrays by name.
        """
        import torch

        from models_core.outputs import outputs_of

        arrays = self.named(rows).values()
        return outputs_of(self.module, tuple(torch.from_numpy(array) for array in arrays))

    def predict(self, rows: Inputs | Data) -> NDArray[np.float32]:
        """Answers to use: probabilities (not calibrated) of ``binary`` and ``classes``, else values."""
        output = self.logits(rows)
        if self.spec.task == "binary":
            chance_N: NDArray[np.float32] = np.exp(-np.logaddexp(0, -output))
            return chance_N
        if self.spec.task in ("classes", "next"):
            odds = np.exp(output - output.max(axis=-1, keepdims=True))
            chance: NDArray[np.float32] = odds / odds.sum(axis=-1, keepdims=True)
            return chance
        return output

    def named(self, rows: Inputs | Data) -> dict[str, NDArray[Any]]:
        """The arrays that the module takes, by name and in its order; checked.

        Raises:
            ValueError: an input is missing or of another shape.
        """
        if isinstance(rows, Data):
            named = rows.inputs
        elif isinstance(rows, np.ndarray):
            named = {next(iter(self.spec.sizes)): rows}
        else:
            named = rows
        arrays = {}
        for name, size in self.spec.sizes.items():
            array = named.get(name)
            if array is None or array.shape[1:] != size.shape:
                got = "nothing" if array is None else str(array.shape)
                wanted = ", ".join(["N", *map(str, size.shape)])
                raise ValueError(f"Expected {name!r} of shape ({wanted}), got {got}.")
            kind = np.int64 if size.vocabulary else np.float32
            arrays[name] = np.ascontiguousarray(array, dtype=kind)
        return arrays
