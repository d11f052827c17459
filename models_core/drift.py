"""How far what a model sees has moved from what it was made on: the population stability index.

Each feature, and the score, is cut into bins by its own reference rows. PSI compares the shares of
bins then and now: ``sum((q - p) * ln(q / p))``, by custom called stable below 0.1 and moved above
0.25 (Siddiqi 2006, "Credit Risk Scorecards"). Rows that only differ by chance have a PSI too, the
larger the fewer they are, so what chance alone brings is told beside (Yurdakul and Naranjo 2020).

Shape suffixes: N = rows, F = features, K = bins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

MOST_BINS: Final = 10
MOVED: Final = 0.25
SOME: Final = 0.1
_DEVIATIONS: Final = 4.0  # that chance is given
_HALF: Final = 0.5  # a row added to each bin, so that an empty one has a share


class Shares(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bins of one number. Bin k holds values from ``edges[k - 1]`` on and below ``edges[k]``."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]  # of the reference rows; one more than edges


class DriftReference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the columns and the score of a model looked like on rows it was not fitted to."""

    features: tuple[Shares, ...]
    score: Shares

    def problem(self, num_features: int) -> str | None:
        """What makes it no reference of a model with so many features; None: it is one."""
        if len(self.features) != num_features:
            return f"has {len(self.features)} drift references for {num_features} features"
        for shares in (*self.features, self.score):
            if len(shares.counts) != len(shares.edges) + 1 or len(shares.counts) > 3 * MOST_BINS:
                return "has a drift reference whose bins and edges do not fit"
            if not all(map(math.isfinite, shares.edges)) or any(
                low >= high for low, high in zip(shares.edges, shares.edges[1:], strict=False)
            ):
                return "has a drift reference whose edges do not rise"
            if min(shares.counts) < 0 or sum(shares.counts) < 1:
                return "has a drift reference without rows"
        return None


class Drift(msgspec.Struct, frozen=True):
    """The PSI of one number, and the most that chance alone would bring."""

    psi: float
    chance: float

    @property
    def moved(self) -> bool:
        return self.psi >= max(MOVED, self.chance)

    @property
    def some(self) -> bool:
        return self.psi >= max(SOME, self.chance)


def drift_reference(x_NF: NDArray[np.float32], s_N: NDArray[np.float64]) -> DriftReference:
    """The reference that later rows are held against.

    Args:
        x_NF: features of rows as they come in service, with no class left out or weighed.
        s_N: their calibrated scores.

    Raises:
        ValueError: a value is not finite.

    **Example**

    >>> rng = np.random.default_rng(0)
    >>> x_NF, s_N = rng.normal(size=(4000, 2)).astype(np.float32), rng.uniform(size=4000)
    >>> reference = drift_reference(x_NF, s_N)
    >>> moved_NF = x_NF + np.array([0.0, 2.0], np.float32)
    >>> [drift.moved for drift in feature_drift(reference, moved_NF)]
    [False, True]
    """
    if not (np.isfinite(x_NF).all() and np.isfinite(s_N).all()):
        raise ValueError("A reference is made of finite numbers.")
    return DriftReference(
        tuple(_shares(x_NF[:, f].astype(np.float64)) for f in range(x_NF.shape[1])), _shares(s_N)
    )


def feature_drift(reference: DriftReference, x_NF: NDArray[np.float32]) -> list[Drift]:
    """The drift of each feature, in order."""
    return [
        _drift(shares, x_NF[:, f].astype(np.float64)) for f, shares in enumerate(reference.features)
    ]


def score_drift(reference: DriftReference, s_N: NDArray[np.float64]) -> Drift:
    return _drift(reference.score, s_N)


def psi(reference_K: Sequence[int], live_K: Sequence[int]) -> Drift:
    """The population stability index of two counts of the same bins.

    **Example**

    >>> drift = psi([50, 50], [50, 50])
    >>> drift.psi, drift.moved
    (0.0, False)
    """
    bins = len(reference_K)
    p_K = (np.asarray(reference_K) + _HALF) / (sum(reference_K) + _HALF * bins)
    q_K = (np.asarray(live_K) + _HALF) / (sum(live_K) + _HALF * bins)
    # By chance it is distributed as chi-square with bins - 1 degrees of freedom, times this.
    unit = 1 / sum(reference_K) + 1 / max(1, sum(live_K))
    chance = ((bins - 1) + _DEVIATIONS * math.sqrt(2 * (bins - 1))) * unit
    return Drift(float(np.sum((q_K - p_K) * np.log(q_K / p_K))), chance)


def _shares(value_N: NDArray[np.float64]) -> Shares:
    """Bins that hold as many reference rows each as equal values allow.

    A value that fills a bin by itself has one of its own, with a bin on either side of it.
    """
    value_U, count_U = np.unique(value_N, return_counts=True)
    heavy_H = value_U[count_U >= len(value_N) / MOST_BINS]
    if len(value_U) <= MOST_BINS:  # flags and counts
        heavy_H = value_U
    rest_R = value_N[~np.isin(value_N, heavy_H)]
    bins = MOST_BINS - len(heavy_H)
    edges = [heavy_H, np.nextafter(heavy_H, np.inf)]
    if len(rest_R) and bins > 1:
        edges.append(np.quantile(rest_R, np.linspace(0, 1, bins + 1)[1:-1], method="higher"))
    edges_E = np.unique(np.concatenate(edges))
    return Shares(tuple(edges_E.tolist()), tuple(_counts(edges_E, value_N).tolist()))


def _drift(shares: Shares, value_N: NDArray[np.float64]) -> Drift:
    return psi(shares.counts, _counts(np.array(shares.edges), value_N).tolist())


def _counts(edges_E: NDArray[np.float64], value_N: NDArray[np.float64]) -> NDArray[np.int64]:
    bin_N = np.searchsorted(edges_E, value_N, side="right")
    return np.bincount(bin_N, minlength=len(edges_E) + 1)
