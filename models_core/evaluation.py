"""What a ranking of rows is worth, and the threshold that an alert budget buys.

Shape suffix: N = rows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from models_core.calibration import Calibration
    from models_core.data import Data
    from models_core.judging import Probable
    from models_core.model import Model
    from models_core.reports import Report
    from models_core.table import Table


@overload
def evaluate(
    y: ArrayLike, probability: ArrayLike, *, threshold: float = 0.5, alert_share: float = 0.005
) -> dict[str, float]: ...


@overload
def evaluate(
    model: Model,
    data: Table | Data,
    /,
    *,
    threshold: float = 0.5,
    alert_share: float = 0.005,
    miss_cost: float = 1.0,
    false_alarm_cost: float = 1.0,
    calibration: Calibration | None = None,
    baseline: Probable | None = None,
) -> Report: ...


def evaluate(
    y: Any,
    probability: Any,
    *,
    threshold: float = 0.5,
    alert_share: float = 0.005,
    **beside: Any,
) -> dict[str, float] | Report:
    """What answers are worth: ``evaluate(model, data)``, or ``evaluate(y, probability)``.

    With a model, all that can be said of it on these rows, whatever its task: metrics, the
    simple answers to beat, curves. Rows should be later than those of the training. With numbers,
    the metrics of a yes/no question alone.

    Args:
        y: a model; or 0 or 1 for each of N rows, with at least one of each.
        probability: a ``Table`` or ``Data`` as the model takes it; or N numbers in [0, 1].
        threshold: of a yes/no question: where precision, recall, F1 and cost are taken,
            ``probability >= threshold``.
        alert_share: the alert budget as a share of rows, in (0, 1]: the top
            ``max(1, floor(N * alert_share))`` rows are looked at, less when ties would exceed it.
        miss_cost, false_alarm_cost: with a model: what a positive that is not flagged costs, and
            a negative that is; in any unit.
        calibration: with a model: turns its logits into probabilities; else they are its own.
        baseline: with a model of a table: another method beside, such as ``fit_boosted_trees``.

    Returns:
        With a model, a ``Report``; otherwise a dictionary: roc_auc, pr_auc, precision, recall, f1,
        precision_at_budget, recall_at_budget, ece, brier, base_rate. Every number is finite. A
        precision over no alerts is 0.

    Raises:
        ValueError: a value is out of range, the rows are not of the model, or an answer is missing.
    """
    from models_core.model import Model

    if not isinstance(y, Model):
        if beside:
            raise TypeError(f"{', '.join(beside)}: only with a model.")
        return evaluate_probabilities(y, probability, threshold, alert_share)

    from models_core.judging import Question, judge
    from models_core.training import for_spec

    calibration, baseline = beside.pop("calibration", None), beside.pop("baseline", None)
    question = Question(threshold, alert_share, **beside)
    data = for_spec(y.spec, "evaluated", probability)
    return judge(y, data, question, calibration, baseline)


def evaluate_probabilities(
    y: ArrayLike, probability: ArrayLike, threshold: float = 0.5, alert_share: float = 0.005
) -> dict[str, float]:
    """The metrics of a yes/no question; see ``evaluate``."""
    y_N, p_N = _checked(y, probability)
    if not 0 < alert_share <= 1:
        raise ValueError(f"alert_share={alert_share} is not in (0, 1].")
    precision, recall = _precision_recall(y_N, p_N >= threshold)
    budget = threshold_for_budget(p_N, records_per_day=1.0, alerts_per_day=alert_share)
    precision_at_budget, recall_at_budget = _precision_recall(y_N, p_N >= budget)
    return {
        "roc_auc": roc_auc(y_N, p_N),
        "pr_auc": pr_auc(y_N, p_N),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "precision_at_budget": precision_at_budget,
        "recall_at_budget": recall_at_budget,
        "ece": expected_calibration_error(y_N, p_N),
        "brier": float(np.mean((p_N - y_N) ** 2)),
        "base_rate": float(y_N.mean()),
    }


def roc_auc(y: ArrayLike, score: ArrayLike) -> float:
    """The chance that a positive outranks a negative; a tie counts half.

    >>> roc_auc([0, 1, 1], [0.1, 0.1, 0.9])
    0.75
    """
    y_N, s_N = _checked_ranking(y, score)
    _, inverse_N, count_D = np.unique(s_N, return_inverse=True, return_counts=True)
    rank_D = np.cumsum(count_D) - (count_D - 1) / 2  # mean rank of each distinct score
    positives = y_N.sum()
    above = rank_D[inverse_N][y_N == 1].sum() - positives * (positives + 1) / 2
    return float(above / (positives * (len(y_N) - positives)))


def pr_auc(y: ArrayLike, score: ArrayLike) -> float:
    """Average precision: the sum of precision times the recall gained, over distinct scores.

    >>> pr_auc([0, 1, 0, 1], [0.1, 0.9, 0.8, 0.7])
    0.8333333333333333
    """
    y_N, s_N = _checked_ranking(y, score)
    order_N = np.argsort(-s_N, kind="stable")
    sorted_N = s_N[order_N]
    is_last_N = np.append(sorted_N[1:] != sorted_N[:-1], True)  # tied rows are taken together
    hits_D = np.cumsum(y_N[order_N])[is_last_N]
    seen_D = np.flatnonzero(is_last_N) + 1
    gained_D = np.diff(hits_D, prepend=0.0)
    return float((gained_D * hits_D / seen_D).sum() / hits_D[-1])


def expected_calibration_error(y: ArrayLike, probability: ArrayLike, *, bins: int = 15) -> float:
    """How far probabilities are from what happened, on average, in ``bins`` equally full bins.

    Equally full and not equally wide: at 1 % positives nearly all rows share one wide bin.
    """
    y_N, p_N = _checked(y, probability)
    order_N = np.argsort(p_N, kind="stable")
    gap = 0.0
    for part in np.array_split(order_N, min(bins, len(order_N))):
        gap += len(part) / len(order_N) * abs(float(p_N[part].mean() - y_N[part].mean()))
    return gap


def threshold_for_budget(s_N: ArrayLike, *, records_per_day: float, alerts_per_day: float) -> float:
    """Pick the score at or above which at most ``alerts_per_day`` records a day would alert.

    Operators can read only so many alerts, so the budget is the input and the threshold the
    output, not the other way round. Rows with one score alert together or not at all: a group of
    ties that does not fit into the budget is left out whole, so a saturated model never floods.

    Args:
        s_N: scores of N recent records, in [0, 1], any order.
        records_per_day: traffic of the stream, records per day, > 0.
        alerts_per_day: what the operators can read, alerts per day, >= 0.

    Returns:
        A threshold for ``score >= threshold``. Its resolution is one record in N: with
        N = 10_000 a budget above 0 but below 1 in 10_000 records returns the largest score if no
        other record shares it. When nothing fits (or the budget is 0) it is the next number
        above the largest score, which exceeds 1 only if that score is 1.

    Raises:
        ValueError: ``s_N`` is empty or holds a NaN or a value out of range, or a rate does.

    Source:
        The empirical quantile, "inverted_cdf" of Hyndman and Fan (1996), type 1, with ties
        resolved upwards.

    >>> threshold_for_budget([0.1, 0.2, 0.9, 0.9], records_per_day=100, alerts_per_day=75)
    0.2
    """
    scores = np.sort(_checked_scores(s_N))[::-1]
    if not (math.isfinite(records_per_day) and records_per_day > 0):
        raise ValueError(f"records_per_day={records_per_day} is not above 0.")
    if not (math.isfinite(alerts_per_day) and alerts_per_day >= 0):
        raise ValueError(f"alerts_per_day={alerts_per_day} is not at least 0.")
    # The small excess keeps 0.3 * 10 at 3 alerts and not at 2.
    affordable = math.floor(len(scores) * (alerts_per_day / records_per_day) * (1 + 1e-12))
    if alerts_per_day > 0:
        affordable = max(1, affordable)
    if affordable >= len(scores):
        return float(scores[-1])
    first_refused = scores[affordable]
    taken = scores[:affordable]
    fitting = taken[taken > first_refused]
    return float(fitting[-1]) if len(fitting) else float(np.nextafter(scores[0], 2.0))


def _precision_recall(y_N: NDArray[np.float64], alerts_N: NDArray[np.bool_]) -> tuple[float, float]:
    hits = float(y_N[alerts_N].sum())
    alerts = int(alerts_N.sum())
    return (hits / alerts if alerts else 0.0), hits / float(y_N.sum())


def _checked_scores(score: ArrayLike) -> NDArray[np.float64]:
    s_N = np.asarray(score, dtype=np.float64)
    if s_N.ndim != 1 or not len(s_N):
        raise ValueError(f"Scores must be a list of numbers, not of shape {s_N.shape}.")
    if not ((s_N >= 0) & (s_N <= 1)).all():  # refuses NaN too
        raise ValueError(f"A score is {s_N[~((s_N >= 0) & (s_N <= 1))][0]}, not in [0, 1].")
    return s_N


def _checked_ranking(
    y: ArrayLike, score: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y_N, s_N = np.asarray(y, dtype=np.float64), np.asarray(score, dtype=np.float64)
    if y_N.ndim != 1 or y_N.shape != s_N.shape:
        raise ValueError(f"{y_N.shape} answers but {s_N.shape} scores.")
    if not np.isin(y_N, (0.0, 1.0)).all() or not 0 < y_N.sum() < len(y_N):
        raise ValueError("Answers must be 0 or 1, with at least one of each.")
    if not np.isfinite(s_N).all():
        raise ValueError("A score is not finite.")
    return y_N, s_N


def _checked(
    y: ArrayLike, probability: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y_N, p_N = _checked_ranking(y, probability)
    return y_N, _checked_scores(p_N)
