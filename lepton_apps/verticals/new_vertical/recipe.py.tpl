"""The starter model: a small network on simulated measurements, through the live extractor.

Suffixes: N = rows, F = features.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lepton_apps.verticals.contract import Progress, States, Trained

from .extractor import MeasurementExtractor
from .simulator import measurements

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
RECORDS_PER_S: Final = 1.0


def rows(seed: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Feature rows with their answers. One batch: cutting it into others changes nothing."""
    made = list(islice(measurements(seed, START, RECORDS_PER_S), count))
    records = [record for record, _ in made]
    extracted = MeasurementExtractor().extract(records, [0] * count, States({}, {}, {}))
    return extracted.x_BF, np.array([is_fault for _, is_fault in made], np.float32)


def train(progress: Progress) -> Trained:
    """Fit, calibrate and pack; a few seconds on one core."""
    # Imported here: processes that only know the vertical must not load torch.
    from models_core import FitRecipe, Spec, Table, evaluate, fit, fit_calibration, pack

    schema = MeasurementExtractor().schema
    x_NF, y_N = rows(seed=1, count=12_000)
    held_out_NF, held_out_N = rows(seed=2, count=6_000)
    test_NF, test_N = rows(seed=3, count=6_000)
    spec = Spec("mlp", len(schema.names), {"width": 16, "depth": 1})
    recipe = FitRecipe(steps=300, batch_size=256, learning_rate=1e-2, evaluate_every=50)
    model = fit(spec, Table(x_NF, y_N), Table(held_out_NF, held_out_N), recipe, progress)
    calibration = fit_calibration(model.logits(held_out_NF), held_out_N)
    metrics = evaluate(test_N, calibration.apply(model.logits(test_NF)))
    # The simple method to beat: how far the value has jumped.
    jump_N = (np.abs(test_NF[:, schema.names.index("change")]) / 100).clip(0, 1)
    baseline = {"jump": evaluate(test_N, jump_N)}
    files = pack(
        model,
        calibration,
        schema_hash=schema.hash,
        feature_names=schema.names,
        thresholds={"look": 0.5},
        metrics=metrics,
        baseline=baseline,
    )
    return Trained(files, metrics, baseline)
