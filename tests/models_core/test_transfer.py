"""Starting from other models: across label spaces and domains, and from rows without answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models_core import Data, FitRecipe, Input, Spec, SpecError, Table, fit, load, pretrain, save

RECIPE = FitRecipe(
    steps=60, batch_size=64, learning_rate=5e-3, evaluate_every=20, precision="float32", seed=1
)


def faults(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of 40 columns that are curved views of one of 10 states and noise; the state's parity."""
    world = np.random.default_rng(99)
    state_SD, view_DF = world.normal(0, 1.6, (10, 4)), world.normal(0, 1, (4, 40))
    random = np.random.default_rng(seed)
    state_N = random.integers(0, 10, num)
    latent_ND = state_SD[state_N] + random.normal(0, 0.2, (num, 4))
    x_NF = np.sin(latent_ND @ view_DF) + random.normal(0, 0.9, (num, 40))
    return x_NF.astype(np.float32), state_N % 2


def accuracy(logits: np.ndarray, target: np.ndarray) -> float:
    return float(((logits > 0) == target).mean())


def test_many_rows_without_answers_help_fifty_with_them() -> None:
    x_NF, _ = faults(4000, 1)
    spec = Spec("mlp", 40, {"width": 64, "dropout": 0.0})
    start = pretrain(
        spec, x_NF, "masked", replace(RECIPE, steps=500, batch_size=256, evaluate_every=100)
    )
    few, test = Table(*faults(50, 2)), Table(*faults(2000, 3))
    scratch = fit(spec, few, few, RECIPE)
    tuned = fit(spec, few, few, RECIPE, start=start)
    plain, better = (accuracy(m.logits(test.x_NF), test.y_N) for m in (scratch, tuned))
    assert better > plain + 0.03


def test_what_comes_next_is_learned_first_and_then_what_it_means(tmp_path: Path) -> None:
    """Two kinds of counting: up and down. The order of tokens says which."""
    random = np.random.default_rng(0)
    way_N = random.integers(0, 2, 600)
    x_NT = 1 + (random.integers(0, 7, (600, 1)) + (1 - 2 * way_N[:, None]) * np.arange(6)) % 7
    data = Data({"x": x_NT}, way_N, "classes")
    spec = Spec.of("causal_transformer", data, width=32, heads=2, dropout=0.0)
    start = pretrain(spec, data, "next", replace(RECIPE, steps=300, learning_rate=3e-3))
    assert start.spec.task == "next"
    save(start, tmp_path / "start")
    frozen = replace(RECIPE, freeze="front,blocks,place_TD", steps=100, learning_rate=1e-2)
    tuned = fit(
        spec,
        data.rows(slice(0, 60)),
        data.rows(slice(60, 120)),
        frozen,
        start=load(tmp_path / "start"),
    )
    for name, tensor in start.module.named_parameters():
        if name.startswith(("front", "blocks", "place_TD")):
            assert torch.equal(tensor, dict(tuned.module.named_parameters())[name]), name
    answer = tuned.logits(data.rows(slice(120, None))).argmax(axis=1)
    assert (answer == way_N[120:]).mean() > 0.75


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("transformer", Input((6,), 9)),
        ("transformer", Input((6, 3))),
        ("lstm", Input((6,), 9)),
        ("cnn", Input((2, 9, 7))),
        ("tabular_ensemble", Input((8,))),
    ],
)
def test_every_kind_of_row_can_be_hidden_in_parts(name: str, size: Input, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    shape = (80, *size.shape)
    x = random.integers(1, 9, shape) if size.vocabulary else random.normal(size=shape)
    x[:, ..., -1] = x[:, ..., 0]  # what is hidden can be told from what is not
    spec = (
        Spec(name, 8)
        if len(size.shape) == 1 and not size.vocabulary
        else Spec(name, inputs={"x": size}, task="classes", outputs=2)
    )
    start = pretrain(spec, {"x": x}, recipe=replace(RECIPE, steps=20))
    assert start.history[-1].score > start.history[0].score or len(start.history) == 1
    save(start, tmp_path / "m")
    assert load(tmp_path / "m").logits({"x": x}).shape == (80, np.prod(size.shape))
    labelled = Data({"x": x}, np.arange(80) % 2, "binary" if spec.num_features else "classes")
    fitted = fit(spec, labelled, recipe=replace(RECIPE, steps=1, learning_rate=1e-9), start=start)
    body = start.module.transferable()
    for key, tensor in fitted.module.named_parameters():
        if not key.startswith("head"):
            assert torch.allclose(tensor, body[key], atol=1e-6), key


def test_a_hidden_number_is_told_from_its_twin() -> None:
    random = np.random.default_rng(0)
    x_NF = random.normal(5, 3, (1500, 6)).astype(np.float32)
    x_NF[:, 3:] = x_NF[:, :3]
    start = pretrain(
        Spec("mlp", 6, {"width": 64, "dropout": 0.0}),
        x_NF,
        recipe=replace(RECIPE, steps=400),
        mask=0.2,
    )
    again = start.logits(x_NF[:200])
    assert np.abs(again - x_NF[:200]).mean() < 1.2  # the spread is 3


def test_across_label_spaces_the_head_stays_fresh_and_it_is_said() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(90, 6, 2))
    three = Data({"x": x}, np.arange(90) % 3)
    five = Data({"x": x}, np.arange(90) % 5)
    said: list[str] = []
    start = fit(Spec.of("gru", three, width=8), three, recipe=RECIPE)
    still = replace(RECIPE, steps=1, learning_rate=1e-9)
    tuned = fit(
        Spec.of("gru", five, width=8),
        five,
        None,
        still,
        lambda stage, *_: said.append(stage),
        start=start,
    )
    assert "started; fresh are head.bias, head.weight" in said
    assert torch.allclose(tuned.module.body.weight_hh_l0, start.module.body.weight_hh_l0, atol=1e-6)  # type: ignore[union-attr, arg-type]
    values = Data({"x": x}, random.normal(size=(90, 3)))
    fit(
        Spec.of("gru", values, width=8),
        values,
        None,
        still,
        lambda stage, *_: said.append(stage),
        start=start,
    )
    assert said.count("started; fresh are head.bias, head.weight") == 2
    fit(
        Spec.of("gru", three, width=8),
        three,
        None,
        replace(still, start_fresh="head.bias"),
        lambda stage, *_: said.append(stage),
        start=start,
    )
    assert "started; fresh are head.bias" in said


def test_across_domains_scales_are_those_of_the_new_rows_unless_kept() -> None:
    random = np.random.default_rng(0)
    x_NF = random.normal(size=(200, 4)).astype(np.float32)
    here = Table(x_NF, (x_NF[:, 0] > 0).astype(np.float32))
    there = Table(x_NF * 100 + 7, here.y_N)
    spec = Spec("mlp", 4, {"width": 8})
    still = replace(RECIPE, steps=1, learning_rate=1e-9)
    start = fit(spec, here, here, RECIPE)
    new = fit(spec, there, there, still, start=start)
    kept = fit(spec, there, there, replace(still, start_scales="kept"), start=start)
    assert np.allclose(new.logits(there.x_NF), start.logits(here.x_NF), atol=1e-2)
    assert torch.equal(kept.module.scale.mean_F, start.module.scale.mean_F)  # type: ignore[union-attr, arg-type]


def test_rates_can_differ_by_part() -> None:
    x_NF, y_N = faults(200, 1)
    data = Table(x_NF, y_N)
    spec = Spec("mlp", 40, {"width": 8, "dropout": 0.0})
    start = fit(spec, data, data, replace(RECIPE, steps=1, learning_rate=1e-9))
    tuned = fit(
        spec, data, data, replace(RECIPE, rate_factors="hidden=0.001", steps=20), start=start
    )
    moved = {
        name: (tensor - dict(start.module.named_parameters())[name]).abs().mean().item()
        for name, tensor in tuned.module.named_parameters()
    }
    assert moved["hidden.0.weight"] * 50 < moved["head.weight"]
    with pytest.raises(
        ValueError, match=r"rate_factors: 'body' fits no parameter\. There are: head"
    ):
        fit(spec, data, data, replace(RECIPE, rate_factors="body=0.1"))


def test_what_cannot_be_pretrained_is_refused() -> None:
    x_NF, _ = faults(50, 1)
    with pytest.raises(ValueError, match="how='next' is for tokens"):
        pretrain(Spec("mlp", 40), x_NF, "next", RECIPE)
    with pytest.raises(SpecError, match="makes no features of one input"):
        pretrain(Spec("metric_vectors", 40, {"metrics": 40}), x_NF, recipe=RECIPE)
    start = pretrain(Spec("mlp", 40, {"width": 8}), x_NF, recipe=replace(RECIPE, steps=1))
    data = Table(*faults(50, 2))
    with pytest.raises(ValueError, match="there is nothing to start from"):
        fit(Spec("mlp", 40, {"width": 16, "depth": 1}), data, data, RECIPE, start=start)
