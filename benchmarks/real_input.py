"""Real data from files through Kafka to alerts: ``hdfs`` lines, an ``smd`` machine, ``handbook`` payments.

Models are trained on the earlier part, thresholds are fixed there, and precision and recall are
those of the later part, as the running server decided. A plain method stands beside.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.real_handbook import handbook
from benchmarks.real_hdfs import hdfs
from benchmarks.real_run import Outcome
from benchmarks.real_smd import smd
from benchmarks.servers import (
    ROOT,
    BenchmarkError,
    add_server_options,
    command,
    note,
    servers,
)
from lepton_apps.common import clock

SETS: dict[str, Callable[[Any, Any], Outcome]] = {"hdfs": hdfs, "smd": smd, "handbook": handbook}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_input", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="The folder with ops/, fintech/.")
    parser.add_argument("--sets", default="hdfs,smd,handbook", help="Which, by commas.")
    parser.add_argument("--machine", default="1-6", help="Of smd (default: %(default)s).")
    parser.add_argument("--month", default="2018-07", help="Of handbook (default: %(default)s).")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2_000, help="WORKER_BATCH_SIZE, records.")
    add_server_options(parser)
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    chosen = options.sets.split(",")
    if unknown := set(chosen) - set(SETS):
        parser.error(f"--sets {', '.join(sorted(unknown))}: there are {', '.join(SETS)}.")
    began = clock.monotonic()
    if len(chosen) > 1:
        merged = _merged([_alone(arguments, name) for name in chosen])
        merged["seconds"] = round(clock.monotonic() - began, 1)
        report.finish(merged, options.save)
        return
    (name,) = chosen
    with servers(options) as run:
        note(f"{name}: learning from the earlier part")
        outcome = SETS[name](run, options)
    protocol = (
        f"file read by `manage.py ingest`, all records waiting in Kafka, then {options.workers} "
        f"workers; {options.broker} broker; records/s from the first to the last durable offset; "
        f"threshold fixed on the earlier part. {name}: {outcome.protocol}"
    )
    baselines = {f"{name}: {method}": values for method, values in outcome.baselines.items()}
    results = {name: dict(outcome.results)}
    seconds = clock.monotonic() - began
    line = report.line("real_input", protocol, outcome.data, results, seconds, baselines)
    report.finish(line, options.save)


def _alone(arguments: Sequence[str] | None, name: str) -> dict[str, Any]:
    """The line of one set, in a process and on servers of its own."""
    given = sys.argv[1:] if arguments is None else arguments
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.real_input", *given, "--sets", name, "--save", ""],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode != 0:
        raise BenchmarkError(f"The run of {name} failed; see above.")
    line: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return line


def _merged(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One line of several: the results of each set by its name."""
    return {
        **lines[0],
        "protocol": " / ".join(line["protocol"] for line in lines),
        "data": " / ".join(line["data"] for line in lines),
        "results": {name: found for line in lines for name, found in line["results"].items()},
        "baselines": {name: found for line in lines for name, found in line["baselines"].items()},
    }


if __name__ == "__main__":
    command(main)
