"""Curves, bins and counts of answers: what the plots of a report are drawn from.

Shape suffixes: N = rows, D = distinct scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_core.reports import CalibrationBin, Curve, Histogram

POINTS = 240  # of a curve; a screen shows no more
BINS = 15  # of equally many rows, as the calibration error has
BARS = 24
Numbers = NDArray[np.float64]


def binary_curves(
    yes_N: NDArray[np.bool_], p_N: Numbers, miss_cost: float, false_alarm_cost: float
) -> dict[str, Curve]:
    """Precision over recall, ROC, recall over the share looked at, and cost over the threshold."""
    score_D, hits_D, taken_D = _cumulated(yes_N, p_N)
    alarms_D = taken_D - hits_D
    positives, negatives = float(yes_N.sum()), float((~yes_N).sum())
    recall_D, false_D = hits_D / positives, alarms_D / negatives
    cost_D = (positives - hits_D) * miss_cost + alarms_D * false_alarm_cost
    return {
        "pr": _curve(recall_D, hits_D / taken_D),
        "roc": _curve(np.append(0.0, false_D), np.append(0.0, recall_D)),
        "gains": _curve(np.append(0.0, taken_D / len(yes_N)), np.append(0.0, recall_D)),
        "cost": _curve(score_D[::-1], cost_D[::-1]),
    }


def cheapest(
    yes_N: NDArray[np.bool_], p_N: Numbers, miss_cost: float, false_alarm_cost: float
) -> tuple[float, float]:
    """The least cost, and the highest threshold that has it; above every score: flag nothing."""
    score_D, hits_D, taken_D = _cumulated(yes_N, p_N)
    cost_D = (yes_N.sum() - hits_D) * miss_cost + (taken_D - hits_D) * false_alarm_cost
    nothing = float(yes_N.sum()) * miss_cost
    best = int(cost_D.argmin())
    if nothing <= cost_D[best]:
        return nothing, float(np.nextafter(score_D[0], 2.0))
    return float(cost_D[best]), float(score_D[best])


def _cumulated(yes_N: NDArray[np.bool_], p_N: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Distinct scores from the top, and the positives and rows at or above each of them."""
    order_N = np.argsort(-p_N, kind="stable")
    sorted_N = p_N[order_N]
    is_last_N = np.append(sorted_N[1:] != sorted_N[:-1], True)  # tied rows are taken together
    hits_D = np.cumsum(yes_N[order_N])[is_last_N].astype(np.float64)
    return sorted_N[is_last_N], hits_D, (np.flatnonzero(is_last_N) + 1).astype(np.float64)


def bins_of(is_so_N: NDArray[np.bool_], said_N: Numbers) -> tuple[CalibrationBin, ...]:
    """Equally full bins of what was said, lowest first, and how often it was so."""
    order_N = np.argsort(said_N, kind="stable")
    return tuple(
        CalibrationBin(float(said_N[part].mean()), float(is_so_N[part].mean()), len(part))
        for part in np.array_split(order_N, min(BINS, len(order_N)))
    )


def histogram_of(groups: Mapping[str, Numbers], low: float, high: float | None) -> Histogram:
    """Counts of each group over one range; no ``high``: up to the largest value."""
    if high is None:
        high = max((float(values.max()) for values in groups.values() if len(values)), default=low)
    edges = np.linspace(low, high if high > low else low + 1.0, BARS + 1)
    counts = {
        name: tuple(np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0].tolist())
        for name, values in groups.items()
    }
    return Histogram(tuple(edges.tolist()), counts)


def thinned(array: NDArray[Any]) -> NDArray[Any]:
    """Some of the elements, evenly spread, with the first and the last."""
    if len(array) <= POINTS:
        return array
    return array[np.unique(np.linspace(0, len(array) - 1, POINTS).round().astype(np.int64))]


def _curve(x: Numbers, y: Numbers) -> Curve:
    kept = thinned(np.arange(len(x)))
    return Curve(tuple(x[kept].tolist()), tuple(y[kept].tolist()))
