"""The one JSON line that every benchmark ends with, and docs/benchmarks.md made from such lines."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).resolve().parent / "results"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
FIELDS = ("benchmark", "protocol", "data", "results", "baselines", "machine", "seconds")

HEAD = """\
# Benchmarks

Made by `python -m benchmarks.report` from the lines in `benchmarks/results/`; do not edit it by
hand. Each benchmark is `python -m benchmarks.NAME --help`, starts its own servers on loopback, and
ends with one JSON line. Numbers of one machine say how its own versions compare; a machine shared
with other work drifts by a quarter.
"""


def machine() -> str:
    """This machine in words: processors, memory, system and Python."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{cores} cores of {model}, {memory:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}"
    )


def line(
    benchmark: str,
    protocol: str,
    data: str,
    results: Mapping[str, Any],
    seconds: float,
    baselines: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The result of one run. ``baselines`` has the results of what it is compared with."""
    return {
        "benchmark": benchmark,
        "protocol": protocol,
        "data": data,
        "results": dict(results),
        "baselines": {name: dict(values) for name, values in (baselines or {}).items()},
        "machine": machine(),
        "seconds": round(seconds, 1),
    }


def finish(result: Mapping[str, Any], save_as: str | None = None) -> None:
    """Print the line as the last thing of a run; keep it for the page under a name if wished."""
    text = json.dumps(result)
    if save_as:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{save_as}.json").write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def read(files: Iterable[Path]) -> list[dict[str, Any]]:
    """Every line of the files. Raises ``ValueError`` naming the file that is not a result."""
    found = []
    for file in files:
        for text in file.read_text(encoding="utf-8").splitlines():
            if not text.strip():
                continue
            try:
                result = json.loads(text)
            except ValueError:
                raise ValueError(f"{file.name} is not JSON.") from None
            missing = [name for name in FIELDS if name not in result]
            if missing:
                raise ValueError(f"{file.name} lacks {', '.join(missing)}.")
            found.append(result)
    return found


def render(results: Iterable[Mapping[str, Any]]) -> str:
    """The page: a section for each benchmark, a table for each run."""
    parts = [HEAD]
    ordered = sorted(results, key=lambda result: result["benchmark"])
    for place, result in enumerate(ordered):
        if place == 0 or ordered[place - 1]["benchmark"] != result["benchmark"]:
            parts.append(f"## {result['benchmark']}\n")
        parts.append(_section(result))
    return "\n".join(parts)


def _section(result: Mapping[str, Any]) -> str:
    columns = {"measured": result["results"], **result["baselines"]}
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    lines = [
        f"Protocol: {result['protocol']}",
        "",
        f"Data: {result['data']}",
        "",
        f"| | {' | '.join(columns)} |",
        f"| --- |{' ---: |' * len(columns)}",
        *(
            f"| {name} | {' | '.join(_cell(c.get(name)) for c in columns.values())} |"
            for name in names
        ),
        "",
        f"{result['machine']}; {result['seconds']} s.",
        "",
    ]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_cell(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return "; ".join(_cell(inner) for inner in value)
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value).replace("|", "\\|")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report", description="Write docs/benchmarks.md."
    )
    parser.add_argument(
        "files", nargs="*", type=Path, help="JSON lines (default: all of benchmarks/results)."
    )
    parser.add_argument("--to", type=Path, default=PAGE, help="The page to write.")
    options = parser.parse_args(arguments)
    files = options.files or sorted(RESULTS.glob("*.json"))
    try:
        results = read(files)
    except (OSError, ValueError) as exc:
        parser.error(str(exc))
    options.to.write_text(render(results), encoding="utf-8")
    sys.stdout.write(f"{options.to.name}: {len(results)} results.\n")


if __name__ == "__main__":
    main()
