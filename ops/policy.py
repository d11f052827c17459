"""From a score to what is done about it: nothing, a notice, or an alarm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lepton_apps.verticals.contract import Severity

QUIET: Final = "quiet"
NOTICE: Final = "notice"
ALARM: Final = "alarm"


class FaultPolicy:
    """Quiet below ``notice``, alarm from ``alarm`` on."""

    @property
    def outcomes(self) -> tuple[str, ...]:
        return QUIET, NOTICE, ALARM

    @property
    def thresholds(self) -> tuple[str, ...]:
        return NOTICE, ALARM

    def decide(self, s_B: NDArray[np.float64], thresholds: Mapping[str, float]) -> NDArray[np.int8]:
        edges = [thresholds[NOTICE], max(thresholds[ALARM], thresholds[NOTICE])]
        return np.searchsorted(edges, s_B, side="right").astype(np.int8)

    def severity(self, outcome: str, score: float) -> Severity:
        return {QUIET: Severity.LOW, NOTICE: Severity.MEDIUM}.get(outcome, Severity.HIGH)
