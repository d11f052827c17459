"""The examples of docs/privacy.md run, one after the other, as a reader would type them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

import models_core as mc

PAGE = Path(__file__).parents[2] / "docs" / "privacy.md"


def test_the_examples_of_the_page_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 4
    space: dict[str, Any] = {"mc": mc, "random": np.random.default_rng(0)}
    for block in blocks:
        exec(block, space)  # noqa: S102  # the page is ours
    assert space["model"].spec == space["spec"]
