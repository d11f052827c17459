"""The starter model: a small network on generated weather, through the live extractor.

Suffixes: N = rows, F = features.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lepton_apps.verticals.contract import Progress, States, Trained
from tests.weather.extractor import ReadingExtractor
from tests.weather.records import Reading

START: Final = datetime(2024, 3, 1, tzinfo=UTC)
STATIONS: Final = tuple(f"{region}-{n}" for region in ("north", "south") for n in range(1, 9))
FAULT_RATE: Final = 0.03  # of readings: a broken sensor is off by 8 to 30 degrees


def readings(seed: int, count: int) -> tuple[list[Reading], NDArray[np.bool_]]:
    """Readings of a small world in event-time order, and which of them are of broken sensors."""
    random = Random(seed)
    made: list[Reading] = []
    broken: list[bool] = []
    for n in range(count):
        station = STATIONS[n % len(STATIONS)]
        at = START + timedelta(seconds=4 * n)
        weather = 10 + 6 * math.sin(at.hour / 24 * math.tau) + random.gauss(0, 0.4)
        is_broken = random.random() < FAULT_RATE
        if is_broken:
            weather += random.choice((-1, 1)) * random.uniform(8, 30)
        made.append(Reading(station, at, round(weather, 2), "roof"))
        broken.append(is_broken)
    return made, np.array(broken)


def rows(seed: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Feature rows with their answers: one for each reading, and silences, which are faults.

    All readings go through in one batch, because cutting them into others changes nothing.
    """
    extractor, states = ReadingExtractor(), States({}, {}, {})
    records, broken_N = readings(seed, count)
    spoken = extractor.extract(records, [0] * count, states)
    after = States(spoken.primary, {}, spoken.knowledge)
    silences = [extractor.on_tick(START, STATIONS, after).x_BF] * (count // 400)
    x_NF = np.concatenate([spoken.x_BF, *silences])
    return x_NF, np.append(broken_N, np.ones(len(x_NF) - count)).astype(np.float32)


def train(progress: Progress) -> Trained:
    """Fit, calibrate and pack; a few seconds on one core."""
    from models_core import FitRecipe, Spec, Table, evaluate, fit, fit_calibration, pack

    schema = ReadingExtractor().schema
    x_NF, y_N = rows(seed=1, count=6_000)
    held_out_NF, held_out_N = rows(seed=2, count=3_000)
    test_NF, test_N = rows(seed=3, count=3_000)
    spec = Spec("mlp", len(schema.names), {"width": 16, "depth": 1})
    recipe = FitRecipe(steps=150, batch_size=256, learning_rate=1e-2, evaluate_every=50)
    held_out = Table(held_out_NF, held_out_N)
    model = fit(spec, Table(x_NF, y_N), held_out, recipe, progress)
    calibration = fit_calibration(model.logits(held_out_NF), held_out_N)
    metrics = evaluate(test_N, calibration.apply(model.logits(test_NF)))
    # The simple method to beat: the larger of the two differences, and silence.
    far_N = np.maximum(np.abs(test_NF[:, 1:3]).max(axis=1) / 60, test_NF[:, 5]).clip(0, 1)
    baseline = {"largest_difference": evaluate(test_N, far_N)}
    files = pack(
        model,
        calibration,
        schema_hash=schema.hash,
        feature_names=schema.names,
        thresholds={"warn": 0.5},
        metrics=metrics,
        baseline=baseline,
    )
    return Trained(files, metrics, baseline)
