"""What a fit may tell of single rows, as data. Cheap to import; ``private_steps`` does the work."""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec

WITHHELD = "withheld"  # for the hash of private rows, by which whoever guesses them could be sure


@dataclass(frozen=True, slots=True)
class Privacy:
    """A bound on what a model may tell of any one training row: (epsilon, delta)-differential
    privacy by DP-SGD (Abadi and others 2016), for rows that are added or removed.

    Args:
        epsilon: at the end of all planned steps. Below 1 is strong, 8 is usual, above 20 says
            little. The noise is calibrated to it.
        delta: the chance that the bound does not hold; well below one over the number of rows.
        clip: the largest norm that the gradient of one row keeps.
        rounds: so many fits of the same rows spend ``epsilon`` together.

    Raises:
        ValueError: a number is out of range.

    >>> Privacy(epsilon=3.0).delta
    1e-05
    """

    epsilon: float
    delta: float = 1e-5
    clip: float = 1.0
    rounds: int = 1

    def __post_init__(self) -> None:
        for name in ("epsilon", "clip"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}={value} must be above 0.")
        if self.rounds < 1:
            raise ValueError(f"rounds={self.rounds} must be at least 1.")
        if not 0 < self.delta < 1:
            raise ValueError(f"delta={self.delta} must be between 0 and 1.")


class PrivacySpent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a private fit has spent, and everything needed to compute it again.

    ``epsilon`` follows from the others by the Renyi accountant of the subsampled Gaussian
    mechanism (Mironov, Talwar, Zhang 2019): ``noise`` is in units of ``clip``, ``sample_rate`` is
    the chance of a row to be in a step. Both are 0 of a federated model, whose sites have each their
    own and keep to the same ``epsilon``.
    """

    epsilon: float
    delta: float
    clip: float
    noise: float
    sample_rate: float
    steps: int  # that were done; fewer than planned spend less
