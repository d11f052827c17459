"""An architecture of one's own is one like those that ship: by a class and a decorator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models_core import (
    ArtifactError,
    Data,
    Encoder,
    FitRecipe,
    Model,
    Sizes,
    Spec,
    SpecError,
    architecture,
    augmentation,
    fit,
    load,
    save,
)
from models_core.architectures import architecture_names

RECIPE = FitRecipe(
    steps=150, batch_size=64, learning_rate=2e-2, evaluate_every=50, precision="float32", seed=3
)


@architecture("test_extremes")
class Extremes(Encoder):
    """The largest and the smallest of each channel, and one hidden layer."""

    def __init__(self, sizes: Sizes, *, width: int = 8) -> None:
        super().__init__(sizes)
        _, channels = sizes.only().shape
        self.hidden = nn.Sequential(nn.Linear(2 * channels, width), nn.ReLU())
        self.finish(sizes, width)

    def embed(self, x: Tensor) -> Tensor:
        h_BD: Tensor = self.hidden(torch.cat([x.amax(dim=1), x.amin(dim=1)], dim=1))
        return h_BD


def spikes(num: int, seed: int) -> Data:
    """Series without, with an upward or with a downward spike."""
    random = np.random.default_rng(seed)
    x_NTC = random.normal(0, 0.3, (num, 12, 1))
    kind_N = random.integers(0, 3, num)
    x_NTC[np.arange(num), random.integers(0, 12, num), 0] += np.array([0, 3, -3])[kind_N]
    return Data({"series": x_NTC}, kind_N)


@pytest.fixture(scope="module")
def model() -> Model:
    data = spikes(400, seed=1)
    return fit(Spec.of("test_extremes", data, width=16), data, recipe=RECIPE)


def test_it_is_known_by_its_name_and_learns(model: Model) -> None:
    assert "test_extremes" in architecture_names()
    test = spikes(300, seed=2)
    assert (model.predict(test).argmax(axis=1) == test.target).mean() > 0.95


def test_it_is_saved_without_code_and_loaded_equal_to_the_bit(model: Model, tmp_path: Path) -> None:
    save(model, tmp_path / "own")
    test = spikes(300, seed=2)
    again = load(tmp_path / "own")
    assert again.spec == model.spec
    assert (again.logits(test) == model.logits(test)).all()


def test_a_saved_model_whose_architecture_was_not_imported_says_which(
    model: Model, tmp_path: Path
) -> None:
    save(model, tmp_path / "own")
    manifest = tmp_path / "own" / "model.json"
    manifest.write_text(manifest.read_text().replace('"test_extremes"', '"somebody_elses"'))
    with pytest.raises(ArtifactError, match="Unknown architecture 'somebody_elses'"):
        load(tmp_path / "own")


def test_it_answers_every_question_of_its_kind_and_is_a_branch_of_others() -> None:
    data = spikes(200, seed=1)
    height = Data(data.inputs, data.inputs["series"].max(axis=(1, 2)))
    assert fit(Spec.of("test_extremes", height), height, recipe=RECIPE).predict(height).shape == (
        200,
        1,
    )
    is_up = Data(data.inputs, data.target == 1)
    assert fit(Spec.of("test_extremes", is_up), is_up, recipe=RECIPE).predict(is_up).shape == (200,)
    joined = Data({**data.inputs, "table": np.zeros((200, 2))}, data.target)
    fused = fit(Spec.of("fusion", joined, series="test_extremes"), joined, recipe=RECIPE)
    assert (fused.predict(joined).argmax(axis=1) == joined.target).mean() > 0.9


def test_a_parameter_that_it_does_not_take_and_a_taken_name_are_refused() -> None:
    data = spikes(50, seed=1)
    with pytest.raises(SpecError, match=r"no parameter depth\. It takes: width"):
        fit(Spec.of("test_extremes", data, depth=3), data)
    with pytest.raises(ValueError, match="'test_extremes' is already Extremes"):
        architecture("test_extremes")(type("Other", (Extremes,), {}))
    for name in ("lstm", "graph_convolution"):  # imported by now or not
        with pytest.raises(ValueError, match=f"'{name}' ships with models_core"):
            architecture(name)(Extremes)


def test_an_augmentation_of_ones_own_is_said_in_the_recipe_by_name() -> None:
    seen = []

    @augmentation("test_flip")
    def flip(x: Tensor, strength: float) -> Tensor:
        seen.append(strength)
        return torch.where(torch.rand(len(x), 1, 1) < strength, x.flip(1), x)

    data = spikes(100, seed=1)
    recipe = FitRecipe(steps=4, batch_size=32, augment="test_flip=0.5")
    fit(Spec.of("test_extremes", data), data, recipe=recipe)
    assert seen == [0.5] * 4
