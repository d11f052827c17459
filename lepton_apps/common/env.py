"""Typed readers of environment variables. They fail by naming the variable and its value.

Only ``lepton_apps/settings.py`` and the start of the embedded servers call them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from difflib import get_close_matches
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

ASKED: set[str] = set()  # variables that somebody has asked for
ALIKE = 0.88  # of difflib: one letter wrong in eight
_noted: list[str] | None = None

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})
PACKAGE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


class EnvError(ValueError):
    """An environment variable is missing or cannot be used."""


def note_errors() -> None:
    """From now on a bad variable is noted and its default taken: ``manage.py doctor`` tells all."""
    global _noted
    _noted = [] if _noted is None else _noted


def noted_errors() -> list[str]:
    return list(_noted or ())


def noting(read: Callable[[], T], default: T) -> T:
    """What ``read`` returns; where it raises EnvError and errors are noted, the default."""
    try:
        return read()
    except EnvError as exc:
        if _noted is None:
            raise
        _noted.append(str(exc))
        return default


def misspelt() -> dict[str, str]:
    """Variables that are set and nobody asks for, with the name that was probably meant."""
    found = {}
    for name in set(os.environ) - ASKED:
        if close := get_close_matches(name, ASKED - set(os.environ), n=1, cutoff=ALIKE):
            found[name] = close[0]
    return found


def _reader(read: Callable[Concatenate[str, P], T]) -> Callable[Concatenate[str, P], T]:
    @wraps(read)
    def reader(name: str, /, *args: P.args, **kwargs: P.kwargs) -> T:
        ASKED.add(name)
        default = args[0] if args else kwargs.get("default")
        return noting(lambda: read(name, *args, **kwargs), cast(T, default))

    return reader


@_reader
def env_str(name: str, default: str | None = None) -> str:
    """The text of a variable. Without a default it must be set and not empty."""
    value = os.environ.get(name, "")
    if value:
        return value
    if default is None:
        raise EnvError(f"{name} is not set. See docs/settings.md.")
    return default


@_reader
def env_choice(name: str, default: str, choices: tuple[str, ...]) -> str:
    value = env_str(name, default)
    if value not in choices:
        raise EnvError(f"{name}={value} is not one of {', '.join(choices)}.")
    return value


@_reader
def env_int(name: str, default: int, *, minimum: int, maximum: int = 2**31 - 1) -> int:
    text = os.environ.get(name, "")
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        raise EnvError(f"{name}={text} is not a whole number.") from None
    if value < minimum:
        raise EnvError(f"{name}={value} is below the minimum of {minimum}.")
    if value > maximum:
        raise EnvError(f"{name}={value} is above the maximum of {maximum}.")
    return value


@_reader
def env_float(name: str, default: float, *, minimum: float, maximum: float) -> float:
    text = os.environ.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise EnvError(f"{name}={text} is not a number.") from None
    if not minimum <= value <= maximum:
        raise EnvError(f"{name}={text} is not between {minimum} and {maximum}.")
    return value


@_reader
def env_bool(name: str, default: bool) -> bool:
    text = os.environ.get(name, "").lower()
    if not text:
        return default
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    raise EnvError(f"{name}={text} is neither true nor false.")


@_reader
def env_list(name: str, default: tuple[str, ...] = ()) -> list[str]:
    """Comma-separated words, blanks stripped, empty ones dropped."""
    text = os.environ.get(name, "")
    if not text:
        return list(default)
    return [word.strip() for word in text.split(",") if word.strip()]


def env_packages(name: str, taken: Collection[str]) -> list[str]:
    """Comma-separated names of Python packages that can be imported and are not ``taken``."""
    return noting(lambda: _packages(name, env_list(name), taken), [])


def _packages(name: str, packages: list[str], taken: Collection[str]) -> list[str]:
    for number, package in enumerate(packages):
        if not PACKAGE.fullmatch(package):
            raise EnvError(f"{name}={package} is not the name of a Python package.")
        if package in taken or package in packages[:number]:
            raise EnvError(f"{name}={package} is installed already; leave it out.")
        try:
            is_there = find_spec(package) is not None
        except ModuleNotFoundError:  # of the package that it would be in
            is_there = False
        if not is_there:
            raise EnvError(
                f"{name}={package}: there is no such package in the current folder or elsewhere "
                "on Python's path (PYTHONPATH)."
            )
    return packages


@_reader
def env_path(name: str, default: Path | None = None) -> Path | None:
    text = os.environ.get(name, "")
    return Path(text).expanduser().resolve() if text else default


@_reader
def env_secret(name: str) -> str | None:
    """A secret from ``NAME``, or from the file that ``NAME_FILE`` names. Never has a default."""
    ASKED.add(f"{name}_FILE")
    if value := os.environ.get(name):
        return value
    file = os.environ.get(f"{name}_FILE")
    if not file:
        return None
    try:
        value = Path(file).read_text(encoding="utf-8").strip()
    except OSError as exc:
        raise EnvError(f"{name}_FILE={file} cannot be read: {exc.strerror}.") from None
    if not value:
        raise EnvError(f"{name}_FILE={file} is empty.")
    return value
