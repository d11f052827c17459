"""How many records a second become durable decisions, what a record costs, and whether all do."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psutil
import psycopg

from benchmarks import report
from benchmarks.audit import Audit
from benchmarks.champion import install_challenger, install_champion
from benchmarks.produce import finish, send, sending
from benchmarks.servers import (
    ROOT,
    START_LIMIT_S,
    BenchmarkError,
    Process,
    Servers,
    add_server_options,
    all_assigned,
    command,
    free_port,
    note,
    servers,
    wait_for_assignment,
)
from benchmarks.workloads import Workload, workload
from lepton_apps.common import clock

SAMPLE_S = 0.02
STALL_S = 60.0  # no durable decision for so long: the run has failed
NEXT_OFFSETS = "SELECT coalesce(sum(next_offset), 0)::bigint FROM stream_offset WHERE stream = %s"
FACTS = """
SELECT (SELECT count(*) FROM entity_state WHERE stream = %(stream)s),
    (SELECT avg((alert_id IS NOT NULL)::int) FROM decision WHERE stream = %(stream)s)
"""
STEP_SUM = re.compile(r"lepton_batch_duration_seconds_sum\{([^}]*)\} (\S+)")
STEP = re.compile(r'step="(\w+)"')


@dataclass(frozen=True)
class Sample:
    at: float  # monotonic seconds
    done: int  # records behind the offsets, durable
    cpu_s: float  # of all workers since they started
    steps_s: Mapping[str, float]  # in each step, of all workers since they started


@dataclass(frozen=True)
class Measured:
    records_per_s: float
    seconds: float
    audit: Audit
    share_of_time: dict[str, float]
    worker_cpu: float  # cores, of all workers together
    states: int  # rows of main entities after the run
    alert_share: float  # of the decisions

    def results(self) -> dict[str, Any]:
        return {
            "records_per_s": round(self.records_per_s),
            "measured_s": round(self.seconds, 1),
            "us_per_record": round(1e6 / self.records_per_s, 1),
            "lost": self.audit.lost,
            "doubled": self.audit.doubled,
            "unexpected": self.audit.unexpected,
            "dead_letters": self.audit.dead_letters,
            "share_of_time": self.share_of_time,
            "worker_cpu_cores": round(self.worker_cpu, 2),
            "known_entities": self.states,
            "alert_share": round(self.alert_share, 4),
            **({"rows_of_their_own": self.audit.rows} if self.audit.rows else {}),
        }


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream", description=__doc__)
    parser.add_argument("--vertical", choices=["fintech", "ops"], default="fintech")
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--warm-up", type=int, default=20_000, help="Records before, not counted.")
    parser.add_argument(
        "--workers",
        type=int,
        default=min(4, os.cpu_count() or 1),
        help="Worker processes; default: the cores, at most one for each partition (%(default)s).",
    )
    parser.add_argument("--batch", type=int, default=2_000, help="WORKER_BATCH_SIZE, records.")
    parser.add_argument(
        "--entities",
        type=lambda text: [int(word) for word in text.split(",")],
        default=[20_000],
        help="Known customers (a quarter as many terminals); a list runs once for each.",
    )
    parser.add_argument(
        "--active",
        type=int,
        default=0,
        help="So many of the known customers pay, evenly spread among them (0: all).",
    )
    parser.add_argument(
        "--protocol",
        choices=["backlog", "live"],
        default="backlog",
        help="backlog: all records wait in Kafka; live: the producer runs beside.",
    )
    parser.add_argument(
        "--rate", type=float, default=0.0, help="live: records/s sent (0: as fast as it can)."
    )
    parser.add_argument(
        "--challenger",
        action="store_true",
        help="Runs twice, with a challenger in shadow and without, and says what it costs.",
    )
    parser.add_argument("--shadowed", action="store_true", help=argparse.SUPPRESS)
    add_server_options(parser)
    options = parser.parse_args(arguments)
    if options.challenger and len(options.entities) > 1:
        parser.error("--challenger takes one number of --entities.")
    if options.records < 1_000 or options.warm_up < 1_000:
        parser.error("--records and --warm-up must be at least 1000.")
    if not 0 <= options.active <= min(options.entities):
        parser.error(f"--active {options.active} is not within 0 to the smallest of --entities.")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    options = options_of(arguments)
    began = clock.monotonic()
    if options.challenger:
        others = [word for word in arguments if word != "--challenger"]
        result = _beside(_alone(others), _alone(others, "--shadowed"))
        result["seconds"] = round(clock.monotonic() - began, 1)
    elif len(options.entities) > 1:
        lines = [_alone(arguments, "--entities", str(n)) for n in options.entities]
        result = _compared(lines)
        result["seconds"] = round(clock.monotonic() - began, 1)
    else:
        with servers(options) as run:
            load = workload(options)
            model = install_champion(run, load.stream, options.model_cache)
            if options.shadowed:
                model += f", in shadow {install_challenger(load.stream)}"
            measured = _measure(run, options, load)
        protocol = _conditions(options, model)
        seconds = clock.monotonic() - began
        result = report.line("stream", protocol, load.data, measured.results(), seconds)
    report.finish(result, options.save)


def _alone(arguments: Sequence[str], *others: str) -> dict[str, Any]:
    """The line of a run with other arguments besides, in a process and on servers of its own."""
    own = (*others, "--save", "")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.stream", *arguments, *own],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode != 0:
        raise BenchmarkError(
            f"The run with {' '.join(others) or 'these arguments'} failed; see above."
        )
    line: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return line


def _beside(without: Mapping[str, Any], shadowed: Mapping[str, Any]) -> dict[str, Any]:
    """One line of two: with a challenger, and the champion alone as what it is compared with."""
    alone, results = without["results"], shadowed["results"]
    over = round(results["us_per_record"] / alone["us_per_record"], 3)
    return {
        **shadowed,
        "results": {**results, "time_over_champion_alone": over},
        "baselines": {"champion alone": alone},
    }


def _compared(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One line of several: each measurement by the number of known customers."""
    results = [line["results"] for line in lines]
    by_entities = {
        name: {str(found["known_entities"]): found[name] for found in results}
        for name in ("records_per_s", "us_per_record", "share_of_time")
    }
    totals = {
        name: sum(found[name] for found in results)
        for name in ("lost", "doubled", "unexpected", "dead_letters")
    }
    data = " / ".join(line["data"] for line in lines)
    return {**lines[0], "data": data, "results": {**by_entities, **totals}}


def _conditions(options: argparse.Namespace, model: str) -> str:
    """What was measured, in words."""
    waiting = (
        "all records waiting in Kafka"
        if options.protocol == "backlog"
        else f"producer beside at {options.rate or 'full'} records/s"
    )
    return (
        f"{options.protocol}: {waiting}; {options.broker} broker, {options.workers} worker(s), "
        f"batch {options.batch}; records/s from the first durable decision after all "
        f"workers had partitions to the last one, after a warm-up of {options.warm_up} records by "
        f"another process; database, broker and all on one machine, fsync on; {model}"
    )


def _measure(run: Servers, options: argparse.Namespace, load: Workload) -> Measured:
    with run.connection() as connection:
        note(f"{load.stream}: warming up with {options.warm_up} records")
        send(load.warm)
        with Crew(run, options, load.stream) as crew:
            _follow(connection, crew, options.warm_up, ready=True)
        # Another process measures: what the warm-up left in a worker's memory is gone.
        note("making the entities known")
        load.make_known(connection)
        connection.execute("VACUUM ANALYZE")
        total = options.warm_up + options.records
        note(f"measuring {options.records} records, {options.protocol}")
        if options.protocol == "backlog":
            send(load.measured)
            with Crew(run, options, load.stream) as crew:
                samples = _follow(connection, crew, total, options.warm_up)
        else:
            with Crew(run, options, load.stream) as crew, ExitStack() as stack:
                wait_for_assignment(connection, crew.processes)
                producer = stack.enter_context(sending(load.measured))
                samples = _follow(connection, crew, total, options.warm_up)
                finish(producer, 60)
        seconds = samples[-1].at - samples[0].at
        facts = connection.execute(FACTS, {"stream": load.stream}).fetchone()
        assert facts is not None
        return Measured(
            records_per_s=(samples[-1].done - samples[0].done) / seconds,
            seconds=seconds,
            audit=load.audit(connection),
            share_of_time=_shares(samples[0].steps_s, samples[-1].steps_s),
            worker_cpu=(samples[-1].cpu_s - samples[0].cpu_s) / seconds,
            states=int(facts[0]),
            alert_share=float(facts[1] or 0),
        )


class Crew:
    """Worker processes and what their metrics say."""

    def __init__(self, run: Servers, options: argparse.Namespace, stream: str) -> None:
        self._run, self._options, self.stream = run, options, stream
        self._stack = ExitStack()
        self.processes: list[Process] = []
        self._ports: list[int] = []

    def __enter__(self) -> Crew:
        for number in range(self._options.workers):
            port = free_port()
            process = self._run.running(
                f"worker-{number}",
                "manage.py",
                "worker",
                self.stream,
                METRICS_PORT=port,
                WORKER_BATCH_SIZE=self._options.batch,
            )
            self.processes.append(self._stack.enter_context(process))
            self._ports.append(port)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def steps(self) -> dict[str, float]:
        """Seconds spent in each step so far, by all workers."""
        sums: defaultdict[str, float] = defaultdict(float)
        for port in self._ports:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
                text = page.read().decode()
            for labels, value in STEP_SUM.findall(text):
                step = STEP.search(labels)
                if step and f'stream="{self.stream}"' in labels:
                    sums[step.group(1)] += float(value)
        sums.pop("whole", None)
        return sums

    def cpu(self) -> float:
        """Processor seconds of the workers so far, starting included."""
        times = [psutil.Process(process.popen.pid).cpu_times() for process in self.processes]
        return float(sum(spent.user + spent.system for spent in times))


def _shares(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """The share of each step in the time that all steps took in between."""
    spent = {step: seconds - before.get(step, 0.0) for step, seconds in after.items()}
    whole = sum(spent.values())
    ordered = sorted(spent.items(), key=lambda item: -item[1])
    return {step: round(seconds / whole, 3) for step, seconds in ordered if whole}


def _follow(
    connection: psycopg.Connection[Any],
    crew: Crew,
    total: int,
    first: int = 0,
    *,
    ready: bool = False,
) -> list[Sample]:
    """Look at the durable offsets until ``total``.

    Unless ``ready``, the samples begin with the first progress after all workers had partitions:
    a group that lets them in one after the other stops everybody for seconds, once.
    """
    samples: list[Sample] = []
    moved_at, stall_s = clock.monotonic(), START_LIMIT_S
    last = first
    while last < total:
        row = connection.execute(NEXT_OFFSETS, (crew.stream,)).fetchone()
        now, done = clock.monotonic(), int(row[0]) if row else 0
        ready = ready or all_assigned(connection, crew.processes)
        if done > last and not ready:
            last, moved_at, stall_s = done, now, STALL_S
        elif done > last:
            # Asking for metrics takes processor time, so only where it will be needed.
            steps = crew.steps() if not samples or done >= total else {}
            samples.append(Sample(now, done, crew.cpu(), steps))
            last, moved_at, stall_s = done, now, STALL_S
        elif now - moved_at > stall_s:
            tails = "\n".join(process.log_tail(2000) for process in crew.processes)
            raise BenchmarkError(f"No decision for {stall_s:.0f} s at {done} of {total}.\n{tails}")
        for process in crew.processes:
            process.require_alive()
        clock.sleep(SAMPLE_S)
    if len(samples) < 2:
        raise BenchmarkError(
            "All records were done before there was anything to measure; send more with --records."
        )
    return samples


if __name__ == "__main__":
    command(main)
