from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from models_core import (
    Calibration,
    FitRecipe,
    Model,
    Spec,
    SpecError,
    Table,
    evaluate,
    fit,
    fit_boosted_trees,
)
from models_core.evaluation import pr_auc
from tests.models_core.conftest import RECIPE


@pytest.mark.parametrize("architecture", ["mlp", "tabular_ensemble"])
def test_a_fit_learns_what_a_straight_line_cannot(
    architecture: str, train: Table, validation: Table, test_table: Table
) -> None:
    line = LogisticRegression().fit(train.x_NF, train.y_N).decision_function(test_table.x_NF)
    deep = fit(Spec(architecture, 6), train, validation, RECIPE).logits(test_table.x_NF)

    assert pr_auc(test_table.y_N, deep) > pr_auc(test_table.y_N, line) + 0.3
    assert pr_auc(test_table.y_N, deep) > 0.9


def test_the_baseline_answers_the_same_questions(
    train: Table, validation: Table, test_table: Table, model: Model, calibration: Calibration
) -> None:
    trees = fit_boosted_trees(train, validation, max_trees=30)
    of_trees = evaluate(test_table.y_N, trees.probabilities(test_table.x_NF))
    of_model = evaluate(test_table.y_N, calibration.apply(model.logits(test_table.x_NF)))
    assert of_trees.keys() == of_model.keys()
    assert of_trees["pr_auc"] > 0.8


def test_the_same_seed_gives_the_same_weights_to_the_bit(train: Table, validation: Table) -> None:
    recipe = replace(RECIPE, steps=30, evaluate_every=10)
    spec = Spec("tabular_ensemble", 6, {"dropout": 0.2})
    first, second = (fit(spec, train, validation, recipe) for _ in range(2))
    other = fit(spec, train, validation, replace(recipe, seed=8))

    assert first.history == second.history
    for name, tensor in first.module.state_dict().items():
        assert torch.equal(tensor, second.module.state_dict()[name]), name
    assert not torch.equal(
        first.module.state_dict()["head_KD"], other.module.state_dict()["head_KD"]
    )


def test_a_fit_leaves_the_callers_random_state_alone(train: Table, validation: Table) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit(Spec("mlp", 6), train, validation, replace(RECIPE, steps=5))
    assert torch.equal(torch.rand(3), expected)


def test_the_best_look_is_kept_and_patience_ends_the_run(train: Table, validation: Table) -> None:
    recipe = replace(RECIPE, steps=400, evaluate_every=2, patience=2, learning_rate=0.05)
    model = fit(Spec("mlp", 6), train, validation, recipe)
    assert model.history[-1].step < 400
    best = max(look.score for look in model.history)
    assert pr_auc(validation.y_N, model.logits(validation.x_NF)) == pytest.approx(best, abs=1e-9)


def test_the_time_limit_ends_the_run_with_usable_weights(train: Table, validation: Table) -> None:
    recipe = replace(RECIPE, steps=100_000, max_seconds=1e-6)
    model = fit(Spec("mlp", 6), train, validation, recipe)
    assert [look.step for look in model.history] == [1]


def test_progress_is_told_up_to_the_end(train: Table, validation: Table) -> None:
    told: list[tuple[str, int, int]] = []
    fit(
        Spec("mlp", 6),
        train,
        validation,
        replace(RECIPE, steps=20, evaluate_every=10),
        lambda stage, done, total: told.append((stage, done, total)),
    )
    assert told == [("fit", 10, 20), ("fit", 20, 20)]


def test_weights_decide_which_rows_count(train: Table, validation: Table) -> None:
    """Half of the rows lie; with weight 0 they are not heard."""
    lies = np.arange(len(train)) % 2 == 0
    y_N = np.where(lies, 1 - train.y_N, train.y_N)
    weight_N = np.where(lies, 0, 1).astype(np.float32)
    model = fit(Spec("tabular_ensemble", 6), Table(train.x_NF, y_N, weight_N), validation, RECIPE)
    assert pr_auc(validation.y_N, model.logits(validation.x_NF)) > 0.9


def test_an_unknown_architecture_is_refused_with_those_that_exist(
    train: Table, validation: Table
) -> None:
    with pytest.raises(
        SpecError, match=r"Unknown architecture 'gpt'. Registered: autoencoder, .*metric_v"
    ):
        fit(Spec("gpt", 6), train, validation, RECIPE)
    with pytest.raises(SpecError, match=r"'mlp' has no parameter wide. It takes: width, depth"):
        fit(Spec("mlp", 6, {"wide": 3}), train, validation, RECIPE)


def test_tables_that_do_not_fit_are_refused(train: Table, validation: Table) -> None:
    with pytest.raises(ValueError, match=r"train table has 6 features, the spec has 7"):
        fit(Spec("mlp", 7), train, validation, RECIPE)
    with pytest.raises(ValueError, match=r"validation table has 0 positives in 2000 rows"):
        fit(Spec("mlp", 6), train, Table(validation.x_NF, np.zeros(2000, np.float32)), RECIPE)


@pytest.mark.parametrize(
    ("x_NF", "y_N", "weight_N", "message"),
    [
        (np.zeros((2, 1)), [0, 1], None, r"float32 \(N, F\) array, not float64"),
        (np.zeros((0, 1), np.float32), [], None, r"no rows or no columns"),
        (np.array([[0], [np.nan]], np.float32), [0, 1], None, r"x_NF\[1, 0\] is nan"),
        (np.zeros((2, 1), np.float32), [0, 2], None, r"y_N holds 2"),
        (np.zeros((2, 1), np.float32), [0], None, r"y_N has shape \(1,\), x_NF has 2 rows"),
        (np.zeros((2, 1), np.float32), [0, 1], [0, 0], r"not 0 everywhere"),
        (np.zeros((2, 1), np.float32), [0, 1], [1, -1], r"at least 0"),
    ],
)
def test_a_table_is_checked_at_the_door(
    x_NF: np.ndarray, y_N: list[int], weight_N: list[int] | None, message: str
) -> None:
    weights = None if weight_N is None else np.array(weight_N, np.float32)
    with pytest.raises(ValueError, match=message):
        Table(x_NF, np.array(y_N, np.float32), weights)


@pytest.mark.parametrize("change", [{"steps": 0}, {"learning_rate": 0.0}, {"device": "tpu"}])
def test_a_recipe_out_of_range_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        FitRecipe(**change)  # type: ignore[arg-type]


def test_a_spec_survives_json_and_its_hash_tells_specs_apart() -> None:
    spec = Spec("mlp", 3, {"width": 32, "dropout": 0.5})
    assert Spec.from_json(spec.to_json()) == spec
    assert spec.hash == Spec("mlp", 3, {"dropout": 0.5, "width": 32}).hash
    assert spec.hash != Spec("mlp", 4, {"width": 32, "dropout": 0.5}).hash
    with pytest.raises(SpecError, match="unknown field"):
        Spec.from_json(b'{"architecture":"mlp","num_features":3,"code":"x"}')


@pytest.mark.gpu
def test_a_fit_on_the_gpu_scores_the_same_on_the_cpu(train: Table, validation: Table) -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU here")
    model = fit(Spec("tabular_ensemble", 6), train, validation, replace(RECIPE, device="cuda"))
    assert pr_auc(validation.y_N, model.logits(validation.x_NF)) > 0.9
