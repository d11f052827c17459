"""Modules that learn the usual first: what they find strange, and that serving changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models_core import FitRecipe, Model, Spec, Table, fit
from models_core.engines import OnnxEngine
from models_core.exporting import export_onnx
from tests.models_core.conftest import RECIPE

Rows = NDArray[np.float32]

WINDOW = 12
METRICS = 12
SPECS = {
    "event_windows": Spec("event_windows", WINDOW + 2, {"window": WINDOW}),
    "metric_vectors": Spec("metric_vectors", METRICS + 1, {"metrics": METRICS, "middle": 2}),
}
SHORT = replace(RECIPE, steps=120, batch_size=128, auxiliary_share=0.9)


def windows(num: int, seed: int) -> Rows:
    """Stories of six steps in order, told from any step on; the last column is always 0."""
    random = np.random.default_rng(seed)
    x_NF = np.zeros((num, WINDOW + 2), np.float32)
    for row in x_NF:
        length = random.integers(4, WINDOW + 1)
        row[:length] = 100 + (random.integers(6) + np.arange(length)) % 6
    return x_NF


def shuffled(x_NF: Rows, seed: int) -> Rows:
    """The same events in no order."""
    random = np.random.default_rng(seed)
    wrong_NF = x_NF.copy()
    for row in wrong_NF:
        row[: np.count_nonzero(row[:WINDOW])] = random.permutation(row[row > 0])
    return wrong_NF


def vectors(num: int, seed: int) -> Rows:
    """Twelve metrics that follow two causes; the last column is always 0."""
    random = np.random.default_rng(seed)
    loads = np.random.default_rng(0).normal(size=(2, METRICS))
    x_NF = np.zeros((num, METRICS + 1), np.float32)
    x_NF[:, :METRICS] = random.normal(size=(num, 2)) @ loads
    x_NF[:, :METRICS] += 0.05 * random.normal(size=(num, METRICS))
    return x_NF


def exchanged(x_NF: Rows, seed: int) -> Rows:
    """Each metric as usual as before, and one of another moment."""
    random = np.random.default_rng(seed)
    wrong_NF = x_NF.copy()
    for row in wrong_NF:
        place = random.integers(METRICS)
        row[place] = x_NF[random.integers(len(x_NF)), place] + random.choice([-2.0, 2.0])
    return wrong_NF


KINDS: dict[str, tuple[Callable[[int, int], Rows], Callable[[Rows, int], Rows]]] = {
    "event_windows": (windows, shuffled),
    "metric_vectors": (vectors, exchanged),
}


def table(architecture: str, num: int, seed: int) -> Table:
    usual, spoilt = KINDS[architecture]
    x_NF = usual(num, seed)
    return Table(
        np.concatenate([x_NF, spoilt(x_NF, seed)]), np.repeat([0, 1], num).astype(np.float32)
    )


def fitted(architecture: str, recipe: FitRecipe = SHORT) -> Model:
    return fit(
        SPECS[architecture], table(architecture, 1500, 1), table(architecture, 300, 2), recipe
    )


@pytest.fixture(scope="module", params=list(KINDS))
def model(request: pytest.FixtureRequest) -> Model:
    return fitted(request.param)


def test_what_does_not_go_together_is_strange_though_each_part_is_usual(model: Model) -> None:
    usual, spoilt = KINDS[model.spec.architecture]
    x_NF = usual(300, 3)
    strange = model.logits(spoilt(x_NF, 3)) > np.quantile(model.logits(x_NF), 0.95)
    assert strange.mean() > 0.8


def test_a_row_cannot_look_better_by_being_stranger_in_a_further_column(model: Model) -> None:
    usual, _ = KINDS[model.spec.architecture]
    x_NF = usual(50, 4)
    before = model.logits(x_NF)
    for value in (0.5, -3.0, 1e6):
        x_NF[:, -1] = value
        assert (model.logits(x_NF) >= before - 1e-5).all()


def test_serving_gives_a_row_the_same_logit_in_any_company(model: Model) -> None:
    engine = OnnxEngine(export_onnx(model.binary))
    usual, spoilt = KINDS[model.spec.architecture]
    x_NF = np.concatenate([usual(40, 5), spoilt(usual(40, 6), 6)])
    alone = np.concatenate([engine.logits(row[None]) for row in x_NF])

    assert alone == pytest.approx(model.logits(x_NF), abs=1e-3, rel=1e-4)
    for size in (3, 16, 63, 80):
        parts = [engine.logits(x_NF[start : start + size]) for start in range(0, 80, size)]
        assert np.array_equal(np.concatenate(parts), alone), size


@pytest.mark.parametrize("architecture", list(KINDS))
def test_a_machine_too_slow_for_all_steps_still_learns_to_weigh(architecture: str) -> None:
    model = fitted(architecture, replace(SHORT, steps=100_000, max_seconds=2.0))
    assert model.history[-1].step < 100_000
    assert model.history[-1].score > 0.8


@pytest.mark.parametrize("architecture", list(KINDS))
def test_a_fit_with_time_to_spare_does_not_depend_on_the_clock(architecture: str) -> None:
    recipe = replace(SHORT, steps=40)
    plenty, more = (
        fitted(architecture, replace(recipe, max_seconds=seconds)) for seconds in (300.0, 900.0)
    )
    for name, tensor in plenty.module.state_dict().items():
        assert torch.equal(tensor, more.module.state_dict()[name]), name
