"""How far a run is, by steps and by the clock."""

from __future__ import annotations

from models_core.training import FitRecipe


def within(share: float, first: float) -> float:
    """The share of its own phase that is done; each has a schedule of its own."""
    return share / first if share < first else (share - first) / max(1 - first, 1e-9)


def share_done(step: int, seconds: float, recipe: FitRecipe) -> float:
    """How much of the run is behind: by steps or by time, whichever is further.

    The clock is not looked at before half of the time is up, so that a run with time to spare is
    the same every time.
    """
    by_steps = (step - 1) / recipe.steps
    by_time = seconds / recipe.max_seconds if recipe.max_seconds is not None else 0.0
    return max(by_steps, by_time) if by_time >= 0.5 else by_steps
