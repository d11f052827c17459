"""How long it takes from changing an alert to every one of thousands of open sockets."""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import psutil

from benchmarks import report
from benchmarks.seeding import VERTICAL, Size, open_alerts
from benchmarks.servers import (
    BenchmarkError,
    Process,
    add_server_options,
    command,
    note,
    servers,
)
from benchmarks.sockets import Plan, Told, follow
from benchmarks.web import percentiles_ms, web
from lepton_apps.common import clock

ALERTS = 500
PEOPLE = 200
OPEN_LIMIT_S = 120.0
END_LIMIT_S = 60.0


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fanout", description=__doc__)
    parser.add_argument("--sockets", type=int, default=2_000)
    parser.add_argument("--rate", type=float, default=20.0, help="Events/s.")
    parser.add_argument("--seconds", type=float, default=30.0, help="Measured time.")
    parser.add_argument("--warm-up", type=float, default=5.0, help="Seconds before, not counted.")
    parser.add_argument("--cuts", type=float, default=10.0, help="Sockets cut each second.")
    add_server_options(parser)
    options = parser.parse_args(arguments)
    if options.sockets < 1 or options.rate <= 0 or options.seconds < 1 or options.cuts < 0:
        parser.error("--sockets, --rate and --seconds must be above 0, --cuts not below.")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    began = clock.monotonic()
    with servers(options) as run:
        open_alerts(Size(ALERTS, ALERTS, ALERTS), clock.now(), resolved=0.0)
        sessions = _sessions(min(PEOPLE, options.sockets))
        with web(run) as (page, port):
            plan = Plan(port, VERTICAL, sessions, options.sockets, options.cuts)
            with _following(plan) as orders:
                _expect(orders, page, OPEN_LIMIT_S)
                note(f"{options.sockets} sockets are open")
                results = _measure(options, page, orders)
    protocol = (
        f"{options.sockets} sockets of {len(sessions)} operators by session on one web process, "
        f"{options.rate:g} events/s for {options.seconds:g} s after {options.warm_up:g} s of "
        f"warm-up, {options.cuts:g} sockets cut each second that resume by their cursor; from the "
        "call that assigns an alert, commit included, to the frame at each socket, replays after "
        "a cut apart; us_per_delivery: CPU time of the web process by event frame; database, web, "
        "writer and all clients on the same cores"
    )
    data = f"{ALERTS} alerts that are assigned in turn; a frame has about 650 bytes"
    result = report.line("fanout", protocol, data, results, clock.monotonic() - began)
    report.finish(result, options.save)


def _sessions(count: int) -> list[str]:
    """Session keys of so many operators who have signed in."""
    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User

    from lepton_apps.accounts import services
    from lepton_apps.accounts.models import Role

    store = import_module(settings.SESSION_ENGINE).SessionStore
    keys = []
    for number in range(count):
        user = User.objects.create_user(f"operator-{number}")  # hashing passwords takes minutes
        services.grant(None, user, VERTICAL, Role.OPERATOR)
        session = store()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.create()
        keys.append(session.session_key)
    return keys


@contextmanager
def _following(plan: Plan) -> Iterator[Connection]:
    """The process with the sockets, and the pipe to it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=follow, args=(plan, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        process.kill()
        process.join()


def _expect(orders: Connection, page: Process, limit_s: float) -> Any:
    """What the process with the sockets says next."""
    end = clock.monotonic() + limit_s
    try:
        while not orders.poll(0.5):
            page.require_alive()
            if clock.monotonic() > end:
                raise BenchmarkError(f"The sockets said nothing for {limit_s:g} s.")
        return orders.recv()
    except EOFError:
        raise BenchmarkError(f"The sockets ended.\n{page.log_tail()}") from None


def _measure(options: argparse.Namespace, page: Process, orders: Connection) -> dict[str, Any]:
    warm = int(options.rate * options.warm_up)
    _assign(0, warm, options.rate)
    orders.send("cut")
    server = psutil.Process(page.popen.pid)
    cpu_s, since = _cpu_s(server), clock.monotonic()
    sent = _assign(warm, int(options.rate * options.seconds), options.rate)
    cpu_s, taken_s = _cpu_s(server) - cpu_s, clock.monotonic() - since
    orders.send(warm + len(sent))
    told: Told = _expect(orders, page, END_LIMIT_S)
    late_s = [
        np.asarray(arrivals)[warm : warm + len(sent)] - sent[: max(0, len(arrivals) - warm)]
        for arrivals in told.arrivals
    ]
    seconds = np.concatenate(late_s)
    timed = seconds[~np.isnan(seconds)]
    deliveries = sum(len(each) for each in late_s)
    return {
        **percentiles_ms(timed.tolist()),
        "lost": told.missed,
        "doubled": told.doubled,
        "snapshots": told.snapshots,
        "us_per_delivery": round(cpu_s / deliveries * 1e6, 2),
        "web_cpu_share": round(cpu_s / taken_s, 3),
        "client_us_per_delivery": round(
            told.cpu_s / sum(len(arrivals) for arrivals in told.arrivals) * 1e6, 2
        ),
        "deliveries": deliveries,
        "deliveries_per_s": round(deliveries / taken_s),
        "events_per_s": round(len(sent) / taken_s, 2),
        "resumed": told.resumed,
        "closed_by_server": told.dropped,
    }


def _assign(first: int, count: int, rate: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Assign alerts in turn at a steady rate; when each call was made."""
    from django.contrib.auth.models import User

    from lepton_apps.alerts import services

    user = User.objects.get(username="operator-0")
    sent = np.zeros(count)
    begin = clock.monotonic()
    for place in range(count):
        clock.sleep(max(0.0, begin + place / rate - clock.monotonic()))
        alert_id, turn = divmod(first + place, ALERTS)[::-1]
        sent[place] = clock.monotonic()
        services.assign(alert_id + 1, user if turn % 2 == 0 else None, user)
    return sent


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    command(main)
