"""How far a fit is, outside of any server: a living line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic
from typing import Final, TextIO

WIDTH: Final = 24  # of the bar, in characters
TERMINAL_S: Final = 0.1  # between two drawings of the living line
PLAIN_S: Final = 5.0  # between two plain lines, so that a log stays readable
CLEAR_LINE: Final = "\r\x1b[K"


class Bar:
    """A ``progress`` for ``fit``: how much is done, the last loss and score, and the time left.

    Nothing is written where nothing can be read: an output that is closed or missing is left alone.
    """

    def __init__(
        self, output: TextIO | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._output = sys.stderr if output is None else output
        self._terminal = self._output is not None and self._output.isatty()
        self._clock = clock
        self._stage = ""
        self._began = self._shown = 0.0
        self._first = 0  # what was done when the stage was first told of: a run that goes on
        self._said = ""

    def look(self, loss: float, score: float) -> None:
        """The figures of a look at the validation rows; ``fit`` tells them before the progress."""
        self._said = f"  loss {loss:.4g}  score {score:.4g}"
        self._shown = float("-inf")

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = self._clock()
        if stage != self._stage:
            self._stage, self._began, self._first = stage, now, done
            self._shown = float("-inf")
        is_last = done >= total
        if not is_last and now - self._shown < (TERMINAL_S if self._terminal else PLAIN_S):
            return
        self._shown = now
        self._write(self._text(done, total, now - self._began), is_last)
        if is_last:
            self._stage = ""

    def _text(self, done: int, total: int, seconds: float) -> str:
        if total <= 0:
            return self._stage
        share = min(1.0, done / total)
        full = int(share * WIDTH)
        bar = "=" * full + ">" * (full < WIDTH) + " " * (WIDTH - full - 1)
        if share == 1.0:
            time = f"{_read(seconds)} in all"
        elif done > self._first and seconds > 0:
            time = f"{_read(seconds * (total - done) / (done - self._first))} left"
        else:
            time = "..."
        return f"{self._stage} [{bar}] {share:4.0%} {done:,}/{total:,}{self._said}  {time}"

    def _write(self, text: str, is_last: bool) -> None:
        if self._output is None or self._output.closed:
            return
        if self._terminal:
            self._output.write(CLEAR_LINE + text + ("\n" if is_last else ""))
        else:
            self._output.write(text + "\n")
        self._output.flush()


def bar(output: TextIO | None = None) -> Bar:
    """A progress bar on standard error: ``fit(spec, data, progress=bar())``.

    **Example**

    >>> import io
    >>> out = io.StringIO()
    >>> show = Bar(out, clock=lambda: 0.0)
    >>> show.look(0.25, 0.9)
    >>> show("fit", 30, 60)
    >>> print(out.getvalue().rstrip())
    fit [============>           ]  50% 30/60  loss 0.25  score 0.9  ...
    """
    return Bar(output)


def _read(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
