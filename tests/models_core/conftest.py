"""One small world and one model of it, fitted once for all tests of models_core."""

from __future__ import annotations

import numpy as np
import pytest

from models_core import Calibration, FitRecipe, Model, Spec, Table, fit, fit_calibration, pack

RECIPE = FitRecipe(
    steps=200,
    batch_size=512,
    evaluate_every=50,
    device="cpu",
    precision="float32",
    threads=1,
    seed=7,
)


def rings(num_rows: int, seed: int) -> Table:
    """A question no straight line answers: is the point outside a circle, or two signs equal?"""
    random = np.random.default_rng(seed)
    x_NF = random.normal(size=(num_rows, 6)).astype(np.float32)
    outside = x_NF[:, 0] ** 2 + x_NF[:, 1] ** 2 > 3.0
    same_sign = (x_NF[:, 2] * x_NF[:, 3] > 0.8) & (x_NF[:, 4] > 0)
    x_NF[:, 4] = np.exp(2 * x_NF[:, 4])  # a heavy tail
    x_NF[:, 5] = x_NF[:, 5] > 2.0  # a rare flag that means nothing
    return Table(x_NF, (outside | same_sign).astype(np.float32))


@pytest.fixture(scope="session")
def train() -> Table:
    return rings(6000, seed=1)


@pytest.fixture(scope="session")
def validation() -> Table:
    return rings(2000, seed=2)


@pytest.fixture(scope="session")
def test_table() -> Table:
    return rings(2000, seed=3)


@pytest.fixture(scope="session")
def model(train: Table, validation: Table) -> Model:
    return fit(Spec("tabular_ensemble", 6), train, validation, RECIPE)


@pytest.fixture(scope="session")
def calibration(model: Model, validation: Table) -> Calibration:
    return fit_calibration(model.logits(validation.x_NF), validation.y_N)


@pytest.fixture(scope="session")
def packed(model: Model, calibration: Calibration) -> dict[str, bytes]:
    return pack(
        model,
        calibration,
        schema_hash="0123456789abcdef",
        feature_names=["a", "b", "c", "d", "e", "f"],
        thresholds={"review": 0.5, "decline": 0.9},
        metrics={"pr_auc": 0.9},
        baseline={"boosted_trees": {"pr_auc": 0.8}},
    )


@pytest.fixture
def files(packed: dict[str, bytes]) -> dict[str, bytes]:
    """A copy that a test may spoil."""
    return dict(packed)
