"""Learning from rows without answers, for a ``fit`` that has few of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from models_core.data import Data, Inputs
from models_core.spec import Spec
from models_core.table import Table
from models_core.training import FitRecipe, Progress, fit

if TYPE_CHECKING:
    from models_core.model import Model


def pretrain(
    spec: Spec,
    data: Data | Table | Inputs,
    how: Literal["masked", "next"] = "masked",
    recipe: FitRecipe | None = None,
    validation: Data | Table | Inputs | None = None,
    *,
    mask: float = 0.25,
    progress: Progress | None = None,
    checkpoints: Path | str | None = None,
) -> Model:
    """Train the part of ``spec`` that makes features, on rows whose answers are not looked at.

    The model that comes out answers its own question and can be saved; given as ``start`` to
    ``fit(spec, ...)``, all but the head begins with what it has learned.

    Args:
        spec: of the model that is wanted in the end.
        data: rows, or arrays by name; the more the better.
        how: ``masked``: tell hidden parts of a row from the others, for tables, series, images and
            tokens. ``next``: tell the next token, for recurrent networks and causal transformers.
        recipe: how to train; ``watch`` is not used by ``masked``.
        validation: rows to pick the best step by; left out, the last fifth of ``data``.
        mask: the share that is hidden.

    Raises:
        SpecError: the architecture makes no features of one input, or sees what comes next.
        ValueError: as ``fit``.

    **Example**

    >>> import numpy as np
    >>> x_NF = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    >>> spec = Spec("mlp", 4, {"width": 8})
    >>> start = pretrain(spec, x_NF, recipe=FitRecipe(steps=2))
    >>> labelled = Data(x_NF[:40], x_NF[:40, 0] > 0)
    >>> fit(spec, labelled, recipe=FitRecipe(steps=2), start=start).spec.architecture
    'mlp'
    """
    if how not in ("masked", "next"):
        raise ValueError(f"how={how!r} is not masked or next.")
    rows = _without_answers(spec, data, how)
    params = dict(spec.params)
    architecture, outputs = spec.architecture, rows.outputs
    if how == "masked":
        params |= {"of": architecture, "mask": mask}
        architecture = "masked"
    else:
        outputs = next(iter(spec.sizes.values())).vocabulary or 1
    task = rows.task
    own = Spec(architecture, 0, params, spec.sizes, task, outputs)
    seen = None if validation is None else _without_answers(spec, validation, how)
    return fit(own, rows, seen, recipe, progress, checkpoints=checkpoints)


def _without_answers(spec: Spec, data: Data | Table | Inputs, how: str) -> Data:
    inputs = (
        data.inputs if isinstance(data, Data) else data.x_NF if isinstance(data, Table) else data
    )
    if not hasattr(inputs, "keys"):
        inputs = {next(iter(spec.sizes)): inputs}
    vocabulary = {name: size.vocabulary for name, size in spec.sizes.items() if size.vocabulary}
    if how == "next" and not vocabulary:
        raise ValueError("how='next' is for tokens. Take how='masked' for numbers.")
    return Data(inputs, None, "next" if how == "next" else "reconstruction", vocabulary=vocabulary)
