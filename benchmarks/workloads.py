"""What a benchmark of the stream sends, by vertical, and how it is held against what is durable."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

import psycopg

from benchmarks import payments
from benchmarks.audit import Audit, audit, audit_lines
from benchmarks.produce import Item, Job
from lepton_apps.common import clock

WARM_ENTITIES = 1_000  # of the warm-up, so that each of them has a history
LINES_PER_S = 60.0  # of event time: ten instances with some work

# Entities known before the run: the longest history of the warm-up under the names of all.
CLONE_PRIMARY = """
INSERT INTO entity_state (stream, entity_key, version, schema, partition, due_at, state)
SELECT stream, 'c' || number, 1, schema, partition, due_at, state
FROM (SELECT * FROM entity_state WHERE stream = %(stream)s ORDER BY version DESC LIMIT 1)
    AS one,
    generate_series(0, %(num)s - 1) AS number
ON CONFLICT DO NOTHING
"""
CLONE_SECONDARY = """
INSERT INTO secondary_state (stream, entity_key, shard, version, schema, state)
SELECT stream, regexp_replace(entity_key, '[0-9]+$', '') || number, shard, 1, schema, state
FROM (SELECT * FROM secondary_state WHERE stream = %(stream)s ORDER BY version DESC LIMIT 1)
    AS one,
    generate_series(0, %(num)s / 4 - 1) AS number
ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True)
class Workload:
    """The records of one run: some to warm up with, then those that are measured."""

    stream: str
    topic: str
    data: str  # what the records are, in words
    warm: Job
    measured: Job
    make_known: Callable[[psycopg.Connection[Any]], None]
    audit: Callable[[psycopg.Connection[Any]], Audit]


def workload(options: argparse.Namespace) -> Workload:
    """The workload that ``--vertical`` names."""
    return _payments(options) if options.vertical == "fintech" else _lines(options)


def _payments(options: argparse.Namespace) -> Workload:
    entities = options.entities[0]
    active = options.active or entities
    later = payments.noon_before(options.records, active)
    warm = partial(
        payments.payments,
        "warm",
        options.warm_up,
        entities=WARM_ENTITIES,
        start=payments.noon_before(options.warm_up, WARM_ENTITIES, later),
        seed=2,
    )
    run = partial(
        payments.payments, "run", options.records, entities=active, start=later, known=entities
    )
    who = f"{active} of the " if options.active else ""

    def make_known(connection: psycopg.Connection[Any]) -> None:
        for sql in (CLONE_PRIMARY, CLONE_SECONDARY):
            connection.execute(sql, {"stream": payments.STREAM, "num": entities})

    return Workload(
        payments.STREAM,
        payments.TOPIC,
        f"{options.records} generated payments of {who}{entities} known customers and a quarter "
        "as many terminals, drawn uniformly",
        Job(warm, options.warm_up, payments.TOPIC),
        Job(run, options.records, payments.TOPIC, rate=_rate(options)),
        make_known,
        lambda connection: audit(connection, "run", options.records),
    )


def log_lines(num: int, skip: int, start: datetime) -> Iterator[Item]:
    """``num`` lines of the simulated world, about 200 bytes each, after ``skip`` of them."""
    from ops.simulator import LOGS_TOPIC, simulate

    world = simulate(seed=11, start=start, records_per_s=LINES_PER_S)
    lines = (record for record in world if record.topic == LOGS_TOPIC)
    for record in islice(lines, skip, skip + num):
        yield Item(record.key.encode(), record.value, record.occurred_at)


def _lines(options: argparse.Namespace) -> Workload:
    total = options.warm_up + options.records
    # The simulated day has half its load by night: the span is guessed long, so that it is past.
    start = clock.now() - timedelta(seconds=3 * total / LINES_PER_S, days=1)
    start = start.replace(hour=8, minute=0, second=0, microsecond=0)
    return Workload(
        "ops.logs",
        "ops.logs.v1",
        f"{options.records} simulated log lines of ten instances (JSON, one in thirty plain; about "
        "200 bytes, keyed by instance), faults among them; a row of its own have windows of up to "
        "64 lines, every line is counted by its template",
        Job(partial(log_lines, options.warm_up, 0, start), options.warm_up, "ops.logs.v1"),
        Job(
            partial(log_lines, options.records, options.warm_up, start),
            options.records,
            "ops.logs.v1",
            rate=_rate(options),
        ),
        lambda connection: None,
        lambda connection: audit_lines(connection, total),
    )


def _rate(options: argparse.Namespace) -> float:
    return float(options.rate) if options.protocol == "live" else 0.0
