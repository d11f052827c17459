"""Where a fit becomes a private one. Imports opacus only then."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from models_core.architectures.network import Network
from models_core.privacy import Privacy
from models_core.table import Rows
from models_core.training import FitRecipe

if TYPE_CHECKING:
    from models_core.loop import Training
    from models_core.private_steps import PrivateSteps


def private_steps(run: Training, privacy: Privacy | None) -> PrivateSteps | None:
    if privacy is None:
        return None
    if run.among.world > 1:
        raise ValueError(f"A private fit is for one process, not {run.among.world}.")
    from models_core.private_steps import PrivateSteps

    return PrivateSteps(run, privacy)


def apart(
    module: Network, train: Rows, validation: Rows, recipe: FitRecipe, privacy: Privacy | None
) -> AbstractContextManager[None]:
    """Where a module's gradients can be taken apart by row, when privacy asks for it."""
    if privacy is None:
        return nullcontext()
    from models_core.private_steps import require_sound, separable

    require_sound(recipe, module, train, validation)
    return separable(module)
