"""Private fits: the account is right, layers are themselves again, and something is still learned."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from opacus.accountants import RDPAccountant
from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent
from torch import Tensor, nn

from models_core import (
    Calibration,
    Data,
    FitRecipe,
    Model,
    Privacy,
    Spec,
    Table,
    fit,
    load,
    pack,
    save,
    unpack,
)
from models_core.architectures import build, registry
from models_core.architectures.network import Encoder, Sizes
from models_core.private_steps import ORDERS, separable

RECIPE = FitRecipe(
    steps=30, batch_size=128, learning_rate=1e-2, evaluate_every=10, precision="float32"
)
PRIVACY = Privacy(epsilon=5.0, delta=1e-4)


def points(num: int, seed: int) -> Data:
    """A table whose first two columns answer the question."""
    random = np.random.default_rng(seed)
    x_NF = random.normal(0, 1, (num, 6)).astype(np.float32)
    return Data(x_NF, (x_NF[:, 0] + x_NF[:, 1] > 0).astype(int))


def private(recipe: FitRecipe = RECIPE, privacy: Privacy = PRIVACY, rows: int = 2000) -> Model:
    data = points(rows, 1)
    spec = Spec.of("mlp", data, width=16, dropout=0.0)
    return fit(spec, data, points(300, 2), recipe, privacy=privacy)


@cache
def usual() -> Model:
    return private()


def sequences(num: int, seed: int, task: str = "classes") -> Data:
    """Series of three kinds of trend, or tokens that count up."""
    random = np.random.default_rng(seed)
    if task == "next":
        x_NT = 1 + (random.integers(0, 6, (num, 1)) + np.arange(7)) % 6
        return Data({"x": x_NT}, task="next")
    kind_N = random.integers(0, 3, num)
    slope_NT = (kind_N[:, None] - 1) * np.linspace(0, 2, 8)
    x_NTC = slope_NT[..., None] + random.normal(0, 0.3, (num, 8, 2))
    return Data({"x": x_NTC.astype(np.float32)}, kind_N)


def test_an_easy_problem_is_still_learned_at_epsilon_five() -> None:
    model = private(replace(RECIPE, steps=80, batch_size=256))
    test = points(1000, 3)
    assert ((model.logits(test) > 0) == test.target).mean() > 0.9
    assert model.privacy is not None
    assert 4.9 < model.privacy.epsilon <= 5.0


def test_epsilon_is_reproduced_from_what_is_recorded() -> None:
    spent = usual().privacy
    assert spent is not None
    assert spent.sample_rate == 128 / 2000
    assert spent.steps == 30
    accountant = RDPAccountant()
    for _ in range(spent.steps):
        accountant.step(noise_multiplier=spent.noise, sample_rate=spent.sample_rate)
    given = accountant.get_epsilon(spent.delta, alphas=list(ORDERS))
    assert spent.epsilon == pytest.approx(given, abs=1e-9)

    # By hand, over whole orders, from the binomial sum of Mironov, Talwar, Zhang 2019.
    by_hand = min(
        _spent(
            order, spent.steps * _renyi_of_a_sample(order, spent.noise, spent.sample_rate), spent
        )
        for order in range(2, 24)
    )
    assert spent.epsilon <= by_hand <= spent.epsilon * 1.02


def test_without_sampling_epsilon_is_that_of_the_gaussian_mechanism() -> None:
    spent = private(replace(RECIPE, batch_size=10_000, steps=4), rows=400).privacy
    assert spent is not None
    assert spent.sample_rate == 1.0
    by_hand = min(
        _spent(order, spent.steps * order / (2 * spent.noise**2), spent) for order in ORDERS
    )
    assert spent.epsilon == pytest.approx(by_hand, rel=1e-9)
    rdp = compute_rdp(q=1.0, noise_multiplier=spent.noise, steps=4, orders=list(ORDERS))
    assert spent.epsilon == get_privacy_spent(orders=list(ORDERS), rdp=rdp, delta=spent.delta)[0]


def _renyi_of_a_sample(order: int, noise: float, rate: float) -> float:
    total = sum(
        math.comb(order, k)
        * (1 - rate) ** (order - k)
        * rate**k
        * math.exp((k * k - k) / (2 * noise**2))
        for k in range(order + 1)
    )
    return math.log(total) / (order - 1)


def _spent(order: float, renyi: float, spent: Any) -> float:
    """From Renyi to epsilon: Canonne, Kamath, Steinke 2020, proposition 12."""
    beside = math.log((order - 1) / order) - (math.log(spent.delta) + math.log(order)) / (order - 1)
    return renyi + beside


def test_a_run_that_stops_early_has_spent_less() -> None:
    model = private(replace(RECIPE, steps=100, evaluate_every=2, patience=1, learning_rate=1e-6))
    assert model.privacy is not None
    assert model.privacy.steps == model.history[-1].step < 100
    assert model.privacy.epsilon < 4.5


def test_what_was_spent_is_saved_and_what_rows_told_beside_it_is_not_kept(tmp_path: Path) -> None:
    model = usual()
    save(model, tmp_path / "private")
    again = load(tmp_path / "private")
    assert again.privacy == model.privacy
    assert model.data_hash == "withheld"
    assert all(math.isnan(look.loss) for look in again.history)


def test_an_artifact_says_what_was_spent_and_one_without_stays_as_it_was() -> None:
    def manifest_of(model: Model) -> dict[str, Any]:
        files = pack(
            model,
            Calibration(1.0, 0.0),
            schema_hash="0" * 64,
            feature_names=[f"f{n}" for n in range(6)],
            thresholds={},
            metrics={},
        )
        assert unpack(files).manifest.privacy == model.privacy
        said: dict[str, Any] = msgspec.json.decode(files["manifest.json"])
        return said

    model = usual()
    assert manifest_of(model)["privacy"] == msgspec.to_builtins(model.privacy)
    data = points(400, 1)
    assert "privacy" not in manifest_of(fit(Spec.of("mlp", data, width=4), data, recipe=RECIPE))


def test_one_row_moves_a_step_by_no_more_than_the_clip_allows() -> None:
    """One wild row against a step without noise: the sum of gradients moves by at most the clip."""
    from models_core.distributed import Ranks
    from models_core.loop import Training

    wild = points(64, 1)
    wild.inputs["x"][0] *= 1e4
    wild.target[0] = 1 - wild.target[0]
    recipe = replace(RECIPE, batch_size=64, optimizer="sgd")
    moved = []
    for data in (wild, wild.rows(slice(1, None))):
        torch.manual_seed(0)
        spec = Spec.of("mlp", data, width=16, dropout=0.0)
        module, privacy = build(spec), Privacy(1.0, clip=0.5)
        public = points(50, 2)
        run = Training(spec, module, data, public, recipe, Ranks(), None, privacy=privacy)
        assert run.private is not None
        run.private.optimizer.noise_multiplier = 0.0
        run.private.optimizer.expected_batch_size = 1
        run.private.sample_rate = 1.1  # every row
        run.step(1)
        moved.append(
            torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
        )
    assert 0.4 < float((moved[0] - moved[1]).norm()) <= 0.5 + 1e-4


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_recurrent_layers_are_lent_and_come_back_the_same(name: str) -> None:
    data = sequences(40, 1)
    module = build(Spec.of(name, data, width=8, layers=2, dropout=0.0)).eval()
    x_BTC = torch.from_numpy(data.inputs["x"])
    before = module(x_BTC)
    kind = type(module.body)
    with separable(module):
        assert type(module.body).__module__ == "opacus.layers.dp_rnn"
        assert torch.allclose(module(x_BTC), before, atol=1e-6)
        with torch.no_grad():
            for parameter in module.body.parameters():  # type: ignore[union-attr]
                parameter += 0.1
        changed = module(x_BTC)
    assert type(module.body) is kind
    assert not torch.allclose(changed, before, atol=1e-3)
    assert torch.allclose(module(x_BTC), changed, atol=1e-6)


class Normed(Encoder):
    """Everything that hooks by layer refuse: batch normalisation and torch's own attention."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.widen = nn.Conv1d(2, 8, 3, padding=1)
        self.norm = nn.BatchNorm1d(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.finish(sizes, 8)

    def embed(self, x_BTC: Tensor) -> Tensor:
        h_BDT = torch.relu(self.norm(self.widen(x_BTC.transpose(1, 2))))
        h_BTD = h_BDT.transpose(1, 2)
        seen_BTD, _ = self.attention(h_BTD, h_BTD, h_BTD, need_weights=False)
        mean_BD: Tensor = (h_BTD + seen_BTD).mean(dim=1)
        return mean_BD


@pytest.mark.parametrize(
    ("name", "task", "params"),
    [
        ("lstm", "classes", {"width": 8}),
        ("gru", "next", {"width": 8}),
        ("transformer", "classes", {"width": 8, "heads": 2, "layers": 1}),
        ("causal_transformer", "next", {"width": 8, "heads": 2, "layers": 1}),
        ("test_normed", "classes", {}),
    ],
)
def test_every_kind_of_sequence_model_learns_privately(
    name: str,
    task: str,
    params: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(registry._registered, "test_normed", Normed)
    data, public = sequences(1500, 1, task), sequences(200, 2, task)
    spec = Spec.of(name, data, **params)
    recipe = replace(RECIPE, steps=60, learning_rate=3e-2, batch_size=256)
    model = fit(spec, data, public, recipe, privacy=Privacy(8.0, 1e-4))
    test = sequences(200, 3, task)
    output = model.logits(test)
    if task == "next":
        hit = output[:, :-1].argmax(axis=-1) == test.target[:, 1:]
        assert hit.mean() > 0.4
    else:
        assert (output.argmax(axis=-1) == test.target).mean() > 0.7
    save(model, tmp_path / "model")
    assert (load(tmp_path / "model").logits(test) == output).all()


def test_vectors_of_an_ensemble_and_pictures_are_learned_privately() -> None:
    data = points(1500, 1)
    spec = Spec.of("tabular_ensemble", data, members=3, width=8, bins=4)
    recipe = replace(RECIPE, steps=60, batch_size=256, micro_batch=100, learning_rate=2e-2)
    model = fit(spec, data, points(300, 2), recipe, privacy=PRIVACY)
    test = points(500, 3)
    assert ((model.logits(test) > 0) == test.target).mean() > 0.75
    images = Data(np.random.default_rng(0).normal(size=(60, 1, 8, 8)), np.arange(60) % 3)
    public = Data(np.random.default_rng(1).normal(size=(30, 1, 8, 8)), np.arange(30) % 3)
    for name in ("cnn", "resnet"):
        fitted = fit(
            Spec.of(name, images, width=8),
            images,
            public,
            replace(RECIPE, steps=2),
            privacy=PRIVACY,
        )
        assert fitted.privacy is not None


def test_chance_is_drawn_from_the_system_and_not_from_the_seed() -> None:
    one, other = usual(), private()
    assert not np.array_equal(one.logits(points(5, 3)), other.logits(points(5, 3)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"optimizer": "muon"}, "optimizer='muon' is not for a private fit. Take 'adamw'"),
        ({"class_weight": "balanced"}, "class_weight='balanced' is not for a private fit"),
        ({"sampling": "balanced"}, "sampling='balanced'"),
        ({"augment": "jitter=0.1"}, "augment='jitter=0.1'"),
        ({"precision": "bfloat16"}, "precision='bfloat16'"),
        ({"compile": True}, "compile=True"),
    ],
)
def test_what_would_tell_of_rows_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        private(replace(RECIPE, **change))


def test_rows_that_set_scales_must_be_others_than_those_protected() -> None:
    data = points(100, 1)
    spec = Spec.of("mlp", data, width=4)
    with pytest.raises(ValueError, match="needs validation rows of its own"):
        fit(spec, data, recipe=RECIPE, privacy=PRIVACY)
    with pytest.raises(ValueError, match="The validation rows are the training rows"):
        fit(spec, data, data, RECIPE, privacy=PRIVACY)
    shifted = Table(data.inputs["x"] * 7 + 3, data.target)
    model = fit(spec, shifted, data, RECIPE, privacy=PRIVACY)
    plain = fit(spec, data, data, RECIPE)
    assert torch.equal(
        model.module.state_dict()["scale.mean_F"], plain.module.state_dict()["scale.mean_F"]
    )


def test_what_learns_beside_its_answers_is_refused() -> None:
    random = np.random.default_rng(0)
    one, other = (
        Data(random.normal(size=(40, 30)).astype(np.float32), np.arange(40) % 2) for _ in range(2)
    )
    with pytest.raises(ValueError, match="learns beside the answers, which no accountant sees"):
        fit(Spec("metric_vectors", 30, {"metrics": 16}), one, other, RECIPE, privacy=PRIVACY)


def test_a_private_run_goes_on_from_its_checkpoint_and_counts_all_steps(tmp_path: Path) -> None:
    recipe = replace(RECIPE, checkpoint_every=7)
    data = points(600, 1)
    spec = Spec.of("mlp", data, width=8)

    def stop(stage: str, done: int, total: int) -> None:
        if done >= 20:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit(spec, data, points(200, 2), recipe, stop, checkpoints=tmp_path, privacy=PRIVACY)
    assert list(tmp_path.iterdir())
    model = fit(spec, data, points(200, 2), recipe, checkpoints=tmp_path, privacy=PRIVACY)
    assert model.privacy is not None
    assert model.privacy.steps == 30
    assert [look.step for look in model.history] == [10, 20, 30]
    assert not list(tmp_path.iterdir())
