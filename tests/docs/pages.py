"""The pages of the documentation, and what is on them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "deploy/README.md"])
ROW = re.compile(r"^\| *`([^`]+)`([^|]*)\|([^|]*)\|", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


@cache
def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def rows(page: str) -> dict[str, str]:
    """The tables' rows that begin with a word of code: that word, and the second column."""
    return {match[1]: match[3].strip() for match in ROW.finditer(text(page))}


def section(page: str, title: str) -> str:
    """What is under a heading, up to the next one of any level. Empty where there is none."""
    parts = re.split(r"^#+ +(.+?) *$", FENCE.sub("", text(page)), flags=re.MULTILINE)
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        if heading.strip("`") == title:
            return body
    return ""


def anchors(page: Path) -> set[str]:
    """The anchors that Markdown hosts make of a page's headings."""
    headings = HEADING.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }
