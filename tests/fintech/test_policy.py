from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fintech.policy import PaymentPolicy
from lepton_apps.verticals.contract import Severity

LOUDNESS = list(Severity)
unit = st.floats(0.0, 1.0)


@given(s=st.lists(unit, min_size=2, max_size=50), review=unit, decline=unit)
def test_every_score_has_an_outcome_and_a_higher_one_is_never_milder(
    s: list[float], review: float, decline: float
) -> None:
    policy = PaymentPolicy()

    chosen = policy.decide(np.sort(np.array(s)), {"review": review, "decline": decline})

    assert chosen.dtype == np.int8
    assert ((chosen >= 0) & (chosen < len(policy.outcomes))).all()
    assert (np.diff(chosen) >= 0).all()


@given(low=unit, high=unit)
def test_severity_never_falls_with_score_or_outcome(low: float, high: float) -> None:
    policy = PaymentPolicy()
    low, high = min(low, high), max(low, high)

    for outcome in policy.outcomes:
        quiet, loud = policy.severity(outcome, low), policy.severity(outcome, high)
        assert LOUDNESS.index(quiet) <= LOUDNESS.index(loud)
    by_outcome = [LOUDNESS.index(policy.severity(outcome, low)) for outcome in policy.outcomes]
    assert by_outcome == sorted(by_outcome)


@pytest.mark.parametrize(
    ("score", "outcome"),
    [(0.0, "approve"), (0.29, "approve"), (0.3, "review"), (0.8, "decline"), (1.0, "decline")],
)
def test_a_score_on_a_threshold_reaches_it(score: float, outcome: str) -> None:
    policy = PaymentPolicy()

    chosen = policy.decide(np.array([score]), {"review": 0.3, "decline": 0.8})

    assert policy.outcomes[chosen[0]] == outcome
