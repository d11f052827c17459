"""From a fraud score to what happens to the payment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lepton_apps.verticals.contract import Severity

APPROVE: Final = "approve"
REVIEW: Final = "review"
DECLINE: Final = "decline"


class PaymentPolicy:
    """Approve below ``review``, hold for a person from there, decline from ``decline`` on.

    Total and monotone for any thresholds: each one that a score reaches adds one step.
    """

    @property
    def outcomes(self) -> tuple[str, ...]:
        return (APPROVE, REVIEW, DECLINE)

    @property
    def thresholds(self) -> tuple[str, ...]:
        return (REVIEW, DECLINE)

    def decide(self, s_B: NDArray[np.float64], thresholds: Mapping[str, float]) -> NDArray[np.int8]:
        """The index into ``outcomes`` for each score; a score on a threshold reaches it."""
        steps_B = (s_B >= thresholds[REVIEW]).astype(np.int8)
        steps_B += s_B >= thresholds[DECLINE]
        return steps_B

    def severity(self, outcome: str, score: float) -> Severity:
        """How loud; never quieter for a higher score or a harder outcome."""
        if outcome == DECLINE:
            return Severity.CRITICAL if score >= 0.9 else Severity.HIGH
        if outcome == REVIEW:
            return Severity.HIGH if score >= 0.9 else Severity.MEDIUM
        return Severity.LOW
