"""Who is told of a fit: what arrives, and that nobody who is told can break it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from models_core import (
    FitRecipe,
    JsonLines,
    Mlflow,
    Model,
    RunFacts,
    Spec,
    StopFit,
    TensorBoard,
    Tracker,
    TrackerError,
    WandB,
    evaluate,
    fit,
)
from models_core.model import Look
from models_core.reports import Report
from tests.models_core.conftest import rings

RECIPE = FitRecipe(
    steps=30, batch_size=128, evaluate_every=10, precision="float32", device="cpu", seed=1
)
TRAIN, VALIDATION = rings(400, 1), rings(200, 2)


def tracked(*trackers: Tracker) -> Model:
    return fit(Spec("mlp", 6, {"width": 8}), TRAIN, VALIDATION, RECIPE, trackers=trackers)


def test_a_listener_ends_a_fit_and_keeps_the_best_weights_so_far() -> None:
    seen: list[Look] = []

    def stop_at_two(look: Look) -> None:
        seen.append(look)
        if len(seen) == 2:
            raise StopFit

    spec, long = Spec("mlp", 6, {"width": 8}), replace(RECIPE, steps=500, schedule="constant")
    model = fit(spec, TRAIN, VALIDATION, long, looked=stop_at_two)
    assert [look.step for look in model.history] == [10, 20]
    assert list(model.history) == seen
    best = max(seen, key=lambda look: look.score)
    assert evaluate(model, VALIDATION).metrics["pr_auc"] == pytest.approx(best.score)


def test_json_lines_hold_the_run_its_looks_and_its_outcome(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "all.jsonl"
    model = tracked(JsonLines(path))
    tracked(JsonLines(path))
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line["event"] for line in lines] == ["start", "look", "look", "look", "end"] * 2
    assert lines[0]["recipe"]["steps"] == 30
    assert lines[0]["spec"] == model.spec.to_dict()
    assert lines[0]["data_hash"] == TRAIN.hash
    assert [line["score"] for line in lines[1:4]] == [look.score for look in model.history]
    assert lines[4]["metrics"] == pytest.approx(dict(evaluate(model, VALIDATION).metrics))


def test_tensorboard_reads_back_what_was_written(tmp_path: Path) -> None:
    model = tracked(TensorBoard(tmp_path))
    tracked(TensorBoard(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlp", "mlp-2"]
    events = EventAccumulator(str(tmp_path / "mlp"))
    events.Reload()
    scores = events.Scalars("validation/score")
    assert [event.step for event in scores] == [10, 20, 30]
    assert [event.value for event in scores] == pytest.approx([x.score for x in model.history])
    metrics = evaluate(model, VALIDATION).metrics
    assert events.Scalars("metrics/pr_auc")[0].value == pytest.approx(metrics["pr_auc"])
    assert "run/text_summary" in events.Tags()["tensors"]


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
def test_weights_and_biases_writes_an_offline_run_where_there_is_no_key(tmp_path: Path) -> None:
    code = (
        "import sys; from models_core import WandB\n"
        "from tests.models_core.test_tracking import tracked\n"
        "tracked(WandB('rings', sys.argv[1]))"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    environment |= {"HOME": str(tmp_path), "DJANGO_SETTINGS_MODULE": "tests.settings"}
    run = [sys.executable, "-W", "error::RuntimeWarning", "-c", code, str(tmp_path)]
    subprocess.run(run, env=environment, check=True, timeout=120)
    (file,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    body = file.read_bytes()
    for written in (b"validation/score", b"train/loss", b"pr_auc", b"recipe.steps"):
        assert written in body


@pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed")
def test_mlflow_keeps_parameters_metrics_and_the_report_page(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    model = tracked(Mlflow(tmp_path, "rings"))
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("rings")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["spec.width"] == "8"
    history = client.get_metric_history(run.info.run_id, "validation/score")
    assert [(m.step, m.value) for m in history] == [(x.step, x.score) for x in model.history]
    (page,) = (tmp_path / "artifacts").rglob("report.html")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.skipif(find_spec("wandb") is not None, reason="wandb is installed")
def test_a_missing_package_is_one_sentence_before_the_fit() -> None:
    with pytest.raises(TrackerError, match=r"^wandb is not installed here: pip install wandb=="):
        WandB("rings")


class Broken:
    """Fails at one of the three calls."""

    def __init__(self, at: str) -> None:
        self.at, self.told = at, []  # type: tuple[str, list[str]]

    def _call(self, name: str) -> None:
        self.told.append(name)
        if name == self.at:
            raise OSError("No space left on device")

    def start(self, run: RunFacts) -> None:
        self._call("start")

    def look(self, look: Look) -> None:
        self._call("look")

    def end(self, model: Model | None, report: Report | None) -> None:
        self._call("end")


@pytest.mark.parametrize("at", ["start", "look", "end"])
def test_a_tracker_that_fails_is_warned_of_once_and_costs_nothing(at: str, tmp_path: Path) -> None:
    broken = Broken(at)
    with pytest.warns(RuntimeWarning, match="Broken is not told .*: No space left") as warned:
        model = tracked(broken, JsonLines(tmp_path / "a.jsonl"))
    assert len(warned) == 1
    assert broken.told[-1] == at
    assert broken.told.count(at) == 1
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 5  # others are told on
    whole, theirs = tracked().module.state_dict(), model.module.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in whole.items())


def test_trackers_are_told_of_a_fit_that_fails(tmp_path: Path) -> None:
    def fail(stage: str, done: int, total: int) -> None:
        raise InterruptedError

    path = tmp_path / "a.jsonl"
    spec = Spec("mlp", 6, {"width": 8})
    with pytest.raises(InterruptedError):
        fit(spec, TRAIN, VALIDATION, RECIPE, fail, trackers=[JsonLines(path)])
    assert json.loads(path.read_text().splitlines()[-1]) == {
        "event": "end",
        "run": "mlp",
        "outcome": "failed",
    }
