"""What docs/api.md promises: its commands, the answers printed under them, its tables.

A fence with lines that begin with ``curl`` holds commands. A ``json`` fence right under it is the
answer of the last of them. Nothing has to be said here of a new example.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tests.docs.pages import text

PAGE: Final = "docs/api.md"
BLOCK = re.compile(
    r"^(?P<hashes>#+) +(?P<title>[^\n]+)$|^```(?P<kind>\w*)\n(?P<body>.*?)^```$", re.M | re.S
)
VARIABLE = re.compile(r"\$\{?(\w+)\}?")
ERROR_ROW = re.compile(r"^\| (?P<status>[\d, ]+) \| (?P<codes>`[^|]+`) \|", re.MULTILINE)
FRAME_ROW = re.compile(r"^\| `(\{\"type\".+?\})` \|", re.MULTILINE)
CLOSE_ROW = re.compile(r"^\| (\d{4}) \|", re.MULTILINE)

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
DAY = re.compile(r"\d{4}-\d\d-\d\d")
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
HASH = re.compile(r"[0-9a-f]{16}")
CURSOR = re.compile(rf"{UUID.pattern}:\d+")
KINDS = (MOMENT, DAY, UUID, HASH, CURSOR)
# Whole numbers that no page can foresee: they are of the machine, the hour or the training.
OF_THIS_RUN = frozenset({"pid", "rows_per_day", "rows_per_s", "scores", "reviews", "size"})
MORE = "..."  # as a key: there are others that the page does not show
SAYS_STATUS = re.compile(r"\s*The answer is (\d{3})\b")  # right under a fence of commands


@dataclass(frozen=True)
class Request:
    """One ``curl`` of the page, with its variables filled in."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None


@dataclass(frozen=True)
class Example:
    """One ``curl`` as the page has it, and what is printed under it."""

    name: str  # the heading it stands under, and its number there
    command: str
    answer: Any  # None: the page shows none
    status: int | None = None  # where the page says one

    def request(self, variables: Mapping[str, str]) -> Request:
        """Read the command as a shell and curl would; what either would not take is an error."""
        words = [
            VARIABLE.sub(lambda found: variables[found[1]], word)
            for word in shlex.split(self.command.replace("\\\n", " "))
        ]
        method, headers, body, urls = "", dict[str, str](), None, list[str]()
        left = iter(words[1:])
        for word in left:
            if word in {"-H", "--header"}:
                name, _, value = next(left).partition(": ")
                headers[name] = value
            elif word in {"-X", "--request"}:
                method = next(left)
            elif word in {"-d", "--data"}:
                body = next(left).encode()
            elif word.startswith("-"):
                raise AssertionError(f"{self.name}: {word} is an option this reader does not know.")
            else:
                urls.append(word)
        assert len(urls) == 1, f"{self.name}: {urls} is not one address."
        return Request(method or ("GET" if body is None else "POST"), urls[0], headers, body)


def examples() -> list[Example]:
    """All ``curl`` commands of the page, in order."""
    found: list[Example] = []
    title, number, end_of_commands = "", 0, -1
    page = text(PAGE)
    for block in BLOCK.finditer(page):
        if block["title"]:
            title, number = block["title"].strip("`"), 0
            continue
        if block["kind"] == "json" and not page[end_of_commands : block.start()].strip():
            found[-1] = replace(found[-1], answer=json.loads(block["body"]))
        for command in re.split(r"(?m)^(?=curl )", block["body"])[1:]:
            number += 1
            found.append(Example(f"{title} {number}", command.strip(), None))
            end_of_commands = block.end()
        if block.end() == end_of_commands and (said := SAYS_STATUS.match(page, end_of_commands)):
            found[-1] = replace(found[-1], status=int(said[1]))
    return found


def python_example() -> str:
    """The one client in Python."""
    blocks = [block["body"] for block in BLOCK.finditer(text(PAGE)) if block["kind"] == "python"]
    assert len(blocks) == 1
    return str(blocks[0])


def error_statuses() -> dict[str, int]:
    """The table of errors: code to status."""
    told: dict[str, int] = {}
    for row in ERROR_ROW.finditer(text(PAGE)):
        statuses = [int(status) for status in row["status"].split(",")]
        codes = re.findall(r"`(\w+)`", row["codes"])
        if len(statuses) == 1:
            statuses *= len(codes)
        told |= dict(zip(codes, statuses, strict=True))
    return told


def frames() -> dict[str, frozenset[str]]:
    """The table of frames: type to the keys that a frame has. Ours and the client's ``ping``."""
    told: dict[str, frozenset[str]] = {}
    for row in FRAME_ROW.findall(text(PAGE)):
        types, _, rest = row.partition(",")
        keys = frozenset({"type", *re.findall(r'"(\w+)"', rest)})
        told |= dict.fromkeys(re.findall(r'"([\w.]+)"', types)[1:], keys)
    return told


def close_codes() -> set[int]:
    """The table of codes that sockets are closed with."""
    return {int(code) for code in CLOSE_ROW.findall(text(PAGE))}


def differences(told: Any, got: Any, path: str = "$") -> list[str]:
    """Where an answer is not what the page says; empty where it is.

    Keys and kinds are the same, and so are words, whole numbers, truths and nulls. Times, uuids,
    cursors and numbers with a fraction may be others of their kind, and ``...`` stands for any
    text and, as a key, for more of them. A list has at least the items of the page; those beyond them are like its last one.
    """
    if isinstance(told, dict) and isinstance(got, dict):
        found = [f"{path}.{key} is missing" for key in told.keys() - got.keys() - {MORE}]
        if MORE not in told:
            found += [f"{path}.{key} is not on the page" for key in got.keys() - told.keys()]
        for key in told.keys() & got.keys():
            if not (key in OF_THIS_RUN and type(told[key]) is type(got[key]) is int):
                found += differences(told[key], got[key], f"{path}.{key}")
        return sorted(found)
    if isinstance(told, list) and isinstance(got, list):
        if len(got) < len(told) or (got and not told):
            return [f"{path} has {len(got)} items, the page {len(told)}"]
        return [
            difference
            for n, item in enumerate(got)
            for difference in differences(told[min(n, len(told) - 1)], item, f"{path}[{n}]")
        ]
    return [] if _is_like(told, got) else [f"{path} is {got!r}, on the page {told!r}"]


def _is_like(told: Any, got: Any) -> bool:
    if isinstance(told, str) and isinstance(got, str):
        for kind in KINDS:
            if kind.fullmatch(told):
                return kind.fullmatch(got) is not None
        pattern = ".*".join(re.escape(part) for part in told.split("..."))
        return re.fullmatch(pattern, got, re.DOTALL) is not None
    if isinstance(told, float):
        return isinstance(got, int | float) and not isinstance(got, bool)
    return type(told) is type(got) and bool(told == got)
