"""How long work shows on a console: one living line on a terminal, plain lines elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
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


@dataclass
class _Stage:
    started_at: float
    shown_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.shown_at = self.started_at


class ProgressLines:
    """A ``Progress`` that writes stage, done/total, percent and elapsed seconds.

    The first and the last report of a stage are always shown. Stages may go on side by side.
    Leaving the block ends the line.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._terminal = console.isatty()
        self._open: dict[str, _Stage] = {}
        self._last = ""
        self._line_is_open = False

    def __enter__(self) -> ProgressLines:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_line()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = clock.monotonic()
        is_last = done >= total > 0
        known = self._open.get(stage)
        if known is None:
            known = self._open[stage] = _Stage(now)
        elif not is_last and now - known.shown_at < (TERMINAL_S if self._terminal else PLAIN_S):
            return
        known.shown_at = now
        if is_last:
            del self._open[stage]  # should it come again, it begins anew
        if stage != self._last and self._last not in self._open:
            self._end_line()
        self._last = stage
        share = f"{done / total:4.0%}" if total > 0 else "    "
        whole = f"{total:<9,}" if total > 0 else "?"
        text = f"{stage:<32} {done:>9,}/{whole} {share} {now - known.started_at:6.1f} s"
        if self._terminal:
            self._console.write(CLEAR_LINE + text, ending="")
            self._line_is_open = True
        else:
            self._console.write(text, ending="\n")
        self._console.flush()

    def _end_line(self) -> None:
        if self._line_is_open:
            self._console.write("", ending="\n")
            self._line_is_open = False
