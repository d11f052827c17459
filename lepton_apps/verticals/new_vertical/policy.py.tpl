"""From a score to whether anybody should look."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lepton_apps.verticals.contract import Severity


class LookPolicy:
    """Fine below the threshold ``look``; from there on somebody should."""

    @property
    def outcomes(self) -> tuple[str, ...]:
        return ("fine", "look")

    @property
    def thresholds(self) -> tuple[str, ...]:
        return ("look",)

    def decide(self, s_B: NDArray[np.float64], thresholds: Mapping[str, float]) -> NDArray[np.int8]:
        return (s_B >= thresholds["look"]).astype(np.int8)

    def severity(self, outcome: str, score: float) -> Severity:
        if outcome == "fine":
            return Severity.LOW
        return Severity.HIGH if score >= 0.9 else Severity.MEDIUM
