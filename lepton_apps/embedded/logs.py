"""What children print: kept in files that are rotated by size, and shown on the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import deque
from pathlib import Path
from typing import IO, Protocol

NAME_WIDTH = 20  # characters; longer names push their lines to the right
MAX_LINE_BYTES = 64 * 1024  # a child that never ends its line must not fill our memory
COLOURS = (
    36,
    33,
    35,
    32,
    34,
    96,
    93,
    95,
)  # ANSI foreground colours, told apart on both grounds


class LineSink(Protocol):
    """Takes the lines of one child, each with its line end."""

    def write(self, line: bytes) -> None: ...


def copy_lines(stream: IO[bytes], sink: LineSink) -> None:
    """Feed ``sink`` until the child, and whoever inherited its output, has ended."""
    with stream, contextlib.suppress(ValueError):
        while line := stream.readline(MAX_LINE_BYTES):
            sink.write(line)


class RotatedFile:
    """A log file of at most ``max_bytes``, with ``num_old`` older ones beside it (``.1`` newest).

    A full disk loses log lines, never the child that wrote them.
    """

    def __init__(self, path: Path, *, max_bytes: int = 10_000_000, num_old: int = 3) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._num_old = num_old
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = self._open()

    def write(self, line: bytes) -> None:
        with contextlib.suppress(OSError):
            if self._file.tell() + len(line) > self._max_bytes:
                self._rotate()
            self._file.write(line)
            self._file.flush()

    def _open(self) -> IO[bytes]:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        file = open(descriptor, "ab")  # noqa: SIM115  (it lives as long as this object)
        file.seek(0, os.SEEK_END)
        return file

    def _rotate(self) -> None:
        self._file.close()
        for age in range(self._num_old, 0, -1):
            newer = self._old(age - 1) if age > 1 else self._path
            if newer.exists():
                newer.replace(self._old(age))
        self._file = self._open()

    def _old(self, age: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{age}")


class Tail:
    """Keeps the last lines, for an error message that says what the child said."""

    def __init__(self, num_lines: int = 15) -> None:
        self._lines: deque[bytes] = deque(maxlen=num_lines)

    def write(self, line: bytes) -> None:
        self._lines.append(line)

    def text(self) -> str:
        return b"".join(self._lines).decode("utf-8", "replace").strip()

    def clear(self) -> None:
        self._lines.clear()


class Terminal:
    """Our standard output, shared by all children: whole lines, each behind its child's name."""

    def __init__(self, out: IO[str] | None = None) -> None:
        self._out = out or sys.stdout
        self._lock = threading.Lock()
        self._is_tty = self._out.isatty()
        self._is_open = True
        self._num_names = 0

    def named(self, name: str) -> LineSink:
        colour = COLOURS[self._num_names % len(COLOURS)]
        self._num_names += 1
        label = f"{name:<{NAME_WIDTH}} | "
        if self._is_tty:
            label = f"\x1b[{colour}m{label}\x1b[0m"
        return _Named(self, label)

    def say(self, text: str) -> None:
        """Print a line of our own. A reader that went away must not stop the servers."""
        with self._lock:
            if not self._is_open:
                return
            try:
                self._out.write(text + "\n")
                self._out.flush()
            except (BrokenPipeError, OSError, ValueError):
                self._is_open = False


class _Named:
    def __init__(self, terminal: Terminal, label: str) -> None:
        self._terminal = terminal
        self._label = label

    def write(self, line: bytes) -> None:
        self._terminal.say(self._label + line.decode("utf-8", "replace").rstrip("\r\n"))


class Both:
    """Feeds several sinks."""

    def __init__(self, *sinks: LineSink) -> None:
        self._sinks = sinks

    def write(self, line: bytes) -> None:
        for sink in self._sinks:
            sink.write(line)
