"""Augmentations keep shapes, types and vocabularies, and do what their names say."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from models_core import Data, FitRecipe, Spec, fit
from models_core.augmenting import Augmentation, augmentation, augmentations

SHAPES = {
    "table": (12, 7),
    "series": (12, 16, 3),
    "image": (12, 3, 10, 8),
    "sound": (12, 40),
    "numbers": (12, 7),
}
RECIPE = FitRecipe(
    steps=120, batch_size=64, learning_rate=5e-3, evaluate_every=40, precision="float32", seed=1
)


def an_input(kind: str) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    if kind == "tokens":
        x_BT = torch.randint(1, 9, (12, 11), generator=generator)
        x_BT[:, 8:] = 0
        return x_BT
    return torch.randn(SHAPES[kind], generator=generator)


def done(text: str, x: Tensor, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return Augmentation.parse(text, {"x": x})((x,))[0]


EVERY = [(name, kind) for name, found in augmentations().items() for kind in found.takes]


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_an_augmentation_keeps_shape_and_type_and_changes_something(name: str, kind: str) -> None:
    x = an_input(kind)
    before = x.clone()
    made = done(f"{name}=0.5", x)
    assert made.shape == x.shape
    assert made.dtype == x.dtype
    assert torch.isfinite(made.double()).all()
    assert not torch.equal(made, x)
    assert torch.equal(x, before), "the training data itself was changed"


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_the_same_chance_does_the_same_and_no_strength_does_nothing(name: str, kind: str) -> None:
    x = an_input(kind)
    assert torch.equal(done(f"{name}=0.5", x), done(f"{name}=0.5", x))
    assert any(not torch.equal(done(f"{name}=0.5", x), done(f"{name}=0.5", x, s)) for s in (1, 2))
    assert torch.equal(done(f"{name}=0", x), x)


@pytest.mark.parametrize("name", ["token_drop", "token_replace", "token_swap"])
def test_tokens_stay_in_their_vocabulary_and_padding_stays_padding(name: str) -> None:
    x_BT = an_input("tokens")
    for seed in range(20):
        made_BT = done(f"{name}=1", x_BT, seed)
        assert set(made_BT.flatten().tolist()) <= set(x_BT.flatten().tolist())
        assert (made_BT[:, 8:] == 0).all()
        assert (made_BT[:, 0] != 0).all()
        if name != "token_drop":
            assert (made_BT[:, :8] != 0).all()


def test_swapped_tokens_are_the_same_ones_and_rows_of_padding_pass() -> None:
    x_BT = an_input("tokens")
    assert torch.equal(done("token_swap=1", x_BT).sort(dim=1)[0], x_BT.sort(dim=1)[0])
    nothing_BT = torch.zeros(2, 1, dtype=torch.long)
    for name in ("token_drop", "token_replace", "token_swap"):
        assert torch.equal(done(f"{name}=1", nothing_BT), nothing_BT)


def test_strength_is_how_much_is_changed() -> None:
    x_BF = torch.randn(2000, 5)
    for name in ("mask", "swap"):
        assert float((done(f"{name}=0.3", x_BF) != x_BF).float().mean()) == pytest.approx(
            0.3, abs=0.02
        )
    added_BF = done("jitter=0.3", x_BF) - x_BF
    assert float(added_BF.std()) == pytest.approx(0.3, abs=0.02)
    wave_BT = torch.sin(torch.arange(400.0)).repeat(500, 1)
    loud = (done("noise=0.1", wave_BT) - wave_BT).square().mean(dim=1).sqrt()
    assert float(loud.max()) <= 0.1 * math.sqrt(0.5) * 1.1
    assert float(loud.max()) > 0.06


def test_columns_keep_their_own_values_when_they_are_swapped() -> None:
    x_BF = torch.stack([torch.arange(50.0), torch.arange(50.0) + 1000], dim=1)
    made_BF = done("swap=0.5", x_BF)
    assert (made_BF[:, 0] < 1000).all()
    assert (made_BF[:, 1] >= 1000).all()


def test_time_moves_but_does_not_turn_back() -> None:
    rising_BT = torch.arange(30.0).repeat(40, 1)
    for name in ("warp", "window", "shift"):
        made_BT = done(f"{name}=0.4", rising_BT)
        assert (made_BT.diff(dim=1) >= 0).all(), name
        assert made_BT.min() >= 0
        assert made_BT.max() <= 29
    warped_BT = done("warp=0.4", rising_BT)
    assert torch.allclose(warped_BT[:, [0, -1]], rising_BT[:, [0, -1]], atol=1e-4)
    kept_B = done("window=0.4", rising_BT)
    assert ((kept_B[:, -1] - kept_B[:, 0]) >= 0.6 * 29 - 1e-3).all()


def test_a_hidden_span_is_one_span_of_at_most_its_share() -> None:
    rising_BT = torch.arange(40.0).repeat(200, 1)
    hidden_BT = done("hide=0.5", rising_BT) != rising_BT
    assert hidden_BT.sum(dim=1).max() <= 20
    assert hidden_BT.sum(dim=1).max() > 15
    starts_B = (hidden_BT.int().diff(dim=1) == 1).sum(dim=1) + hidden_BT[:, 0].int()
    assert starts_B.max() == 1


def test_images_are_mirrored_moved_and_cut_whole() -> None:
    x_BCHW = torch.arange(4 * 2 * 6 * 5.0).reshape(4, 2, 6, 5)
    assert torch.equal(done("flip=1", x_BCHW), x_BCHW.flip(3))
    moved_BCHW = done("crop=0.3", x_BCHW)
    # Channels move together: the second one stays 30 ahead of the first.
    assert torch.equal(moved_BCHW[:, 1] - moved_BCHW[:, 0], torch.full((4, 6, 5), 30.0))
    cut_BCHW = done("cutout=0.5", x_BCHW) != x_BCHW
    assert torch.equal(cut_BCHW[:, 0], cut_BCHW[:, 1])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("turn=0.5", "No augmentation 'turn'. There are: blend, "),
        ("mask", "needs a strength"),
        ("mask=1.5", "the strength is not 0 to 1"),
        ("jitter=-1", "the strength is not at least 0"),
        ("jitter=nan", "the strength is not at least 0"),
        ("flip=0.5", r"is for image, not for table \(7,\)"),
        ("photo:mask=0.1", "no input 'photo' but table, words"),
        ("words:mask=0.1", "is for numbers"),
        ("mixup=0.2", r"tokens \(words\) cannot be mixed"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_there_is(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Augmentation.parse(text, {"table": an_input("table"), "words": an_input("tokens")})


def test_an_input_can_be_named_and_others_are_left_alone() -> None:
    inputs = {"sound": an_input("sound"), "table": an_input("table")}
    torch.manual_seed(0)
    sound, table = Augmentation.parse("sound:jitter=0.5", inputs)(tuple(inputs.values()))
    assert not torch.equal(sound, inputs["sound"])
    assert torch.equal(table, inputs["table"])


def test_a_project_adds_its_own_and_a_taken_name_is_refused() -> None:
    @augmentation("negate_in_test", "series")
    def negate(x: Tensor, strength: float) -> Tensor:
        return -x * strength

    x = an_input("series")
    assert torch.equal(done("negate_in_test=1", x), -x)
    for name in ("mask", "mixup"):
        with pytest.raises(ValueError, match="exists already"):
            augmentation(name)(negate)
    with pytest.raises(ValueError, match="No kind of input 'video'"):
        augmentation("of_videos", "video")


def test_mixup_mixes_rows_and_answers_alike() -> None:
    x_BF, y_B = torch.eye(6), torch.arange(6)
    torch.manual_seed(1)
    (mixed_BF,), share_BC = Augmentation.parse("mixup=1", {"x": x_BF}).mixed((x_BF,), y_B, 6)
    assert torch.allclose(mixed_BF, share_BC)
    assert (share_BC.argmax(dim=1) == y_B).all()
    assert ((share_BC > 0).sum(dim=1) == 2).any()
    assert torch.allclose(share_BC.sum(dim=1), torch.ones(6))


@pytest.mark.parametrize("task", ["binary", "classes", "regression"])
def test_mixed_and_augmented_rows_are_learned_from(task: str) -> None:
    random = np.random.default_rng(0)
    x_NF = random.normal(size=(800, 4)).astype(np.float32)
    value_N = x_NF[:, 0] + x_NF[:, 1]
    target = {
        "binary": value_N > 0,
        "classes": np.digitize(value_N, [-1, 1]),
        "regression": value_N,
    }
    data = Data(x_NF, target[task].astype(float if task == "regression" else int), task)
    recipe = replace(RECIPE, augment="mixup=0.2,jitter=0.02,swap=0.02")
    model = fit(Spec.of("mlp", data, width=32), data, recipe=recipe)
    answer = model.logits(data)
    if task == "binary":
        assert ((answer > 0) == data.target).mean() > 0.95
    elif task == "classes":
        assert (answer.argmax(axis=1) == data.target).mean() > 0.9
    else:
        assert np.abs(answer[:, 0] - value_N).mean() < 0.3
