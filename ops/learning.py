"""How the models of this vertical are made: from what is quiet, and from what can go wrong with it.

Rows of a span of time are cut in four, in order: a memory of what is usual, rows that the joining
of evidence is fitted on, rows that set the thresholds, and rows that are only measured. Positives
are quiet rows made wrong on purpose; labels, where there are any, set thresholds. A plain method is
measured on the same rows. Suffixes: N = rows, F = features.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from lepton_apps.verticals.contract import FeatureSchema, Progress, Trained
from ops.policy import ALARM, NOTICE

if TYPE_CHECKING:
    from models_core import Calibration, FitRecipe, Model, Table

Rows = NDArray[np.float32]
Scores = NDArray[np.float64]

MIN_ROWS: Final = 200
CUTS: Final = (0.55, 0.75, 0.9)  # of the rows, in order of time
STRETCHES: Final = 40  # of the rows that set thresholds: what one brings, the next one knows


class TooFewRowsError(ValueError):
    """There is too little to learn from."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Which share of quiet rows, or of blocks of them, may be looked at by mistake."""

    notice: float = 0.002
    alarm: float = 0.0005


@dataclass(frozen=True, slots=True)
class Method:
    """One kind of model and what it is compared with."""

    architecture: str
    schema: FeatureSchema
    corrupted: Callable[[Rows, int, int], Rows]  # rows, how many, seed
    baselines: Mapping[str, Callable[[Rows, Rows], Scores]]  # memory, rows -> larger is stranger
    steps: int = 400
    batch_size: int = 256
    budget: Budget = field(default_factory=Budget)
    # In the end on all rows, thresholds included. For models too narrow to learn rows by heart: what
    # was new in the last weeks is usual from then on.
    refit: bool = False

    @property
    def width(self) -> int:
        """Columns of a row."""
        return len(self.schema.names)


@dataclass(frozen=True, slots=True)
class Labelled:
    """Rows whose truth is known by group: a session, a day of an entity."""

    x_NF: Rows
    groups: Sequence[str]  # of each row
    positive: frozenset[str]  # groups that something was wrong with


def train(
    quiet_NF: Rows,
    method: Method,
    progress: Progress,
    *,
    labelled: Labelled | None = None,
    block_N: NDArray[np.int64] | None = None,
    max_seconds: float = 15.0,
    device: str = "auto",
) -> Trained:
    """A model of these rows, in order of time; what is strange in them counts as usual.

    ``block_N`` numbers the rows that one alert would take together, an entity's of a quarter of an
    hour: the budget then counts blocks, since ten strange minutes in a row are one alert, not ten.
    With ``labelled`` rows, of the same span of time or before, the notice threshold is the one
    that finds their groups best (F1); without, the one that the budget allows.

    Raises:
        TooFewRowsError: fewer than 200 rows.
    """
    # Imported here: a process that only knows the vertical must not load torch.
    import models_core as core

    _require_enough(quiet_NF)
    memory, fitted, chosen, tested = np.split(
        quiet_NF, [int(len(quiet_NF) * share) for share in CUTS]
    )
    validation = _table(method, memory[:0], chosen, seed=2)
    recipe, spec = (
        _recipe(method, max_seconds, device),
        core.Spec(method.architecture, method.width),
    )
    model = core.fit(spec, _table(method, memory, fitted, seed=1), validation, recipe, progress)

    progress("thresholds", 0, 1)
    calibration = core.fit_calibration(model.logits(validation.x_NF), validation.y_N)
    before = np.concatenate([memory, fitted])
    quiet_N = _as_time_goes(model, before, chosen)
    apart_N = calibration.apply(quiet_N)  # of rows that the model had not met
    thresholds = set_thresholds(apart_N, method.budget)
    test = _table(method, memory[:0], tested, seed=3)
    metrics = _measure(test, calibration.apply(model.logits(test.x_NF)), thresholds[NOTICE])
    baseline = _baselines(method, before, chosen, test)
    if method.refit:
        earlier, newest = quiet_NF[: len(before)], quiet_NF[len(before) :]
        model = core.fit(spec, _table(method, earlier, newest, seed=4), test, recipe, progress)
        quiet_N = model.logits(quiet_NF)
        if block_N is not None:
            quiet_N = highest_of_blocks(quiet_N, block_N)
        thresholds = set_thresholds(calibration.apply(quiet_N), method.budget)
    if labelled is not None:
        _let_labels_decide(thresholds, labelled, model, calibration)
    _remember(model, quiet_NF)
    progress("thresholds", 1, 1)
    return _packed(method, model, calibration, thresholds, metrics, baseline, chosen, apart_N)


def _packed(
    method: Method,
    model: Model,
    calibration: Calibration,
    thresholds: Mapping[str, float],
    metrics: Mapping[str, float],
    baseline: Mapping[str, Mapping[str, float]],
    chosen: Rows,
    apart_N: Scores,
) -> Trained:
    """``chosen`` and ``apart_N``: quiet rows and their scores, for what comes later to be held to."""
    import models_core as core

    files = core.pack(
        model,
        calibration,
        schema_hash=method.schema.hash,
        feature_names=method.schema.names,
        thresholds=thresholds,
        metrics=metrics,
        baseline=baseline,
        drift=core.drift_reference(chosen, apart_N),
    )
    return Trained(files=files, metrics=metrics, baseline=baseline)


def _recipe(method: Method, max_seconds: float, device: str) -> FitRecipe:
    import models_core as core

    return core.FitRecipe(
        steps=method.steps,
        auxiliary_share=0.95,
        batch_size=method.batch_size,
        learning_rate=3e-3,
        evaluate_every=method.steps,  # the joining has been fitted to its end by then
        max_seconds=max_seconds / 2 if method.refit else max_seconds,
        precision="float32",
        device=device,  # type: ignore[arg-type]  # fit refuses what is none
    )


def _require_enough(quiet_NF: Rows) -> None:
    if len(quiet_NF) < MIN_ROWS:
        raise TooFewRowsError(
            f"{len(quiet_NF)} rows are too few to learn from; at least {MIN_ROWS} are needed."
        )


def _baselines(
    method: Method, before: Rows, chosen: Rows, test: Table
) -> dict[str, dict[str, float]]:
    """What the plain methods reach on the rows that are measured, at the same budget."""
    found = {}
    for name, strangeness in method.baselines.items():
        quiet_N = strangeness(before, chosen)
        limit = float(np.quantile(quiet_N, 1 - method.budget.notice))
        if limit == quiet_N.max():  # a method that only says yes or no is heard at every yes
            limit = float(quiet_N[quiet_N < limit].max(initial=quiet_N.min()))
        found[name] = _measure(test, _ranked(strangeness(before, test.x_NF), limit), 0.5)
    return found


def highest_of_blocks(
    score_N: NDArray[np.float32], block_N: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The highest score of each block that occurs."""
    _, place_N = np.unique(block_N, return_inverse=True)
    highest = np.full(int(place_N.max(initial=-1)) + 1, -np.inf, np.float32)
    np.maximum.at(highest, place_N, score_N)
    return highest


def set_thresholds(quiet_N: Scores, budget: Budget) -> dict[str, float]:
    """Thresholds that let the budget's shares of these quiet scores through."""
    from models_core import threshold_for_budget

    found = {
        name: min(threshold_for_budget(quiet_N, records_per_day=1.0, alerts_per_day=share), 1.0)
        for name, share in ((NOTICE, budget.notice), (ALARM, budget.alarm))
    }
    return {NOTICE: found[NOTICE], ALARM: max(found.values())}


def _let_labels_decide(
    thresholds: dict[str, float], labelled: Labelled, model: Model, calibration: Calibration
) -> None:
    """Put the notice threshold where it finds these groups best; the alarm is never below it.

    Groups that begin in the part that is remembered do not count: they would look familiar.
    """
    start = int(len(labelled.x_NF) * CUTS[0])
    remembered = set(labelled.groups[:start])
    quiet_N = np.array([group not in labelled.positive for group in labelled.groups])
    before = labelled.x_NF[:start][quiet_N[:start]]
    s_N = calibration.apply(_as_time_goes(model, before, labelled.x_NF[start:], quiet_N[start:]))
    later = [
        (group, score)
        for group, score in zip(labelled.groups[start:], s_N.tolist(), strict=True)
        if group not in remembered
    ]
    thresholds[NOTICE] = best_threshold(later, labelled.positive)
    thresholds[ALARM] = max(thresholds[ALARM], thresholds[NOTICE])


def best_threshold(scored: Sequence[tuple[str, float]], positive: Collection[str]) -> float:
    """The score from which on calling a group wrong gives the best F1 over these groups.

    ``scored`` has a group and a score for each row; the highest of a group counts.
    """
    highest: dict[str, float] = {}
    for group, score in scored:
        highest[group] = max(highest.get(group, 0.0), score)
    ordered = sorted(highest.items(), key=lambda item: -item[1])
    hits, best_f1, best = 0, 0.0, 1.0
    num_positive = sum(group in positive for group in highest)
    for taken, (group, score) in enumerate(ordered, start=1):
        hits += group in positive
        is_last = taken == len(ordered) or ordered[taken][1] < score
        f1 = 2 * hits / (taken + num_positive)
        if is_last and f1 > best_f1:
            below = ordered[taken][1] if taken < len(ordered) else score
            best_f1, best = f1, (score + below) / 2
    return best


def _as_time_goes(
    model: Model, before: Rows, rows: Rows, quiet_N: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Logits of rows, each stretch by a model that remembers the quiet ones before it."""
    quiet_N = np.ones(len(rows), bool) if quiet_N is None else quiet_N
    logits = []
    for place_S in np.array_split(np.arange(len(rows)), STRETCHES):
        if not len(place_S):
            continue
        _remember(model, before)
        logits.append(model.logits(rows[place_S]))
        before = np.concatenate([before, rows[place_S][quiet_N[place_S]]])
    _remember(model, before)
    return np.concatenate(logits)


def _remember(model: Model, rows: Rows) -> None:
    """Let a model that remembers rows remember these."""
    import torch

    remember = getattr(model.module, "remember", None)
    if remember is not None:
        remember(torch.from_numpy(rows))


def _table(method: Method, memory: Rows, quiet: Rows, seed: int) -> Table:
    """Memory without weight, then as many rows gone wrong as are quiet."""
    from models_core import Table

    wrong = method.corrupted(quiet, len(quiet), seed)
    x_NF = np.concatenate([memory, quiet, wrong])
    y_N = np.r_[np.zeros(len(memory) + len(quiet)), np.ones(len(wrong))]
    weight_N = np.r_[np.zeros(len(memory)), np.ones(len(quiet) + len(wrong))]
    return Table(x_NF, y_N.astype(np.float32), weight_N.astype(np.float32))


def _ranked(strangeness_N: Scores, limit: float) -> Scores:
    """Strangeness as scores in [0, 1], with ``limit`` just below one half."""
    ratio_N = np.maximum(strangeness_N, 0.0) / max(limit, 1e-9)
    return np.where(strangeness_N > limit, 1 - 0.5 / np.maximum(ratio_N, 1.0), ratio_N * 0.499)


def _measure(test: Table, s_N: Scores, threshold: float) -> dict[str, float]:
    from models_core import evaluate

    quiet_N = test.y_N == 0
    metrics = dict(evaluate(test.y_N, s_N, threshold=threshold, alert_share=0.5))
    metrics["quiet_share_alerted"] = float((s_N[quiet_N] >= threshold).mean())
    return metrics
