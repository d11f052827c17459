"""What the pages point to is there: links, files, commands, code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.management import get_commands

from tests.docs.pages import PAGES, ROOT, anchors, text

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
FILE = re.compile(
    r"(?:lepton_apps|models_core|fintech|ops|tests|benchmarks|examples|docs|deploy)/[\w./-]*"
)
MAKE = re.compile(r"\bmake ([a-z][a-z0-9-]*)")
MANAGE = re.compile(r"manage\.py ([a-z_]+)")
TARGET = re.compile(r"^([a-z0-9-]+):.*##", re.MULTILINE)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())


def without_code_blocks(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(without_code_blocks(page)):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_page
def test_files_that_are_named_exist(page: Path) -> None:
    named = [code for code in CODE.findall(without_code_blocks(page)) if FILE.fullmatch(code)]
    missing = [name for name in named if not (ROOT / name).exists()]
    assert missing == []


@every_page
def test_commands_that_are_named_exist(page: Path) -> None:
    body = page.read_text(encoding="utf-8")
    targets = set(TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    quoted = "\n".join([*CODE.findall(body), *re.findall(r"^```.*?^```", body, re.M | re.S)])
    assert set(MAKE.findall(quoted)) <= targets
    assert set(MANAGE.findall(quoted)) <= set(get_commands())


def test_the_readme_begins_with_commands_of_the_makefile() -> None:
    assert {"run", "test"} <= set(MAKE.findall(text("README.md")))


def test_quoted_code_of_the_guide_is_the_code_of_the_example() -> None:
    """Each Python block of docs/verticals.md stands in the weather vertical, line by line."""
    source = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "weather").glob("*.py")
    )
    blocks = re.findall(r"^```python\n(.*?)^```", text("docs/verticals.md"), re.M | re.S)
    assert blocks
    for block in blocks:
        assert block.strip() in source, block


def test_the_index_has_every_page() -> None:
    folder = ROOT / "docs"
    linked = {link.partition("#")[0] for link in LINK.findall(text("docs/README.md"))}
    assert {page.name for page in folder.glob("*.md")} - {"README.md"} <= linked


def test_the_glossary_has_each_word_once_and_in_order() -> None:
    words = [
        re.sub(r"[^a-z_ -]", "", cell.lower())
        for cell in re.findall(r"^\| ([^|,]+?)(?:,[^|]*)? \|", text("docs/glossary.md"), re.M)
    ][1:]
    assert len(words) > 60
    assert words == sorted(set(words))


def test_every_decision_is_listed_once() -> None:
    folder = ROOT / "docs" / "decisions"
    files = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", text("docs/decisions/README.md")) == files
    assert [name[:4] for name in files] == [f"{n:04}" for n in range(1, len(files) + 1)]


@every_page
def test_no_page_names_a_machine(page: Path) -> None:
    body = page.read_text(encoding="utf-8")
    assert not re.search(r"/work/|/root/|\.\./shared|/home/\w", body)
