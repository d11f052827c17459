"""Habits that no linter knows: sizes, reasons, nothing left undone, complete migrations."""

from __future__ import annotations

import ast
import re
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from tests.architecture.sources import BESIDE, PRODUCT, ROOT, dotted, files, name, tree

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+(?:\[[\w,-]+\])?(?:==[\w.]+)?(?:; [^#]+?)?  # \S.{7,}")
UNDONE = re.compile(r"\b(?:TODO|FIXME|HACK)\b")


def test_no_file_is_too_long_to_read_in_one_sitting() -> None:
    lengths = {
        name(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in files(*PRODUCT, *BESIDE)
        if "/migrations/" not in name(path)
    }
    assert {each: lines for each, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def test_no_function_is_too_long_to_see_at_once() -> None:
    long = {
        f"{name(path)}:{node.lineno} {node.name}": lines
        for path in files(*PRODUCT, *BESIDE)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    }
    assert long == {}


def test_nothing_is_left_undone() -> None:
    marked = [
        f"{name(path)}:{number}"
        for path in files(*PRODUCT, *BESIDE)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if UNDONE.search(line) and name(path) != "tests/architecture/test_project.py"
    ]
    unwritten = [
        f"{name(path)}:{node.lineno}"
        for path in files(*PRODUCT)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Raise)
        and node.exc is not None
        and dotted(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)
        == "NotImplementedError"
    ]
    assert marked + unwritten == []


def test_every_module_says_what_it_is() -> None:
    """An app's config has nothing to say; a command says it to who asks for its help."""
    silent = [
        name(path)
        for path in files(*PRODUCT)
        if path.name != "apps.py"
        and not {"migrations", "commands"} & set(path.parts)
        and tree(path).body
        and not ast.get_docstring(tree(path))
    ]
    assert silent == []


@pytest.mark.parametrize(
    "file", ["requirements.txt", "requirements-dev.txt", "requirements-extras.txt"]
)
def test_every_requirement_has_a_reason(file: str) -> None:
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", "-r ")):
            assert REQUIREMENT.fullmatch(line), line


@pytest.mark.django_db(transaction=True)
def test_migrations_say_all_that_the_models_say() -> None:
    said = StringIO()
    try:
        call_command("makemigrations", check_changes=True, dry_run=True, stdout=said)
    except (SystemExit, CommandError):
        raise AssertionError(said.getvalue()) from None
