"""What the benchmarks of real data share: a model made champion, a file taken through, a count."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from benchmarks.servers import ROOT, BenchmarkError, Servers, note
from benchmarks.stream import NEXT_OFFSETS, Crew, _follow
from lepton_apps.common import clock
from lepton_apps.verticals.contract import Trained

INGEST_LIMIT_S = 900


@dataclass(frozen=True)
class Outcome:
    """One data set's figures."""

    protocol: str
    data: str
    results: Mapping[str, Any]
    baselines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def make_champion(stream_name: str, trained: Trained) -> None:
    from lepton_apps.model_registry import services
    from lepton_apps.model_registry.models import Role
    from lepton_apps.verticals import registry

    _, stream = registry.stream(stream_name)
    version = services.register_version(stream, trained, None)
    services.promote(version, Role.CHAMPION, None, "Benchmark.", expected=None)


def ingest(run: Servers, *arguments: str) -> int:
    """``manage.py ingest`` with these arguments; the number of records sent to the stream."""
    done = subprocess.run(
        [sys.executable, "manage.py", "ingest", *arguments, "--json"],
        cwd=ROOT,
        env=run.environment,
        capture_output=True,
        timeout=INGEST_LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        raise BenchmarkError(f"ingest failed: {done.stderr.decode(errors='replace')[-2000:]}")
    facts = json.loads(done.stdout.splitlines()[-1])
    note(f"ingested {facts['sent']} in {facts['seconds']} s, {facts['refused']} refused")
    topic = f"{arguments[0]}.v1"
    return int(facts["sent"].get(topic, 0))


def take_through(
    run: Servers,
    options: argparse.Namespace,
    stream: str,
    num: int,
    others: Sequence[str] = (),
) -> float:
    """Let workers take ``num`` waiting records through; records a second. ``others`` run beside."""
    from contextlib import ExitStack

    with run.connection() as connection, ExitStack() as stack:
        for name in others:
            stack.enter_context(run.running(f"worker-{name}", "manage.py", "worker", name))
        with Crew(run, options, stream) as crew:
            samples = _follow(connection, crew, num)
            settle(connection, stream, num)
    seconds = samples[-1].at - samples[0].at
    return (samples[-1].done - samples[0].done) / seconds


def settle(connection: psycopg.Connection[Any], stream: str, num: int) -> None:
    """Until the last offset is durable."""
    until = clock.monotonic() + 60
    while clock.monotonic() < until:
        row = connection.execute(NEXT_OFFSETS, (stream,)).fetchone()
        if row and int(row[0]) >= num:
            return
        clock.sleep(0.05)


def precision_recall(found: Collection[Any], positive: Collection[Any]) -> dict[str, float]:
    """Of what was found, and of what was to be found."""
    hits = len(set(found) & set(positive))
    precision = hits / len(set(found)) if found else 0.0
    recall = hits / len(set(positive)) if positive else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return {"precision": round(precision, 4), "recall": round(recall, 4), "f1": round(f1, 4)}


def alerts_of(connection: psycopg.Connection[Any], stream: str) -> int:
    row = connection.execute("SELECT count(*) FROM alert WHERE stream = %s", (stream,)).fetchone()
    return int(row[0]) if row else 0
