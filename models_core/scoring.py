"""The metric that picks the best step of a fit, by task. Larger is better. NumPy alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_core.evaluation import pr_auc, roc_auc

Watch = Callable[[NDArray[Any], NDArray[np.float32]], float]


def accuracy(y_N: NDArray[np.int64], logit_NC: NDArray[np.float32]) -> float:
    """The share of rows whose likeliest class is theirs."""
    return float((logit_NC.argmax(axis=-1) == y_N).mean())


def log_likelihood(y_N: NDArray[np.int64], logit_NC: NDArray[np.float32]) -> float:
    """The mean log probability of the right class: minus the log loss."""
    shifted_NC = logit_NC - logit_NC.max(axis=-1, keepdims=True)
    log_sum_N = np.log(np.exp(shifted_NC).sum(axis=-1))
    own_N = np.take_along_axis(shifted_NC, y_N[..., None], axis=-1)[..., 0]
    return float((own_N - log_sum_N).mean())


def _next_log_likelihood(y_NT: NDArray[np.int64], logit_NTC: NDArray[np.float32]) -> float:
    return log_likelihood(y_NT[:, 1:], logit_NTC[:, :-1])


def _next_accuracy(y_NT: NDArray[np.int64], logit_NTC: NDArray[np.float32]) -> float:
    return accuracy(y_NT[:, 1:], logit_NTC[:, :-1])


def _minus_rmse(y: NDArray[np.float32], output: NDArray[np.float32]) -> float:
    return -float(np.sqrt(np.mean((output - y.reshape(len(y), -1)) ** 2)))


# By task: the first one is what "auto" means.
WATCHES: Mapping[str, Mapping[str, Watch]] = {
    "binary": {"pr_auc": pr_auc, "roc_auc": roc_auc},
    "classes": {"log_likelihood": log_likelihood, "accuracy": accuracy},
    "next": {"log_likelihood": _next_log_likelihood, "accuracy": _next_accuracy},
    "regression": {"minus_rmse": _minus_rmse},
    "reconstruction": {"minus_rmse": _minus_rmse},
}


def watched(task: str, y: NDArray[Any], output: NDArray[np.float32], name: str = "auto") -> float:
    """The named metric of raw answers.

    Raises:
        ValueError: the task has no such metric; the sentence lists those it has.
    """
    offered = WATCHES[task]
    chosen = next(iter(offered)) if name == "auto" else name
    if chosen not in offered:
        raise ValueError(f"watch={name!r} is no metric of {task}: {', '.join(offered)}.")
    return offered[chosen](y, output)
