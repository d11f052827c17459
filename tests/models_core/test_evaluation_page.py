"""The examples of docs/evaluation.md run, and its tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import models_core
from models_core.reports import HEADLINES
from tests.models_core.conftest import rings

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_the_examples_of_the_page_run(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    space: dict[str, Any] = {"folder": tmp_path}
    space |= {"train": rings(600, 1), "validation": rings(300, 2), "test": rings(300, 3)}
    for block in blocks:
        exec(block, space)  # noqa: S102  # the page is ours
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert len(space["tuned"].trials) == 4
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == 5


def test_the_page_names_every_task_and_tracker() -> None:
    for name in (*HEADLINES, "binary"):
        assert f"| `{name}` |" in PAGE, name
    for name in ("JsonLines", "TensorBoard", "WandB", "Mlflow"):
        assert f"| `mc.{name}(" in PAGE, name
        assert hasattr(models_core, name)
