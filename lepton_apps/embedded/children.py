"""One long-running command under the supervisor: started again when it dies, ended when asked."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from lepton_apps.common import clock
from lepton_apps.embedded.logs import LineSink
from lepton_apps.embedded.processes import Register, kill_group, spawn

LONGEST_DELAY_S = 30.0
STEADY_S = 60.0  # who ran this long failed anew, not again


class StopRank(IntEnum):
    """Who stops first: what brings records, then what works on them, then what shows them."""

    SIMULATOR = 1
    WORKER = 2
    WEB = 3


class Backoff:
    """Waits 1, 2, 4 ... 30 s between attempts that fail one after another."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self._due_at = 0.0

    @property
    def is_due(self) -> bool:
        return clock.monotonic() >= self._due_at

    def failed(self) -> None:
        self.delay_s = min(LONGEST_DELAY_S, self.delay_s * 2 or 1.0)
        self._due_at = clock.monotonic() + self.delay_s

    def reset(self) -> None:
        self.delay_s = 0.0
        self._due_at = 0.0


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    name: str
    argv: Sequence[str]
    rank: StopRank


class Child:
    """A command that should always run. ``tend`` it often, and say what it answers."""

    def __init__(
        self,
        spec: ChildSpec,
        sink: LineSink,
        register: Register,
        *,
        env: Mapping[str, str],
        cwd: Path,
    ) -> None:
        self.spec = spec
        self._sink = sink
        self._register = register
        self._env = env
        self._cwd = cwd
        self._backoff = Backoff()
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def pid(self) -> int | None:
        """The pid while it has not been seen to end."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def tend(self) -> str | None:
        """Start it when it is due; a sentence for the operator when it ended, else None."""
        process = self._process
        if process is None:
            if self._backoff.is_due:
                self._start()
            return None
        code = process.poll()
        if code is None:
            return None
        kill_group(process)  # what it may have started in its turn
        self._process = None
        self._register.remove(self.spec.name)
        if clock.monotonic() - self._started_at >= STEADY_S:
            self._backoff.reset()
        self._backoff.failed()
        return (
            f"{self.spec.name} {ended(code)}; it is started again in {self._backoff.delay_s:.0f} s."
        )

    def terminate(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    @property
    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """End it and what it started, at once. Also right after it ended by itself."""
        if self._process is not None:
            kill_group(self._process)
            self._process = None
        self._register.remove(self.spec.name)

    def _start(self) -> None:
        self._process = spawn(self.spec.argv, self._sink, env=self._env, cwd=self._cwd)
        self._started_at = clock.monotonic()
        self._register.add(self.spec.name, self._process.pid)


def ended(code: int) -> str:
    """How a process ended, in words."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
