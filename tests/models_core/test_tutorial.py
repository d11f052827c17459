"""The tutorial is true: its blocks run in their order, and say themselves what should come out."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_blocks_of_the_tutorial_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    space: dict[str, Any] = {"__name__": "tutorial"}
    for block in BLOCK.finditer(page):
        above = page.count("\n", 0, block.start(1))  # so that an error names the page's line
        exec(compile("\n" * above + block[1], str(PAGE), "exec"), space)  # noqa: S102  # our page


def test_a_saved_model_takes_five_statements() -> None:
    first = BLOCK.search(PAGE.read_text(encoding="utf-8"))
    assert first is not None
    statements = ast.parse(first[1]).body
    assert len([one for one in statements if not isinstance(one, ast.Import | ast.ImportFrom)]) == 5
