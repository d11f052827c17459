"""How long it takes from producing a payment to its alert on an operator's socket."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from websockets.asyncio.client import connect

from benchmarks import report
from benchmarks.audit import audit
from benchmarks.champion import install_champion
from benchmarks.payments import STREAM, TOPIC, Payment, moments, noon_before, payment, payments
from benchmarks.produce import Job, finish, sending
from benchmarks.servers import (
    BenchmarkError,
    Process,
    Servers,
    add_server_options,
    command,
    note,
    servers,
    wait_for_assignment,
)
from benchmarks.web import HOST, bearer_token, percentiles_ms, web
from lepton_apps.common import clock

DRAIN_S = 30.0  # how long the last frames may take
MIN_ALERTS = 50  # fewer give no 99th percentile


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--rate", type=float, default=500.0, help="Records/s.")
    parser.add_argument("--seconds", type=float, default=30.0, help="Measured time.")
    parser.add_argument("--warm-up", type=float, default=10.0, help="Seconds before, not counted.")
    parser.add_argument("--linger", type=int, default=5, help="Of the producer, ms.")
    parser.add_argument("--entities", type=int, default=20_000, help="Ordinary customers.")
    parser.add_argument(
        "--suspicious",
        type=int,
        default=20,
        help="Every so manieth payment looks like fraud (2 up).",
    )
    add_server_options(parser)
    options = parser.parse_args(arguments)
    if options.rate <= 0 or options.seconds < 1 or options.suspicious < 2:
        parser.error("--rate must be above 0, --seconds at least 1 and --suspicious at least 2.")
    return options


def mixed(num: int, *, entities: int, start: datetime, every: int) -> Iterator[Payment]:
    """Ordinary payments, and pairs that look like a stolen card: the second one is suspicious.

    Customer ``a<number>`` pays twice, 20 s apart in event time, from two countries and devices;
    ``number`` is that of the second payment, so an alert tells which record opened it.
    """
    made = payments("run", num, entities=entities, start=start)
    times = moments(0, num, entities=entities, start=start)
    for number, (ordinary, at) in enumerate(zip(made, times, strict=True)):
        place = number % every
        if place == every // 2:
            customer = f"a{number - place + every}"
            at -= timedelta(seconds=20)
            yield payment(f"run-{number}", customer, f"x{number}", 300.0, "online", at)
        elif place == 0 and number:
            yield payment(
                f"run-{number}",
                f"a{number}",
                f"x{number}",
                350.0,
                "online",
                at,
                device=f"e{number}",
                country="BR",
            )
        else:
            yield ordinary


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    began = clock.monotonic()
    num = int(options.rate * (options.warm_up + options.seconds))
    with servers(options) as run, run.connection() as connection:
        model = install_champion(run, STREAM, options.model_cache)
        times = run.folder / "sent.npy"
        with (
            web(run) as (page, port),
            run.running("worker", "manage.py", "worker", STREAM) as worker,
        ):
            note("waiting for the worker")
            wait_for_assignment(connection, [worker])
            note(f"sending {num} records")
            received = asyncio.run(_watch(port, _job(options, num, times), [page, worker], run))
        sent = np.load(times)
        opened = _alerted(connection)
        checked = audit(connection, "run", num)
    measured = {n for n in opened if n >= options.rate * options.warm_up}
    if len(measured) < MIN_ALERTS:
        raise BenchmarkError(
            f"Only {len(measured)} alerts in {options.seconds:g} s: measure for longer."
        )
    results = {
        **percentiles_ms([received[n] - sent[n] for n in sorted(measured) if n in received]),
        "lost": checked.lost + len(opened - received.keys()),
        "doubled": checked.doubled,
        "alerts": len(measured),
        "records_per_s": round((num - 1) / float(sent[-1] - sent[0]), 1),
    }
    protocol = (
        f"{options.rate:g} records/s for {options.seconds:g} s after {options.warm_up:g} s of "
        f"warm-up, producer linger {options.linger} ms, {options.broker} broker, one worker, one "
        "web process, one socket; from the call that produces a record to the alert's frame at "
        f"the client; lost: records without a decision and alerts without a frame; {model}"
    )
    data = (
        f"{num} generated payments of {options.entities} customers; one in {options.suspicious} "
        "looks like a stolen card, and those that opened an alert are timed"
    )
    result = report.line("latency", protocol, data, results, clock.monotonic() - began)
    report.finish(result, options.save)


def _job(options: argparse.Namespace, num: int, times: Path) -> Job:
    make = partial(
        mixed,
        num,
        entities=options.entities,
        start=noon_before(num, options.entities),
        every=options.suspicious,
    )
    return Job(make, num, TOPIC, rate=options.rate, linger_ms=options.linger, times=times)


async def _watch(
    port: int, job: Job, processes: Sequence[Process], run: Servers
) -> dict[int, float]:
    """Send the records and note when the frame of each alert arrives, by record number."""
    received: dict[int, float] = {}
    url = f"ws://{HOST}:{port}/ws/alerts/?vertical=fintech"
    headers = {"Authorization": f"Bearer {await asyncio.to_thread(bearer_token)}"}
    async with connect(url, additional_headers=headers, max_queue=None) as socket:
        hello = json.loads(await asyncio.wait_for(socket.recv(), 10))
        if hello["type"] != "feed.hello":
            raise BenchmarkError(f"The socket said {hello} instead of hello.")

        async def listen() -> None:
            async for text in socket:
                at = clock.monotonic()
                frame = json.loads(text)
                key = frame.get("body", {}).get("entity_key", "")
                if frame["type"] == "alert.opened" and key.startswith("a"):
                    received.setdefault(int(key[1:]), at)

        listening = asyncio.create_task(listen())
        with sending(job) as producer:
            await asyncio.to_thread(_finish, producer, job)
        for process in processes:
            process.require_alive()
        note("waiting for the last decisions")
        await asyncio.to_thread(_wait_for_decisions, run, job.num)
        # What is durable now is on its way: give the last frames a moment, then stop listening.
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(listening), 2.0)
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening
    return received


def _finish(producer: BaseProcess, job: Job) -> None:
    finish(producer, job.num / job.rate + 60)


def _wait_for_decisions(run: Servers, num: int) -> None:
    with run.connection() as connection:
        end = clock.monotonic() + DRAIN_S
        while clock.monotonic() < end:
            row = connection.execute(
                "SELECT coalesce(sum(next_offset), 0) FROM stream_offset WHERE stream = %s",
                (STREAM,),
            ).fetchone()
            if row and row[0] >= num:
                return
            clock.sleep(0.1)


def _alerted(connection: psycopg.Connection[Any]) -> set[int]:
    """The numbers of the suspicious records that opened an alert, as the database has it."""
    rows = connection.execute(
        "SELECT entity_key FROM decision WHERE stream = %s AND alert_id IS NOT NULL"
        " AND entity_key ~ '^a[0-9]+$'",
        (STREAM,),
    ).fetchall()
    return {int(key[1:]) for (key,) in rows}


if __name__ == "__main__":
    command(main)
