from __future__ import annotations

import numpy as np
import pytest
import torch

from models_core import Scorer, Spec, Table, unpack
from models_core.architectures import build_binary
from models_core.engines import EngineError, OnnxEngine
from models_core.exporting import export_onnx


@pytest.fixture(scope="module")
def scorer(packed: dict[str, bytes]) -> Scorer:
    return Scorer.from_artifact(unpack(packed))


@pytest.fixture(scope="module", params=["mlp", "tabular_ensemble"])
def engine(request: pytest.FixtureRequest) -> OnnxEngine:
    """A width that is no multiple of any vector's, so that rests would show."""
    torch.manual_seed(3)
    module = build_binary(Spec(request.param, 37))
    module.prepare(
        Table(torch.randn(500, 37).numpy(), np.tile(np.array([0, 1], np.float32), 250)), -4.0
    )
    return OnnxEngine(export_onnx(module.eval()))


def test_a_logit_depends_neither_on_neighbours_nor_on_place_nor_on_batch_size(
    engine: OnnxEngine,
) -> None:
    x_BF = np.random.default_rng(0).normal(size=(300, 37)).astype(np.float32) * 3
    x_BF[::7] *= 1e6
    alone = np.concatenate([engine.logits(row[None]) for row in x_BF])
    for size in (2, 3, 16, 63, 64, 65, 200, 300):
        parts = [engine.logits(x_BF[start : start + size]) for start in range(0, 300, size)]
        assert np.array_equal(np.concatenate(parts), alone), size
    for place in range(engine.chunk):
        crowd = np.roll(x_BF[: engine.chunk], place, axis=0)
        expected = np.roll(alone[: engine.chunk], place)
        assert np.array_equal(engine.logits(crowd), expected), place


def test_a_view_scores_as_its_copy(engine: OnnxEngine) -> None:
    wide = np.random.default_rng(1).normal(size=(90, 74)).astype(np.float32)
    view = wide[::-1, ::2]
    assert np.array_equal(engine.logits(view), engine.logits(view.copy()))


def test_no_rows_have_no_scores(scorer: Scorer) -> None:
    assert scorer.score(np.zeros((0, 6), np.float32)).shape == (0,)
    assert scorer.contributions(np.zeros((0, 6), np.float32), [[0], [1]]).shape == (0, 2)


def test_wrong_shapes_chunks_and_files_are_refused(
    scorer: Scorer, packed: dict[str, bytes]
) -> None:
    with pytest.raises(EngineError, match=r"Expected \(B, 6\), got \(2, 5\)"):
        scorer.score(np.zeros((2, 5), np.float32))
    with pytest.raises(EngineError, match="chunk=20 is not a multiple of 16"):
        OnnxEngine(packed["model.onnx"], chunk=20)
    with pytest.raises(EngineError, match="ONNX Runtime cannot load"):
        OnnxEngine(b"\xff" * 64)


def test_scores_are_probabilities_in_float64_and_keep_the_ranking(
    scorer: Scorer, test_table: Table
) -> None:
    s_B = scorer.score(test_table.x_NF)
    z_B = scorer.engine.logits(test_table.x_NF)
    assert s_B.dtype == np.float64
    assert ((s_B > 0) & (s_B < 1)).all()
    order = np.argsort(z_B, kind="stable")
    assert (np.diff(s_B[order])[np.diff(z_B[order]) > 0] > 0).all()


def test_golden_rows_hold_here(scorer: Scorer) -> None:
    assert scorer.check_golden() == 0.0


def test_contributions_name_the_group_that_raised_the_score(scorer: Scorer) -> None:
    usual = scorer.reference_F.copy()
    outside = usual.copy()
    outside[0] = 3.0  # far outside the circle
    c_BG = scorer.contributions(np.stack([usual, outside]), [[0, 1], [2, 3, 4], [5]])

    assert c_BG.shape == (2, 3)
    assert np.array_equal(c_BG[0], [0, 0, 0])  # nothing to explain in the usual row
    assert c_BG[1].argmax() == 0
    z = scorer.calibration.log_odds(scorer.engine.logits(np.stack([usual, outside])))
    assert c_BG[1, 0] == z[1] - z[0]


def test_contributions_and_the_base_add_up_to_the_log_odds(
    scorer: Scorer, test_table: Table
) -> None:
    x_NF = test_table.x_NF[:50]
    c_BG = scorer.contributions(x_NF, [[0, 1], [2], [3, 4], [5]])
    z = scorer.calibration.log_odds(scorer.engine.logits(x_NF))
    assert np.allclose(scorer.base + c_BG.sum(axis=1), z, rtol=0, atol=1e-9)


def test_what_is_as_usual_contributes_nothing(scorer: Scorer, test_table: Table) -> None:
    x_NF = test_table.x_NF[:50].copy()
    x_NF[:, 2] = scorer.reference_F[2]
    assert np.array_equal(scorer.contributions(x_NF, [[0, 1], [2], [3, 4, 5]])[:, 1], np.zeros(50))


def test_two_groups_that_act_together_share_what_they_do(scorer: Scorer) -> None:
    outside = scorer.reference_F.copy()
    outside[:2] = 3.0
    both = scorer.contributions(outside[None], [[0], [1], [2, 3, 4, 5]])[0]
    turned = scorer.contributions(outside[None], [[1], [0], [2, 3, 4, 5]])[0]
    assert np.allclose(both[:2], turned[1::-1], rtol=0, atol=1e-9)


def test_contributions_of_a_row_do_not_depend_on_the_others(
    scorer: Scorer, test_table: Table
) -> None:
    groups = [[0, 1], [2], [3, 4, 5]]
    together = scorer.contributions(test_table.x_NF[:10], groups)
    alone = [scorer.contributions(row[None], groups)[0] for row in test_table.x_NF[:10]]
    assert np.array_equal(together, np.stack(alone))
