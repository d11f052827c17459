"""Whatever a stream's model is, its reasons lead from a usual row to the score, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lepton_apps.verticals.contract import Stream, Trained
from models_core import Scorer, unpack
from ops.vertical import LOGS, METRICS
from tests.champions import PAYMENTS, payments_model
from tests.ops.models import logs_model, metrics_model
from tests.weather.recipe import train
from tests.weather.vertical import READINGS

CHAMPIONS: list[tuple[Stream, Callable[[], Trained]]] = [
    (PAYMENTS, payments_model),
    (LOGS, logs_model),
    (METRICS, metrics_model),
    (READINGS, lambda: train(lambda stage, done, total: None)),
]


@pytest.fixture(params=CHAMPIONS, ids=lambda pair: pair[0].name)
def model(request: pytest.FixtureRequest) -> tuple[Scorer, list[list[int]]]:
    """A stream's model, and the columns of each of its reasons."""
    stream, trained = request.param
    reasons = stream.extractor.schema.reasons
    groups = [
        [column for column, reason in enumerate(reasons) if reason == code]
        for code in dict.fromkeys(reasons)
    ]
    return Scorer.from_artifact(unpack(trained().files)), groups


def test_reasons_are_complete(model: tuple[Scorer, list[list[int]]]) -> None:
    scorer, groups = model
    x_BF = scorer.golden_GF  # rows as they come
    z_B = scorer.calibration.log_odds(scorer.engine.logits(x_BF))
    together_B = scorer.base + scorer.contributions(x_BF, groups).sum(axis=1)
    assert np.allclose(together_B, z_B, rtol=1e-9, atol=1e-9)


def test_a_reason_alone_has_the_sign_and_size_of_what_it_does(
    model: tuple[Scorer, list[list[int]]],
) -> None:
    scorer, groups = model
    for number, columns in enumerate(groups):
        x_BF = np.tile(scorer.reference_F, (len(scorer.golden_GF), 1))
        x_BF[:, columns] = scorer.golden_GF[:, columns]
        moved_B = scorer.calibration.log_odds(scorer.engine.logits(x_BF)) - scorer.base
        c_BG = scorer.contributions(x_BF, groups)
        assert np.array_equal(np.sign(c_BG[:, number]), np.sign(moved_B))
        assert np.allclose(c_BG[:, number], moved_B, rtol=1e-9, atol=1e-9)
        assert not np.delete(c_BG, number, axis=1).any(), "the others are as usual"
