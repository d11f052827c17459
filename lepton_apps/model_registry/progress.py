"""How long work shows on a console: one living line on a terminal, plain lines elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from lepton_apps.common import clock

TERMINAL_S = 0.1  # between two drawings of the living line
PLAIN_S = 0.5  # between two plain lines, so that a log stays readable
CLEAR_LINE = "\r\x1b[K"


class Console(Protocol):
    """What is asked of a command's output."""

    def write(self, text: str, *, ending: str) -> object: ...
    def flush(self) -> object: ...
    def isatty(self) -> bool: ...


class ProgressLines:
    """A ``Progress`` that writes stage, done/total, percent and elapsed seconds.

    The first and the last report of a stage are always shown. Leaving the block ends the line.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._terminal = console.isatty()
        self._started = clock.monotonic()
        self._stage = ""
        self._stage_started = self._started
        self._shown_at = 0.0
        self._line_is_open = False

    def __enter__(self) -> ProgressLines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end_line()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = clock.monotonic()
        is_edge = stage != self._stage or done >= total > 0
        if stage != self._stage:
            self._end_line()
            self._stage, self._stage_started = stage, now
        if not is_edge and now - self._shown_at < (TERMINAL_S if self._terminal else PLAIN_S):
            return
        self._shown_at = now
        share = f"{done / total:4.0%}" if total > 0 else "    "
        whole = f"{total:<9,}" if total > 0 else "?"
        text = f"{stage:<24} {done:>9,}/{whole} {share} {now - self._stage_started:6.1f} s"
        if self._terminal:
            self._console.write(CLEAR_LINE + text, ending="")
            self._line_is_open = True
        else:
            self._console.write(text, ending="\n")
        self._console.flush()

    @property
    def elapsed_s(self) -> float:
        return clock.monotonic() - self._started

    def _end_line(self) -> None:
        if self._line_is_open:
            self._console.write("", ending="\n")
            self._line_is_open = False
