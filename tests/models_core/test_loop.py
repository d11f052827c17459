"""The one loop: any data and task, batches in parts, and a run that goes on where it was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models_core import ArtifactError, Data, FitRecipe, Model, Spec, fit, load, save
from models_core.checkpoints import CheckpointError

RECIPE = FitRecipe(
    steps=40, batch_size=64, learning_rate=2e-3, evaluate_every=10, precision="float32", seed=3
)


def bars(num: int, seed: int) -> Data:
    """Images of 8 x 8 with a horizontal, a vertical or no bar."""
    random = np.random.default_rng(seed)
    x_NCHW = random.normal(0, 0.5, (num, 1, 8, 8)).astype(np.float32)
    kind_N = random.integers(0, 3, num)
    place_N = random.integers(0, 8, num)
    for row in range(num):
        if kind_N[row] == 1:
            x_NCHW[row, 0, place_N[row]] += 2
        elif kind_N[row] == 2:
            x_NCHW[row, 0, :, place_N[row]] += 2
    return Data({"image": x_NCHW}, kind_N)


def trained(folder: Path | None = None, recipe: FitRecipe = RECIPE) -> Model:
    data = bars(600, seed=1)
    spec = Spec.of("cnn", data, width=8, dense=16)
    return fit(spec, data, bars(200, seed=2), recipe, checkpoints=folder)


def weights_equal(one: Model, other: Model) -> bool:
    theirs = other.module.state_dict()
    return all(torch.equal(tensor, theirs[n]) for n, tensor in one.module.state_dict().items())


def test_images_are_learned_and_a_saved_model_is_equal_to_the_bit(tmp_path: Path) -> None:
    model = trained(recipe=replace(RECIPE, steps=120))
    test = bars(300, seed=4)
    assert (model.logits(test).argmax(axis=1) == test.target).mean() > 0.9
    assert model.predict(test).sum(axis=1) == pytest.approx(np.ones(300), abs=1e-5)

    save(model, tmp_path / "bars")
    again = load(tmp_path / "bars")

    assert weights_equal(model, again)
    assert again.spec == model.spec
    assert (again.logits(test) == model.logits(test)).all()


def test_a_damaged_saved_model_is_refused(tmp_path: Path) -> None:
    save(trained(), tmp_path / "bars")
    body = bytearray((tmp_path / "bars" / "model.safetensors").read_bytes())
    body[-1] ^= 1
    (tmp_path / "bars" / "model.safetensors").write_bytes(body)
    with pytest.raises(ArtifactError, match=r"model\.safetensors is not the file"):
        load(tmp_path / "bars")


def test_a_batch_taken_in_parts_gives_the_same_weights_within_rounding() -> None:
    recipe = replace(RECIPE, steps=5)
    spec = Spec.of("cnn", bars(10, 1), width=8, dense=16, dropout=0.0)
    data = bars(300, seed=1)
    whole = fit(spec, data, recipe=recipe)
    parts = fit(spec, data, recipe=replace(recipe, micro_batch=17))
    for name, tensor in whole.module.state_dict().items():
        assert torch.allclose(tensor, parts.module.state_dict()[name], atol=1e-5), name


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "sgd", "muon"])
def test_a_run_goes_on_from_its_checkpoint_to_the_bit(optimizer: str, tmp_path: Path) -> None:
    recipe = replace(RECIPE, optimizer=optimizer, checkpoint_every=7, augment="jitter=0.1")  # type: ignore[arg-type]
    whole = trained(recipe=recipe)
    stopped = 0

    def stop(stage: str, done: int, total: int) -> None:
        nonlocal stopped
        stopped = done
        if done >= 20:
            raise InterruptedError

    data = bars(600, seed=1)
    spec = Spec.of("cnn", data, width=8, dense=16)
    with pytest.raises(InterruptedError):
        fit(spec, data, bars(200, seed=2), recipe, stop, checkpoints=tmp_path)
    assert stopped == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-14", "step-7"]

    again = trained(tmp_path, recipe)

    assert again.history == whole.history
    assert weights_equal(again, whole)
    assert not list(tmp_path.iterdir())


def test_a_killed_process_goes_on_to_the_same_loss_curve_to_the_bit(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dataclasses import replace\n"
        "from tests.models_core.test_loop import RECIPE, trained\n"
        "recipe = replace(RECIPE, steps=400, checkpoint_every=3, patience=99)\n"
        "model = trained(Path(sys.argv[1]), recipe)\n"
        "print([look.loss for look in model.history])\n"
    )
    run = [sys.executable, "-c", code]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    whole = subprocess.run([*run, tmp_path / "a"], capture_output=True, check=True, env=environment)
    process = subprocess.Popen([*run, tmp_path / "b"], stdout=subprocess.PIPE, env=environment)
    while not any(int(p.name[5:]) >= 30 for p in (tmp_path / "b").glob("step-*")):
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list((tmp_path / "b").glob("step-*"))

    again = subprocess.run([*run, tmp_path / "b"], capture_output=True, check=True, env=environment)

    assert again.stdout == whole.stdout


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    recipe = replace(RECIPE, checkpoint_every=5)

    def stop(stage: str, done: int, total: int) -> None:
        if done >= 10:
            raise InterruptedError

    data = bars(600, seed=1)
    with pytest.raises(InterruptedError):
        fit(Spec.of("cnn", data, width=8), data, None, recipe, stop, checkpoints=tmp_path)
    with pytest.raises(CheckpointError, match="holds a run with another recipe"):
        fit(
            Spec.of("cnn", data, width=8), data, None, replace(recipe, seed=9), checkpoints=tmp_path
        )


def test_too_little_memory_is_answered_with_smaller_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one thing that cannot be had on demand: a device that is full."""
    from models_core.architectures.cnn import Cnn

    plain = Cnn.losses
    seen: list[int] = []

    def full(
        self: Cnn, inputs: tuple[torch.Tensor, ...], y: torch.Tensor, focus: float = 0.0
    ) -> torch.Tensor:
        seen.append(len(y))
        if len(y) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return plain(self, inputs, y, focus)

    expected = trained(recipe=replace(RECIPE, steps=3, micro_batch=16))
    monkeypatch.setattr(Cnn, "losses", full)
    model = trained(recipe=replace(RECIPE, steps=3))

    assert seen[:3] == [64, 32, 16]
    assert weights_equal(model, expected)
