"""What was measured of a model's engines on a host and what follows from it, kept as JSON."""

from __future__ import annotations

import hashlib
import math
import os
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from models_core.graphs import plain_graph
from models_core.refusals import ArtifactError

_VERSION: Final = 1
_MAX_PLAN_BYTES: Final = 2**20
_MAX_GRAPH_BYTES: Final = 2**30
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which engine answers how many rows, and why."""

    version: int
    content: str  # sha256 of what is computed
    host: str  # of the processor and the libraries it was measured with
    asked: str  # how it was asked for: batches, largest error
    chosen: dict[int, str]  # the engine by batch
    measured: dict[str, dict[int, float]]  # microseconds a record by engine and batch
    errors: dict[str, float]  # largest difference from the model's own answers, by engine
    refused: dict[str, str]  # engines that may not answer, and why
    graphs: dict[str, str]  # sha256 of each graph by name

    @property
    def id(self) -> str:
        """64 hex digits of what is computed and by which engines."""
        said = msgspec.json.encode((self.content, self.host, sorted(self.chosen.items())))
        return hashlib.sha256(said).hexdigest()

    def at(self, num_rows: int) -> str:
        """The engine for so many rows: that of the nearest batch measured, by ratio."""
        nearest = min(self.chosen, key=lambda batch: abs(math.log(batch / max(1, num_rows))))
        return self.chosen[nearest]

    def table(self) -> str:
        """The measurements as a Markdown table; what was chosen is bold."""
        batches = sorted(self.chosen)
        lines = [
            f"| microseconds a record | {' | '.join(f'batch {b}' for b in batches)} | error |",
            f"|---|{'---:|' * (len(batches) + 1)}",
        ]
        for name, by in self.measured.items():
            cells = [self._cell(name, by.get(batch), batch) for batch in batches]
            lines.append(f"| {name} | {' | '.join(cells)} | {self.errors.get(name, 0.0):.2g} |")
        lines += [f"| {name} | refused: {why} |" for name, why in self.refused.items()]
        return "\n".join(lines)

    def _cell(self, name: str, took: float | None, batch: int) -> str:
        if took is None:
            return "-"
        said = f"{took:.3g}"
        return f"**{said}**" if self.chosen[batch] == name else said


class PlanFolder:
    """Plans and graphs in a folder: ``KEY.json`` and ``SHA256.onnx``. Failing to write is no error.

    The first plan written for a key stays, so that all processes of a host go by the same one.
    """

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder)

    def plan(self, content: str, host: str, asked: str) -> Plan | None:
        """The plan for that question, or None where there is none that can be read."""
        try:
            file = self._file(content, host, asked)
            if file.stat().st_size > _MAX_PLAN_BYTES:
                return None
            plan = msgspec.json.decode(file.read_bytes(), type=Plan)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        given = (plan.version, plan.content, plan.host, plan.asked)
        return plan if given == (_VERSION, content, host, asked) and plan.chosen else None

    def graphs(self, plan: Plan) -> dict[str, bytes] | None:
        """The graphs of a plan, each as it was written and plain; None where one is not."""
        found = {}
        for name, sha256 in plan.graphs.items():
            if not _SHA256.fullmatch(sha256):
                return None
            try:
                file = self._folder / f"{sha256}.onnx"
                if file.stat().st_size > _MAX_GRAPH_BYTES:
                    return None
                body = file.read_bytes()
                plain_graph(body, file.name, quantised=True)
            except (OSError, ArtifactError):
                return None
            if hashlib.sha256(body).hexdigest() != sha256:
                return None
            found[name] = body
        return found

    def drop(self, plan: Plan) -> None:
        """Forget a plan that cannot be followed."""
        with suppress(OSError):
            self._file(plan.content, plan.host, plan.asked).unlink(missing_ok=True)

    def keep(self, plan: Plan, graphs: Mapping[str, bytes]) -> Plan | None:
        """Write it unless another process was quicker; the plan that holds, or None if none does."""
        file = self._file(plan.content, plan.host, plan.asked)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name, sha256 in plan.graphs.items():
                self._write(self._folder / f"{sha256}.onnx", graphs[name], again=True)
            if self.plan(plan.content, plan.host, plan.asked) is None:
                file.unlink(missing_ok=True)  # one that nobody can read
            self._write(file, msgspec.json.encode(plan))
        except OSError:
            return None
        return self.plan(plan.content, plan.host, plan.asked)

    def _file(self, content: str, host: str, asked: str) -> Path:
        key = hashlib.sha256("\n".join((content, host, asked)).encode()).hexdigest()
        return self._folder / f"{key}.json"

    def _write(self, file: Path, body: bytes, *, again: bool = False) -> None:
        """Whole or not at all; ``again``: also where there is such a file, which may be damaged."""
        unfinished = self._folder / f".{file.name}-{os.getpid()}-{threading.get_ident()}"
        unfinished.write_bytes(body)
        try:
            if again:
                unfinished.replace(file)
                return
            with suppress(FileExistsError):
                os.link(unfinished, file)
        finally:
            unfinished.unlink(missing_ok=True)


def plan_of(
    content: str,
    host: str,
    asked: str,
    chosen: Mapping[int, str],
    measured: Mapping[str, Mapping[int, float]],
    errors: Mapping[str, float],
    refused: Mapping[str, str],
    graphs: Mapping[str, bytes],
) -> Plan:
    """A plan of today's format; of the graphs only those are kept that an engine in it needs."""
    needed = {
        name: hashlib.sha256(body).hexdigest()
        for name, body in graphs.items()
        if any(name in engine for engine in chosen.values())
    }
    rounded = {name: {b: round(us, 3) for b, us in by.items()} for name, by in measured.items()}
    return Plan(
        version=_VERSION,
        content=content,
        host=host,
        asked=asked,
        chosen=dict(chosen),
        measured=rounded,
        errors=dict(errors),
        refused=dict(refused),
        graphs=needed,
    )
