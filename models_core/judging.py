"""From a model and rows to a report, by task. NumPy alone, beside the model's own answers.

Shape suffixes: N = rows, C = classes, O = values of an answer, T = tokens, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models_core.curves import (
    binary_curves,
    bins_of,
    cheapest,
    histogram_of,
    thinned,
)
from models_core.evaluation import evaluate_probabilities
from models_core.reports import Curve, Report
from models_core.table import Rows

if TYPE_CHECKING:
    from models_core.calibration import Calibration
    from models_core.model import Model

CLASSES_SHOWN = 100  # more make a confusion matrix that nobody reads
_SMALLEST = 1e-12  # a probability below it counts as this: a log loss stays finite
Numbers = NDArray[np.float64]


class Probable(Protocol):
    """Another method's probabilities of yes, such as ``BoostedTrees``."""

    def probabilities(self, x_NF: NDArray[np.float32]) -> Numbers: ...


@dataclass(frozen=True, slots=True)
class Question:
    """What the asker of a report says beside model and rows."""

    threshold: float = 0.5
    alert_share: float = 0.005
    miss_cost: float = 1.0
    false_alarm_cost: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.alert_share <= 1:
            raise ValueError(f"alert_share={self.alert_share} is not in (0, 1].")
        for name in ("miss_cost", "false_alarm_cost"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name}={getattr(self, name)} is not a finite cost of 0 or more.")

    def to_dict(self) -> dict[str, float]:
        said = {"threshold": self.threshold, "alert_share": self.alert_share}
        return said | {"miss_cost": self.miss_cost, "false_alarm_cost": self.false_alarm_cost}


def judge(
    model: Model,
    data: Rows,
    question: Question,
    calibration: Calibration | None,
    baseline: Probable | None,
) -> Report:
    """See ``evaluate(model, data)``."""
    task = model.spec.task
    if task != "binary" and (calibration is not None or baseline is not None):
        raise ValueError(f"A calibration and a baseline are of yes/no questions, not of {task}.")
    output = model.logits(dict(zip(model.spec.sizes, data.arrays, strict=True)))
    if not np.isfinite(output).all():
        raise ValueError("The model answers with numbers that are not finite.")
    y = data.target
    if task == "binary":
        told = _binary(y, _chances(output, calibration), question, _others(data, baseline))
    elif task == "classes":
        told = _classes(y, output.astype(np.float64), _class_names(data, model.spec.outputs))
    elif task == "next":
        told = _next(y, output.astype(np.float64))
    else:
        told = _values(task, data, output.astype(np.float64))
    settings = question.to_dict() if task == "binary" else {}
    spec = model.spec
    return Report(
        task, spec.architecture, spec.hash, data.hash, len(data), settings=settings, **told
    )


def binary_report(
    y_N: NDArray[Any],
    p_N: Numbers,
    question: Question,
    *,
    architecture: str,
    spec_hash: str,
    data_hash: str,
    others: Mapping[str, Numbers] | None = None,
) -> Report:
    """The report of probabilities that are there already, as of stored decisions."""
    told = _binary(y_N, p_N, question, others or {})
    settings = question.to_dict()
    return Report("binary", architecture, spec_hash, data_hash, len(y_N), settings=settings, **told)


def _chances(z_N: NDArray[np.float32], calibration: Calibration | None) -> Numbers:
    if calibration is not None:
        return calibration.apply(z_N)
    return np.exp(-np.logaddexp(0.0, -z_N.astype(np.float64)))


def _others(data: Rows, baseline: Probable | None) -> dict[str, Numbers]:
    if baseline is None:
        return {}
    if len(data.arrays) != 1 or data.arrays[0].ndim != 2:
        raise ValueError("A baseline answers rows of one table; this data is something else.")
    name = "".join("_" * c.isupper() + c.lower() for c in type(baseline).__name__).strip("_")
    return {name: baseline.probabilities(data.arrays[0])}


def _binary(
    y_N: NDArray[Any], p_N: Numbers, question: Question, others: Mapping[str, Numbers]
) -> dict[str, Any]:
    yes_N = np.asarray(y_N).astype(bool)
    flagged_N = p_N >= question.threshold
    confusion = [[int((yes_N == t)[flagged_N == a].sum()) for a in (0, 1)] for t in (0, 1)]
    rate_N = np.full(len(yes_N), yes_N.mean())
    metrics = binary_metrics(yes_N, p_N, question)
    return {
        "metrics": metrics,
        "baselines": {
            name: binary_metrics(yes_N, told_N, question)
            for name, told_N in {"base_rate": rate_N, **others}.items()
        },
        "classes": ("no", "yes"),
        "confusion": tuple(map(tuple, confusion)),
        "curves": binary_curves(yes_N, p_N, question.miss_cost, question.false_alarm_cost),
        "calibration": bins_of(yes_N, p_N),
        "histogram": histogram_of({"no": p_N[~yes_N], "yes": p_N[yes_N]}, 0.0, 1.0),
    }


def binary_metrics(yes_N: NDArray[np.bool_], p_N: Numbers, question: Question) -> dict[str, float]:
    """Every metric of probabilities, the telling ones first."""
    told = evaluate_probabilities(yes_N, p_N, question.threshold, question.alert_share)
    flagged_N = p_N >= question.threshold
    right_N = np.where(yes_N, p_N, 1 - p_N)
    misses, alarms = int((yes_N & ~flagged_N).sum()), int((~yes_N & flagged_N).sum())
    cost, threshold = cheapest(yes_N, p_N, question.miss_cost, question.false_alarm_cost)
    more = {
        "accuracy": float((yes_N == flagged_N).mean()),
        "log_loss": float(-np.log(np.maximum(right_N, _SMALLEST)).mean()),
        "cost": misses * question.miss_cost + alarms * question.false_alarm_cost,
        "cheapest_cost": cost,
        "cheapest_threshold": threshold,
    }
    first = {name: told[name] for name in ("pr_auc", "roc_auc")}
    return {**first, "accuracy": more["accuracy"], **told, **more}


def _class_names(data: Rows, num_classes: int) -> tuple[str, ...]:
    named: tuple[str, ...] = getattr(data, "class_names", ())
    if int(data.target.max()) >= num_classes:
        raise ValueError(
            f"The data has a class {data.target.max()}; the model knows 0 to {num_classes - 1}."
        )
    return tuple(named[n] if n < len(named) else str(n) for n in range(num_classes))


def _classes(y_N: NDArray[np.int64], z_NC: Numbers, names: tuple[str, ...]) -> dict[str, Any]:
    p_NC = _softmax(z_NC)
    counts_C = np.bincount(y_N, minlength=len(names))
    rate_NC = np.broadcast_to(counts_C / len(y_N), p_NC.shape)
    confusion_CC = _confusion(y_N, p_NC.argmax(axis=1), len(names))
    is_right_N = p_NC.argmax(axis=1) == y_N
    top_N = p_NC.max(axis=1)
    few = len(names) <= CLASSES_SHOWN
    precision_C, recall_C, f1_C = _by_class(confusion_CC)
    per_class = {
        name: {"rows": int(rows), "precision": float(p), "recall": float(r), "f1": float(f)}
        for name, rows, p, r, f in zip(names, counts_C, precision_C, recall_C, f1_C, strict=True)
    }
    return {
        "metrics": _class_metrics(y_N, p_NC),
        "baselines": {"most_common": _class_metrics(y_N, rate_NC)},
        "classes": names if few else (),
        "confusion": tuple(map(tuple, confusion_CC.tolist())) if few else (),
        "per_class": per_class if few else {},
        "calibration": bins_of(is_right_N, top_N),
        "histogram": histogram_of({"wrong": top_N[~is_right_N], "right": top_N[is_right_N]}, 0, 1),
    }


def _class_metrics(y_N: NDArray[np.int64], p_NC: Numbers) -> dict[str, float]:
    answer_N = p_NC.argmax(axis=1)
    own_N = np.maximum(p_NC[np.arange(len(y_N)), y_N], _SMALLEST)
    confusion_CC = _confusion(y_N, answer_N, p_NC.shape[1])
    is_there_C = confusion_CC.sum(axis=1) > 0  # a class without rows says nothing of the model
    precision_C, recall_C, f1_C = (each[is_there_C] for each in _by_class(confusion_CC))
    gaps = [b.rows * abs(b.said - b.was) for b in bins_of(answer_N == y_N, p_NC.max(axis=1))]
    return {
        "log_loss": float(-np.log(own_N).mean()),
        "accuracy": float((answer_N == y_N).mean()),
        "macro_precision": float(precision_C.mean()),
        "macro_recall": float(recall_C.mean()),
        "macro_f1": float(f1_C.mean()),
        "ece": float(sum(gaps) / len(y_N)),
    }


def _by_class(confusion_CC: NDArray[np.int64]) -> tuple[Numbers, Numbers, Numbers]:
    hits_C = np.diag(confusion_CC).astype(np.float64)
    precision_C = hits_C / np.maximum(confusion_CC.sum(axis=0), 1)
    recall_C = hits_C / np.maximum(confusion_CC.sum(axis=1), 1)
    return precision_C, recall_C, 2 * hits_C / np.maximum((confusion_CC + confusion_CC.T).sum(0), 1)


def _confusion(y_N: NDArray[Any], answer_N: NDArray[Any], num: int) -> NDArray[np.int64]:
    counted: NDArray[np.int64] = np.bincount(y_N * num + answer_N, minlength=num * num)
    return counted.reshape(num, num)


def _values(task: str, data: Rows, output: Numbers) -> dict[str, Any]:
    y = data.target.astype(np.float64)
    y_NO, answer_NO = y.reshape(len(y), -1), output.reshape(len(y), -1)
    mean_NO = np.broadcast_to(y_NO.mean(axis=0), y_NO.shape)
    baselines = {"mean": _value_metrics(y_NO, mean_NO)}
    if task == "regression":
        baselines["last_value"] = _value_metrics(y_NO, last_values(data))
    error_NO = answer_NO - y_NO
    told = {"metrics": _value_metrics(y_NO, answer_NO), "baselines": baselines}
    if task == "reconstruction":
        error_N = np.sqrt((error_NO**2).mean(axis=1))
        return told | {"histogram": histogram_of({"rmse of a row": error_N}, 0.0, None)}
    shown = thinned(np.arange(y_NO.size))
    points = Curve(tuple(y_NO.ravel()[shown].tolist()), tuple(answer_NO.ravel()[shown].tolist()))
    reach = float(np.abs(error_NO).max()) or 1.0
    residuals = histogram_of({"residual": error_NO.ravel()}, -reach, reach)
    return told | {"curves": {"answers": points}, "histogram": residuals}


def _value_metrics(y_NO: Numbers, answer_NO: Numbers) -> dict[str, float]:
    error_NO = answer_NO - y_NO
    squared = float((error_NO**2).sum())
    spread = float(((y_NO - y_NO.mean(axis=0)) ** 2).sum())
    return {
        "rmse": float(np.sqrt((error_NO**2).mean())),
        "mae": float(np.abs(error_NO).mean()),
        "r2": 1 - squared / spread if spread else float(squared == 0),
        "bias": float(error_NO.mean()),
    }


def last_values(data: Rows) -> Numbers:
    """``(N, O)`` answers of whoever says that all stays as it is.

    The last step of the first input, where that is a series ``(T, C)`` of the values asked for
    (or of one value); else the answer of the row before, and the mean for the first row.
    """
    y = data.target.astype(np.float64)
    first = data.arrays[0]
    if first.ndim == 3 and first.dtype.kind == "f":
        last_NC = first[:, -1].astype(np.float64)
        if last_NC.shape[1] in (1, y.shape[-1]):
            along = last_NC.reshape(len(y), *([1] * (y.ndim - 2)), last_NC.shape[1])
            return np.broadcast_to(along, y.shape).reshape(len(y), -1)
    y_NO = y.reshape(len(y), -1)
    return np.concatenate([y_NO.mean(axis=0, keepdims=True), y_NO[:-1]])


def _next(y_NT: NDArray[np.int64], z_NTV: Numbers) -> dict[str, Any]:
    truth_NT, z_NTV = y_NT[:, 1:], z_NTV[:, :-1]
    if not truth_NT.size:
        raise ValueError("Rows of one token have no next token to judge.")
    log_NTV = z_NTV - np.logaddexp.reduce(z_NTV, axis=-1, keepdims=True)
    loss_NT = -np.take_along_axis(log_NTV, truth_NT[..., None], axis=-1)[..., 0]
    rank_NT = (log_NTV > -loss_NT[..., None]).sum(axis=-1)
    counts_V = np.bincount(truth_NT.ravel(), minlength=z_NTV.shape[-1])
    share_V = counts_V / counts_V.sum()
    seen_V = np.sort(share_V[share_V > 0])[::-1]
    entropy = float(-(seen_V * np.log(seen_V)).sum())
    places = tuple(float(place) for place in range(1, y_NT.shape[1]))
    return {
        "metrics": _next_metrics(
            float(loss_NT.mean()), float((rank_NT == 0).mean()), float((rank_NT < 5).mean())
        ),
        "baselines": {
            "frequencies": _next_metrics(entropy, float(seen_V[0]), float(seen_V[:5].sum()))
        },
        "curves": {"loss_by_place": Curve(places, tuple(loss_NT.mean(axis=0).tolist()))},
    }


def _next_metrics(log_loss: float, top_1: float, top_5: float) -> dict[str, float]:
    perplexity = float(np.exp(min(log_loss, 700.0)))  # e**710 is no float64
    return {"log_loss": log_loss, "perplexity": perplexity, "top_1": top_1, "top_5": top_5}


def _softmax(z_NC: Numbers) -> Numbers:
    odds_NC = np.exp(z_NC - z_NC.max(axis=1, keepdims=True))
    chance_NC: Numbers = odds_NC / odds_NC.sum(axis=1, keepdims=True)
    return chance_NC
