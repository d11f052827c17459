"""What comes after every fit: measured on rows that nothing was chosen by, and saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import models_core as mc


def finish(
    model: mc.Model, train: mc.Data, validation: mc.Data, test: mc.Data, folder: Path
) -> dict[str, float]:
    """What the model is worth on ``test``, by name; the model is saved in ``folder``."""
    answer = model.predict(test)
    mc.save(model, folder)
    if model.spec.task == "classes":
        return {"accuracy": float((answer.argmax(axis=1) == test.target).mean())}
    return {"mae": float(np.abs(answer - test.target).mean())}
