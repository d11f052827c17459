"""From a score to whether anybody should look at the station."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lepton_apps.verticals.contract import Severity


class WeatherPolicy:
    """Calm below the threshold ``warn``; a warning from there on."""

    @property
    def outcomes(self) -> tuple[str, ...]:
        return ("calm", "warn")

    @property
    def thresholds(self) -> tuple[str, ...]:
        return ("warn",)

    def decide(self, s_B: NDArray[np.float64], thresholds: Mapping[str, float]) -> NDArray[np.int8]:
        return (s_B >= thresholds["warn"]).astype(np.int8)

    def severity(self, outcome: str, score: float) -> Severity:
        if outcome == "calm":
            return Severity.LOW
        return Severity.HIGH if score >= 0.9 else Severity.MEDIUM
