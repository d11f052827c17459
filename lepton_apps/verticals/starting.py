"""Writing a new vertical: the files of ``new_vertical/`` with its name put in."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Final

from lepton_apps.common.errors import LeptonError

TEMPLATES: Final = Path(__file__).parent / "new_vertical"
SUFFIX: Final = ".tpl"
NAME: Final = re.compile(r"[a-z][a-z0-9_]{1,30}")
TEST: Final = "test_vertical.py"  # gets the vertical's name, or pytest would mix two of them up


class NameRefusedError(LeptonError):
    """A vertical cannot be called that."""

    code = "name_refused"


class FolderRefusedError(LeptonError):
    """The files cannot be written there."""

    code = "folder_refused"


def write_vertical(name: str, title: str, folder: Path, taken: Collection[str]) -> list[Path]:
    """Write the package ``name`` into ``folder`` and return its files, in order.

    Nothing is ever overwritten. ``taken``: the keys of verticals that are installed.

    Raises:
        NameRefusedError: it is no name for a package and a stream, or something has it.
        FolderRefusedError: it is not there, cannot be written, or has such a package already.
    """
    _check(name, taken)
    package = folder / name
    if package.exists():
        raise FolderRefusedError(f"{package} is there already; choose another name or --folder.")
    if not folder.is_dir():
        raise FolderRefusedError(f"{folder} is not a folder.")
    if find_spec(name) is not None:
        raise NameRefusedError(f"A Python package or module {name!r} is installed already.")
    values = {
        "key": name,
        "title": title,
        "camel": "".join(word.capitalize() for word in name.split("_")),
    }
    written = []
    try:
        package.mkdir()
        for template in sorted(TEMPLATES.glob(f"*{SUFFIX}")):
            file = template.name.removesuffix(SUFFIX)
            path = package / (f"test_{name}.py" if file == TEST else file)
            text = Template(template.read_text(encoding="utf-8")).substitute(values)
            path.write_text(text, encoding="utf-8")
            written.append(path)
    except OSError as exc:
        raise FolderRefusedError(f"{package} cannot be written: {exc.strerror}.") from exc
    return written


def _check(name: str, taken: Collection[str]) -> None:
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise NameRefusedError(
            f"{name!r} is no name for a vertical: 2 to 31 small letters, digits and underscores, "
            "a letter first, and no word of Python."
        )
    if name in taken:
        raise NameRefusedError(f"A vertical named {name!r} is installed already.")
