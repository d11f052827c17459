"""How long the server takes for each page of the console, and how many queries, with much in it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.servers import (
    BenchmarkError,
    add_server_options,
    command,
    note,
    servers,
)
from lepton_apps.common import clock

STREAM = "fintech.transactions"
WARM_UP = 3  # of each page, not counted


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--alerts", type=int, default=10_000)
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=60, help="Requests of each page.")
    add_server_options(parser)
    options = parser.parse_args(arguments)
    if options.alerts < 1 or options.times < 20:
        parser.error("--alerts must be at least 1 and --times at least 20.")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    began = clock.monotonic()
    with servers(options):
        from django.contrib.auth.models import User

        from tests.console.data import save_dead_letter
        from tests.console.many import fill, fill_entity, fill_letters

        note(f"making {options.alerts} alerts and {options.decisions} decisions")
        fill(options.alerts, options.decisions)
        fill_letters(1_000)
        alert, letter = fill_entity(4_321), save_dead_letter(b"[1, 2]")
        admin = User.objects.create_superuser("ada", password=None)
        letters = f"/streams/{STREAM}/dead-letters/"
        pages = (
            "/overview/", "/overview/?span=24h", "/", "/?status=all", "/?q=customer-00042",
            "/?severity=critical&mine=1", f"/alerts/{alert.pk}/", f"/alerts/{alert.pk}/state/",
            f"/records/{alert.decision_id}/", "/streams/", letters,
            f"{letters}?reason=invalid_record", f"{letters}{letter}/", "/panels/fintech/",
            "/panels/ops/", "/nav/",
        )  # fmt: skip
        results = {page: _measured(admin, page, options.times) for page in pages}
    protocol = (
        f"each page {options.times} times after {WARM_UP} that are not counted, as an "
        "administrator, through all of Django in one thread and without the network; database on "
        "the same machine; cpu_ms: the median of this process's own processor time"
    )
    data = f"{options.alerts} alerts, {options.decisions} decisions, 1,000 dead letters"
    result = report.line("pages", protocol, data, results, clock.monotonic() - began)
    report.finish(result, options.save)


def _measured(user: Any, page: str, times: int) -> dict[str, float]:
    """Milliseconds of a page, and its queries."""
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client(headers={"host": "localhost"})
    client.force_login(user)
    seconds, cpu = [], []
    for number in range(-WARM_UP, times):
        began, spent = clock.monotonic(), time.process_time()
        answer = client.get(page)
        if number >= 0:
            seconds.append(clock.monotonic() - began)
            cpu.append(time.process_time() - spent)
        if answer.status_code != 200:
            raise BenchmarkError(f"{page} answered {answer.status_code}.")
    with CaptureQueriesContext(connection) as captured:
        client.get(page)
    p50, p95 = np.percentile(np.asarray(seconds), [50, 95]) * 1000
    note(f"{page}: p95 {p95:.1f} ms, {len(captured)} queries")
    return {"p50_ms": round(float(p50), 1), "p95_ms": round(float(p95), 1),
        "cpu_ms": round(float(np.median(cpu)) * 1000, 1),
            "queries": len(captured)}  # fmt: skip


if __name__ == "__main__":
    command(main)
