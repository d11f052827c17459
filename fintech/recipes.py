"""How the vertical's models are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fintech import dataset
from fintech.extractor import TransactionExtractor
from fintech.policy import DECLINE, REVIEW
from lepton_apps.common.errors import TooLittleHistoryError
from lepton_apps.verticals.contract import (
    FeatureSchema,
    Fitting,
    Search,
    Trained,
    TrainingRecipe,
)

if TYPE_CHECKING:
    from models_core import FitRecipe, Spec, Table
    from models_core.tuned import Tuned

REVIEW_SHARE: Final = 0.008  # of all payments: what people can look at
DECLINE_PRECISION: Final = 0.85  # of the payments declined unseen, at least so many are fraud
DECLINE_LEAST: Final = 20  # payments on which that precision is measured
HISTORY_CUTS: Final = (0.6, 0.8)  # of the span of time: learned from, chosen by, measured
LEAST_FRAUDS: Final = {"learn from": 50, "choose by": 20, "measure on": 20}
HISTORY_S: Final = 600.0  # wall time of a fit on the server's own payments, at most
HONEST_KEEP: Final = 4  # one honest payment in so many is trained on, and weighs as much


def train_starter(fitting: Fitting) -> Trained:
    """A first model for a fresh installation, from simulated payments, in under a minute.

    Targets are the simulator's truth, so frauds that are never reported count too.
    """
    return _train(_simulated(fitting), fitting, max_seconds=25.0)


def learn_history(fitting: Fitting) -> Trained:
    """A model of this server's own payments, by what became known of them."""
    data, measured_from = _own(fitting)
    trained = _train(data, fitting, max_seconds=HISTORY_S)
    return replace(trained, measured_from=measured_from)


def tune_starter(fitting: Fitting, search: Search) -> Tuned:
    """Look for better settings on simulated payments."""
    return _tune(_simulated(fitting), fitting, search)


def tune_history(fitting: Fitting, search: Search) -> Tuned:
    """Look for better settings on this server's own payments."""
    return _tune(_own(fitting)[0], fitting, search)


def _simulated(fitting: Fitting) -> dataset.Dataset:
    return dataset.build(
        dataset.DatasetParameters(),
        TransactionExtractor(),
        lambda done, total: fitting("simulate", done, total),
    )


def _own(fitting: Fitting) -> tuple[dataset.Dataset, float]:
    """Payments whose truth is known, cut by time: learned from, chosen by, and only measured.

    Returns:
        them, and when the last part begins, in seconds since 1970.
    """
    history = fitting.history
    assert history is not None, "the recipe learns from history"
    known_N = np.flatnonzero(history.known_N)
    first, last = history.at_N[known_N[[0, -1]]] if len(known_N) else (0.0, 0.0)
    cuts = [first + (last - first) * share for share in HISTORY_CUTS]
    place_N = np.searchsorted(cuts, history.at_N[known_N], side="right")
    parts = []
    for place, (name, least) in enumerate(LEAST_FRAUDS.items()):
        row_N = known_N[place_N == place]
        fraud_N = history.positive_N[row_N]
        if fraud_N.sum() < least or not (~fraud_N).any():
            raise TooLittleHistoryError(
                f"{len(row_N):,} payments with {int(fraud_N.sum()):,} known frauds to {name}; at "
                f"least {least} frauds are needed. Label more, or take a longer span with --data.",
            )
        parts.append(dataset.Part(history.x_NF[row_N], fraud_N, np.full(len(row_N), "")))
    return dataset.Dataset(*parts), float(cuts[-1])


def _setup(schema: FeatureSchema, fitting: Fitting, max_seconds: float) -> tuple[Spec, FitRecipe]:
    """What is fitted, and how; what a search has found goes first."""
    import models_core as core

    # Few frauds are known: few bins and much dropout keep the members from learning them.
    params: dict[str, Any] = {"bins": 3, "dropout": 0.3}
    how: dict[str, Any] = {"steps": 960, "batch_size": 1024, "evaluate_every": 120}
    for name, value in fitting.settings.items():
        (how if name in core.FitRecipe.__dataclass_fields__ else params)[name] = value
    spec = core.Spec("tabular_ensemble", len(schema.names), params)
    return spec, core.FitRecipe(**how, max_seconds=max_seconds, device=fitting.device)  # type: ignore[arg-type]


def _tune(data: dataset.Dataset, fitting: Fitting, search: Search) -> Tuned:
    import models_core as core

    spec, recipe = _setup(TransactionExtractor().schema, fitting, HISTORY_S)
    space: dict[str, core.Choice | core.Range] = {
        "bins": core.Choice(2, 3, 4, 6, 10),
        "dropout": core.Range(0.1, 0.5),
        "width": core.Choice(32, 64, 128),
        "learning_rate": core.Range(2e-3, 2e-2, log=True),
        "batch_size": core.Choice(512, 1024, 2048),
    }
    return core.tune(
        spec, _thinned(data.train), _whole(data.validation), space, trials=search.trials,
        recipe=recipe, study=search.study, storage=search.storage, refit=False,
        progress=fitting.progress,
    )  # fmt: skip


def _train(data: dataset.Dataset, fitting: Fitting, max_seconds: float) -> Trained:
    """The split is by time. Validation chooses the best step, calibrates and sets the thresholds;
    test is only measured. Boosted trees are trained and measured on the same rows.
    """
    # Imported here: a process that only knows the vertical must not load torch.
    import models_core as core

    schema = TransactionExtractor().schema
    train, validation = _thinned(data.train), _whole(data.validation)
    spec, recipe = _setup(schema, fitting, max_seconds)
    model = core.fit(spec, train, validation, recipe, fitting.progress)

    fitting("calibrate", 0, 1)
    logits_N = model.logits(data.validation.x_NF)
    calibration = core.fit_calibration(logits_N, data.validation.is_fraud_N)
    thresholds = set_thresholds(calibration.apply(logits_N), data.validation.is_fraud_N)
    s_N = calibration.apply(model.logits(data.test.x_NF))
    metrics = _measure(data.test, s_N, thresholds)
    fitting("calibrate", 1, 1)

    fitting("baseline", 0, 1)
    baseline = {"boosted_trees": _boosted_trees(data, train, validation)}
    fitting("baseline", 1, 1)

    files = core.pack(
        model,
        calibration,
        schema_hash=schema.hash,
        feature_names=schema.names,
        thresholds=thresholds,
        metrics=metrics,
        baseline=baseline,
        # Of rows as they come: nothing is thinned in them.
        drift=core.drift_reference(data.validation.x_NF, calibration.apply(logits_N)),
    )
    return Trained(files=files, metrics=metrics, baseline=baseline)


def _boosted_trees(data: dataset.Dataset, train: Table, validation: Table) -> dict[str, float]:
    from models_core import fit_boosted_trees

    trees = fit_boosted_trees(train, validation, max_trees=100)
    chosen_N = trees.probabilities(data.validation.x_NF)
    thresholds = set_thresholds(chosen_N, data.validation.is_fraud_N)
    return _measure(data.test, trees.probabilities(data.test.x_NF), thresholds)


def set_thresholds(s_N: NDArray[np.float64], is_fraud_N: NDArray[np.bool_]) -> dict[str, float]:
    """Review what the budget allows; decline where enough of it was fraud.

    Args:
        s_N: probabilities of N payments that the model was not trained on.
        is_fraud_N: the truth of each.

    Returns:
        ``review`` lets at most ``REVIEW_SHARE`` of the payments through to people. ``decline`` is
        the lowest score from which on at least ``DECLINE_PRECISION`` of ``DECLINE_LEAST`` or more
        payments were fraud; where there is none, just above the highest score seen.
    """
    from models_core import threshold_for_budget

    review = threshold_for_budget(s_N, records_per_day=1.0, alerts_per_day=REVIEW_SHARE)
    order_N = np.argsort(-s_N, kind="stable")
    sorted_N = s_N[order_N]
    taken_N = np.arange(1, len(s_N) + 1)
    precision_N = np.cumsum(is_fraud_N[order_N]) / taken_N
    is_last_N = np.append(sorted_N[1:] != sorted_N[:-1], True)  # ties are declined together
    fits_N = is_last_N & (taken_N >= DECLINE_LEAST) & (precision_N >= DECLINE_PRECISION)
    above = float(np.nextafter(sorted_N[0], 2.0))
    decline = float(sorted_N[np.flatnonzero(fits_N)[-1]]) if fits_N.any() else above
    # A threshold is kept within [0, 1], where scores are, and declining implies reviewing.
    return {REVIEW: min(review, 1.0), DECLINE: min(max(decline, review), 1.0)}


def _thinned(part: dataset.Part) -> Table:
    """All frauds, and some honest payments with the weight of those left out."""
    from models_core import Table

    fraud_N = part.is_fraud_N
    kept_N = fraud_N | (np.arange(len(fraud_N)) % HONEST_KEEP == 0)
    weight_N = np.where(fraud_N, 1.0, HONEST_KEEP).astype(np.float32)
    return Table(part.x_NF[kept_N], fraud_N[kept_N].astype(np.float32), weight_N[kept_N])


def _whole(part: dataset.Part) -> Table:
    from models_core import Table

    return Table(part.x_NF, part.is_fraud_N.astype(np.float32))


def _measure(
    part: dataset.Part, s_N: NDArray[np.float64], thresholds: Mapping[str, float]
) -> dict[str, float]:
    """What the scores are worth on this part, at the thresholds set before."""
    from models_core import evaluate

    metrics = dict(
        evaluate(part.is_fraud_N, s_N, threshold=thresholds[REVIEW], alert_share=REVIEW_SHARE)
    )
    flagged_N, declined_N = s_N >= thresholds[REVIEW], s_N >= thresholds[DECLINE]
    metrics["flagged_share"] = float(flagged_N.mean())
    metrics["declined_share"] = float(declined_N.mean())
    metrics["declined_precision"] = (
        float(part.is_fraud_N[declined_N].mean()) if declined_N.any() else 0.0
    )
    for scheme in sorted(set(part.scheme_N.tolist()) - {""}):
        metrics[f"recall_{scheme}"] = float(flagged_N[part.scheme_N == scheme].mean())
    return metrics


RECIPES: Final = (
    TrainingRecipe(
        name="fintech.transactions.starter",
        stream="fintech.transactions",
        summary="Trains a first model on simulated payments; for demonstration and tests.",
        run=train_starter,
        tune=tune_starter,
    ),
    TrainingRecipe(
        name="fintech.transactions.history",
        stream="fintech.transactions",
        summary="Trains on the payments that this server has decided, by their labels.",
        run=learn_history,
        tune=tune_history,
        learns_history=True,
    ),
)
