"""Smaller models: what is taken out is gone, quality is judged, and nothing worse is shipped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models_core import Compressed, Data, FitRecipe, Model, Spec, Table, build, compress, fit
from models_core.compressed import ORIGINAL
from models_core.compressing import _narrower
from models_core.distilling import soft_answers
from models_core.evaluation import pr_auc
from models_core.pruning import PruningError, prune, pruner_of
from tests.models_core.test_architectures import CASES, train

PRUNED = {
    "mlp classes": {"width": 16},
    "ensemble classes": {"width": 8},
    "ensemble yes/no": {"width": 8},
    "rnn series": {"width": 8},
    "gru tokens": {"width": 8},
    "lstm next": {"width": 8},
    "lstm values": {"width": 8},
    "transformer series": {"inner": 32},
    "causal_transformer next": {"inner": 32},
    "cnn images": {"width": 4, "dense": 8},
    "cnn sound": {"width": 2, "dense": 8},
}


def numbers(model: Model) -> int:
    return sum(parameter.numel() for parameter in model.module.parameters())


@pytest.mark.parametrize("name", PRUNED)
def test_pruning_takes_units_out_of_every_matrix_they_touch(name: str) -> None:
    spec, data = CASES[name]
    model = train(spec, data)
    small = prune(model, data, 0.5)
    assert {key: small.spec.params[key] for key in PRUNED[name]} == PRUNED[name]
    assert numbers(small) < 0.8 * numbers(model)
    assert small.logits(data).shape == model.logits(data).shape


@pytest.mark.parametrize("name", PRUNED)
def test_units_that_nobody_listens_to_are_the_ones_that_go(name: str) -> None:
    """Add silent units to a small model: pruning finds them, and every answer stays."""
    spec, data = CASES[name]
    wide = train(spec, data)
    _silence(wide)
    small = prune(wide, data, 0.5)
    assert small.logits(data) == pytest.approx(wide.logits(data), rel=1e-4, abs=1e-4)


def _silence(model: Model) -> None:
    """Every second unit of each hidden layer has outgoing weights of 0."""
    state = model.module.state_dict()
    for name, tensor in state.items():
        is_gate = "weight_hh" in name or "weight_ih" in name
        after = name in ("head.weight", "hidden.3.weight", "second.weight") or is_gate
        if after or name.endswith("forward_layer.2.weight"):
            if model.spec.architecture.endswith("transformer") and name == "head.weight":
                continue
            tensor[:, ::2] = 0
        elif name == "head_KD":
            tensor[..., ::2] = 0
        elif name in ("body.3.weight", "body.6.weight"):
            tensor[:, ::2] = 0
        elif name == "body.9.weight":
            channels = len(state["body.6.weight"])
            tensor.view(len(tensor), channels, -1)[:, ::2] = 0
    model.module.load_state_dict(state)


def test_two_layers_of_recurrence_are_pruned_alike() -> None:
    spec, data = CASES["gru tokens"]
    model = train(replace(spec, params={**spec.params, "layers": 2}), data)
    _silence(model)
    small = prune(model, data, 0.5)
    assert small.logits(data) == pytest.approx(model.logits(data), abs=1e-4)


def test_what_has_no_units_to_take_out_is_said() -> None:
    spec, data = CASES["resnet images"]
    with pytest.raises(PruningError, match="resnet has no units that can be taken out alone"):
        prune(train(spec, data), data, 0.5)
    spec, data = CASES["mlp classes"]
    with pytest.raises(ValueError, match=r"prune=1\.0 is not between 0 and 1"):
        prune(train(spec, data), data, 1.0)


QUICK = FitRecipe(
    steps=150, batch_size=512, evaluate_every=50, device="cpu", precision="float32", seed=7
)


@pytest.fixture(scope="module")
def wide(train: Table, validation: Table) -> Model:
    return fit(Spec("mlp", 6, {"width": 192, "dropout": 0.0}), train, validation, QUICK)


@pytest.fixture(scope="module")
def compressed(wide: Model, train: Table, validation: Table) -> Compressed:
    return compress(wide, train, validation, prune=0.5, bits=8, max_loss=0.01)


def test_what_is_shipped_is_smaller_and_keeps_its_quality_on_rows_nobody_judged_by(
    compressed: Compressed, wide: Model, test_table: Table
) -> None:
    assert compressed.chosen != ORIGINAL, compressed.table()
    assert compressed.step.size * 2 < compressed.original.size
    assert compressed.original.quality - compressed.step.quality <= 0.01
    engine = build(compressed, batches=(64,), seconds=0.0)
    before = pr_auc(test_table.y_N, wide.logits(test_table.x_NF))
    after = pr_auc(test_table.y_N, engine.logits(test_table.x_NF))
    assert before - after < 0.02


def test_the_table_tells_size_speed_and_quality_of_everything_tried(
    compressed: Compressed,
) -> None:
    table = compressed.table()
    for name in (ORIGINAL, "pruned by 50%", "original, int8"):
        assert name in table
    assert f"| **{compressed.chosen}** |" in table
    assert "pr_auc" in table
    assert compressed.why in table
    assert all(step.us > 0 and step.size > 0 for step in compressed.steps if not step.refused)


def test_with_nothing_named_everything_an_architecture_can_do_is_tried() -> None:
    for name, expected in (
        ("transformer series", ["pruned by 25%", "pruned by 75%", "taught transformer"]),
        ("graph", ["taught graph_convolution dropout 0.0, width 16", "original, int8"]),
    ):
        spec, data = CASES[name]
        recipe = FitRecipe(steps=2, batch_size=24, precision="float32")
        model = fit(spec, data, data, recipe)
        tried = [step.name for step in compress(model, data, data, max_loss=9.0).steps]
        assert all(any(each.startswith(want) for each in tried) for want in expected), tried


def test_nothing_worse_than_stated_is_shipped(wide: Model, train: Table, validation: Table) -> None:
    """One unit cannot do the work of 192: the original comes back, and the table says why."""
    short = replace(QUICK, steps=20, evaluate_every=10)
    kept = compress(wide, train, validation, prune=0.99, recipe=short)
    assert kept.chosen == ORIGINAL
    assert kept.model is wide
    assert kept.graph is None
    (pruned,) = [step for step in kept.steps if step.name == "pruned by 99%"]
    assert "more than 0.005" in pruned.refused
    assert "The original stays" in kept.why


def test_a_smaller_spec_is_taught_and_int8_of_it_is_judged(
    wide: Model, train: Table, validation: Table
) -> None:
    small = Spec("mlp", 6, {"width": 24, "dropout": 0.0})
    short = replace(QUICK, steps=60, evaluate_every=20)
    result = compress(wide, train, validation, into=small, bits=8, max_loss=1.0, recipe=short)
    names = [step.name for step in result.steps]
    assert "taught mlp dropout 0.0, width 24" in names
    assert "taught mlp dropout 0.0, width 24, int8" in names


def test_a_teacher_says_more_than_a_label(wide: Model, train: Table) -> None:
    soft_N = soft_answers(wide, train)
    chance_N = wide.predict(train.x_NF)
    assert soft_N == pytest.approx(0.7 * chance_N + 0.3 * train.y_N, abs=1e-5)
    assert ((soft_N > 0.01) & (soft_N < 0.99)).any()


def test_of_classes_values_and_next_tokens_the_teacher_speaks_each_in_its_own_way() -> None:
    spec, data = CASES["mlp classes"]
    soft_NC = soft_answers(train_(spec, data), data)
    assert soft_NC.shape == (len(data), 3)
    assert soft_NC.sum(axis=1) == pytest.approx(np.ones(len(data)), abs=1e-5)
    spec, data = CASES["lstm values"]
    assert soft_answers(train_(spec, data), data).shape == data.target.shape
    spec, data = CASES["autoencoder"]
    assert soft_answers(train_(spec, data), data).shape == data.target.shape
    spec, data = CASES["gru next"]
    assert soft_answers(train_(spec, data), data) is data.target


train_ = train


@pytest.mark.parametrize("name", ["gru next", "autoencoder", "inception images"])
def test_a_student_of_any_task_is_trained(name: str) -> None:
    spec, data = CASES[name]
    recipe = FitRecipe(steps=3, batch_size=24, evaluate_every=3, precision="float32")
    teacher = fit(spec, data, data, recipe)
    student = fit(spec, data, data, recipe, teacher=teacher)
    assert np.isfinite(student.logits(data)).all()


def test_a_teacher_of_another_question_is_refused() -> None:
    spec, data = CASES["mlp classes"]
    other, rows = CASES["mlp values"]
    with pytest.raises(ValueError, match="The teacher answers classes"):
        fit(other, rows, rows, FitRecipe(steps=1), teacher=train_(spec, data))


def test_narrower_specs_are_of_the_same_kind_and_can_be_built() -> None:
    spec, data = CASES["transformer series"]
    widths = [small.params["width"] for small in _narrower(spec)]
    assert widths == [8, 4]
    assert all(train_(small, data, 1) for small in _narrower(spec))
    assert pruner_of(train_(*CASES["graph"])) is None


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"bits": 4}, "bits=4 is neither 8 nor 32"),
        ({"max_loss": -1.0}, "max_loss=-1.0 is below 0"),
        ({"prune": 1.5}, "prune=1.5 is not between 0 and 1"),
        ({"into": Spec("mlp", 7)}, "takes other inputs"),
    ],
)
def test_what_cannot_be_asked_is_said(
    asked: dict[str, object], said: str, wide: Model, train: Table, validation: Table
) -> None:
    with pytest.raises(ValueError, match=said):
        compress(wide, train, validation, **asked)  # type: ignore[arg-type]


def test_without_validation_rows_the_last_fifth_judges() -> None:
    random = np.random.default_rng(4)
    data = Data(random.normal(size=(300, 4)), random.integers(0, 2, 300))
    recipe = FitRecipe(steps=2, batch_size=64, precision="float32")
    model = fit(Spec.of("mlp", data, width=8), data, recipe=recipe)
    assert compress(model, data, bits=8, max_loss=1.0).steps[1].name == "original, int8"
