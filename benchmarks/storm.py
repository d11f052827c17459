"""A storm of alerts, one of each service of a large installation, and how the list stands it."""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import psycopg
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from benchmarks import report
from benchmarks.champion import install_champion
from benchmarks.produce import Item, Job, finish, sending
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

STREAM, TOPIC = "ops.logs", "ops.logs.v1"
SPAN = timedelta(minutes=10)  # of event time
LINES_EACH = 3
ENDINGS = 64  # lines long after, over all partitions: they let event time pass
PAUSE_S = 0.25  # between two looks at the list
STALL_S = 90.0
QUIET_LOOKS = 40  # at the list, after the storm
OPENED = "SELECT count(*) FROM alert WHERE vertical = 'ops'"
TAKEN = "SELECT coalesce(sum(next_offset), 0) FROM stream_offset WHERE stream = %s"


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storm", description=__doc__)
    parser.add_argument("--alerts", type=int, default=50_000, help="Services that break.")
    parser.add_argument("--workers", type=int, default=1)
    add_server_options(parser)
    options = parser.parse_args(arguments)
    if options.alerts < 100 or options.workers < 1:
        parser.error("--alerts must be at least 100 and --workers at least 1.")
    return options


def storm(num: int, start: datetime) -> Iterator[Item]:
    """Three dying words of each of ``num`` services within ten minutes, then some later lines."""
    for number in range(num):
        at = start + SPAN * (number / num)
        key = b"service-%d" % number
        for place, text in enumerate(
            (
                b"[ERROR] cannot reach the coordinator, attempt %d" % (number % 7),
                b"[ERROR] giving up after %d attempts" % (number % 7),
                b"[FATAL] panic: out of file descriptors in pool %d" % number,
            )
        ):
            yield Item(key, text, at + timedelta(milliseconds=place))
    for number in range(ENDINGS):
        yield Item(b"clock-%d" % number, b"[INFO] tick", start + SPAN + timedelta(minutes=5))


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    began = clock.monotonic()
    start = (clock.now() - timedelta(hours=1)).replace(microsecond=0)
    job = Job(partial(storm, options.alerts, start), options.alerts * LINES_EACH + ENDINGS, TOPIC)
    with servers(options) as run, run.connection() as connection:
        model = install_champion(run, STREAM, options.model_cache)
        with web(run) as (_, port), sending(job) as producer:
            finish(producer, 300)
            token = bearer_token("ops")
            with _looking(port, token) as during, _listening(port, token) as frames:
                seconds = _work_off(run, connection, options, job.num)
                _wait_for_frames(connection, frames)
            after = [_look(port, token) for _ in range(QUIET_LOOKS)]
        opened = _count(connection, OPENED)
        in_decisions = _count(
            connection,
            "SELECT count(DISTINCT alert_id) FROM decision WHERE alert_id IS NOT NULL",
        )
    results = {
        "alerts": opened,
        "seconds": round(seconds, 1),
        "alerts_per_s": round(opened / seconds),
        "lost": options.alerts - opened,
        "without_decision": opened - in_decisions,
        "frames_lost": opened - len(frames),
        "list_in_storm": percentiles_ms(during),
        "list_after": percentiles_ms(after),
    }
    protocol = (
        f"{options.alerts} services say {LINES_EACH} lines of errors within ten minutes of event "
        f"time, all waiting in Kafka; {options.workers} workers, {options.broker} broker, one web "
        "process; seconds: from the workers' start until everything is durable; list: GET "
        "/api/v1/alerts by token, four times a second in the storm and again after it; frames: of "
        f"one socket that resumes by its cursor; {model}"
    )
    data = f"{job.num} generated log lines; each service should have one alert"
    result = report.line("storm", protocol, data, results, clock.monotonic() - began)
    report.finish(result, options.save)


def _work_off(
    run: Servers, connection: psycopg.Connection[Any], options: argparse.Namespace, num: int
) -> float:
    """Start the workers and wait until all messages are durable; in seconds."""
    began = clock.monotonic()
    with _all(run, options.workers) as processes:
        wait_for_assignment(connection, processes)
        done, moved = -1, clock.monotonic()
        while True:
            for process in processes:
                process.require_alive()
            taken, opened = _count(connection, TAKEN, STREAM), _count(connection, OPENED)
            if taken >= num and opened == done:
                return moved - began
            if opened != done:
                note(f"{taken} lines, {opened} alerts")
                done, moved = opened, clock.monotonic()
            elif clock.monotonic() - moved > STALL_S:
                raise BenchmarkError(f"{taken} of {num} lines after {STALL_S:g} s of silence.")
            clock.sleep(2.0)


@contextmanager
def _all(run: Servers, count: int) -> Iterator[list[Process]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(run.running(f"worker-{n}", "manage.py", "worker", STREAM))
            for n in range(count)
        ]


def _look(port: int, token: str) -> float:
    """Seconds that the newest alerts take."""
    request = urllib.request.Request(
        f"http://{HOST}:{port}/api/v1/alerts?vertical=ops&status=open",
        headers={"Authorization": f"Bearer {token}"},
    )
    began = clock.monotonic()
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        json.load(answer)
    return clock.monotonic() - began


@contextmanager
def _looking(port: int, token: str) -> Iterator[list[float]]:
    """Look at the list again and again while the block runs."""
    found: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(PAUSE_S):
            found.append(_look(port, token))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join(60)


@contextmanager
def _listening(port: int, token: str) -> Iterator[set[int]]:
    """Ids of the alerts that a socket was told of; it comes back by cursor when it is dropped."""
    told: set[int] = set()
    over = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_follow(port, token, told, over)))
    thread.start()
    try:
        yield told
    finally:
        over.set()
        thread.join(30)


async def _follow(port: int, token: str, told: set[int], over: threading.Event) -> None:
    last = ""
    headers = {"Authorization": f"Bearer {token}"}
    while not over.is_set():
        url = f"ws://{HOST}:{port}/ws/alerts/?vertical=ops&cursor={last}"
        async with connect(url, additional_headers=headers) as socket:
            try:
                while not over.is_set():
                    with suppress(TimeoutError):
                        frame = json.loads(await asyncio.wait_for(socket.recv(), 1.0))
                        last = frame.get("cursor", last)
                        if frame["type"] == "alert.opened":
                            told.add(int(frame["body"]["id"]))
            except ConnectionClosed as closed:
                note(f"the socket was closed ({closed}) and resumes")


def _wait_for_frames(connection: psycopg.Connection[Any], frames: set[int]) -> None:
    """What is durable is on its way: wait while frames come."""
    opened, before, since = _count(connection, OPENED), -1, clock.monotonic()
    while len(frames) < opened and clock.monotonic() - since < 15:
        if len(frames) != before:
            before, since = len(frames), clock.monotonic()
        clock.sleep(0.2)


def _count(connection: psycopg.Connection[Any], sql: str, *parameters: Any) -> int:
    row = connection.execute(sql, parameters).fetchone()
    return int(row[0]) if row else 0


if __name__ == "__main__":
    command(main)
