"""Each word of a recipe does what it says, on problems small enough to see it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models_core import Data, FitRecipe, Model, Spec, fit
from models_core.architectures.network import task_losses
from models_core.evaluation import roc_auc
from models_core.loop import _autocast
from models_core.optimizers import make_optimizers, rate_at
from models_core.sampling import Sampler, row_weights

RECIPE = FitRecipe(
    steps=60, batch_size=64, learning_rate=1e-2, evaluate_every=20, precision="float32", seed=1
)


def halves(num: int = 600, positives: float = 0.5, seed: int = 0) -> Data:
    """A line through the plane parts the answers."""
    random = np.random.default_rng(seed)
    x_NF = random.normal(size=(num, 3)).astype(np.float32)
    value_N = x_NF @ np.array([1.0, -2.0, 0.5])
    return Data(x_NF, (value_N > np.quantile(value_N, 1 - positives)).astype(int))


def learned(recipe: FitRecipe, data: Data | None = None) -> Model:
    data = data or halves()
    return fit(Spec.of("mlp", data, width=32, dropout=0.0), data, recipe=recipe)


def parted(model: Model) -> float:
    """How well unseen rows are told apart: the area under the ROC curve."""
    test = halves(400, seed=5)
    return roc_auc(test.target, model.logits(test))


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "sgd", "muon"])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "one_cycle"])
def test_each_optimizer_parts_two_halves_in_a_few_steps_by_each_schedule(
    optimizer: Any, schedule: Any
) -> None:
    rate = 0.1 if optimizer == "sgd" else 1e-2
    recipe = replace(RECIPE, optimizer=optimizer, schedule=schedule, learning_rate=rate)
    assert parted(learned(recipe)) > 0.95


def test_optimizers_take_every_parameter_once() -> None:
    module = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    for optimizer in ("adamw", "adafactor", "sgd", "muon"):
        made = make_optimizers(module, replace(RECIPE, optimizer=optimizer))
        taken = [id(p) for o in made for group in o.param_groups for p in group["params"]]
        assert sorted(taken) == sorted(id(p) for p in module.parameters())
    hidden = [p for group in made[0].param_groups for p in group["params"]]
    assert [tuple(p.shape) for p in hidden] == [(8, 4)], "muon takes hidden matrices alone"


def test_schedules_rise_and_fall_as_they_say() -> None:
    for schedule, half_way, at_the_end in (
        ("cosine", 0.5, 0.0),
        ("linear", 0.5, 0.0),
        ("constant", 1.0, 1.0),
    ):
        recipe = replace(RECIPE, schedule=schedule, warmup_share=0.1)  # type: ignore[arg-type]
        assert rate_at(0.0, recipe) < 0.3 * recipe.learning_rate
        assert rate_at(0.1, recipe) == pytest.approx(recipe.learning_rate)
        assert rate_at(0.55, recipe) == pytest.approx(half_way * recipe.learning_rate)
        assert rate_at(1.0, recipe) == pytest.approx(at_the_end * recipe.learning_rate)
    recipe = replace(RECIPE, schedule="one_cycle")
    assert max(range(101), key=lambda n: rate_at(n / 100, recipe)) == 30


def test_the_focal_loss_turns_gradients_as_the_formula_says() -> None:
    """Lin and others 2017: d/dz of (1 - p)^g * -log p, for a positive with p = sigmoid(z)."""
    for z in (-2.0, 0.0, 3.0):
        for gamma in (0.0, 1.0, 2.5):
            logit_B = torch.tensor([z], dtype=torch.float64, requires_grad=True)
            one_B = torch.ones(1, dtype=torch.float64)
            loss = task_losses("binary", logit_B, one_B, gamma).sum()
            (gradient_B,) = torch.autograd.grad(loss, logit_B)
            p = 1 / (1 + math.exp(-z))
            expected = (1 - p) ** gamma * (gamma * p * math.log(p) - (1 - p))
            assert float(gradient_B) == pytest.approx(expected, rel=1e-6)


def test_balanced_sampling_draws_rare_answers_as_often_as_the_others() -> None:
    data = Data(np.zeros((1000, 2), np.float32), [0] * 900 + [1] * 90 + [2] * 10)
    drawn = Sampler(data, replace(RECIPE, sampling="balanced", batch_size=300))
    counts = np.zeros(3)
    for step in range(1, 21):
        counts += np.bincount(data.target[drawn.rows_of(step).numpy()], minlength=3)
    assert counts / counts.sum() == pytest.approx(np.full(3, 1 / 3), abs=0.02)
    assert torch.equal(drawn.rows_of(7), drawn.rows_of(7))


def test_an_epoch_takes_every_row_once_in_an_order_of_its_own() -> None:
    data = Data(np.zeros((128, 2), np.float32), [0, 1] * 64)
    sampler = Sampler(data, RECIPE)
    first, second = (torch.cat([sampler.rows_of(s) for s in pair]) for pair in ((1, 2), (3, 4)))
    assert first.sort()[0].tolist() == second.sort()[0].tolist() == list(range(128))
    assert first.tolist() != second.tolist()


def test_balanced_weights_let_every_class_count_as_much() -> None:
    data = Data(np.zeros((100, 2), np.float32), [0] * 80 + [1] * 15 + [2] * 5)
    weight_N = row_weights(data, replace(RECIPE, class_weight="balanced"))
    of_class = [float(weight_N[data.target == n].sum()) for n in range(3)]
    assert of_class == pytest.approx([100 / 3] * 3, rel=1e-5)
    few = Data(np.zeros((100, 2), np.float32), [0] * 90 + [1] * 10)
    weight_N = row_weights(few, replace(RECIPE, positive_weight=9.0))
    assert float(weight_N[90] / weight_N[0]) == pytest.approx(9.0)


@pytest.mark.parametrize(
    "change",
    [
        {"class_weight": "balanced"},
        {"positive_weight": 30.0},
        {"sampling": "balanced"},
    ],
)
def test_what_counters_imbalance_finds_more_of_the_rare_answers(change: dict[str, Any]) -> None:
    rare = halves(1500, positives=0.03)
    few = replace(RECIPE, steps=15)
    plain = learned(few, rare).logits(rare)[rare.target == 1] > 0
    countered = learned(replace(few, **change), rare).logits(rare)[rare.target == 1] > 0
    assert countered.mean() > plain.mean()
    assert countered.mean() > 0.9


def test_a_named_metric_picks_the_step_and_an_unknown_one_is_refused() -> None:
    accurate = learned(replace(RECIPE, watch="roc_auc"))
    assert max(look.score for look in accurate.history) > 0.98
    with pytest.raises(ValueError, match="watch='f1' is no metric of binary: pr_auc, roc_auc"):
        learned(replace(RECIPE, watch="f1"))


def test_patience_ends_the_run_and_the_best_weights_come_back() -> None:
    noise = np.random.default_rng(0)
    data = Data(noise.normal(size=(300, 3)).astype(np.float32), noise.integers(0, 2, 300))
    recipe = replace(RECIPE, steps=2000, evaluate_every=5, patience=3, watch="roc_auc")
    model = learned(recipe, data)
    scores = [look.score for look in model.history]
    assert model.history[-1].step < 2000
    assert len(scores) - 1 - int(np.argmax(scores)) == 3
    held_out = data.rows(slice(240, None))
    assert roc_auc(held_out.target, model.logits(held_out)) == pytest.approx(max(scores), abs=1e-6)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_learns_the_same_and_keeps_full_weights(precision: Any) -> None:
    model = learned(replace(RECIPE, precision=precision))
    assert parted(model) > 0.95
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    kind = {"bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
    with _autocast(replace(RECIPE, precision=precision), torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == kind


def test_a_gradient_is_cut_to_its_largest_norm() -> None:
    """A first step by Nesterov's SGD is 1.9 times the gradient times the rate."""
    data = halves()
    recipe = replace(RECIPE, optimizer="sgd", steps=1, evaluate_every=1, schedule="constant")
    recipe = replace(recipe, warmup_share=0.0, learning_rate=1.0, weight_decay=0.0)
    start = fit(_spec(data), data, recipe=replace(recipe, learning_rate=1e-12))

    def moved(clip: float) -> float:
        end = fit(_spec(data), data, recipe=replace(recipe, gradient_clip=clip))
        there = dict(start.module.named_parameters())
        parts = [(p - there[n]).square().sum() for n, p in end.module.named_parameters()]
        return math.sqrt(sum(float(part.detach()) for part in parts))

    # At the last of one step the constant schedule is still in its warm-up of one step: half.
    assert moved(0.01) == pytest.approx(0.01 * 1.9 * rate_at(0.0, recipe), rel=1e-3)
    assert moved(1e9) > 10 * moved(0.01)


def _spec(data: Data) -> Spec:
    return Spec.of("mlp", data, width=32, dropout=0.0)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("optimizer", "'x' is not adamw, adafactor, sgd or muon"),
        ("schedule", "'x' is not cosine, linear, constant or one_cycle"),
        ("precision", "'x' is not auto, float32, bfloat16 or float16"),
        ("sampling", "'x' is not uniform or balanced"),
        ("class_weight", "'x' is not none or balanced"),
        ("shard", "'x' is not auto, none, ddp or fsdp"),
        ("device", "'x' is not cpu, cuda or auto"),
    ],
)
def test_an_unknown_word_is_refused_with_those_there_are(name: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"{name}={sentence}"):
        replace(RECIPE, **{name: "x"})  # type: ignore[arg-type]


def test_classes_of_a_regression_cannot_be_balanced() -> None:
    data = Data(np.zeros((50, 2), np.float32), np.linspace(0, 1, 50))
    with pytest.raises(ValueError, match="A regression task has no classes to balance"):
        fit(Spec.of("mlp", data), data, recipe=replace(RECIPE, sampling="balanced"))


def test_a_compiled_run_gives_the_weights_of_a_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole loss is one graph. Without the minutes that its machine code takes."""
    plain_compile, graphs = nn.Module.compile, []

    def seen(graph: Any, example_inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(
        nn.Module, "compile", lambda self: plain_compile(self, backend=seen, fullgraph=True)
    )
    recipe = replace(RECIPE, steps=4)
    plain, compiled = learned(recipe), learned(replace(recipe, compile=True))
    assert len(graphs) == 1
    theirs = compiled.module.state_dict()
    for name, tensor in plain.module.state_dict().items():
        assert torch.allclose(tensor, theirs[name], atol=1e-5), name
