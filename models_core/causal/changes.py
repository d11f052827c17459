"""Series of entities over one clock, on the scale of what is usual of each.

Shape suffixes: T = steps, M = measures of a node, K = blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEWEST_USUAL = 20  # steps that say what is usual
UNUSUAL = 3.0  # spreads; a smaller change is none
_NEVER_OTHER = 10.0  # spreads that a series counts as, at most, which was constant while usual
_FURTHEST = 1e4
_LONGEST_BLOCK = 30  # steps

Series = Mapping[str, ArrayLike | Mapping[str, ArrayLike]]


@dataclass(frozen=True, eq=False, slots=True)
class Changes:
    """What entities measured, and from when on something is to be explained.

    Args:
        series: for each node ``(T,)``, or several by the name of the measure. NaN: missing.
        begin: the step at which the symptom was seen; what is before is usual.
        lead: steps before ``begin`` in which causes may have begun already; they are not usual.
        limit: where the scale of the series ends on both sides: what stands there may be further.

    Raises:
        ValueError: series of different lengths, too few steps before or after ``begin``, or a limit
            that is not above 0.
    """

    series: Mapping[str, Mapping[str, NDArray[np.float64]]]
    begin: int
    lead: int = 0
    limit: float = math.inf

    def __init__(self, series: Series, begin: int, lead: int = 0, limit: float = math.inf) -> None:
        found: dict[str, Mapping[str, NDArray[np.float64]]] = {}
        for node, given in sorted(series.items()):
            measures = given if isinstance(given, Mapping) else {"value": given}
            found[node] = {
                measure: _checked(node, measure, values)
                for measure, values in sorted(measures.items())
            }
        lengths = {len(values) for each in found.values() for values in each.values()}
        if len(lengths) != 1:
            raise ValueError(f"Series need one length, not {sorted(lengths)}.")
        (steps,) = lengths
        if lead < 0 or not begin - lead >= FEWEST_USUAL or not begin < steps:
            raise ValueError(
                f"{begin=} and {lead=} of {steps} steps: at least {FEWEST_USUAL} usual ones are "
                "needed before the lead, and one from begin on."
            )
        if not limit > 0:
            raise ValueError(f"{limit=} is no end of a scale; it is above 0.")
        set_ = object.__setattr__
        set_(self, "series", MappingProxyType(found))
        set_(self, "begin", begin)
        set_(self, "lead", lead)
        set_(self, "limit", limit)

    @property
    def usual(self) -> slice:
        return slice(0, self.begin - self.lead)

    @property
    def after(self) -> slice:
        return slice(self.begin, None)

    @property
    def block(self) -> int:
        """Steps over which means are compared: no longer than the fault and than a tenth of usual."""
        steps = len(next(iter(next(iter(self.series.values())).values())))
        return max(1, min(steps - self.begin, (self.begin - self.lead) // 10, _LONGEST_BLOCK))

    def standing(self) -> dict[str, tuple[tuple[str, ...], NDArray[np.float64]]]:
        """For each node its measures and ``(T, M)``: distances from the median in usual spreads.

        A missing value stands at 0. Measures that are too often missing are left out, nodes
        without any measure too.
        """
        found = {}
        for node, measures in self.series.items():
            kept = {}
            for measure, value_T in measures.items():
                z_T = _standing(value_T, self.usual, self.after)
                if z_T is not None:
                    kept[measure] = z_T
            if kept:
                found[node] = (tuple(kept), np.stack(list(kept.values()), axis=1))
        return found


def cut_off(values: Mapping[str, NDArray[np.float64]], changes: Changes) -> NDArray[np.float64]:
    """``(M,)``: of each measure, the share of steps after ``begin`` that stand at the limit."""
    return np.array(
        [
            float((np.abs(value_T[changes.after]) >= 0.99 * changes.limit).mean())
            for value_T in values.values()
        ]
    )


def strength(z_TM: NDArray[np.float64], changes: Changes) -> NDArray[np.float64]:
    """``(M,)``: how far the mean after ``begin`` is from that of usual blocks, in their spreads."""
    middle_M, spread_M = of_blocks(z_TM[changes.usual], changes.block)
    away_M: NDArray[np.float64] = np.abs(z_TM[changes.after].mean(axis=0) - middle_M) / spread_M
    return away_M


def of_blocks(
    usual_TM: NDArray[np.float64], block: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``(M,)`` mean and spread of the means of all blocks of the usual steps.

    Means of blocks that overlap are taken, so noise that goes on for a while, as of a slow drift,
    makes them spread more than single steps promise.
    """
    sums_TM = np.cumsum(np.concatenate([np.zeros((1, usual_TM.shape[1])), usual_TM]), axis=0)
    mean_KM = (sums_TM[block:] - sums_TM[:-block]) / block
    least_M = np.maximum(usual_TM.std(axis=0) / np.sqrt(block) / 2, 1e-3)
    return mean_KM.mean(axis=0), np.maximum(mean_KM.std(axis=0), least_M)


def onset(z_TM: NDArray[np.float64], changes: Changes) -> int | None:
    """The first step, from the lead on, at which any measure is and stays further than it ever was."""
    limit_M = np.maximum(UNUSUAL, np.quantile(np.abs(z_TM[changes.usual]), 0.995, axis=0))
    first = changes.usual.stop
    far_TM = np.abs(z_TM[first:]) > limit_M
    near_by = np.concatenate([far_TM[1:], far_TM[-1:]])
    stays_T = (far_TM & near_by).any(axis=1)
    found = np.flatnonzero(stays_T)
    return first + int(found[0]) if len(found) else None


def _standing(
    value_T: NDArray[np.float64], usual: slice, after: slice
) -> NDArray[np.float64] | None:
    seen = value_T[usual][np.isfinite(value_T[usual])]
    if len(seen) < FEWEST_USUAL // 2 or not np.isfinite(value_T[after]).any():
        return None
    low, middle, high = np.quantile(seen, [0.25, 0.5, 0.75])
    # A series that mostly stands still has no spread between its quartiles.
    spread = max((high - low) / 1.349, seen.std() / 4)
    away_T = np.where(np.isfinite(value_T), value_T - middle, 0.0)
    furthest = float(np.abs(away_T).max())
    if spread <= 1e-9 * furthest or spread == 0:
        spread = furthest / _NEVER_OTHER or 1.0
    z_T: NDArray[np.float64] = np.clip(away_T / spread, -_FURTHEST, _FURTHEST)
    return z_T


def _checked(node: str, measure: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(
            f"{node}.{measure} has the shape {array.shape}, not one step after another."
        )
    if np.isinf(array).any():
        raise ValueError(f"{node}.{measure} is infinite at {int(np.argmax(np.isinf(array)))}.")
    return array
