"""A small world to watch: services on hosts, what they say while they work, and what they measure.

Nothing here knows of faults; ``faults.py`` bends what this says. Numbers follow from the random
source that is handed in. Rates are of a mean day; ``load`` is the hour's share of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Final

MINUTE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Line:
    """What a program says, ``at`` seconds into the minute."""

    at: float
    level: str
    message: str
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Instance:
    """One running copy of a service."""

    service: str
    host: str

    @property
    def key(self) -> str:
        return f"{self.service}@{self.host}"


INSTANCES: Final = (
    Instance("gateway", "node-1"),
    Instance("checkout", "node-2"),
    Instance("payments", "node-3"),
    Instance("inventory", "node-1"),
    Instance("gateway", "node-2"),
    Instance("checkout", "node-3"),
    Instance("mailer", "node-4"),
    Instance("payments", "node-4"),
    Instance("inventory", "node-4"),
    Instance("gateway", "node-3"),
)
FEWEST: Final = 4  # instances of the smallest world
PLAIN: Final = "mailer"  # an old program that writes plain lines

# (level, text, mean seconds after the step before). {id} {n} {ms} {ip} {user} vary.
Step = tuple[str, str, float]
FLOWS: Final[dict[str, tuple[tuple[float, tuple[Step, ...]], ...]]] = {
    "gateway": (
        (
            0.86,
            (
                ("INFO", "request {id} received GET /shop/items/{n} from {ip}", 0.0),
                ("DEBUG", "request {id} session of user {user} is valid", 0.004),
                ("INFO", "request {id} routed to inventory", 0.002),
                ("INFO", "request {id} answered 200 in {ms} ms", 0.05),
            ),
        ),
        (
            0.12,
            (
                ("INFO", "request {id} received POST /shop/orders from {ip}", 0.0),
                ("DEBUG", "request {id} session of user {user} is valid", 0.004),
                ("INFO", "request {id} routed to checkout", 0.002),
                ("INFO", "request {id} answered 201 in {ms} ms", 0.2),
            ),
        ),
        (
            0.02,
            (
                ("INFO", "request {id} received GET /shop/items/{n} from {ip}", 0.0),
                ("INFO", "request {id} refused 401, the session has expired", 0.004),
            ),
        ),
    ),
    "checkout": (
        (
            0.93,
            (
                ("INFO", "order {id} opened by user {user} with {n} items", 0.0),
                ("INFO", "order {id} stock reserved in {ms} ms", 0.03),
                ("INFO", "order {id} payment of {n}.00 EUR requested", 0.01),
                ("INFO", "order {id} payment accepted in {ms} ms", 0.12),
                ("INFO", "order {id} confirmed", 0.01),
            ),
        ),
        (
            0.07,
            (
                ("INFO", "order {id} opened by user {user} with {n} items", 0.0),
                ("WARN", "order {id} cancelled, item {n} is out of stock", 0.03),
            ),
        ),
    ),
    "payments": (
        (
            0.95,
            (
                ("INFO", "charge {id} of {n}.00 EUR started for card ****{n}", 0.0),
                ("DEBUG", "charge {id} risk check passed in {ms} ms", 0.02),
                ("INFO", "charge {id} sent to acquirer {ip}", 0.01),
                ("INFO", "charge {id} settled in {ms} ms", 0.1),
            ),
        ),
        (
            0.05,
            (
                ("INFO", "charge {id} of {n}.00 EUR started for card ****{n}", 0.0),
                ("INFO", "charge {id} declined by the issuer, code {n}", 0.12),
            ),
        ),
    ),
    "inventory": (
        (
            0.8,
            (
                ("INFO", "lookup {id} of item {n}", 0.0),
                ("DEBUG", "lookup {id} found in cache", 0.001),
                ("INFO", "lookup {id} answered in {ms} ms", 0.004),
            ),
        ),
        (
            0.2,
            (
                ("INFO", "lookup {id} of item {n}", 0.0),
                ("DEBUG", "lookup {id} not in cache, asking the database", 0.001),
                ("INFO", "query {id} took {ms} ms and gave {n} rows", 0.02),
                ("INFO", "lookup {id} answered in {ms} ms", 0.004),
            ),
        ),
    ),
    "mailer": (
        (
            1.0,
            (
                ("INFO", "queue: message {id} taken for user {user}", 0.0),
                ("INFO", "smtp: connected to {ip} in {ms} ms", 0.05),
                ("INFO", "smtp: message {id} accepted", 0.2),
            ),
        ),
    ),
}
# (level, text, minutes between): what every instance says beside its work.
JOBS: Final = (
    ("DEBUG", "health check passed in {ms} ms", 1),
    ("INFO", "pool: {n} of 50 connections in use", 5),
    ("INFO", "cache refreshed, {n} entries in {ms} ms", 10),
    ("INFO", "scheduler: next run of cleanup in {n} s", 15),
    ("WARN", "slow query: select from orders took {ms}00 ms", 47),
    ("INFO", "config reloaded, version {n}", 187),
    ("INFO", "certificate of {ip} is valid for {n} days", 720),
    ("INFO", "backup of {n} tables finished in {n} s", 1440),
)
SHARE_OF_REQUESTS: Final = {
    "gateway": 1.0, "checkout": 0.35, "payments": 0.35, "inventory": 0.9, "mailer": 0.3,
}  # fmt: skip


def load(at: datetime) -> float:
    """The hour's share of the mean: least at 4:00 UTC, most at 16:00, less at weekends."""
    hour = at.hour + at.minute / 60
    day = 1.0 - 0.65 * math.cos((hour - 4.0) * math.pi / 12.0)
    return day * (0.7 if at.weekday() >= 5 else 1.0)


@dataclass(slots=True)
class Usage:
    """What an instance has used up so far; a restart sets counters and memory back."""

    bytes_sent: float = 0.0
    requests_total: float = 0.0
    memory_mb: float = 600.0
    disk_percent: float = 38.0
    since_restart_min: int = 0


@dataclass(slots=True)
class Minute:
    """What one instance says and measures in one minute."""

    lines: list[Line] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)


def requests_in(instance: Instance, mean: float, share: float, random: Random) -> int:
    """How many requests come in a minute, given the mean of the busiest service and the load."""
    expected = mean * SHARE_OF_REQUESTS[instance.service] * share
    return max(0, round(random.gauss(expected, math.sqrt(expected + 0.1))))


def work(instance: Instance, requests: int, minute: int, random: Random) -> list[Line]:
    """The lines of so many requests, and of the jobs that fall into this minute."""
    lines: list[Line] = []
    flows = FLOWS[instance.service]
    for _ in range(requests):
        draw, chosen = random.random(), flows[-1][1]
        for share, steps in flows:
            if draw < share:
                chosen = steps
                break
            draw -= share
        lines += flow(chosen, random.random() * MINUTE_S, random)
    offset = sum(instance.key.encode()) % 7
    for level, text, every in JOBS:
        if (minute + offset) % every == 0:
            lines.append(Line(random.random() * MINUTE_S, level, filled(text, random)))
    return lines


def flow(steps: Sequence[Step], start: float, random: Random) -> list[Line]:
    """One request from its first line to its last."""
    id_ = f"{random.getrandbits(32):08x}"
    trace = f"{random.getrandbits(64):016x}"
    at = start
    lines = []
    for level, text, after in steps:
        at += after * random.uniform(0.5, 1.5)
        lines.append(Line(at, level, filled(text, random, id_), trace))
    return lines


def filled(text: str, random: Random, id_: str = "") -> str:
    """A text with its places filled in."""
    if "{" not in text:
        return text
    return text.format(
        id=id_ or f"{random.getrandbits(32):08x}",
        n=random.randrange(1, 400),
        ms=random.randrange(2, 180),
        ip=f"10.0.{random.randrange(4)}.{random.randrange(1, 255)}",
        user=f"u{random.randrange(20_000)}",
    )


def measured(requests: int, errors: int, usage: Usage, random: Random) -> dict[str, float]:
    """The metrics of a minute; ``usage`` goes on."""
    rate = requests / MINUTE_S
    noise = random.gauss
    usage.requests_total += requests
    usage.bytes_sent += requests * max(200.0, noise(5_200, 300))
    usage.since_restart_min += 1
    usage.disk_percent = min(99.0, usage.disk_percent + 0.0004)
    if usage.disk_percent > 60:  # logs are rotated away
        usage.disk_percent = 38.0
    return {
        "cpu_percent": max(0.5, 6.0 + 9.0 * math.sqrt(rate + 0.05) + noise(0, 0.9)),
        "memory_mb": max(50.0, usage.memory_mb + 30 * math.sqrt(rate + 0.05) + noise(0, 5)),
        "requests_per_s": rate,
        "errors_per_s": errors / MINUTE_S,
        "latency_p50_ms": max(1.0, 18 + 6 * math.sqrt(rate + 0.05) + noise(0, 1.2)),
        "latency_p95_ms": max(2.0, 55 + 22 * math.sqrt(rate + 0.05) + noise(0, 4)),
        "connections": max(0.0, round(4 + 9 * math.sqrt(rate + 0.05) + noise(0, 1))),
        "gc_ms": max(0.0, 9 + 3 * math.sqrt(rate + 0.05) + noise(0, 0.8)),
        "threads": max(4.0, round(24 + 5 * math.sqrt(rate + 0.05) + noise(0, 0.7))),
        "disk_used_percent": usage.disk_percent + noise(0, 0.02),
        "bytes_sent_total": usage.bytes_sent,
        "requests_total": usage.requests_total,
    }


def restart(usage: Usage) -> None:
    usage.bytes_sent = usage.requests_total = 0.0
    usage.memory_mb, usage.since_restart_min = 600.0, 0
