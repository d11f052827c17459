"""How long a durable decision over REST takes while requests arrive at a fixed rate."""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import report
from benchmarks.audit import audit
from benchmarks.champion import install_champion
from benchmarks.payments import STREAM, Payment, noon_before, payments
from benchmarks.servers import Process, add_server_options, command, note, servers
from benchmarks.web import Connection, bearer_token, percentiles_ms, pretty, require_status, web
from lepton_apps.common import clock

PATH = f"/api/v1/streams/{STREAM}/decisions"
DRAIN_S = 30.0  # how long answers may take once nothing is sent any more


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.score", description=__doc__)
    parser.add_argument("--rate", type=float, default=200.0, help="Requests/s, one record each.")
    parser.add_argument("--seconds", type=float, default=30.0, help="Measured time.")
    parser.add_argument("--warm-up", type=float, default=5.0, help="Seconds before, not counted.")
    parser.add_argument("--connections", type=int, default=32, help="Kept-alive connections.")
    parser.add_argument("--entities", type=int, default=20_000, help="Customers.")
    add_server_options(parser)
    options = parser.parse_args(arguments)
    if options.rate <= 0 or options.seconds < 1 or options.connections < 1:
        parser.error("--rate, --seconds and --connections must be above 0.")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    began = clock.monotonic()
    with servers(options) as run:
        model = install_champion(run, STREAM, options.model_cache)
        token = bearer_token()
        with web(run) as (process, port):
            asyncio.run(_first(port, token))
            note(f"sending {options.rate:g} requests/s")
            _load(port, token, "warm", options.warm_up, options, process)
            load = _load(port, token, "run", options.seconds, options, process)
        with run.connection() as connection:
            checked = audit(connection, "run", load.sent)
    results: dict[str, Any] = {
        **percentiles_ms(load.seconds),
        "requests_per_s": round(len(load.seconds) / load.took_s, 1),
        "sent": load.sent,
        "errors": sum(load.errors.values()),
        "lost": checked.lost,
        "doubled": checked.doubled,
        "unexpected": checked.unexpected,
    }
    if load.errors:
        results["first_errors"] = dict(load.errors.most_common(3))
    protocol = (
        f"open loop: {options.rate:g} requests/s of one record each for {options.seconds:g} s "
        f"after {options.warm_up:g} s of warm-up, {options.connections} kept-alive connections, "
        "time from the planned moment of a request to the whole answer; POST /decisions with a "
        "bearer token, durable before the answer; one web process, database and load on one "
        f"machine; {model}"
    )
    data = f"{load.sent} generated payments of {options.entities} customers, drawn uniformly"
    result = report.line("score", protocol, data, results, clock.monotonic() - began)
    report.finish(result, options.save)


@dataclass
class Load:
    """What came of a run of requests."""

    sent: int
    seconds: list[float] = field(default_factory=list)  # of good answers, since the plan
    errors: Counter[str] = field(default_factory=Counter)
    took_s: float = 0.0  # from the first planned moment to the last answer


async def _first(port: int, token: str) -> None:
    """One request alone: whatever is wrong is said in full, and the model is loaded."""
    connection = Connection(port, token)
    made = payments("first", 1, entities=1, start=noon_before(1, 1))
    status, body = await connection.post(PATH, next(made).value)
    connection.close()
    require_status(status, body, "The first decision")


def _load(
    port: int,
    token: str,
    prefix: str,
    seconds: float,
    options: argparse.Namespace,
    process: Process,
) -> Load:
    num = max(1, int(options.rate * seconds))
    # Made beforehand: the load shares its processors with what it measures.
    made = list(
        payments(
            prefix,
            num,
            entities=options.entities,
            start=noon_before(num, options.entities),
        )
    )
    load = asyncio.run(_send(port, token, made, options.rate, options.connections))
    process.require_alive()
    return load


async def _send(
    port: int, token: str, made: Sequence[Payment], rate: float, num_connections: int
) -> Load:
    """Put each request into a queue at its planned moment; free connections take them."""
    load = Load(sent=len(made))
    waiting: asyncio.Queue[tuple[float, Payment] | None] = asyncio.Queue()

    async def serve(connection: Connection) -> None:
        while (item := await waiting.get()) is not None:
            due, payment = item
            try:
                async with asyncio.timeout(DRAIN_S):
                    status, body = await connection.post(PATH, payment.value)
            except (OSError, EOFError, TimeoutError) as exc:
                connection.close()
                load.errors[type(exc).__name__] += 1
                continue
            if status in (200, 201):
                load.seconds.append(clock.monotonic() - due)
            else:
                load.errors[f"{status} {pretty(body)}"] += 1

    connections = [Connection(port, token) for _ in range(num_connections)]
    servers: list[asyncio.Task[Any]] = [asyncio.create_task(serve(c)) for c in connections]
    began = clock.monotonic()
    for number, payment in enumerate(made):
        due = began + number / rate
        wait = due - clock.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        waiting.put_nowait((due, payment))
    for _ in servers:
        waiting.put_nowait(None)
    await asyncio.gather(*servers)
    load.took_s = clock.monotonic() - began
    for connection in connections:
        connection.close()
    return load


if __name__ == "__main__":
    command(main)
