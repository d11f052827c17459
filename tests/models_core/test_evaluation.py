from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from models_core import Calibration, evaluate, fit_calibration, threshold_for_budget
from models_core.calibration import CalibrationError
from models_core.evaluation import expected_calibration_error, pr_auc, roc_auc

# Few distinct values, so that ties are the rule.
scores = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 0.999, 1.0]), min_size=1, max_size=60)


@given(s_N=scores, share=st.floats(0, 1))
def test_a_budget_is_never_exceeded_beyond_one_record(s_N: list[float], share: float) -> None:
    threshold = threshold_for_budget(s_N, records_per_day=1.0, alerts_per_day=share)
    alerts = sum(score >= threshold for score in s_N)
    assert alerts <= max(1 if share else 0, len(s_N) * share + 1e-9)


@given(s_N=scores, share=st.floats(0, 1))
def test_a_lower_threshold_would_exceed_the_budget(s_N: list[float], share: float) -> None:
    threshold = threshold_for_budget(s_N, records_per_day=1.0, alerts_per_day=share)
    lower = [score for score in s_N if score < threshold]
    if lower:
        alerts = sum(score >= max(lower) for score in s_N)
        assert alerts > max(1 if share else 0, np.floor(len(s_N) * share * (1 + 1e-12)))


@given(s_N=scores, low=st.floats(0, 1), high=st.floats(0, 1))
def test_more_budget_never_raises_the_threshold(s_N: list[float], low: float, high: float) -> None:
    low, high = sorted((low, high))
    assert threshold_for_budget(
        s_N, records_per_day=1.0, alerts_per_day=high
    ) <= threshold_for_budget(s_N, records_per_day=1.0, alerts_per_day=low)


def test_a_saturated_model_does_not_flood() -> None:
    s_N = np.concatenate([np.full(500, 0.99), np.linspace(0, 0.5, 500)])
    threshold = threshold_for_budget(s_N, records_per_day=1000, alerts_per_day=10)
    assert (s_N >= threshold).sum() == 0


@pytest.mark.parametrize(
    ("s_N", "records", "alerts"),
    [([], 1, 1), ([float("nan")], 1, 1), ([1.5], 1, 1), ([0.5], 0, 1), ([0.5], 1, -1)],
)
def test_budgets_out_of_range_are_refused(s_N: list[float], records: float, alerts: float) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        threshold_for_budget(s_N, records_per_day=records, alerts_per_day=alerts)


def test_rankings_are_measured_as_scikit_learn_does_with_ties() -> None:
    random = np.random.default_rng(0)
    y_N = random.random(3000) < 0.05
    s_N = np.round(random.random(3000) * 0.7 + y_N * 0.2, 2)
    assert roc_auc(y_N, s_N) == pytest.approx(roc_auc_score(y_N, s_N), abs=1e-12)
    assert pr_auc(y_N, s_N) == pytest.approx(average_precision_score(y_N, s_N), abs=1e-12)


def test_evaluate_counts_what_an_operator_would_see() -> None:
    y = [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    p = [0.9, 0.3, 0.8, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
    measured = evaluate(y, p, threshold=0.5, alert_share=0.3)
    assert measured["precision"] == 0.5
    assert measured["recall"] == 0.5
    assert measured["f1"] == 0.5
    assert measured["recall_at_budget"] == 1.0
    assert measured["precision_at_budget"] == pytest.approx(2 / 3)
    assert measured["base_rate"] == pytest.approx(0.2)
    assert measured["brier"] == pytest.approx(0.124)


def test_no_alerts_measure_as_zero_and_not_as_nan() -> None:
    measured = evaluate([0, 1], [0.1, 0.2], threshold=0.9)
    assert measured["precision"] == measured["f1"] == 0.0
    assert np.isfinite(list(measured.values())).all()


def test_calibration_repairs_logits_that_are_too_sure() -> None:
    random = np.random.default_rng(1)
    truth = random.normal(-3, 1.5, size=40_000)
    y_N = random.random(40_000) < 1 / (1 + np.exp(-truth))
    z_N = (3 * truth + 5).astype(np.float32)
    calibration = fit_calibration(z_N, y_N)

    assert calibration.slope == pytest.approx(1 / 3, rel=0.05)
    assert expected_calibration_error(y_N, calibration.apply(z_N)) < 0.005
    assert expected_calibration_error(y_N, Calibration(1.0, 0.0).apply(z_N)) > 0.03
    by_sklearn = LogisticRegression(C=np.inf, tol=1e-10).fit(z_N[:, None], y_N)
    assert calibration.slope == pytest.approx(by_sklearn.coef_[0, 0], rel=1e-2)
    assert calibration.intercept == pytest.approx(by_sklearn.intercept_[0], rel=1e-2)


def test_calibration_of_undersampled_rows_holds_for_the_full_stream() -> None:
    random = np.random.default_rng(2)
    z_N = random.normal(-3, 1.5, size=100_000).astype(np.float32)
    y_N = random.random(100_000) < 1 / (1 + np.exp(-z_N))
    kept = y_N | (random.random(100_000) < 0.1)
    weight_N = np.where(y_N, 1.0, 10.0)[kept]
    calibration = fit_calibration(z_N[kept], y_N[kept], weight_N)
    assert calibration.apply(z_N).mean() == pytest.approx(y_N.mean(), rel=0.03)


def test_separable_logits_calibrate_to_something_finite() -> None:
    calibration = fit_calibration(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0, 0, 1, 1]))
    assert 0 < calibration.slope < 100


@given(z=st.floats(-600, 500, width=32))
def test_neighbouring_logits_never_share_a_probability(z: float) -> None:
    pair = np.array([z, np.nextafter(np.float32(z), np.float32(np.inf))], dtype=np.float32)
    if np.abs(pair).max() < 1e-8:  # float64 around 0.5 ends there
        return
    low, high = Calibration(1.0, 0.0).apply(pair)
    assert low < high


def test_extreme_logits_stay_inside_the_open_interval() -> None:
    low, high = Calibration(1.0, 0.0).apply(np.array([-1e30, 1e30], dtype=np.float32))
    assert 0 < low < high < 1


@pytest.mark.parametrize(
    ("z_N", "y_N", "message"),
    [
        ([1.0, 2.0, 3.0, 4.0], [1, 1, 0, 0], "do not have the higher logits"),
        ([1.0, 1.0], [0, 1], "All logits are equal"),
        ([1.0, 2.0], [1, 1], "at least one positive and one negative"),
        ([1.0, float("nan")], [0, 1], "not finite"),
    ],
)
def test_logits_that_cannot_be_calibrated_are_refused(
    z_N: list[float], y_N: list[int], message: str
) -> None:
    with pytest.raises(CalibrationError, match=message):
        fit_calibration(np.array(z_N), np.array(y_N))


def test_a_calibration_survives_json() -> None:
    calibration = Calibration(0.1, -7.3)
    assert Calibration.from_json(calibration.to_json()) == calibration
    with pytest.raises(CalibrationError, match="slope"):
        Calibration.from_json(b'{"slope": -1, "intercept": 0}')
