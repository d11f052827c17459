"""From logits to probabilities: Platt scaling, strictly increasing, so a ranking never changes.

Shape suffixes: N = rows, B = rows of a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

_MAX_STEPS = 100
_SURE = 12.0  # log odds beyond which the curve slows down
_SMALLEST = np.nextafter(0.0, 1.0)
_LARGEST = np.nextafter(1.0, 0.0)


class CalibrationError(ValueError):
    """Logits that no increasing curve can turn into probabilities."""


class _CalibrationShape(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    slope: float
    intercept: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """``probability = sigmoid(slope * logit + intercept)`` with ``slope > 0``.

    Log odds above 12, a probability of 1 - 6e-6, go on as their logarithm: no validation table can
    tell them apart, and the plain curve runs out of float64 numbers below 1 from about 22, where
    an easy problem's surest alerts would tie. So two float32 logits share no probability while
    the log odds lie between -700 and 500 and are not within 1e-8 of 0. Results are strictly inside
    (0, 1).

    >>> Calibration(1.0, 0.0).apply(np.array([0.0], dtype=np.float32)).tolist()
    [0.5]
    """

    slope: float
    intercept: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and self.slope > 0 and math.isfinite(self.intercept)):
            raise CalibrationError(
                f"slope={self.slope} must be above 0 and intercept={self.intercept} finite."
            )

    def log_odds(self, z_B: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated log odds of each logit, a straight line."""
        return self.slope * np.asarray(z_B, dtype=np.float64) + self.intercept

    def apply(self, z_B: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities in (0, 1), float64, in the order of the logits."""
        u_B = self.log_odds(z_B)
        u_B = np.where(u_B > _SURE, _SURE + np.log1p(np.maximum(u_B - _SURE, 0.0)), u_B)
        return np.clip(_sigmoid(u_B), _SMALLEST, _LARGEST)

    def to_dict(self) -> dict[str, Any]:
        return {"slope": self.slope, "intercept": self.intercept}

    def to_json(self) -> bytes:
        return msgspec.json.encode(self.to_dict())

    @classmethod
    def from_json(cls, body: bytes | str) -> Calibration:
        try:
            shape = msgspec.json.decode(body, type=_CalibrationShape)
        except msgspec.MsgspecError as error:
            raise CalibrationError(f"Not a calibration: {error}.") from error
        return cls(shape.slope, shape.intercept)


def fit_calibration(
    z_N: NDArray[np.float32],
    y_N: NDArray[np.generic],
    weight_N: NDArray[np.float32] | None = None,
) -> Calibration:
    """The most likely curve through held-out logits and their answers.

    Args:
        z_N: logits of rows the model was not trained on.
        y_N: 0 or 1 for each.
        weight_N: how much each row counts; give the inverse sampling rate for undersampled rows,
            then the probabilities hold for the full stream.

    Raises:
        CalibrationError: an answer is missing, a logit is not finite, or positives do not
            have the higher logits, so that only a falling curve would fit.

    Source:
        Platt (1999) with his smoothed targets, which keep separable data finite; Newton's
        method with step halving as in Lin, Lin and Weng (2007).
    """
    z_N = np.asarray(z_N, dtype=np.float64)
    positive_N = np.asarray(y_N).astype(bool)
    w_N = np.ones(len(z_N)) if weight_N is None else np.asarray(weight_N, dtype=np.float64)
    if z_N.ndim != 1 or positive_N.shape != z_N.shape or w_N.shape != z_N.shape:
        raise CalibrationError(f"Shapes differ: {z_N.shape}, {positive_N.shape}, {w_N.shape}.")
    if not np.isfinite(z_N).all():
        raise CalibrationError("A logit is not finite.")
    num_positive, num_negative = w_N[positive_N].sum(), w_N[~positive_N].sum()
    if num_positive <= 0 or num_negative <= 0:
        raise CalibrationError("Calibration needs at least one positive and one negative row.")
    target_N = np.where(positive_N, (num_positive + 1) / (num_positive + 2), 1 / (num_negative + 2))

    # Newton on standardised logits: the two parameters are then of one size.
    centre, spread = z_N.mean(), z_N.std()
    if spread == 0:
        raise CalibrationError("All logits are equal: the model tells nothing apart.")
    slope, intercept = _newton((z_N - centre) / spread, target_N, w_N)
    if slope <= 0:
        raise CalibrationError(
            f"The best slope is {slope / spread:.3g}: positives do not have the higher logits. "
            "Train on more data, or check that the answers are not swapped."
        )
    return Calibration(float(slope / spread), float(intercept - slope * centre / spread))


def _newton(
    u_N: NDArray[np.float64], target_N: NDArray[np.float64], w_N: NDArray[np.float64]
) -> tuple[float, float]:
    """Slope and intercept of the weighted logistic regression of ``target_N`` on ``u_N``."""
    rate = float((w_N * target_N).sum() / w_N.sum())
    theta = np.array([0.0, math.log(rate / (1 - rate))])
    design_N2 = np.stack([u_N, np.ones_like(u_N)], axis=1)
    loss = _loss(design_N2 @ theta, target_N, w_N)
    for _ in range(_MAX_STEPS):
        p_N = _sigmoid(design_N2 @ theta)
        gradient = design_N2.T @ (w_N * (p_N - target_N))
        curvature = (design_N2 * (w_N * p_N * (1 - p_N))[:, None]).T @ design_N2
        step = np.linalg.solve(curvature + 1e-12 * np.eye(2), gradient)
        size = 1.0
        while (trial := _loss(design_N2 @ (theta - size * step), target_N, w_N)) > loss:
            size /= 2
            if size < 1e-10:  # the minimum, as far as float64 can tell
                return float(theta[0]), float(theta[1])
        theta = theta - size * step
        if loss - trial <= 1e-14 * abs(loss):
            break
        loss = trial
    return float(theta[0]), float(theta[1])


def _loss(
    u_N: NDArray[np.float64], target_N: NDArray[np.float64], w_N: NDArray[np.float64]
) -> float:
    return float((w_N * (np.logaddexp(0.0, u_N) - target_N * u_N)).sum())


def _sigmoid(u_N: NDArray[np.float64]) -> NDArray[np.float64]:
    small_N = np.exp(-np.abs(u_N))  # never overflows, and keeps digits at both ends
    result: NDArray[np.float64] = np.where(u_N >= 0, 1.0, small_N) / (1.0 + small_N)
    return result
