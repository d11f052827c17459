"""Small real models of quiet simulated hours, trained in seconds, the same for the whole run."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from lepton_apps.verticals.contract import Trained
from ops import learning, recipes
from ops.learning import Method
from ops.simulator import LOGS_TOPIC, METRICS_TOPIC

SEED = 7


@cache
def logs_model() -> Trained:
    """Of two simulated days of logs."""
    return _trained(LOGS_TOPIC, recipes.log_method(), 1.0, 2.0)


@cache
def metrics_model() -> Trained:
    """Of seven simulated hours of metrics."""
    return _trained(METRICS_TOPIC, recipes.metric_method(), 2.5, 0.3)


def _trained(topic: str, method: Method, records_per_s: float, days: float) -> Trained:
    method = replace(method, steps=150)  # few, and by no clock: the same weights every time
    rows = recipes.simulated_rows(topic, records_per_s, days, SEED, _no_progress)
    return learning.train(
        recipes.features_of(rows),
        method,
        _no_progress,
        block_N=recipes.blocks_of(rows) if method.refit else None,
        max_seconds=300.0,
    )


def _no_progress(stage: str, done: int, total: int) -> None:
    pass
