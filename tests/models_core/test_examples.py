"""Every example runs, beats what it stands beside, and leaves a model that answers again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from models_core import load

ROOT = Path(__file__).parents[2]
SHARED = {"__init__", "made", "running", "stages"}  # what examples use, and no examples themselves
# Of each example: the baseline, the measure, and by how much each model must be better. Some half
# of what is seen with the quick recipe, since sums differ a little from one processor to another.
MARGINS: dict[str, tuple[str, str, float]] = {
    "forecasting": ("as a week ago", "mae", -0.4),
    "image_classification": ("logistic regression", "accuracy", 0.01),
    "recommendation": ("popularity", "hit rate@10", 0.1),
    "spoken_words": ("mean spectrum", "accuracy", 0.25),
    "text_classification": ("bag of words", "accuracy", 0.25),
}


def test_every_example_is_short_and_held_to_its_baseline() -> None:
    lines = {
        path.stem: len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / "examples").glob("*.py")
        if path.stem not in SHARED
    }
    assert set(lines) == set(MARGINS)
    assert {name: count for name, count in lines.items() if count >= 60} == {}


@pytest.mark.parametrize("name", sorted(MARGINS))
def test_an_example_beats_its_baseline_and_saves_its_models(name: str, tmp_path: Path) -> None:
    main: Callable[..., dict[str, dict[str, float]]] = import_module(f"examples.{name}").main
    baseline, measure, margin = MARGINS[name]
    results = main(tmp_path / "saved", quick=True)

    models = {who: row[measure] for who, row in results.items() if who != baseline}
    assert models
    for who, reached in models.items():
        better = reached - results[baseline][measure]
        assert (better > margin) if margin > 0 else (better < margin), (who, results)

    saved = [path.parent for path in (tmp_path / "saved").rglob("model.json")]
    assert len(saved) == len(models)
    for folder in saved:
        load(folder)  # asks the golden rows again, and refuses another answer


def test_an_example_is_a_command_in_a_folder_that_knows_nothing_of_the_server(
    tmp_path: Path,
) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "examples.recommendation", "--quick", "--folder", "likes"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "hit rate@10" in done.stdout
    assert "two towers" in done.stdout
    assert done.stdout.endswith("Saved in likes.\n")
    assert (tmp_path / "likes" / "model.safetensors").exists()
