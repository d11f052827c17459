"""How the vertical's models are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fintech import dataset
from fintech.extractor import TransactionExtractor
from fintech.policy import DECLINE, REVIEW
from lepton_apps.verticals.contract import Progress, Trained, TrainingRecipe

if TYPE_CHECKING:
    from models_core import Table

REVIEW_SHARE: Final = 0.008  # of all payments: what people can look at
DECLINE_PRECISION: Final = 0.85  # of the payments declined unseen, at least so many are fraud
DECLINE_LEAST: Final = 20  # payments on which that precision is measured
HONEST_KEEP: Final = 4  # one honest payment in so many is trained on, and weighs as much


def train_starter(progress: Progress) -> Trained:
    """A first model for a fresh installation, from simulated payments, in under a minute.

    The split is by time. Validation chooses the best step, calibrates and sets the thresholds;
    test is only measured. Targets are the simulator's truth, so frauds that are never reported
    count too. Boosted trees are trained and measured on the same rows.
    """
    # Imported here: a process that only knows the vertical must not load torch.
    import models_core as core

    parameters = dataset.DatasetParameters()
    extractor = TransactionExtractor()
    data = dataset.build(
        parameters, extractor, lambda done, total: progress("simulate", done, total)
    )
    schema = extractor.schema
    train, validation = _thinned(data.train), _whole(data.validation)
    recipe = core.FitRecipe(steps=960, batch_size=1024, evaluate_every=120, max_seconds=25.0)
    # Some 1,600 frauds are few: few bins and much dropout keep the members from learning them.
    spec = core.Spec("tabular_ensemble", len(schema.names), {"bins": 3, "dropout": 0.3})
    model = core.fit(spec, train, validation, recipe, progress)

    progress("calibrate", 0, 1)
    logits_N = model.logits(data.validation.x_NF)
    calibration = core.fit_calibration(logits_N, data.validation.is_fraud_N)
    thresholds = set_thresholds(calibration.apply(logits_N), data.validation.is_fraud_N)
    s_N = calibration.apply(model.logits(data.test.x_NF))
    metrics = _measure(data.test, s_N, thresholds)
    progress("calibrate", 1, 1)

    progress("baseline", 0, 1)
    trees = core.fit_boosted_trees(train, validation, max_trees=100)
    trees_validation_N = trees.probabilities(data.validation.x_NF)
    trees_thresholds = set_thresholds(trees_validation_N, data.validation.is_fraud_N)
    baseline = {
        "boosted_trees": _measure(data.test, trees.probabilities(data.test.x_NF), trees_thresholds)
    }
    progress("baseline", 1, 1)

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
    ),
)
