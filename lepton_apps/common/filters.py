"""Filters of lists, from a query string or a form: read as text, and all that is wrong said at once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from lepton_apps.common.errors import FilterRefusedError

MAX_TEXT: Final = 200  # characters
# A zone can move a time at the edge of the calendar out of what can be a time at all.
EARLIEST_YEAR: Final = 1970
LATEST_YEAR: Final = 9998


class FilterReader:
    """Reads values one by one; ``check`` raises when any of them could not be used."""

    def __init__(self, params: Mapping[str, str]) -> None:
        self._params = params
        self._errors: list[dict[str, str]] = []

    def text(self, name: str) -> str | None:
        """The value without blanks around it; None where there is none."""
        value = self._params.get(name, "").strip()
        if len(value) > MAX_TEXT or "\0" in value:
            self._refuse(name, f"{name} must have at most {MAX_TEXT} characters.")
            return None
        return value or None

    def some_of(self, name: str, choices: tuple[str, ...]) -> tuple[str, ...]:
        """Words with commas between them, each of the choices."""
        words = tuple(word.strip() for word in self._params.get(name, "").split(","))
        words = tuple(word for word in words if word)
        if wrong := [word for word in words if word not in choices]:
            self._refuse(name, f"{wrong[0][:80]!r} is not one of {', '.join(choices)}.")
        return words

    def moment(self, name: str) -> datetime | None:
        """A time that says its zone."""
        value = self.text(name)
        if value is None:
            return None
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            at = None
        if at is None or at.tzinfo is None:
            self._refuse(name, f"{value!r} is not a time with a zone, as 2026-03-01T10:00:00Z is.")
            return None
        if not EARLIEST_YEAR <= at.year <= LATEST_YEAR:
            self._refuse(name, f"{value!r} is not in the years {EARLIEST_YEAR} to {LATEST_YEAR}.")
            return None
        return at

    def check(self) -> None:
        """Raises FilterRefusedError; ``errors`` in its data names each value that cannot be."""
        if self._errors:
            raise FilterRefusedError(self._errors[0]["detail"], errors=self._errors)

    def _refuse(self, name: str, detail: str) -> None:
        self._errors.append({"path": name, "code": "invalid", "detail": detail})
